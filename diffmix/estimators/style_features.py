"""Numbers that tell the style of a recording from its content as well as that is possible without the dry recording.

None depends on where in the song one listens. The level is taken away first (peak at -12 dBFS); most numbers are of the
middle of the channels, the last ones compare the channels.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import pad

from diffmix.estimators.features import mel_edges_hz, triangles
from diffmix.estimators.treatment import PEAK_DB
from diffmix.keeping import kept

RATE = 24_000
"""Sample rate, Hz, at which recordings are listened to."""

WINDOW = 131_072
"""Samples at `RATE`, 5.46 s, that one listening takes; shorter recordings are repeated."""

N_FFT, HOP, BANDS = 2048, 512, 40
LOW_HZ, HIGH_HZ = 20.0, 12_000.0
LEVEL_PERCENT = (10, 25, 50, 75, 90, 97)
SLOPE_PERCENT = (2, 10, 30, 70, 90, 98)
SIDE_FLOOR_DB = -40.0
BROAD = 6

SIZE = 218 + 12 + 12 + 8
"""Numbers of one recording: 218 of the middle, 12 of the sides, 12 of the room, 8 of the waveform."""


@torch.no_grad()
def style_features(x: Tensor, sample_rate: float) -> Tensor:
    """Numbers (250,) of a recording (C, T), or (B, 250) of several (B, C, T), at any sample rate in Hz.

    Finite for anything, silence and NaN included. Take pieces of some seconds: `windows` finds telling ones.
    """
    if x.ndim == 2:
        return style_features(x[None], sample_rate)[0]
    heard = listened(x, sample_rate)
    middle = heard.mean(1)
    spectrum = torch.stft(
        middle, N_FFT, HOP, window=torch.hann_window(N_FFT).to(middle), center=False, return_complex=True
    )
    bins = spectrum.abs().square() / N_FFT  # (B, 1025, F)
    power = mel().to(bins).T @ bins  # (B, 40, F)
    parts = [*_bands(power, bins), *_levels(middle)]
    parts = [*parts, _sides(heard), _room(power), _waveform(middle)]
    return torch.nan_to_num(torch.cat(parts, 1), 0.0, 0.0, 0.0).float()


def listened(x: Tensor, sample_rate: float) -> Tensor:
    """Audio (B, C, T) at 24 kHz with its middle peaking at -12 dBFS, repeated where it is shorter than 5.46 s.

    Shape: (B, C, T) to (B, C, 131072 or more), float32.
    """
    x = at_rate(torch.nan_to_num(x.float(), 0.0, 0.0, 0.0), sample_rate)
    if x.shape[-1] < WINDOW:
        x = x.repeat(1, 1, -(-WINDOW // max(x.shape[-1], 1)))[..., :WINDOW] if x.shape[-1] else pad(x, (0, WINDOW))
    return at_peak(x)


def at_peak(x: Tensor) -> Tensor:
    """Audio (B, C, T) with the middle of its channels peaking at -12 dBFS; silence stays silent."""
    peak = x.mean(-2).abs().amax(-1).clamp_min(1e-9)
    return x * (10 ** (PEAK_DB / 20) / peak)[..., None, None]


def at_rate(x: Tensor, sample_rate: float, rate: int = RATE) -> Tensor:
    """Audio (..., T) at another sample rate, by cutting or padding its spectrum: quick, and good for measuring."""
    if sample_rate == rate or x.shape[-1] == 0:
        return x
    length = x.shape[-1]
    wanted = max(1, round(length * rate / sample_rate))
    spectrum = torch.fft.rfft(x)
    bins = wanted // 2 + 1
    spectrum = spectrum[..., :bins] if bins <= spectrum.shape[-1] else pad(spectrum, (0, bins - spectrum.shape[-1]))
    return torch.fft.irfft(spectrum, wanted) * (wanted / length)


def windows(x: Tensor, sample_rate: float, count: int = 3) -> Tensor:
    """The loudest pieces of a recording (C, T) that do not overlap, (K, C, 5.46 s), K from 1 to ``count``, in order."""
    length = round(WINDOW / RATE * sample_rate)
    if x.shape[-1] < 2 * length:
        start = max(0, (x.shape[-1] - length) // 2)
        return x[None, :, start : start + length]
    step = length // 4
    pieces = x.split(256 * step, 1)  # an hour has no room for copies
    energy = torch.cat([p.float().square().mean(0).unfold(0, step, step).mean(1) for p in pieces if p.shape[1] >= step])
    energy = torch.nan_to_num(energy.unfold(0, 4, 1).mean(1))
    chosen: list[int] = []
    for _ in range(count):
        best = int(energy.argmax())
        if energy[best] < 0:
            break
        chosen.append(best)
        energy[max(0, best - 3) : best + 4] = -1
    return torch.stack([x[:, k * step : k * step + length] for k in sorted(chosen)])


def _bands(power: Tensor, bins: Tensor) -> list[Tensor]:
    """What the mel bands (B, 40, F) and the spectrum's bins tell: 40 + 40 + 20 + 20 + 30 + 15 + 16 + 20 numbers."""
    db = 10 * power.clamp_min(1e-7).log10()
    mean_db = 10 * power.mean(2).clamp_min(1e-10).log10()
    paired = 10 * power.unflatten(1, (20, 2)).mean(2).clamp_min(1e-7).log10()  # (B, 20, F)
    low, middle, high = _percentiles(paired, (10, 50, 95)).unbind(-1)
    broad_db = 10 * _broad(power).clamp_min(1e-7).log10()
    return [
        mean_db,
        db.std(2, correction=0),
        high - middle,
        middle - low,
        10 * _modulation(power),
        5 * _correlations(broad_db),
        _flatness(bins),
        _loud_less_quiet(power),
    ]


def _modulation(power: Tensor) -> Tensor:
    """Shares of slow, middle and fast changes (below 1.5, 5 and 12 Hz) in ten bands, (B, 30)."""
    level = power.unflatten(1, (10, 4)).sum(2).clamp_min(1e-7).log10()
    level = level - level.mean(2, keepdim=True)
    spectrum = torch.fft.rfft(level * torch.hann_window(level.shape[2]).to(level)).abs().square()
    hz = torch.fft.rfftfreq(level.shape[2], HOP / RATE)
    edges = ((0.0, 1.5), (1.5, 5.0), (5.0, 12.0))
    shares = [spectrum[..., (hz > low) & (hz <= high)].sum(2) for low, high in edges]
    return (torch.stack(shares, 2) / (spectrum[..., 1:].sum(2, keepdim=True) + 1e-9)).flatten(1)


def _correlations(broad_db: Tensor) -> Tensor:
    """How alike the levels of six broad bands move, (B, 15)."""
    moved = broad_db - broad_db.mean(2, keepdim=True)
    moved = moved / (moved.square().sum(2, keepdim=True).sqrt() + 1e-3)
    rows, columns = torch.triu_indices(BROAD, BROAD, 1)
    return (moved @ moved.mT)[:, rows, columns]


def _flatness(bins: Tensor) -> Tensor:
    """Geometric over arithmetic mean of the spectrum within 16 bands from 700 Hz on, mean over time, (B, 16)."""
    log = bins.clamp_min(1e-12).log()
    edges = (torch.logspace(math.log10(700), math.log10(11_800), 17) * N_FFT / RATE).round().long().tolist()
    flat = [log[:, a:b].mean(1) - bins[:, a:b].mean(1).clamp_min(1e-12).log() for a, b in pairwise(edges)]
    return torch.stack([f.mean(1) for f in flat], 1)


def _loud_less_quiet(power: Tensor) -> Tensor:
    """Spectrum of the loudest quarter of the frames less that of the quietest two fifths, dB, (B, 20)."""
    paired = power.unflatten(1, (20, 2)).sum(2)
    order = power.sum(1).argsort(1)  # quiet first
    frames = order.shape[1]
    ordered = paired.gather(2, order[:, None].expand_as(paired))
    loud = ordered[..., -max(1, frames // 4) :].mean(2)
    quiet = ordered[..., : max(1, frames * 2 // 5)].mean(2)
    return 10 * (loud.clamp_min(1e-7) / quiet.clamp_min(1e-7)).log10()


def _levels(x: Tensor) -> list[Tensor]:
    """What levels over time (B, T) tell: 6 + 1 + 1 + 6 + 2 + 1 numbers."""
    short, hop = round(0.05 * RATE), round(0.025 * RATE)
    frames = x.unfold(1, short, hop)
    rms = frames.square().mean(2)
    rms_db = 10 * rms.clamp_min(1e-10).log10()
    peak = frames.abs().amax(2)
    heard = (rms > 1e-8).to(x)
    crest_db = (20 * peak.clamp_min(1e-7).log10() - rms_db) * heard
    file_crest = 20 * x.abs().amax(1).clamp_min(1e-7).log10() - 10 * x.square().mean(1).clamp_min(1e-10).log10()
    fine = 10 * x.unfold(1, RATE // 100, RATE // 100).square().mean(2).clamp_min(1e-8).log10()
    long = 10 * x.unfold(1, round(0.4 * RATE), round(0.1 * RATE)).square().mean(2).clamp_min(1e-8).log10()
    crossings = ((x[:, 1:] * x[:, :-1]) < 0).float().mean(1)
    return [
        _percentiles(rms_db, LEVEL_PERCENT),
        file_crest[:, None],
        (crest_db.sum(1) / heard.sum(1).clamp_min(1))[:, None],
        _percentiles(fine.diff(dim=1), SLOPE_PERCENT),
        torch.stack([long.std(1), long.amax(1) - long.amin(1)], 1),
        20 * crossings[:, None],
    ]


def _sides(x: Tensor) -> Tensor:
    """Of the channels (B, C, T): stereo or not, side over middle dB, correlation, balance, 8 bands, (B, 12)."""
    if x.shape[1] == 1:
        mono = torch.tensor([0.0, SIDE_FLOOR_DB, 1.0, 0.0, *[SIDE_FLOOR_DB] * 8])
        return mono.to(x).expand(len(x), -1)
    middle, side = (x[:, 0] + x[:, 1]) / 2, (x[:, 0] - x[:, 1]) / 2
    window = torch.hann_window(N_FFT).to(x)
    spectra = [
        torch.stft(part, N_FFT, N_FFT, window=window, center=False, return_complex=True).abs().square().mean(2)
        for part in (middle, side)
    ]
    grouped = [(power @ mel().to(power)).unflatten(1, (8, 5)).sum(2) for power in spectra]
    by_band = _ratio_db(grouped[1], grouped[0])
    left, right = x[:, 0].square().mean(1), x[:, 1].square().mean(1)
    same = (x[:, 0] * x[:, 1]).mean(1) / (left * right).sqrt().clamp_min(1e-12)
    balance = (right - left) / (right + left).clamp_min(1e-12)
    overall = _ratio_db(side.square().mean(1), middle.square().mean(1))
    return torch.cat([torch.stack([torch.ones_like(same), overall, same, balance], 1), by_band], 1)


def _ratio_db(above: Tensor, below: Tensor) -> Tensor:
    return 10 * ((above + 1e-12) / (below + 1e-12)).log10().clamp(SIDE_FLOOR_DB / 10, 1.5)


def _broad(power: Tensor) -> Tensor:
    """Mel bands (B, 40, F) in six broad ones, without the four highest, (B, 6, F)."""
    return power.unflatten(1, (20, 2)).sum(2)[:, :18].unflatten(1, (BROAD, 3)).sum(2)


def _room(power: Tensor) -> Tensor:
    """How fast levels fall in six broad bands: the middle and the slowest of the falls over 64 ms, dB, (B, 12)."""
    db = 10 * _broad(power).clamp_min(1e-8).log10()
    step = db[..., 3:] - db[..., :-3]
    falls = torch.where(step < -0.5, step, torch.nan)
    percent = torch.tensor([0.5, 0.9]).to(db)
    return torch.nan_to_num(torch.nanquantile(falls, percent, dim=2).permute(1, 2, 0)).flatten(1)


def _waveform(x: Tensor) -> Tensor:
    """How full the waveform is near its own peaks, which drive and limiting change, (B, 8)."""
    frames = x.unfold(1, RATE // 50, RATE // 50)  # 20 ms
    peak = frames.abs().amax(2)
    loud = peak >= torch.quantile(peak, 0.75, dim=1, keepdim=True)
    shape = frames.abs() / peak.clamp_min(1e-7)[..., None]
    shares = [(shape > limit).float().mean(2) for limit in (0.95, 0.8, 0.6, 0.3)]
    crest = -20 * shape.square().mean(2).clamp_min(1e-7).sqrt().log10()
    weight = loud.to(x) / loud.sum(1, keepdim=True).clamp_min(1)
    rest = (~loud).to(x) / (~loud).sum(1, keepdim=True).clamp_min(1)
    numbers = [10 * (s * weight).sum(1) for s in shares] + [(crest * w).sum(1) for w in (weight, rest)]
    highest = 20 * peak.clamp_min(1e-7).log10()
    numbers += [highest.amax(1) - torch.quantile(highest, q, dim=1) for q in (0.98, 0.75)]
    return torch.stack(numbers, 1)


def _percentiles(x: Tensor, percent: tuple[int, ...]) -> Tensor:
    """Percentiles along the last axis, (..., P): the nearest of the values, which sorting alone gives."""
    ordered = x.sort(-1).values
    places = [round(p / 100 * (x.shape[-1] - 1)) for p in percent]
    return ordered[..., places]


@kept(1)
def mel() -> Tensor:
    """Triangles (1025, 40) from 20 Hz to 12 kHz on the mel scale (O'Shaughnessy, 1987), their tops at 1."""
    return triangles(mel_edges_hz(LOW_HZ, HIGH_HZ, BANDS), N_FFT, RATE).float()
