"""What an estimator hears of a track: a level-free mel spectrogram and a few numbers that describe it."""

import math
from functools import lru_cache

import torch
from torch import Tensor

BANDS = 64
LOW_HZ, HIGH_HZ = 30.0, 18000.0
FRAME_S = 2048 / 44100
FLOOR_DB = -70.0
SCALARS = 6


@lru_cache(maxsize=8)
def mel_weights(n_fft: int, sample_rate: float, bands: int = BANDS) -> Tensor:
    """Triangular filters (n_fft // 2 + 1, bands), equally spaced in mel (O'Shaughnessy, 1987) from 30 Hz to 18 kHz.

    Each sums to one, so that a band reads the mean power of its bins. A band narrower than one bin takes the nearest
    bin, and a band above Nyquist is empty.
    """
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (LOW_HZ, HIGH_HZ))
    edge_hz = 700 * (10 ** (torch.linspace(low, high, bands + 2, dtype=torch.float64) / 2595) - 1)
    bin_hz = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * sample_rate / n_fft
    left, centre, right = edge_hz[:-2], edge_hz[1:-1], edge_hz[2:]
    rise = (bin_hz[:, None] - left) / (centre - left)
    fall = (right - bin_hz[:, None]) / (right - centre)
    weights = torch.minimum(rise, fall).clamp_min(0)
    empty = (weights.sum(0) == 0) & (centre < sample_rate / 2)
    nearest = (bin_hz[:, None] - centre).abs().argmin(0)
    weights[nearest[empty], torch.nonzero(empty)[:, 0]] = 1
    return (weights / weights.sum(0).clamp_min(1e-12)).float()


def log_mel(x: Tensor, sample_rate: float) -> Tensor:
    """Mel spectrogram in dB, (R, 64, F), of audio (R, C, T); power is averaged over channels.

    The frame is 46 ms at any sample rate, half overlapped, so that the same sound reads the same at 44.1 and 96 kHz.
    """
    n_fft = 2 * round(FRAME_S * sample_rate / 2)
    rows, channels, length = x.shape
    x = x.reshape(rows * channels, length)
    if length < n_fft:
        x = torch.nn.functional.pad(x, (0, n_fft - length))
    window = torch.hann_window(n_fft, device=x.device, dtype=x.dtype)
    spectrum = torch.stft(x, n_fft, n_fft // 2, window=window, center=False, return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()
    power = power.view(rows, channels, *power.shape[1:]).mean(1) / window.square().sum()
    mel = mel_weights(n_fft, float(sample_rate)).to(power).T @ power
    return 10 * mel.clamp_min(1e-12).log10()


def describe(x: Tensor, sample_rate: float) -> tuple[Tensor, Tensor]:
    """A track as an estimator sees it: (mel (R, 64, F), scalars (R, 6)), both free of the recording's level.

    The mel spectrogram is in units of 20 dB relative to the mean of the loudest quarter of the frames, floored at
    -70 dB. Scalars: crest factor, share of active frames, level spread, spectral tilt, side level, is stereo.
    """
    mel_db = log_mel(x, sample_rate)
    frame_db = 10 * (10 ** (mel_db / 10)).sum(1).clamp_min(1e-12).log10()  # (R, F)
    loudest = frame_db.topk(max(1, frame_db.shape[1] // 4), 1).values
    reference_db = 10 * (10 ** (loudest / 10)).mean(1).clamp_min(1e-10).log10()  # (R,)
    relative = (mel_db - reference_db[:, None, None]).clamp(FLOOR_DB, 20)
    level = frame_db - reference_db[:, None]

    mean_square = x.square().mean((1, 2)).clamp_min(1e-12)
    crest_db = 20 * x.abs().amax((1, 2)).clamp_min(1e-6).log10() - 10 * mean_square.log10()
    active = (level > -30).to(x).mean(1)
    spread_db = level.clamp_min(-60).std(1, correction=0)
    mean_mel = relative.mean(2)
    tilt_db = mean_mel[:, mean_mel.shape[1] // 2 :].mean(1) - mean_mel[:, : mean_mel.shape[1] // 2].mean(1)
    if x.shape[1] == 2:
        side = (x[:, 0] - x[:, 1]).square().mean(1) / (x[:, 0] + x[:, 1]).square().mean(1).clamp_min(1e-12)
        side_db, stereo = 10 * side.clamp(1e-4, 10).log10(), torch.ones_like(crest_db)
    else:
        side_db, stereo = torch.full_like(crest_db, -40), torch.zeros_like(crest_db)
    scalars = torch.stack([crest_db / 20, active, spread_db / 20, tilt_db / 20, side_db / 20, stereo], 1)
    return relative / 20 + 1.5, scalars
