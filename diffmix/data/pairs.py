"""Recordings before and after a device: what a black-box effect learns from."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset

from diffmix.data import audio
from diffmix.data.engines.plucked import acoustic_guitar
from diffmix.data.synthesis import Samples, stream
from diffmix.errors import AudioError
from diffmix.kernels.units import db_to_gain
from diffmix.processors import Chain, Compressor, HighpassFilter, LowShelfFilter, PeakFilter
from diffmix.types import Path

HELD_OUT = 0.2  # of a pair, at its end: never trained on


@dataclass(frozen=True, slots=True)
class Pair:
    """The same seconds before and after a device: dry and wet (C, T), sample_rate in Hz."""

    dry: Tensor
    wet: Tensor
    sample_rate: int

    def cut(self) -> "tuple[Pair, Pair]":
        """The part to learn from, and the end to judge by."""
        at = round(self.dry.shape[-1] * (1 - HELD_OUT))
        parts = ((self.dry[:, a:b], self.wet[:, a:b]) for a, b in ((0, at), (at, None)))
        first, last = (Pair(dry, wet, self.sample_rate) for dry, wet in parts)
        return first, last


def read_pair(dry: Path, wet: Path) -> Pair:
    """The pair in two audio files of equal sample rate, channels and length, give or take a tenth of a second.

    Raises AudioError if they do not fit each other, last under two seconds, or one of them is silent.
    """
    (x, rate), (y, other) = audio.read(dry), audio.read(wet)
    if rate != other:
        raise AudioError(f"{dry} has {rate} Hz and {wet} {other} Hz: a pair needs one sample rate")
    if len(x) != len(y):
        raise AudioError(f"{dry} has {len(x)} channels and {wet} {len(y)}: a pair needs as many")
    if abs(x.shape[-1] - y.shape[-1]) > rate // 10:
        seconds = (f"{part.shape[-1] / rate:.2f} s" for part in (x, y))
        raise AudioError(f"{dry} and {wet} last {' and '.join(seconds)}: a pair starts and ends together")
    length = min(x.shape[-1], y.shape[-1])
    if length < 2 * rate:
        raise AudioError(f"{dry} lasts {length / rate:.2f} s: at least 2 s are needed to learn from")
    for part, path in ((x, dry), (y, wet)):
        if not part.any():
            raise AudioError(f"{path}: is silent")
    return Pair(x[:, :length], y[:, :length], rate)


def generated_pair(seconds: float, sample_rate: int) -> Pair:
    """A plucked guitar (mono) before and after an overdriven amplifier: an example that needs no recording.

    The amplifier is a compressor, a filter in front of tanh and two behind it, at 18 dB of drive.
    """
    dry = torch.from_numpy(_guitar(seconds, sample_rate)).float()[None, None]
    front = Chain(tight=HighpassFilter(sample_rate), squash=Compressor(sample_rate), push=PeakFilter(sample_rate))
    behind = Chain(body=LowShelfFilter(sample_rate), cabinet=PeakFilter(sample_rate))
    settings = {
        "tight.cutoff_frequency_hz": 90.0, "squash.threshold_db": -24.0, "squash.ratio": 4.0, "squash.attack_ms": 5.0,
        "squash.release_ms": 120.0, "push.cutoff_frequency_hz": 900.0, "push.gain_db": 6.0, "push.q": 0.8,
        "body.cutoff_frequency_hz": 180.0, "body.gain_db": 4.0, "body.q": 0.7,
        "cabinet.cutoff_frequency_hz": 3500.0, "cabinet.gain_db": -9.0, "cabinet.q": 0.6,
    }  # fmt: skip
    values = {name: torch.tensor([value]) for name, value in settings.items()}
    with torch.no_grad():
        driven = front.process(dry, **{name: values[name] for name in front.spec.names})
        bent = torch.tanh(driven * db_to_gain(torch.tensor(18.0)))
        wet = 0.3 * behind.process(bent, **{name: values[name] for name in behind.spec.names})
    return Pair(dry[0], wet[0], sample_rate)


def _guitar(seconds: float, sample_rate: int) -> Samples:
    """Notes and chords of a pentatonic scale, soft and hard, (T,) with its peak at -6 dB."""
    rng = stream("pair", 0)
    guitar = acoustic_guitar(rng, sample_rate)
    y = np.zeros(round(seconds * sample_rate))
    at_s = 0.0
    while at_s < seconds:
        held_s, velocity = rng.choice([0.15, 0.3, 0.6]), rng.uniform(0.2, 1)
        strings = 1 if rng.random() < 0.6 else 3
        for tone in rng.choice([0, 3, 5, 7, 10, 12, 15, 19], strings, replace=False):
            note = velocity * guitar.play(110 * 2 ** (tone / 12), held_s, velocity, rng)
            start = round(at_s * sample_rate)
            end = min(len(y), start + len(note))
            y[start:end] += note[: end - start]
        at_s += held_s
    y = guitar.amp(y) if guitar.amp else y
    return 0.5 * y / np.abs(y).max()


class Crop(NamedTuple):
    """Dry (C, before + T), whose first samples only lead up to wet (C, T)."""

    dry: Tensor
    wet: Tensor


class Crops(Dataset[Crop]):
    """Crops of ``length`` samples of a pair, each with the ``before`` samples that lead up to it.

    The crop of a number is always the same; without a seed crops lie end to end, the last one cut short by silence.
    """

    def __init__(self, pair: Pair, length: int, before: int, seed: int | None) -> None:
        self.pair, self.before, self.seed = pair, before, seed
        self.length = min(length, pair.dry.shape[-1])

    def __len__(self) -> int:
        """How many crops lie end to end."""
        return -(-self.pair.dry.shape[-1] // self.length)

    def __getitem__(self, number: int) -> Crop:
        """The crop of a number."""
        samples = self.pair.dry.shape[-1]
        if self.seed is None:
            start = number * self.length
        else:
            start = int(np.random.default_rng((self.seed, number)).integers(samples - self.length + 1))
        first, end = start - self.before, start + self.length
        dry = pad(self.pair.dry[:, max(first, 0) : end], (max(-first, 0), max(end - samples, 0)))
        return Crop(dry, pad(self.pair.wet[:, start:end], (0, max(end - samples, 0))))
