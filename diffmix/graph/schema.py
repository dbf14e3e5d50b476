"""The JSON Schema of graphs, made of what effects declare."""

from collections.abc import Mapping
from typing import Any

from diffmix.graph.file import FORMAT, VERSION
from diffmix.graph.node import BUILT_IN, EDGE_AMOUNT, EDGE_GAIN, MOST_NODES
from diffmix.params import Param
from diffmix.processors.base import REGISTRY


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a graph, as shipped in ``graph.schema.json``.

    Its effects are those of `diffmix.processors`. It holds each rule that concerns one field; options, ports and the
    rules between nodes (`Graph.check`) are the reader's alone. Knobs that are left out stand at their defaults.
    """
    from diffmix import processors

    text = {"type": "string"}
    name = {"type": "string", "minLength": 1, "pattern": r"^[^:>\r\n]+$"}
    built_in = [
        _fixed({"name": name, "kind": {"const": kind}, "options": {"type": "object"}}, ("options",))
        for kind in BUILT_IN
    ]
    kinds = sorted(kind for kind in processors.__all__ if kind in REGISTRY)  # not those that a program declares itself
    effects = [_effect(kind, REGISTRY[kind].declared, name) for kind in kinds]
    edge = _fixed(
        {"from": text, "to": text, "gain_db": _number(EDGE_GAIN), "amount": _number(EDGE_AMOUNT)}, ("gain_db", "amount")
    )
    head = {
        "format": {"const": FORMAT},
        "version": {"const": VERSION},
        "nodes": {"type": "array", "items": {"oneOf": built_in + effects}, "maxItems": MOST_NODES},
        "edges": {"type": "array", "items": edge},
    }
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "diffmix graph"}
    return {**dialect, **_fixed(head)}


def _effect(kind: str, declared: Mapping[str, Param], name: Mapping[str, Any]) -> dict[str, Any]:
    limits = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    fields = {
        "name": name,
        "kind": {"const": kind},
        "values": _fixed({knob: _number(p) for knob, p in declared.items()}, tuple(declared)),
        "options": {"type": "object"},
        "ranges": _fixed(dict.fromkeys(declared, limits), tuple(declared)),
    }
    return _fixed(fields, ("values", "options", "ranges"))


def _number(p: Param) -> dict[str, Any]:
    described = " ".join(part for part in (p.doc, f"[{p.unit}]" if p.unit else "") if part)
    return {"type": "number", "minimum": p.low, "maximum": p.high, "default": p.default, "description": described}


def _fixed(fields: Mapping[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [key for key in fields if key not in optional]
    return {"type": "object", "properties": dict(fields), "required": required, "additionalProperties": False}
