"""Styles: what producers do to a recording with an equaliser and a compressor, and some things more, drawn at random.

The five families are those of C. J. Steinmetz, N. J. Bryan and J. D. Reiss, "Style transfer of audio effects with
differentiable signal processing" (J. Audio Eng. Soc. 70(9), 2022), with their ranges and their compressor. They are
caricatures, so there are random and subtle styles beside them, and extras that these effects cannot make.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from diffmix.data.synthesis import between
from diffmix.errors import SettingsError
from diffmix.kernels.ballistics import ballistics, memory
from diffmix.kernels.biquad import frequency_response, high_shelf, highpass, low_shelf, lowpass, peak
from diffmix.kernels.iir import sos_cascade
from diffmix.kernels.waveshape import distortion
from diffmix.metrics.style import PEAK_DB, at_peak

FAMILIES = ("neutral", "broadcast", "telephone", "bright", "warm")
EXTRAS = ("saturated", "roomy", "wide", "limited", "lo-fi")
Q = 0.707
SUBTLE = 0.25
CEILING_DB = -1.0
Random = np.random.Generator


@dataclass(frozen=True)
class Style:
    """What is done to a recording that peaks at -12 dBFS.

    Attributes:
        name: the family's or the extra's, or "random".
        bands: (Hz, dB) of a low shelf, a peak and a high shelf, Q 0.707.
        threshold_db, ratio: of a peak compressor with a hard knee and no make-up gain.
        attack_s, release_s: times in which its reduction, in dB, goes from 10 to 90 % of a step.
        drive_db: gain into tanh, the level of quiet parts kept; 0 is none.
        side_db: gain of the side of stereo recordings.
        room_s, room_db: decay to -60 dB and energy, over that of the sound itself, of a room's tail; 0 s is none.
        push_db: gain into a ceiling of -1 dBFS, over what brings the peak there.
        corners_hz: a band of two first-order filters on each end, or None.
    """

    name: str
    bands: tuple[tuple[float, float], ...]
    threshold_db: float = 0.0
    ratio: float = 1.0
    attack_s: float = 0.05
    release_s: float = 0.25
    drive_db: float = 0.0
    side_db: float = 0.0
    room_s: float = 0.0
    room_db: float = 0.0
    push_db: float = 0.0
    corners_hz: tuple[float, float] | None = None

    def scaled(self, share: float) -> "Style":
        """The same with all decibels of the bands and the ratio less 1 times ``share``."""
        bands = tuple((hz, gain * share) for hz, gain in self.bands)
        return replace(self, bands=bands, ratio=1 + (self.ratio - 1) * share)

    def sections(self, sample_rate: float) -> Tensor:
        """All filters as second-order sections (K, 5), float64."""
        kinds: tuple[Callable[..., Tensor], ...] = (low_shelf, peak, high_shelf)
        designs = []
        for kind, (hz, gain_db) in zip(kinds, self.bands, strict=True):
            values = (torch.tensor(v, dtype=torch.float64) for v in (min(hz, 0.49 * sample_rate), gain_db, Q))
            designs.append(kind(*values, sample_rate))
        if self.corners_hz:
            low, high = (torch.tensor(min(hz, 0.45 * sample_rate), dtype=torch.float64) for hz in self.corners_hz)
            designs += [highpass(low, sample_rate)] * 2 + [lowpass(high, sample_rate)] * 2
        return torch.stack(designs)

    def response_db(self, frequency_hz: Tensor, sample_rate: float) -> Tensor:
        """Response of all filters (K,) at frequencies (K,), dB."""
        response = frequency_response(self.sections(sample_rate)[None], frequency_hz.double(), sample_rate)
        return 20 * response.abs().clamp_min(1e-6).log10()[0].float()

    def reduction_db(self, level_db: Tensor) -> Tensor:
        """Static gain reduction (K,) of the compressor and the ceiling at levels (K,) of the equalised sound, dB."""
        held = (level_db - self.threshold_db).clamp_min(0) * (1 - 1 / self.ratio)
        over = level_db - held - (PEAK_DB - self.push_db) if self.push_db else torch.zeros_like(level_db)
        return held + over.clamp_min(0)

    def render(self, x: Tensor, sample_rate: float, rng: Random) -> Tensor:
        """Recordings (B, C, T) in this style, from and to a peak of -12 dBFS; ``rng`` draws the room."""
        y = sos_cascade(at_peak(x), self.sections(sample_rate).expand(len(x), -1, -1))
        y = y * 10 ** (-self._held(y, sample_rate) / 20) if self.ratio > 1 else y
        if self.drive_db:
            y = distortion(y, torch.full((len(y),), self.drive_db)) * 10 ** (-self.drive_db / 20)
        if self.room_s:
            y = y + room_tail(y, self.room_s, self.room_db, sample_rate, rng)
        if self.side_db and y.shape[1] == 2:
            middle, side = (y[:, 0] + y[:, 1]) / 2, (y[:, 0] - y[:, 1]) / 2 * 10 ** (self.side_db / 20)
            y = torch.stack([middle + side, middle - side], 1)
        if self.push_db:
            y = _limited(at_peak(y, CEILING_DB + self.push_db), sample_rate)
        return at_peak(y)

    def _held(self, x: Tensor, sample_rate: float) -> Tensor:
        """The compressor's gain reduction (B, C, T), dB."""
        level_db = (20 * (x.abs() + 1e-8).log10()).clamp_min(-96)
        wanted = (level_db - self.threshold_db).clamp_min(0) * (1 - 1 / self.ratio)
        times = (
            torch.full((len(x),), 1000 * t / math.log(9), dtype=torch.float64) for t in (self.attack_s, self.release_s)
        )
        return ballistics(wanted, *(memory(t, sample_rate) for t in times))


NOTHING = Style("none", ((100.0, 0.0), (1000.0, 0.0), (8000.0, 0.0)))
"""The style of a recording to which nothing was done."""


def family(name: str, rng: Random, legacy: bool = False) -> Style:
    """One of `FAMILIES`. With ``legacy`` "warm" raises the highs, as in the published code, where it is to cut them.

    Raises SettingsError for another name.
    """
    u = rng.uniform
    middle = (1000.0, 0.0)
    if name == "neutral":
        bands = ((u(80, 200), u(1, 3)), middle, (u(6000, 8000), u(1, 3)))
        return Style(name, bands, -u(20, 30), u(1.5, 2), u(0.05, 0.07), u(0.1, 0.3))
    if name == "broadcast":
        bands = ((u(80, 200), u(2, 6)), middle, (u(6000, 8000), u(2, 6)))
        return Style(name, bands, -u(40, 50), u(3, 5), u(0.005, 0.03), u(0.05, 0.15))
    if name == "telephone":
        bands = ((u(200, 400), -u(20, 26)), (u(1000, 2000), u(12, 16)), (u(4000, 6000), -u(20, 26)))
        return Style(name, bands, -u(20, 40), u(1.5, 3), u(0.001, 0.006), u(0.01, 0.06))
    if name == "bright":
        return Style(name, ((u(200, 400), -u(20, 26)), middle, (u(8000, 10000), u(20, 26))))
    if name == "warm":
        highs = u(14, 20) if legacy else -u(20, 26)
        return Style(name, ((u(200, 400), u(20, 26)), middle, (u(8000, 10000), highs)))
    raise SettingsError(f"there is no family of styles {name!r}; there are {', '.join(FAMILIES)}")


def random_style(rng: Random) -> Style:
    """Any three bands, +-20, 14 and 20 dB, and any compressor from -45 to -10 dB and up to 5:1."""
    u = rng.uniform
    bands = (
        (between(rng, 80, 400), u(-20, 20)),
        (between(rng, 400, 3000), u(-14, 14)),
        (between(rng, 4000, 9000), u(-20, 20)),
    )
    return Style("random", bands, -u(10, 45), u(1, 5), between(rng, 0.001, 0.07), between(rng, 0.01, 0.3))


def with_extra(style: Style, name: str, rng: Random) -> Style:
    """A style with one of `EXTRAS` added. Raises SettingsError for another name."""
    u = rng.uniform
    if name == "saturated":
        return replace(style, name=name, drive_db=u(6, 18))
    if name == "roomy":
        return replace(style, name=name, room_s=between(rng, 0.4, 1.5), room_db=u(-20, -1))
    if name == "wide":
        return replace(style, name=name, side_db=u(3, 9))
    if name == "limited":
        return replace(style, name=name, push_db=u(6, 12))
    if name == "lo-fi":
        return replace(style, name=name, drive_db=u(6, 12), corners_hz=(u(150, 400), u(3000, 6000)))
    raise SettingsError(f"there is no extra {name!r}; there are {', '.join(EXTRAS)}")


def draw(rng: Random, kind: str | None = None, legacy: bool | None = None) -> Style:
    """A style of a kind: "family", "random", "subtle" (a quarter of either), "extra" or "none".

    Without a kind one for learning: 33 % families, 33 % random, 24 % of either scaled by 0.1 to 1, 10 % none, a fifth
    of all with an extra. ``legacy`` is `family`'s; either way is as likely unless it is given. Raises SettingsError for
    another kind.
    """
    old = bool(rng.integers(2)) if legacy is None else legacy
    if kind is None:
        drawn = str(rng.choice(["family", "random", "part", "none"], p=[0.33, 0.33, 0.24, 0.1]))
        style = draw(rng, drawn, old) if drawn != "part" else draw(rng, _either(rng), old).scaled(between(rng, 0.1, 1))
        return with_extra(style, str(rng.choice(EXTRAS)), rng) if rng.random() < 0.2 and drawn != "none" else style
    if kind == "none":
        return NOTHING
    if kind == "family":
        return family(FAMILIES[rng.integers(len(FAMILIES))], rng, old)
    if kind == "random":
        return random_style(rng)
    if kind == "subtle":
        return draw(rng, _either(rng), old).scaled(SUBTLE)
    if kind == "extra":
        return with_extra(random_style(rng).scaled(SUBTLE), str(rng.choice(EXTRAS)), rng)
    raise SettingsError(f"there is no kind of style {kind!r}; there are family, random, subtle, extra, none")


def room_tail(x: Tensor, decay_s: float, level_db: float, sample_rate: float, rng: Random) -> Tensor:
    """What a room adds to x (B, C, T): x convolved with noise that dies away in ``decay_s``, other in each channel.

    ``level_db`` is the energy of its response.
    """
    length = max(1, round(decay_s * sample_rate))
    noise = torch.from_numpy(rng.standard_normal((x.shape[1], length)).astype(np.float32))
    noise = noise * torch.exp(-math.log(1000) / length * torch.arange(length))
    noise = noise * (10 ** (level_db / 20) / noise.square().sum(1, keepdim=True).sqrt())
    size = 2 ** math.ceil(math.log2(x.shape[-1] + length))
    return torch.fft.irfft(torch.fft.rfft(x, size) * torch.fft.rfft(noise, size), size)[..., : x.shape[-1]]


def _either(rng: Random) -> str:
    return ("family", "random")[rng.integers(2)]


def _limited(x: Tensor, sample_rate: float) -> Tensor:
    """A ceiling of -1 dBFS, held for 5 ms and let go within 50."""
    over_db = (20 * x.abs().amax(1, keepdim=True).clamp_min(1e-6).log10() - CEILING_DB).clamp_min(0)
    reach = max(1, round(0.0025 * sample_rate))
    peaks = torch.nn.functional.max_pool1d(over_db, 2 * reach + 1, 1, reach)
    release = memory(torch.full((len(x),), 50.0, dtype=torch.float64), sample_rate)
    held = ballistics(peaks, torch.zeros_like(release), release)
    return x * 10 ** (-held / 20)
