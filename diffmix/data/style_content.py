"""Recordings to learn styles from: generated songs and talkers, and those that lie in a folder, in songs and classes.

A song is what learning and judging must not share: all that comes from one performance.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from diffmix.data import audio
from diffmix.data.engines import choose
from diffmix.data.engines.voices import VOWELS, Syllable
from diffmix.data.roles import guess_role
from diffmix.data.synthesis import Random, between, stream
from diffmix.data.synthetic import generate_song
from diffmix.errors import AudioError
from diffmix.types import Path as AnyPath

RATE = 24_000
"""Sample rate of all contents, Hz."""

CLASSES = ("speech", "mix", "drums", "vocals", "harmony")
SHORTEST_S = 0.8
_SPEECH = re.compile(r"speech|spoken|narrat|talk|dialog|^\d+[_-]\d+[_-]\d+$", re.IGNORECASE)
_MIX = re.compile(r"orchestra|mix|song|master|full|band", re.IGNORECASE)
_PACKS = ("loop", "perc", "track", "audio", "file", "take", "the", "a")  # first words that say nothing about who plays
_SAME_S = 0.05
_DRUMS = ("kick", "snare", "hihat", "tom", "cymbal", "percussion", "drums", "overhead", "room")
_OF_ROLE = dict.fromkeys(_DRUMS, "drums") | dict.fromkeys(("lead_vocal", "backing_vocal"), "vocals")


class Audible(Protocol):
    """A recording with the song and the class it is of: audio (C, T) at 24 kHz."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def song(self) -> str:
        """What must not be shared between learning and judging."""

    @property
    def kind(self) -> str:
        """One of `CLASSES`."""

    @property
    def audio(self) -> Tensor:
        """Its sound (C, T) at 24 kHz."""


Recorded = TypeVar("Recorded", bound=Audible)


@dataclass(frozen=True)
class Content:
    """One thing to listen to: the song it is of, one of `CLASSES`, audio (C, T) at 24 kHz, recorded or generated."""

    name: str
    song: str
    kind: str
    audio: Tensor
    real: bool = False


@dataclass(frozen=True)
class Item:
    """A recording in a folder that is read when it is asked for: one file, or the sum of several."""

    name: str
    song: str
    kind: str
    files: tuple[Path, ...]
    real: bool = True

    @cached_property
    def audio(self) -> Tensor:
        """The sound (C, T) at 24 kHz; of several files their sum, stereo."""
        parts = []
        for file in self.files:
            x, rate = audio.read(file)
            parts.append(_at_rate(x, rate))
        if len(parts) == 1:
            return parts[0]
        length = min(p.shape[1] for p in parts)
        return torch.stack([p[:, :length].expand(2, -1) for p in parts]).sum(0)


def recordings_in(folder: AnyPath) -> list[Item]:
    """What a folder and those inside it hold, grouped into songs.

    Files of one length in a folder of their own, most of them named after instruments, are the stems of a song: they
    are summed, all of them and by class. Other files are songs of their own, or of one song where their names begin
    with the same word. Classes are told from names. Raises AudioError if there is no audio file of 0.8 s or more.
    """
    folder = Path(folder)
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in audio.EXTENSIONS and p.is_file())
    seconds = {file: audio.info(file).seconds for file in files}
    items: list[Item] = []
    for parent in sorted({file.parent for file in files}):
        inside = [file for file in files if file.parent == parent and seconds[file] >= SHORTEST_S]
        lengths = [seconds[file] for file in inside]
        told = sum(guess_role(file.stem) is not None for file in inside)
        if len(inside) > 2 and max(lengths) - min(lengths) < _SAME_S and told > len(inside) / 2:
            items += _stems(parent.name, inside)
        else:
            items += [Item(f.stem, song_of(f.stem), kind_of(f.stem), (f,)) for f in inside]
    if not items:
        raise AudioError(f"{folder}: there is no audio file of {SHORTEST_S} s or more in it")
    return items


def picked(contents: Sequence[Recorded], count: int, rng: Random) -> list[Recorded]:
    """``count`` of some recordings: classes in turn, each song of a class as likely as another."""
    kinds = [kind for kind in CLASSES if any(c.kind == kind for c in contents)]
    chosen: list[Recorded] = []
    for n in range(count if kinds else 0):
        of_kind = [c for c in contents if c.kind == kinds[n % len(kinds)]]
        songs = sorted({c.song for c in of_kind})
        song = songs[rng.integers(len(songs))]
        of_song = [c for c in of_kind if c.song == song]
        chosen.append(of_song[rng.integers(len(of_song))])
    return chosen


def song_of(name: str) -> str:
    """The song that a single file belongs to, by its name."""
    words = re.split(r"[\s_-]+", name.lower())
    return name.lower() if words[0] in _PACKS else words[0]


def kind_of(name: str) -> str:
    """One of `CLASSES`, by a file's name."""
    if _SPEECH.search(name):
        return "speech"
    role = guess_role(name)
    if _MIX.search(name) or (role is None and name.count("_") >= 3):  # artist and title
        return "mix"
    return _OF_ROLE.get(role or "", "harmony")


def _at_rate(x: Tensor, rate: int) -> Tensor:
    """Audio (C, T) at 24 kHz by its spectrum: ten times as fast as `audio.resample`, and nobody listens to the ends."""
    wanted = max(1, round(x.shape[1] * RATE / rate))
    spectrum = torch.fft.rfft(x)
    cut = spectrum[:, : wanted // 2 + 1]
    cut = torch.nn.functional.pad(cut, (0, wanted // 2 + 1 - cut.shape[1]))
    return torch.fft.irfft(cut, wanted) * (wanted / x.shape[1])


def _stems(song: str, files: Sequence[Path]) -> Iterator[Item]:
    kinds = {file: _OF_ROLE.get(guess_role(file.stem) or "", "harmony") for file in files}
    yield Item(f"{song}, mix", song, "mix", tuple(files))
    played = tuple(file for file in files if kinds[file] != "vocals")
    if len(played) < len(files):
        yield Item(f"{song}, instruments", song, "mix", played)
    for kind in ("drums", "vocals", "harmony"):
        of_kind = tuple(file for file in files if kinds[file] == kind)
        if of_kind:
            yield Item(f"{song}, {kind}", song, kind, of_kind)
        if len(of_kind) > 1:
            yield from (Item(f"{song}, {file.stem}", song, kind, (file,)) for file in of_kind)


def generated(seed: int, seconds: float = 12.0, solos: int = 0, engines: str = "train") -> Iterator[Content]:
    """A generated song as a mix and by class, its tracks at random levels and places, and some tracks alone."""
    song = generate_song(seed, seconds, RATE, engines=engines)
    rng = np.random.default_rng([seed, 1])
    placed: list[tuple[str, Tensor]] = []
    for track in song.tracks:
        gain, pan = 10 ** (rng.normal(0, 4) / 20), float(np.clip(rng.normal(0, 0.4), -1, 1))
        sides = torch.tensor([[1 - max(pan, 0)], [1 + min(pan, 0)]], dtype=torch.float32)
        placed.append((_OF_ROLE.get(track.role or "", "harmony"), track.audio.expand(2, -1) * sides * gain))
    yield Content(f"generated {seed}, mix", f"generated {seed}", "mix", _sum(y for _, y in placed))
    for kind in CLASSES[2:]:
        parts = [y for other, y in placed if other == kind]
        if parts:
            yield Content(f"generated {seed}, {kind}", f"generated {seed}", kind, _sum(parts))
    for n in rng.permutation(len(placed))[:solos].tolist():
        kind, y = placed[n]
        yield Content(f"generated {seed}, {song.tracks[n].name}", f"generated {seed}", kind, y)


def _sum(parts: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(parts)).sum(0)


def talker(seed: int, seconds: float = 8.0) -> Content:
    """Somebody who talks: no words, but syllables in falling phrases, with pauses, in a room."""
    rng = stream(seed, "talker")
    base_hz, scale = between(rng, 85, 240), rng.uniform(0.92, 1.2)
    pace, lively = rng.uniform(3.2, 6.5), rng.uniform(0.04, 0.2)
    line: list[Syllable] = []
    now = rng.uniform(0, 0.3)
    while now < seconds:
        count = int(rng.integers(3, 14))
        for n in range(count):
            length = rng.uniform(0.6, 1.6) / pace
            fall = 1.15 - 0.35 * n / count
            hz = base_hz * fall * np.exp(rng.normal(0, lively))
            vowel = str(rng.choice(list(VOWELS)))
            hiss = float(rng.uniform(0.03, 0.13)) if rng.random() < 0.55 else 0.0
            loud = float(np.clip(rng.normal(0.65, 0.18), 0.15, 1)) * (1 - 0.4 * n / count)
            line.append(Syllable(now + hiss, max(0.05, length - hiss), float(hz), loud, vowel, hiss))
            now += length + (rng.uniform(0.02, 0.08) if rng.random() < 0.4 else 0)
        now += rng.uniform(0.15, 0.7)
    length = round(seconds * RATE)
    y = choose("voice", "all", rng)(line, length, float(scale), RATE, rng)
    tail = rng.standard_normal(round(0.25 * RATE)) * np.exp(-np.linspace(0, 7, round(0.25 * RATE)))
    tail *= 10 ** (rng.uniform(-30, -12) / 20) / np.sqrt(np.square(tail).sum())
    y = y + np.convolve(y, tail)[:length]
    y = y / (np.abs(y).max() + 1e-9) + 10 ** (rng.uniform(-75, -45) / 20) * rng.standard_normal(length)
    name = f"talker {seed}"
    return Content(name, name, "speech", torch.from_numpy(y.astype(np.float32))[None])
