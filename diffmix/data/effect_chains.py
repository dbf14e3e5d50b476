"""Effects and chains of effects with random settings: what an ear for effects learns to tell apart.

Every effect is the twin of a plugin of Pedalboard. Left out are Gain and Invert, whose work cannot be heard, and
Convolution, which needs an impulse response. Knobs are turned to where they can be heard on recordings that peak at
-12 dBFS.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffmix.errors import SettingsError
from diffmix.graph.grammar import OPTIONS, likely
from diffmix.metrics.style import at_peak
from diffmix.processors import REGISTRY

EFFECTS = (
    *("HighpassFilter", "LowpassFilter", "LowShelfFilter", "PeakFilter", "HighShelfFilter", "LadderFilter"),
    *("Compressor", "NoiseGate", "Limiter", "BrickwallLimiter", "Distortion", "Clipping", "Bitcrush"),
    *("Chorus", "Phaser", "Delay", "Reverb"),
)

RANGES: Mapping[str, tuple[float, float]] = {
    "HighpassFilter.cutoff_frequency_hz": (60, 1000),
    "LowpassFilter.cutoff_frequency_hz": (800, 9000),
    "LowShelfFilter.cutoff_frequency_hz": (80, 500),
    "PeakFilter.cutoff_frequency_hz": (150, 6000),
    "HighShelfFilter.cutoff_frequency_hz": (2500, 9500),
    "gain_db": (-20, 20),
    "q": (0.4, 2),
    "LadderFilter.cutoff_hz": (150, 6000),
    "Compressor.threshold_db": (-45, -18),
    "Compressor.attack_ms": (0.5, 100),
    "Compressor.release_ms": (10, 1000),
    "NoiseGate.threshold_db": (-50, -20),
    "Limiter.threshold_db": (-40, -15),
    "BrickwallLimiter.ceiling_db": (-24, -15),
    "Distortion.drive_db": (6, 40),
    "Clipping.threshold_db": (-36, -15),
    "Bitcrush.bit_depth": (3, 9),
    "Delay.delay_seconds": (0.02, 0.6),
    "mix": (0.2, 0.8),
}
"""Where knobs are turned to, by ``Effect.knob`` or by knob; other ones as in `diffmix.graph.grammar`."""

CHAINS: Mapping[str, tuple[str, ...]] = {
    "channel": ("LowShelfFilter", "PeakFilter", "HighShelfFilter", "Compressor"),
    "tone": ("LowShelfFilter", "PeakFilter", "HighShelfFilter"),
    "broadcast": ("HighpassFilter", "Compressor", "PeakFilter", "Limiter"),
    "master": ("LowShelfFilter", "HighShelfFilter", "Compressor", "BrickwallLimiter"),
    "telephone": ("HighpassFilter", "LowpassFilter", "Distortion"),
    "tape": ("Distortion", "HighShelfFilter", "Compressor"),
    "room": ("Compressor", "PeakFilter", "Reverb"),
    "echo": ("HighpassFilter", "Delay", "Reverb"),
}
"""Chains by name; the first is as likely as all others together, for it is what most recordings went through."""

NOTHING, NAMED = 0.05, 0.55
"""Shares of chains that do nothing, and of those with a name; the others are of one to five effects in any order."""

LONGEST = 5
Random = np.random.Generator


@dataclass(frozen=True)
class Effect:
    """An effect by its class's name, with its choices and all its knobs in physical units."""

    kind: str
    values: Mapping[str, float]
    options: Mapping[str, Any]


def draw_effect(kind: str, rng: Random) -> Effect:
    """One of `EFFECTS` with random settings, uniform on each knob's own scale. Raises SettingsError for another."""
    if kind not in EFFECTS:
        raise SettingsError(f"there is no effect {kind!r} among those that are drawn: {', '.join(EFFECTS)}")
    values = {}
    for name, knob in REGISTRY[kind].declared.items():
        low, high = RANGES.get(f"{kind}.{name}") or RANGES.get(name) or likely(kind, name, knob)
        u = float(rng.random())
        values[name] = low * (high / low) ** u if knob.scale == "log" else low + (high - low) * u
    options = {name: choices[int(rng.integers(len(choices)))] for name, choices in OPTIONS.get(kind, {}).items()}
    return Effect(kind, values, options)


def draw_chain(rng: Random) -> tuple[Effect, ...]:
    """A chain with random settings: nothing at all, one of `CHAINS`, or up to five effects, each once."""
    u = float(rng.random())
    if u < NOTHING:
        return ()
    if u < NOTHING + NAMED:
        names = list(CHAINS)
        kinds = CHAINS[names[0] if rng.random() < 0.5 else names[1 + int(rng.integers(len(names) - 1))]]
    else:
        kinds = tuple(rng.permutation(EFFECTS)[: 1 + int(rng.integers(LONGEST))].tolist())
    return tuple(draw_effect(kind, rng) for kind in kinds)


@torch.no_grad()
def render(effects: Sequence[Effect], x: Tensor, sample_rate: float) -> Tensor:
    """Recordings (B, C, T) through effects in turn, from and to a peak of -12 dBFS."""
    y = at_peak(x)
    for effect in effects:
        values = {name: torch.tensor([value], dtype=torch.float32) for name, value in effect.values.items()}
        y = REGISTRY[effect.kind](sample_rate, **effect.options).process(y, **values)
    return at_peak(torch.nan_to_num(y))
