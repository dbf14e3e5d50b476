"""Recordings to transfer styles between, in classes and in two folds whose songs are disjoint, and trials made of them.

    python -m benchmarks.transfer_content [FOLDER]

lists songs, classes and folds. In a folder of real recordings a *song* is each folder inside one named ``multitrack``,
which holds its stems, and otherwise a file, or all files whose names begin with one word. Without a folder songs are
generated, with engines that no training song has.
"""

import argparse
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.signal
import torch
from torch import Tensor

from benchmarks.transfer_styles import KINDS, Samples, Style, at_peak, draw
from diffmix.data import audio
from diffmix.data.roles import guess_role
from diffmix.data.synthetic import VALIDATION_SEED, generate_song

RATE, LENGTH = 24_000, 131_072
"""Hz and samples (5.46 s) of what is transferred."""

SEED = VALIDATION_SEED + 700_000
"""Of the first generated song."""

SHORTEST_S = 1.9
CLASSES = ("speech", "mix", "drums", "vocals", "harmony")
ANY = "any"
"""The class of trials whose reference is music of any class."""

_STEMS = "multitrack"
_SPEECH = re.compile(r"speech|spoken|narrat|^\d+[_-]\d+[_-]\d+$", re.IGNORECASE)
_VOCALS = re.compile(r"sing|^voc|soprano|choir", re.IGNORECASE)
_MIX = re.compile(r"orchestra|carnatic|mix|song", re.IGNORECASE)
_PACKS = ("loop", "perc")  # first words that say nothing about who plays
_OF_ROLE = {
    **dict.fromkeys(("kick", "snare", "hihat", "tom", "cymbal", "percussion", "drums", "overhead", "room"), "drums"),
    **dict.fromkeys(("lead_vocal", "backing_vocal"), "vocals"),
}


@dataclass(frozen=True)
class Recording:
    """One thing to listen to: ``kind`` is one of `CLASSES`, audio (C, T) at 24 kHz; folds are of songs."""

    name: str
    song: str
    kind: str
    audio: Tensor


class Trial(NamedTuple):
    """A recording x (C, T), a reference (C, T') in a style, and the truth: x in that style; numbered in its group."""

    number: int
    group: str
    fold: str
    x: Tensor
    reference: Tensor
    truth: Tensor
    style: Style
    song: str
    reference_song: str

    @property
    def name(self) -> str:
        """Group and number."""
        return f"{self.group} {self.number}"


# ------------------------------------------------------------------ recordings


def recordings(folder: Path | None) -> list[Recording]:
    """All recordings of a folder, or generated ones."""
    return list(_real(folder) if folder else _generated())


def _real(folder: Path) -> Iterator[Recording]:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in audio.EXTENSIONS)
    stems: dict[Path, list[Path]] = {}
    for file in files:
        if file.parent.parent.name == _STEMS:
            stems.setdefault(file.parent, []).append(file)
            continue
        if audio.info(file).seconds >= SHORTEST_S:
            yield Recording(file.stem, song_of(file.stem), kind_of(file.stem), _read(file))
    for song, tracks in stems.items():
        yield from _sums(song.name, {t.stem: (guess_role(t.stem), _read(t)) for t in tracks})


def song_of(name: str) -> str:
    """The song that a file belongs to by its name."""
    words = re.split(r"[\s_-]+", name.lower())
    return name.lower() if words[0] in _PACKS else words[0]


def kind_of(name: str) -> str:
    """One of `CLASSES`, by a file's name."""
    if _SPEECH.search(name):
        return "speech"
    if _MIX.search(name) or name.count("_") >= 3:  # artist and title
        return "mix"
    return "vocals" if _VOCALS.search(name) else _OF_ROLE.get(guess_role(name) or "", "harmony")


def _read(file: Path) -> Tensor:
    x, rate = audio.read(file)
    common = math.gcd(rate, RATE)
    return torch.from_numpy(scipy.signal.resample_poly(x.numpy(), RATE // common, rate // common, axis=1)).float()


def _generated(count: int = 24, seconds: float = 12.0) -> Iterator[Recording]:
    for n in range(count):
        song = generate_song(SEED + n, seconds, RATE, engines="held_out")
        yield from _sums(f"generated {n}", {t.name: (t.role, t.audio) for t in song.tracks})


def _sums(song: str, tracks: dict[str, tuple[str | None, Tensor]]) -> Iterator[Recording]:
    """Mixes of a song's tracks at their peaks as they are: all, all but the voices, and by class."""
    stereo = {name: (_OF_ROLE.get(role or "", "harmony"), x.expand(2, -1)) for name, (role, x) in tracks.items()}
    groups = {
        "mix": [x for _, x in stereo.values()],
        "instruments": [x for kind, x in stereo.values() if kind != "vocals"],
        **{kind: [x for other, x in stereo.values() if other == kind] for kind in ("drums", "vocals", "harmony")},
    }
    for name, parts in groups.items():
        if parts and (name != "instruments" or len(parts) < len(stereo)):
            y = torch.stack([x[:, : min(p.shape[1] for p in parts)] for x in parts]).sum(0)
            if float(y.square().mean()) > 1e-6:
                yield Recording(f"{song}, {name}", song, "mix" if name == "instruments" else name, y)


def folds(found: Sequence[Recording]) -> dict[str, str]:
    """Fold "A" or "B" of each song. Songs of music alternate, within their class; few speakers are all in "A"."""
    kinds: dict[str, str] = {}
    for one in sorted(found, key=lambda r: (CLASSES.index(r.kind), r.song)):
        kinds.setdefault(one.song, one.kind)
    assigned: dict[str, str] = {}
    for kind in CLASSES:
        songs = [song for song, of in kinds.items() if of == kind]
        few = kind == "speech" and len(songs) < 4
        assigned |= {song: "A" if few else "AB"[n % 2] for n, song in enumerate(songs)}
    return assigned


# ------------------------------------------------------------------ trials


def piece(x: Tensor, rng: np.random.Generator, channels: int = 1, length: int = LENGTH) -> Samples:
    """A random stretch (channels, length) at a peak of -12 dBFS, where it sounds; short recordings are repeated."""
    heard = x.mean(0, keepdim=True) if channels == 1 else x.expand(2, -1)
    heard = heard.repeat(1, -(-length // heard.shape[1])) if heard.shape[1] < length else heard
    loudest, best = -1.0, heard[:, :length]
    for _ in range(8):
        start = int(rng.integers(heard.shape[1] - length + 1))
        cut = heard[:, start : start + length]
        power = float(cut.square().mean())
        if power > 0.1 * float(heard.square().mean()):
            return at_peak(cut.double().numpy())
        loudest, best = max((loudest, best), (power, cut), key=lambda pair: pair[0])
    return at_peak(best.double().numpy())


def halves(x: Tensor, channels: int = 1) -> tuple[Samples, Samples]:
    """The first and the second half, each repeated where it is shorter than a stretch."""
    middle = x.shape[1] // 2
    rng = np.random.default_rng(0)
    return piece(x[:, :middle], rng, channels), piece(x[:, middle:], rng, channels)


def cross_trials(
    found: Sequence[Recording], count: int, seed: int, kinds: Sequence[str] = (), channels: int = 1
) -> Iterator[Trial]:
    """``count`` trials of each class and of `ANY`: reference and recording of different songs of one fold.

    Styles are of `KINDS` in their shares, or of ``kinds`` in turn.
    """
    fold, many = folds(found), pools(found)
    for n, group in product(range(count), many):
        rng = np.random.default_rng([seed, (*CLASSES, ANY).index(group), n])
        pool = many[group][n % len(many[group])]
        x = _pick(pool, rng)
        other = _pick([r for r in pool if r.song != x.song], rng)
        kind = kinds[n % len(kinds)] if kinds else str(rng.choice(list(KINDS), p=list(KINDS.values())))
        style = draw(kind, rng)
        yield _trial(n, group, fold[x.song], x, other, style, rng, channels)


def pools(found: Sequence[Recording]) -> dict[str, list[list[Recording]]]:
    """By class, and for `ANY`, the recordings of each fold with two songs or more of it; empty classes are left out."""
    fold = folds(found)
    many: dict[str, list[list[Recording]]] = {}
    for group in (*CLASSES, ANY):
        of_group = [r for r in found if (r.kind != "speech" if group == ANY else r.kind == group)]
        by_fold = ([r for r in of_group if fold[r.song] == f] for f in "AB")
        if enough := [pool for pool in by_fold if len({r.song for r in pool}) > 1]:
            many[group] = enough
    return many


def same_trials(found: Sequence[Recording], count: int, seed: int) -> Iterator[Trial]:
    """``count`` trials of speech and of music: halves of one recording of 4 s or more, the families in turn."""
    fold = folds(found)
    for group in ("speech", "music"):
        pool = [r for r in found if (r.kind == "speech") == (group == "speech") and r.audio.shape[1] >= 4 * RATE]
        for n in range(count if pool else 0):
            rng = np.random.default_rng([seed, 100 + len(group), n])
            one = _pick(pool, rng)
            style = draw("family", rng, ("neutral", "broadcast", "telephone", "bright", "warm")[n % 5])
            x, rest = halves(one.audio)
            signals = _signals(x, rest, style, n)
            yield Trial(n, group, fold[one.song], *signals, style=style, song=one.song, reference_song=one.song)


def _pick(pool: Sequence[Recording], rng: np.random.Generator) -> Recording:
    """A recording: all songs are equally likely, whatever they consist of."""
    songs = sorted({r.song for r in pool})
    song = songs[rng.integers(len(songs))]
    of_song = [r for r in pool if r.song == song]
    return of_song[rng.integers(len(of_song))]


def _trial(
    number: int, group: str, fold: str, x: Recording, other: Recording, style: Style, rng: np.random.Generator,
    channels: int,
) -> Trial:  # fmt: skip
    a, b = piece(x.audio, rng, channels), piece(other.audio, rng, channels)
    signals = _signals(a, b, style, number)
    return Trial(number, group, fold, *signals, style=style, song=x.song, reference_song=other.song)


def _signals(x: Samples, other: Samples, style: Style, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """The recording, the other one in the style, and the recording in the style."""
    x, reference, truth = at_peak(x), style.render(other, RATE, seed + 1), style.render(x, RATE, seed)
    return torch.from_numpy(x).float(), torch.from_numpy(reference).float(), torch.from_numpy(truth).float()


@cache
def content(folder: Path | None) -> tuple[Recording, ...]:
    """`recordings`, read once."""
    return tuple(recordings(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    found = content(parser.parse_args().folder)
    fold = folds(found)
    for one in sorted(found, key=lambda r: (fold[r.song], CLASSES.index(r.kind), r.song)):
        print(f"{fold[one.song]}  {one.kind:<8} {one.song:<16} {one.name:<32} {one.audio.shape[1] / RATE:6.1f} s")


if __name__ == "__main__":
    main()
