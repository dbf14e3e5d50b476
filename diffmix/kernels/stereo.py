"""Placing sound between two loudspeakers: every law is a matrix, and one function applies matrices.

The matrices are computed in float64 and exported to presets; :func:`apply_matrix` states the order of operations that
a reader of a preset has to follow to hear the same samples.
"""

import math

import torch
from torch import Tensor


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
    m = m[..., None] if m.ndim == 3 else m.permute(0, 2, 3, 1)  # (B, O, I, 1 or T)
    y = m[:, :, 0] * x[:, :1]
    for i in range(1, x.shape[1]):
        y = y + m[:, :, i] * x[:, i : i + 1]
    return y


def pan_matrix(pan: Tensor) -> Tensor:
    """Constant-power pan law: with ``theta = (pan + 1) pi / 4``, ``L = cos(theta)`` and ``R = sin(theta)``.

    The cosine is written as the sine of the complement, so that a hard pan leaves exact silence on the other side.

    Args:
        pan: (B,) or (B, T) from -1 (left) over 0 (centre, -3.01 dB on each side) to 1 (right).

    Returns:
        float64 gains (..., 2, 1).
    """
    p = pan.double()
    return torch.stack([torch.sin(math.pi / 4 * (1 - p)), torch.sin(math.pi / 4 * (1 + p))], dim=-1)[..., None]


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
    b, w = balance.double(), width.double()
    left = torch.sin(math.pi / 2 * (1 - b.clamp_min(0)))  # the sine of the complement: exactly 1 and 0 at the ends
    right = torch.sin(math.pi / 2 * (1 + b.clamp_max(0)))
    same, cross = (1 + w) / 2, (1 - w) / 2
    return torch.stack(
        [torch.stack([left * same, left * cross], dim=-1), torch.stack([right * cross, right * same], dim=-1)], dim=-2
    )


def pan(x: Tensor, pan: Tensor) -> Tensor:
    """Place a mono track between the loudspeakers by :func:`pan_matrix`.

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
