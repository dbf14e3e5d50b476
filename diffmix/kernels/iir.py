"""Recursive filters: a cascade of second-order sections with exact gradients.

On the CPU, compiled loops run all sections in one pass: float32 signals in Pedalboard's arithmetic (bit-identical),
float64 signals as the ideal recursion. The structure is the transposed direct form II (A. V. Oppenheim and
R. W. Schafer, "Discrete-Time Signal Processing", chapter 6); its backward is the analytic adjoint in float64, a filter
run on reversed time, derived in ``_iir_numba``. Elsewhere a blocked state space in float64 torch computes the same.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from diffmix.errors import AudioError
from diffmix.kernels._operator import Loops, check, recursion, rows, run
from diffmix.kernels.backend import portable
from diffmix.kernels.linear import blocked_state_space

_LONGEST = 8  # sections in one pass: more would spill the registers and only lengthen compilation
_TILE = 1024  # samples between two states saved for the backward


def sos_cascade(x: Tensor, sos: Tensor) -> Tensor:
    """Filter a signal by K second-order sections in series, from zero state.

    Sections that change each sample are always computed in float64, and on the CPU. Steady and moving sections keep
    different states: what moves in one chunk of a stream is given as moving in all.

    Shape: ``x`` (B, C, T) and ``sos`` (B, K, 5), or (B, T, K, 5) where it moves, rows ``[b0 b1 b2 a1 a2]`` with
    a0 = 1, give (B, C, T) of x's dtype; B or T of the sections may be 1, for all.
    Gradients: to ``x`` and ``sos``, exact; the portable path also has higher derivatives.
    Raises AudioError for another shape: SciPy's rows of six divide by a0.
    """
    if sos.ndim not in (3, 4) or sos.shape[-1] != 5 or not sos.shape[-2]:
        raise AudioError(
            f"the sections are {tuple(sos.shape)}; allowed are (B, K, 5), or (B, T, K, 5) where they move, "
            "rows [b0 b1 b2 a1 a2] with a0 = 1"
        )
    check(x, *sos.shape[:-2])
    sos = sos.to(torch.float64)
    if sos.ndim == 4:
        each = sos.flatten(2).expand(-1, x.shape[-1], -1)
        return run(_moving_cascade, x.to(torch.float64), each, 2 * sos.shape[2] * x.shape[1]).to(x.dtype)
    if portable(x):
        a, b, c, d = _series(sos)
        system = a, b[..., None], c[:, None], d[:, None, None]
        return blocked_state_space(x.to(torch.float64)[:, :, None], *system)[:, :, 0].to(x.dtype)
    y = x if x.dtype == torch.float64 else x.to(torch.float32)
    for part in sos.split(_LONGEST, 1):
        y = run(_cascade, *rows(y, part.flatten(1)), memory=2 * part.shape[1] + 1).view(x.shape)
    return y.to(x.dtype)


def _loops(coefficients: int) -> Loops:
    from diffmix.kernels._iir_numba import loops

    return loops(coefficients)


def _moving_loops(_: int) -> Loops:
    from diffmix.kernels._iir_numba import moving_backward, moving_forward

    return moving_forward, moving_backward


_cascade = recursion("sos_cascade", _loops, _TILE, together=8)
_moving_cascade = recursion("moving_sos_cascade", _moving_loops, _TILE)


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
