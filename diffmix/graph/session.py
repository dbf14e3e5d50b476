"""Editing while listening: a graph rendered again at the cost of what an edit touches.

Every signal has a fingerprint, made of everything it depends on: kinds, options, knobs, cables and sources upstream.
Equal fingerprints are equal signals, however an edit was made, so that a `Session` renders only what it has not heard.
"""

from collections.abc import Collection, Mapping
from typing import Literal

import torch
from torch import Tensor

from diffmix.graph.graph import Graph
from diffmix.graph.node import Edge, Endpoint, Node, frozen_options, make
from diffmix.graph.plan import Inlet, Value, source_of
from diffmix.graph.render import Renderer, Sources, learning
from diffmix.processors.base import Processor


class Session:
    """A graph, its sources and the signals they made.

    ``session.render(edited)`` gives the outputs of another graph on the same sources and renders only what differs;
    ``session.keep(edited)`` makes that the session's graph. Nothing carries a gradient. Effects with weights that are
    not given are drawn once, and stay the same through all edits.
    """

    def __init__(
        self,
        graph: Graph,
        sources: Sources,
        sample_rate: float,
        precision: Literal["float32", "float64"] = "float32",
        processors: Mapping[str, Processor] | None = None,
    ) -> None:
        """Render ``graph`` on ``sources`` and keep every signal on the way, (B, C, T) each; errors as `Renderer`."""
        self.sample_rate, self.precision, self.processors = sample_rate, precision, dict(processors or {})
        self._learned: dict[tuple[str, str, str], Processor] = {}
        self.sources: dict[Value, Tensor] = {}
        for key, audio in sources.items():
            for n, name in enumerate(key) if isinstance(key, tuple) else ((None, key),):
                self.sources[Endpoint(name, "out")] = audio if n is None else audio[:, n]
        self._numbers: dict[object, int] = {}  # what was seen, numbered: equal numbers are equal signals
        self._nodes: dict[int, tuple[Node, int]] = {}  # by identity, which edits keep: node, number of its settings
        self._heard: dict[int, Tensor] = {}
        self.rendered = 0
        self.keep(graph)

    def keep(self, graph: Graph) -> dict[str, Tensor]:
        """Make ``graph`` the session's, and forget what it does not need; its outputs by name."""
        found, prints = self._render(graph, keep=True)
        needed = set(prints.values())
        self._heard = {number: audio for number, audio in self._heard.items() if number in needed}
        self._heard |= {prints[value]: audio for value, audio in found.items()}
        self._nodes = {id(node): self._nodes[id(node)] for node in graph if id(node) in self._nodes}
        self.graph = graph
        return self._outputs(graph, found, prints)

    def render(self, graph: Graph) -> dict[str, Tensor]:
        """The outputs of an edited graph by name; the session keeps its own.

        ``rendered`` then counts the steps that it took.
        """
        found, prints = self._render(graph, keep=False)
        return self._outputs(graph, found, prints)

    def signal(self, name: str, port: str = "out") -> Tensor:
        """What the session's graph has at an outlet, (B, C, T); rendered if it was only passed through."""
        value = Endpoint(name, port)
        self.graph[name].outlet(port)
        prints = self._prints(self.graph)
        if prints[value] not in self._heard:
            self._heard |= {prints[v]: audio for v, audio in self._made(self.graph, prints, (value,), True).items()}
        return self._heard[prints[value]]

    def _prints(self, graph: Graph) -> dict[Value, int]:
        return fingerprints(graph, self._numbers, self._live(graph), self._nodes)

    def _live(self, graph: Graph) -> dict[str, Processor]:
        """The effects that were given, and those of other nodes with weights."""
        found = {name: effect for name, effect in self.processors.items() if name in graph}
        for node in learning(graph):
            key = node.name, node.kind, frozen_options(node.options)
            if node.name in found:
                continue
            if key not in self._learned:
                self._learned[key] = make(node.kind, node.options, {}, self.sample_rate, precision=self.precision)
            found[node.name] = self._learned[key]
        return found

    def _outputs(self, graph: Graph, found: Mapping[Value, Tensor], prints: Mapping[Value, int]) -> dict[str, Tensor]:
        ends = {name: source_of(graph, name, "in") for name in graph.outputs}
        return {name: found[end] if end in found else self._heard[prints[end]] for name, end in ends.items()}

    def _render(self, graph: Graph, keep: bool) -> tuple[dict[Value, Tensor], dict[Value, int]]:
        graph.check()
        prints = self._prints(graph)
        ends = {source_of(graph, name, "in") for name in graph.outputs}
        missing = tuple(end for end in ends if prints[end] not in self._heard)
        self.rendered = 0
        return (self._made(graph, prints, missing, keep) if missing else {}), prints

    def _made(
        self, graph: Graph, prints: Mapping[Value, int], targets: tuple[Value, ...], keep: bool
    ) -> dict[Value, Tensor]:
        given = {value: self._heard[number] for value, number in prints.items() if number in self._heard}
        renderer = Renderer(graph, self.sample_rate, self.precision, self._live(graph), targets, given)
        self.rendered = renderer.plan.count
        sources = {value: audio for value, audio in self.sources.items() if value.node in graph}
        with torch.no_grad():
            return renderer.signals({**sources, **given}, keep=keep)


def fingerprints(
    graph: Graph,
    numbers: dict[object, int],
    live: Collection[str] = (),
    known: dict[int, tuple[Node, int]] | None = None,
) -> dict[Value, int]:
    """A number for every signal of a checked graph, equal for signals that depend on equal things.

    ``live`` are nodes with effects of their own. ``numbers`` remembers what was numbered before, ``known`` the numbers
    of the settings of nodes, by their ``id``. Descriptions are compared, not hashed: no two meet by chance.
    """
    nodes = {} if known is None else known

    def number(description: object) -> int:
        return numbers.setdefault(description, len(numbers))

    def settings(node: Node) -> int:
        if id(node) not in nodes:
            nodes[id(node)] = node, number((node.kind, _turned(node)))
        return nodes[id(node)][1]

    prints: dict[Value, int] = {}

    def arriving(edges: tuple[Edge, ...]) -> tuple[object, ...]:
        return tuple((prints[e.source], e.gain_db, e.amount) for e in edges)

    checked = graph.check()
    loops = {name: number(_upstream(graph, loop)) for loop in checked.loops for name in loop}
    for name in checked.order:
        node = graph[name]
        came: object = ("in a loop", name, loops[name]) if name in loops else None
        if came is None:
            ports = tuple(dict.fromkeys(e.target.port for e in graph.into(name)))
            came = tuple((port, arriving(graph.into(name, port))) for port in ports)
            prints |= {Inlet(name, port): number(("sum", sums)) for port, sums in came}
        own = number((settings(node), name if node.kind == "In" or name in live else None, came))
        prints |= {Endpoint(name, port.name): number((own, port.name)) for port in node.outlets}
    return prints


def _turned(node: Node) -> object:
    """How an effect is set; a range counts, for a knob that moves stays inside."""
    return tuple(node.settings.items()), frozen_options(node.options), frozen_options(node.ranges)


def _upstream(graph: Graph, loop: frozenset[str]) -> object:
    """All that the signals in a loop depend on, as plain data."""
    found, todo = set(loop), list(loop)
    while todo:
        for name in {e.source.node for e in graph.into(todo.pop())} - found:
            found.add(name)
            todo.append(name)
    nodes = [graph[name] for name in graph.nodes if name in found]
    described = tuple((n.name, n.kind, _turned(n)) for n in nodes)
    return described, tuple(e for e in graph.edges if e.target.node in found)
