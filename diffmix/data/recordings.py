"""Songs as they come to a mixer: generated or from folders, recorded well or badly, the same ones every time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any

import numpy as np

from diffmix.data.datasets import song_at
from diffmix.data.degrade import degrade
from diffmix.data.multitrack import Multitrack, Track
from diffmix.data.songs import Song
from diffmix.data.synthetic import generate_song
from diffmix.errors import AudioError, SettingsError
from diffmix.kernels.loudness import HEARD_LUFS, integrated_loudness

TOLD = ("multitrack", "seed", "seconds", "sample_rate")
"""Arguments that recordings give themselves."""


@dataclass(frozen=True)
class Recordings:
    """A number of songs, each recorded several times (``takes``), ``seconds`` long at ``sample_rate`` Hz.

    ``song`` holds further arguments of `generate_song`, ``recording`` those of `degrade`. With ``folders`` the songs
    are those that lie there (`datasets.address`), of each take another piece. Plain data: another process makes the
    same from ``dataclasses.asdict``.
    """

    count: int
    takes: int
    seed: int
    seconds: float
    sample_rate: int
    song: Mapping[str, Any] = field(default_factory=dict)
    recording: Mapping[str, Any] = field(default_factory=dict)
    folders: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise SettingsError for an argument that the function does not take."""
        for function, given in ((generate_song, self.song), (degrade, self.recording)):
            if not isinstance(given, Mapping):
                raise SettingsError(f"arguments of {function.__name__} are {given!r}, names with values are expected")
            taken = [name for name in signature(function).parameters if name not in TOLD]
            if unknown := [name for name in given if name not in taken]:
                raise SettingsError(f"{function.__name__} takes no {unknown[0]!r}; it takes {', '.join(taken)}")

    def of(self, number: int) -> Iterator[Multitrack]:
        """The takes of a song, in order. Raises AudioError for a folder in which nothing sounds."""
        plain = None
        if not self.folders:
            plain = generate_song(self.seed + number, self.seconds, self.sample_rate, **self.song)
        for take in range(self.takes):
            rng = np.random.default_rng([self.seed + number, take])
            piece = plain or self._piece(song_at(self.folders[number]), rng)
            piece = degrade(piece, int(rng.integers(2**31)), **self.recording)
            yield replace(piece, tracks=_sounding(piece) or piece.tracks[:1])

    def _piece(self, song: Song, rng: np.random.Generator) -> Multitrack:
        for _ in range(10):
            start_s = float(rng.uniform(0, max(song.seconds - self.seconds, 0)))
            piece = song.segment(start_s, self.seconds, self.sample_rate)
            if len(_sounding(piece)) >= 2:
                return piece
        raise AudioError(f"{song.folder}: no {self.seconds:g} s in which two tracks sound were found in ten tries")


def _sounding(piece: Multitrack) -> tuple[Track, ...]:
    """The tracks that are louder than silence."""
    rate = piece.sample_rate
    return tuple(t for t in piece.tracks if float(integrated_loudness(t.audio[None], rate)) > HEARD_LUFS)
