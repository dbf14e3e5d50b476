"""A graph as a preset.

A node of a preset sums its inputs, runs plugins and then mixes channels at most once. So nodes of a graph that stand in
a row, joined by wires, become one node of the preset; a new one begins at a sum, at an edge with a gain, behind a fork,
behind a matrix, and behind a plugin that is late, as Pedalboard makes up for latency at the end of a board.
"""

import heapq
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from diffmix.errors import DiffmixError, PresetError
from diffmix.export import standalone
from diffmix.export.preset import Preset, Sources, assembled, entry, source_files, types
from diffmix.graph.graph import Graph
from diffmix.graph.node import BUILT_IN, Edge, Endpoint, Node, make
from diffmix.processors.base import Matrix, Processor
from diffmix.settings import shortest

Live = Mapping[str, Processor]
"""Effects to use for nodes instead of new ones of their class, as for `Renderer`."""

LATE = {"BrickwallLimiter", "PitchShift", "Resample", "GSMFullRateCompressor", "MP3Compressor"}


class _Effect(NamedTuple):
    """What a node becomes: plugins, or a matrix whose rows and columns are its outlets' and inlets' channels."""

    plugins: list[dict[str, Any]]
    matrix: Matrix | None


@dataclass(eq=False)
class _Part:
    """A node of a preset in the making; ``inputs`` are (part, gain in dB), None for a wire."""

    inputs: list[tuple["_Part", float | None]]
    source: str | None = None
    sums: str | None = None
    effects: list[str] = field(default_factory=list)
    plugins: list[dict[str, Any]] = field(default_factory=list)
    matrix: Matrix | None = None
    last: str = ""
    towards: "_Part | None" = None  # of one that only passes its input on, to another


def preset_of(
    graph: Graph,
    sample_rate: int,
    sources: Sources | None = None,
    *,
    output: str | None = None,
    processors: Live | None = None,
) -> Preset:
    """The preset that plays a graph.

    Effects that are Pedalboard's twins and sums come out as `graph.render` in float32 has them, to the last bit.

    A node of the preset is called after the source in it, or after what the names of its effects have in common
    (``vox`` of ``vox.eq`` and ``vox.comp``), or after its sum or its last node.

    Args:
        graph: what is exported; of several outputs one is chosen by ``output``.
        sample_rate: Hz.
        sources: files and number of channels by source; one without files is expected as ``NAME.wav``.
        output: the name of an ``Out`` node; what it does not hear is left away.
        processors: effects to use for nodes, which may hold more than plain options (an impulse response).

    Raises PresetError, which names every node that cannot be carried (see `uncarried` and `carried`), and GraphError
    where the graph breaks a rule.
    """
    end = _output(graph, output)
    effects, reasons = _found(graph, sample_rate, end, processors or {})
    if reasons:
        listed = "; ".join(f"node {name!r}: {reason}" for name, reason in reasons.items())
        raise PresetError(f"The graph cannot be carried into a preset: {listed}.")
    last = _lowered(graph, end, effects)
    parts = _ordered(last)
    names = _named(parts)
    tracks = _sources(graph, parts, sources or {})
    files = source_files(tracks)
    entries = []
    for part in parts:
        written: dict[str, Any] = {"name": names[part]}
        if part.source is not None:
            written["source"] = {"files": files[part.source], "channels": tracks[part.source][1]}
        written["inputs"] = [
            {"from": names[source], "gain_db": shortest(gain_db or 0.0)} for source, gain_db in part.inputs
        ]
        written["plugins"] = part.plugins
        if part.matrix is not None:
            written["matrix"] = [[shortest(value) for value in row] for row in part.matrix]
        entries.append(written)
    return assembled(entries, sample_rate)


def uncarried(
    graph: Graph, sample_rate: int = 44100, *, output: str | None = None, processors: Live | None = None
) -> dict[str, str]:
    """Why nodes cannot be carried into a preset, by name; empty if all can.

    Arguments are those of `preset_of`. Raises GraphError where the graph breaks a rule, PresetError where it has
    several outputs and none is chosen.
    """
    return _found(graph, sample_rate, _output(graph, output), processors or {})[1]


def carried(
    graph: Graph, sample_rate: int = 44100, *, output: str | None = None, processors: Live | None = None
) -> tuple[Graph, dict[str, str]]:
    """The graph without what cannot be carried into a preset, and what was left out, with the reasons.

    An effect becomes a wire; a feedback, and what would hear nothing without it, goes. Raises PresetError where a wire
    is no way out: for effects with several outlets, which divide a signal, and for outputs that are not stereo.
    """
    reasons = uncarried(graph, sample_rate, output=output, processors=processors)
    stuck = [n for n in reasons if graph[n].kind == "Out" or len(graph[n].outlets) > 1]
    if stuck:
        listed = "; ".join(f"node {name!r}: {reasons[name]}" for name in stuck)
        raise PresetError(f"The graph cannot be carried into a preset, nor without these nodes: {listed}.")
    for name in reasons:
        graph = graph.removed(name) if graph[name].kind == "Feedback" else graph.without(name)
    while silent := [node.name for node in graph if _unfed(graph, node)]:
        if set(silent) & set(graph.outputs):
            raise PresetError("The graph cannot be carried into a preset: nothing that can be would reach its output.")
        reasons |= dict.fromkeys(silent, "it hears nothing without the others")
        graph = graph.removed(*silent)
    return graph, reasons


def _unfed(graph: Graph, node: Node) -> bool:
    return any(not port.optional and not graph.into(node.name, port.name) for port in node.inlets)


# What each node becomes


def _output(graph: Graph, output: str | None) -> str:
    """The output that is exported."""
    graph.check()
    if output is None and len(graph.outputs) > 1:
        raise PresetError(f"The graph has the outputs {', '.join(graph.outputs)}; a preset has one: choose it by name.")
    if output is not None and output not in graph.outputs:
        raise PresetError(f"The graph has no output {output!r}; it has {', '.join(graph.outputs)}.")
    return graph.outputs[0] if output is None else output


def _heard(graph: Graph, output: str) -> list[str]:
    """The nodes that reach an output, in an order in which they can be played."""
    found, todo = {output}, [output]
    while todo:
        for edge in graph.into(todo.pop()):
            if edge.source.node not in found:
                found.add(edge.source.node)
                todo.append(edge.source.node)
    return [name for name in graph.check().order if name in found]


def _found(graph: Graph, sample_rate: int, output: str, live: Live) -> tuple[dict[str, _Effect], dict[str, str]]:
    """What the nodes that an output hears become, in order, and why some cannot."""
    effects: dict[str, _Effect] = {}
    reasons: dict[str, str] = {}
    for name in _heard(graph, output):
        node = graph[name]
        why = list(_misrouted(graph, node))
        if node.kind in BUILT_IN:
            effects[name] = _Effect([], None)
        else:
            try:
                effect = live.get(name) or make(node.kind, node.options, {}, sample_rate)
                effects[name] = _effect(node, effect, sample_rate)
            except (DiffmixError, standalone.Mistake) as error:
                why.append(str(error).removesuffix("."))
        if why:
            reasons[name] = ", and ".join(why)
    return effects, reasons


def _misrouted(graph: Graph, node: Node) -> Iterable[str]:
    """What a preset lacks for the cables of a node."""
    if node.kind == "Feedback":
        yield "a preset plays each node once and in order, so that nothing can be fed back"
    if node.kind == "Out" and graph.check().channels[graph.into(node.name)[0].source] != 2:
        yield "it has one channel and the output of a preset two; a Pan makes stereo of mono"
    for port in node.inlets:
        if port.kind == "side chain" and (edges := graph.into(node.name, port.name)):
            yield f"it listens to {edges[0].source.node!r}, and Pedalboard's plugins have no side chain"
    for port in node.outlets:
        if port.kind == "control":
            moved = [f"{e.target.port} of {e.target.node!r}" for e in graph.out_of(node.name, port.name)]
            yield f"it moves {' and '.join(moved)}, and in a preset knobs stand still"


def _effect(node: Node, processor: Processor, sample_rate: int) -> _Effect:
    matrix = processor.matrix(node.settings)
    if matrix is not None:
        return _Effect([], matrix)
    plugins = [entry(*plugin) for plugin in processor.plugins(node.settings)]
    for plugin in plugins:
        standalone.check_plugin(node.kind, plugin, sample_rate)
    return _Effect(plugins, None)


# From nodes to parts


def _lowered(graph: Graph, output: str, effects: Mapping[str, _Effect]) -> _Part:
    """The part that is heard at the output, with all that it hears."""
    made: dict[Endpoint, _Part] = {}
    uses = {n: [p for p in graph[n].outlets if _audible(graph, n, p.name, effects)] for n in effects}
    readers = Counter[Endpoint]()
    for name in effects:
        for edge in graph.into(name):
            readers[edge.source] += max(len(uses[name]), 1)

    def heard(edges: Sequence[Edge]) -> list[tuple[_Part, float | None]]:
        return [(made[e.source], e.gain_db) for e in edges]

    def joined(edges: Sequence[Edge], node: Node, name: str, effect: _Effect) -> _Part:
        """The part that ends with an effect: the one before it, if it may go on, or a new one."""
        part = made[edges[0].source] if edges else None
        goes_on = len(edges) == 1 and edges[0].gain_db is None and readers[edges[0].source] == 1
        if part is None or not goes_on or not _takes(part, effect):
            part = _Part(heard(edges))
        part.plugins += effect.plugins
        part.matrix = part.matrix if effect.matrix is None else effect.matrix
        part.last = name
        if node.kind == "In":
            part.source = name
        elif node.kind == "Sum":
            part.sums = part.sums or name
        elif node.kind != "Out":
            part.effects.append(name)
        return part

    for name, effect in effects.items():
        node = graph[name]
        if effect.matrix is None:
            part = joined(graph.into(name), node, name, effect)
            made |= {Endpoint(name, port.name): part for port in node.outlets}
            continue
        for outlet in uses[name]:
            of = f"{name}.{outlet.name}" if len(node.outlets) > 1 else name
            parts = []
            for inlet in node.inlets:
                block = _Effect([], _block(effect.matrix, node, inlet.name, outlet.name))
                label = f"{of}.{inlet.name}" if len(node.inlets) > 1 else of
                parts.append(joined(graph.into(name, inlet.name), node, label, block))
            whole = parts[0] if len(parts) == 1 else _Part([(p, None) for p in parts], sums=of, last=of)
            made[Endpoint(name, outlet.name)] = whole
    return part  # the output's, which is heard by nothing


def _audible(graph: Graph, name: str, port: str, effects: Mapping[str, _Effect]) -> bool:
    return any(e.target.node in effects for e in graph.out_of(name, port))


def _takes(part: _Part, effect: _Effect) -> bool:
    """Whether a part may go on with an effect."""
    if not effect.plugins and effect.matrix is None:
        return True
    if part.matrix is not None:
        return False
    return not effect.plugins or not LATE & set(types(part.plugins))


def _block(matrix: Matrix, node: Node, inlet: str, outlet: str) -> Matrix:
    """The rows of an outlet and the columns of an inlet."""
    rows, columns = len(matrix), len(matrix[0])
    high = _span([p.name for p in node.outlets], outlet, rows)
    wide = _span([p.name for p in node.inlets], inlet, columns)
    return [row[wide] for row in matrix[high]]


def _span(ports: Sequence[str], port: str, channels: int) -> slice:
    """The channels of one of several equal ports."""
    each = channels // len(ports)
    return slice(ports.index(port) * each, (ports.index(port) + 1) * each)


# The order: a reader adds what comes first in the file


def _ordered(last: _Part) -> list[_Part]:
    """All that a part hears, in an order in which every sum adds its inputs from the first to the last.

    Of the first two inputs of a sum either may come first. Where two sums want opposite orders, a node that passes its
    input on stands just in front of the later one.
    """
    parts = _by_depth(last)
    wishes = [(part, list(_later(part))) for part in parts]
    kept = [pair for _, pairs in wishes for pair in pairs]
    order = _sorted(parts, kept)
    if order is None:
        kept = []
        for _, pairs in wishes:
            if _sorted(parts, kept + pairs) is not None:
                kept += pairs
        order = _sorted(parts, kept)
    assert order is not None
    at = {part: n for n, part in enumerate(order)}
    relayed: list[_Part] = []
    for part in order:
        late = False
        for k, (source, gain_db) in enumerate(part.inputs):
            late = late or (k > 1 and at[source] < max(at[p] for p, _ in part.inputs[:k] if p in at))
            if late:
                relay = _Part([(source, None)], towards=part)
                part.inputs[k] = relay, gain_db
                relayed.append(relay)
        relayed.append(part)
    return relayed


def _by_depth(last: _Part) -> list[_Part]:
    """A part behind all that it hears, inputs in their order."""
    found: dict[_Part, None] = {}
    todo = [(last, iter(last.inputs))]
    open_parts = {last}
    while todo:
        part, inputs = todo[-1]
        source = next((p for p, _ in inputs if p not in open_parts), None)
        if source is None:
            found[part] = None
            todo.pop()
        else:
            open_parts.add(source)
            todo.append((source, iter(source.inputs)))
    return list(found)


def _later(part: _Part) -> Iterable[tuple[_Part, _Part]]:
    """Which inputs of a sum have to come behind which others."""
    inputs = [p for p, _ in part.inputs]
    if len(inputs) > 2:
        yield inputs[0], inputs[2]
        yield from itertools.pairwise(inputs[1:])


def _sorted(parts: Sequence[_Part], pairs: Iterable[tuple[_Part, _Part]]) -> list[_Part] | None:
    """The parts, each behind its inputs and behind the first of its pairs, else as they come; None if none can be."""
    behind: dict[_Part, list[_Part]] = {part: [] for part in parts}
    waits = Counter[_Part]()
    for first, second in itertools.chain(((p, part) for part in parts for p, _ in part.inputs), pairs):
        behind[first].append(second)
        waits[second] += 1
    rank = {part: n for n, part in enumerate(parts)}
    ready = [n for n, part in enumerate(parts) if not waits[part]]
    order: list[_Part] = []
    while ready:
        order.append(parts[heapq.heappop(ready)])
        for part in behind[order[-1]]:
            waits[part] -= 1
            if not waits[part]:
                heapq.heappush(ready, rank[part])
    return order if len(order) == len(parts) else None


# Names and files


def _named(parts: Sequence[_Part]) -> dict[_Part, str]:
    names = {part: part.source for part in parts if part.source is not None}
    taken = set(names.values())
    for part in sorted(parts, key=lambda part: part.towards is not None):
        if part in names:
            continue
        wanted = [name for name in (_in_common(part.effects), part.sums, *part.effects[:1], part.last) if name]
        if part.towards is not None:
            wanted = [f"{names[part.inputs[0][0]]} to {names[part.towards]}"]
        name = next((name for name in wanted if name not in taken), wanted[0])
        while name in taken:
            name += "_"
        names[part] = name
        taken.add(name)
    return names


def _in_common(effects: Sequence[str]) -> str:
    """``vox`` of ``vox.eq`` and ``vox.comp``; of a single effect without a dot its own name."""
    owners = {name.rpartition(".")[0] for name in effects}
    if owners == {""}:
        return effects[0] if len(effects) == 1 else ""
    split = [owner.split(".") for owner in owners]
    same = itertools.takewhile(lambda each: len(set(each)) == 1, zip(*split, strict=False))
    return ".".join(each[0] for each in same)


def _sources(graph: Graph, parts: Sequence[_Part], given: Sources) -> Sources:
    """Files and channels of every source that is heard. Raises PresetError for other channels than the graph's."""
    tracks = {}
    for name in (part.source for part in parts if part.source is not None):
        channels = graph[name].option("channels")
        files, count = given.get(name, ((), channels))
        if count != channels:
            raise PresetError(f"Source {name!r} has {count} channel(s), in the graph it has {channels}.")
        tracks[name] = (files, count)
    return tracks
