r"""Linear recursions as building blocks: first order, all-pole and state space, constant or changing each sample.

Filters of your own are made of these: an envelope follower is a `one_pole`, linear prediction an `all_pole`, and every
linear system of finite order a `state_space`. All are computed in float64 and returned in the type of the signal,
start from silence and stream. Gradients to the signal and to every coefficient are exact.

On the CPU compiled loops run (for the adjoint of a filter, which is a filter on reversed time, see ``_linear_numba``).
Elsewhere what does not change is computed in blocks of matrix products, and what changes by a scan, if it is of first
order; these have higher derivatives, too. Higher orders that change each sample, and chunks, are computed on the host.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from diffmix.errors import AudioError
from diffmix.kernels._operator import Loops, check, recursion, rows, run
from diffmix.kernels.backend import portable

_TILE = 512  # samples between two states saved for the backward
_BLOCK = 128  # samples per block of the portable path


def one_pole(x: Tensor, a: Tensor) -> Tensor:
    """The recursion y_n = a_n y_{n-1} + x_n of every channel, from y_{-1} = 0.

    Args:
        x: signal (B, C, T).
        a: what is kept of the output before (B,), or (B, T) where it changes each sample; |a| < 1 is stable.

    Returns:
        (B, C, T) of x's dtype.

    Raises AudioError for another shape.
    """
    _check_filter(x, a, 1)
    if portable(x):
        b = x.to(torch.float64)
        each = (a if a.ndim == 2 else a[:, None]).to(torch.float64)[:, None]
        return first_order(each.expand_as(b), b).to(x.dtype)
    return all_pole(x, -a[..., None])


def all_pole(x: Tensor, a: Tensor) -> Tensor:
    """The filter y_n = x_n - a_1 y_{n-1} - ... - a_N y_{n-N} of every channel, 1/A(z), from zero state.

    Args:
        x: signal (B, C, T).
        a: coefficients (B, N) without a leading 1, or (B, T, N) where they change each sample; N >= 1.

    Returns:
        (B, C, T) of x's dtype.

    Raises AudioError for another shape.
    """
    _check_filter(x, a, 2)
    if portable(x) and a.ndim == 2:
        values = a.to(torch.float64)
        order, one = a.shape[1], torch.ones_like(values[:, :1, None])
        shift = torch.eye(order - 1, order, dtype=torch.float64, device=a.device).expand(len(a), -1, -1)
        system = torch.cat([-values[:, None], shift], 1), pad(one, (0, 0, 0, order - 1)), -values[:, None], one
        return blocked_state_space(x.to(torch.float64)[:, :, None], *system)[:, :, 0].to(x.dtype)
    y = run(_all_pole, *rows(x.to(torch.float64), a), memory=a.shape[-1])
    return y.view(x.shape).to(x.dtype)


def state_space(x: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """The system s_{n+1} = A s_n + B x_n, y_n = C s_n + D x_n with S states, from s_0 = 0.

    Args:
        x: I input channels (B, I, T).
        a: (B, S, S); this and the others may also change each sample, all four together (B, T, ..., ...).
        b: (B, S, I).
        c: (B, O, S).
        d: (B, O, I).

    Returns:
        O output channels (B, O, T) of x's dtype.

    Raises AudioError for matrices of other shapes.
    """
    inputs, outputs, states = x.shape[1], c.shape[-2], a.shape[-1]
    shapes = (states, states), (states, inputs), (outputs, states), (outputs, inputs)
    if a.ndim not in (3, 4) or any(m.shape != (*a.shape[:-2], *s) for m, s in zip((a, b, c, d), shapes, strict=True)):
        came = ", ".join(str(tuple(m.shape)) for m in (a, b, c, d))
        raise AudioError(
            f"A, B, C, D are {came} and the input has {inputs} channels; "
            "allowed are (B, S, S), (B, S, I), (B, O, S), (B, O, I), or all four with T behind B"
        )
    check(x, *a.shape[:-2])
    if portable(x) and a.ndim == 3:
        system = (m.to(torch.float64) for m in (a, b, c, d))
        return blocked_state_space(x.to(torch.float64)[:, None], *system)[:, 0].to(x.dtype)
    values = torch.cat([m.flatten(-2).to(torch.float64) for m in (a, b, c, d)], -1)
    each = values if values.ndim == 3 else values[:, None]
    return run(_state_space, x.to(torch.float64), each, a.shape[-1], outputs=c.shape[-2]).to(x.dtype)


def _check_filter(x: Tensor, a: Tensor, ndim: int) -> None:
    """Raise AudioError unless coefficients have ``ndim`` dimensions, or one more where they change each sample."""
    if a.ndim not in (ndim, ndim + 1):
        constant, moving = ("(B,)", "(B, T)") if ndim == 1 else ("(B, N)", "(B, T, N)")
        raise AudioError(f"a is {tuple(a.shape)}; allowed are {constant}, or {moving} where it changes each sample")
    check(x, *(a.shape if ndim == 1 else a.shape[:-1]))


def first_order(a: Tensor, b: Tensor) -> Tensor:
    """e_n = a_n e_{n-1} + b_n from e_{-1} = 0, along the last dimension, in log2(T) steps and O(T) work.

    Two steps make one, e_{n+1} = (a_{n+1} a_n) e_{n-1} + (a_{n+1} b_n + b_{n+1}), so that the odd samples obey a
    recursion of half the length, and each even one follows from the odd one before it.
    """
    length = a.shape[-1]
    if length < 2:
        return b
    even_a, odd_a = a[..., 0 : length - 1 : 2], a[..., 1::2]
    even_b, odd_b = b[..., 0 : length - 1 : 2], b[..., 1::2]
    odd = first_order(odd_a * even_a, odd_a * even_b + odd_b)
    even = torch.cat([b[..., :1], a[..., 2::2] * odd[..., : (length - 1) // 2] + b[..., 2::2]], -1)
    pairs = torch.stack([even[..., : length // 2], odd], -1).flatten(-2)
    return torch.cat([pairs, even[..., length // 2 :]], -1)


def blocked_state_space(x: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    r"""N signals x (B, N, I, T) through B constant systems, as matrix products over blocks of L samples.

    A block of inputs X and its starting state s give

        Y = X T + s O,   T[j, i] = h[i - j],   O[:, i] = C A^i,   s' = A^L s + sum_j A^(L-1-j) B x_j,

    so that only one state per block is recurrent: s_m = A^L s_{m-1} + z_m, a scan of log2(blocks) products.
    Returns (B, N, O, T).
    """
    samples = x.shape[-1]
    columns, power = _powers(a, b)  # A^i B (B, S, I, L)
    outlook, _ = _powers(a.mT, c.mT)  # (C A^i)' (B, S, O, L)
    later = torch.einsum("bos,bsij->boij", c, columns)  # h_1 .. h_L
    impulse = torch.cat([d[..., None], later[..., :-1], torch.zeros_like(d)[..., None]], -1)  # last: T's other triangle
    n = torch.arange(_BLOCK, device=x.device)
    toeplitz = impulse[..., torch.where(n >= n[:, None], n - n[:, None], _BLOCK)]

    blocks = -(-samples // _BLOCK)
    v = pad(x, (0, blocks * _BLOCK - samples)).unflatten(-1, (blocks, _BLOCK))
    state = torch.einsum("bnimj,bsij->bnms", v, columns.flip(-1))  # what each block adds to the state after it
    distance = 1
    while distance < blocks:
        state = state + pad(state[:, :, :-distance], (0, 0, distance, 0)) @ power.mT[:, None]
        power = power @ power
        distance *= 2
    start = pad(state[:, :, :-1], (0, 0, 1, 0))
    y = torch.einsum("bnimj,boijk->bnomk", v, toeplitz) + torch.einsum("bnms,bsok->bnomk", start, outlook)
    return y.flatten(-2)[..., :samples]


def _powers(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """``[b, A b, A^2 b, ...]`` (B, S, I, block length) by doubling, and A to the block length."""
    columns = b[..., None]
    while columns.shape[-1] < _BLOCK:
        columns = torch.cat([columns, torch.einsum("brs,bsij->brij", a, columns)], -1)
        a = a @ a
    return columns, a


def _all_pole_loops(_: int) -> Loops:
    from diffmix.kernels._linear_numba import all_pole_backward, all_pole_forward

    return all_pole_forward, all_pole_backward


def _state_space_loops(_: int) -> Loops:
    from diffmix.kernels._linear_numba import state_space_backward, state_space_forward

    return state_space_forward, state_space_backward


_all_pole = recursion("all_pole", _all_pole_loops, _TILE)
_state_space = recursion("state_space", _state_space_loops, _TILE)
