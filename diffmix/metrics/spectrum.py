"""How far two mixes are apart in their spectra."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from diffmix.kernels.backend import uncast
from diffmix.losses._audio import heard, pair
from diffmix.losses.audio_features import bark_weights

FFT_SIZES = (512, 2048, 8192)
THIRD_OCTAVES_HZ = tuple(1000 * 10 ** (n / 10) for n in range(-13, 13))
"""Centres of the bands from 50 Hz to 16 kHz (IEC 61260, base ten)."""

FLOOR_DB = -80.0
"""Bands further below the whole count as equally empty."""

SIDE_FLOOR_DB = -60.0
"""A side signal further below the middle counts as none: what nobody hears is no difference."""


def power_spectrum(x: Tensor, n_fft: int) -> Tensor:
    """Power (..., n_fft / 2 + 1, frames) of audio (..., T), Hann windows that hop by a half.

    Shorter audio is padded to one window. A sine of amplitude 1 in the middle of a bin reads 1/4, so that levels do not
    depend on ``n_fft``.
    """
    if x.shape[-1] < n_fft:
        x = pad(x, (0, n_fft - x.shape[-1]))
    window = torch.hann_window(n_fft, device=x.device, dtype=x.dtype)
    rows = x.reshape(-1, x.shape[-1])
    spectrum = torch.stft(rows, n_fft, n_fft // 2, window=window, center=False, return_complex=True)
    power = (spectrum.real.square() + spectrum.imag.square()) / window.sum().square()
    return power.view(*x.shape[:-1], *power.shape[1:])


def stft_distance(
    y: Tensor, target: Tensor, fft_sizes: Sequence[int] = FFT_SIZES, linear: str = "convergence"
) -> Tensor:
    """Multi-resolution STFT distance (B,) of audio (B, C, T): mean over channels and resolutions of two terms.

    The log term is the mean |log |Y| - log |X||. The linear term is the spectral convergence ``||Y| - |X|| / ||X||``
    (``"convergence"``, Yamamoto et al., 2020) or the mean ||Y| - |X|| (``"magnitude"``, Steinmetz et al., 2022).
    Windows hop by a half; audio shorter than half the longest window is padded with silence. Raises AudioError for
    audio of two shapes.
    """
    y, target = pair(y, target, channels=None)
    if (short := max(fft_sizes) // 2 + 1 - y.shape[-1]) > 0:
        y, target = pad(y, (0, short)), pad(target, (0, short))
    total = y.new_zeros(len(y))
    for n_fft in fft_sizes:
        mine, theirs = magnitudes(y, n_fft), magnitudes(target, n_fft)  # (B, C, bins, frames)
        log = (mine.log() - theirs.log()).abs().mean((1, 2, 3))
        if linear == "convergence":
            change = torch.linalg.matrix_norm(mine - theirs) / torch.linalg.matrix_norm(theirs)
            total = total + log + change.mean(1)
        else:
            total = total + log + (mine - theirs).abs().mean((1, 2, 3))
    return total / len(fft_sizes)


def sum_difference_distance(y: Tensor, target: Tensor, linear: str = "convergence") -> Tensor:
    """`stft_distance` (B,) of left + right and left - right of mixes (B, 2, T), averaged (Steinmetz et al., 2020).

    A mirrored target costs nothing; nor, nearly, does a track on the wrong side: see `pan_error`.
    """
    y, target = pair(y, target)
    return stft_distance(_sum_difference(y), _sum_difference(target), linear=linear)


def left_right_distance(y: Tensor, target: Tensor, linear: str = "convergence") -> Tensor:
    """`stft_distance` (B,) of the channels of mixes (B, 2, T) to the target or its mirror image, whichever is nearer.

    The choice is made per item.
    """
    return torch.minimum(stft_distance(y, target, linear=linear), stft_distance(y, target.flip(1), linear=linear))


def third_octaves_db(x: Tensor, sample_rate: float) -> Tensor:
    """Long-term average spectrum (B, bands) of audio (B, C, T) in dB: third octaves from 50 Hz, all channels together.

    Bands that reach beyond half the sample rate are left out. The floor is 80 dB below the whole.
    """
    centres = [f for f in THIRD_OCTAVES_HZ if f * 10**0.05 <= sample_rate / 2]
    low, high = ([f * 10**e for f in centres] for e in (-0.05, 0.05))
    return band_levels_db(x, sample_rate, low, high)


def band_levels_db(x: Tensor, sample_rate: float, low_hz: Sequence[float], high_hz: Sequence[float]) -> Tensor:
    """Levels (B, bands) of audio (B, C, T) in dB between pairs of frequencies, over time, all channels together.

    The floor is 80 dB below the whole.
    """
    x, n_fft = heard(x, channels=None), _fine(sample_rate)
    power = power_spectrum(x, n_fft).mean(-1).sum(1)
    # bin k spans k to k + 1 on this scale
    low, high = (torch.tensor(hz, dtype=torch.float64) * n_fft / sample_rate + 0.5 for hz in (low_hz, high_hz))
    bins = torch.arange(power.shape[-1], dtype=torch.float64)[:, None]
    share = (torch.minimum(high, bins + 1) - torch.maximum(low, bins)).clamp(0, 1)
    with uncast(power):
        return _level_db(power @ share.to(power), power.sum(-1, keepdim=True))


def ltas_error_db(y: Tensor, target: Tensor, sample_rate: float) -> Tensor:
    """Mean difference (B,) dB of the long-term average spectra of mixes (B, 2, T); see `third_octaves_db`."""
    return (third_octaves_db(y, sample_rate) - third_octaves_db(target, sample_rate)).abs().mean(1)


def bark_bands(spectrum: Tensor, sample_rate: float) -> Tensor:
    """Spectra (..., bins, frames) in 24 triangular bands of a Bark, (..., 24, frames); see `bark_weights`."""
    weights = bark_weights(2 * (spectrum.shape[-2] - 1), sample_rate)
    with uncast(spectrum):
        return weights.T.to(spectrum) @ spectrum


def mid_side_bark_db(x: Tensor, sample_rate: float) -> Tensor:
    """Levels (B, 2, 24) in dB of middle and side of mixes (B, 2, T) in Bark bands.

    The floor of all is 80 dB below the whole; that of the side 60 dB below the middle of the same band too.
    """
    power = power_spectrum(_sum_difference(heard(x)) / 2, _fine(sample_rate)).mean(-1, keepdim=True)
    bands = bark_bands(power, sample_rate)[..., 0]
    middle, side = _level_db(bands, power.sum((1, 2))[:, None]).unbind(1)
    return torch.stack([middle, torch.maximum(side, middle + SIDE_FLOOR_DB)], 1)


def bark_error_db(y: Tensor, target: Tensor, sample_rate: float) -> Tensor:
    """Mean difference (B,) dB of middle and side of mixes (B, 2, T) in Bark bands; see `mid_side_bark_db`."""
    return (mid_side_bark_db(y, sample_rate) - mid_side_bark_db(target, sample_rate)).abs().mean((1, 2))


def magnitudes(x: Tensor, n_fft: int, hop: int | None = None, floor: float = 1e-4) -> Tensor:
    """Magnitudes (B, C, bins, frames), at least ``floor``, of audio (B, C, T) that is longer than half a window.

    Windows are centred every ``hop`` samples, half a window by default, with reflected ends.
    """
    window = torch.hann_window(n_fft, device=x.device, dtype=x.dtype)
    spectrum = torch.stft(x.flatten(0, 1), n_fft, hop or n_fft // 2, window=window, return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()
    return power.clamp_min(floor**2).sqrt().view(*x.shape[:2], *power.shape[1:])


def _fine(sample_rate: float) -> int:
    """The window, in samples, in whose spectrum a third octave at 50 Hz is two bins wide."""
    return 1 << round(math.log2(sample_rate / 5.4))


def _sum_difference(x: Tensor) -> Tensor:
    return torch.stack([x[:, 0] + x[:, 1], x[:, 0] - x[:, 1]], 1)


def _level_db(power: Tensor, whole: Tensor) -> Tensor:
    floor = (whole * 10 ** (FLOOR_DB / 10)).clamp_min(1e-20)
    return 10 * torch.log10(torch.maximum(power, floor))
