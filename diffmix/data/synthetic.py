"""Songs from nothing: a procedural multitrack generator and its cache on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffmix.data import audio
from diffmix.data.composition import compose
from diffmix.data.engines import check as check_engines
from diffmix.data.genres import GENRES
from diffmix.data.helpers import shared, start
from diffmix.data.kit import Drummer
from diffmix.data.multitrack import Multitrack, Source, Track
from diffmix.data.players import record
from diffmix.data.songs import Song
from diffmix.data.synthesis import stream
from diffmix.errors import AudioError, OutputError

GENERATOR_VERSION = 2
"""Part of the cache's path: raised whenever a change anywhere alters the sound."""

VALIDATION_SEED = 1_000_000
"""Songs for validation have seeds from here on, songs for training seeds below."""

LEVEL_DB = (-18.0, -3.0)
"""Peak levels of the tracks, dBFS: every recording has its own, none is a mix level."""

TRACKS = (4, 16)
"""Session sizes unless others are asked for: small and cheap; (4, 48) is what sessions are like, (64, 100) large."""


def generate_song(
    seed: int,
    seconds: float = 10.0,
    sample_rate: int = 44_100,
    genre: str | None = None,
    *,
    engines: str = "train",
    tracks: tuple[int, int] = TRACKS,
) -> Multitrack:
    """Make a song of clean tracks with roles.

    It is not mixed: each track is a recording that peaks at its own level of -18 to -3 dBFS.

    Args:
        seed: >= 0; the same seed gives the same samples in any process and order (another length is another song).
        seconds: length, 0.5 s or more.
        sample_rate: Hz, 8000 to 192000.
        genre: a key of `genres.GENRES`, or None to let the seed choose.
        engines: "train" leaves out one way to make each kind of instrument, "held_out" uses only that, "all" any.
            "train+wide" has most parts played by instruments that are drawn at random (`engines.wide_tones`),
            "train+FONT.sf3" has a SoundFont play most parts that it can (`engines.sampled`); both may be asked for.
        tracks: least and most tracks of the session; a track that would be silent is left out, as happens to some in
            songs of a few seconds.

    Drums are recorded by several microphones, guitars and voices are doubled and stacked in larger sessions; overheads,
    rooms, pianos, pads, strings and effects are stereo. Tracks rest in whole sections.
    """
    sample_rate = audio.check_sample_rate(sample_rate, "sample_rate")
    if seed < 0 or not 0.5 <= seconds < np.inf:
        raise AudioError(f"a song needs a seed of 0 or more and at least 0.5 s; got seed {seed}, {seconds} s")
    if genre is not None and genre not in GENRES:
        raise AudioError(f"there is no genre {genre!r}; there are {', '.join(GENRES)}")
    _check(engines, tracks)
    score = compose(seed, seconds, genre, tracks)
    length = round(seconds * sample_rate)
    drummer = Drummer(score, length, sample_rate, engines)
    made = []
    for part in score.parts:
        x = record(part, score, drummer, engines)
        fade = min(round(0.005 * sample_rate), length)
        x[:, length - fade :] *= np.linspace(1, 0, fade)
        if (peak := np.abs(x).max()) > 1e-6:
            x = x * (10 ** (stream(seed, "level", part.name).uniform(*LEVEL_DB) / 20) / peak)
            made.append(Track(part.name, torch.from_numpy(x.astype(np.float32)), part.role))
    return Multitrack(f"{score.genre_name} {seed}", sample_rate, tuple(made))


def _check(engines: str, tracks: tuple[int, int]) -> None:
    check_engines(engines)
    ends = tuple(tracks) if isinstance(tracks, Sequence) else ()
    if len(ends) != 2 or not 1 <= ends[0] <= ends[1] <= 200:
        raise AudioError(f"a song has 1 to 200 tracks, two numbers, the least number first; got {tracks}")


# ------------------------------------------------------------------ the cache


def cache_root() -> Path:
    """The cache folder: $DIFFMIX_CACHE, else $XDG_CACHE_HOME/diffmix, else ~/.cache/diffmix."""
    if own := os.environ.get("DIFFMIX_CACHE"):
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "diffmix"


def cache_name(made_of: Any) -> str:
    """A short name for what is kept in the cache, one for all that it is made of, which is plain data."""
    return hashlib.sha1(json.dumps(made_of, sort_keys=True).encode(), usedforsecurity=False).hexdigest()[:12]


class SyntheticSongs(Sequence[Song]):
    """Generated songs with the seeds `seed` ... `seed + count - 1`, made once and kept on disk as 16-bit WAV files.

    `songs[i]` is a `Song`: `.whole()` reads it, `.segment(start_s, seconds)` a piece of it. Missing songs are made when
    asked for, or all at once by `prepare`. A song's folder appears complete or not at all; programs may share it.

    Args:
        count: number of songs.
        seconds: length of each.
        seed: first seed; a range may not cross `VALIDATION_SEED`, so that training never sees validation songs.
        root: cache folder, `cache_root()` by default.
        sample_rate: Hz.
        engines, tracks: as in `generate_song`.
    """

    def __init__(
        self,
        count: int,
        seconds: float = 10.0,
        seed: int = 0,
        root: str | os.PathLike[str] | None = None,
        sample_rate: int = 44_100,
        *,
        engines: str = "train",
        tracks: tuple[int, int] = TRACKS,
    ) -> None:
        _check(engines, tracks)
        if seed < VALIDATION_SEED < seed + count:
            raise AudioError(
                f"seeds {seed} to {seed + count - 1} reach into those for validation ({VALIDATION_SEED}...)"
            )
        self.seconds, self.seed, self.sample_rate = float(seconds), seed, sample_rate
        self.engines, self.tracks = engines, (int(tracks[0]), int(tracks[1]))
        self._seeds = range(seed, seed + count)
        about = {"engines": engines, "sample_rate": sample_rate, "seconds": self.seconds, "tracks": self.tracks}
        kept = Path(root) if root else cache_root()
        self.folder = kept / "procedural" / f"v{GENERATOR_VERSION}" / f"{engines.split('+')[0]}-{cache_name(about)}"

    def __len__(self) -> int:
        return len(self._seeds)

    def __getitem__(self, index: int) -> Song:  # type: ignore[override]
        """Song number `index`, made now if it is not on disk. Raises OutputError when it cannot be kept there."""
        seed = self._seeds[index]
        if not self._is_made(seed):
            self._make(seed)
        folder = self.folder / str(seed)
        about = json.loads((folder / "song.json").read_text(encoding="utf-8"))
        sources = [
            Source(track["name"], track["role"], (folder / track["file"],), about["sample_rate"], about["seconds"])
            for track in about["tracks"]
        ]
        return Song(about["name"], folder, tuple(sources))

    def prepare(self, progress: Callable[[int, int], None] | None = None, workers: int = 1) -> None:
        """Make all songs that are missing; `progress(done, total)` is called after each.

        `workers` > 1 shares the work with further Python processes.
        """
        self._sweep()
        seeds = [seed for seed in self._seeds if not self._is_made(seed)]
        if seeds and workers > 1:
            self._check_writable()
        shared(seeds, self._is_made, self._make, self._helper, workers, progress)

    def _is_made(self, seed: int) -> bool:
        return _complete(self.folder / str(seed))

    def _helper(self, seeds: Sequence[int]) -> subprocess.Popen[bytes]:
        root = str(self.folder.parents[2])
        told = [self.seconds, root, self.sample_rate, self.engines, self.tracks, list(seeds)]
        return start(make_songs, told)

    def _make(self, seed: int) -> None:
        """Generate one song into a temporary folder, then give that its name; the first of two programs wins."""
        song = generate_song(seed, self.seconds, self.sample_rate, engines=self.engines, tracks=self.tracks)
        target = self.folder / str(seed)
        temporary = self.folder / f".{seed}-{uuid.uuid4().hex}.part"
        try:
            temporary.mkdir(parents=True)
            for track in song.tracks:
                audio.write_wav(temporary / f"{track.name}.wav", track.audio, song.sample_rate, bits=16)
            about = {
                "name": song.name,
                "generator_version": GENERATOR_VERSION,
                "seed": seed,
                "sample_rate": song.sample_rate,
                "seconds": song.seconds,
                "tracks": [{"name": t.name, "role": t.role, "file": f"{t.name}.wav"} for t in song.tracks],
            }
            (temporary / "song.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
            if target.exists() and not _complete(target):  # somebody removed files
                shutil.rmtree(target)
            try:
                temporary.rename(target)
            except OSError:
                if not _complete(target):
                    raise
        except OSError as error:
            raise OutputError(f"{self.folder}: generated songs cannot be kept there ({error.strerror})") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _check_writable(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.folder}: generated songs cannot be kept there ({error.strerror})") from error

    def _sweep(self) -> None:
        """Remove what a killed run left behind."""
        for folder in self.folder.glob(".*.part"):
            if time.time() - folder.stat().st_mtime > 3600:
                shutil.rmtree(folder, ignore_errors=True)


def make_songs(told: Sequence[Any]) -> None:
    """Make some songs; what a helper of `SyntheticSongs.prepare` does."""
    seconds, root, rate, engines, tracks, seeds = told
    songs = SyntheticSongs(1, seconds, 0, root, rate, engines=engines, tracks=tracks)
    for seed in seeds:
        songs._make(seed)


def _complete(folder: Path) -> bool:
    try:
        about = json.loads((folder / "song.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all((folder / track["file"]).is_file() for track in about["tracks"])
