"""How close a recording is to another that was treated in some way: the numbers by which style transfer is judged.

Against the same recording treated as wished (equal length, aligned): `mel_distance`, `mel_error_db`,
`spectral_centroid_error_hz`, `rms_error_db`, `crest_error_db`, `loudness_dynamics_error` and, with
``fft_sizes=DEEPAFX_FFT_SIZES, linear="magnitude"``, `diffmix.metrics.stft_distance`. They are those of C. J. Steinmetz,
N. J. Bryan and J. D. Reiss, "Style transfer of audio effects with differentiable signal processing" (J. Audio Eng. Soc.
70(9), 2022), whose peaks are brought to -12 dBFS first. Against any other recording (alignment-free): `erb_error_db`,
`loudness_distribution_error_lu`, `band_crest_error_db`.
"""

import math
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from diffmix.keeping import kept
from diffmix.kernels.backend import uncast
from diffmix.kernels.iir import sos_cascade
from diffmix.kernels.loudness import SILENCE_LUFS, block_loudness, integrated_loudness
from diffmix.losses._audio import heard, pair
from diffmix.metrics.dynamics import crest_db
from diffmix.metrics.spectrum import band_levels_db, magnitudes, stft_distance

DEEPAFX_FFT_SIZES = (32, 128, 512, 2048, 8192, 32768)
"""The resolutions of the STFT distance of DeepAFx-ST."""

PEAK_DB = -12.0
"""Peak level, dBFS, of what is compared."""

MEL_FFT, MEL_BANDS = 65536, 128
LDR_MS = ((50.0, 1000.0), (100.0, 2000.0))
"""Short and long averages between which `loudness_dynamics_error` tells the difference."""

CREST_BANDS_HZ = (50.0, 200.0, 800.0, 3200.0, 12800.0)
"""Edges of the bands of `band_crest_error_db`."""

_NEPER_DB = 20 / math.log(10)


def at_peak(x: Tensor, peak_db: float = PEAK_DB) -> Tensor:
    """Recordings x (B, C, T) scaled to one peak in dBFS; silence stays as it is."""
    peak = heard(x, channels=None).abs().amax((1, 2), keepdim=True).to(x.dtype)
    return x * (10 ** (peak_db / 20) / torch.where(peak > 1e-9, peak, torch.inf))


def mel_distance(y: Tensor, target: Tensor, sample_rate: float) -> Tensor:
    """Distance (B,) of audio (B, C, T) in 128 mel bands of windows of 65536 samples: the MSD of DeepAFx-ST.

    The mean difference of the magnitudes plus that of their logarithms, hopping by a whole window; bands as librosa's
    default (M. Slaney's scale, equal areas). It depends on level and sample rate: see `at_peak`.
    """
    y, target = pair(y, target, channels=None)
    mine, theirs = _mel(y, sample_rate), _mel(target, sample_rate)
    return ((mine - theirs).abs() + (mine.log() - theirs.log()).abs()).mean((1, 2, 3))


def mel_error_db(y: Tensor, target: Tensor, sample_rate: float) -> Tensor:
    """The logarithmic half of `mel_distance` (B,) in dB, in which all bands count alike."""
    y, target = pair(y, target, channels=None)
    mine, theirs = _mel(y, sample_rate), _mel(target, sample_rate)
    return _NEPER_DB * (mine.log() - theirs.log()).abs().mean((1, 2, 3))


def spectral_centroid_hz(x: Tensor, sample_rate: float) -> Tensor:
    """Centre (B,) of the magnitude spectrum of audio (B, C, T) in Hz: mean of windows of 2048 that are not silent."""
    x = heard(x, channels=None)
    short = 1025 - x.shape[-1]  # windows reflect at the ends
    x = torch.nn.functional.pad(x, (0, short)) if short > 0 else x
    spectrum = magnitudes(x, 2048, 512, floor=0.0).mean(1)  # (B, bins, frames)
    hz = torch.linspace(0, sample_rate / 2, spectrum.shape[1], dtype=x.dtype, device=x.device)
    whole = spectrum.sum(1)
    sounds = whole > 1e-4 * whole.amax(1, keepdim=True).clamp_min(1e-9)
    with uncast(spectrum):
        centroid = (hz @ spectrum) / whole.clamp_min(1e-12)
    return (centroid * sounds).sum(1) / sounds.sum(1).clamp_min(1)


def spectral_centroid_error_hz(y: Tensor, target: Tensor, sample_rate: float) -> Tensor:
    """Difference (B,) Hz of `spectral_centroid_hz`: the SCE."""
    return (spectral_centroid_hz(y, sample_rate) - spectral_centroid_hz(target, sample_rate)).abs()


def rms_error_db(y: Tensor, target: Tensor, *, legacy: bool = False) -> Tensor:
    """Difference (B,) of the RMS of audio (B, C, T) in dB; ``legacy`` is 20 ln, as published with DeepAFx-ST."""
    ratio = _rms(y) / _rms(target)
    return ratio.log().abs() * (20 if legacy else _NEPER_DB)


def crest_error_db(y: Tensor, target: Tensor, *, legacy: bool = False) -> Tensor:
    """Difference (B,) of `crest_db` of audio (B, C, T); ``legacy`` is 20 ln, as published with DeepAFx-ST."""
    return (crest_db(y) - crest_db(target)).abs() * (math.log(10) if legacy else 1)


def loudness_error_lu(y: Tensor, target: Tensor, sample_rate: float) -> Tensor:
    """Difference (B,) LU of the integrated loudness of audio (B, C, T); what is silent counts as -70 LUFS."""
    mine, theirs = (integrated_loudness(heard(x, channels=None), sample_rate) for x in (y, target))
    return (mine - theirs).abs()


def loudness_dynamics_error(y: Tensor, target: Tensor, sample_rate: float) -> Tensor:
    """Mean difference (B,), in nepers of power, of short averages over long ones: the MLDR of DiffVox.

    One-pole averages whose constants are the times over 2.2, the long one read half the difference of both times later,
    the sum over the pairs of `LDR_MS` (C.-Y. Yu et al., "DiffVox", DAFx 2025; `dynamics_error_db` is the same idea with
    windows and in dB). The ends, which would wrap around, are left out.
    """
    y, target = pair(y, target, channels=None)
    total = y.new_zeros(len(y))
    for short_ms, long_ms in LDR_MS:
        ahead = int(sample_rate * (long_ms - short_ms) * 0.0005)
        found = []
        for x in (y, target):
            power = x.square().clamp_min(1e-8)
            short, long = _average(power, short_ms, sample_rate), _average(power, long_ms, sample_rate)
            kept = max(1, x.shape[-1] - ahead)
            found.append(short[..., :kept].log() - long[..., -kept:].log())
        total = total + (found[0] - found[1]).abs().mean((1, 2)).to(y.dtype)
    return total


def erb_levels_db(x: Tensor, sample_rate: float, bands: int = 40) -> Tensor:
    """Long-term average spectrum (B, bands) of audio (B, C, T) in dB, bands equally wide to the ear.

    From 50 Hz to 16 kHz, or 0.45 of the sample rate, equally spaced in equivalent rectangular bandwidths
    (B. R. Glasberg and B. C. J. Moore, Hear. Res. 47, 1990).
    """
    top = min(16_000.0, 0.45 * sample_rate)
    low, high = (21.4 * math.log10(1 + 0.00437 * hz) for hz in (50.0, top))
    edges = [(10 ** ((low + (high - low) * k / bands) / 21.4) - 1) / 0.00437 for k in range(bands + 1)]
    return band_levels_db(x, sample_rate, edges[:-1], edges[1:])


def erb_error_db(y: Tensor, target: Tensor, sample_rate: float) -> Tensor:
    """Mean difference (B,) dB of `erb_levels_db`, but for a common shift; lengths may differ."""
    change = erb_levels_db(y, sample_rate) - erb_levels_db(target, sample_rate)
    return (change - change.median(1, keepdim=True).values).abs().mean(1)


def loudness_distribution_error_lu(y: Tensor, target: Tensor, sample_rate: float, block_s: float = 0.4) -> Tensor:
    """How far (B,) LU the loudness of moments of y has to be moved to be distributed as that of the target.

    The 1-Wasserstein distance of the loudness of blocks of ``block_s`` s that are above -70 LUFS, each less the
    loudness of the whole; lengths may differ.
    """
    steps = torch.linspace(0.005, 0.995, 100)
    found = []
    for x in (y, target):
        blocks = block_loudness(x, sample_rate, block_s)
        whole = integrated_loudness(x, sample_rate)
        rows = [b[b > SILENCE_LUFS] - w for b, w in zip(blocks, whole, strict=True)]
        found.append(torch.stack([b.quantile(steps.to(b)) if len(b) else steps.to(b) * 0 for b in rows]))
    return (found[0] - found[1]).abs().mean(1)


def band_crest_error_db(y: Tensor, target: Tensor, sample_rate: float) -> Tensor:
    """Mean difference (B,) dB of the crest factors in four bands of two octaves from 50 Hz; lengths may differ."""
    bands = [(low, high) for low, high in pairwise(CREST_BANDS_HZ) if low < 0.45 * sample_rate]
    mine, theirs = (torch.stack([crest_db(_between(x, *band, sample_rate)) for band in bands]) for x in (y, target))
    return (mine - theirs).abs().mean(0)


STYLE_ERRORS: Mapping[str, str] = {
    "msd": "mel_distance",
    "log_msd_db": "mel_error_db",
    "stft": "stft_distance with DEEPAFX_FFT_SIZES and linear magnitudes",
    "sce_hz": "spectral_centroid_error_hz",
    "rms_db": "rms_error_db",
    "crest_db": "crest_error_db",
    "lufs": "loudness_error_lu",
    "mldr": "loudness_dynamics_error",
}
"""Names of what `style_errors` gives, and the functions behind them."""

UNALIGNED_ERRORS: Mapping[str, str] = {
    "erb_db": "erb_error_db",
    "loudness_lu": "loudness_distribution_error_lu",
    "band_crest_db": "band_crest_error_db",
}
"""Names of what `unaligned_errors` gives, and the functions behind them."""


def style_errors(y: Tensor, target: Tensor, sample_rate: float) -> dict[str, Tensor]:
    """All of `STYLE_ERRORS` (B,) of audio (B, C, T) to its aligned target, both at a peak of -12 dBFS."""
    y, target = (at_peak(x) for x in pair(y, target, channels=None))
    mine, theirs = _mel(y, sample_rate), _mel(target, sample_rate)
    log = (mine.log() - theirs.log()).abs().mean((1, 2, 3))
    return {
        "msd": (mine - theirs).abs().mean((1, 2, 3)) + log,
        "log_msd_db": _NEPER_DB * log,
        "stft": stft_distance(y, target, DEEPAFX_FFT_SIZES, "magnitude"),
        "sce_hz": spectral_centroid_error_hz(y, target, sample_rate),
        "rms_db": rms_error_db(y, target),
        "crest_db": crest_error_db(y, target),
        "lufs": loudness_error_lu(y, target, sample_rate),
        "mldr": loudness_dynamics_error(y, target, sample_rate),
    }


def unaligned_errors(y: Tensor, target: Tensor, sample_rate: float) -> dict[str, Tensor]:
    """All of `UNALIGNED_ERRORS` (B,) of audio (B, C, T) to any other recording (B, C, T')."""
    return {
        "erb_db": erb_error_db(y, target, sample_rate),
        "loudness_lu": loudness_distribution_error_lu(y, target, sample_rate),
        "band_crest_db": band_crest_error_db(y, target, sample_rate),
    }


@kept(4)
def mel_weights(n_fft: int, sample_rate: float, bands: int = MEL_BANDS) -> Tensor:
    """Triangles (n_fft // 2 + 1, bands) of equal area from 0 Hz to half the sample rate on M. Slaney's mel scale.

    The scale is linear up to 1 kHz (3 mel per 200 Hz), then logarithmic (27 mel per factor of 6.4).
    """
    knee, step = 15.0, math.log(6.4) / 27
    top_hz = sample_rate / 2
    top = top_hz * 3 / 200 if top_hz < 1000 else knee + math.log(top_hz / 1000) / step
    mel = torch.linspace(0, top, bands + 2, dtype=torch.float64)
    edges = torch.where(mel < knee, mel * 200 / 3, 1000 * ((mel - knee) * step).exp())
    hz = torch.linspace(0, top_hz, n_fft // 2 + 1, dtype=torch.float64)[:, None]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rows = torch.minimum((hz - low) / (centre - low), (high - hz) / (high - centre)).clamp_min(0)
    return (rows * 2 / (high - low)).float()


def _mel(x: Tensor, sample_rate: float) -> Tensor:
    """Magnitudes (B, C, 128, frames), not quite zero, in mel bands."""
    short = MEL_FFT // 2 + 1 - x.shape[-1]  # windows reflect at the ends
    spectrum = magnitudes(torch.nn.functional.pad(x, (0, max(0, short))), MEL_FFT, MEL_FFT)
    with uncast(spectrum):
        return (spectrum.mT @ mel_weights(MEL_FFT, sample_rate).to(spectrum)).mT.clamp_min(1e-12)


def _rms(x: Tensor) -> Tensor:
    return x.square().mean((1, 2)).sqrt().clamp_min(1e-6)


def _average(power: Tensor, ms: float, sample_rate: float) -> Tensor:
    """One-pole averages (B, C, T) from zero, in float64."""
    keep = math.exp(-2200 / (ms * sample_rate))
    section = power.new_tensor([[[1 - keep, 0, 0, -keep, 0]]], dtype=torch.float64)
    return sos_cascade(power.double(), section.expand(len(power), -1, -1)).clamp_min(1e-12)


def _between(x: Tensor, low_hz: float, high_hz: float, sample_rate: float) -> Tensor:
    spectrum = torch.fft.rfft(x)
    hz = torch.linspace(0, sample_rate / 2, spectrum.shape[-1], device=x.device)
    return torch.fft.irfft(spectrum * ((hz >= low_hz) & (hz < high_hz)), x.shape[-1])
