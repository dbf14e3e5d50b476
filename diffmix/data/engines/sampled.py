"""Recorded instruments: the notes of a SoundFont of the General MIDI set, so that songs can sound less synthetic.

Songs need no SoundFont. One that is at hand is named beside the engines, ``engines="train+FONT.sf3"``, and its
instruments then play more than half of the parts. What reads it is not installed with diffmix:
``pip install --no-deps tinysoundfont`` (as it is, its playback asks for a system library that nothing here needs).
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import numpy as np

from diffmix.data.engines.instrument import Instrument
from diffmix.data.synthesis import Random, Samples, between, lowpass
from diffmix.errors import AudioError

PROGRAMS: dict[tuple[str, str], tuple[int, ...]] = {
    ("bass", ""): (32, 33, 33, 34, 35, 36, 37, 38, 39),
    ("guitar", "acoustic"): (24, 25, 25),
    ("guitar", "nylon"): (24,),
    ("guitar", "clean"): (26, 27, 27, 28),
    ("guitar", "drive"): (29, 30),
    ("piano", ""): (0, 0, 1, 2, 3),
    ("keys", "tine"): (4, 5, 6, 7),
    ("keys", "organ"): (16, 16, 17, 18, 19, 20),
    ("keys", "bar"): (8, 9, 11, 12, 13),
    ("synth", "pad"): (50, 51, 88, 89, 90, 91, 92, 93, 94, 95),
    ("synth", "pluck"): (38, 39, 80, 81, 84, 98, 99),
    ("synth", "lead"): (62, 63, 80, 81, 82, 83, 85, 86, 87),
    ("strings", ""): (40, 41, 42, 44, 45, 48, 48, 49),
    ("brass", ""): (56, 56, 57, 58, 59, 60, 61, 61),
    ("woodwind", ""): (64, 65, 66, 67, 68, 70, 71, 72, 73, 73, 74, 75),
}
"""General MIDI programs, from 0, by kind of instrument and flavour; sounds that songs use often are named often."""

KITS = (0, 0, 8, 16, 24, 25, 32, 40)
KEYS: dict[str, tuple[int, ...]] = {
    "kick": (35, 36), "snare": (38, 40), "rim": (37,), "clap": (39,), "hat": (42,), "open": (46,), "tom1": (48, 50),
    "tom2": (45, 47), "tom3": (41, 43), "crash": (49, 57), "ride": (51, 59), "shaker": (70, 82), "tambourine": (54,),
    "conga1": (62, 63), "conga2": (64,), "bongo": (60, 61), "cowbell": (56,),
}  # fmt: skip
"""Keys of the drums in a kit, by the names of `diffmix.data.kit.PIECES`."""

KINDS = frozenset(kind for kind, _ in PROGRAMS) | {"kick", "snare", "hihat", "tom", "cymbal", "percussion"}
"""Kinds of instruments that a SoundFont has: neither singers nor effects."""

DRUM_BANK = 128
LONGEST_S = 8.0


def sampled(kind: str, font: str) -> Any:
    """The engine of a kind in ``KINDS`` that plays the SoundFont ``font``."""
    if any(kind == pitched for pitched, _ in PROGRAMS):
        return partial(_instrument, font, kind)
    return partial(_drum, font)


def _instrument(font: str, kind: str, rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """An instrument in a room of its own: a program of the font, heard by some microphone, in mono or stereo."""
    program = _draw(PROGRAMS[kind, flavour], font, sample_rate, 0, rng)
    hear, mono = _microphone(rng, sample_rate), rng.random() < 0.6
    release_s = float(rng.uniform(0.08, 0.3))

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        key = int(np.clip(round(69 + 12 * np.log2(f / 440)), 0, 127))
        x = hear(_note(font, sample_rate, 0, program, key, velocity, min(held_s, LONGEST_S), release_s))
        return x.mean(axis=0) if mono else x

    return Instrument(play, release_s)


def _drum(font: str, piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """A stroke on a drum of one of the font's kits."""
    program = _draw(KITS, font, sample_rate, DRUM_BANK, c)
    keys = KEYS[piece]
    key, hear = keys[int(c.integers(len(keys)))], _microphone(c, sample_rate)
    long_s = 1.5 if piece in ("crash", "ride", "open") else 0.5
    return hear(_note(font, sample_rate, DRUM_BANK, program, key, v, 0.1, long_s)).mean(axis=0)


def _draw(programs: tuple[int, ...], font: str, sample_rate: int, bank: int, rng: Random) -> int:
    """One of the programs that the font has."""
    synth, number = _synth(font, sample_rate)
    there = [p for p in programs if synth.sfpreset_name(number, bank, p)]
    if not there:
        raise AudioError(f"{font}: there is none of the programs {programs} in bank {bank}; is it a General MIDI set?")
    return there[int(rng.integers(len(there)))]


def _microphone(rng: Random, sample_rate: int) -> Any:
    """A shelf of up to 5 dB either way around some hundred Hz: the same font is another instrument in each song."""
    hz, high = between(rng, 300, 3000), 10 ** (rng.normal(0, 2.5) / 20)

    def hear(x: Samples) -> Samples:
        low = lowpass(x, hz, sample_rate, 1)
        return low + high * (x - low)

    return hear


def _note(
    font: str, sample_rate: int, bank: int, program: int, key: int, velocity: float, held_s: float, after_s: float
) -> Samples:
    """A note (2, T), held for ``held_s`` and heard for ``after_s`` more."""
    synth, number = _synth(font, sample_rate)
    synth.sounds_off(0)
    synth.program_select(0, number, bank, program, bank == DRUM_BANK)
    synth.noteon(0, key, round(1 + 126 * min(velocity, 1.0)))
    parts = [_heard(synth, round(held_s * sample_rate))]
    synth.noteoff(0, key)
    parts.append(_heard(synth, round(after_s * sample_rate)))
    return np.concatenate(parts, axis=1)


def _heard(synth: Any, samples: int) -> Samples:
    return np.frombuffer(synth.generate(samples), np.float32).astype(np.float64).reshape(-1, 2).T


@lru_cache(4)
def _synth(font: str, sample_rate: int) -> tuple[Any, int]:
    """A synthesiser that has read the font, and the font's number there."""
    try:
        import tinysoundfont
    except ImportError:
        raise AudioError(f"{font}: to play it, install tinysoundfont: pip install --no-deps tinysoundfont") from None
    synth = tinysoundfont.Synth(samplerate=sample_rate)
    try:
        return synth, synth.sfload(font)
    except Exception as error:
        raise AudioError(f"{font}: this is not a SoundFont that can be read ({error})") from None
