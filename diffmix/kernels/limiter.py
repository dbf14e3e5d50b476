r"""A limiter that the waveform between the samples does not exceed either.

The peaks of the signal, four times oversampled by a sharp filter and by that of BS.1770-4, and those of the parabolas
through its highest points must not exceed the ceiling. Their excess in dB is

1. held for the look-ahead and a little longer, so that it is known before the peak comes;
2. released exponentially, in dB;
3. averaged over the look-ahead by two box filters, so that the gain moves without corners.

Every value that the average at a peak's moment takes in is at least that peak's excess, hence so is the average: the
peak is brought to the ceiling whatever came before.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from diffmix.kernels import oversample, stream
from diffmix.kernels._operator import Loops, recursion, run
from diffmix.kernels.ballistics import ballistics, delayed, held, level_db, memory, sliding_maximum
from diffmix.kernels.loudness import true_peak_filter
from diffmix.kernels.units import per_sample

_FACTOR = 4
_GUARD = 8  # samples around a peak in which the gain is already and still low: there the gain is as good as constant


def limiter_latency(lookahead: int) -> int:
    """Samples by which `limiter` is late while streaming: the oversampling's and the look-ahead."""
    return oversample.DELAY + lookahead + _GUARD


def limiter(x: Tensor, ceiling_db: Tensor, release_ms: Tensor, sample_rate: float, lookahead: int) -> Tensor:
    """Keep the true peak of x under a ceiling by one gain for all channels.

    Args:
        x: audio (B, C, T).
        ceiling_db: the highest level of the waveform, between samples too, in dBTP (B,), or (B, T) if it moves.
        release_ms: time constant of the gain's return, in dB (B,), or (B, T).
        sample_rate: in Hz.
        lookahead: samples in which the gain comes down, at least 2.

    Returns:
        Audio (B, C, T) of x's dtype, in time with x; `limiter_latency` late while streaming. Gradients are exact.
    """
    late = limiter_latency(lookahead)
    more = 0 if stream.is_streaming() else late
    peak = true_peaks(pad(x, (0, more)))
    over = (level_db(peak) - per_sample(held(ceiling_db, more)).to(x.dtype)).clamp_min(0)
    ahead = sliding_maximum(over, lookahead + 2 * _GUARD + 1)
    release = memory(held(release_ms, more), sample_rate)
    excess = ballistics(ahead, torch.zeros_like(release), release)
    first = lookahead // 2
    for length in (first + 1, lookahead - first + 1):
        excess = oversample.filter_bank(excess, x.new_full((1, 1, length), 1 / length, dtype=torch.float64))
    gain = torch.exp(excess * (-math.log(10) / 20))
    return delayed(x, late) * gain if stream.is_streaming() else x * gain[..., late:]


def true_peaks(x: Tensor) -> Tensor:
    """The largest amplitude of any channel around each sample, between samples too, `oversample.DELAY` samples late.

    Of a sine below 0.43 of the sample rate it is at most 0.05 dB too low, and nowhere lower than what BS.1770-4
    measures, whose filter makes it up to 0.35 dB too high for tones near a quarter of the sample rate.

    Shape: x (B, C, T) gives (B, 1, T).
    """
    sharp = oversample.interpolator(_FACTOR, x.device)
    standard = true_peak_filter(sharp)
    before = oversample.DELAY - standard.shape[-1] // 2
    taps = torch.cat([sharp, pad(standard, (before, before))])[:, None]
    between = oversample.filter_bank(x.reshape(-1, 1, x.shape[-1]), taps)  # (B C, 2 L, T)
    constants = x.new_zeros(x.shape[0], 1, 1, dtype=torch.float64)
    apart = between.reshape(x.shape[0], -1, x.shape[-1])  # 2 C signals of L phases
    return run(_peaks, apart, constants, memory=4 * x.shape[1], outputs=1, options=[_FACTOR])


def _loops(_: int) -> Loops:
    from diffmix.kernels._limiter_numba import backward, forward

    return forward, backward


_peaks = recursion("true_peaks", _loops)
