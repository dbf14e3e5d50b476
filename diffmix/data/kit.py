"""A drum kit and the microphones in front of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffmix.data.composition import Note, Score, perform
from diffmix.data.engines import choose
from diffmix.data.genres import Part
from diffmix.data.synthesis import Random, Samples, highpass, lowpass, place, room, stream

LAYERS = 4
"""Velocity layers per piece."""

ROUND_ROBINS = 2
"""Different takes of a layer, used in turn."""

PIECES = {
    "kick": "kick", "snare": "snare", "rim": "snare", "clap": "snare", "hat": "hihat", "open": "hihat", "tom1": "tom",
    "tom2": "tom", "tom3": "tom", "crash": "cymbal", "ride": "cymbal", "shaker": "percussion",
    "tambourine": "percussion", "conga1": "percussion", "conga2": "percussion", "bongo": "percussion",
    "cowbell": "percussion",
}  # fmt: skip
"""Every drum and percussion instrument, and the kind of engine that plays it."""

_GROUPS = {
    "kick": ("kick",),
    "snare": ("snare", "rim", "clap"),
    "hat": ("hat", "open"),
    "tom1": ("tom1",),
    "tom2": ("tom2",),
    "tom3": ("tom3",),
    "cymbals": ("crash", "ride"),
}
_TOMS = ("tom1", "tom2", "tom3")
_HEARD = {"kick_in": ("kick",), "kick_out": ("kick",), "kick_sub": ("kick",), "snare_top": ("snare",),
          "snare_bottom": ("snare",), "hihat": ("hat",), "toms": _TOMS}  # fmt: skip
# What a close microphone hears of the other drums, as gains; they arrive a few milliseconds late.
_BLEED = {
    "kick_in": {"snare": 0.015, "tom3": 0.03, "cymbals": 0.005},
    "kick_out": {"snare": 0.06, "hat": 0.02, "tom3": 0.06, "cymbals": 0.04},
    "kick_sub": {"tom3": 0.05},
    "snare_top": {"kick": 0.04, "hat": 0.07, "tom1": 0.05, "cymbals": 0.03},
    "snare_bottom": {"kick": 0.08, "hat": 0.04, "tom1": 0.06, "cymbals": 0.03},
    "hihat": {"kick": 0.02, "snare": 0.08, "tom1": 0.04, "cymbals": 0.15},
    "cymbals": {"kick": 0.02, "snare": 0.06, "hat": 0.1, "tom3": 0.06},
    **{tom: {"kick": 0.03, "snare": 0.05, "hat": 0.02, "cymbals": 0.05} for tom in (*_TOMS, "toms")},
}
# What a distant pair hears: gain, and place from right (-1) to left (1).
_OVERHEAD = {"kick": (0.08, 0.0), "snare": (0.35, 0.1), "hat": (0.6, 0.6), "tom1": (0.35, 0.3), "tom2": (0.35, -0.2),
             "tom3": (0.35, -0.6), "cymbals": (1.0, -0.4)}  # fmt: skip


class Kit:
    """The drums of one song: `hit(piece, velocity, count)` gives a mono stroke, its sound fixed by seed and `name`.

    Each kind of drum draws its engine of the `engines` allowed.
    """

    def __init__(self, seed: int, sample_rate: int, engines: str = "train", name: str = "kit") -> None:
        self.seed, self.sample_rate, self.engines, self.name = seed, sample_rate, engines, name
        self._strokes: dict[tuple[str, int, int], Samples] = {}

    def hit(self, piece: str, velocity: float, count: int) -> Samples:
        """Stroke number `count` on `piece` (a key of `PIECES`) with `velocity` in [0, 1]; full strokes peak near 1."""
        layer = min(int(velocity * LAYERS), LAYERS - 1)
        key = (piece, layer, count % ROUND_ROBINS)
        if key not in self._strokes:
            kind = PIECES[piece]
            engine = choose(kind, self.engines, stream(self.seed, self.name, "engine", kind))
            character = stream(self.seed, self.name, piece)  # the same drum in every layer
            take = stream(self.seed, self.name, "take", *key)
            stroke = engine(piece, character, take, (layer + 1) / LAYERS, self.sample_rate)
            self._strokes[key] = stroke / max(np.abs(stroke).max(), 1e-9) * (0.25 + 0.75 * (layer + 1) / LAYERS)
        level = 0.7 + 0.6 * (velocity * LAYERS - layer)  # within a layer only the level changes
        return self._strokes[key] * level / 1.3


def strokes(notes: Sequence[Note], kit: Kit, length: int) -> Samples:
    """Play notes on a kit, (length,)."""
    y = np.zeros(length)
    for count, note in enumerate(notes):
        place(y, kit.hit(note.piece, note.velocity, count), round(note.start_s * kit.sample_rate))
    return y


class Drummer:
    """One performance of a song's kit, of which every microphone makes its own recording."""

    def __init__(self, score: Score, length: int, sample_rate: int, engines: str) -> None:
        self.score, self.length, self.sample_rate, self.engines = score, length, sample_rate, engines
        part = next((p for p in score.parts if p.style == "drums"), None)
        self.notes = perform(score, part) if part else []
        kit = Kit(score.seed, sample_rate, engines)
        self.groups = {group: self._group(group, kit) for group in _GROUPS} if part else {}

    def _group(self, group: str, kit: Kit) -> Samples:
        return strokes([n for n in self.notes if n.piece in _GROUPS[group]], kit, self.length)

    def record(self, part: Part, rng: Random) -> Samples:
        """What the microphone or the output of `part` records, (1, T) or (2, T); silence if its drum never plays."""
        if part.kind == "sample":
            kit = Kit(self.score.seed, self.sample_rate, self.engines, part.name)
            return self._group(part.flavour, kit)[None]
        if part.flavour in ("overheads", "loop", "room", "room_mono"):
            return self._distant(part.flavour, rng)
        heard = _HEARD.get(part.flavour, (part.flavour,))
        y = sum(self.groups[group] for group in heard) + np.zeros(self.length)
        if not y.any():
            return y[None]
        if part.kind == "box":  # machines have no bleed, and each drum enters on its own
            return (y * self._enters(part))[None]
        if part.flavour in ("kick_out", "kick_sub"):
            high_hz = rng.uniform(1_500, 4_000) if part.flavour == "kick_out" else rng.uniform(90, 160)
            y = lowpass(y, high_hz, self.sample_rate, 1)
        if part.flavour == "snare_bottom":
            y = -highpass(y, 400, self.sample_rate)  # it looks at the other side of the drum
        nearness = rng.uniform(0.3, 1.2)
        for other, gain in _BLEED[part.flavour].items():
            place(y, nearness * gain * self.groups[other], round(rng.uniform(0.001, 0.004) * self.sample_rate))
        return y[None]

    def _distant(self, flavour: str, rng: Random) -> Samples:
        sample_rate = self.sample_rate
        y = np.zeros((2, self.length))
        for group, (gain, position) in _OVERHEAD.items():
            if not self.groups[group].any():
                continue
            gain = 0.8 if flavour == "loop" else gain
            for side in (0, 1):
                away = abs(position - (1, -1)[side]) / 2  # 0: under this microphone
                late = round((0.003 + 0.002 * away) * sample_rate)
                place(y[side], (1 - 0.6 * away) * gain * self.groups[group], late)
        if flavour == "loop":
            return np.tanh(lowpass(y, rng.uniform(5_000, 10_000), sample_rate) * rng.uniform(0.5, 2))
        channels = 1 if flavour == "room_mono" else 2
        hall = room(y.mean(axis=0), rng.uniform(0.25, 0.6), sample_rate, rng, channels)
        if flavour != "overheads":
            return hall
        return highpass(y + 0.25 * hall, rng.uniform(50, 200), sample_rate)

    def _enters(self, part: Part) -> Samples:
        frame = self.sample_rate // 10
        on = [self.score.energy(start / self.sample_rate) >= part.energy for start in range(0, self.length, frame)]
        return np.repeat(on, frame)[: self.length]
