"""Players: from the notes of a part to what is recorded of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffmix.data.composition import Note, Score, perform
from diffmix.data.engines import Instrument, choose
from diffmix.data.engines.voices import Syllable
from diffmix.data.genres import Part
from diffmix.data.kit import Drummer, Kit, strokes
from diffmix.data.synthesis import Random, Samples, place, stream


def record(part: Part, score: Score, drummer: Drummer, engines: str) -> Samples:
    """A part as it is recorded, (1, T) or (2, T): the instrument is its own or, for a double, its model's."""
    length, sample_rate = drummer.length, drummer.sample_rate
    rng = stream(score.seed, "track", part.double or part.name)
    if part.style == "drums":
        return drummer.record(part, rng)
    notes = perform(score, part)
    if part.kind in ("percussion", "snare"):
        return strokes(notes, Kit(score.seed, sample_rate, engines, part.name), length)[None]
    engine = choose(part.kind, engines, rng)
    if part.kind == "voice":
        line = _syllables(notes, length, sample_rate, rng)
        scale = 0.95 + 0.012 * np.clip(np.mean([n.pitch for n in notes] or [52]) - 52, 0, 20)
        take = stream(score.seed, "take", part.name)
        return (engine(line, length, float(scale), sample_rate, take) if line else np.zeros(length))[None]
    return _play(notes, engine(rng, sample_rate, part.flavour), (score.seed, part.name), length, sample_rate)


def _play(notes: Sequence[Note], instrument: Instrument, key: tuple, length: int, sample_rate: int) -> Samples:
    """Play notes, (1, T) or (2, T); equal notes of one velocity layer are made once."""
    takes: dict[tuple[int, int, float], Samples] = {}
    y = np.zeros((1, length))
    for note in notes:
        layer = min(int(note.velocity * 4), 3)
        held_s = 0.25 * 2 ** np.ceil(np.log2(max(note.held_s, 0.25) / 0.25))  # 0.25, 0.5, 1, 2... s
        held_s = min(held_s, np.ceil(4 * note.held_s) / 4)
        name = (note.pitch, layer, held_s)
        if name not in takes:
            frequency_hz = 440 * 2 ** ((note.pitch - 69) / 12)
            take = stream(*key, "take", *(int(100 * k) for k in name))
            takes[name] = np.atleast_2d(instrument.play(frequency_hz, held_s, (layer + 1) / 4, take))
        x = takes[name]
        end = min(round((note.held_s + instrument.release_s) * sample_rate), x.shape[1])
        x = x[:, :end] * (0.1 + 0.9 * note.velocity**1.6)
        fade = min(round(instrument.release_s * sample_rate), end)
        x[:, end - fade :] *= np.linspace(1, 0, fade) ** 2
        if len(x) > len(y):
            y = np.repeat(y, len(x), axis=0)
        place(y, x, round(note.start_s * sample_rate))
    return instrument.amp(y) if instrument.amp else y


def _syllables(notes: Sequence[Note], length: int, sample_rate: int, rng: Random) -> list[Syllable]:
    """Words for the notes: three vowels in some order, a fricative before almost every second one."""
    vowels = rng.choice(list("aeiou"), 3, replace=False)
    return [
        Syllable(
            n.start_s, n.held_s, 440 * 2 ** ((n.pitch - 69) / 12), n.velocity, str(rng.choice(vowels)),
            float(rng.uniform(0.03, 0.12)) if rng.random() < 0.45 else 0.0,
        )
        for n in notes
        if n.start_s * sample_rate < length
    ]  # fmt: skip
