"""Recursive filters: a cascade of second-order sections with exact gradients.

On the CPU, compiled loops run all sections in one pass: float32 signals in Pedalboard's arithmetic (bit-identical),
float64 signals as the ideal recursion. The structure is the transposed direct form II (A. V. Oppenheim and
R. W. Schafer, "Discrete-Time Signal Processing", chapter 6); its backward is the analytic adjoint in float64, a filter
run on reversed time, derived in ``_iir_numba``. Elsewhere a blocked state space in float64 torch computes the same.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from diffmix.kernels._operator import flat, operator, per_row
from diffmix.kernels.backend import compiled, over_rows

_LONGEST = 8  # sections in one pass: more would spill the registers and only lengthen compilation
_TILE = 512  # samples between two states saved for the backward; divides Pedalboard's block
_BLOCK = 128  # samples per block of the portable path


def sos_cascade(x: Tensor, sos: Tensor) -> Tensor:
    """Filter a signal by K second-order sections in series, from zero state.

    Shape: ``x`` (B, C, T) and ``sos`` (B, K, 5), rows ``[b0 b1 b2 a1 a2]`` with a0 = 1, give (B, C, T) of x's dtype.
    Gradients: to ``x`` and ``sos``, exact; the portable path also has higher derivatives.
    """
    sos = sos.to(torch.float64)
    if not compiled(x):
        return _state_space(x.to(torch.float64), sos).to(x.dtype)
    y = x if x.dtype == torch.float64 else x.to(torch.float32)
    for part in sos.split(_LONGEST, 1):
        y, _ = _sos_cascade(y, part)
    return y.to(x.dtype)


@operator(fake=lambda gy, x, sos, states: (x.new_empty(x.shape), sos.new_empty(sos.shape)))
def _sos_cascade_backward(gy: Tensor, x: Tensor, sos: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients to x and sos; the latter sums over the channels that shared a filter."""
    from diffmix.kernels._iir_numba import kernels

    (items, channels, _), sections = x.shape, sos.shape[1]
    signal, exact = flat(x), per_row(sos, x)
    gx, gradient = np.empty_like(signal), np.zeros_like(exact)
    arrays = flat(gy), signal, exact.astype(signal.dtype), exact, flat(states), gx, gradient
    _, backward = kernels(sections)
    over_rows(lambda a, b: backward(*arrays, _TILE, a, b), items * channels)
    per_channel = torch.from_numpy(gradient).reshape(items, channels, sections, 5)
    return torch.from_numpy(gx).reshape(x.shape), per_channel.sum(1)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[1])


@operator(
    fake=lambda x, sos: (x.new_empty(x.shape), x.new_empty(x.shape[0] * x.shape[1], _tiles(x), 2 * sos.shape[1])),
    backward=lambda ctx, gy, _: _sos_cascade_backward(gy, *ctx.saved_tensors),
    save=_save,
)
def _sos_cascade(x: Tensor, sos: Tensor) -> tuple[Tensor, Tensor]:
    """``(y, states)``: the filtered signal, and every row's 2K states before each tile, for the backward."""
    from diffmix.kernels._iir_numba import kernels

    rows, sections = x.shape[0] * x.shape[1], sos.shape[1]
    signal = flat(x)
    y = np.empty_like(signal)
    states = np.zeros(rows * _tiles(x) * 2 * sections, y.dtype)
    arrays = signal, per_row(sos, x).astype(y.dtype), y, states
    forward, _ = kernels(sections)
    over_rows(lambda a, b: forward(*arrays, _TILE, a, b, x.dtype == torch.float32), rows)
    return torch.from_numpy(y).reshape(x.shape), torch.from_numpy(states).reshape(rows, -1, 2 * sections)


def _tiles(x: Tensor) -> int:
    return -(-x.shape[-1] // _TILE)


def _state_space(x: Tensor, sos: Tensor) -> Tensor:
    r"""The cascade as matrix products over blocks of L samples, float64.

    With the cascade's state space s' = A s + B v, o = C s + D v, a block of inputs X and its starting state s give

        Y = X T + s O,   T[j, i] = h[i - j],   O[:, i] = C A^i,   s' = A^L s + sum_j A^(L-1-j) B x_j,

    so that only one state per block is recurrent: s_m = A^L s_{m-1} + z_m, a scan of log2(blocks) products.
    """
    items, channels, samples = x.shape
    a, b, c, d = _series(sos)
    columns, power = _powers(a, b)
    rows, _ = _powers(a.mT, c)
    later = torch.einsum("bn,bni->bi", c, columns)  # h_1 .. h_L
    impulse = torch.cat([d[:, None], later[:, :-1], torch.zeros_like(d)[:, None]], 1)  # last: T's other triangle
    n = torch.arange(_BLOCK, device=x.device)
    toeplitz = impulse[:, torch.where(n >= n[:, None], n - n[:, None], _BLOCK)]

    blocks = -(-samples // _BLOCK)
    v = pad(x, (0, blocks * _BLOCK - samples)).reshape(items, channels, blocks, _BLOCK)
    state = v @ columns.flip(-1).mT[:, None]  # what each block adds to the state after it
    distance = 1
    while distance < blocks:
        state = state + pad(state[:, :, :-distance], (0, 0, distance, 0)) @ power.mT[:, None]
        power = power @ power
        distance *= 2
    start = pad(state[:, :, :-1], (0, 0, 1, 0))
    y = v @ toeplitz[:, None] + start @ rows[:, None]
    return y.reshape(items, channels, -1)[..., :samples]


def _series(sos: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """State space of the cascade: A (items, 2K, 2K), B (items, 2K), C (items, 2K), D (items,)."""
    sections = []
    for b0, b1, b2, a1, a2 in (section.unbind(1) for section in sos.unbind(1)):
        one, zero = torch.ones_like(b0), torch.zeros_like(b0)
        matrix = torch.stack([torch.stack([-a1, one], 1), torch.stack([-a2, zero], 1)], 1)
        sections.append((matrix, torch.stack([b1 - a1 * b0, b2 - a2 * b0], 1), torch.stack([one, zero], 1), b0))
    a, b, c, d = sections[0]
    for a2nd, b2nd, c2nd, d2nd in sections[1:]:
        fed = b2nd[:, :, None] * c[:, None]  # the second system hears C s + D v of the first
        a = torch.cat([pad(a, (0, 2)), torch.cat([fed, a2nd], 2)], 1)
        b = torch.cat([b, b2nd * d[:, None]], 1)
        c = torch.cat([d2nd[:, None] * c, c2nd], 1)
        d = d2nd * d
    return a, b, c, d


def _powers(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """``[b, A b, A^2 b, ...]`` (items, n, block length) by doubling, and A to the block length."""
    columns = b[:, :, None]
    while columns.shape[2] < _BLOCK:
        columns = torch.cat([columns, a @ columns], 2)
        a = a @ a
    return columns, a
