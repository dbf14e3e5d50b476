"""Styles with a truth: equaliser and compressor as DeepAFx-ST draws and renders them, and styles beyond these.

The renderer shares no code with what is judged: SciPy's filters and a compressor of its own. Published styles are those
of C. J. Steinmetz, N. J. Bryan and J. D. Reiss, "Style transfer of audio effects with differentiable signal processing"
(J. Audio Eng. Soc. 70(9), 2022), "warm" with the boost of the highs that their code makes of a cut.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numba
import numpy as np
import scipy.ndimage
import scipy.signal
from numpy.typing import NDArray

Samples = NDArray[np.float64]
FAMILIES = ("neutral", "broadcast", "telephone", "bright", "warm")
EXTRAS = ("saturated", "roomy", "wide", "limited", "lo-fi")
KINDS = {"family": 0.4, "random": 0.3, "subtle": 0.3}
"""Kinds of style and the share of the trials that are of it."""

PEAK_DB = -12.0
Q = 0.707


@dataclass(frozen=True)
class Style:
    """What is done to a recording that peaks at -12 dBFS: three bands, a compressor, then `extras`.

    ``bands`` are (hertz, dB) of a low shelf, a peak and a high shelf; times are in s. ``extras`` are dB of drive into
    tanh, seconds and level (dB) of a room's tail, dB of side, dB of gain into a ceiling, corners of a band in Hz.
    """

    name: str
    kind: str
    bands: tuple[tuple[float, float], ...]
    threshold_db: float = 0.0
    ratio: float = 1.0
    attack_s: float = 0.05
    release_s: float = 0.25
    extras: Mapping[str, float] = field(default_factory=dict)

    def sections(self, sample_rate: float) -> Samples:
        """The bands as second-order sections (3, 6)."""
        designs = (("low", self.bands[0]), ("peak", self.bands[1]), ("high", self.bands[2]))
        return np.array([biquad(kind, hz, gain, Q, sample_rate) for kind, (hz, gain) in designs])

    def response_db(self, hz: Samples, sample_rate: float) -> Samples:
        """The equaliser's response at frequencies (K,) in dB."""
        return 20 * np.log10(np.abs(scipy.signal.sosfreqz(self.sections(sample_rate), hz, fs=sample_rate)[1]) + 1e-12)

    def scaled(self, share: float, kind: str = "subtle") -> "Style":
        """The same with all decibels and the ratio less 1 times ``share``."""
        bands = tuple((hz, gain * share) for hz, gain in self.bands)
        return replace(self, kind=kind, bands=bands, ratio=1 + (self.ratio - 1) * share)

    def render(self, x: Samples, sample_rate: int, seed: int = 0) -> Samples:
        """The recording (C, T) in this style, from and to a peak of -12 dBFS; ``seed`` is the room's."""
        y = scipy.signal.sosfilt(self.sections(sample_rate), at_peak(x))
        if self.ratio > 1:
            y = compress(y, self.threshold_db, self.ratio, self.attack_s, self.release_s, sample_rate)
        return at_peak(_extra(y, self.extras, sample_rate, seed))


def at_peak(x: Samples, peak_db: float = PEAK_DB) -> Samples:
    """A recording (C, T) at one peak in dBFS; silence stays."""
    return np.asarray(x, dtype=np.float64) * (10 ** (peak_db / 20) / max(float(np.abs(x).max()), 1e-9))


def draw(kind: str, rng: np.random.Generator, name: str | None = None) -> Style:
    """A style of one of `KINDS` or "extra"; ``name`` is a family's or an extra's, else the generator chooses."""
    if kind == "family":
        return family(name or FAMILIES[rng.integers(len(FAMILIES))], rng)
    if kind == "random":
        return random_style(rng)
    if kind == "subtle":
        return draw(("family", "random")[rng.integers(2)], rng, name).scaled(0.25)
    return extra_style(name or EXTRAS[rng.integers(len(EXTRAS))], rng)


def family(name: str, rng: np.random.Generator) -> Style:
    """One of the five published families."""
    u = rng.uniform
    middle = (1000.0, 0.0)
    if name == "neutral":
        bands = ((u(80, 200), u(1, 3)), middle, (u(6000, 8000), u(1, 3)))
        return Style(name, "family", bands, -u(20, 30), u(1.5, 2), u(0.05, 0.07), u(0.1, 0.3))
    if name == "broadcast":
        bands = ((u(80, 200), u(2, 6)), middle, (u(6000, 8000), u(2, 6)))
        return Style(name, "family", bands, -u(40, 50), u(3, 5), u(0.005, 0.03), u(0.05, 0.15))
    if name == "telephone":
        bands = ((u(200, 400), -u(20, 26)), (u(1000, 2000), u(12, 16)), (u(4000, 6000), -u(20, 26)))
        return Style(name, "family", bands, -u(20, 40), u(1.5, 3), u(0.001, 0.006), u(0.01, 0.06))
    if name == "bright":
        return Style(name, "family", ((u(200, 400), -u(20, 26)), middle, (u(8000, 10000), u(20, 26))))
    return Style(name, "family", ((u(200, 400), u(20, 26)), middle, (u(8000, 10000), u(14, 20))))


def random_style(rng: np.random.Generator) -> Style:
    """Any three bands and any compressor."""
    u = rng.uniform

    def log(low: float, high: float) -> float:
        return float(np.exp(u(np.log(low), np.log(high))))

    bands = ((log(80, 400), u(-20, 20)), (log(400, 3000), u(-14, 14)), (log(4000, 9000), u(-20, 20)))
    return Style("random", "random", bands, u(-45, -10), u(1, 5), log(0.001, 0.07), log(0.02, 0.3))


def extra_style(name: str, rng: np.random.Generator) -> Style:
    """A style that three bands and a compressor cannot make, on a little of both."""
    base = random_style(rng).scaled(0.25)
    u = rng.uniform
    extras = {
        "saturated": lambda: {"drive_db": u(6, 18)},
        "roomy": lambda: {"room_s": u(0.4, 1.5), "room_db": 20 * math.log10(u(0.1, 0.3))},
        "wide": lambda: {"side_db": u(3, 9)},
        "limited": lambda: {"push_db": u(6, 12)},
        "lo-fi": lambda: {"low_hz": u(150, 400), "high_hz": u(3000, 6000), "drive_db": u(6, 12)},
    }[name]()
    return replace(base, name=name, kind="extra", extras=extras)


def mean_style(count: int = 2000, seed: int = 0) -> Style:
    """The mean settings of the styles that trials are drawn from: the best preset for nobody in particular."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(list(KINDS), size=count, p=list(KINDS.values()))
    drawn = [draw(str(kind), rng) for kind in kinds]
    bands = np.array([s.bands for s in drawn])
    hertz, gains = np.exp(np.log(bands[..., 0]).mean(0)), bands[..., 1].mean(0)
    slopes = np.array([1 - 1 / s.ratio for s in drawn])
    used = slopes > 0.02
    logs = [np.log([getattr(s, name) for s in drawn])[used].mean() for name in ("attack_s", "release_s")]
    threshold = float(np.mean([s.threshold_db for s, u in zip(drawn, used, strict=True) if u]))
    attack, release = (float(np.exp(v)) for v in logs)
    pairs = tuple((float(h), float(g)) for h, g in zip(hertz, gains, strict=True))
    return Style("mean", "mean", pairs, threshold, float(1 / (1 - slopes.mean())), attack, release)


def biquad(kind: str, hz: float, gain_db: float, q: float, sample_rate: float) -> list[float]:
    """Coefficients [b0 b1 b2 1 a1 a2] of R. Bristow-Johnson's cookbook for a "low" or "high" shelf or a "peak"."""
    a, w = 10 ** (gain_db / 40), 2 * math.pi * min(hz, 0.49 * sample_rate) / sample_rate
    alpha, c = math.sin(w) / (2 * q), math.cos(w)
    if kind == "peak":
        b, d = [1 + alpha * a, -2 * c, 1 - alpha * a], [1 + alpha / a, -2 * c, 1 - alpha / a]
    else:
        s, root = (1 if kind == "low" else -1), 2 * math.sqrt(a) * alpha
        up, down = a + 1, a - 1
        b = [a * (up - s * down * c + root), s * 2 * a * (down - s * up * c), a * (up - s * down * c - root)]
        d = [up + s * down * c + root, -s * 2 * (down + s * up * c), up + s * down * c - root]
    return [v / d[0] for v in (*b, *d)]


def compress(
    x: Samples, threshold_db: float, ratio: float, attack_s: float, release_s: float, sample_rate: float,
    knee_db: float = 0.0,
) -> Samples:  # fmt: skip
    """DeepAFx-ST's compressor: the reduction is smoothed, in dB; each channel on its own, no make-up.

    The times are those of a rise from 10 to 90 %. A knee is bent as in their code, not as it should be.
    """
    rise, fall = (math.exp(-math.log(9) / (sample_rate * t)) for t in (attack_s, release_s))
    return np.stack([_compressed(row, threshold_db, ratio, knee_db, rise, fall) for row in np.asarray(x, np.float64)])


@numba.njit(cache=True, nogil=True)
def _compressed(x, threshold, ratio, knee, rise, fall):
    y, held = np.empty_like(x), 0.0
    for n in range(len(x)):
        level = max(20 * np.log10(abs(x[n]) + 1e-8), -96.0)
        over = level - threshold
        if 2 * abs(over) <= knee and knee > 0:
            wanted = -(1 / ratio) * ((over + knee) / 2) ** 2 / (2 * knee)
        elif over > 0:
            wanted = over - over / ratio
        else:
            wanted = 0.0
        keep = rise if wanted > held else fall
        held = keep * held + (1 - keep) * wanted
        y[n] = x[n] * 10 ** (-held / 20)
    return y


def _extra(x: Samples, extras: Mapping[str, float], sample_rate: int, seed: int) -> Samples:
    """Drive, a band, a room, width and a ceiling, in this order, where they are asked for."""
    y = x
    if "drive_db" in extras:
        gain = 10 ** (extras["drive_db"] / 20)
        y = np.tanh(gain * y) / gain
    if "low_hz" in extras:
        corners = [extras["low_hz"], min(extras["high_hz"], 0.45 * sample_rate)]
        y = scipy.signal.sosfilt(scipy.signal.butter(2, corners, "band", fs=sample_rate, output="sos"), y)
    if "room_s" in extras:
        length = round(extras["room_s"] * sample_rate)
        tail = np.random.default_rng(seed).standard_normal((len(y), length))
        tail *= np.exp(-math.log(1000) * np.arange(length) / length)
        tail /= np.sqrt(np.square(tail).sum(1, keepdims=True))
        y = y + 10 ** (extras["room_db"] / 20) * 3 * scipy.signal.fftconvolve(y, tail, axes=1)[:, : y.shape[1]]
    if "side_db" in extras and len(y) == 2:
        middle, side = (y[0] + y[1]) / 2, (y[0] - y[1]) / 2 * 10 ** (extras["side_db"] / 20)
        y = np.stack([middle + side, middle - side])
    if "push_db" in extras:
        y = _limited(y, -PEAK_DB + extras["push_db"], sample_rate)
    return y


def _limited(x: Samples, gain_db: float, sample_rate: int) -> Samples:
    """Gain into a ceiling of 0.89: the largest magnitude of 5 ms around each sample, released over 50 ms."""
    y = x * 10 ** (gain_db / 20)
    need = np.minimum(1, 0.89 / np.maximum(np.abs(y).max(0), 1e-9))
    width = 2 * round(0.0025 * sample_rate) + 1
    low = -scipy.ndimage.maximum_filter1d(-need, width)
    return y * scipy.ndimage.uniform_filter1d(np.minimum(low, _released(low, 0.05 * sample_rate)), width)


def _released(gain: Samples, samples: float) -> Samples:
    """The gain, which may fall at once but rises with a time constant."""
    return -_held(-gain, math.exp(-1 / samples))


@numba.njit(cache=True, nogil=True)
def _held(x, keep):
    y, held = np.empty_like(x), x[0]
    for n in range(len(x)):
        held = x[n] if x[n] > held else keep * held + (1 - keep) * x[n]
        y[n] = held
    return y
