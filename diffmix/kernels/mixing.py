r"""The sums of a mixing desk: tracks placed between left and right, and the same sent to a bus.

$$dry_o = \sum_n \sum_c m_{noc}\, y_{nc}, \qquad sent_o = \sum_n s_n \sum_c m_{noc}\, y_{nc}$$

In float32 on the CPU the order of operations is that of a program that adds track after track, so that a mix equals its
preset to the last bit; a matrix product would round elsewhere.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from diffmix.kernels._operator import operator
from diffmix.kernels.backend import compiled, over_rows

_DOT = 16384  # samples per float32 dot product; their sums are float64


def add_tracks(sums: Tensor, y: Tensor, matrix: Tensor, send: Tensor) -> Tensor:
    """Add placed tracks and their sends to sums.

    Args:
        sums: what was added before, (B, 4, T): left, right, sent left, sent right.
        y: tracks (B, n, C, T), mono or stereo.
        matrix: placement (B, n, 2, C), rows are left and right.
        send: linear gain of each track's send (B, n).

    Returns:
        The new sums (B, 4, T).
    """
    matrix, send = matrix.to(y.dtype), send.to(y.dtype)
    if compiled(y):
        return _add_tracks(sums, y, matrix, send)
    return sums + _weights(matrix, send) @ y.flatten(1, 2)


def _weights(matrix: Tensor, send: Tensor) -> Tensor:
    """The same as one matrix (B, 4, n C)."""
    both = torch.cat([matrix, matrix * send[..., None, None]], -2)
    return both.transpose(1, 2).flatten(2)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    y, matrix, send = ctx.saved_tensors
    gy = _weights(matrix, send).transpose(1, 2) @ gradient
    pieces = zip(gradient.split(_DOT, -1), y.flatten(1, 2).split(_DOT, -1), strict=True)
    dots = sum((g @ x.transpose(1, 2)).double() for g, x in pieces)  # (B, 4, n C)
    dots = dots.unflatten(2, y.shape[1:3]).transpose(1, 2)  # (B, n, 4, C)
    dry, sent = dots.split(2, 2)
    to_matrix = dry + send.double()[..., None, None] * sent
    to_send = (matrix.double() * sent).sum((2, 3))
    return gradient, gy.view_as(y), to_matrix.to(matrix.dtype), to_send.to(send.dtype)


@operator(
    fake=lambda sums, y, matrix, send: sums.new_empty(sums.shape),
    backward=_backward,
    save=lambda ctx, inputs, output: ctx.save_for_backward(*inputs[1:]),
)
def _add_tracks(sums: Tensor, y: Tensor, matrix: Tensor, send: Tensor) -> Tensor:
    from diffmix.kernels._mixing_numba import blocks, forward

    total = sums.detach().to(y.dtype).clone(memory_format=torch.contiguous_format)
    arrays = [part.detach().contiguous().numpy() for part in (y, matrix, send, total)]
    for item in zip(*arrays, strict=True):
        over_rows(partial(forward, *item), blocks(y.shape[-1]))
    return total
