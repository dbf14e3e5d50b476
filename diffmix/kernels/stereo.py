"""Placing sound between two loudspeakers: every law is a matrix, and one function applies matrices.

The matrices are computed in float64 and exported to presets; :func:`apply_matrix` states the order of operations that
a reader of a preset has to follow to hear the same samples.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffmix.kernels._arithmetic import aligned
from diffmix.kernels._operator import operator
from diffmix.kernels.allocation import empty, empty_like
from diffmix.kernels.backend import compiled, over_rows


def apply_matrix(x: Tensor, matrix: Tensor) -> Tensor:
    """Mix channels: ``y[o] = matrix[o][0] * x[0] + matrix[o][1] * x[1] + ...``.

    The matrix is first rounded to the dtype of ``x``; the products are then summed from the first input on, each
    operation rounded on its own. NumPy float32 arithmetic written in that order gives the same samples.

    Args:
        x: audio (B, I, T).
        matrix: gains (B, O, I), rows are outputs; or one matrix per sample (B, T, O, I).

    Returns:
        Audio (B, O, T), dtype of ``x``.
    """
    m = matrix.to(x.dtype)
    if m.ndim == 3 and compiled(x) and x.dtype in (torch.float32, torch.float64):
        return _mix(x, m.expand(x.shape[0], -1, -1))
    m = m[..., None] if m.ndim == 3 else m.permute(0, 2, 3, 1)  # (B, O, I, 1 or T)
    y = m[:, :, 0] * x[:, :1]
    for i in range(1, x.shape[1]):
        y = y + m[:, :, i] * x[:, i : i + 1]
    return y


def _twice_backward(ctx: Any, ggx: Tensor, ggm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    gy, x, matrix = ctx.saved_tensors
    return matrix @ ggx + ggm @ x, ggm.mT @ gy, gy @ ggx.mT


@operator(
    fake=lambda gy, x, matrix: (x.new_empty(x.shape), matrix.new_empty(matrix.shape)),
    backward=_twice_backward,
    save=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)
def _mix_backward(gy: Tensor, x: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
    from diffmix.kernels._matrix_numba import mix_backward

    arrays = [part.detach().contiguous().numpy() for part in (gy, x, matrix)]
    gx, gm = empty_like(arrays[1]), np.zeros(matrix.shape)
    over_rows(partial(mix_backward, *arrays, gx, gm), len(x))
    return torch.from_numpy(gx), torch.from_numpy(gm).to(matrix.dtype)


@operator(
    fake=lambda x, matrix: x.new_empty(x.shape[0], matrix.shape[1], x.shape[2]),
    backward=lambda ctx, gy: _mix_backward(gy, *ctx.saved_tensors),
    save=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)
def _mix(x: Tensor, matrix: Tensor) -> Tensor:
    """Channels x (B, I, T) mixed by a matrix (B, O, I) in one pass."""
    from diffmix.kernels._matrix_numba import mix

    arrays = [part.detach().contiguous().numpy() for part in (x, matrix)]
    y = empty((len(x), matrix.shape[1], x.shape[2]), arrays[0].dtype)
    over_rows(partial(mix, *arrays, y), len(x))
    return torch.from_numpy(y)


PAN_LAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "constant power": lambda p: torch.sin(math.pi / 4 * (1 + p)),
    "-4.5 dB": lambda p: torch.sin(math.pi / 4 * (1 + p)) ** 1.5,
    "linear": lambda p: (1 + p) / 2,
    "balanced": lambda p: torch.sin(math.pi / 2 * (1 + p.clamp_max(0))),
}
"""Gain of the right side at pan p; the left one's is that at -p. The sines make hard pans exactly silent."""


def pan_matrix(pan: Tensor, law: str = "constant power") -> Tensor:
    """Gains of a mono source on both sides, R(pan) and L(pan) = R(-pan), by one of `PAN_LAWS`.

    ================  ====================================  ==========  ==================================
    law               R(p)                                  centre, dB  keeps constant
    ================  ====================================  ==========  ==================================
    constant power    sin((1 + p) pi/4)                     -3.01       L^2 + R^2: loudness in a room
    -4.5 dB           sin((1 + p) pi/4)^(3/2)               -4.52       a compromise of the two beside it
    linear            (1 + p) / 2                           -6.02       L + R: level of the mono sum
    balanced          cos(max(0, -p) pi/2)                  0           the near side
    ================  ====================================  ==========  ==================================

    Args:
        pan: (B,) or (B, T) from -1 (left) over 0 (centre) to 1 (right).
        law: the law's name.

    Returns:
        float64 gains (..., 2, 1).
    """
    p, right = pan.double(), PAN_LAWS[law]
    return torch.stack([right(-p), right(p)], dim=-1)[..., None]


def balance_width_matrix(balance: Tensor, width: Tensor) -> Tensor:
    """Stereo width on middle and side, then balance by turning one side down.

    ``M = (L + R) / 2``, ``S = width (L - R) / 2``; then ``M + S`` times ``cos(max(0, balance) pi / 2)`` is the left
    output and ``M - S`` times ``cos(max(0, -balance) pi / 2)`` the right one.

    Args:
        balance: (B,) or (B, T) from -1 (only left) over 0 (unchanged) to 1 (only right).
        width: (B,) or (B, T) from 0 (mono) over 1 (unchanged) to 2 (side doubled).

    Returns:
        float64 gains (..., 2, 2), rows are outputs; the identity, exactly, at balance 0 and width 1.
    """
    b, w = aligned(balance.double(), width.double())
    left = torch.sin(math.pi / 2 * (1 - b.clamp_min(0)))  # the sine of the complement: exactly 1 and 0 at the ends
    right = torch.sin(math.pi / 2 * (1 + b.clamp_max(0)))
    same, cross = (1 + w) / 2, (1 - w) / 2
    return torch.stack(
        [torch.stack([left * same, left * cross], dim=-1), torch.stack([right * cross, right * same], dim=-1)], dim=-2
    )


def mid_side_matrix() -> Tensor:
    """What turns left and right into middle (L + R) / 2 and side (L - R) / 2: float64 (1, 2, 2)."""
    return torch.tensor([[[0.5, 0.5], [0.5, -0.5]]], dtype=torch.float64)


def left_right_matrix() -> Tensor:
    """What turns middle and side back into left M + S and right M - S: float64 (1, 2, 2)."""
    return torch.tensor([[[1.0, 1.0], [1.0, -1.0]]], dtype=torch.float64)


def pan(x: Tensor, pan: Tensor) -> Tensor:
    """Place a mono track between the loudspeakers by :func:`pan_matrix`, with constant power.

    Args:
        x: audio (B, 1, T).
        pan: position (B,), -1 left to 1 right.

    Returns:
        Audio (B, 2, T).
    """
    return apply_matrix(x, pan_matrix(pan))


def balance_width(x: Tensor, balance: Tensor, width: Tensor) -> Tensor:
    """Narrow or widen a stereo track and turn one side down, by :func:`balance_width_matrix`.

    Args:
        x: audio (B, 2, T).
        balance: (B,), -1 only left to 1 only right.
        width: (B,), 0 mono to 2 side doubled.

    Returns:
        Audio (B, 2, T).
    """
    return apply_matrix(x, balance_width_matrix(balance, width))
