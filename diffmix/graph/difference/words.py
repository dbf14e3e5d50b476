"""Edits in a mixing engineer's words."""

import math
import re
from collections.abc import Iterable

from diffmix.graph.difference.edits import (
    Added,
    Chosen,
    Connected,
    Disconnected,
    Edit,
    Exchanged,
    Limited,
    Moved,
    Removed,
    Renamed,
    Reordered,
    Retuned,
    Sent,
)
from diffmix.graph.draw.words import decibels, kind_text, quantity, short
from diffmix.graph.node import Edge, Node
from diffmix.graph.text.vocabulary import spellings
from diffmix.params import Param
from diffmix.processors.base import REGISTRY

BANDS = {"PeakFilter": "bell", "LowShelfFilter": "low shelf", "HighShelfFilter": "high shelf"}
SHARES = ("mix", "feedback", "depth", "width", "damping", "size", "level", "resonance")
_NUMBERED = re.compile(r"([a-z])(\d+)")


def sentence(edit: Edit) -> str:
    """What an edit does: ``vox.eq: bell at 3 kHz up by 2 dB, to +5 dB``."""
    match edit:
        case Renamed(node, name):
            return f"{node} is now called {name}"
        case Exchanged(old, new):
            return f"{new.name} is a {kind_text(new.kind)} now, no {kind_text(old.kind)}"
        case Retuned():
            return f"{edit.node}: {_turned(edit)}"
        case Limited(node, kind, knob, _, now):
            return f"{node}: {_limited(_label(knob), _param(kind, knob), now)}"
        case Chosen(node, option, was, now):
            unit = {"ms": " ms", "s": " s", "db": " dB"}.get(option.rpartition("_")[2], "")
            was_text, now_text = (f"{v[0]}{unit}" if v else "its default" for v in (was, now))
            return f"{node}: {_label(option)} from {was_text} to {now_text}"
        case Added():
            return _added(edit)
        case Removed(_, _, nodes):
            return f"{_listed(_named(n) for n in nodes)} removed"
        case Moved(_, _, node, behind):
            return f"{node} moved behind {behind}"
        case Connected(edge, _, kind):
            return _cable(edge, kind, True)
        case Disconnected(edge, kind):
            return _cable(edge, kind, False)
        case Sent():
            return _sent(edit)
        case Reordered(inlet, _):
            return f"{inlet.node} adds its inputs in another order"
    raise TypeError(f"{type(edit).__name__} has no sentence")


def _param(kind: str, knob: str) -> Param | None:
    return REGISTRY[kind].declared.get(knob) if kind in REGISTRY else None


def _label(knob: str) -> str:
    """A knob's name as it stands on a front panel: ``peak 1 gain`` of ``peak1_gain_db``."""
    words = spellings(knob)[:2][-1].replace("cutoff_frequency", "frequency").replace("cutoff", "frequency")
    return _NUMBERED.sub(r"\1 \2", words.replace("_", " "))


def _turned(edit: Retuned) -> str:
    p = _param(edit.kind, edit.knob)
    label = _band_label(edit)
    was, now = (v if v is not None else None if p is None else p.default for v in (edit.was, edit.now))
    if was is None or now is None:  # an effect whose knobs its options make
        return f"{label} to {'its default' if now is None else short(now)}"
    if was == now:
        return f"{label} {'left at' if edit.now is None else 'set to'} its default, {_value(now, edit.knob, p)}"
    return f"{label} {_change(was, now, edit.knob, p)}"


def _band_label(edit: Retuned) -> str:
    """``bell at 3 kHz`` for the gain of a bell, ``peak 1 at 200 Hz`` for that of a band of an equaliser."""
    label = _label(edit.knob)
    band = BANDS.get(edit.kind)
    if band and edit.knob == "cutoff_frequency_hz":
        return band
    if edit.at_hz is None:
        return label
    stem = edit.knob.removesuffix("gain_db").removesuffix("q").rstrip("_")
    name = f"{band or _label(stem + '_db')} at {quantity(edit.at_hz, 'Hz')}"
    return name if edit.knob.endswith("gain_db") else f"{name}: Q"


def _change(was: float, now: float, knob: str, p: Param | None) -> str:
    unit = p.unit if p else ""
    to = f"to {_value(now, knob, p)}"
    direction = "up" if now > was else "down"
    if knob in ("pan", "balance"):
        return f"from {_value(was, knob, p)} {to}"
    if unit in ("dB", "LUFS"):
        return f"{direction} by {_fine(abs(now - was))} {'dB' if unit == 'dB' else 'LU'}, {to}"
    if unit == "Hz" and was > 0 and now > 0:
        octaves = abs(math.log2(now / was))
        size = f"{_fine(octaves)} {_plural('octave', octaves)}" if octaves >= 1 else _semitones(12 * octaves)
        return f"{direction} by {size}, {to}"
    if unit in ("ms", "s", ":1") and was > 0 and now > 0:
        words = ("higher", "lower") if unit == ":1" else ("longer", "shorter")
        factor = max(now / was, was / now)
        return f"{_fine(factor)} times {words[now < was]}, {to}"
    return f"from {_value(was, knob, p)} {to}"


def _fine(value: float) -> str:
    """A size in up to three digits, never nothing."""
    return short(value, 3) if value >= 0.001 else f"{value:.1g}"


def _semitones(count: float) -> str:
    return f"{_fine(count)} {_plural('semitone', count)}"


def _plural(word: str, count: float) -> str:
    return word if _fine(count) == "1" else f"{word}s"


def _value(value: float, knob: str, p: Param | None) -> str:
    if knob in ("pan", "balance"):
        return "the centre" if not value else f"{_fine(100 * abs(value))} % {'left' if value < 0 else 'right'}"
    unit = p.unit if p else ""
    if unit == "dB" and knob.endswith(("gain_db", "makeup_db", "sustain_db", "attack_db")):
        return decibels(value) if abs(value) >= 0.1 or not value else f"{value:+.2g} dB"
    if not unit and any(word in knob for word in SHARES) and (p is None or p.high <= 2):
        return f"{short(100 * value)} %"
    return f"{short(value)} dB" if unit == "dB" else quantity(value, unit)


def _limited(label: str, p: Param | None, now: tuple[float, float] | None) -> str:
    if now is None:
        return f"{label} may move in its whole range again"
    unit = p.unit if p else ""
    if now[0] == now[1]:
        return f"{label} locked at {quantity(now[0], unit)}"
    return f"{label} kept between {quantity(now[0], unit)} and {quantity(now[1], unit)}"


def _named(node: Node) -> str:
    return f"{node.name} ({kind_text(node.kind)})" if node.kind in REGISTRY else node.name


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    if len(names) > 6:
        names = [*names[:5], f"{len(names) - 5} more"]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else "nothing"


def _added(edit: Added) -> str:
    text = f"{_listed(_named(n) for n in edit.nodes)} added"
    new = {n.name for n in edit.nodes}
    outside = [laid.edge for laid in edit.laid if laid.edge.target.node in new and laid.edge.source.node not in new]
    plain = [e for e in outside if e.is_wire]
    if plain:
        return f"{text} behind {_listed(dict.fromkeys(e.source.node for e in plain))}"
    return f"{text}, fed by {_listed(dict.fromkeys(e.source.node for e in outside))}" if outside else text


def _cable(edge: Edge, kind: str, on: bool) -> str:
    source, target = edge.source.node, edge.target.node
    if edge.source.port not in ("out", "lfo", "envelope"):
        source = f"{source}'s {edge.source.port}"
    if edge.amount is not None:
        knob = _label(edge.target.port)
        return f"{source} {f'now moves the {knob} of' if on else f'no longer moves the {knob} of'} {target}" + (
            f" by {_reach(edge, kind)}" if on else ""
        )
    level = "" if edge.gain_db is None or not on else f" at {decibels(edge.gain_db)}"
    if edge.target.port == "side_chain":
        verb = ("ducks", "duck") if "Compressor" in kind else ("keys", "key")
    elif edge.gain_db is not None:
        verb = ("sends to", "send to")
    else:
        verb = ("goes to", "go to")
    place = target if edge.target.port in ("in", "side_chain") else f"{target}'s {edge.target.port}"
    return f"{source} now {verb[0]} {place}{level}" if on else f"{source} no longer {verb[0]} {place}"


def _reach(edge: Edge, kind: str) -> str:
    p = _param(kind, edge.target.port)
    amount = edge.amount or 0.0
    if p is not None and p.scale == "log":
        return f"{short(amount)} {_plural('octave', abs(amount))}"
    return quantity(amount, p.unit if p else "")


def _sent(edit: Sent) -> str:
    edge, old = edit.edge, edit.old_edge
    way = f"{edge.source.node} to {edge.target.node}"
    if edge.amount is not None or old.amount is not None:
        moved = f"{edge.source.node} moves the {_label(edge.target.port)} of {edge.target.node}"
        return f"{moved} by {_reach(edge, edit.kind)}, not {_reach(old, edit.kind)}"
    side = "side chain" if edge.target.port == "side_chain" else "send"
    if edge.gain_db is None or old.gain_db is None:
        return f"{side} of {way} from {_gain(old)} to {_gain(edge)}"
    change = edge.gain_db - old.gain_db
    return f"{side} of {way} {'up' if change > 0 else 'down'} by {_fine(abs(change))} dB, to {_gain(edge)}"


def _gain(edge: Edge) -> str:
    return "a plain wire" if edge.gain_db is None else f"{short(edge.gain_db)} dB"
