"""Songs from nothing: a procedural multitrack generator and its cache on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from diffmix.data import audio
from diffmix.data.composition import Note, Score, compose, perform
from diffmix.data.drums import Kit
from diffmix.data.genres import GENRES, Part
from diffmix.data.instruments import INSTRUMENTS
from diffmix.data.multitrack import Multitrack, Source, Track
from diffmix.data.songs import Song
from diffmix.data.synthesis import Random, Samples, highpass, lowpass, room, stream
from diffmix.data.voice import Syllable, sing
from diffmix.errors import AudioError, OutputError

GENERATOR_VERSION = 1
"""Part of the cache's path: raised whenever a change anywhere alters the sound."""

VALIDATION_SEED = 1_000_000
"""Songs for validation have seeds from here on, songs for training seeds below."""

LEVEL_DB = (-18.0, -3.0)
"""Peak levels of the tracks, dBFS: every recording has its own, none is a mix level."""

_GROUPS = {
    "kick": ("kick",),
    "snare": ("snare", "rim", "clap"),
    "hat": ("hat", "open"),
    "toms": ("tom1", "tom2", "tom3"),
    "cymbals": ("crash", "ride"),
}
_OWN = {
    "kick_in": "kick",
    "kick_out": "kick",
    "snare_top": "snare",
    "snare_bottom": "snare",
    "hihat": "hat",
    "hats": "hat",
}
# What a close microphone hears of the other drums, as gains; they arrive a few milliseconds late.
_BLEED = {
    "kick_in": {"snare": 0.015, "toms": 0.03, "cymbals": 0.005},
    "kick_out": {"snare": 0.06, "hat": 0.02, "toms": 0.06, "cymbals": 0.04},
    "snare_top": {"kick": 0.04, "hat": 0.07, "toms": 0.05, "cymbals": 0.03},
    "snare_bottom": {"kick": 0.08, "hat": 0.04, "toms": 0.06, "cymbals": 0.03},
    "hihat": {"kick": 0.02, "snare": 0.08, "toms": 0.04, "cymbals": 0.15},
    "toms": {"kick": 0.03, "snare": 0.05, "hat": 0.02, "cymbals": 0.05},
}
_OVERHEAD = {"kick": (0.12, 0.0), "snare": (0.45, 0.1), "hat": (0.4, 0.6), "toms": (0.5, -0.3), "cymbals": (1.0, -0.5)}


def generate_song(seed: int, seconds: float = 10.0, sample_rate: int = 44_100, genre: str | None = None) -> Multitrack:
    """Make a song of 4 to 16 clean tracks with roles (fewer in a second or two).

    It is not mixed: each track is a recording that peaks at its own level of -18 to -3 dBFS.

    Args:
        seed: >= 0; the same seed gives the same samples in any process and order (another length is another song).
        seconds: length, 0.5 s or more.
        sample_rate: Hz, 8000 to 192000.
        genre: a key of `genres.GENRES`, or None to let the seed choose.

    Most tracks are mono; overheads, pianos, pads, strings and some effects are stereo. Tracks rest in whole sections.
    """
    sample_rate = audio.check_sample_rate(sample_rate, "sample_rate")
    if seed < 0 or not 0.5 <= seconds < np.inf:
        raise AudioError(f"a song needs a seed of 0 or more and at least 0.5 s; got seed {seed}, {seconds} s")
    if genre is not None and genre not in GENRES:
        raise AudioError(f"there is no genre {genre!r}; there are {', '.join(GENRES)}")
    score = compose(seed, seconds, genre)
    length = round(seconds * sample_rate)
    tracks = []
    drums = _drum_groups(score, length, sample_rate)
    for part in score.parts:
        rng = stream(seed, "track", part.name)
        if part.style == "drums":
            x = _microphone(part, drums, score, sample_rate, rng)
        elif part.instrument == "voice":
            x = _voice(perform(score, part), length, score, sample_rate, rng)
        elif part.instrument:
            x = _pitched(perform(score, part), part, seed, length, sample_rate, rng)
        else:
            kit = Kit(seed, score.genre.electronic, sample_rate)
            x = _strokes(perform(score, part), kit, length, sample_rate)[None]
        fade = min(round(0.005 * sample_rate), length)
        x[:, length - fade :] *= np.linspace(1, 0, fade)
        if (peak := np.abs(x).max()) > 1e-6:
            x = x * (10 ** (rng.uniform(*LEVEL_DB) / 20) / peak)
            tracks.append(Track(part.name, torch.from_numpy(x.astype(np.float32)), part.role))
    return Multitrack(f"{score.genre_name} {seed}", sample_rate, tuple(tracks))


# ------------------------------------------------------------------ from notes to sound


def _place(buffer: Samples, x: Samples, start: int) -> None:
    """Add `x` to `buffer` (both (..., T)) from sample `start` on, cut at the end."""
    end = min(start + x.shape[-1], buffer.shape[-1])
    if end > start:
        buffer[..., start:end] += x[..., : end - start]


def _strokes(notes: Sequence[Note], kit: Kit, length: int, sample_rate: int) -> Samples:
    y = np.zeros(length)
    for count, note in enumerate(notes):
        _place(y, kit.hit(note.piece, note.velocity, count), round(note.start_s * sample_rate))
    return y


def _drum_groups(score: Score, length: int, sample_rate: int) -> dict[str, Samples]:
    """One performance of the kit, each group of drums by itself."""
    part = next((p for p in score.parts if p.style == "drums"), None)
    if part is None:
        return {}
    kit = Kit(score.seed, score.genre.electronic, sample_rate)
    notes = perform(score, part)
    return {
        group: _strokes([n for n in notes if n.piece in pieces], kit, length, sample_rate)
        for group, pieces in _GROUPS.items()
    }


def _microphone(part: Part, drums: dict[str, Samples], score: Score, sample_rate: int, rng: Random) -> Samples:
    """What a microphone at the kit records, (1, T) or (2, T); silence if its own drum is never played."""
    length = len(drums["kick"])
    if part.name in ("overheads", "drum_loop", "room_mic"):
        y = np.zeros((2, length))
        for group, (gain, place) in _OVERHEAD.items():
            gain = 0.8 if part.name == "drum_loop" else gain
            for side in (0, 1):
                away = abs(place - (1, -1)[side]) / 2  # 0: under this microphone
                late = round((0.003 + 0.002 * away) * sample_rate)
                _place(y[side], (1 - 0.6 * away) * gain * drums[group], late)
        if part.name == "drum_loop":
            return np.tanh(lowpass(y, rng.uniform(5_000, 10_000), sample_rate) * rng.uniform(0.5, 2))
        hall = room(y.mean(axis=0), rng.uniform(0.25, 0.6), sample_rate, rng, 2)
        return highpass(y + 0.25 * hall, 60, sample_rate) if part.name == "overheads" else hall
    group = _OWN.get(part.name, part.name)
    y = drums[group].copy()
    if not y.any():
        return y[None]
    if score.genre.electronic:  # machines have no bleed, and each drum enters on its own
        bars = np.arange(0, length, sample_rate // 10)
        return (
            y * np.repeat([score.energy(b / sample_rate) >= part.energy for b in bars], sample_rate // 10)[:length]
        )[None]
    if part.name == "kick_out":
        y = lowpass(y, rng.uniform(1_500, 4_000), sample_rate, 1)
    if part.name == "snare_bottom":
        y = -highpass(y, 400, sample_rate)
    nearness = rng.uniform(0.3, 1.2)
    for other, gain in _BLEED.get(part.name, {}).items():
        _place(y, nearness * gain * drums[other], round(rng.uniform(0.001, 0.004) * sample_rate))
    return y[None]


def _pitched(notes: Sequence[Note], part: Part, seed: int, length: int, sample_rate: int, rng: Random) -> Samples:
    """Play notes, (1, T) or (2, T); equal notes of one velocity layer are made once."""
    instrument = INSTRUMENTS[part.instrument](rng, sample_rate)
    takes: dict[tuple[int, int, float], Samples] = {}
    y = np.zeros((1, length))
    for note in notes:
        layer = min(int(note.velocity * 4), 3)
        held_s = 0.25 * 2 ** np.ceil(np.log2(max(note.held_s, 0.25) / 0.25))  # 0.25, 0.5, 1, 2... s
        held_s = min(held_s, np.ceil(4 * note.held_s) / 4)
        key = (note.pitch, layer, held_s)
        if key not in takes:
            frequency_hz = 440 * 2 ** ((note.pitch - 69) / 12)
            take = stream(seed, "take", part.name, *(int(100 * k) for k in key))
            takes[key] = np.atleast_2d(instrument.play(frequency_hz, held_s, (layer + 1) / 4, take))
        x = takes[key]
        end = min(round((note.held_s + instrument.release_s) * sample_rate), x.shape[1])
        x = x[:, :end] * (0.3 + 0.7 * note.velocity)
        fade = min(round(instrument.release_s * sample_rate), end)
        x[:, end - fade :] *= np.linspace(1, 0, fade) ** 2
        if len(x) > len(y):
            y = np.repeat(y, len(x), axis=0)
        _place(y, x, round(note.start_s * sample_rate))
    return instrument.amp(y) if instrument.amp else y


def _voice(notes: Sequence[Note], length: int, score: Score, sample_rate: int, rng: Random) -> Samples:
    """Sing notes, (1, T); higher parts get a smaller head."""
    vowels = rng.choice(list("aeiou"), 3, replace=False)
    scale = 0.95 + 0.012 * np.clip(np.mean([n.pitch for n in notes]) - 52, 0, 20)
    line = [
        Syllable(
            n.start_s, n.held_s, 440 * 2 ** ((n.pitch - 69) / 12), n.velocity, str(rng.choice(vowels)),
            float(rng.uniform(0.03, 0.12)) if rng.random() < 0.45 else 0.0,
        )
        for n in notes
        if n.start_s * sample_rate < length
    ]  # fmt: skip
    return sing(line, length, float(scale), sample_rate, rng)[None] if line else np.zeros((1, length))


# ------------------------------------------------------------------ the cache


def cache_root() -> Path:
    """The cache folder: $DIFFMIX_CACHE, else $XDG_CACHE_HOME/diffmix, else ~/.cache/diffmix."""
    if own := os.environ.get("DIFFMIX_CACHE"):
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "diffmix"


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
    """

    def __init__(
        self,
        count: int,
        seconds: float = 10.0,
        seed: int = 0,
        root: str | os.PathLike[str] | None = None,
        sample_rate: int = 44_100,
    ) -> None:
        if seed < VALIDATION_SEED < seed + count:
            raise AudioError(
                f"seeds {seed} to {seed + count - 1} reach into those for validation ({VALIDATION_SEED}...)"
            )
        self.seconds, self.seed, self.sample_rate = float(seconds), seed, sample_rate
        self._seeds = range(seed, seed + count)
        config = json.dumps({"sample_rate": sample_rate, "seconds": self.seconds})
        digest = hashlib.sha1(config.encode(), usedforsecurity=False).hexdigest()[:12]
        self.folder = (Path(root) if root else cache_root()) / "procedural" / f"v{GENERATOR_VERSION}" / digest

    def __len__(self) -> int:
        return len(self._seeds)

    def __getitem__(self, index: int) -> Song:  # type: ignore[override]
        """Song number `index`, made now if it is not on disk. Raises OutputError when it cannot be kept there."""
        folder = self.folder / str(self._seeds[index])
        if not _complete(folder):
            self._make(int(folder.name))
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
        seeds = [s for s in self._seeds if not _complete(self.folder / str(s))]
        if seeds and workers > 1:
            self._check_writable()
        helpers = [self._helper(seeds[k::workers]) for k in range(1, min(workers, len(seeds)))]
        try:
            own = seeds[:: max(workers, 1)]
            for seed in (*own, *(s for s in seeds if s not in own)):
                if helpers and seed not in own:
                    while not _complete(self.folder / str(seed)) and any(h.poll() is None for h in helpers):
                        time.sleep(0.02)
                if not _complete(self.folder / str(seed)):  # ours, or a helper failed: then the reason shows here
                    self._make(seed)
                if progress:
                    progress(sum(_complete(self.folder / str(s)) for s in seeds), len(seeds))
        finally:
            for helper in helpers:
                helper.terminate()
                helper.wait()

    def _helper(self, seeds: Sequence[int]) -> subprocess.Popen[bytes]:
        """Another Python that makes some songs; not a fork, which the threads of torch would not survive."""
        code = (
            "import sys, json; from diffmix.data.synthetic import SyntheticSongs; "
            "seconds, root, rate, seeds = json.loads(sys.argv[1]); songs = SyntheticSongs(1, seconds, 0, root, rate); "
            "[songs._make(seed) for seed in seeds]"
        )
        arguments = [self.seconds, str(self.folder.parents[2]), self.sample_rate, list(seeds)]
        path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        return subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(arguments)],
            env={**os.environ, "PYTHONPATH": path},
            stderr=subprocess.DEVNULL,
        )

    def _make(self, seed: int) -> None:
        """Generate one song into a temporary folder, then give that its name; the first of two programs wins."""
        song = generate_song(seed, self.seconds, self.sample_rate)
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


def _complete(folder: Path) -> bool:
    try:
        about = json.loads((folder / "song.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all((folder / track["file"]).is_file() for track in about["tracks"])
