"""A library of songs on disk: found by folder, known by header, read in short pieces."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, overload

import torch
from torch import Tensor
from torch.nn.functional import pad

from diffmix.data import audio
from diffmix.data.alignment import lag
from diffmix.data.folders import files_in, is_mixture, left_out, nested_folders, song_folder, stem_files, subfolders
from diffmix.data.multitrack import Multitrack, Source, assemble, scan, session_rate
from diffmix.errors import AudioError

_DEPTH = 4  # root/split/artist/song

_MIX_NAMES = ("mix", "mixture", "mixdown", "master")
_LISTEN_S = 12.0  # of the tracks, where a mix is aligned
_SEARCH_S = 5.0  # how much earlier or later than the tracks a mix may begin
_SAME_PLACE_S = 0.005  # places that differ by less agree
_FAINT_RMS = 1e-3  # tracks below -60 dBFS count for less
_AGREEMENT = 0.05  # correlation below which two recordings have nothing in common


@dataclass(frozen=True)
class Song:
    """A song whose headers were read; its audio stays on disk.

    `mixes` are its finished mixes, the one to learn from first. They are not known to begin with the tracks where
    `unaligned` is set. Where `sums_up` is, the sum of the tracks is the mix. `split` is "train", "valid" or "test".
    `notes` tell what was left out.
    """

    name: str
    folder: Path
    sources: tuple[Source, ...]
    mixes: tuple[Source, ...] = ()
    split: str | None = None
    notes: tuple[str, ...] = ()
    sums_up: bool = False
    unaligned: bool = False

    @property
    def seconds(self) -> float:
        """Where the last track ends, in seconds."""
        return max(source.end_s for source in self.sources)

    @property
    def sample_rate(self) -> int:
        """The most common sample rate of the tracks in Hz."""
        return session_rate([source.sample_rate for source in self.sources])

    @property
    def mix(self) -> Source | None:
        """The finished mix, or None."""
        return self.mixes[0] if self.mixes else None

    @cached_property
    def mix_start_s(self) -> float | None:
        """Where the mix begins in the song, in seconds; None if there is no mix, or no place where it fits.

        A mix that is `unaligned` is compared with the sum of the tracks at three places of the song, of which two have
        to agree. That reads half a minute of every track, once.
        """
        if self.mix is None or not self.unaligned:
            return None if self.mix is None else self.mix.start_s
        found = [place for share in (0.25, 0.5, 0.75) if (place := self._mix_start_near(share)) is not None]
        for place in found:
            same = [other for other in found if abs(other - place) <= _SAME_PLACE_S]
            if len(same) >= min(2, len(found)):
                return statistics.median_low(same)
        return None

    @property
    def is_paired(self) -> bool:
        """Whether `mixed` gives the mix of the tracks, in step with them."""
        return self.sums_up or self.mix_start_s is not None

    def whole(self, sample_rate: int | None = None) -> Multitrack:
        """Read all of every track; `sample_rate` in Hz is the song's own by default."""
        return self.segment(0.0, self.seconds, sample_rate)

    def segment(self, start_s: float, seconds: float, sample_rate: int | None = None) -> Multitrack:
        """Read `seconds` seconds of every track from `start_s` on, exactly round(seconds · sample_rate) samples.

        `sample_rate` in Hz is the song's own (its most common one) by default. Tracks are silent outside their time.
        Raises AudioError, with the file and the reason, when one cannot be read or holds NaN.
        """
        rate = sample_rate or self.sample_rate
        recordings = [(source, source.segment(start_s, seconds), source.sample_rate) for source in self.sources]
        piece = assemble(self.name, recordings, rate, ())
        missing = round(seconds * rate) - piece.length  # a sample or two, where rates were mixed
        tracks = tuple(replace(track, audio=pad(track.audio, (0, missing))) for track in piece.tracks)
        return Multitrack(self.name, rate, tracks)

    def mixed(self, start_s: float, seconds: float, sample_rate: int | None = None) -> Tensor:
        """The mix of `segment` of the same arguments, (2, round(seconds · sample_rate)); a mono mix comes twice.

        Raises AudioError when the song has no mix, or one that belongs to other tracks.
        """
        rate = sample_rate or self.sample_rate
        if self.mix is None and self.sums_up:
            return torch.stack([t.audio.expand(2, -1) for t in self.segment(start_s, seconds, rate).tracks]).sum(0)
        if self.mix is None or self.mix_start_s is None:
            reason = "has no finished mix" if self.mix is None else f"{self.mix.label} does not fit its tracks anywhere"
            raise AudioError(f"{self.folder}: {reason}")
        source = replace(self.mix, start_s=self.mix_start_s)
        x = audio.resample(source.segment(start_s, seconds), source.sample_rate, rate)[:, : round(seconds * rate)]
        return pad(x, (0, round(seconds * rate) - x.shape[1])).expand(2, -1)

    def _mix_start_near(self, share: float) -> float | None:
        """Where the mix begins, judged at one place of the song; None where nothing is heard that both share."""
        assert self.mix is not None
        start_s = max(share * self.seconds - _LISTEN_S / 2, 0.0)
        heard_s = min(_LISTEN_S, self.seconds)
        rate = self.mix.sample_rate
        tracks = self.segment(start_s, heard_s, rate).tracks
        heard = torch.stack([track.audio.mean(0, keepdim=True) for track in tracks])
        level = heard.square().mean(-1, keepdim=True).sqrt()
        reference = (heard / level.clamp_min(_FAINT_RMS)).sum(0)  # however loud they were recorded
        early = replace(self.mix, start_s=self.mix.start_s + _SEARCH_S)  # room in front, where the mix may be late
        most = round(_SEARCH_S * rate)
        found = lag(early.segment(start_s, heard_s + 2 * _SEARCH_S), reference, 2 * most)
        return None if found.agreement < _AGREEMENT else self.mix.start_s - (found.samples - most) / rate


class Place(NamedTuple):
    """A song that was found and not looked into: `read` reads its headers; songs of one `group` share a split."""

    name: str
    read: Callable[[], Song]
    split: str | None = None
    group: str | None = None


class Dataset(Sequence[Song]):
    """Songs of one data set: `dataset[i]` reads headers once, `dataset.draw` a random piece.

    Args:
        places: the songs.
        root: where they were found.
        kind: how they lie there.
        split: which of them these are, for messages.
        sample_rate: Hz of the drawn pieces, or None for each song's own.
    """

    def __init__(
        self,
        places: Sequence[Place],
        root: str | os.PathLike[str],
        kind: str,
        split: str | None = None,
        sample_rate: int | None = None,
    ) -> None:
        self.places, self.root, self.kind, self.split = tuple(places), Path(root), kind, split
        self.sample_rate = sample_rate if sample_rate is None else audio.check_sample_rate(sample_rate, "sample_rate")
        self._songs: dict[int, Song] = {}

    def __len__(self) -> int:
        return len(self.places)

    def __str__(self) -> str:
        number = f"{len(self)} song{'' if len(self) == 1 else 's'}"
        return f"{self.root}: {number}{f' for {self.split}' if self.split else ''} ({self.kind})"

    @overload
    def __getitem__(self, index: int) -> Song: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset: ...
    def __getitem__(self, index: int | slice) -> Song | Dataset:
        """Song number `index`, or a data set of some of them; headers are read once. Raises AudioError if broken."""
        if isinstance(index, slice):
            return Dataset(self.places[index], self.root, self.kind, self.split, self.sample_rate)
        index = range(len(self))[index]
        if index not in self._songs:
            place = self.places[index]
            self._songs[index] = replace(place.read(), name=place.name, split=place.split)
        return self._songs[index]

    def named(self, name: str) -> Song:
        """The song of that name. Raises AudioError if there is none."""
        for index, place in enumerate(self.places):
            if place.name == name:
                return self[index]
        raise AudioError(f"{self.root}: no song {name!r} in it")

    def draw(self, seconds: float, generator: torch.Generator) -> Multitrack:
        """Read `seconds` seconds from a random place of a random song (the whole of a shorter one, padded)."""
        song = self[int(torch.randint(len(self), (), generator=generator))]
        latest_s = max(song.seconds - seconds, 0.0)
        start_s = float(torch.rand((), generator=generator, dtype=torch.float64)) * latest_s
        return song.segment(start_s, seconds, self.sample_rate)


def read_folder(folder: Path) -> Song:
    """The song of a folder: its tracks, and the finished mixes that lie in it."""
    sources, notes = scan(folder)
    return Song(folder.name, folder, tuple(sources), finished_mixes(folder), notes=tuple(notes))


def finished_mixes(*folders: Path) -> tuple[Source, ...]:
    """The finished mixes in folders, the best first: those called `mix`, then `mixture`, `mixdown`, `master`, then
    those whose names end so."""
    found: dict[tuple[bool, int, int, str], Path] = {}
    for place, folder in enumerate(folders):
        for file in files_in(folder):
            if is_mixture(file) and left_out(file, named=True) is None:
                word = next(word for word in _MIX_NAMES if file.stem.lower().endswith(word))
                found[file.stem.lower() != word, _MIX_NAMES.index(word), place, file.name] = file
    return tuple(source_of(found[key], "mix", None) for key in sorted(found))


def source_of(files: Path | Sequence[Path], name: str, role: str | None) -> Source:
    """A source from the headers of its file, or of its two. Raises AudioError as `audio.info` does."""
    files = (files,) if isinstance(files, Path) else tuple(files)
    infos = [audio.info(file) for file in files]
    return Source(name, role, files, infos[0].sample_rate, max(info.seconds for info in infos))


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
