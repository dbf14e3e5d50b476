"""Stems whose effects are normalised, kept on disk, and examples of them."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from diffmix.balance import balanced
from diffmix.console import Console
from diffmix.data.knowledge import engineer
from diffmix.data.multitrack import Multitrack
from diffmix.data.normalise import (
    CLASSES,
    STEMS,
    TREATMENTS,
    Averages,
    averages,
    empty_averages,
    normalise,
    reverberated,
    stems_of,
)
from diffmix.data.songs import Song
from diffmix.data.synthetic import cache_root
from diffmix.errors import AudioError, OutputError
from diffmix.files import replacing
from diffmix.kernels.loudness import HEARD_LUFS, integrated_loudness
from diffmix.mix import grouped, ordered
from diffmix.progress import progress
from diffmix.settings import Settings

MIX_LUFS, CEILING = -18.0, 0.98
"""Loudness of the mixes to learn, and the peak that they do not pass: the network ends in tanh."""

CACHE_VERSION = 2

PART_S = 300.0
"""Longer songs are normalised in equal parts, so that memory does not grow with them."""

AVERAGED_S = 120.0
"""Seconds from the middle of a song that averages are taken of."""


class StemBatch(NamedTuple):
    """Normalised stems (B, 8, T) and the mixes they come from (B, 2, T)."""

    stems: Tensor
    mix: Tensor


class Part(NamedTuple):
    """Some seconds of a song."""

    song: Song
    start_s: float
    seconds: float

    @classmethod
    def all_of(cls, song: Song) -> "Iterator[Part]":
        """The parts of a song, of at most `PART_S` each."""
        count = max(1, math.ceil(song.seconds / PART_S))
        for k in range(count):
            yield cls(song, k * song.seconds / count, song.seconds / count)

    @classmethod
    def middle(cls, song: Song) -> "Part":
        """What averages are taken of."""
        seconds = min(song.seconds, AVERAGED_S)
        return cls(song, (song.seconds - seconds) / 2, seconds)

    @property
    def identity(self) -> str:
        """The song's files, with their sizes and times, and the place, as text."""
        files = [file for source in (*self.song.sources, *self.song.mixes) for file in source.files]
        stats = "|".join(f"{file}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files)
        return f"{stats}|{self.start_s:.3f}+{self.seconds:.3f}"

    def stems(self, rate: int, wet: bool) -> tuple[dict[str, Tensor], Tensor]:
        """The stems (2, T) as they are in their mix, and the mix (2, T)."""
        piece = self.song.segment(self.start_s, self.seconds, rate)
        stems = stems_of(piece) if wet else engineered_stems(piece, [piece.length, len(piece.tracks)])
        if wet and self.song.is_paired:
            return stems, self.song.mixed(self.start_s, self.seconds, rate)
        return stems, torch.stack(list(stems.values())).sum(0)

    def normalised(self, rate: int, wet: bool, means: Mapping[str, Averages], reverb: float) -> dict[str, Tensor]:
        """Normalised stems (8, T) and the mix (2, T), as 16-bit floats, which halves the space."""
        stems, mix = self.stems(rate, wet)
        rng = np.random.default_rng(int(_digest(f"{self.song.name}+{self.start_s:.3f}"), 16))
        for stem in CLASSES:
            seed, chance = int(rng.integers(2**31)), float(rng.random())
            if TREATMENTS[stem].reverb and chance < reverb and bool(stems[stem].any()):
                stems[stem] = reverberated(stems[stem], rate, seed, wet=float(rng.uniform(0.1, 0.5)))
        loudness = float(integrated_loudness(mix[None], rate))
        if loudness > HEARD_LUFS:
            mix = mix * min(10 ** ((MIX_LUFS - loudness) / 20), CEILING / float(mix.abs().max()))
        ready = torch.cat([normalise(stems[c], rate, means[c], TREATMENTS[c]) for c in CLASSES])
        return {"stems": ready.half(), "mix": mix.half().contiguous()}


class NormalisedStems(NamedTuple):
    """Files of normalised stems and their mixes, for training and held out, and the averages they were brought to."""

    train: Sequence[Path]
    held_out: Sequence[Path]
    averages: dict[str, Averages]

    @classmethod
    def made(
        cls, train: Sequence[Song], held_out: Sequence[Song], data: Mapping[str, Any], seed: int
    ) -> "NormalisedStems":
        """Normalise the stems of all songs to the averages of some for training; what is cached is not made again."""
        from safetensors.torch import load_file, save_file

        wet = bool(data["root"]) and data["wet"]
        rate = data["sample_rate"]
        made_of = {
            "version": CACHE_VERSION,
            "sample_rate": rate,
            "wet": wet,
            "reverb": data["reverb"],
            "average_songs": data["average_songs"],
            "seed": seed,
            "songs": [Part.middle(song).identity for song in train],
        }
        folder = cache_root() / "fxnorm" / _digest(json.dumps(made_of))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            known = folder / "averages.safetensors"
            if not known.is_file():
                found = _averages_of(list(train)[: data["average_songs"]], rate, wet)
                flat = {f"{c}.{name}": v for c, a in found.items() for name, v in a._asdict().items()}
                with replacing(known) as temporary:
                    save_file(flat, temporary)
            flat = load_file(known)
            means = {c: Averages(*(flat[f"{c}.{name}"] for name in Averages._fields)) for c in CLASSES}
            parts = [[part for song in songs for part in Part.all_of(song)] for songs in (train, held_out)]
            files = [[folder / f"{_digest(part.identity)}.safetensors" for part in some] for some in parts]
            pairs = zip((*files[0], *files[1]), (*parts[0], *parts[1]), strict=True)
            missing = [(file, part) for file, part in pairs if not file.is_file()]
            with progress("Normalising", len(missing)) as advance:
                for done, (file, part) in enumerate(missing):
                    tensors = part.normalised(rate, wet, means, data["reverb"])
                    with replacing(file) as temporary:
                        save_file(tensors, temporary)
                    advance(done + 1, part.song.name)
        except OSError as error:
            raise OutputError(f"{folder}: normalised stems cannot be kept there ({error.strerror})") from error
        return cls(files[0], files[1], means)


def _digest(text: str) -> str:
    """A text as a short name."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:16]


def _averages_of(songs: Sequence[Song], rate: int, wet: bool) -> dict[str, Averages]:
    with progress("Reading stems", len(songs)) as advance:
        found = []
        for done, song in enumerate(songs):
            found.append(Part.middle(song).stems(rate, wet)[0])
            advance(done + 1, song.name)
    means = {}
    with progress("Averaging stems", len(CLASSES)) as advance:
        for done, stem in enumerate(CLASSES):
            sounding = [stems[stem] for stems in found if bool(stems[stem].any())]
            means[stem] = averages(sounding, rate, TREATMENTS[stem]) if sounding else empty_averages(rate)
            advance(done + 1, stem)
    return means


def engineered_stems(multitrack: Multitrack, seed: Sequence[int]) -> dict[str, Tensor]:
    """The stems (2, T) of raw tracks as an engineer mixes them, reverberation included; their sum is the mix.

    The master is left out, so that it is.
    """
    console = Console(multitrack.sample_rate, master={})
    intent = engineer(multitrack, seed).intent
    intent = intent._replace(settings=Settings({**intent.settings, "master": {}}))
    settings = balanced(console, multitrack, intent)
    tracks, order = grouped(multitrack)
    names = [multitrack.tracks[n].name for n in order]
    values = console.numbers(ordered(settings, names))
    roles = [multitrack.tracks[n].role or "" for n in order]
    stems = {}
    for stem in CLASSES:
        mask = torch.tensor([[float(STEMS.get(role, "other") == stem) for role in roles]])
        with torch.no_grad():
            stems[stem] = console.mix(tracks, values, mask)[0] if mask.any() else torch.zeros(2, multitrack.length)
    return stems


class StemExamples(Dataset[StemBatch]):
    """Pieces of normalised songs; example number i of a seed is always the same.

    With ``swap``, left and right change places in half of them.
    """

    def __init__(self, files: Sequence[Path], length: int, seed: int, swap: bool) -> None:
        self.files, self.length, self.seed, self.swap = files, length, seed, swap

    def __getitem__(self, index: int) -> StemBatch:
        """Example ``index``; pieces whose mix is silent are passed over."""
        from safetensors import safe_open

        rng = np.random.default_rng([self.seed, index])
        for _ in range(20):
            with safe_open(self.files[int(rng.integers(len(self.files)))], "pt") as file:
                stems, mix = file.get_slice("stems"), file.get_slice("mix")
                start = int(rng.integers(max(1, mix.get_shape()[1] - self.length + 1)))
                cut = [part[:, start : start + self.length].float() for part in (stems, mix)]
            if float(cut[1].square().mean()) > 1e-6:
                break
        else:
            raise AudioError("no piece with a mix that sounds was found")
        x, y = (torch.nn.functional.pad(part, (0, self.length - part.shape[1])) for part in cut)
        if self.swap and rng.random() < 0.5:
            x, y = x.unflatten(0, (-1, 2)).flip(1).flatten(0, 1), y.flip(0)
        return StemBatch(x, y)
