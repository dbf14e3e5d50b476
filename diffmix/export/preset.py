"""Presets: a mix as JSON that Pedalboard plays, and that a person may edit within what Pedalboard accepts.

A preset lists the nodes of the mix in topological order. A node takes a stem (``source``) or the gain-weighted sum
of earlier nodes (``inputs``), runs ``plugins`` (Pedalboard's class names and constructor arguments) and, where
channels must be crossed, which no Pedalboard plugin does, applies ``matrix`` (rows are outputs). The format is
described in ``preset.schema.json``; `diffmix.export.standalone` is the reader, written beside each preset.
"""

import base64
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path as FilePath
from typing import Any, cast

import numpy as np

from diffmix.errors import PresetError, about
from diffmix.export import standalone
from diffmix.files import read_json, write_text
from diffmix.settings import shortest
from diffmix.types import Path

Preset = dict[str, Any]
Sources = Mapping[str, tuple[Sequence[str], int]]


def assembled(nodes: Sequence[Mapping[str, Any]], sample_rate: int) -> Preset:
    """The preset of nodes as it holds them, the output last. Raises PresetError if Pedalboard cannot play it."""
    newest = any(kind == "BrickwallLimiter" for node in nodes for kind in types(node["plugins"]))
    preset = {
        "format": "diffmix-preset",
        "version": 1,
        "generator": generator(),
        "pedalboard": ">=0.9.26" if newest else ">=0.9.16",
        "sample_rate": int(sample_rate),
        "output": nodes[-1]["name"],
        "nodes": list(nodes),
    }
    validate(preset)
    return preset


def generator() -> str:
    """This program and its version."""
    try:
        return f"diffmix {version('diffmix')}"
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "diffmix 0"


def source_files(sources: Sources) -> dict[str, list[str]]:
    """File names without their folder, or relative to the common one where they lie in several."""
    paths = [path for files, _ in sources.values() for path in files]
    names = {path: FilePath(path).name for path in paths}
    if len({os.path.dirname(os.path.abspath(path)) for path in paths}) > 1:
        common = os.path.commonpath([os.path.abspath(path) for path in paths])
        names = {path: FilePath(os.path.relpath(path, common)).as_posix() for path in paths}
    given = {track: [names[path] for path in files] for track, (files, _) in sources.items()}
    return {track: files or [f"{track.replace('/', '_')}.wav"] for track, files in given.items()}


def place(preset: Preset, starts_s: Mapping[str, float], tail_s: float) -> None:
    """Let the files of sources begin so many seconds after the song, by their names, and the song go on behind them."""
    if tail_s:
        preset["tail_s"] = tail_s
    for node in preset["nodes"]:
        if "source" in node and (start_s := starts_s.get(node["name"])):
            node["source"]["start_s"] = start_s


def entry(kind: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A plugin as a preset holds it, with the arguments that `Processor.plugins` gives."""
    if "plugins" in arguments:
        return {"type": kind, "plugins": [entry(*inner) for inner in arguments["plugins"]]}
    params = {key: shortest(value) if isinstance(value, float) else value for key, value in arguments.items()}
    if "impulse_response_filename" in params:  # Pedalboard takes samples under this name too
        del params["sample_rate"]  # it is the preset's
        samples = np.ascontiguousarray(params.pop("impulse_response_filename"), "<f4")
        audio = {"channels": len(samples), "float32": base64.b64encode(samples.tobytes()).decode()}
        params = {"impulse_response": audio, **params}
    return {"type": kind, "params": params}


def types(plugins: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The kinds of plugins, those inside Chain and Mix too."""
    for plugin in plugins:
        yield plugin["type"]
        yield from types(plugin.get("plugins", ()))


def validate(preset: object) -> None:
    """Raise PresetError, in one sentence that names node, plugin and parameter, unless Pedalboard can play it."""
    try:
        standalone.check(preset)
    except standalone.Mistake as mistake:
        raise PresetError(str(mistake)) from None


def save(preset: Preset, path: Path) -> None:
    """Write a preset as JSON text, put in place when it is complete.

    Raises PresetError if it is not valid, OutputError if the file cannot be written.
    """
    validate(preset)
    write_text(FilePath(path), json.dumps(preset, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_player(path: Path) -> None:
    """Write the Python file that plays the ``preset.json`` beside it without diffmix, usually as ``preset.py``."""
    write_text(FilePath(path), FilePath(standalone.__file__).read_text(encoding="utf-8"))


@about("path")
def load(path: Path) -> Preset:
    """Read a preset, a file or its text; raises PresetError, in one sentence, if it cannot be read or played."""
    preset, _ = read_json(path, "a preset", PresetError)
    validate(preset)
    return cast(Preset, preset)


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a preset, as shipped in ``preset.schema.json``.

    It holds each rule that concerns one field; the rules between fields (names, order, channel counts, cutoffs that
    depend on the sample rate) are `validate`'s alone.
    """

    def fixed(fields: dict[str, Any], optional: Sequence[str] = ()) -> dict[str, Any]:
        required = [key for key in fields if key not in optional]
        return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}

    def number(low: float, high: float, unit: str) -> dict[str, Any]:
        limits = {"type": "number", "minimum": low, "maximum": high}
        return limits | ({"description": unit} if unit else {})

    def parameter(limit: standalone.Limit) -> dict[str, Any]:
        if isinstance(limit, list):
            return {"enum": limit}
        return audio if limit == standalone.AUDIO else number(*limit)

    text = {"type": "string"}
    audio = fixed({"channels": {"enum": [1, 2]}, "float32": {"type": "string", "contentEncoding": "base64"}})
    plugins = [
        fixed({"type": {"const": kind}, "params": fixed({key: parameter(limit) for key, limit in limits.items()})})
        for kind, limits in standalone.LIMITS.items()
    ]
    nested = {"type": "array", "items": {"$ref": "#/$defs/plugin"}}
    plugins += [fixed({"type": {"const": kind}, "plugins": nested}) for kind in standalone.NESTS]
    row = {"type": "array", "items": number(*standalone.FACTOR), "minItems": 1, "maxItems": 2}
    file = {"type": "string", "minLength": 1, "pattern": r"^(?!/)(?!(.*/)?\.\.(/|$))"}
    source = fixed(
        {
            "files": {"type": "array", "items": file, "minItems": 1, "maxItems": 2},
            "channels": {"type": "integer", "enum": [1, 2]},
            "start_s": number(*standalone.START),
        },
        optional=("start_s",),
    )
    edge = fixed({"from": text, "gain_db": number(*standalone.SEND)})
    node = fixed(
        {
            "name": text,
            "source": source,
            "inputs": {"type": "array", "items": edge},
            "plugins": nested,
            "matrix": {"type": "array", "items": row, "minItems": 1, "maxItems": 2},
        },
        optional=("source", "matrix"),
    )
    low, high, unit = standalone.RATE
    head = {
        "format": {"const": "diffmix-preset"},
        "version": {"const": 1},
        "generator": text,
        "pedalboard": text,
        "sample_rate": {"type": "integer", "minimum": low, "maximum": high, "description": unit},
        "output": text,
        "tail_s": number(*standalone.TAIL),
        "nodes": {"type": "array", "items": node, "minItems": 1},
    }
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "diffmix preset"}
    return {**dialect, **fixed(head, optional=("tail_s",)), "$defs": {"plugin": {"oneOf": plugins}}}
