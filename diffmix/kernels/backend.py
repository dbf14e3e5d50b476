"""Which of the two implementations of a recursion runs: compiled loops on the CPU, or portable torch.

The compiled loops (numba, no compiler needed) are exact twins of Pedalboard and are used for CPU tensors.
The portable ones are plain torch in float64: any device, any number of derivatives. Linear filters, Pedalboard's
compressor, gate and limiter, Freeverb, convolution and the sums of a desk have one; other effects are computed by the
compiled loops on the host, wherever their tensors are.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Literal

import torch
from torch import Tensor

from diffmix.kernels.stream import is_streaming

Backend = Literal["auto", "torch"]
_backend: ContextVar[Backend] = ContextVar("diffmix_backend", default="auto")


@contextmanager
def backend(name: Backend) -> Iterator[None]:
    """Choose the implementation inside a ``with`` block.

    ``"auto"`` (default): compiled loops for CPU tensors, portable torch elsewhere.
    ``"torch"``: portable torch everywhere where there is one, which also supports double backward and forward mode.
    """
    if name not in ("auto", "torch"):
        raise ValueError(f"backend is 'auto' or 'torch', got {name!r}")
    token = _backend.set(name)
    try:
        yield
    finally:
        _backend.reset(token)


def compiled(x: Tensor) -> bool:
    """True if the compiled loops serve this tensor."""
    return x.device.type == "cpu" and _backend.get() == "auto"


def portable(x: Tensor) -> bool:
    """True where a recursion takes its portable form: not for chunks, whose state it lacks; these run on the host."""
    return not compiled(x) and not is_streaming()


def uncast(x: Tensor) -> AbstractContextManager[object]:
    """A block in which autocast leaves products of audio x in their precision: half would round or overflow."""
    kind = x.device.type
    casts = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if casts else nullcontext()


def is_twin(x: Tensor, *settings: Tensor) -> bool:
    """True if effects on this tensor reproduce Pedalboard's float32 arithmetic: settings that move are beyond it."""
    return compiled(x) and x.dtype != torch.float64 and all(s.ndim < 2 for s in settings)


_pool: ThreadPoolExecutor | None = None
_pool_pid = -1


def over_rows(task: Callable[[int, int], None], rows: int, together: int = 1) -> None:
    """Run ``task(first, last)`` over ``range(rows)``, split over threads at multiples of ``together``.

    Compiled loops release the GIL. A pool of plain threads, made anew in each forked process, is used in place
    of numba's own parallel loops: those abort a forked DataLoader worker. Rows are independent, so the split
    never changes a bit of the result.
    """
    global _pool, _pool_pid
    groups = -(-rows // together)
    threads = min(torch.get_num_threads(), groups)
    if threads <= 1:
        task(0, rows)
        return
    if _pool is None or _pool_pid != os.getpid():
        _pool, _pool_pid = ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="diffmix"), os.getpid()
    edges = [min(groups * i // threads * together, rows) for i in range(threads + 1)]
    for done in [_pool.submit(task, a, b) for a, b in itertools.pairwise(edges)]:
        done.result()
