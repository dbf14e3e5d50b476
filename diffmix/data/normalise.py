"""Effect normalisation: stems that were mixed are made as alike as stems of different songs can be.

A network that learns to mix from finished stems must not find there what it is to learn. So each stem is brought to the
averages of its class: spectrum, dynamics, panning and loudness, in this order. After M. A. Martinez-Ramirez et al.,
"Automatic music mixing with deep learning and out-of-domain data", ISMIR 2022.

What is measured, of a stem x of one class:

- spectrum: the mean over time of |STFT| in 1.5 s frames, at -30 LUFS;
- dynamics: with the peak at -10 dBFS, the mean and the spread of the peaks of its onsets (of the loudest quarter);
- similarity of the channels, 2 |L| |R| / (|L|^2 + |R|^2) in each bin (C. Avendano, 2003), mean over time: 1 is centred;
- loudness, in LUFS.

`averages` measures each on stems whose earlier effects are normalised already. Stems are float32 (2, T).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffmix.data.multitrack import Multitrack
from diffmix.errors import AudioError
from diffmix.kernels.loudness import HEARD_LUFS, integrated_loudness
from diffmix.kernels.noise_reverb import CENTRES_HZ, noise_bands, noise_response
from diffmix.processors import HighShelfFilter, KneeCompressor, LowShelfFilter

CLASSES = ("vocals", "bass", "drums", "other")
"""The stems of a song, in this order."""

STEMS: Mapping[str, str] = {
    "lead_vocal": "vocals",
    "backing_vocal": "vocals",
    "bass": "bass",
    **dict.fromkeys(("kick", "snare", "hihat", "tom", "cymbal", "overhead", "room", "percussion", "drums"), "drums"),
}
"""The stem that a track belongs to by its role; all others go to ``other``."""

MEASURED_LUFS = -30.0
PEAK_DB = -10.0
LONG_FRAME_S, LONG_HOP_S = 65536 / 44100, 16384 / 44100
SHORT_FRAME_S, SHORT_HOP_S = 2048 / 44100, 512 / 44100
EQ_TAPS = 1001
MOST_DB = 24.0
"""No frequency is raised or lowered by more: what a stem lacks cannot be had back, only its noise."""

MARGIN = 0.9
"""Stems are made a little wider than the average of their class, so that few are left as they are."""

QUIET_DB = -40.0
"""Frames so much below the loudest keep their panning."""

MONO_SHIFT = 0.2 * math.pi / 4
"""A stem without sides is moved to the left by so much of the way, so that there is something to spread."""


@dataclass(frozen=True)
class Treatment:
    """How a class is normalised: smoothing in bins, compressor, up to where it is panned, whether reverb is added."""

    smoothing: int
    lowest_ratio: float
    attack_ms: float
    release_ms: float
    highest_hz: float
    reverb: bool


TREATMENTS: Mapping[str, Treatment] = {
    "vocals": Treatment(401, 4, 7.5, 400, 16000, True),
    "bass": Treatment(151, 5, 10, 500, 16000, False),
    "drums": Treatment(151, 6, 10, 180, 6000, False),
    "other": Treatment(401, 4, 15, 666, 16000, True),
}
"""The paper's settings."""

HIGHEST_RATIO = 20.0
THRESHOLDS_DB = np.arange(-10.0, -40.5, -0.5)


class Averages(NamedTuple):
    """What stems of a class have in common: spectrum (bins,), mean and spread of onsets, similarity (bins,), LUFS."""

    spectrum: Tensor
    onsets_db: Tensor
    similarity: Tensor
    loudness_lufs: Tensor


def stems_of(multitrack: Multitrack) -> dict[str, Tensor]:
    """The four stems (2, T) of a song: its tracks summed by role, mono ones at -3 dB on both sides."""
    stems = {name: torch.zeros(2, multitrack.length) for name in CLASSES}
    for track in multitrack.tracks:
        x = track.audio if len(track.audio) == 2 else track.audio.expand(2, -1) / math.sqrt(2)
        stems[STEMS.get(track.role or "", "other")] += x
    return stems


def empty_averages(sample_rate: int) -> Averages:
    """Averages of the right sizes that hold nothing: places for those of a file."""
    long, short = (_frame(seconds, sample_rate) // 2 + 1 for seconds in (LONG_FRAME_S, SHORT_FRAME_S))
    return Averages(torch.zeros(long), torch.zeros(2), torch.ones(short), torch.zeros(()))


# -- one effect at a time ----------------------------------------------------------------------------------------------


def at_lufs(x: Tensor, sample_rate: int, loudness_lufs: float) -> Tensor:
    """The stem at a loudness; silence stays silence."""
    loudness = float(integrated_loudness(x[None], sample_rate))
    return x * 10 ** ((loudness_lufs - loudness) / 20) if loudness > HEARD_LUFS else x


def spectrum_of(x: Tensor, sample_rate: int) -> Tensor:
    """Mean magnitude spectrum (bins,) of a stem at -30 LUFS, of both channels together, float64."""
    x = at_lufs(x, sample_rate, MEASURED_LUFS)
    return _stft(x, sample_rate, LONG_FRAME_S, LONG_HOP_S).abs().double().mean((0, 2))


def normalise_eq(x: Tensor, sample_rate: int, spectrum: Tensor, smoothing: int = 401) -> Tensor:
    """The stem filtered so that its mean spectrum becomes ``spectrum``, within 24 dB, without a change of phase.

    The correction is smoothed over ``smoothing`` bins (0.67 Hz each) and has 1001 taps, run forth and back: details
    finer than 90 Hz (at 44.1 kHz) stay. A silent stem stays silent.
    """
    from scipy.signal import fftconvolve, firwin2

    if not bool(x.any()):
        return x
    wanted, found = (_smooth(s, smoothing) for s in (spectrum, spectrum_of(x, sample_rate)))
    floor = 1e-6 * float(wanted.max())
    most = 10 ** (MOST_DB / 40)
    # its square is applied, as the filter runs twice
    gain = np.sqrt((wanted + floor) / (found + floor)).clip(1 / most, most)
    taps = firwin2(EQ_TAPS, np.linspace(0, 1, len(gain)), np.append(gain[:-1], gain[-2]))
    twice = np.convolve(taps, taps)  # symmetric: forth and back at once
    return torch.from_numpy(fftconvolve(x.double().numpy(), twice[None], "same", axes=1).astype(np.float32))


def onsets_of(x: Tensor, sample_rate: int) -> Tensor:
    """Mean and spread (2,) in dB of the loudest quarter of the peaks between onsets, with the peak at -10 dBFS.

    Onsets are maxima of the rise of the high-frequency content (P. Masri, 1996) that stand out from their
    surroundings. Without any, the whole stem counts as one.
    """
    peak = x.abs().max()
    if peak == 0:
        return torch.tensor([-120.0, 0.0], dtype=torch.float64)
    return _onset_levels(x * (10 ** (PEAK_DB / 20) / peak), _onsets(x, sample_rate))


def normalise_compression(x: Tensor, sample_rate: int, onsets_db: Tensor, treatment: Treatment) -> Tensor:
    """The stem, with its peak at -10 dBFS, compressed just as far as its onsets reach down to mean plus spread.

    The gentlest ratio that gets there is taken, at the highest threshold that does. Stems under that level are left as
    they are: nothing is expanded; so are those whose onsets are too short for the compressor's attack.
    """
    peak = float(x.abs().max())
    if peak == 0:
        return x
    x = x * (10 ** (PEAK_DB / 20) / peak)
    onsets = _onsets(x, sample_rate)
    limit = float(onsets_db.sum())
    if float(_onset_levels(x, onsets)[0]) <= limit:
        return x
    compressor = _compressor(sample_rate)
    times = {"attack_ms": treatment.attack_ms, "release_ms": treatment.release_ms, "knee_db": 0.0, "makeup_db": 0.0}

    def compressed(ratio: float, threshold_db: float) -> tuple[Tensor, bool]:
        values = {"ratio": ratio, "threshold_db": threshold_db, **times}
        with torch.no_grad():
            y = compressor.process(x[None], **{name: torch.tensor([value]) for name, value in values.items()})[0]
        return y, float(_onset_levels(y, onsets)[0]) <= limit

    for ratio in np.arange(treatment.lowest_ratio, HIGHEST_RATIO + 1):
        best, enough = compressed(float(ratio), float(THRESHOLDS_DB[-1]))
        if enough:
            break
    else:
        return x
    low, high = 0, len(THRESHOLDS_DB) - 1  # the level falls with the threshold: bisection in place of trying all
    while low < high:
        middle = (low + high) // 2
        y, enough = compressed(float(ratio), float(THRESHOLDS_DB[middle]))
        if enough:
            best, high = y, middle
        else:
            low = middle + 1
    return best


def similarity_of(x: Tensor, sample_rate: int) -> Tensor:
    """Mean similarity of the channels (bins,) in the frames that are not quiet, float64; 1 where there is nothing."""
    spectrum = _stft(x, sample_rate, SHORT_FRAME_S, SHORT_HOP_S)
    power, loud = _loud_frames(spectrum)
    if not bool(loud.any()):
        return torch.ones(power.shape[0], dtype=torch.float64)
    return _similarity(spectrum)[:, loud].double().mean(1)


def normalise_panning(
    x: Tensor, sample_rate: int, similarity: Tensor, highest_hz: float = 16000, smoothing: int = 21
) -> Tensor:
    """The stem with its bins moved outwards or inwards so that their mean similarity is 0.9 times the one given.

    Each bin keeps its phases, its energy |L|^2 + |R|^2 and its side; at each frequency all bins of frames that are not
    quiet move by one angle, in three tries, since frames overlap and blur what was done to each. Above ``highest_hz``
    nothing is moved. (The authors' code lays that limit over the frames instead of the frequencies, so that it stops
    after some seconds of a song.)
    """
    if not bool(x.any()):
        return x
    target = torch.from_numpy(_smooth(MARGIN * similarity, smoothing)).clamp(0.02, 1)
    goal = target
    for tries in range(3):
        y = _moved(x, sample_rate, goal, highest_hz)
        if tries < 2:
            goal = (goal + target - similarity_of(y, sample_rate)).clamp(0.02, 1)
    return y


def _moved(x: Tensor, sample_rate: int, target: Tensor, highest_hz: float) -> Tensor:
    """The stem with bins moved so that their mean similarity, frame by frame, is ``target`` (bins,)."""
    spectrum = _stft(x, sample_rate, SHORT_FRAME_S, SHORT_HOP_S)
    _, loud = _loud_frames(spectrum)
    left, right = spectrum.abs()
    angle = torch.atan2(right, left) - math.pi / 4  # -pi/4 left ... pi/4 right
    mono = bool((angle[:, loud].abs().mean() < 1e-3) if loud.any() else True)
    side = torch.where(angle > (1e-6 if mono else 0.0), 1.0, -1.0)
    away = angle.abs() + (MONO_SHIFT if mono else 0.0)
    # the mean of cos(2 delta) falls as the angles delta grow: bisection for each frequency
    heard = away[:, loud]
    low = torch.full((len(target), 1), -math.pi / 4)
    high = -low
    for _ in range(16 if bool(loud.any()) else 0):
        shift = (low + high) / 2
        mean = torch.cos(2 * (heard + shift).clamp(0, math.pi / 4)).mean(1)
        wide = (mean < target)[:, None]
        low, high = torch.where(wide, low, shift), torch.where(wide, shift, high)
    hz = torch.linspace(0, sample_rate / 2, len(target))
    moved = (hz[:, None] <= highest_hz) & loud[None]
    placed = torch.where(moved, side * (away + (low + high) / 2).clamp(0, math.pi / 4), angle) + math.pi / 4
    size = (left.square() + right.square()).sqrt()
    loudness = torch.stack([left, right])
    there = loudness > 1e-12
    phases = torch.where(there, spectrum, spectrum.flip(0))  # a side without sound takes the other's phase
    known = torch.where(there, loudness, loudness.flip(0)).clamp_min(1e-12)
    turned = phases * (size * torch.stack([placed.cos(), placed.sin()]) / known)
    return _istft(turned, sample_rate, x.shape[-1])


def normalise_loudness(x: Tensor, sample_rate: int, loudness_lufs: Tensor) -> Tensor:
    """The stem at the loudness of its class."""
    return at_lufs(x, sample_rate, float(loudness_lufs))


# -- all of them -------------------------------------------------------------------------------------------------------


def normalise(x: Tensor, sample_rate: int, averages: Averages, treatment: Treatment) -> Tensor:
    """A stem (2, T) with spectrum, dynamics, panning and loudness of its class; a silent one stays silent.

    With averages that hold nothing, of a class that no song had, it is left as it is.
    """
    if not bool(averages.spectrum.any()):
        return x
    for step in _steps(sample_rate, treatment):
        x = step.normalise(x, averages)
    return x


@dataclass(frozen=True)
class _Step:
    """An effect: what is measured of it, and how a stem is brought to the average."""

    name: str
    measure: Callable[[Tensor], Tensor] = field(repr=False)
    normalise: Callable[[Tensor, Averages], Tensor] = field(repr=False)


def _steps(rate: int, t: Treatment) -> Sequence[_Step]:
    return (
        _Step(
            "spectrum",
            lambda x: spectrum_of(x, rate),
            lambda x, a: normalise_eq(x, rate, a.spectrum, t.smoothing),
        ),
        _Step(
            "onsets_db",
            lambda x: onsets_of(x, rate),
            lambda x, a: normalise_compression(x, rate, a.onsets_db, t),
        ),
        _Step(
            "similarity",
            lambda x: similarity_of(x, rate),
            lambda x, a: normalise_panning(x, rate, a.similarity, t.highest_hz),
        ),
        _Step(
            "loudness_lufs",
            lambda x: integrated_loudness(x[None], rate)[0].double(),
            lambda x, a: normalise_loudness(x, rate, a.loudness_lufs),
        ),
    )


def averages(stems: Sequence[Tensor], sample_rate: int, treatment: Treatment) -> Averages:
    """The averages of a class, of stems (2, T) of different songs; silent ones do not count.

    Each is measured on stems that are normalised in what comes before it. Raises AudioError if all are silent.
    """
    stems = [x for x in stems if float(integrated_loudness(x[None], sample_rate)) > HEARD_LUFS]
    if not stems:
        raise AudioError("averages need at least one stem that is not silent")
    unknown = torch.empty(0)
    found = Averages(unknown, unknown, unknown, unknown)
    for step in _steps(sample_rate, treatment):
        mean = torch.stack([step.measure(x) for x in stems]).mean(0)
        found = found._replace(**{step.name: mean.float()})
        stems = [step.normalise(x, found) for x in stems]
    return found


# -- reverberation -----------------------------------------------------------------------------------------------------


def reverberated(x: Tensor, sample_rate: int, seed: int, wet: float = 1.0, dry: float = 1.0) -> Tensor:
    """A stem with the tail of a room of its own: noise, 2 to 4 s to -60 dB, that dies away sooner at high frequencies.

    The tail, wet of low and high shelves of -30 dB (at 500 to 700 Hz and 7 to 10 kHz), is as loud as the stem at
    ``wet`` = 1. So augmented, a network learns that stems may bring reverberation along.
    """
    from scipy.signal import fftconvolve

    rng = np.random.default_rng(seed)
    longest_s = rng.uniform(2, 4)
    decay_s = longest_s * np.geomspace(1, rng.uniform(0.25, 0.6), len(CENTRES_HZ))
    bands = noise_bands(sample_rate, round(longest_s * sample_rate), seed)
    response = noise_response(
        bands, torch.from_numpy(decay_s)[None], torch.zeros(1, len(CENTRES_HZ), dtype=torch.float64), sample_rate
    )[0]
    low_hz, high_hz = rng.uniform(500, 700), rng.uniform(7000, min(10000, 0.45 * sample_rate))
    sent = x[None]
    for kind, hz in ((LowShelfFilter, low_hz), (HighShelfFilter, high_hz)):
        for half_db in (-15.0, -15.0):
            values = {"cutoff_frequency_hz": hz, "gain_db": half_db, "q": math.sqrt(0.5)}
            with torch.no_grad():
                sent = kind(sample_rate).process(sent, **{n: torch.tensor([v]) for n, v in values.items()})
    tail = torch.from_numpy(fftconvolve(sent[0].numpy(), response.numpy(), axes=1)[:, : x.shape[1]]).float()
    power = tail.square().mean()
    scale = (x.square().mean() / power).sqrt() if power > 0 else power
    return dry * x + wet * scale * tail


# -- what they share ---------------------------------------------------------------------------------------------------


def _frame(seconds: float, sample_rate: int) -> int:
    return 2 * round(seconds * sample_rate / 2)


def _stft(x: Tensor, sample_rate: int, frame_s: float, hop_s: float) -> Tensor:
    """Spectrum (2, bins, frames) with a root of Hann; shorter signals are followed by silence."""
    n_fft, hop = _frame(frame_s, sample_rate), _frame(hop_s, sample_rate)
    x = torch.nn.functional.pad(x, (0, max(0, n_fft - x.shape[-1])))
    return torch.stft(x, n_fft, hop, window=torch.hann_window(n_fft).sqrt(), return_complex=True)


def _istft(spectrum: Tensor, sample_rate: int, length: int) -> Tensor:
    n_fft, hop = _frame(SHORT_FRAME_S, sample_rate), _frame(SHORT_HOP_S, sample_rate)
    window = torch.hann_window(n_fft).sqrt()
    return torch.istft(spectrum, n_fft, hop, window=window, length=max(length, n_fft))[:, :length]


def _smooth(curve: Tensor, bins: int) -> np.ndarray:
    from scipy.signal import savgol_filter

    bins = min(bins, len(curve) - 1 + len(curve) % 2)
    return savgol_filter(curve.double().numpy(), bins, 1, mode="nearest").clip(1e-12)


def _loud_frames(spectrum: Tensor) -> tuple[Tensor, Tensor]:
    """Power (bins, frames), and which frames (frames,) are not quiet."""
    power = spectrum.abs().square().sum(0)
    level = power.sum(0)
    return power, (level > level.max() * 10 ** (QUIET_DB / 10)) & (level > 0)


def _similarity(spectrum: Tensor) -> Tensor:
    left, right = spectrum.abs()
    power = left.square() + right.square()
    return torch.where(power > 1e-20, 2 * left * right / power.clamp_min(1e-20), 1.0)


def _onsets(x: Tensor, sample_rate: int) -> Tensor:
    """Where sounds begin, in samples, the first at 0."""
    frame, hop = _frame(1024 / 44100, sample_rate), _frame(512 / 44100, sample_rate)
    mono = torch.nn.functional.pad(x.mean(0), (0, max(0, frame - x.shape[1])))
    spectrum = torch.stft(mono, frame, hop, window=torch.hann_window(frame), return_complex=True).abs()
    content = (spectrum * torch.arange(len(spectrum))[:, None]).sum(0)
    rise = torch.nn.functional.pad((content[1:] - content[:-1]).clamp_min(0), (1, 0))
    around = torch.nn.functional.pad(rise[None, None], (8, 8), mode="replicate")[0, 0].unfold(0, 17, 1)
    stands_out = rise > around.median(1).values + around.mean(1) + 1e-3 * rise.max()
    first = torch.nonzero(stands_out & (rise >= around[:, 5:12].amax(1)))[:, 0]
    starts = torch.cat([torch.zeros(1, dtype=torch.long), (first - 1).clamp_min(0) * hop])
    return torch.unique(starts[starts < x.shape[1]])


def _onset_levels(x: Tensor, onsets: Tensor) -> Tensor:
    """Mean and spread (2,) in dB of the loudest quarter of the peaks from each onset to the next, float64."""
    envelope = x.abs().amax(0)
    peaks = torch.stack([part.max() for part in envelope.tensor_split(onsets[1:])]).double()
    level_db = 20 * peaks.clamp_min(1e-6).log10()
    loudest = level_db[level_db >= torch.quantile(level_db, 0.75)]
    return torch.stack([loudest.mean(), loudest.std(correction=0)])


@cache
def _compressor(sample_rate: int) -> KneeCompressor:
    return KneeCompressor(sample_rate)
