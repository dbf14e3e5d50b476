"""Spectra in third octaves, and equalisers that make one spectrum of another."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffmix.keeping import kept
from diffmix.kernels.biquad import frequency_response, high_shelf, highpass, low_shelf, peak, resonant

Curve = NDArray[np.float64]
"""Decibels at `THIRD_OCTAVES_HZ` (28,), or of several tracks (N, 28)."""

THIRD_OCTAVES_HZ: tuple[float, ...] = tuple(1000 * 10 ** (n / 10) for n in range(-15, 13))
"""Exact centres of the third octaves called 31.5 Hz to 16 kHz (IEC 61260-1, base ten), 28 of them."""

FRAME_S = 4096 / 44100
FLOOR_DB = -80.0
_FRAMES = 4096  # at a time
ACTIVE_DB = -25.0
"""A frame counts where it is at most this far below the loudest ones."""

_BANDS = len(THIRD_OCTAVES_HZ)


@kept(16)
def _bands(n_fft: int, sample_rate: float) -> Tensor:
    """Weights (n_fft // 2 + 1, 28): the part of every bin that lies in a band, all of a bin being one bin wide."""
    width = sample_rate / n_fft
    centre = torch.arange(n_fft // 2 + 1, dtype=torch.float64)[:, None] * width
    middle = torch.tensor(THIRD_OCTAVES_HZ, dtype=torch.float64)
    low, high = middle * 10**-0.05, middle * 10**0.05
    inside = torch.minimum(high, centre + width / 2) - torch.maximum(low, centre - width / 2)
    return (inside.clamp_min(0) / width).float()


def band_powers(x: Tensor, sample_rate: float) -> Tensor:
    """Power (F, 28) of the third octaves in each frame of audio (C, T), mean over channels.

    Frames are 93 ms at any sample rate and overlap by half; shorter audio is one frame.
    """
    n_fft = 2 * round(FRAME_S * sample_rate / 2)
    if x.shape[-1] < n_fft:
        x = torch.nn.functional.pad(x, (0, n_fft - x.shape[-1]))
    window, bands = torch.hann_window(n_fft), _bands(n_fft, float(sample_rate))
    hop, found = n_fft // 2, []
    for first in range(0, x.shape[-1] - n_fft + 1, _FRAMES * hop):  # in pieces, for the memory
        piece = x[:, first : first + (_FRAMES + 1) * hop].float()
        spectrum = torch.stft(piece, n_fft, hop, window=window, center=False, return_complex=True)
        found.append((spectrum.real.square() + spectrum.imag.square()).mean(0).T @ bands)
    return torch.cat(found) * (2 / (n_fft * float(window.square().sum())))


def frame_peaks(x: Tensor, sample_rate: float) -> Tensor:
    """Largest magnitude (F,) in each of the frames of `band_powers`."""
    half = round(FRAME_S * sample_rate / 2)
    if x.shape[-1] < 2 * half:
        return x.abs().amax()[None]
    halves = x[:, : x.shape[-1] // half * half].view(len(x), -1, half).abs().amax((0, 2))
    return torch.maximum(halves[:-1], halves[1:])


def active_frames(powers: Tensor) -> Tensor:
    """Which of the frames (F, 28) count, (F,): those close to the mean of the loudest quarter; none of silence."""
    total = powers.sum(1)
    loudest = total.topk(max(1, len(total) // 4)).values.mean()
    return (total > loudest * 10 ** (ACTIVE_DB / 10)) & (total > 1e-12)


def relative_db(powers: Tensor) -> Curve:
    """Mean over frames (F, 28) in dB below the whole (28,), at least -80; silence is flat."""
    if not len(powers):
        return np.full(_BANDS, -10 * np.log10(_BANDS))
    mean = powers.double().mean(0).numpy()
    found: Curve = np.maximum(10 * np.log10(np.maximum(mean / mean.sum(), 1e-12)), FLOOR_DB)
    return found


def long_term_spectrum_db(x: Tensor, sample_rate: float) -> Curve:
    """Levels (28,) of the third octaves of audio (C, T) where it sounds, in dB relative to their sum, at least -80.

    It does not depend on the level of the audio, nor on pauses. Silence is flat.
    """
    powers = band_powers(x, sample_rate)
    return relative_db(powers[active_frames(powers)])


def _response_db(sections: Tensor, sample_rate: float) -> Curve:
    """Response (..., 28) in dB of cascades (..., K, 5), up to just below Nyquist."""
    hz = torch.tensor(THIRD_OCTAVES_HZ, dtype=torch.float64).clamp_max(0.49 * sample_rate)
    magnitude = frequency_response(sections, hz, sample_rate).abs().clamp_min(1e-6)
    found: Curve = (20 * magnitude.log10()).numpy()
    return found


@lru_cache(maxsize=16)
def _weighting(sample_rate: float) -> tuple[float, ...]:
    one = torch.ones((), dtype=torch.float64)
    shelf = high_shelf(1500 * one, 4 * one, 0.5**0.5 * one, sample_rate)
    low_cut = resonant("highpass", 38 * one, 0.5 * one, sample_rate)
    return tuple(_response_db(torch.stack([shelf, low_cut]), sample_rate))


def k_weighting_db(sample_rate: float) -> Curve:
    """The weighting of loudness (ITU-R BS.1770) at the third octaves, (28,)."""
    return np.array(_weighting(float(sample_rate)))


def highpass_db(cutoff_frequency_hz: Curve, sample_rate: float) -> Curve:
    """Response (N, 28) of high-passes (N,) of first order."""
    return _response_db(highpass(torch.as_tensor(cutoff_frequency_hz), sample_rate)[:, None], sample_rate)


def equaliser_db(hz: Curve, gain_db: Curve, q: Curve, sample_rate: float) -> Curve:
    """Response (N, 28) of equalisers of six bands, low shelf, four peaks, high shelf, each setting (N, 6)."""
    return _response_db(_sections(hz, gain_db, q, sample_rate), sample_rate)


def _sections(hz: Curve, gain_db: Curve, q: Curve, sample_rate: float) -> Tensor:
    f, g, w = (torch.as_tensor(np.asarray(v, dtype=np.float64)) for v in (hz, gain_db, q))
    parts = zip((low_shelf, peak, high_shelf), (slice(0, 1), slice(1, 5), slice(5, 6)), strict=True)
    return torch.cat([kind(f[:, band], g[:, band], w[:, band], sample_rate) for kind, band in parts], 1)


def fit_equaliser(
    wanted_db: Curve, weight: Curve, hz: Curve, q: Curve, sample_rate: float, most_db: float = 12.0
) -> Curve:
    """Gains (N, 6) whose response comes close to the curves wanted (N, 28).

    Least squares with the given weights and a little ridge, so that neighbours do not work against each other. A band's
    response in dB is nearly proportional to its gain; a second step makes up for the rest.
    """
    step = 6.0
    alone = _response_db(_sections(hz, np.full_like(hz, step), q, sample_rate)[:, :, None], sample_rate)
    basis = alone.transpose(0, 2, 1) / step  # (N, 28, 6)
    weighted = basis * weight[..., None]
    normal = weighted.transpose(0, 2, 1) @ basis + 0.25 * np.eye(6)
    gains = np.zeros(hz.shape)
    for _ in range(2):
        bent = equaliser_db(hz, gains, q, sample_rate) - np.einsum("nfk,nk->nf", basis, gains)
        target = np.einsum("nfk,nf->nk", weighted, wanted_db - bent)
        gains = np.clip(np.linalg.solve(normal, target[..., None])[..., 0], -most_db, most_db)
    return gains


def smoothed(curve_db: Curve, octaves: float = 1.0) -> Curve:
    """Curves (..., 28) averaged over about so many octaves; the ends are averages of what there is."""
    distance = np.subtract.outer(np.arange(_BANDS), np.arange(_BANDS)) / (3 * octaves)
    kernel = np.exp(-(distance**2) * np.pi)
    kernel /= kernel.sum(1, keepdims=True)
    found: Curve = curve_db @ kernel.T
    return found


def drawn(*points: tuple[float, float]) -> Curve:
    """A curve (28,) through points of (Hz, dB), straight over log frequency and level beyond the ends."""
    hz, db = zip(*points, strict=True)
    return np.interp(np.log(THIRD_OCTAVES_HZ), np.log(hz), db)
