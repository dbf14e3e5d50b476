"""Automatic mixers to compare with, from a plain sum of the tracks to what learning without depth can do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.mixing import System, console
from diffmix.balance import balanced
from diffmix.console import track_loudness
from diffmix.data.knowledge import class_mean, engineer
from diffmix.data.multitrack import Multitrack, Track
from diffmix.intent import Intent
from diffmix.kernels.units import gain_to_db
from diffmix.metrics.spectrum import bark_bands, power_spectrum
from diffmix.mix import grouped
from diffmix.settings import Settings
from diffmix.systems.automixer import balanced_sides

Vector = NDArray[np.float64]
Features = NDArray[np.float64]


def raw_sum(song: Multitrack) -> Settings:
    """All tracks as they are, in the centre."""
    return Settings(tracks={track.name: {} for track in song.tracks})


def peak_sum(song: Multitrack) -> Settings:
    """Every track peaking at -12 dBFS: what automix-toolkit feeds its networks."""
    gains = {track.name: -12 - gain_to_db(track.audio.abs().max()).item() for track in song.tracks}
    return Settings(tracks={name: {"trim": {"gain_db": float(np.clip(g, -40, 60))}} for name, g in gains.items()})


def equal_loudness(song: Multitrack) -> Settings:
    """Every track as loud as the others, in the centre."""
    return _set(song, {}, {track.name: 0.0 for track in song.tracks})


def equal_alternating(song: Multitrack) -> Settings:
    """Every track as loud as the others, left and right by turns."""
    pans = {track.name: 0.5 * (-1) ** n for n, track in enumerate(song.tracks)}
    return _set(song, {name: _placed(song, name, pan) for name, pan in pans.items()}, dict.fromkeys(pans, 0.0))


def random_mix(song: Multitrack) -> Settings:
    """Loudness anywhere within 24 dB, position anywhere."""
    rng = np.random.default_rng(len(song.tracks) * 1_000_003 + song.length)
    strips = {track.name: _placed(song, track.name, rng.uniform(-1, 1)) for track in song.tracks}
    return _set(song, strips, {track.name: rng.uniform(-12, 12) for track in song.tracks})


def rules(song: Multitrack) -> Settings:
    """What is usual for each role, by true labels: no engineer's taste."""
    return balanced(console(song.sample_rate), song, class_mean(song))


def second_engineer(seed: int) -> System:
    """Another engineer, who sees the labels: how far people are apart."""
    return lambda song: balanced(console(song.sample_rate), song, engineer(song, [seed, 2]).intent)


def nearly_true(seed: int, off_db: float = 1.0, off_pan: float = 0.1) -> System:
    """The true engineer's mix, every fader off by some dB and every pan by some of [-1, 1] (standard deviations)."""

    def mixed(song: Multitrack) -> Settings:
        rng = np.random.default_rng([seed, 3])
        intent = engineer(song, [seed, 1]).intent
        loudness = {name: lu + off_db * rng.standard_normal() for name, lu in intent.loudness_lu.items()}
        tracks = {}
        for name, strip in intent.settings["tracks"].items():
            pan = strip.get("pan", {}).get("pan", 0.0) + off_pan * rng.standard_normal()
            tracks[name] = {**strip, **({"pan": {"pan": float(np.clip(pan, -1, 1))}} if "pan" in strip else {})}
        settings = Settings({**intent.settings, "tracks": tracks})
        return balanced(console(song.sample_rate), song, Intent(settings, loudness))

    return mixed


def _set(
    song: Multitrack, strips: Mapping[str, Any], loudness: Mapping[str, float], rest: Mapping[str, Any] | None = None
) -> Settings:
    """Settings in which tracks have these relative loudnesses in LU."""
    total = 10 * np.log10(sum(10 ** (lu / 10) for lu in loudness.values()))
    lu = {name: float(value - total) for name, value in loudness.items()}
    settings = Settings({**(rest or {}), "tracks": {track.name: strips.get(track.name, {}) for track in song.tracks}})
    return balanced(console(song.sample_rate), song, Intent(settings, lu))


def _placed(song: Multitrack, name: str, pan: float) -> dict[str, Any]:
    """A place for a track: pan if it is mono, balance if it is stereo."""
    track = next(track for track in song.tracks if track.name == name)
    return {"pan": {"pan": float(pan)}} if len(track.audio) == 1 else {"image": {"balance": float(pan)}}


# ------------------------------------------------------------------ learned, but not deep

COUNT = 54


def features(track: Track, sample_rate: float) -> Vector:
    """54 numbers of a track that do not depend on its level.

    Mean and standard deviation over time of 24 Bark bands in dB relative to the whole (frames in which it plays), its
    level's percentiles 10, 50, 90 and 95 relative to its mean, crest in dB, and onsets per second.
    """
    x = track.audio.mean(0) if len(track.audio) == 2 else track.audio[0]
    n_fft = 1 << round(np.log2(sample_rate * 0.0464))
    power = bark_bands(power_spectrum(x, n_fft), sample_rate).double().numpy()  # (24, frames)
    level = power.sum(0)
    if level.max() <= 1e-14:
        return np.zeros(COUNT)
    plays = level > 1e-6 * level.max()
    mean = level[plays].mean()
    bands = 10 * np.log10(np.maximum(power[:, plays], 1e-8 * mean) / mean)
    frames = 10 * np.log10(np.maximum(level, 1e-6 * level.max()) / mean)
    rise = np.diff(frames, prepend=frames[0])
    onsets = ((rise > 6) & (frames > -30)).sum() / (x.shape[-1] / sample_rate)
    crest = 20 * np.log10(float(x.abs().max()) / max(float(x.square().mean().sqrt()), 1e-9))
    shape = np.percentile(frames, (10, 50, 90, 95))
    return np.concatenate([bands.mean(1), bands.std(1), shape, [crest, onsets]])


def described(song: Multitrack) -> Features:
    """Features of each track beside the mean over its song, (N, 108)."""
    own = np.stack([features(track, song.sample_rate) for track in song.tracks])
    return np.hstack([own, np.broadcast_to(own.mean(0), own.shape)])


@dataclass(frozen=True)
class Lesson:
    """What there is to learn of a song: features (N, 108), loudness in the mix (N,) LU, distance from the centre (N,).

    And the intent, for means of the other knobs; NaN where a track is silent.
    """

    x: Features
    loudness: Vector
    amount: Vector
    intent: Intent


def lesson(song: Multitrack, seed: int) -> Lesson:
    """What engineer ``seed`` does with a song of the training set."""
    intent = engineer(song, [seed, 1]).intent
    strips = intent.settings["tracks"]
    sounds = track_loudness(grouped(song)[0], song.sample_rate)[0][np.argsort(grouped(song)[1])].numpy() > -69
    loudness = np.array([intent.loudness_lu[t.name] for t in song.tracks])
    amount = np.array([abs(strips[t.name].get("pan", {}).get("pan", 0.0)) for t in song.tracks])
    return Lesson(described(song), np.where(sounds, loudness, np.nan), amount, intent)


@dataclass(frozen=True)
class Constant:
    """Every track treated alike: the mean of what engineers did in the training songs."""

    strip: dict[str, dict[str, float]]
    rest: dict[str, Any]

    @classmethod
    def of(cls, lessons: Sequence[Lesson]) -> "Constant":
        """The mean settings of the lessons; pans average to the centre."""
        strips = [strip for one in lessons for strip in one.intent.settings["tracks"].values() if strip]
        knobs = {stage: strips[0].get(stage, {}) for stage in strips[0] if stage not in ("pan", "image")}
        strip = {stage: _mean([s[stage] for s in strips if stage in s]) for stage in knobs}
        settings = [one.intent.settings for one in lessons]
        buses = {"reverb": {"reverb": _mean([s["buses"]["reverb"]["reverb"] for s in settings])}}
        stages = [s.get("master", {}) for s in settings]
        master = {stage: _mean([m[stage] for m in stages if stage in m]) for stage in stages[0]}
        return cls(strip, {"buses": buses, "master": master})

    def __call__(self, song: Multitrack) -> Settings:
        """The same settings for all tracks, equally loud."""
        names = [track.name for track in song.tracks]
        return _set(song, dict.fromkeys(names, self.strip), dict.fromkeys(names, 0.0), self.rest)


def _mean(knobs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each knob over those that have it: of frequencies, times and ratios the geometric one."""
    found = {}
    for name in sorted({name for one in knobs for name in one}):
        values = np.array([one[name] for one in knobs if name in one])
        geometric = name.endswith(("_hz", "_ms", "_q", "ratio"))
        found[name] = float(np.exp(np.log(values).mean()) if geometric else values.mean())
    return found


@dataclass(frozen=True)
class KernelRidge:
    """Loudness and distance from the centre by kernel ridge regression; the other knobs as `Constant`."""

    constant: Constant
    x: Features
    mean: Vector
    scale: Vector
    weights: NDArray[np.float64]
    offset: Vector
    width: float

    @classmethod
    def of(cls, lessons: Sequence[Lesson]) -> "KernelRidge":
        """Fit to lessons; kernel width and ridge are chosen by cross-validation over songs, five parts."""
        x = np.concatenate([one.x for one in lessons])
        relative = [one.loudness - np.nanmean(one.loudness) for one in lessons]
        y = np.stack([np.concatenate(relative), np.concatenate([one.amount for one in lessons])], 1)
        part = np.concatenate([np.full(len(one.x), n % 5) for n, one in enumerate(lessons)])
        kept = np.isfinite(y[:, 0])
        x, y, part = x[kept], y[kept], part[kept]
        mean, scale = x.mean(0), x.std(0) + 1e-6
        x, offset = (x - mean) / scale, y.mean(0)
        square = _squares(x, x)
        median = float(np.sqrt(np.median(square)))
        best = (np.inf, 1.0, 1.0)
        for width in (0.5 * median, median, 2 * median):
            kernel = np.exp(-square / (2 * width**2))
            for ridge in (0.01, 0.03, 0.1, 0.3, 1.0):
                wrong = 0.0
                for fold in range(5):
                    a, b = part != fold, part == fold
                    weights = np.linalg.solve(kernel[np.ix_(a, a)] + ridge * np.eye(a.sum()), (y - offset)[a])
                    wrong += np.abs(kernel[np.ix_(b, a)] @ weights - (y - offset)[b])[:, 0].sum()
                best = min(best, (wrong / len(y), width, ridge))
        _, width, ridge = best
        weights = np.linalg.solve(np.exp(-square / (2 * width**2)) + ridge * np.eye(len(x)), y - offset)
        return cls(Constant.of(lessons), x, mean, scale, weights, offset, width)

    def __call__(self, song: Multitrack) -> Settings:
        """What the regression says, sides chosen so that the mix does not lean."""
        x = (described(song) - self.mean) / self.scale
        answer = np.exp(-_squares(x, self.x) / (2 * self.width**2)) @ self.weights + self.offset
        loudness = {track.name: float(lu) for track, lu in zip(song.tracks, answer[:, 0], strict=True)}
        amount = np.clip(answer[:, 1], 0, 1)
        pull = torch.from_numpy(amount * 10 ** (answer[:, 0] / 20))
        side = balanced_sides(pull[:, None]).numpy()
        strips = {}
        for track, pan in zip(song.tracks, amount * side, strict=True):
            place = {"pan": {"pan": float(pan)}} if len(track.audio) == 1 else {}
            strips[track.name] = {**self.constant.strip, **place}
        return _set(song, strips, loudness, self.constant.rest)


def _squares(a: Features, b: Features) -> Features:
    """Squared distances of rows."""
    return np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0)
