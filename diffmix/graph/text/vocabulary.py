"""How a mixing engineer calls effects, knobs and quantities: what the text form of a graph reads and writes."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from difflib import get_close_matches
from functools import lru_cache

from diffmix.graph.node import BUILT_IN, options_of
from diffmix.params import Param
from diffmix.processors.base import REGISTRY, Port

SHORT = {
    "in": "In",
    "out": "Out",
    "sum": "Sum",
    "fb": "Feedback",
    "hpf": "HighpassFilter",
    "lpf": "LowpassFilter",
    "peak": "PeakFilter",
    "lowshelf": "LowShelfFilter",
    "highshelf": "HighShelfFilter",
    "filter": "ResonantFilter",
    "ladder": "LadderFilter",
    "eq": "ParametricEQ",
    "geq": "GraphicEQ",
    "xover": "Crossover",
    "comp": "KneeCompressor",
    "gate": "KneeGate",
    "expander": "Expander",
    "compander": "Compander",
    "limiter": "Limiter",
    "brickwall": "BrickwallLimiter",
    "truepeak": "TruePeakLimiter",
    "deess": "DeEsser",
    "multiband": "MultibandCompressor",
    "transient": "TransientShaper",
    "gain": "Gain",
    "invert": "Invert",
    "loudness": "LoudnessNormaliser",
    "pan": "Pan",
    "balance": "BalanceWidth",
    "width": "Imager",
    "split": "MidSideSplit",
    "merge": "MidSideMerge",
    "dist": "Distortion",
    "clip": "Clipping",
    "shape": "Waveshaper",
    "crush": "Bitcrush",
    "delay": "Delay",
    "echo": "FilteredDelay",
    "pingpong": "PingPongDelay",
    "verb": "Reverb",
    "room": "RoomReverb",
    "fdn": "FeedbackDelayNetwork",
    "noiseverb": "NoiseReverb",
    "conv": "Convolution",
    "chorus": "Chorus",
    "phaser": "Phaser",
    "flanger": "Flanger",
    "vibrato": "Vibrato",
    "modchorus": "ModulatedChorus",
    "modphaser": "ModulatedPhaser",
    "lfo": "LFO",
    "env": "EnvelopeFollower",
    "neural": "NeuralEffect",
}
"""Short names of effects; every class name of the registry is a name too."""

WORD = {kind: word for word, kind in SHORT.items()}

LEADING = {
    "KneeCompressor": ("threshold_db", "attack_ms", "release_ms"),
    "Compressor": ("attack_ms", "release_ms"),
    "KneeGate": ("threshold_db", "attack_ms", "release_ms"),
    "NoiseGate": ("attack_ms", "release_ms"),
    "Expander": ("threshold_db", "attack_ms", "release_ms"),
    "DeEsser": ("attack_ms", "release_ms"),
    "BrickwallLimiter": ("release_ms",),
    "EnvelopeFollower": ("attack_ms", "release_ms"),
    "TransientShaper": ("attack_db", "sustain_db"),
}
"""Where an effect has several knobs of a dimension: those that a value without a name turns, in this order."""


class _Units(dict[str, tuple[str, int]]):
    def __missing__(self, unit: str) -> tuple[str, int]:
        return unit, 0  # of an effect that somebody declared: it measures itself, and is not written


UNITS = _Units(
    {
        "Hz": ("frequency", 0),
        "kHz": ("frequency", 3),
        "s": ("time", 0),
        "ms": ("time", -3),
        "dB": ("level", 0),
        ":1": ("ratio", 0),
        "": ("number", 0),
        "%": ("number", -2),
        "oct": ("octaves", 0),
        "cycles": ("cycles", 0),
        "bits": ("bits", 0),
        "LUFS": ("loudness", 0),
    }
)
"""Units by what they measure, and their power of ten."""

PERCENT = "Pan"
"""The effect whose value without a name and unit is in percent."""

CHANNELS = {"mono": 1, "stereo": 2}
WORDS = {"true": True, "false": False, "null": None}

NAME = re.compile(r"[^\W\d](?:[\w.]|-(?!>))*")
"""A name that needs no quotes."""

_SILENT = ("", "cycles", "bits")  # units that are not written
_SUFFIX = re.compile(r"_(db|hz|ms|s|seconds|lufs|octaves)$")
_FREQUENCY = re.compile(r"(^|_)(cutoff_frequency|centre_frequency|frequency|cutoff)$")


def kind_of(word: str) -> str | None:
    """The kind of node that a word means, None if it is no effect."""
    return SHORT.get(word) or (word if word in BUILT_IN or word in REGISTRY else None)


def word_of(kind: str) -> str:
    """The short name of a kind, or the kind."""
    return WORD.get(kind, kind)


def effect_words() -> list[str]:
    """Every word that means an effect."""
    return [*SHORT, *BUILT_IN, *REGISTRY]


def table() -> str:
    """The short names as text, one per line, with the class and the knobs that need no name."""
    rows = []
    for word, kind in SHORT.items():
        params = REGISTRY[kind].declared if kind in REGISTRY else {}
        names = knob_names(params, reserved(kind))
        rows.append(f"{word:10} {kind:21} {', '.join(names[knob] for knob in leading(kind, params))}".rstrip())
    return "\n".join(rows)


def option_names(kind: str) -> tuple[str, ...]:
    """The options of a kind."""
    return tuple(BUILT_IN[kind][2]) if kind in BUILT_IN else options_of(REGISTRY[kind])


def ports(kind: str) -> tuple[Port, ...]:
    """The inlets of a kind."""
    return BUILT_IN[kind][0] if kind in BUILT_IN else REGISTRY[kind].inlets


def begun(name: str) -> str:
    """What new nodes are called after behind a node that is there: its name up to the last dot."""
    return name.rpartition(".")[0] or name


def automatic(prefix: str | None, word: str, count: int) -> str:
    """The name of the ``count``-th effect of its word that nobody named."""
    return ("" if prefix is None else prefix + ".") + word + (str(count) if count > 1 else "")


def reserved(kind: str) -> frozenset[str]:
    """Names between an effect's brackets that mean no knob: options and inlets."""
    return frozenset(("sc", *option_names(kind), *(port.name for port in ports(kind))))


def spellings(knob: str) -> list[str]:
    """What a knob may be called: ``cutoff_frequency_hz``, ``cutoff_frequency``, ``freq``."""
    stem = _SUFFIX.sub("", knob)
    return list(dict.fromkeys([knob, stem, _FREQUENCY.sub(r"\1freq", stem)]))


def knob_words(knobs: Iterable[str], taken: frozenset[str]) -> dict[str, str]:
    """Every name that means one knob of an effect, with the knob; exact names come first, and what could mean two
    knobs, or is ``taken``, means none."""
    return _knob_words(tuple(knobs), taken)


@lru_cache(maxsize=512)
def _knob_words(knobs: tuple[str, ...], taken: frozenset[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for knob in knobs:
        for name in spellings(knob):
            found.setdefault(name, []).append(knob)
    free = {name: meant[0] for name, meant in found.items() if len(meant) == 1 and name not in taken}
    return free | {knob: knob for knob in knobs}


def knob_names(knobs: Iterable[str], taken: frozenset[str]) -> dict[str, str]:
    """The shortest name of each knob."""
    knobs = tuple(knobs)
    words = _knob_words(knobs, taken)
    return {knob: next(name for name in reversed(spellings(knob)) if words.get(name) == knob) for knob in knobs}


def leading(kind: str, params: Mapping[str, Param]) -> list[str]:
    """The knobs that are turned by a value without a name: the only one of its dimension, or those of `LEADING`."""
    dimensions = [UNITS[p.unit][0] for p in params.values()]
    found = [
        knob
        for knob, dimension in zip(params, dimensions, strict=True)
        if params[knob].unit in UNITS and (dimensions.count(dimension) == 1 or knob in LEADING.get(kind, ()))
    ]
    return sorted(found, key=lambda knob: params[knob].unit != ":1")  # a compressor begins with its ratio


def reach_unit(moved: Param | None) -> str:
    """The unit of an amount: octaves at a logarithmic knob, else the knob's; none at a control inlet."""
    return "" if moved is None else "oct" if moved.scale == "log" else moved.unit


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'hpf'?``, or nothing."""
    near = get_close_matches(word[:64], list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def scaled(number: str, unit: str, into: str) -> float:
    """A number in a unit as a float in another unit of its dimension, rounded once."""
    digits, _, exponent = number.lower().partition("e")
    return float(f"{digits}e{int(exponent or 0) + UNITS[unit][1] - UNITS[into][1]}")


def plain(value: float) -> str:
    """The shortest text that reads as the same float."""
    return repr(float(value)).removesuffix(".0")


def quantity(value: float, unit: str) -> str:
    """A value in its unit, without loss: ``1.2kHz``, ``-20dB``, ``4:1``."""
    text = plain(value)
    if unit == "Hz" and abs(value) >= 1000:
        text, unit = format(Decimal(text).scaleb(-3).normalize(), "f"), "kHz"
    elif unit == "s" and 0 < abs(value) < 1:
        text, unit = format(Decimal(text).scaleb(3).normalize(), "f"), "ms"
    return text if unit in _SILENT or unit not in UNITS else text + unit
