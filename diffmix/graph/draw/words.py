"""What pictures of a graph say: families, names, and settings in the units of a desk."""

import re
from collections.abc import Collection, Mapping

from diffmix.graph.graph import Graph
from diffmix.graph.node import BUILT_IN, Edge, Node
from diffmix.graph.text.vocabulary import reach_unit
from diffmix.params import Param
from diffmix.processors.base import REGISTRY

FAMILIES = {
    "eq": "filter",
    "filters": "filter",
    "ladder": "filter",
    "dynamics": "dynamics",
    "desk_dynamics": "dynamics",
    "compander": "dynamics",
    "multiband": "dynamics",
    "mastering": "dynamics",
    "reverb": "space",
    "delay": "space",
    "convolution": "space",
    "distortion": "distortion",
    "neural": "distortion",
    "modulation": "modulation",
    "control": "control",
}
"""The family of effects by their module; all others are utilities."""

PLAIN = (
    "rate_hz",
    "delay_seconds",
    "delay_ms",
    "decay_s",
    "cutoff_frequency_hz",
    "cutoff_hz",
    "frequency_hz",
    "centre_frequency_hz",
    "ratio",
    "threshold_db",
    "gain_db",
    "pan",
    "ceiling_db",
    "drive_db",
    "target_lufs",
    "bit_depth",
)
"""Knobs whose value says enough; the others are said by name. In this order they matter most."""

SIGNED = ("gain_db", "makeup_db", "attack_db", "sustain_db")
"""Changes of level, which are said with their sign; other levels are where something begins."""

SHARES = ("mix", "feedback", "depth", "width", "damping", "room_size", "size", "wet_level", "dry_level", "resonance")
"""Knobs that are said in percent."""

SHORT = {"attack": "att", "release": "rel", "frequency": "freq", "expander": "exp", "lookahead": "ahead", "level": ""}
SHORT |= {"q": "Q", "octaves": ""}

_AT = re.compile(r"(?:decay_s|gain_db)_(\d+)_hz")


def family(node: Node) -> str:
    """``filter``, ``dynamics``, ``space``, ``distortion``, ``modulation``, ``control``, ``utility`` or ``plate``."""
    if node.kind in BUILT_IN:
        return "plate" if node.kind in ("In", "Out") else "utility"
    if all(port.kind == "control" for port in node.outlets):
        return "control"
    return FAMILIES.get(REGISTRY[node.kind].__module__.rsplit(".", 1)[-1], "utility")


def kind_text(kind: str) -> str:
    """``knee compressor`` of ``KneeCompressor``."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]*|[a-z]+|\d+", kind)
    return " ".join(word if word.isupper() else word.lower() for word in words)


def short(value: float, digits: int = 3) -> str:
    """A number in a few digits, without exponent or trailing zeros."""
    text = f"{value:.{digits}g}"
    if "e" in text:
        text = f"{value:.0f}" if abs(value) >= 1 else f"{value:.{digits + 3}f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def decibels(value: float) -> str:
    """``+3 dB``: a change of level to a tenth."""
    text = f"{value:+.1f}".removesuffix(".0")
    return f"{'0' if text in ('+0', '-0') else text} dB"


def quantity(value: float, unit: str) -> str:
    """``1.2 kHz``, ``4:1``, ``250 ms``: a value in its unit as one says it."""
    if unit == "Hz" and abs(value) >= 1000:
        return f"{short(value / 1000)} kHz"
    if unit == "s" and abs(value) < 1:
        value, unit = 1000 * value, "ms"
    elif unit == "ms" and abs(value) >= 1000:
        value, unit = value / 1000, "s"
    if unit == "dB":
        value = round(value, 1)
    return f"{short(value)}{unit}" if unit == ":1" else f"{short(value)} {unit}".rstrip()


def side(pan: float) -> str:
    """``L30``, ``C``, ``R100``."""
    percent = round(100 * pan)
    return "C" if not percent else f"{'L' if percent < 0 else 'R'}{abs(percent)}"


def said(knob: str, value: float, unit: str) -> str:
    """One knob's setting: ``-20 dB``, ``rel 100 ms``, ``mix 35 %``."""
    if knob in ("pan", "balance"):
        return side(value)
    if knob in SHARES and not unit:
        text = f"{round(100 * value)} %"
    else:
        text = decibels(value) if knob in SIGNED else quantity(value, unit)
    if knob in PLAIN:
        return text
    if band := _AT.fullmatch(knob):
        return f"{quantity(float(band[1]), 'Hz')} {decibels(value) if unit == 'dB' else text}"
    suffix = {"Hz": "_hz", "dB": "_db", "ms": "_ms", "s": "_s", ":1": "_ratio"}.get(unit, "")
    words = [SHORT.get(word, word) for word in knob.removesuffix(suffix).split("_")]
    return f"{' '.join(filter(None, words))} {text}".strip()


_BAND = re.compile(r"(.+)_cutoff_frequency_hz|gain_([\d_]+)hz_db")


def _bands(values: Mapping[str, float]) -> list[str]:
    """The bands of an equaliser that do something, the strongest first: ``600 Hz -8 dB``."""
    found = []
    for knob, value in values.items():
        if not (match := _BAND.fullmatch(knob)):
            continue
        hz, db = (value, values.get(f"{match[1]}_gain_db", 0.0)) if match[1] else (_centre(match[2]), value)
        if db:
            found.append((abs(db), f"{quantity(hz, 'Hz')} {decibels(db)}"))
    return [text for _, text in sorted(found, key=lambda f: -f[0])]


def _centre(text: str) -> float:
    return float(text.strip("_").replace("_", "."))


def phrases(node: Node) -> list[str]:
    """What a node is set to, in short phrases, what matters most first: ``["-20 dB 4:1", "rel 80 ms"]``.

    Knobs at their default are left out, unless that leaves nothing or the effect has no other.
    """
    if node.kind == "In":
        return ["mono" if node.option("channels") == 1 else "stereo"]
    if node.kind == "Feedback":
        return [quantity(node.option("delay_ms"), "ms")]
    params, values = node.params, node.settings
    if bands := _bands(values):
        return bands
    if any(_BAND.fullmatch(knob) for knob in params if knob != "cutoff_frequency_hz"):
        return ["flat"]
    turned = [knob for knob in params if abs(values[knob] - REGISTRY[node.kind].declared[knob].default) > 1e-6]
    first = [knob for knob in PLAIN if knob in params]
    shown = [knob for knob in first if knob in turned or first.index(knob) < 2]
    texts = [said(knob, values[knob], params[knob].unit) for knob in shown]
    rest = [said(knob, values[knob], params[knob].unit) for knob in turned if knob not in shown]
    if not texts and not rest:
        rest = [said(knob, values[knob], params[knob].unit) for knob in list(params)[:2]]
    if isinstance(shape := node.options.get("shape"), str):
        texts.insert(0, shape)
    joined = [" ".join(texts[:2])] if texts else []
    return joined + texts[2:] + rest


def edge_text(graph: Graph, edge: Edge) -> str:
    """What is written at a cable: ``-12 dB``, ``pan +0.5``, ``cutoff +2 oct``; nothing at a wire."""
    if edge.amount is None:
        return "" if edge.gain_db is None else decibels(edge.gain_db)
    param = graph[edge.target.node].params.get(edge.target.port)
    return f"{_knob_text(edge.target.port, param)} {_amount(edge.amount, param)}"


def _knob_text(knob: str, param: Param | None) -> str:
    suffix = f"_{param.unit.lower()}" if param is not None and param.unit.isalpha() else ""
    return knob.removesuffix(suffix).replace("_", " ").replace("cutoff frequency", "cutoff")


def _amount(amount: float, param: Param | None) -> str:
    unit = reach_unit(param)
    if unit == "dB":
        return decibels(amount)
    text = ("+" if amount >= 0 else "") + short(amount)
    return f"{text} {unit}".rstrip()


def plain(text: str) -> str:
    """Text in one line without characters that no file may hold."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def clipped(text: str, longest: int = 24) -> str:
    """A name with its middle left out if it is too long for a line."""
    half = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[:half]}…{text[-half:]}"


def own_name(name: str, chain: Collection[str]) -> str:
    """``eq`` of ``vox.eq`` in a chain with ``vox``."""
    owner, dot, rest = name.rpartition(".")
    return rest if dot and rest and owner in chain else name
