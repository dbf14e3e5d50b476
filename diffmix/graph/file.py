"""Graphs as JSON: plain data with format and version, and what a file that was broken or edited gets told."""

import json
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from diffmix.errors import GraphError
from diffmix.files import check_format, write_text
from diffmix.graph.node import MOST_NODES, Edge, Endpoint, Node
from diffmix.types import Path

if TYPE_CHECKING:
    from diffmix.graph.graph import Graph

FORMAT, VERSION = "diffmix-graph", 1


def to_dict(graph: "Graph") -> dict[str, Any]:
    """See `Graph.to_dict`."""
    nodes, edges = [node_entry(node) for node in graph], [edge_entry(edge) for edge in graph.edges]
    return {"format": FORMAT, "version": VERSION, "nodes": nodes, "edges": edges}


def node_entry(node: Node) -> dict[str, Any]:
    """A node as plain data; what is at its default is left out."""
    entry: dict[str, Any] = {"name": node.name, "kind": node.kind}
    entry |= {key: dict(part) for key in ("values", "options") if (part := getattr(node, key))}
    if node.ranges:
        entry["ranges"] = {knob: list(limits) for knob, limits in node.ranges.items()}
    return entry


def edge_entry(edge: Edge) -> dict[str, Any]:
    """An edge as plain data; a gain or an amount only if it has one."""
    entry = {"from": str(edge.source), "to": str(edge.target)}
    return entry | {key: v for key in ("gain_db", "amount") if (v := getattr(edge, key)) is not None}


def parts(data: Any, where: str) -> tuple[list[Node], list[Edge]]:
    """Nodes and edges of `to_dict`'s data; errors as `Graph.from_dict`."""
    data = check_format(data, where, "a graph", FORMAT, VERSION, GraphError)
    if extra := sorted(data.keys() - {"format", "version", "nodes", "edges"}):
        raise GraphError(f"{where} holds {extra[0]!r}, which no graph has")
    return read_nodes(data.get("nodes"), where), read_edges(data.get("edges"), where)


def read_nodes(data: Any, where: str) -> list[Node]:
    """The inverse of `node_entry` for a list. Raises GraphError, which begins with ``where``."""
    entries = _checked(data, where, "nodes", ("name", "kind"))
    if len(entries) > MOST_NODES:
        raise GraphError(f"{where}: {len(entries)} nodes are too many: a graph holds at most {MOST_NODES}")
    return [Node(e["name"], e["kind"], e.get("values", {}), e.get("options", {}), e.get("ranges", {})) for e in entries]


def read_edges(data: Any, where: str) -> list[Edge]:
    """The inverse of `edge_entry` for a list. Raises GraphError, which begins with ``where``."""
    entries = _checked(data, where, "edges", ("from", "to"))
    return [
        Edge(read_end(e["from"], where), read_end(e["to"], where), e.get("gain_db"), e.get("amount")) for e in entries
    ]


def read_end(text: str, where: str) -> Endpoint:
    """The endpoint that ``node:port`` means. Raises GraphError, which begins with ``where``."""
    node, _, port = text.partition(":")
    if not port:
        raise GraphError(f"{where}: {text!r} is no endpoint; one is written node:port")
    return Endpoint(node, port)


def save(graph: "Graph", path: Path | None) -> str:
    """See `Graph.to_json`."""
    data = to_dict(graph)
    lines = {
        key: ",\n".join("    " + json.dumps(entry, ensure_ascii=False) for entry in data[key])
        for key in ("nodes", "edges")
    }
    text = (
        f'{{\n  "format": "{FORMAT}",\n  "version": {VERSION},\n'
        f'  "nodes": [\n{lines["nodes"]}\n  ],\n  "edges": [\n{lines["edges"]}\n  ]\n}}\n'
    )
    if path is not None:
        write_text(FilePath(path), text)
    return text


def _checked(entries: Any, where: str, key: str, fields: tuple[str, str]) -> list[Mapping[str, Any]]:
    """The list of nodes or edges of a file, its types checked."""
    more = {"nodes": ("values", "options", "ranges"), "edges": ("gain_db", "amount")}[key]
    if not isinstance(entries, list):
        raise GraphError(f"{where}: {key} is {type(entries).__name__}, a list is expected")
    for number, entry in enumerate(entries):
        place = f"{where}: {key}[{number}]"
        if not isinstance(entry, Mapping) or not all(isinstance(entry.get(f), str) for f in fields):
            raise GraphError(f"{place} needs {fields[0]} and {fields[1]} as text")
        if extra := sorted(entry.keys() - {*fields, *more}):
            raise GraphError(f"{place} holds {extra[0]!r}; allowed are {', '.join((*fields, *more))}")
        if key == "edges":
            numbers = {name: entry[name] for name in more if name in entry}
        else:
            for name in more:
                if not isinstance(part := entry.get(name, {}), Mapping):
                    raise GraphError(f"{place}: {name} is {type(part).__name__}, an object is expected")
            numbers = entry.get("values", {})
        for name, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise GraphError(f"{place}: {name} is {value!r}, a number is expected")
        for knob, limits in entry.get("ranges", {}).items():
            if not isinstance(limits, list) or len(limits) != 2:
                raise GraphError(f"{place}: the range of {knob} is {limits!r}, two numbers are expected")
    return entries
