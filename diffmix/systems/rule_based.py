"""Style transfer by rule: match the mean spectrum, then compress until the loudness is reached.

The baseline of DeepAFx-ST (C. J. Steinmetz, N. J. Bryan and J. D. Reiss, J. Audio Eng. Soc. 70(9), 2022), as its
published code has it.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import fftconvolve, firwin2, savgol_filter
from torch import Tensor

from diffmix.kernels.loudness import integrated_loudness
from diffmix.metrics.style import at_peak
from diffmix.processors import KneeCompressor

FFT, TAPS, SMOOTHED = 65536, 63, 1025
NEAR_LU, STEP_DB, LOWEST_DB = 0.5, 0.5, -80.0
COMPRESSOR = {"ratio": 3.0, "attack_ms": 1.0, "release_ms": 50.0, "knee_db": 6.0, "makeup_db": 0.0}


@torch.no_grad()
def rule_based(x: Tensor, reference: Tensor, sample_rate: float, taps: int = TAPS) -> Tensor:
    """Mono audio x (1, T) in the style of a reference (1, T'), at a peak of -12 dBFS.

    A linear-phase filter of ``taps`` brings the mean spectrum to the reference's, smoothed over 1025 bins of 65536.
    While the reference is more than 0.5 LU louder, a compressor's threshold falls by 0.5 dB, to -80 dB; its ratio is 3.
    """
    x, reference = _peaked(x), _peaked(reference)
    ratio = _spectrum(reference) / np.maximum(_spectrum(x), 1e-10)
    ratio[-1] = 0.0
    taken = firwin2(taps, np.linspace(0, 1, len(ratio)), ratio)
    y = fftconvolve(x.numpy()[0], taken)[taps // 2 : taps // 2 + x.shape[-1]]
    return _compressed(_peaked(torch.from_numpy(y).to(x)[None]), reference, sample_rate)


def _compressed(x: Tensor, reference: Tensor, sample_rate: float) -> Tensor:
    """x at the first threshold, from 0 dB down, at which the reference is at most 0.5 LU louder; the lowest if none."""
    compressor = KneeCompressor(sample_rate)
    wanted = integrated_loudness(reference[None], sample_rate)
    thresholds = torch.arange(0, LOWEST_DB - STEP_DB / 2, -STEP_DB)
    y = x
    if wanted - integrated_loudness(x[None], sample_rate) <= NEAR_LU:
        return y
    for some in thresholds.split(16):
        settings = {name: torch.full_like(some, value) for name, value in COMPRESSOR.items()}
        tried = at_peak(compressor.process(x.expand(len(some), -1, -1), threshold_db=some, **settings))
        near = wanted - integrated_loudness(tried, sample_rate) <= NEAR_LU
        if near.any():
            return tried[int(near.to(torch.int8).argmax())]
        y = tried[-1]
    return y


def _peaked(x: Tensor) -> Tensor:
    return at_peak(x[None])[0]


def _spectrum(x: Tensor) -> NDArray[np.float64]:
    """Mean magnitudes of frames without a window, smoothed."""
    x = torch.nn.functional.pad(x, (0, max(0, FFT // 2 + 1 - x.shape[-1])))
    frames = torch.stft(x, FFT, FFT // 4, window=torch.ones(FFT), normalized=True, return_complex=True)
    smooth: NDArray[np.float64] = savgol_filter(frames.abs().mean(2)[0].double().numpy(), SMOOTHED, 2)
    return np.maximum(smooth, 0.0)
