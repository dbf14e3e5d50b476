"""Lessons as they are used in training: pieces of them, told more or less, through other microphones."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset

from diffmix.data.knowledge import STYLE, THIRD_OCTAVES_HZ
from diffmix.estimators.features import FRAME_S, band_hz
from diffmix.systems.intents import Vectors
from diffmix.systems.lessons import Lesson, Lessons
from diffmix.systems.solos import Solos, joined


class Batch(NamedTuple):
    """Lessons of one length, tracks padded: as `Lesson`, with a leading dimension, and what is told with them.

    ``mask`` (B, N) is 0 where a track is padding or does not play; ``labels`` (B, N) are 0 where a role is not told,
    ``true_labels`` where it has none;
    ``shift_db`` (B, N, 28) is what the equalisers' curves have to do beyond ``wanted``, at `THIRD_OCTAVES_HZ`;
    ``wished`` (B, 6) says which numbers of the style are told; the reference (B, 2, 64, F') and (B, 2, 4) is a mix of
    another song in the same style, or None for all; ``solos`` are tracks that belong to no lesson.
    """

    mel_db: Tensor
    measured: Tensor
    mask: Tensor
    labels: Tensor
    true_labels: Tensor
    wanted: Vectors
    shift_db: Tensor
    style: Tensor
    wished: Tensor
    reference: tuple[Tensor, Tensor] | None
    solos: Solos | None = None


class Drawn(NamedTuple):
    """A lesson as it is used once."""

    lesson: Lesson
    shift_db: Tensor
    playing: Tensor
    labels: Tensor
    wished: Tensor
    reference: tuple[Tensor, Tensor]
    told_reference: bool
    solos: Solos | None = None


class Draws(Dataset[Drawn]):
    """Draw number i of a seed is always the same: a piece of a lesson, and what the mixer is told with it.

    Of each draw the style is told with a chance of one half (then each number of it with three quarters), the roles
    with one of six tenths (then each with nine). Songs are played up to a sixth faster or slower; some tracks are of
    another size of instrument, come through another microphone or with noise, and some bands and frames are blotted
    out (Park et al., "SpecAugment", 2019). With ``solos``, ``solos_each`` of those come with each lesson, varied alike.
    """

    def __init__(
        self, lessons: Lessons, seconds: float, seed: int, solos: Solos | None = None, solos_each: int = 0
    ) -> None:
        self.lessons = [lessons[k] for k in range(len(lessons))]
        self.alike = [lessons.alike(k) for k in range(len(lessons))]
        self.frames, self.seed = round(seconds / FRAME_S), seed
        self.solos, self.solos_each = solos, solos_each

    def __len__(self) -> int:
        return len(self.lessons)

    def __getitem__(self, number: int) -> Drawn:
        """Draw number ``number``, of any size."""
        rng = np.random.default_rng([self.seed, number])
        which = int(rng.integers(len(self.lessons)))
        lesson = self.lessons[which]
        piece, shift_db, playing = _piece(lesson.mel_db.float(), self.frames, rng)
        n = len(piece)
        told = (rng.random(n) < 0.9) & (rng.random() < 0.6)
        wished = (rng.random(STYLE.size) < 0.75) & (rng.random() < 0.5)
        others = [k for k in self.alike[which] if k != which] or [which]
        other = self.lessons[others[int(rng.integers(len(others)))]]
        return Drawn(
            lesson._replace(mel_db=piece),
            shift_db,
            playing if playing.any() else torch.ones(n, dtype=torch.bool),
            lesson.labels * torch.from_numpy(told),
            torch.from_numpy(wished).float(),
            (other.mix_mel_db.float(), other.mix_measured),
            bool(rng.random() < 0.4),
            self._some_solos(rng),
        )

    def _some_solos(self, rng: np.random.Generator) -> Solos | None:
        """Solos for one lesson."""
        if self.solos is None or not self.solos_each:
            return None
        which = torch.from_numpy(rng.integers(len(self.solos.labels), size=self.solos_each))
        return _varied(self.solos, which, self.frames, rng)


class SoloDraws(Dataset[Solos]):
    """Draw number i of a seed is always the same: pieces of single tracks, varied as those of `Draws`.

    Of each of ``sources`` come as many as ``counts`` says; rare roles are drawn more often than they are there.
    """

    def __init__(self, sources: Sequence[Solos], counts: Sequence[int], seconds: float, seed: int) -> None:
        self.sources, self.counts = sources, counts
        self.frames, self.seed = round(seconds / FRAME_S), seed
        self.chances = []
        for solos in sources:
            chance = 1 / np.sqrt(np.bincount(solos.labels.numpy()))[solos.labels.numpy()]
            self.chances.append(chance / chance.sum())

    def __getitem__(self, number: int) -> Solos:
        """Draw number ``number``, of any size; every other one has gone through two microphones."""
        rng = np.random.default_rng([self.seed, number])
        drawn, twice = [], rng.random() < 0.5
        for solos, count, chance in zip(self.sources, self.counts, self.chances, strict=True):
            which = torch.from_numpy(rng.choice(len(chance), count, p=chance))
            some = _varied(solos, which, self.frames, rng)
            drawn.append(some._replace(mel_db=_coloured(some.mel_db, rng)[0]) if twice else some)
        return joined(drawn)


def _varied(solos: Solos, which: Tensor, frames: int, rng: np.random.Generator) -> Solos:
    """Pieces of some of the solos; those that rest there have no role to learn."""
    piece, _, playing = _piece(solos.mel_db[which].float(), frames, rng)
    return Solos(piece, solos.measured[which], solos.labels[which] * playing)


def _piece(mel_db: Tensor, length: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A varied piece of tracks (N, 64, F), what equalisers have to do about it (N, 28) dB, and which play (N,)."""
    frames = min(round(length * rng.uniform(0.85, 1.18)), mel_db.shape[2])
    start = int(rng.integers(mel_db.shape[2] - frames + 1))
    piece = mel_db[..., start : start + frames]
    level_db = 10 * (10 ** (mel_db / 10)).sum(1).log10()
    playing = level_db[:, start : start + frames].amax(1) > level_db.amax(1) - 30
    piece = interpolate(piece, min(length, mel_db.shape[2]), mode="linear")  # faster or slower
    piece, shift_db = _coloured(_transposed(piece, rng), rng)
    return _blotted(_noisy(piece, rng), rng), shift_db, playing


def _transposed(mel_db: Tensor, rng: np.random.Generator) -> Tensor:
    """Every other track up to two and a half bands higher or lower, which is about as many semitones at 1 kHz."""
    shift = torch.tensor(rng.uniform(-2.5, 2.5, len(mel_db)) * (rng.random(len(mel_db)) < 0.5), dtype=mel_db.dtype)
    at = (torch.arange(64) + shift[:, None]).clamp(0, 63)  # (N, 64)
    low = at.floor().long().clamp_max(62)
    part = (at - low)[..., None]
    index = low[..., None].expand(-1, -1, mel_db.shape[2])
    return mel_db.gather(1, index) * (1 - part) + mel_db.gather(1, index + 1) * part


def _coloured(mel_db: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Every other track through another microphone, and what an engineer's equaliser then does otherwise, (N, 28) dB.

    The colour is a tilt of up to 1.5 dB per octave and two bumps of up to 8 dB. An engineer undoes about 0.55 of it
    where the track sounds (`diffmix.data.knowledge`).
    """
    n = len(mel_db)
    some = (rng.random(n) < 0.5)[:, None]
    tilt = rng.uniform(-1.5, 1.5, (n, 1))
    centre, width = rng.uniform(-4, 4, (2, n, 1)), rng.uniform(0.4, 1.2, (2, n, 1))
    height = rng.uniform(-8, 8, (2, n, 1))

    def colour_db(octave: np.ndarray) -> np.ndarray:
        bumps = (height * np.exp(-(((octave - centre) / width) ** 2))).sum(0)
        return np.where(some, tilt * octave + bumps, 0.0)

    bands, points = np.log2(band_hz().numpy() / 1000), np.log2(np.array(THIRD_OCTAVES_HZ) / 1000)
    power_db = 10 * np.log10((10 ** (mel_db.numpy() / 10)).mean(2) + 1e-12)
    spectrum_db = np.stack([np.interp(points, bands, row) for row in power_db]) + 10 * np.log10(2.0) * points
    audible = np.clip((spectrum_db - spectrum_db.max(1, keepdims=True) + 50) / 25, 0.05, 1)
    added_db = colour_db(points)
    added_db -= (added_db * audible**2).sum(1, keepdims=True) / (audible**2).sum(1, keepdims=True)
    coloured = mel_db + torch.from_numpy(colour_db(bands)).float()[..., None]
    return coloured, torch.from_numpy(-0.55 * added_db * audible).float()


def _noisy(mel_db: Tensor, rng: np.random.Generator) -> Tensor:
    """Every third track with a noise floor of 20 to 60 dB under its loudest band, flat or falling."""
    noise_db = torch.tensor(rng.uniform(-60, -20, len(mel_db)), dtype=torch.float32)
    slope = torch.tensor(rng.uniform(-20, 0, len(mel_db)), dtype=torch.float32)[:, None] * torch.linspace(0, 1, 64)
    some = torch.from_numpy(rng.random(len(mel_db)) < 1 / 3)
    floor = mel_db.amax((1, 2))[:, None] + noise_db[:, None] + slope
    floor = torch.where(some[:, None], floor, -200.0)[..., None]
    return torch.logaddexp(mel_db * 0.230258509, floor * 0.230258509) / 0.230258509


def _blotted(mel_db: Tensor, rng: np.random.Generator) -> Tensor:
    """Every other track without up to eight bands or twenty frames in a row, which are at the track's mean."""
    mel_db = mel_db.clone()
    for row in mel_db:
        if rng.random() < 0.5:
            mean = row.mean()
            if rng.random() < 0.5:
                first = int(rng.integers(64))
                row[first : first + int(rng.integers(1, 9))] = mean
            else:
                first = int(rng.integers(row.shape[1]))
                row[:, first : first + int(rng.integers(1, 21))] = mean
    return mel_db


def collate(drawn: Sequence[Drawn]) -> Batch:
    """Pad all to the same number of tracks; a reference is told to all or to none of a batch."""
    most = max(len(d.playing) for d in drawn)
    frames = min(d.lesson.mel_db.shape[2] for d in drawn)

    def padded(parts: Sequence[Tensor], fill: float = 0.0) -> Tensor:
        return torch.stack([torch.cat([x, x.new_full((most - len(x), *x.shape[1:]), fill)]) for x in parts])

    lessons = [d.lesson for d in drawn]
    reference = None
    if drawn[0].told_reference:
        heard = min(d.reference[0].shape[2] for d in drawn)
        reference = (
            torch.stack([d.reference[0][..., :heard] for d in drawn]),
            torch.stack([d.reference[1] for d in drawn]),
        )
    solos = [d.solos for d in drawn if d.solos is not None]
    return Batch(
        mel_db=padded([x.mel_db[..., :frames] for x in lessons], -120.0),
        measured=padded([x.measured for x in lessons]),
        mask=padded([d.playing.float() for d in drawn]),
        labels=padded([d.labels for d in drawn]),
        true_labels=padded([x.labels for x in lessons]),
        wanted=Vectors(
            padded([x.tracks for x in lessons], 0.5),
            torch.stack([x.bus for x in lessons]),
            torch.stack([x.master for x in lessons]),
        ),
        shift_db=padded([d.shift_db for d in drawn]),
        style=torch.stack([x.style for x in lessons]),
        wished=torch.stack([d.wished for d in drawn]),
        reference=reference,
        solos=joined(solos) if solos else None,
    )
