"""Custom operators: what lets torch.compile take a compiled loop into one graph, forward and backward.

``torch.library.custom_op`` offers the same, but its first call imports ``torch._dynamo``, which takes seconds.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

_library = torch.library.Library("diffmix", "FRAGMENT")


def _raise_once_differentiable(ctx: Any, *gradients: Any) -> Any:
    raise RuntimeError(
        "the compiled loops have first derivatives only; for higher ones run the forward inside "
        "`with diffmix.kernels.backend.backend('torch'):`"
    )


def operator(
    fake: Callable[..., Any],
    backward: Callable[..., Any] = _raise_once_differentiable,
    save: Callable[[Any, Any, Any], None] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function an operator ``diffmix::<its name>``; its schema is read from its annotations.

    ``fake`` takes the same arguments and returns empty outputs of the right shape; ``backward(ctx, *gradients)`` and
    ``save(ctx, inputs, output)`` are those of ``torch.library.register_autograd``. Without ``backward``,
    differentiating the operator raises.
    """

    def define(function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__name__.lstrip("_")
        _library.define(name + torch.library.infer_schema(function, mutates_args=()))
        _library.impl(name, function, "CompositeExplicitAutograd")
        torch.library.register_fake(f"diffmix::{name}", fake, lib=_library)
        torch.library.register_autograd(f"diffmix::{name}", backward, setup_context=save, lib=_library)
        return getattr(torch.ops.diffmix, name).default

    return define


def flat(x: Tensor) -> np.ndarray:
    """What a compiled loop takes: the values as a contiguous flat array, whatever the layout was."""
    return x.detach().contiguous().reshape(-1).numpy()


def per_row(values: Tensor, x: Tensor) -> np.ndarray:
    """Values (B, ...) of each item, flat, repeated for the channels of x (B, C, T) that share them."""
    return flat(values.repeat_interleave(x.shape[1], 0))
