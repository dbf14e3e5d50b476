"""Edits of a graph, each one step that a mixing engineer would name, and that can be done to another graph too."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from diffmix.errors import GraphError
from diffmix.graph.graph import Graph, in_a_row
from diffmix.graph.node import Edge, Endpoint, Node

Pair = tuple[Endpoint, Endpoint]


class Laid(NamedTuple):
    """A cable to lay, and its place among those of its inlet, which are added in order."""

    edge: Edge
    place: int


class Loose(NamedTuple):
    """A node in the making: nothing is checked yet."""

    kind: str
    values: dict[str, float]
    options: dict[str, Any]
    ranges: dict[str, tuple[float, float]]


class Draft:
    """A graph that edits change in place; rules are checked when it is `finished`.

    If ``exact``, an effect is only added between the nodes that it was found between.
    """

    def __init__(self, graph: Graph, exact: bool = False) -> None:
        self.exact = exact
        self.nodes = {n.name: _loose(n) for n in graph}
        self.inlets: dict[Endpoint, list[Edge]] = {}
        self.touching: dict[str, dict[Pair, None]] = {}
        self.order = [(e.source, e.target) for e in graph.edges]
        for edge in graph.edges:
            self.inlets.setdefault(edge.target, []).append(edge)
            self._touch(edge)

    def _touch(self, edge: Edge) -> None:
        for name in (edge.source.node, edge.target.node):
            self.touching.setdefault(name, {})[edge.source, edge.target] = None

    def node(self, name: str) -> Loose:
        """A node by name. Raises GraphError if the graph does not have it."""
        try:
            return self.nodes[name]
        except KeyError:
            raise GraphError(f"the edit is about the node {name!r}, which this graph does not have") from None

    def edge(self, source: Endpoint, target: Endpoint) -> Edge | None:
        """The cable between two ports, if there is one."""
        return next((e for e in self.inlets.get(target, ()) if e.source == source), None)

    def edges(self, names: Iterable[str]) -> list[Edge]:
        """The cables at these nodes."""
        pairs = dict.fromkeys(pair for name in names for pair in self.touching.get(name, ()))
        return [edge for pair in pairs if (edge := self.edge(*pair)) is not None]

    def put(self, node: Node) -> None:
        """Add a node."""
        if node.name in self.nodes:
            raise GraphError(f"the edit adds the node {node.name!r}, which this graph has already")
        self.nodes[node.name] = _loose(node)

    def drop(self, name: str) -> None:
        """Take a node away with all its cables."""
        self.node(name)
        for edge in self.edges([name]):
            self.cut(edge)
        del self.nodes[name]

    def cut(self, edge: Edge) -> int:
        """Take a cable away, whatever its gain; its place at the inlet. Raises GraphError if there is none."""
        self.node(edge.source.node), self.node(edge.target.node)
        for place, other in enumerate(self.inlets.get(edge.target, ())):
            if other.source == edge.source:
                del self.inlets[edge.target][place]
                for name in (edge.source.node, edge.target.node):
                    self.touching[name].pop((edge.source, edge.target), None)
                return place
        raise GraphError(f"the edit is about the cable {edge.name}, which this graph does not have")

    def lay(self, edge: Edge, place: int) -> None:
        """Add a cable."""
        self.node(edge.source.node), self.node(edge.target.node)
        if self.edge(edge.source, edge.target) is not None:
            raise GraphError(f"the edit lays the cable {edge.name}, which this graph has already")
        self.inlets.setdefault(edge.target, []).insert(place, edge)
        self._touch(edge)

    def rename(self, old: str, new: str) -> None:
        """Call a node otherwise."""
        self.node(old)
        if new in self.nodes:
            raise GraphError(f"the edit calls {old!r} {new!r}, as another node of this graph is called")
        self.nodes = {new if name == old else name: node for name, node in self.nodes.items()}

        def called(end: Endpoint) -> Endpoint:
            return Endpoint(new, end.port) if end.node == old else end

        for pair in self.touching.pop(old, {}):
            for name in {pair[0].node, pair[1].node} - {old}:
                self.touching[name].pop(pair, None)
        for target in [t for t in self.inlets if t.node == old or any(e.source.node == old for e in self.inlets[t])]:
            edges = [replace(e, source=called(e.source), target=called(e.target)) for e in self.inlets.pop(target)]
            self.inlets[called(target)] = edges
            for edge in edges:
                self._touch(edge)
        self.order = [(called(source), called(target)) for source, target in self.order]

    def finished(self) -> Graph:
        """The graph. Raises GraphError where a node or an edge breaks a rule."""
        nodes = [Node(name, *loose) for name, loose in self.nodes.items()]
        left = {target: edges[::-1] for target, edges in self.inlets.items()}
        waiting = {(e.source, e.target) for edges in self.inlets.values() for e in edges}
        edges: list[Edge] = []
        for pair in self.order:  # as they stood, with new ones beside their neighbours at the inlet
            while pair in waiting:
                edges.append(left[pair[1]].pop())
                waiting.remove((edges[-1].source, edges[-1].target))
        for rest in left.values():
            edges += rest[::-1]
        return Graph(nodes, edges)


def _loose(node: Node) -> Loose:
    return Loose(node.kind, dict(node.values), dict(node.options), dict(node.ranges))


@dataclass(frozen=True)
class Edit:
    """One edit; ``str(edit)`` says it in a sentence."""

    @property
    def touched(self) -> frozenset[str]:
        """The nodes it is about."""
        raise NotImplementedError

    def change(self, draft: Draft) -> None:
        """Do it. Raises GraphError for a node or a cable that is not there."""
        raise NotImplementedError

    def __str__(self) -> str:
        from diffmix.graph.difference.words import sentence

        return sentence(self)


@dataclass(frozen=True)
class _OfNode(Edit):
    node: str

    @property
    def touched(self) -> frozenset[str]:
        """The nodes it is about."""
        return frozenset([self.node])


@dataclass(frozen=True)
class Renamed(_OfNode):
    """A node is called otherwise."""

    name: str

    @property
    def touched(self) -> frozenset[str]:
        """The nodes it is about."""
        return frozenset([self.node, self.name])

    def change(self, draft: Draft) -> None:
        """Do it. Raises GraphError for a node or a cable that is not there."""
        draft.rename(self.node, self.name)


@dataclass(frozen=True)
class Exchanged(Edit):
    """A node is another effect, at the same place."""

    old: Node
    new: Node

    @property
    def touched(self) -> frozenset[str]:
        """The nodes it is about."""
        return frozenset([self.new.name])

    def change(self, draft: Draft) -> None:
        """Do it. Raises GraphError for a node or a cable that is not there."""
        draft.node(self.new.name)
        draft.nodes[self.new.name] = _loose(self.new)


@dataclass(frozen=True)
class Retuned(_OfNode):
    """A knob is turned; None is its default. ``at_hz`` is the frequency of the band that it belongs to."""

    kind: str
    knob: str
    was: float | None
    now: float | None
    at_hz: float | None = None

    def change(self, draft: Draft) -> None:
        """Do it. Raises GraphError for a node or a cable that is not there."""
        _set(draft.node(self.node).values, self.knob, self.now)


@dataclass(frozen=True)
class Limited(_OfNode):
    """The range of a knob is another one; None is the effect's own."""

    kind: str
    knob: str
    was: tuple[float, float] | None
    now: tuple[float, float] | None

    def change(self, draft: Draft) -> None:
        """Do it. Raises GraphError for a node or a cable that is not there."""
        _set(draft.node(self.node).ranges, self.knob, self.now)


@dataclass(frozen=True)
class Chosen(_OfNode):
    """An option is another one: ``(value,)``, or ``()`` for the default."""

    option: str
    was: tuple[Any, ...]
    now: tuple[Any, ...]

    def change(self, draft: Draft) -> None:
        """Do it. Raises GraphError for a node or a cable that is not there."""
        options = draft.node(self.node).options
        options.pop(self.option, None)
        if self.now:
            options[self.option] = self.now[0]


@dataclass(frozen=True)
class _Wired(Edit):
    cut: tuple[Edge, ...]
    laid: tuple[Laid, ...]

    def _ends(self) -> frozenset[str]:
        return _ends((*self.cut, *(laid.edge for laid in self.laid)))

    def _rewire(self, draft: Draft) -> None:
        for edge in self.cut:
            draft.cut(edge)
        for edge, place in self.laid:
            draft.lay(edge, place)

    def _fits(self, draft: Draft) -> bool:
        """Whether a graph is wired as the one that the edit was found on."""
        return all(draft.edge(e.source, e.target) for e in self.cut)


@dataclass(frozen=True)
class _OfNodes(_Wired):
    nodes: tuple[Node, ...]

    @property
    def touched(self) -> frozenset[str]:
        """The nodes it is about."""
        return frozenset(n.name for n in self.nodes) | self._ends()


@dataclass(frozen=True)
class Added(_OfNodes):
    """Nodes that are new, with their cables.

    Where another graph is cabled otherwise, what was put behind one node goes behind that one too.
    """

    def change(self, draft: Draft) -> None:
        """Do it. Raises GraphError for a node or a cable that is not there."""
        for node in self.nodes:
            draft.put(node)
        names = {n.name for n in self.nodes}
        into = [laid.edge for laid in self.laid if laid.edge.source.node not in names]
        ends = {laid.edge.source for laid in self.laid if laid.edge.target.node not in names}
        if draft.exact or self._fits(draft) or len(into) != 1 or len(ends) != 1:
            self._rewire(draft)
            return
        start, end = into[0].source, ends.pop()
        _move_on(draft, start, end)
        for edge, place in self.laid:
            if edge.target.node in names:
                draft.lay(edge, place)


@dataclass(frozen=True)
class Removed(_OfNodes):
    """Nodes that are gone, with their cables; ``laid`` are those that close the gap.

    Where another graph is cabled otherwise, the gap is closed as `Graph.without` does.
    """

    def change(self, draft: Draft) -> None:
        """Do it. Raises GraphError for a node or a cable that is not there."""
        names = [n.name for n in self.nodes]
        for name in names:
            draft.node(name)
        same = {(e.source, e.target) for e in self.cut} == {(e.source, e.target) for e in draft.edges(names)}
        laid = self.laid if same else bridges(draft, self.nodes)
        for name in names:
            draft.drop(name)
        for edge, place in laid:
            if draft.edge(edge.source, edge.target) is None:
                draft.lay(edge, place)


@dataclass(frozen=True)
class Moved(_Wired):
    """A node stands elsewhere in its chain, ``behind`` another one ("" if at the begin).

    In another graph that is cabled otherwise, it goes behind that one too.
    """

    node: str
    behind: str

    @property
    def touched(self) -> frozenset[str]:
        """The nodes it is about."""
        return frozenset([self.node]) | self._ends()

    def change(self, draft: Draft) -> None:
        """Do it. Raises GraphError for a node or a cable that is not there."""
        if self._fits(draft):
            self._rewire(draft)
            return
        node = Node(self.node, *draft.node(self.node))
        draft.node(self.behind)
        start = next((laid.edge.source for laid in self.laid if laid.edge.source.node == self.behind), None)
        if start is None:
            raise GraphError(f"the edit moves {self.node!r} behind {self.behind!r} without a cable from there")
        into, out = Endpoint(self.node, node.inlets[0].name), Endpoint(self.node, node.outlets[0].name)
        laid = bridges(draft, (node,))
        for edge in draft.edges([self.node]):
            if edge.target == into or edge.source == out:
                draft.cut(edge)
        for edge, place in laid:
            if draft.edge(edge.source, edge.target) is None:
                draft.lay(edge, place)
        _move_on(draft, start, out)
        draft.lay(Edge(start, into), 0)


def bridges(draft: Draft, nodes: Iterable[Node], most: int = 2000) -> tuple[Laid, ...]:
    """The cables that close the gap which nodes leave, as `Graph.without` does; one that is there stays as it is."""
    nodes = tuple(nodes)
    names = {n.name for n in nodes}
    edges = {(e.source, e.target): e for e in draft.edges(names)}
    places = {pair: draft.inlets[pair[1]].index(edge) for pair, edge in edges.items()}
    for node in nodes:
        first = node.inlets[0].name if node.inlets else None
        outlets = {p.name for p in node.outlets if p.kind != "control"}
        before = [e for e in edges.values() if e.target == (node.name, first) and e.source.node != node.name]
        after = [e for e in edges.values() if e.source.node == node.name and e.source.port in outlets]
        after = [e for e in after if e.target.node != node.name]
        if len(before) * len(after) > most:
            return ()
        for edge in after:
            for e in before:
                pair = e.source, edge.target
                edges.setdefault(pair, Edge(*pair, in_a_row(e.gain_db, edge.gain_db)))
                places.setdefault(pair, places[edge.source, edge.target])
        edges = {p: e for p, e in edges.items() if node.name not in (p[0].node, p[1].node)}
    return tuple(Laid(e, places[p]) for p, e in edges.items() if not names & {p[0].node, p[1].node})


class _OfCable(Edit):
    edge: Edge

    @property
    def touched(self) -> frozenset[str]:
        """The nodes it is about."""
        return _ends([self.edge])


@dataclass(frozen=True)
class Connected(_OfCable):
    """A cable is laid; ``kind`` is what it leads to."""

    edge: Edge
    place: int
    kind: str

    def change(self, draft: Draft) -> None:
        """Do it. Raises GraphError for a node or a cable that is not there."""
        draft.lay(self.edge, self.place)


@dataclass(frozen=True)
class Disconnected(_OfCable):
    """A cable is taken away."""

    edge: Edge
    kind: str

    def change(self, draft: Draft) -> None:
        """Do it. Raises GraphError for a node or a cable that is not there."""
        draft.cut(self.edge)


@dataclass(frozen=True)
class Sent(_OfCable):
    """A cable has another gain, or moves its knob by another amount."""

    old_edge: Edge
    edge: Edge
    kind: str

    def change(self, draft: Draft) -> None:
        """Do it. Raises GraphError for a node or a cable that is not there."""
        draft.lay(self.edge, draft.cut(self.edge))


@dataclass(frozen=True)
class Reordered(Edit):
    """An inlet adds its cables in another order, which only rounding hears."""

    inlet: Endpoint
    order: tuple[Endpoint, ...]

    @property
    def touched(self) -> frozenset[str]:
        """The nodes it is about."""
        return frozenset([self.inlet.node])

    def change(self, draft: Draft) -> None:
        """Do it. Raises GraphError for a node or a cable that is not there."""
        draft.node(self.inlet.node)
        rank = {source: n for n, source in enumerate(self.order)}
        draft.inlets.get(self.inlet, []).sort(key=lambda e: rank.get(e.source, len(rank)))


EDITS: Mapping[str, type[Edit]] = {
    kind.__name__.lower(): kind
    for kind in (
        Renamed,
        Exchanged,
        Chosen,
        Limited,
        Retuned,
        Removed,
        Moved,
        Added,
        Disconnected,
        Connected,
        Sent,
        Reordered,
    )
}
"""Every kind of edit by its name in files."""


def _move_on(draft: Draft, start: Endpoint, end: Endpoint) -> None:
    """Let what leaves one port leave another one, but for side chains."""
    for edge in draft.edges([start.node]):
        if edge.source == start and edge.target.port != "side_chain":
            draft.lay(replace(edge, source=end), draft.cut(edge))


def _set(values: dict[str, Any], name: str, value: Any) -> None:
    values.pop(name, None)
    if value is not None:
        values[name] = value


def _ends(edges: Iterable[Edge]) -> frozenset[str]:
    return frozenset(end.node for e in edges for end in (e.source, e.target))
