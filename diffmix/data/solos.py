"""Single recordings as tracks of a song: single notes and strokes played in patterns, phrases with rests between.

A few real recordings of each instrument, varied, teach an estimator what generated instruments leave out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from diffmix.data import audio
from diffmix.data.degrade import degrade
from diffmix.data.multitrack import Multitrack, Track
from diffmix.data.roles import guess_role
from diffmix.data.stretch import sped_up
from diffmix.data.synthesis import Random, Samples, stream
from diffmix.errors import AudioError

PHRASE_S = 4.0
"""Recordings from this length on are played as phrases, shorter ones as notes."""

HIT = frozenset(("kick", "snare", "hihat", "tom", "cymbal", "percussion", "drums"))
"""Roles whose notes keep their pitch within a track."""

SEMITONES = (0, 0, 0, -5, -3, -2, 2, 3, 5, 7)
"""Intervals from the recorded note that a melody takes."""


def by_role(folder: str | os.PathLike[str]) -> dict[str, list[Path]]:
    """The recordings in and below a folder by their roles, each told by the file's name, else by its folders' names.

    Those whose names tell none are left out. Raises AudioError if there is no such folder, or no recording with a role.
    """
    root = Path(folder)
    if not root.is_dir():
        raise AudioError(f"{root}: there is no such folder of recordings")
    found: dict[str, list[Path]] = {}
    for file in sorted(root.rglob("*")):
        if file.suffix.lower() in audio.EXTENSIONS and file.is_file():
            names = (file.stem, *reversed(file.relative_to(root).parts[:-1]))
            if role := next(filter(None, map(guess_role, names)), None):
                found.setdefault(role, []).append(file)
    if not found:
        raise AudioError(f"{root}: no recording's name, nor its folder's, tells a role, as vocals/anna.wav would")
    return {role: found[role] for role in sorted(found)}


def solo(files: Mapping[str, Sequence[Path]], seed: int, number: int, seconds: float, sample_rate: int) -> Multitrack:
    """Track ``number`` of a seed: one recording of those that `by_role` gives, played and recorded again (`degrade`).

    Every role comes as often as every other, and every recording of a role as every other of that role. Its pitch and
    speed are up to five semitones from where they were. Equal arguments give equal samples.
    """
    rng = stream(seed, "solo", number)
    role = str(rng.choice(sorted(files)))
    file = files[role][int(rng.integers(len(files[role])))]
    recorded, rate = audio.read(file)
    if not recorded.abs().max() > 0:
        raise AudioError(f"{file}: the recording is silent")
    mono = rng.random() < 0.7
    x = sped_up(recorded.double(), rate / sample_rate * 2 ** (rng.uniform(-5, 5) / 12)).numpy()
    x = x.mean(0, keepdims=True) if mono else x
    length = round(seconds * sample_rate)
    long = x.shape[1] >= PHRASE_S * sample_rate
    played = _phrases(x, length, sample_rate, rng) if long else _notes(x, role, length, sample_rate, rng)
    played *= 10 ** (rng.uniform(-18, -3) / 20) / max(np.abs(played).max(), 1e-9)
    track = Track(role, torch.from_numpy(played.astype(np.float32)), role)
    return degrade(Multitrack(f"solo {number}", sample_rate, (track,)), int(rng.integers(2**31)))


def _phrases(x: Samples, length: int, sample_rate: int, rng: Random) -> Samples:
    """Pieces of one to six seconds from anywhere, with rests of up to three seconds after every other one."""
    y = np.zeros((len(x), length))
    fade = round(0.01 * sample_rate)
    at = round(rng.uniform(0, 1.5) * sample_rate) if rng.random() < 0.5 else 0
    while at < length - 2 * fade:
        size = min(round(rng.uniform(1, 6) * sample_rate), x.shape[1], length - at)
        first = int(rng.integers(x.shape[1] - size + 1))
        piece = x[:, first : first + size].copy()
        ramp = np.linspace(0, 1, min(fade, size))
        piece[:, : len(ramp)] *= ramp
        piece[:, size - len(ramp) :] *= ramp[::-1]
        y[:, at : at + size] = piece
        at += size + (round(rng.uniform(0, 3) * sample_rate) if rng.random() < 0.5 else 0)
    return y


def _notes(x: Samples, role: str, length: int, sample_rate: int, rng: Random) -> Samples:
    """A pattern on the sixteenths of a tempo, a bar or two that repeat; melodies have up to four pitches."""
    step = 60 / rng.uniform(70, 160) / 4 * sample_rate
    pitches = [x]
    if role not in HIT:
        ratios = [2 ** (float(rng.choice(SEMITONES)) / 12) for _ in range(rng.integers(1, 5))]
        pitches = [sped_up(torch.from_numpy(x), ratio).numpy() for ratio in ratios]
    bar = int(rng.choice((8, 16, 32)))
    chance = rng.choice((0.06, 0.12, 0.25, 0.5))
    strikes = rng.random(bar) < chance
    strikes[int(rng.integers(bar))] = True
    which, gain = rng.integers(len(pitches), size=bar), 10 ** (-rng.uniform(0, 12, bar) / 20)
    y = np.zeros((len(x), length))
    for n in range(int(length / step)):
        if strikes[n % bar]:
            note, at = pitches[which[n % bar]], round(n * step)
            size = min(note.shape[1], length - at)
            y[:, at : at + size] += gain[n % bar] * rng.uniform(0.8, 1) * note[:, :size]
    return y
