r"""The sums of a mixing desk: tracks behind their faders, placed between left and right, and the same sent to buses.

$$dry_o = \sum_n \sum_c m_{noc}\, g_n y_{nc}, \qquad sent_{so} = \sum_n s_{ns} \sum_c m_{noc}\, g_n y_{nc}$$

In float32 on the CPU the order of operations is that of a program that adds track after track, so that a mix equals its
preset to the last bit; a matrix product would round elsewhere.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffmix.kernels._operator import operator
from diffmix.kernels.allocation import empty_like
from diffmix.kernels.backend import compiled, over_rows, uncast


def add_tracks(sums: Tensor, y: Tensor, fader: Tensor, matrix: Tensor, send: Tensor) -> Tensor:
    """Add placed tracks and their sends to sums.

    Args:
        sums: what was added before, (B, 2 + 2 S, T): left, right, then sent left, sent right of each of S buses.
        y: tracks (B, n, C, T), mono or stereo.
        fader: linear gain of each track (B, n).
        matrix: placement (B, n, 2, C), rows are left and right.
        send: linear gain of each track's sends (B, n, S), behind its fader and placement.

    Returns:
        The new sums (B, 2 + 2 S, T).
    """
    fader, matrix, send = fader.to(y.dtype), matrix.to(y.dtype), send.to(y.dtype)
    if compiled(y):
        return _add_tracks(sums.to(y.dtype), y, fader, matrix, send)
    with uncast(y):
        return sums + _weights(fader, matrix, send).flatten(1, 2).mT @ y.flatten(1, 2)


def _weights(fader: Tensor, matrix: Tensor, send: Tensor) -> Tensor:
    """What each channel of a track adds to the sums, (B, n, C, 2 + 2 S)."""
    placed = fader[..., None, None] * matrix.mT
    sent = placed[..., None, :] * send[:, :, None, :, None]
    return torch.cat([placed, sent.flatten(-2)], -1)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
    y, fader, matrix, send = ctx.saved_tensors
    gy, dots = _add_tracks_backward(gradient, y, fader, matrix, send)
    dots = dots.to(y.dtype).mT.unflatten(2, (-1, 2))  # (B, n, 1 + S, 2, C)
    dry, sent = dots[:, :, 0], dots[:, :, 1:]
    heard = dry + (send[..., None, None] * sent).sum(2)
    to_fader = (matrix * heard).sum((2, 3))
    to_send = fader[..., None] * (matrix[:, :, None] * sent).sum((3, 4))
    return gradient, gy, to_fader, fader[..., None, None] * heard, to_send


@operator(
    fake=lambda gradient, y, fader, matrix, send: (
        y.new_empty(y.shape),
        y.new_empty(*y.shape[:3], gradient.shape[1], dtype=torch.float64),
    )
)
def _add_tracks_backward(
    gradient: Tensor, y: Tensor, fader: Tensor, matrix: Tensor, send: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradient to y, and the dot products (B, n, C, 2 + 2 S) of every channel and the gradients of the sums."""
    from diffmix.kernels._mixing_numba import backward, blocks

    parts = gradient, y, _weights(fader, matrix, send)
    arrays = [part.detach().contiguous().numpy() for part in parts]
    count = blocks(y.shape[-1])
    gy, dots = empty_like(arrays[1]), np.empty((y.shape[0], count, *y.shape[1:3], len(arrays[0][0])))
    for item in zip(*arrays, gy, dots, strict=True):
        over_rows(partial(backward, *item), count)
    return torch.from_numpy(gy), torch.from_numpy(dots.sum(1))


@operator(
    fake=lambda sums, y, fader, matrix, send: sums.new_empty(sums.shape),
    backward=_backward,
    save=lambda ctx, inputs, output: ctx.save_for_backward(*inputs[1:]),
)
def _add_tracks(sums: Tensor, y: Tensor, fader: Tensor, matrix: Tensor, send: Tensor) -> Tensor:
    from diffmix.kernels._mixing_numba import blocks, forward

    total = sums.detach().clone(memory_format=torch.contiguous_format)
    arrays = [part.detach().contiguous().numpy() for part in (y, fader, matrix, send, total)]
    for item in zip(*arrays, strict=True):
        over_rows(partial(forward, *item), blocks(y.shape[-1]))
    return total
