"""What random graphs are made of: effects, productions, choices, and where knobs are turned to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from diffmix.errors import GraphError
from diffmix.graph.node import Node
from diffmix.params import Param
from diffmix.processors.base import REGISTRY

REVERBS = frozenset({"Reverb", "RoomReverb", "NoiseReverb", "FeedbackDelayNetwork"})

EFFECTS: Mapping[str, float] = MappingProxyType(
    {
        "PeakFilter": 4,
        "KneeCompressor": 4,
        "LowShelfFilter": 2,
        "HighShelfFilter": 2,
        "HighpassFilter": 2,
        "LowpassFilter": 2,
        "ParametricEQ": 2,
        "Compressor": 2,
        "Gain": 2,
        "Reverb": 2,
        "Delay": 1,
        "FilteredDelay": 1,
        "PingPongDelay": 1,
        "RoomReverb": 1,
        "FeedbackDelayNetwork": 1,
        "Expander": 1,
        "KneeGate": 1,
        "NoiseGate": 1,
        "Compander": 1,
        "TransientShaper": 1,
        "Limiter": 1,
        "BrickwallLimiter": 1,
        "TruePeakLimiter": 1,
        "MultibandCompressor": 1,
        "DeEsser": 1,
        "ResonantFilter": 1,
        "LadderFilter": 1,
        "Distortion": 1,
        "Waveshaper": 1,
        "Chorus": 1,
        "Phaser": 1,
        "Flanger": 1,
        "ModulatedChorus": 1,
        "ModulatedPhaser": 1,
        "Vibrato": 1,
        "BalanceWidth": 1,
        "Imager": 1,
        "GraphicEQ": 0.5,
        "NoiseReverb": 0.5,
        "Clipping": 0.5,
        "Bitcrush": 0.5,
        "Invert": 0.2,
    }
)
"""How often each effect is drawn. Left out: what needs weights, an impulse response or the whole signal."""

PRODUCTIONS: Mapping[str, float] = MappingProxyType(
    {
        "serial": 0.42,
        "multiband": 0.1,
        "parallel": 0.1,
        "mid_side": 0.06,
        "modulated": 0.1,
        "envelope": 0.05,
        "side_chain": 0.06,
        "send": 0.05,
        "group": 0.03,
        "feedback": 0.03,
    }
)

OPTIONS: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "KneeCompressor": {"detector": ("peak", "rms"), "lookahead_ms": (0.0, 0.0, 0.0, 3.0)},
    "KneeGate": {"lookahead_ms": (0.0, 0.0, 2.0), "hold_ms": (0.0, 20.0)},
    "FilteredDelay": {"loop": ("low-pass", "band-pass")},
    "PingPongDelay": {"loop": ("low-pass", "band-pass")},
    "ResonantFilter": {"kind": ("lowpass", "bandpass", "highpass", "bandreject"), "order": (2, 4)},
    "LadderFilter": {"mode": ("LPF12", "HPF12", "LPF24", "HPF24")},
    "LFO": {"shape": ("sine", "sine", "triangle"), "channels": (1,)},
    "Pan": {"law": ("constant power", "-4.5 dB", "linear", "balanced")},
}
"""Which choices of an effect's class are drawn; the others stay as they are."""

LIKELY: Mapping[str, tuple[float, float]] = {
    "Gain.gain_db": (-18, 6),
    "Distortion.drive_db": (0, 30),
    "Waveshaper.gain_db": (0, 24),
    "EnvelopeFollower.gain_db": (0, 20),
    "Clipping.threshold_db": (-18, 0),
    "NoiseGate.threshold_db": (-60, -20),
    "HighpassFilter.cutoff_frequency_hz": (20, 600),
    "LowpassFilter.cutoff_frequency_hz": (1000, 18000),
    "ResonantFilter.cutoff_frequency_hz": (100, 8000),
    "LFO.rate_hz": (0.1, 10),
    "bit_depth": (6, 16),
    "threshold_db": (-45, -6),
    "ceiling_db": (-12, -1),
    "ratio": (1.5, 10),
    "range_db": (10, 60),
    "makeup_db": (0, 6),
    "attack_db": (-12, 12),
    "sustain_db": (-12, 12),
    "gain_db": (-12, 9),
    "q": (0.4, 6),
    "feedback": (-0.7, 0.7),
    "resonance": (0, 0.8),
    "drive": (1, 6),
    "delay_seconds": (0.01, 0.8),
    "mix": (0.1, 0.9),
    "wet_level": (0.1, 0.6),
    "dry_level": (0.3, 0.8),
    "rate_hz": (0.05, 8),
    "cutoff_hz": (200, 8000),
}
"""Where knobs are turned to, in physical units, by ``Effect.knob``, else by the knob or the end of its name."""


@dataclass(frozen=True)
class Grammar:
    """What random graphs are made of.

    Args:
        nodes: fewest and most nodes, sources, sums and the output included; a graph that cannot grow has fewer.
        sources: fewest and most ``In`` nodes.
        stereo: share of stereo sources; a mix of several sources, or one with a stereo source, is stereo.
        effects: weight of each effect by class name, see `EFFECTS`.
        productions: weight of each production, see `PRODUCTIONS`.
        gain_db: levels of the edges of mixes, parallel paths and sends.
        most_reverbs: reverbs in one graph.
    """

    nodes: tuple[int, int] = (2, 24)
    sources: tuple[int, int] = (1, 4)
    stereo: float = 0.4
    effects: Mapping[str, float] = field(default_factory=lambda: EFFECTS)
    productions: Mapping[str, float] = field(default_factory=lambda: PRODUCTIONS)
    gain_db: tuple[float, float] = (-12.0, 0.0)
    most_reverbs: int = 2

    def __post_init__(self) -> None:
        for what in ("nodes", "sources"):
            low, high = getattr(self, what)
            if not 1 <= low <= high:
                raise GraphError(f"a grammar's {what} are {low}..{high}: at least one, and no fewer at most")
        if unknown := sorted(self.effects.keys() - REGISTRY.keys()):
            raise GraphError(f"a grammar knows no effect {unknown[0]!r}")
        for name in self.effects:
            node = Node(name, name)
            outlets = node.outlets
            if any(not p.optional for p in node.inlets[1:]) or len(outlets) > 1 or outlets[0].kind == "control":
                raise GraphError(f"a grammar draws effects of one inlet and outlet; {name} is none")
        if unknown := sorted(self.productions.keys() - PRODUCTIONS.keys()):
            raise GraphError(f"a grammar has no production {unknown[0]!r}; it has {', '.join(PRODUCTIONS)}")


def likely(kind: str, knob: str, p: Param) -> tuple[float, float]:
    """Where a knob is turned to, inside its range."""
    keys = (f"{kind}.{knob}", knob, *("_".join(knob.split("_")[n:]) for n in range(1, knob.count("_") + 1)))
    low, high = next((LIKELY[key] for key in keys if key in LIKELY), (p.low, p.high))
    low, high = max(low, p.low), min(high, p.high)
    return (low, high) if low < high else (p.low, p.high)
