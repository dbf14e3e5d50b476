r"""Feedback delay network: eight delay lines that feed each other through an orthogonal matrix.

With line j of D_j samples, w what enters it and u its input,

$$v_j[n] = w_j[n - D_j], \qquad l_j[n] = a_j v_j[n] + p_j l_j[n-1], \qquad w[n] = u[n] + A\, l[n]$$

where A = I - 1/4 reflects (Householder: no line feeds itself more than another) and so loses nothing. All decay is in
the filters: a line of D samples has the gain 10^(-3 D / (sample_rate T)) at frequencies that shall fall by 60 dB in T
seconds. J. M. Jot and A. Chaigne, "Digital delay networks for designing artificial reverberators", AES 90, 1991.
"""

import math

import numpy as np
import torch
from torch import Tensor

from diffmix.errors import AudioError
from diffmix.kernels._operator import Loops, recursion, run

LINES = 8
TILE = 32768  # samples between two saved states
_LENGTHS_MS = (29.7, 34.3, 39.1, 43.7, 48.9, 53.9, 60.1, 67.3)  # at size 1: even in ratio, echoes hardly ever together
_SHORTEST = 8  # samples that the loops take in one step


def feedback_delay_network(
    x: Tensor, decay_s: Tensor, high_ratio: Tensor, crossover_hz: Tensor, sample_rate: float, size: float = 1.0
) -> Tensor:
    """The tail alone, without the dry signal. Left feeds and is heard from the even lines, right the odd ones.

    Args:
        x: audio (B, C, T) with C 1 or 2; mono feeds and is heard from all lines.
        decay_s: seconds to -60 dB at low frequencies (B,).
        high_ratio: decay time at the crossover as a part of ``decay_s``, above 0 to 1 (B,).
        crossover_hz: where ``high_ratio`` holds; higher frequencies decay faster still (B,). Above 0.45 sample_rate it
            counts as that.
        sample_rate: in Hz.
        size: factor of the lines' lengths, which at 1 are 30 to 67 ms.

    Returns:
        Audio (B, C, T) of x's dtype, computed in float64 if x is, otherwise in float32. Gradients reach x and the
        three settings.

    Raises:
        AudioError: for more than two channels, or lines shorter than 8 samples.
    """
    channels = x.shape[1]
    if channels > 2:
        raise AudioError(f"the network takes mono or stereo audio (B, 1 or 2, T), got {channels} channels")
    lengths = line_lengths(sample_rate, size)
    if lengths[0] < _SHORTEST:
        raise AudioError(f"size {size:g} at {sample_rate:g} Hz makes lines shorter than {_SHORTEST} samples")
    coefficients = torch.cat(damping(decay_s, high_ratio, crossover_hz, sample_rate, lengths), -1)
    return run(_network, x, coefficients[:, None], memory=sum(lengths) + LINES, options=lengths)


def line_lengths(sample_rate: float, size: float) -> list[int]:
    """Samples of each line: a prime number each, so that no two share a period."""
    return [_next_prime(round(size * ms * sample_rate / 1000)) for ms in _LENGTHS_MS]


def _next_prime(n: int) -> int:
    return next(p for p in range(max(n, 2), 2 * max(n, 2)) if all(p % d for d in range(2, math.isqrt(p) + 1)))


def damping(
    decay_s: Tensor, high_ratio: Tensor, crossover_hz: Tensor, sample_rate: float, lengths: list[int]
) -> tuple[Tensor, Tensor]:
    """The one-pole filters a / (1 - p z^-1) of each line: a and p, (B, 8) float64.

    With the gains g at 0 Hz and g r at the crossover, and c the cosine there, |1 - p|^2 / |1 - p e^(-jw)|^2 = r^2 is
    quadratic in p; a = g (1 - p).
    """
    decay, ratio = decay_s.double()[:, None], high_ratio.double()[:, None]
    frequency = crossover_hz.double().clamp_max(0.45 * sample_rate)[:, None]
    passes = torch.tensor(lengths, dtype=torch.float64, device=decay.device) * (-3 * math.log(10) / sample_rate)
    low = torch.exp(passes / decay)
    square = torch.exp(2 * passes / decay * (1 / ratio - 1))  # r^2
    cosine = torch.cos(2 * math.pi * frequency / sample_rate)
    # the discriminant (1 - r^2 c)^2 - (1 - r^2)^2, factored
    root = torch.sqrt(square * (1 - cosine) * (2 - square * (1 + cosine)))
    pole = (1 - square) / (1 - square * cosine + root)
    return low * (1 - pole), pole


def _loops(_: int) -> Loops:
    from diffmix.kernels._fdn_numba import backward, forward

    return (
        lambda *a: forward(*a[:7], np.array(a[7:])),
        lambda *a: backward(*a[:9], np.array(a[9:])),
    )


_network = recursion("feedback_delay_network", _loops, TILE)
