"""What an estimator hears of tracks: level-free mel spectrograms, a few numbers, and how two tracks relate."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from diffmix.keeping import kept

BANDS = 64
LOW_HZ, HIGH_HZ = 30.0, 20000.0
FRAME_S = 2048 / 44100
FLOOR_DB = -70.0
MEASURES = 4
SCALARS = MEASURES + 4
RELATIONS = 4

# So much is worked out at a time: more would not stay in the cache, and new memory costs more than the work
_PIECE_FRAMES = 512
_PIECE = 1 << 20  # samples


def mel_edges_hz(low_hz: float, high_hz: float, bands: int) -> Tensor:
    """The corners of triangles, (bands + 2,) in Hz, float64, equally spaced in mel (O'Shaughnessy, 1987)."""
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (low_hz, high_hz))
    return 700 * (10 ** (torch.linspace(low, high, bands + 2, dtype=torch.float64) / 2595) - 1)


def triangles(edge_hz: Tensor, n_fft: int, sample_rate: float) -> Tensor:
    """Filters (n_fft // 2 + 1, bands) with these corners, their tops at 1, float64."""
    hz = torch.arange(n_fft // 2 + 1, dtype=torch.float64)[:, None] * sample_rate / n_fft
    left, centre, right = edge_hz[:-2], edge_hz[1:-1], edge_hz[2:]
    return torch.minimum((hz - left) / (centre - left), (right - hz) / (right - centre)).clamp_min(0)


def triangles_of_bins(edge_hz: Tensor, n_fft: int, sample_rate: float) -> Tensor:
    """As `triangles`, but a band narrower than one bin takes the nearest bin; only bands above Nyquist are empty."""
    weights, centre = triangles(edge_hz, n_fft, sample_rate), edge_hz[1:-1]
    hz = torch.arange(n_fft // 2 + 1, dtype=torch.float64)[:, None] * sample_rate / n_fft
    empty = (weights.sum(0) == 0) & (centre < sample_rate / 2)
    nearest = (hz - centre).abs().argmin(0)
    weights[nearest[empty], torch.nonzero(empty)[:, 0]] = 1
    return weights


def _edges_hz() -> Tensor:
    return mel_edges_hz(LOW_HZ, HIGH_HZ, BANDS)


def band_hz() -> Tensor:
    """The centres of the bands, (64,) in Hz."""
    return _edges_hz()[1:-1].float()


@kept(8)
def mel_weights(n_fft: int, sample_rate: float) -> Tensor:
    """Triangular filters (n_fft // 2 + 1, 64) from 30 Hz to 20 kHz, see `triangles_of_bins`.

    Each sums to one, so that a band reads the mean power of its bins.
    """
    weights = triangles_of_bins(_edges_hz(), n_fft, sample_rate)
    return (weights / weights.sum(0).clamp_min(1e-12)).float()


@kept(1)
def loudness_weights() -> Tensor:
    """What a band's mean power counts for the loudness, (64,): its width in Hz times the K-weighting there.

    The weighting is that of ITU-R BS.1770-4 as analogue filters: a shelf of 4 dB above 1.7 kHz, a highpass at 38 Hz.
    """
    edge_hz = _edges_hz()
    centre, width = edge_hz[1:-1], (edge_hz[2:] - edge_hz[:-2]) / 2
    shelf, low = (centre / 1682) ** 2, (centre / 38.1) ** 2
    weighting = (1 + 10**0.4 * shelf) / (1 + shelf) * (low / (1 + low)) ** 2
    return (width * weighting / width.sum()).float()


def log_mel(x: Tensor, sample_rate: float) -> Tensor:
    """Mel spectrogram in dB, (R, 64, F), of audio (R, C, T); power is averaged over channels.

    A frame covers 70 ms in steps of 46 ms at any sample rate (the mean of two half overlapped ones of 46 ms), so that
    the same sound reads the same at 44.1 and 96 kHz.
    """
    n_fft = 2 * round(FRAME_S * sample_rate / 2)
    if x.shape[-1] < 3 * n_fft // 2:
        x = pad(x, (0, 3 * n_fft // 2 - x.shape[-1]))
    frames = (2 * x.shape[-1] // n_fft - 1) // 2
    if frames <= _PIECE_FRAMES:
        return _log_mel(x, sample_rate, n_fft)
    starts = range(0, frames, _PIECE_FRAMES)
    pieces = (x[..., at * n_fft : min(at + _PIECE_FRAMES, frames) * n_fft + n_fft // 2] for at in starts)
    return torch.cat([_log_mel(piece, sample_rate, n_fft) for piece in pieces], -1)


def _log_mel(x: Tensor, sample_rate: float, n_fft: int) -> Tensor:
    rows, channels, length = x.shape
    x = x.reshape(rows * channels, length)
    window = torch.hann_window(n_fft, device=x.device, dtype=x.dtype)
    spectrum = torch.stft(x, n_fft, n_fft // 2, window=window, center=False, return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()
    power = power.view(rows, channels, *power.shape[1:]).mean(1) / window.square().sum()
    mel = mel_weights(n_fft, float(sample_rate)).to(power).T @ power
    paired = mel[..., : mel.shape[-1] // 2 * 2].unflatten(-1, (-1, 2)).mean(-1)
    return 10 * paired.clamp_min(1e-12).log10()


def measures(x: Tensor) -> Tensor:
    """What only the waveform (R, C, T) tells, (R, 4): crest and side level in 20 dB, balance, and stereo (1) or not."""
    pieces = x.split(_PIECE, -1)

    def mean(of: Callable[[Tensor], Tensor], dims: int | tuple[int, ...]) -> Tensor:
        total = torch.stack([of(piece).square().sum(dims) for piece in pieces]).sum(0)
        return total / (x.shape[-1] * (x.shape[1] if dims == (1, 2) else 1))

    mean_square = mean(lambda p: p, (1, 2)).clamp_min(1e-12)
    peak = torch.maximum(x.amax((1, 2)), -x.amin((1, 2)))
    crest_db = 20 * peak.clamp_min(1e-6).log10() - 10 * mean_square.log10()
    if x.shape[1] == 2:
        side = mean(lambda p: p[:, 0] - p[:, 1], 1) / mean(lambda p: p[:, 0] + p[:, 1], 1).clamp_min(1e-12)
        left, right = mean(lambda p: p, 2).unbind(1)
        side_db, balance = 10 * side.clamp(1e-4, 10).log10(), (right - left) / (right + left).clamp_min(1e-12)
    else:
        side_db, balance = torch.full_like(crest_db, -40), torch.zeros_like(crest_db)
    return torch.stack([crest_db / 20, side_db / 20, balance, torch.full_like(crest_db, x.shape[1] - 1)], 1)


def heard_mix(mix: Tensor, sample_rate: float) -> tuple[Tensor, Tensor]:
    """A mix (2, T) as a reference: mel_db (2, 64, F) and measures (2, 4) of the mix and of its side signal."""
    both = torch.stack([mix, (mix[:1] - mix[1:]).expand(2, -1) / 2])
    return log_mel(both, sample_rate), measures(both)


def level_free(mel_db: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
    """Tracks as an estimator sees them, (mel (R, 64, F), scalars (R, 8)), both free of the recordings' level.

    ``mel_db`` (R, 64, F) and ``measured`` (R, 4) as `log_mel` and `measures` give them. The mel spectrogram is in units
    of 20 dB relative to the mean of the loudest quarter of the frames, floored at -70 dB. The scalars are the measures,
    the share of active frames, the spread of levels, the spectrum's tilt, and what the loudness is above the level.
    """
    frame_db = 10 * (10 ** (mel_db / 10)).sum(1).clamp_min(1e-12).log10()  # (R, F)
    loudest = frame_db.topk(max(1, frame_db.shape[1] // 4), 1).values
    reference_db = 10 * (10 ** (loudest / 10)).mean(1).clamp_min(1e-10).log10()  # (R,)
    relative = (mel_db - reference_db[:, None, None]).clamp(FLOOR_DB, 20)
    level = frame_db - reference_db[:, None]
    active = (level > -30).to(mel_db).mean(1)
    spread_db = level.clamp_min(-60).std(1, correction=0)
    mean_mel = relative.mean(2)
    tilt_db = mean_mel[:, BANDS // 2 :].mean(1) - mean_mel[:, : BANDS // 2].mean(1)
    power = (10 ** (relative / 10)).mean(2)
    weighted = power @ loudness_weights().to(power) / power.mean(1).clamp_min(1e-12)
    derived = [active, spread_db / 20, tilt_db / 20, 10 * weighted.clamp_min(1e-6).log10() / 20]
    return relative / 20 + 1.5, torch.cat([measured, torch.stack(derived, 1)], 1)


def describe(x: Tensor, sample_rate: float) -> tuple[Tensor, Tensor]:
    """`level_free` of audio (R, C, T)."""
    return level_free(log_mel(x, sample_rate), measures(x))


def relations(mel: Tensor) -> Tensor:
    """How each two tracks relate, (B, N, N, 4), from mel spectrograms (B, N, 64, F) as `level_free` gives them.

    For tracks i and j at equal loudness: the share of j's energy that i masks (where i has more), the same the other
    way round, the correlation of their levels over time, and the distance of their mean spectra.
    """
    relative_db = 20 * (mel - 1.5)
    power = 10 ** (relative_db / 10) * loudness_weights().to(mel)[:, None]
    power = avg_pool2d(power, (2, 4), ceil_mode=True).flatten(2)  # (B, N, cells)
    power = power / power.sum(2, keepdim=True).clamp_min(1e-12)
    square = power.square() + 1e-20
    masked = torch.stack([(power * (one / (one + square))).sum(2) for one in square.split(1, 1)], 1)
    level = (10 ** (relative_db / 10)).sum(2).clamp_min(1e-4).log10()  # (B, N, F)
    level = level - level.mean(2, keepdim=True)
    level = level / level.square().sum(2, keepdim=True).sqrt().clamp_min(1e-3)
    mean_db = relative_db.mean(3)
    mean_db = mean_db - mean_db.mean(2, keepdim=True)
    apart = (mean_db[:, :, None] - mean_db[:, None]).abs().mean(3) / 20
    return torch.stack([masked, masked.mT, level @ level.mT, apart], 3)
