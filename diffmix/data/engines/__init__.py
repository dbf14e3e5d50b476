"""Sound engines: at least three ways to make each instrument of a song, the last of each kept for held-out songs.

Two further kinds of instruments can join them: such that are drawn at random (`wide_tones`, ``train+wide``), and those
of SoundFonts (`sampled`, ``train+FONT.sf3``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from diffmix.data.engines import (
    electronic,
    membranes,
    metal,
    plucked,
    sampled,
    struck,
    sustained,
    voices,
    wide_drums,
    wide_tones,
    wide_voices,
)
from diffmix.data.engines.instrument import Instrument, Play
from diffmix.data.synthesis import Random
from diffmix.errors import AudioError

__all__ = ["CHOICES", "ENGINES", "Engine", "Instrument", "Play", "check", "choose", "engines_of"]

Engine = Callable[..., Any]
"""Pitched: engine(generator, sample_rate, flavour) -> Instrument. Drums: a stroke, see `membranes`. Voices: `Sing`."""

CHOICES = ("train", "held_out", "all")
"""Which engines a song may use: all but the last of each kind, the last only, any."""

ENGINES: dict[str, tuple[Engine, ...]] = {
    "kick": (membranes.modal_kick, membranes.machine_kick, membranes.fm_kick, membranes.struck_kick),
    "snare": (membranes.modal_snare, membranes.machine_snare, membranes.fm_snare, membranes.struck_snare),
    "hihat": (metal.plate_hat, metal.square_hat, metal.fm_hat, metal.band_hat),
    "tom": (membranes.modal_tom, membranes.machine_tom, membranes.fm_tom, membranes.struck_tom),
    "cymbal": (metal.plate_cymbal, metal.square_cymbal, metal.fm_cymbal, metal.band_cymbal),
    "percussion": (metal.modal_percussion, metal.machine_percussion, metal.fm_percussion, metal.grain_percussion),
    "bass": (plucked.waveguide_bass, plucked.analogue_bass, plucked.sine_bass, plucked.shaped_bass),
    "guitar": (plucked.waveguide_guitar, plucked.modal_guitar, plucked.fm_guitar),
    "piano": (struck.modal_piano, struck.waveguide_piano, struck.fm_piano),
    "keys": (
        struck.tine_keys, struck.drawbar_keys, struck.bar_keys, struck.clavinet_keys, struck.divider_keys,
        struck.pickup_keys,
    ),
    "synth": (electronic.analogue_synth, electronic.fm_synth, electronic.wavetable_synth, electronic.bent_synth),
    "strings": (sustained.ensemble_strings, sustained.bowed_strings, sustained.additive_strings),
    "brass": (sustained.analogue_brass, sustained.fm_brass, sustained.additive_brass),
    "woodwind": (sustained.additive_woodwind, sustained.reed_woodwind, sustained.fm_woodwind),
    "voice": (voices.parallel_voice, voices.cascade_voice, voices.harmonic_voice),
    "fx": (electronic.noise_riser, electronic.tone_riser, electronic.struck_fx, electronic.grain_fx),
}  # fmt: skip
"""The engines of every kind of instrument; the last is the held-out one. Overheads and rooms hear the kit's engines."""

WIDE = "wide"
"""What asks for the engines of `WIDE_ENGINES` beside others: ``train+wide``."""

WIDE_ENGINES: dict[str, Engine] = {
    "kick": wide_drums.wide_kick,
    "snare": wide_drums.wide_snare,
    "hihat": wide_drums.wide_metal,
    "tom": wide_drums.wide_tom,
    "cymbal": wide_drums.wide_metal,
    "percussion": wide_drums.wide_percussion,
    "bass": wide_tones.wide_bass,
    "guitar": wide_tones.wide_guitar,
    "piano": wide_tones.wide_piano,
    "keys": wide_tones.wide_keys,
    "synth": wide_tones.wide_synth,
    "strings": wide_tones.wide_strings,
    "brass": wide_tones.wide_brass,
    "woodwind": wide_tones.wide_woodwind,
    "voice": wide_voices.wide_voice,
    "fx": wide_voices.wide_fx,
}
"""By kind, an engine that is another instrument each time: no synthesiser's sound, but that of many."""

WIDELY = 0.7
"""Share of parts that those play where they are asked for, of those that no SoundFont plays."""

RECORDED = 0.6
"""Share of parts that a SoundFont plays, of those it can, where one is given."""


def check(engines: str) -> None:
    """Raise AudioError unless ``engines`` is one of `CHOICES`, with or without more: ``train+wide+FONT.sf3``."""
    choice, *more = engines.split("+")
    if choice not in CHOICES:
        raise AudioError(
            f"there are no engines {choice!r}; there are {', '.join(CHOICES)}, and beside them random ones and "
            "SoundFonts: train+wide, train+FONT.sf3"
        )
    for font in _fonts(more):
        if not Path(font).is_file():
            raise AudioError(f"there is no SoundFont {font!r} (engines {engines!r})")


def _fonts(more: Sequence[str]) -> list[str]:
    return [name for name in more if name != WIDE]


def engines_of(kind: str, engines: str) -> tuple[Engine, ...]:
    """The engines of a kind that a song may use, SoundFonts aside. Raises as `check` does."""
    check(engines)
    choice, *more = engines.split("+")
    of_kind = ENGINES[kind]
    own = {"train": of_kind[:-1], "held_out": of_kind[-1:], "all": of_kind}[choice]
    return (*own, WIDE_ENGINES[kind]) if WIDE in more else own


def choose(kind: str, engines: str, rng: Random) -> Engine:
    """Draw one of `engines_of(kind, engines)`, where they may play the random one with the chance `WIDELY`.

    Most parts that a SoundFont can play are played by one, if there is one.
    """
    allowed, more = engines_of(kind, engines), engines.split("+")[1:]
    fonts = _fonts(more)
    if fonts and kind in sampled.KINDS and rng.random() < RECORDED:
        return sampled.sampled(kind, fonts[int(rng.integers(len(fonts)))])
    if WIDE in more and rng.random() < WIDELY:
        return WIDE_ENGINES[kind]
    return allowed[int(rng.integers(len(allowed) - (WIDE in more)))]
