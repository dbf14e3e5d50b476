r"""Processing at a multiple of the sample rate, so that what a nonlinearity makes above half of it does not fold back.

A polyphase linear-phase filter h interpolates between the samples, and after processing the same filter keeps what the
original rate can hold:

$$u_{Ln+p} = \sum_k h_{Lk+p}\,x_{n-k}, \qquad y_n = \frac{1}{L} \sum_j h_j\,v_{Ln-j}$$

h is a sinc under a Kaiser window (J. F. Kaiser and R. W. Schafer, "On the use of the I0-sinh window for spectrum
analysis", IEEE Trans. ASSP 28(1), 1980), an L-th band filter: every L-th sample of u is one of x. It is flat
to 0.453 of the original sample rate (20 kHz at 44.1 kHz) within 0.001 dB and 90 dB down from 0.547 on.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

from diffmix.kernels import stream
from diffmix.kernels._operator import Loops, recursion, run
from diffmix.kernels.backend import compiled

DELAY = 32
"""Samples, at the original rate, by which each of `upsample` and `downsample` is late."""
_BETA = 9.0  # of the window: 90 dB


def latency_samples(factor: int) -> int:
    """Samples by which `upsample` and `downsample` together are late: none if the factor is 1."""
    return 2 * DELAY if factor > 1 else 0


def oversampled(x: Tensor, factor: int, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply ``function`` at ``factor`` times the sample rate, in time with x.

    While streaming the result is `latency_samples` late.

    Args:
        x: audio (B, C, T).
        factor: 1 (plain ``function(x)``) or more.
        function: takes audio (B, C, factor T') and returns as much. T' is longer than T where the latency is
            compensated: what changes with each sample, as a moving drive, is better applied before and after.

    Returns:
        Audio (B, C, T) of x's dtype.
    """
    if factor == 1:
        return function(x)
    late = 0 if stream.is_streaming() else latency_samples(factor)
    return downsample(function(upsample(pad(x, (0, late)), factor)), factor)[..., late:]


def upsample(x: Tensor, factor: int) -> Tensor:
    """Interpolate: ``factor`` samples for each, `DELAY` original samples late; every ``factor``-th is a sample of x.

    Shape: x (B, C, T) gives (B, C, factor T) of the same dtype.
    """
    apart = filter_bank(x.reshape(-1, 1, x.shape[-1]), interpolator(factor, x.device)[:, None])  # (B C, L, T)
    return apart.mT.reshape(*x.shape[:-1], -1)


def interpolator(factor: int, device: torch.device) -> Tensor:
    """The filter's phases (factor, 2 DELAY), float64: the taps that make each of a sample's ``factor`` samples."""
    return _filter(factor, device).reshape(-1, factor).mT


def downsample(x: Tensor, factor: int) -> Tensor:
    """The adjoint operation: remove what the original rate cannot hold and keep every ``factor``-th sample, late too.

    Shape: x (B, C, factor T) gives (B, C, T) of the same dtype.
    """
    # phase p of sample n meets h at L k - p
    taps = pad(_filter(factor, x.device), (factor - 1, 1)).reshape(-1, factor).flip(-1).mT[None] / factor  # (1, L, K)
    apart = x.reshape(-1, x.shape[-1] // factor, factor).mT
    return filter_bank(apart, taps).reshape(*x.shape[:-1], -1)


def filter_bank(x: Tensor, taps: Tensor) -> Tensor:
    """Causal FIR filters from I signals to O, by direct summation; the same samples in chunks of any lengths.

    Shape: x (R, I, T) with taps (O, I, K), which are constants, gives (R, O, T) of x's dtype.
    """
    outputs, inputs, count = taps.shape
    if compiled(x):
        c = taps.reshape(1, 1, -1).expand(x.shape[0], -1, -1)
        return run(_fir, x, c, memory=inputs * (count - 1), outputs=outputs, options=[count])
    before = stream.memory((x.shape[0], inputs, count - 1), x, torch.float64)
    line = torch.cat([before, x.to(torch.float64)], -1)
    stream.keep(line[..., line.shape[-1] - count + 1 :])
    return conv1d(line, taps.flip(-1).to(line.dtype)).to(x.dtype)


def _filter(factor: int, device: torch.device) -> Tensor:
    """h (2 L DELAY,) in float64, centred at L DELAY."""
    half = factor * DELAY
    n = torch.arange(-half, half, dtype=torch.float64, device=device)
    window = torch.special.i0(_BETA * (1 - (n / half).square()).sqrt()) / torch.special.i0(n.new_tensor(_BETA))
    angle = math.pi / factor * n
    nearest = torch.where(n == 0, 1.0, angle)
    sinc = torch.where(n == 0, 1.0, torch.where(n % factor == 0, 0.0, torch.sin(angle) / nearest))
    return torch.where(n == -half, 0.0, sinc * window)


def _loops(_: int) -> Loops:
    from diffmix.kernels._oversample_numba import backward, forward

    return forward, backward


_fir = recursion("fir", _loops)
