"""Recordings as they come, and what of them can be heard: telling pieces, level, band, faults."""

import math
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any

import torch
from torch import Tensor

from diffmix.data.audio import check_sample_rate, from_array, info, read, read_segment
from diffmix.data.multitrack import Track
from diffmix.errors import AudioError
from diffmix.estimators.style_features import windows
from diffmix.kernels.loudness import HEARD_LUFS, integrated_loudness

SHORTEST_S = 0.1
"""Less than this is no recording."""

SHORT_S = 3.0
"""Of less than this little can be told."""

LONG_S = 600.0
"""Of references beyond this, only `PIECES` pieces of `PIECE_S` seconds, spread evenly, are read."""

PIECES, PIECE_S = 40, 10.0

_PIECE = 1 << 20
CUT_DB = 24.0
"""A fall of the spectrum by this much within a sixth of an octave is the cut of a codec or of a resampler."""


@dataclass(frozen=True)
class Recording:
    """Audio (C, T), float32, at ``sample_rate`` Hz, what it is called, and the file that it came from, if any."""

    name: str
    audio: Tensor
    sample_rate: int
    file: str = ""
    excerpted: bool = False

    @classmethod
    def of(cls, given: Any, sample_rate: int | None, what: str, whole: bool = True) -> "Recording":
        """A path, or an array (T,), (C, T) or (T, C) with its rate; ``what`` it is stands in messages.

        Without ``whole`` only pieces of very long files are read. Raises AudioError, also for what is shorter than a
        tenth of a second, or silent.
        """
        if isinstance(given, str) and not given:
            raise AudioError(f"the name of {what} is empty")
        if isinstance(given, str | os.PathLike):
            made = _of_file(FilePath(given), whole)
        elif sample_rate is None:
            raise AudioError(f"{what} as an array needs sample_rate=..., the rate in Hz that it was recorded at")
        else:
            rate = check_sample_rate(sample_rate, what)
            made = cls(what.removeprefix("the "), from_array(given, what), rate)
        if made.seconds < SHORTEST_S:
            raise AudioError(f"{what} lasts {made.seconds:.3f} s; at least {SHORTEST_S:g} s are needed")
        low, high = made.audio.aminmax(dim=1)
        still = float((high - low).max()) <= 1e-4 * float(torch.maximum(high, -low).max())  # but an offset
        if still or made.loudness_lufs <= HEARD_LUFS:
            raise AudioError(
                f"{what}, {made.name}, is silent: it has to be heard" if made.file else f"{what} is silent"
            )
        return made

    @property
    def seconds(self) -> float:
        """Length."""
        return self.audio.shape[-1] / self.sample_rate

    @property
    def track(self) -> Track:
        """It as the track ``mix`` of a console, always of two channels: those of a mono recording are equal."""
        files = (self.file,) * (3 - len(self.audio)) if self.file else ()
        return Track("mix", self.audio.expand(2, -1), None, files)

    @cached_property
    def loudness_lufs(self) -> float:
        """Integrated loudness (ITU-R BS.1770-4) of two channels, also if there is one."""
        return float(integrated_loudness(self.audio.expand(2, -1)[None], self.sample_rate))

    @cached_property
    def mono(self) -> bool:
        """Whether there is one channel, or two that are equal."""
        return len(self.audio) == 1 or bool(torch.equal(self.audio[0], self.audio[1]))

    @cached_property
    def clipped(self) -> bool:
        """Whether peaks are cut off: one time in ten thousand, four samples in a row stand at the highest level."""
        low, high = self.audio.aminmax()
        peak = max(float(high), -float(low))
        if peak <= 0.5:
            return False
        flat = 0
        for piece in self.audio.split(_PIECE, 1):  # an hour has no room for many copies
            at = piece.abs() >= 0.998 * peak
            flat += int((at[:, 3:] & at[:, 2:-1] & at[:, 1:-2] & at[:, :-3]).sum())
        return flat > 1e-4 * self.audio.numel()

    def pieces(self, count: int) -> Tensor:
        """Its ``count`` loudest pieces of 5.46 s or less, (K, C, n), without what stands still (DC)."""
        found = windows(self.audio, self.sample_rate, count)
        return found - found.mean(-1, keepdim=True)

    @cached_property
    def band_hz(self) -> float:
        """Up to where there is sound: half the rate, or where a codec or a resampler cut it off."""
        return _band_hz(self.pieces(3), self.sample_rate)

    @property
    def faults(self) -> list[str]:
        """What makes it hard to judge, in sentences that go on after its name."""
        found = ["is clipped"] if self.clipped else []
        if self.band_hz < 0.8 * self.sample_rate / 2:
            found.append(f"has nothing above {self.band_hz / 1000:.1f} kHz")
        return [*found, *self.limits]

    @property
    def limits(self) -> list[str]:
        """Those of its `faults` that a `Reference` does not keep."""
        found = []
        if self.seconds < SHORT_S:
            found.append(f"lasts {self.seconds:.1f} s only, from which little can be told")
        if self.excerpted:
            found.append(f"is long: {PIECES} pieces of {PIECE_S:g} s were heard")
        loudest = self.pieces(1)
        if float(loudest.mean(1).square().mean()) < 1e-4 * float(loudest.square().mean()):
            found.append("has sides that cancel each other out, and their middle is what is judged")
        offset = float(self.audio.mean(-1).abs().max())
        if offset > 0.01:
            found.append(f"has an offset (DC) of {20 * math.log10(offset):.0f} dBFS")
        return found


def _of_file(file: FilePath, whole: bool) -> Recording:
    found = info(file) if file.is_file() else None
    if whole or found is None or found.seconds <= LONG_S:
        audio, rate = read(file)
        return Recording(file.stem, audio, check_sample_rate(rate, str(file)), str(file))
    starts = torch.linspace(0, found.seconds - PIECE_S, PIECES).tolist()
    audio = torch.cat([read_segment(file, start, PIECE_S)[0] for start in starts], 1)
    return Recording(file.stem, audio, found.sample_rate, str(file), excerpted=True)


def _band_hz(pieces: Tensor, sample_rate: float) -> float:
    """Where the mean spectrum of pieces (K, C, n) falls at once and stays there; half the rate without such a fall."""
    size = min(8192, 1 << int(math.log2(pieces.shape[-1])))
    frames = pieces.flatten(0, 1).unfold(-1, size, size // 2) * torch.hann_window(size)
    power = torch.fft.rfft(frames).abs().square().mean((0, 1))
    floor = power.max() * 1e-14
    count = 16  # points per octave
    octaves = torch.arange(0, math.log2(sample_rate / 2 / 500), 1 / count)
    edge = (500 * 2**octaves * size / sample_rate).round().long().clamp(1, len(power) - 2)
    total = power.cumsum(0)
    level_db = 10 * ((total[edge[1:]] - total[edge[:-1]]) / (edge[1:] - edge[:-1]).clamp_min(1) + floor).log10()
    best, most = sample_rate / 2, CUT_DB
    for n in range(4, len(level_db) - 1):
        below, above = level_db[n - 4 : n - 1].mean(), level_db[n + 1 :].max()
        if float(below - above) > most:  # all that lies above is that much quieter
            most = float(below - above)
            best = float(500 * 2 ** octaves[n])
    return best
