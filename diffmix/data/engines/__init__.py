"""Sound engines: at least three ways to make each instrument of a song, the last of each kept for held-out songs.

The instruments of SoundFonts can join them: see `sampled`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from diffmix.data.engines import electronic, membranes, metal, plucked, sampled, struck, sustained, voices
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


RECORDED = 0.6
"""Share of parts that a SoundFont plays, of those it can, where one is given."""


def check(engines: str) -> None:
    """Raise AudioError unless ``engines`` is one of `CHOICES`, with or without SoundFonts: ``train+FONT.sf3``."""
    choice, *fonts = engines.split("+")
    if choice not in CHOICES:
        raise AudioError(
            f"there are no engines {choice!r}; there are {', '.join(CHOICES)}, and SoundFonts beside them: "
            "train+FONT.sf3"
        )
    for font in fonts:
        if not Path(font).is_file():
            raise AudioError(f"there is no SoundFont {font!r} (engines {engines!r})")


def engines_of(kind: str, engines: str) -> tuple[Engine, ...]:
    """The engines of a kind that a song may use, SoundFonts aside. Raises as `check` does."""
    check(engines)
    of_kind = ENGINES[kind]
    return {"train": of_kind[:-1], "held_out": of_kind[-1:], "all": of_kind}[engines.split("+")[0]]


def choose(kind: str, engines: str, rng: Random) -> Engine:
    """Draw one of `engines_of(kind, engines)` or, in most parts that it can play, a SoundFont."""
    allowed, fonts = engines_of(kind, engines), engines.split("+")[1:]
    if fonts and kind in sampled.KINDS and rng.random() < RECORDED:
        return sampled.sampled(kind, fonts[int(rng.integers(len(fonts)))])
    return allowed[int(rng.integers(len(allowed)))]
