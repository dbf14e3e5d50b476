"""Style transfer by rule: match the mean spectrum, then compress until the loudness is reached.

The baseline of DeepAFx-ST (C. J. Steinmetz, N. J. Bryan and J. D. Reiss, J. Audio Eng. Soc. 70(9), 2022), as its
published code has it.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import fftconvolve, firwin2, savgol_filter
from torch import Tensor

from diffmix.kernels.ballistics import ballistics, gain_computer, memory
from diffmix.kernels.loudness import integrated_loudness
from diffmix.kernels.units import db_to_gain
from diffmix.metrics.style import at_peak

FFT, TAPS, SMOOTHED = 65536, 63, 1025
NEAR_LU, STEP_DB, LOWEST_DB = 0.5, 0.5, -80.0
RATIO, ATTACK_MS, RELEASE_MS, KNEE_DB = 3.0, 1.0, 50.0, 6.0


@torch.no_grad()
def rule_based(x: Tensor, reference: Tensor, sample_rate: float, legacy: bool = False) -> Tensor:
    """Mono audio x (1, T) in the style of a reference (1, T'), at a peak of -12 dBFS.

    A linear-phase filter of 63 taps brings the mean spectrum to the reference's, smoothed over 1025 bins of 65536.
    While the reference is more than 0.5 LU louder, a compressor's threshold falls by 0.5 dB, to -80 dB; its ratio is 3.
    ``legacy`` is the published code: the compressor's knee is bent as it should not be, and where no threshold makes it
    loud enough the lowest is taken.
    """
    x, reference = _peaked(x), _peaked(reference)
    ratio = _spectrum(reference) / np.maximum(_spectrum(x), 1e-10)
    ratio[-1] = 0.0
    taken = firwin2(TAPS, np.linspace(0, 1, len(ratio)), ratio)
    y = fftconvolve(x.numpy()[0], taken)[TAPS // 2 : TAPS // 2 + x.shape[-1]]
    return _as_loud(_peaked(torch.from_numpy(y).to(x)[None]), reference, sample_rate, legacy)


def _as_loud(x: Tensor, reference: Tensor, sample_rate: float, legacy: bool) -> Tensor:
    """x at the first threshold, from 0 dB down, at which the reference is at most 0.5 LU louder, or what comes nearest.

    A sudden onset passes before the compressor has noticed: a lower threshold then makes all else quieter.
    """
    wanted = integrated_loudness(reference[None], sample_rate)
    best, short = x, wanted - integrated_loudness(x[None], sample_rate)
    for some in torch.arange(0, LOWEST_DB - STEP_DB / 2, -STEP_DB).split(16):
        if short <= NEAR_LU:
            break
        tried = at_peak(_compressed(x.expand(len(some), -1, -1), some, sample_rate, legacy))
        gaps = wanted - integrated_loudness(tried, sample_rate)
        near = gaps <= NEAR_LU
        chosen = int(near.to(torch.int8).argmax()) if near.any() else len(some) - 1 if legacy else int(gaps.argmin())
        if legacy or gaps[chosen] < short:
            best, short = tried[chosen], gaps[chosen : chosen + 1]
    return best


def _compressed(x: Tensor, threshold_db: Tensor, sample_rate: float, legacy: bool) -> Tensor:
    """Audio x (B, 1, T) compressed above thresholds (B,): the reduction is smoothed, in dB.

    Times are those of a rise from 10 to 90 %, ln 9 time constants.
    """
    level_db = (20 * (x.abs() + 1e-8).log10()).clamp_min(-96)
    threshold, ratio, knee = threshold_db[:, None, None], torch.tensor(RATIO), torch.tensor(KNEE_DB)
    wanted_db = -gain_computer(level_db, threshold, ratio, knee)
    if legacy:
        bent_db = -((level_db - threshold + KNEE_DB) / 2).square() / (2 * KNEE_DB * RATIO)
        wanted_db = torch.where((level_db - threshold).abs() <= KNEE_DB / 2, bent_db, wanted_db)
    times = (torch.full((len(x),), ms / math.log(9), dtype=torch.float64) for ms in (ATTACK_MS, RELEASE_MS))
    return x * db_to_gain(-ballistics(wanted_db, *(memory(t, sample_rate) for t in times)))


def _peaked(x: Tensor) -> Tensor:
    return at_peak(x[None])[0]


def _spectrum(x: Tensor) -> NDArray[np.float64]:
    """Mean magnitudes of frames without a window, smoothed."""
    x = torch.nn.functional.pad(x, (0, max(0, FFT // 2 + 1 - x.shape[-1])))
    frames = torch.stft(x, FFT, FFT // 4, window=torch.ones(FFT), normalized=True, return_complex=True)
    smooth: NDArray[np.float64] = savgol_filter(frames.abs().mean(2)[0].double().numpy(), SMOOTHED, 2)
    return np.maximum(smooth, 0.0)
