"""Recordings in two styles, cut in two: what style transfer learns from without any pairs of before and after."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from diffmix.data import audio
from diffmix.data.augment import Moved, two_styles
from diffmix.data.songs import Song
from diffmix.data.synthetic import VALIDATION_SEED
from diffmix.errors import AudioError
from diffmix.metrics.style import at_peak
from diffmix.systems.mixes import MixData, fitted, songs_of

LEAST_POWER = 1e-5
"""Mean power of each half at a peak of -12 dBFS, -50 dB: below, a piece is silent."""

Recording = Callable[[int, int, np.random.Generator], Tensor]
"""A piece (1, T) of a recording at a rate in Hz: ``recording(rate, length, rng)``, from anywhere in it."""


class StylePair(NamedTuple):
    """What to treat, what to sound like, and what it then is: (1, T) each, the first and the last the same seconds."""

    input: Tensor
    reference: Tensor
    target: Tensor


class StylePairs(Dataset[StylePair]):
    """Example number i of a seed is always the same, whichever process asks for it and whatever came before.

    A piece of twice ``seconds`` is brought into two styles (`diffmix.data.augment.two_styles`), at times at another
    pitch and tempo, and cut in two. One half of the first style is the input, the same half of the second the target,
    and the other half of the second the reference (C. J. Steinmetz, N. J. Bryan and J. D. Reiss, J. Audio Eng. Soc.
    70(9), 2022).
    """

    def __init__(
        self, recordings: Sequence[Recording], *, sample_rate: int, seconds: float, seed: int, legacy: bool = False
    ) -> None:
        self.recordings, self.sample_rate, self.seed, self.legacy = recordings, sample_rate, seed, legacy
        self.length = round(seconds * sample_rate)

    @torch.no_grad()
    def __getitem__(self, index: int) -> StylePair:
        """Example ``index``; pieces of which a half is silent are passed over."""
        rng = np.random.default_rng([self.seed, index])
        moved = Moved(rng)

        def cut(recording: Recording) -> Tensor:
            piece = recording(self.sample_rate, moved.needed(2 * self.length), rng)
            return moved(piece, 2 * self.length, self.sample_rate)

        piece = _sounding(self.recordings, rng, cut, 2 * self.length / self.sample_rate, parts=2)
        source, target = two_styles(piece, self.sample_rate, rng, self.legacy)
        here, there = source.split(self.length, -1), target.split(self.length, -1)
        first = int(rng.random() < 0.5)
        return StylePair(here[first], there[1 - first], there[first])


class Pieces(Dataset[Tensor]):
    """Pieces (1, T) of recordings at a peak of -12 dBFS, untreated; numbered as `StylePairs` are."""

    def __init__(self, recordings: Sequence[Recording], *, sample_rate: int, seconds: float, seed: int) -> None:
        self.recordings, self.sample_rate, self.seed = recordings, sample_rate, seed
        self.length = round(seconds * sample_rate)

    @torch.no_grad()
    def __getitem__(self, index: int) -> Tensor:
        """Piece ``index``; silent ones are passed over."""
        rng = np.random.default_rng([self.seed, index])
        return _sounding(
            self.recordings,
            rng,
            lambda recording: recording(self.sample_rate, self.length, rng),
            self.length / self.sample_rate,
        )


def _sounding(
    recordings: Sequence[Recording],
    rng: np.random.Generator,
    cut: Callable[[Recording], Tensor],
    seconds: float,
    parts: int = 1,
) -> Tensor:
    """A piece that ``cut`` takes of a recording, (1, T) at a peak of -12 dBFS, none of whose parts is silent."""
    for _ in range(50):
        piece = at_peak(cut(recordings[int(rng.integers(len(recordings)))])[None])[0]
        if min(float(part.square().mean()) for part in piece.chunk(parts, -1)) > LEAST_POWER:
            return piece
    raise AudioError(f"no {seconds:g} s that sound were found in {len(recordings)} recordings")


def data_from(config: Mapping[str, Any], seed: int) -> MixData:
    """Data as ``conf/data/recordings.yaml`` describes it: generated songs, made now unless cached, or a folder."""
    train, held_out = recordings_of(config)
    shared = {name: config[name] for name in ("sample_rate", "seconds", "legacy")}
    mine, others = StylePairs(train, seed=seed, **shared), StylePairs(held_out, seed=VALIDATION_SEED, **shared)
    return MixData.sized(config, mine, others)


def recordings_of(config: Mapping[str, Any]) -> tuple[list[Recording], list[Recording]]:
    """Recordings for training and held-out ones.

    Of a folder (``root``) every audio file is one; every fifth of the folder's entries, files or folders, is held out,
    so that what lies together stays together. Of generated songs a recording is a song, its tracks summed, or one of
    its tracks. Raises AudioError for a folder without audio files.
    """
    if not config["root"]:
        train, held_out = songs_of(config, config["sample_rate"])
        return [_Song(song) for song in train], [_Song(song) for song in held_out]
    groups = files_by_entry(Path(config["root"]))
    held = groups[::5] if len(groups) > 1 else groups
    kept = [group for group in groups if group not in held] or groups
    return [_File(f) for group in kept for f in group], [_File(f) for group in held for f in group]


def files_by_entry(root: Path) -> list[list[Path]]:
    """The audio files of a folder, together where they lie in the same entry of it; raises AudioError for none."""
    entries = sorted(root.iterdir()) if root.is_dir() else []
    while len(entries) == 1 and entries[0].is_dir():
        entries = sorted(entries[0].iterdir())
    groups = [
        [f for f in sorted(e.rglob("*") if e.is_dir() else [e]) if f.suffix.lower() in audio.EXTENSIONS]
        for e in entries
    ]
    if not any(groups):
        raise AudioError(f"{root}: no folder with audio files; recordings to learn from are needed")
    return [group for group in groups if group]


class _File:
    """A recording in an audio file, its channels averaged."""

    def __init__(self, file: Path) -> None:
        self.file, self.seconds = file, audio.info(file).seconds

    def __call__(self, rate: int, length: int, rng: np.random.Generator) -> Tensor:
        seconds = length / rate
        x, own = audio.read_segment(self.file, float(rng.uniform(0, max(self.seconds - seconds, 0))), seconds)
        return fitted(audio.resample(x.mean(0, keepdim=True), own, rate), length)


class _Song:
    """A generated song: in half of the pieces all of its tracks, in the others one that sounds."""

    def __init__(self, song: Song) -> None:
        self.song = song

    def __call__(self, rate: int, length: int, rng: np.random.Generator) -> Tensor:
        seconds = length / rate
        start_s = float(rng.uniform(0, max(self.song.seconds - seconds, 0)))
        tracks = [t.audio.mean(0, keepdim=True) for t in self.song.segment(start_s, seconds, rate).tracks]
        if rng.random() < 0.5:
            return fitted(torch.stack(tracks).sum(0), length)
        return fitted(tracks[int(rng.integers(len(tracks)))], length)
