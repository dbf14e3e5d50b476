"""Pictures of a graph: SVG of our own, text for a terminal, and text for Mermaid and Graphviz."""

from collections.abc import Mapping
from unicodedata import combining, east_asian_width

from diffmix.graph.draw.layout import Flow, columns, flow, is_audio
from diffmix.graph.draw.svg import COLOURS, to_svg
from diffmix.graph.draw.words import clipped, edge_text, family, kind_text, own_name, phrases, plain
from diffmix.graph.graph import Graph
from diffmix.graph.node import Edge, Node

__all__ = ["show", "to_dot", "to_mermaid", "to_svg"]


def _lines(node: Node) -> list[str]:
    """Name, effect and main settings."""
    kind = [] if node.kind in ("In", "Out") else [kind_text(node.kind)]
    return [plain(node.name), *kind, *phrases(node)[:3]]


def to_mermaid(graph: Graph) -> str:
    """A Mermaid flowchart, for pages that draw such text (GitHub, GitLab, notebooks).

    Audio is solid with its gains, side chains are dashed, control signals dotted with their reach. Any name of a node
    is possible: what Mermaid would take for syntax is written as a number of its character.
    """
    number = {name: f"n{i}" for i, name in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for node in graph:
        name, *rest = _lines(node)
        text = "<br/>".join([_mermaid_text(name), *map(_mermaid_text, rest)])
        left, right = ("([", "])") if family(node) == "plate" else ("[", "]")
        lines.append(f'  {number[node.name]}{left}"{text}"{right}:::{family(node)}')
    styles = []
    for i, edge in enumerate(graph.edges):
        label = " ".join(filter(None, [_ports(graph, edge), edge_text(graph, edge)]))
        arrow = "-->" if is_audio(graph, edge) else "-.->"
        text = f'|"{_mermaid_text(label)}"|' if label else ""
        lines.append(f"  {number[edge.source.node]} {arrow}{text} {number[edge.target.node]}")
        if not is_audio(graph, edge):
            dashes, of = ("2 4", "control") if edge.amount is not None else ("7 4", "dynamics")
            styles.append(f"  linkStyle {i} stroke:{COLOURS[of]['light']},stroke-dasharray:{dashes}")
    for name in dict.fromkeys(family(node) for node in graph):
        lines.append(f"  classDef {name} fill:#ffffff,stroke:{COLOURS[name]['light']},color:#1f2933")
    return "\n".join(lines + styles) + "\n"


def _ports(graph: Graph, edge: Edge) -> str:
    """The ports of an edge where a node has several, as far as its text does not say them."""
    out = edge.source.port if len(graph[edge.source.node].outlets) > 1 else ""
    several = len(graph[edge.target.node].inlets) > 1
    into = edge.target.port if several and edge.amount is None and edge.target.port != "in" else ""
    return plain(f"{out} to {into}" if out and into and out != into else out or into)


def _mermaid_text(text: str) -> str:
    """Text in which nothing is syntax, neither of Mermaid nor of Markdown."""
    return "".join(c if c.isalnum() or c == " " else f"#{ord(c)};" for c in text)


def to_dot(graph: Graph) -> str:
    """A Graphviz digraph; where a node has several ports, they are fields of a record.

    Audio is solid with its gains, side chains are dashed, control signals dotted with their reach.
    """
    number = {name: f"n{i}" for i, name in enumerate(graph.nodes)}
    lines = [
        "digraph diffmix {",
        "  rankdir=LR;",
        '  node [shape=box, style=rounded, fontname="Helvetica", fontsize=10];',
        '  edge [fontname="Helvetica", fontsize=9];',
    ]
    address: dict[tuple[str, str, str], str] = {}  # of ports, by name of the node, side and name
    for node in graph:
        colour = COLOURS[family(node)]["light"]
        entered = [port.name for port in node.inlets] + [e.target.port for e in graph.into(node.name)]
        sides = {"i": list(dict.fromkeys(entered)), "o": [port.name for port in node.outlets]}
        several = max(map(len, sides.values())) > 1
        for side, ports in sides.items():
            for i, port in enumerate(ports):
                address[node.name, side, port] = number[node.name] + (f":{side}{i}" if several else "")
        if several:
            label, shape = _record(node, sides), "shape=record, style=solid, "
        else:
            label, shape = "\\n".join(map(_dot_text, _lines(node))), ""
        lines.append(f'  {number[node.name]} [{shape}color="{colour}", label="{label}"];')
    for edge in graph.edges:
        look = []
        if not is_audio(graph, edge):
            look.append(f"style={'dashed' if edge.amount is None else 'dotted'}")
        if text := edge_text(graph, edge):
            look.append(f'label="{_dot_text(text)}"')
        if graph[edge.target.node].kind == "Feedback":
            look.append("constraint=false")
        looks = f" [{', '.join(look)}]" if look else ""
        start, end = address[edge.source.node, "o", edge.source.port], address[edge.target.node, "i", edge.target.port]
        lines.append(f"  {start} -> {end}{looks};")
    return "\n".join([*lines, "}", ""])


def _record(node: Node, sides: Mapping[str, list[str]]) -> str:
    """The label of a record: its inlets, what the node says, its outlets."""
    fields = {
        side: "|".join(f"<{side}{i}> {_record_text(port)}" for i, port in enumerate(ports))
        for side, ports in sides.items()
    }
    inlets, outlets = (f"{{{ports}}}" if ports else "" for ports in fields.values())
    text = "\\n".join(map(_record_text, _lines(node)))
    return "{" + "|".join(filter(None, [inlets, text, outlets])) + "}"


def _dot_text(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _record_text(text: str) -> str:
    return "".join(f"\\{c}" if c in '\\"{}|<> ' else c for c in text)


def show(graph: Graph) -> str:
    """A graph as lines of text, aligned, one per chain; for a quick look in a terminal.

    ``vox > hpf 80 Hz > comp 4:1 -20 dB > pan L30 > bus  -> verb -12 dB``: behind a chain stand the cables that leave
    it, ``>`` what is passed on and ``-> … dB`` what is sent; in brackets at a node what else leaves it, and what comes
    in by side chain (``sc kick``) or moves it (``~ lfo pan +0.5``).
    """
    parts = flow(graph)
    at = columns(parts)
    cells = {name: _cell(parts, chain, name) for chain in parts.chains for name in chain}
    strips = [chain for chain in parts.chains if graph[chain[0]].kind == "In" and len(chain) > 1]
    widths: dict[int, int] = {}
    for chain in strips:
        for name in chain:
            widths[at[name]] = max(widths.get(at[name], 0), _columns(cells[name]))
    lines = []
    for chain in parts.chains:
        if chain in strips:
            by_column = {at[name]: cells[name] for name in chain}
            text = ""
            for column in range(max(by_column) + 1):
                width = widths.get(column, 0)
                mark = "   " if not column or column not in by_column else " > "
                cell = by_column.get(column, "")
                text += mark * (column > 0 and width > 0) + cell + " " * (width - _columns(cell))
        else:
            text = " > ".join(cells[name] for name in chain)
        onward = "  ".join(_onward(graph, edge) for edge in _leaving(graph, chain[-1]))
        lines.append(f"{text} {onward}".rstrip())
    return "\n".join(lines) + ("\n" if lines else "")


def _columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def _leaving(graph: Graph, name: str) -> list[Edge]:
    """Audio out of a node, what is passed on before what is sent."""
    return sorted((e for e in graph.out_of(name) if is_audio(graph, e)), key=lambda e: e.gain_db is not None)


def _onward(graph: Graph, edge: Edge) -> str:
    """One cable at the end of a line: ``> bus``, ``-> verb -12 dB``, ``low > merge:mid``."""
    out = f"{edge.source.port} " if len(graph[edge.source.node].outlets) > 1 else ""
    several = sum(port.kind == "audio" for port in graph[edge.target.node].inlets) > 1
    into = clipped(edge.target.node) + (f":{edge.target.port}" if several else "")
    text = f"{out}> {into}" if edge.gain_db is None else f"{out}-> {into} {edge_text(graph, edge)}"
    return plain(text)


def _cell(parts: Flow, chain: list[str], name: str) -> str:
    """A node in a line: name, settings, and in brackets what joins and leaves it aside."""
    graph, node = parts.graph, parts.graph[name]
    settings = [] if node.kind == "In" else phrases(node)[:2]
    aside = []
    for edge in graph.into(name):
        if edge.amount is not None:
            aside.append(f"~ {clipped(edge.source.node)} {edge_text(graph, edge)}")
        elif not is_audio(graph, edge):
            aside.append(" ".join(filter(None, ["sc", clipped(edge.source.node), edge_text(graph, edge)])))
        elif chain[0] != name and edge.gain_db is not None:
            settings.insert(0, f"at {edge_text(graph, edge)}")
    if name != chain[-1]:
        after = chain[chain.index(name) + 1]
        aside += [_onward(graph, e) for e in _leaving(graph, name) if e.target.node != after]
    brackets = [f"[{', '.join(aside)}]"] if aside else []
    return plain(" ".join(filter(None, [clipped(own_name(name, chain)), ", ".join(settings), *brackets])))
