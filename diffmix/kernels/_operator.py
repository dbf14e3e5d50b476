"""Custom operators: what lets torch.compile take a compiled loop into one graph, forward and backward.

``torch.library.custom_op`` offers the same, but its first call imports ``torch._dynamo``, which takes seconds.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from diffmix.errors import AudioError
from diffmix.kernels import allocation, stream
from diffmix.kernels.backend import over_rows

_library = torch.library.Library("diffmix", "FRAGMENT")


def _raise_once_differentiable(ctx: Any, *gradients: Any) -> Any:
    raise RuntimeError(
        "the compiled loops have first derivatives only; linear filters, Pedalboard's dynamics, Freeverb, convolution "
        "and sums have higher ones inside `with diffmix.backend('torch'):`"
    )


def _save_nothing(ctx: Any, inputs: Any, output: Any) -> None:
    """What a backward that reads nothing needs."""


def operator(
    fake: Callable[..., Any],
    backward: Callable[..., Any] = _raise_once_differentiable,
    save: Callable[[Any, Any, Any], None] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function an operator ``diffmix::<its name>``; its schema is read from its annotations.

    ``fake`` takes the same arguments and returns empty outputs of the right shape; ``backward(ctx, *gradients)`` and
    ``save(ctx, inputs, output)`` are those of ``torch.library.register_autograd``. Without ``backward``,
    differentiating the operator raises. What comes back refuses forward mode; its ``overload`` is the operator itself.
    """

    def define(function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__name__.lstrip("_")
        _library.define(name + torch.library.infer_schema(function, mutates_args=()))
        _library.impl(name, function, "CompositeExplicitAutograd")
        torch.library.register_fake(f"diffmix::{name}", fake, lib=_library)
        torch.library.register_autograd(f"diffmix::{name}", backward, setup_context=save, lib=_library)
        compiled = getattr(torch.ops.diffmix, name).default

        def mapped(info: Any, dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
            """One call per item of `torch.func.vmap`, as its fallback does, without the warning."""
            places = list(zip(arguments, dims, strict=True))
            calls = [
                call(*(a.select(d, i) if isinstance(d, int) else a for a, d in places)) for i in range(info.batch_size)
            ]
            if isinstance(calls[0], Tensor):
                return torch.stack(calls), 0
            return tuple(map(torch.stack, zip(*calls, strict=True))), (0,) * len(calls[0])

        # torch.func transforms Functions that say how they save, not operators
        transformed: Any = type(
            f"{name}_function",
            (torch.autograd.Function,),
            {
                "forward": staticmethod(lambda *arguments: compiled(*arguments)),
                "setup_context": staticmethod(save or _save_nothing),
                "backward": staticmethod(backward),
                "vmap": staticmethod(mapped),
            },
        )

        @functools.wraps(function)
        def call(*arguments: Any) -> Any:
            if torch.compiler.is_compiling():
                return compiled(*arguments)
            tensors = [a for a in arguments if isinstance(a, Tensor)]
            if unwatched(tensors):
                return function(*arguments)
            if any(map(_has_tangent, tensors)):
                raise RuntimeError(
                    f"diffmix::{name} has no forward-mode derivative (jvp, dual numbers); use reverse mode: "
                    "backward(), torch.autograd.grad"
                )
            if torch._C._functorch.peek_interpreter_stack() is not None:
                return transformed.apply(*arguments)
            return compiled(*arguments)

        call.overload = compiled  # type: ignore[attr-defined]
        return call

    return define


def unwatched(tensors: Sequence[Tensor]) -> bool:
    """Whether a call is of plain values, to which the dispatcher would add nothing but its time, twice 25 µs.

    Not where gradients, a transform, a mode (of fake tensors, say), a kind of tensor or one without data looks at it.
    """
    return (
        torch._C._functorch.peek_interpreter_stack() is None
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._get_tracing_state() is None
        and not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors))
        and all(type(t) is Tensor and not t.is_meta and not _has_tangent(t) for t in tensors)
    )


def _has_tangent(value: Tensor) -> bool:
    """Whether forward mode looks at a tensor: an operator would drop its tangent without a word."""
    if forward_ad._current_level >= 0 and forward_ad.unpack_dual(value).tangent is not None:
        return True
    inner = torch._C._functorch.peek_interpreter_stack()
    jvp = inner is not None and inner.key() == torch._C._functorch.TransformType.Jvp
    return jvp and torch._C._functorch.is_gradtrackingtensor(value)


Loops = tuple[Callable[..., None], Callable[..., None]]


def recursion(
    name: str, loops: Callable[[int], Loops], tile: int = 0, together: int = 1
) -> Callable[[Tensor, Tensor, Tensor, int, list[int]], tuple[Tensor, Tensor]]:
    """A compiled recursion over rows as a differentiable operator ``diffmix::<name>_<tile>``.

    ``loops(P)`` gives, compiled lazily, for P coefficients:

        forward(x, c, states, y, tile, first, last, *options)
        backward(gy, x, c, states, gx, gc, tile, first, last, *options)

    which work on rows [first, last) of C-contiguous arrays: x (R, I, T) and y (R, O, T) in float32 or float64, the
    coefficients c (R, F, P) in float64, with F = 1 where they are constant and F = T where they change each sample,
    and states (R, tiles + 1, S) of x's dtype: ``states[:, k]`` before tile k of ``tile`` samples (0: one tile), the
    last one after the end. forward finds ``states[:, 0]`` filled and writes the others; backward reads them, writes gx
    and adds to gc, which starts as zeros (R, F, P) float64. States get no gradient. Loops that take ``together`` rows
    side by side are not split over threads within them.

    The operator takes x, c, the state to start from (R, S), the number of outputs O and the options (integers), and
    returns ``(y, states)``. Tensors of other devices are computed on the host and come back.
    """

    def tiles(x: Tensor) -> int:
        return -(-x.shape[-1] // tile) if tile else 1

    def arrays(*tensors: Tensor) -> list[np.ndarray]:
        return [np.ascontiguousarray(t.numpy(force=True)) for t in tensors]

    def empty(x: Tensor, c: Tensor, start: Tensor, outputs: int, options: list[int]) -> tuple[Tensor, Tensor]:
        rows, _, samples = x.shape
        return x.new_empty(rows, outputs, samples), x.new_empty(rows, tiles(x) + 1, start.shape[-1])

    def backward(
        gy: Tensor, x: Tensor, c: Tensor, states: Tensor, outputs: int, options: list[int]
    ) -> tuple[Tensor, Tensor]:
        gradient, signal, coefficients, saved = arrays(gy.to(x.dtype), x, c, states)
        gx, gc = allocation.empty_like(signal), np.zeros_like(coefficients)
        run = loops(c.shape[-1])[1]
        over_rows(
            lambda a, b: run(gradient, signal, coefficients, saved, gx, gc, tile, a, b, *options), len(signal), together
        )
        return torch.from_numpy(gx).to(x.device), torch.from_numpy(gc).to(c.device)

    def run_backward(ctx: Any, gy: Tensor, _: Tensor) -> tuple[Any, ...]:
        return *adjoint(gy, *ctx.saved_tensors, ctx.outputs, ctx.options), None, None, None

    def save(ctx: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
        x, c, _, ctx.outputs, ctx.options = inputs
        ctx.save_for_backward(x, c, output[1])
        ctx.mark_non_differentiable(output[1])

    def forward(x: Tensor, c: Tensor, start: Tensor, outputs: int, options: list[int]) -> tuple[Tensor, Tensor]:
        signal, coefficients, before = arrays(x, c, start)
        rows, _, samples = signal.shape
        y = allocation.empty((rows, outputs, samples), signal.dtype)
        states = np.empty((rows, tiles(x) + 1, before.shape[-1]), signal.dtype)
        states[:, 0] = before
        run = loops(c.shape[-1])[0]
        over_rows(lambda a, b: run(signal, coefficients, states, y, tile, a, b, *options), rows, together)
        return torch.from_numpy(y).to(x.device), torch.from_numpy(states).to(x.device)

    backward.__name__ = f"{name}_backward"
    # torch.compile finds graphs on disk by names: one of another tile, whose states have other shapes, is another
    forward.__name__ = f"{name}_{tile}" if tile else name
    adjoint = operator(
        fake=lambda gy, x, c, states, outputs, options: (x.new_empty(x.shape), c.new_empty(c.shape)),
    )(backward)
    return operator(fake=empty, backward=run_backward, save=save)(forward)


def run(
    operation: Callable[..., tuple[Tensor, Tensor]],
    x: Tensor,
    coefficients: Tensor,
    memory: int,
    outputs: int | None = None,
    options: Sequence[int] = (),
) -> Tensor:
    """Apply a `recursion` to rows x (R, I, T) with coefficients (R, F, P), keeping ``memory`` numbers of state.

    Computes in float32, or in float64 if x is; the result has the dtype of x. Raises AudioError if the coefficients are
    of another number of rows or samples: the loops do not look.
    """
    coefficients = _fitting(x, coefficients)
    signal = x if x.dtype == torch.float64 else x.to(torch.float32)
    start = stream.memory((x.shape[0], memory), signal)
    outputs = x.shape[1] if outputs is None else outputs
    y, states = operation(signal, coefficients.to(torch.float64), start, outputs, list(options))
    if stream.is_streaming():
        stream.keep(states[:, -1])
    return y.to(x.dtype)


def check(x: Tensor, items: int, samples: int = 1) -> None:
    """Raise AudioError unless x is floats (B, C, T), and settings of so many items and samples are for them.

    Axes would be confused otherwise, and outputs rounded to whole numbers like the signal.
    """
    if x.ndim != 3 or not x.is_floating_point():
        raise AudioError(f"the signal is {tuple(x.shape)} {x.dtype}; allowed are floats (B, C, T)")
    if items not in (1, x.shape[0]) or samples not in (1, x.shape[-1]):
        raise AudioError(
            f"settings are of {items} items and {samples} samples, the audio has {x.shape[0]} items of {x.shape[-1]}; "
            "allowed are as many of each, or one"
        )


def _fitting(x: Tensor, coefficients: Tensor) -> Tensor:
    """Coefficients (R, F, P) for the rows of x; one for all is repeated."""
    check(x, *coefficients.shape[:2])
    items = x.shape[0]  # len() would be a number where export wants a symbol
    return coefficients if coefficients.shape[0] == items else coefficients.expand(items, -1, -1)


def rows(x: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """Channels as rows of their own: x (B, C, T) to (B C, 1, T), coefficients (B, P) or (B, T, P) to (B C, F, P)."""
    c = coefficients if coefficients.ndim == 3 else coefficients[:, None]
    c, channels = _fitting(x, c), x.shape[1]
    return x.reshape(x.shape[0] * channels, 1, x.shape[-1]), c.repeat_interleave(channels, 0) if channels != 1 else c
