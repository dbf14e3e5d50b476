"""Levels of a mix over time: crest, peak to loudness, dynamics small and large."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d

from diffmix.kernels.loudness import SILENCE_LUFS, block_loudness, integrated_loudness, true_peak_db
from diffmix.losses._audio import heard, pair

DYNAMICS_MS = ((50, 1000), (100, 2000))
"""Short and long windows between which `dynamics_db` tells the difference."""


def crest_db(x: Tensor) -> Tensor:
    """Peak over RMS (B,) dB of mixes (B, C, T), the mean of the channels; 0 for silence."""
    x = heard(x, channels=None)
    peak, power = x.new_zeros(x.shape[:2]), x.new_zeros(x.shape[:2], dtype=torch.float64)
    for piece in x.split(1 << 20, -1):  # for the memory of long mixes
        peak = torch.maximum(peak, torch.linalg.vector_norm(piece, float("inf"), dim=-1))
        power = power + piece.double().square().sum(-1)
    rms = (power / x.shape[-1]).clamp_min(1e-24).sqrt().to(x.dtype)
    ratio = torch.where(rms <= 1e-6, 1.0, peak / rms.clamp_min(1e-6))
    return (20 * ratio.log10()).mean(1)


def peak_to_loudness_db(x: Tensor, sample_rate: float) -> Tensor:
    """True peak over integrated loudness (B,) of mixes (B, C, T): the PLR."""
    x = heard(x, channels=None)
    return true_peak_db(x, sample_rate) - integrated_loudness(x, sample_rate)


def dynamics_db(x: Tensor, sample_rate: float, short_ms: float, long_ms: float) -> Tensor:
    """How far each moment stands out: level in a short window over that in a long one, (B, frames) dB.

    Of the power of all channels of mixes (B, C, T), every quarter of the short window; both windows are centred on the
    moment. Levels below -70 dBFS count as that.
    """
    x = heard(x, channels=None)
    hop = max(1, round(short_ms * sample_rate / 4000))
    step = avg_pool1d(x.square().sum(1, keepdim=True), hop, hop, ceil_mode=True)  # (B, 1, steps)
    short, long = 4, max(5, round(4 * long_ms / short_ms))

    def smooth(width: int) -> Tensor:
        padded = torch.nn.functional.pad(step, (width // 2, width - 1 - width // 2))
        share = torch.nn.functional.pad(torch.ones_like(step), (width // 2, width - 1 - width // 2))
        mean = avg_pool1d(padded, width, 1) / avg_pool1d(share, width, 1)  # at the ends of what there is
        return 10 * mean.clamp_min(1e-7).log10()[:, 0]

    return smooth(short) - smooth(long)


def dynamics_error_db(y: Tensor, target: Tensor, sample_rate: float) -> Tensor:
    """Mean difference (B,) dB of the micro-dynamics of mixes (B, C, T) over time, at two scales.

    The multi-resolution loudness dynamic range of C.-Y. Yu et al. (DiffVox, 2025), in decibels: see `dynamics_db`.
    """
    y, target = pair(y, target, channels=None)
    errors = [
        (dynamics_db(y, sample_rate, *ms) - dynamics_db(target, sample_rate, *ms)).abs().mean(1) for ms in DYNAMICS_MS
    ]
    return torch.stack(errors).mean(0)


def loudness_range(x: Tensor, sample_rate: float) -> Tensor:
    """Loudness range (B,) in LU of programmes (B, C, T) by EBU Tech 3342: the LRA.

    Between the 10th and the 95th percentile of the loudness of windows of 3 s that begin every 0.1 s; windows below
    -70 LUFS, then those more than 20 LU below the mean power of the rest, do not count. Audio of less than 3 s has
    none: 0.
    """
    x = heard(x, channels=None)
    if x.shape[-1] < 3 * sample_rate:
        return x.new_zeros(len(x))
    found = []
    for short in block_loudness(x, sample_rate, block_s=3.0):
        audible = short[short > SILENCE_LUFS]
        if len(audible):
            audible = audible[audible >= 10 * (10 ** (audible.double() / 10)).mean().log10() - 20]
        low, high = audible.quantile(torch.tensor([0.10, 0.95]).to(audible)) if len(audible) else (0.0, 0.0)
        found.append(torch.as_tensor(high - low))
    return torch.stack(found).to(x)
