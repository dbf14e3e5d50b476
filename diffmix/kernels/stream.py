"""Audio in chunks: what an effect remembers from one chunk to the next.

Every kernel with memory asks `memory` for the state it starts from and hands the state it ends with to `keep`. Outside
`streaming` that is silence and nothing; inside, the states of all kernels that run are kept in the order they ran, so
that an effect made of many kernels streams without a line of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from diffmix.errors import AudioError

State = tuple[Tensor, ...]
"""What an effect remembers: opaque, detached, one tensor per kernel with memory."""


class Tape:
    """The states before a chunk, and those after it as far as it has been processed."""

    def __init__(self, before: State | None) -> None:
        self.before = before
        self.after: list[Tensor] = []


_tape: ContextVar[Tape | None] = ContextVar("diffmix_tape", default=None)


@contextmanager
def streaming(state: State | None) -> Iterator[Tape]:
    """Let kernels start from ``state`` (None: silence); ``tuple(tape.after)`` is the state for the next chunk."""
    tape = Tape(state)
    token = _tape.set(tape)
    try:
        yield tape
    finally:
        _tape.reset(token)


def is_streaming() -> bool:
    """True inside `streaming`: look-ahead is then not compensated, and delay lines must be kept."""
    return _tape.get() is not None


def memory(shape: tuple[int, ...], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """The state to start from, zeros if there is none.

    Raises AudioError if the state given does not fit: another effect, batch, channel count or sample rate.
    """
    tape = _tape.get()
    dtype = dtype or like.dtype
    if tape is None or tape.before is None:
        return torch.zeros(shape, dtype=dtype, device=like.device)
    n = len(tape.after)
    found = tape.before[n] if n < len(tape.before) else None
    if found is None or found.shape != shape or found.dtype != dtype:
        got = "nothing" if found is None else f"{tuple(found.shape)} {found.dtype}"
        raise AudioError(
            f"the state is of another effect, batch, channel count or precision, or of settings that stood still: "
            f"memory {n + 1} needs {tuple(shape)} {dtype}, the state holds {got}"
        )
    return found


def keep(state: Tensor) -> None:
    """Hand over the state a kernel ended with."""
    tape = _tape.get()
    if tape is not None:
        tape.after.append(state.detach().clone())  # not a view, which would keep all of a chunk's states alive


def resumed() -> State | None:
    """What `put_away` kept at this place for the chunk before, None in the first one or outside of `streaming`."""
    tape = _tape.get()
    if tape is None or tape.before is None:
        return None
    n = len(tape.after) + 1
    if n > len(tape.before) or tape.before[n - 1].ndim:
        raise AudioError("the state is of another effect or graph")
    return tape.before[n : n + int(tape.before[n - 1])]


def put_away(state: State) -> None:
    """Keep a whole state, of work that streams by itself inside of a chunk, for `resumed`."""
    tape = _tape.get()
    if tape is not None:
        tape.after += [torch.tensor(len(state)), *state]
