"""A library of songs on disk: found by folder, known by header, read in short pieces."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.nn.functional import pad

from diffmix.data import audio
from diffmix.data.multitrack import (
    Multitrack,
    Source,
    assemble,
    join,
    nested_folders,
    scan,
    session_rate,
    song_folder,
    stem_files,
    subfolders,
)
from diffmix.errors import AudioError

_DEPTH = 4  # root/split/artist/song


@dataclass(frozen=True)
class Song:
    """A song folder whose headers were read; its audio stays on disk."""

    name: str
    folder: Path
    sources: tuple[Source, ...]

    @property
    def seconds(self) -> float:
        """Length of the longest track in seconds."""
        return max(source.seconds for source in self.sources)

    def whole(self, sample_rate: int | None = None) -> Multitrack:
        """Read all of every track; `sample_rate` in Hz is the song's own by default."""
        return self.segment(0.0, self.seconds, sample_rate)

    def segment(self, start_s: float, seconds: float, sample_rate: int | None = None) -> Multitrack:
        """Read `seconds` seconds of every track from `start_s` on, exactly round(seconds · sample_rate) samples.

        `sample_rate` in Hz is the song's own (its most common one) by default. Tracks that end earlier are silent.
        """
        rate = sample_rate or session_rate([source.sample_rate for source in self.sources])
        recordings = [
            (
                source,
                join(source, [audio.read_segment(file, start_s, seconds)[0] for file in source.files]),
                source.sample_rate,
            )
            for source in self.sources
        ]
        piece = assemble(self.name, recordings, rate, ())
        missing = round(seconds * rate) - piece.length  # a sample or two, where rates were mixed
        tracks = tuple(replace(track, audio=pad(track.audio, (0, missing))) for track in piece.tracks)
        return Multitrack(self.name, rate, tracks)


class SongIndex(Sequence[Song]):
    """The songs under a folder, for training: `index[i]` reads headers once, `index.draw` reads a random piece.

    Args:
        root: a folder of song folders, or one song folder; see `songs`.
        sample_rate: Hz of the pieces, or None for each song's own.
    """

    def __init__(self, root: str | os.PathLike[str], sample_rate: int | None = None) -> None:
        self.folders = songs(root)
        self.sample_rate = sample_rate if sample_rate is None else audio.check_sample_rate(sample_rate, "sample_rate")
        self._songs: dict[int, Song] = {}

    def __len__(self) -> int:
        return len(self.folders)

    def __getitem__(self, index: int) -> Song:  # type: ignore[override]
        """Song number `index`; its headers are read the first time. Raises AudioError naming a file that is broken."""
        index = range(len(self))[index]
        if index not in self._songs:
            folder = self.folders[index]
            self._songs[index] = Song(folder.name, folder, tuple(scan(folder)[0]))
        return self._songs[index]

    def draw(self, seconds: float, generator: torch.Generator) -> Multitrack:
        """Read `seconds` seconds from a random place of a random song (the whole of a shorter one, padded)."""
        song = self[int(torch.randint(len(self), (), generator=generator))]
        latest_s = max(song.seconds - seconds, 0.0)
        start_s = float(torch.rand((), generator=generator, dtype=torch.float64)) * latest_s
        return song.segment(start_s, seconds, self.sample_rate)


def songs(root: str | os.PathLike[str]) -> list[Path]:
    """Find the song folders under `root` (or `root` itself): those with at least two audio files that are tracks.

    A song's tracks may lie in its `tracks/`, `raw/` or `stems/`. Songs come in natural order of their paths.
    Raises AudioError when there are none.
    """
    root = Path(root)
    if not root.is_dir():
        raise AudioError(f"{root}: {'is a file' if root.exists() else 'no such folder'}; a folder of songs is needed")
    if found := list(_songs(root, _DEPTH)):
        return found
    raise AudioError(f"{root}: no song in it; a song is a folder with two or more audio files, one per track")


def _songs(folder: Path, depth: int) -> Iterator[Path]:
    inner = [folder, *(found for child in nested_folders(folder) if (found := song_folder(child)))]
    if any(len(stem_files(candidate)) >= 2 for candidate in inner):
        yield folder
    elif depth:
        for child in subfolders(folder):
            yield from _songs(child, depth - 1)
