"""The graph as a value: effects by name, joined by edges that carry audio, side chains and control signals.

A `Graph` is plain, immutable data, free of sample rate and tensors: every edit gives another graph. Parameters belong
to a node by its name, never to a rank, so that no edit changes what another node's knobs mean.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Any

from diffmix.errors import GraphError, about
from diffmix.files import read_json
from diffmix.graph import file
from diffmix.graph.node import EDGE_AMOUNT, EDGE_GAIN, MOST_NODES, Edge, Endpoint, Node, number
from diffmix.graph.rules import Checked, checked
from diffmix.params import Param, ParamSpec
from diffmix.settings import shortest
from diffmix.types import Path


class Graph:
    """Nodes and edges; immutable.

    ``Graph()`` is empty; `add`, `connect`, `chained`, `without`, `replaced` and the rest each return another graph.
    What one node or edge gets wrong is refused when it is added; what only the whole can get wrong (an inlet without
    a signal, a cycle, channels that do not fit) by `check`, which every use calls.
    """

    __slots__ = ("_checked", "_into", "_out_of", "edges", "nodes")

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    _into: dict[str, list[Edge]] | None
    _out_of: dict[str, list[Edge]] | None
    _checked: Checked | None

    def __init__(self, nodes: Iterable[Node] = (), edges: Iterable[Edge] = ()) -> None:
        """A graph of these nodes and edges. Raises GraphError, naming the node and the rule."""
        by_name: dict[str, Node] = {}
        for node in nodes:
            if node.name in by_name:
                raise GraphError(f"two nodes are called {node.name!r}; every name stands once")
            by_name[node.name] = node
        self._set(by_name, ())
        edges = tuple(edges)
        for edge in edges:
            self._check_edge(edge)
        ends = Counter((e.source, e.target) for e in edges)
        if twice := [e for e in edges if ends[e.source, e.target] > 1]:
            raise GraphError(f"the edge {twice[0].name} stands {ends[twice[0].source, twice[0].target]} times")
        self._set(by_name, edges)

    def _set(self, nodes: dict[str, Node], edges: tuple[Edge, ...]) -> "Graph":
        if len(nodes) > MOST_NODES:
            raise GraphError(f"{len(nodes)} nodes are too many: a graph holds at most {MOST_NODES}")
        object.__setattr__(self, "nodes", MappingProxyType(nodes))
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "_into", None)
        object.__setattr__(self, "_out_of", None)
        object.__setattr__(self, "_checked", None)
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a graph is immutable; its methods return another one")

    def __reduce__(self) -> tuple[Any, ...]:
        return Graph, (tuple(self.nodes.values()), self.edges)

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same nodes, in any order, and at each inlet the same edges in the same order."""
        if not isinstance(other, Graph) or dict(self.nodes) != dict(other.nodes):
            return False
        if self.edges == other.edges:
            return True
        # signals are added in the order of the edges at an inlet; which inlet is named first changes no sample
        return _grouped(self.edges, lambda e: str(e.target)) == _grouped(other.edges, lambda e: str(e.target))

    def __hash__(self) -> int:
        return hash((frozenset(self.nodes), frozenset(self.edges)))

    def __len__(self) -> int:
        return len(self.nodes)

    def __contains__(self, name: object) -> bool:
        return name in self.nodes

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def __getitem__(self, name: str) -> Node:
        """A node by name; raises GraphError for an unknown one."""
        try:
            return self.nodes[name]
        except KeyError:
            raise GraphError(f"there is no node {name!r}; there are: {_some(self.nodes)}") from None

    def __repr__(self) -> str:
        return f"Graph({len(self.nodes)} nodes, {len(self.edges)} edges)"

    def __str__(self) -> str:
        """The graph as `from_text` reads it."""
        from diffmix.graph.text import write

        return write(self)

    @classmethod
    def from_text(cls, text: str) -> "Graph":
        """A graph as an engineer writes it: ``vox: in > hpf(80Hz) > comp(4:1, -20dB) > out``; see `diffmix.graph.text`.

        Raises GraphError with line and column, what came and what is expected there.
        """
        from diffmix.graph.text import parse

        return parse(text)

    @classmethod
    @about("path")
    def read(cls, path: Path) -> "Graph":
        """A graph from a file that holds it as JSON or as text. Raises GraphError."""
        try:
            text = FilePath(path).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise GraphError(f"{path} cannot be read as a graph: {why}") from None
        try:
            return cls.from_json(text) if text.lstrip().startswith("{") else cls.from_text(text)
        except GraphError as error:
            raise GraphError(f"{path}: {str(error).removeprefix('the given text ')}") from None

    def _repr_svg_(self) -> str:
        """The picture that a notebook shows."""
        from diffmix.graph.draw import to_svg

        return to_svg(self)

    # -- edits ---------------------------------------------------------------------------------------------------

    def _with(self, nodes: dict[str, Node], edges: tuple[Edge, ...]) -> "Graph":
        return object.__new__(Graph)._set(nodes, edges)

    def add(
        self,
        name: str,
        kind: str,
        /,
        values: Mapping[str, float] | None = None,
        *,
        ranges: Mapping[str, tuple[float, float]] | None = None,
        **options: Any,
    ) -> "Graph":
        """With one more node: ``graph.add("vox.eq", "PeakFilter", {"gain_db": 3})``.

        ``kind`` is an effect's class name, or ``In``, ``Out``, ``Sum``, ``Feedback``; ``options`` are the choices of
        its class. Raises GraphError.
        """
        return self.adding(Node(name, kind, values or {}, options, ranges or {}))

    def adding(self, *nodes: Node) -> "Graph":
        """With more nodes. Raises GraphError for a name that is taken."""
        new = dict(self.nodes)
        for node in nodes:
            if node.name in new:
                raise GraphError(f"two nodes are called {node.name!r}; every name stands once")
            new[node.name] = node
        return self._with(new, self.edges)

    def connect(
        self, source: str, target: str, gain_db: float | None = None, *, amount: float | None = None
    ) -> "Graph":
        """With an edge: ``graph.connect("kick", "bass.comp:side_chain")``.

        An endpoint is a node, or ``node:port``; without a port the first one. A control edge's target may be a knob,
        ``"vox.pan:pan"``, and has an ``amount`` (1 if not given). Raises GraphError.
        """
        start, end = self.endpoint(source, "outlet"), self.endpoint(target, "inlet")
        if amount is None and self[end.node].inlet(end.port).kind == "control":
            amount = EDGE_AMOUNT.default
        edge = Edge(start, end, gain_db, amount)
        self._check_edge(edge)
        if any(e.target == edge.target and e.source == edge.source for e in self.edges):
            raise GraphError(f"the edge {edge.name} stands twice")
        return self._with(dict(self.nodes), (*self.edges, edge))

    def chained(self, *names: str) -> "Graph":
        """With a wire from each of these nodes to the next."""
        graph = self
        for source, target in pairwise(names):
            graph = graph.connect(source, target)
        return graph

    def disconnect(self, source: str, target: str) -> "Graph":
        """Without the edge between two endpoints. Raises GraphError if there is none."""
        start, end = self.endpoint(source, "outlet"), self.endpoint(target, "inlet")
        kept = tuple(e for e in self.edges if (e.source, e.target) != (start, end))
        if len(kept) == len(self.edges):
            raise GraphError(f"there is no edge {start}>{end}")
        return self._with(dict(self.nodes), kept)

    def without(self, *names: str) -> "Graph":
        """Without these nodes, as if each were a wire: what came into its first inlet goes where its outlets went.

        Gains of the edges add up; where a cable is there already, both become one of as much gain together. Edges at
        its other inlets and at its control outlets go with it.
        """
        graph = self
        for name in names:
            node = graph[name]
            first = node.inlets[0].name if node.inlets else None
            before = [e for e in graph._at(name) if e.target.port == first]
            after = [e for e in graph._from(name) if node.outlet(e.source.port).kind != "control"]
            kept: dict[tuple[Endpoint, Endpoint], Edge] = {}
            for edge in graph.edges:
                new = [edge]
                if edge in after:  # the new edges stand where the old one stood: sums keep their order
                    new = [Edge(e.source, edge.target, in_a_row(e.gain_db, edge.gain_db)) for e in before]
                for e in new:
                    if name not in (e.source.node, e.target.node):
                        ends = e.source, e.target
                        kept[ends] = replace(e, gain_db=_beside(kept[ends].gain_db, e.gain_db)) if ends in kept else e
            graph = graph._with({k: v for k, v in graph.nodes.items() if k != name}, tuple(kept.values()))
            for edge in graph.edges:
                graph._check_edge(edge)
        return graph

    def removed(self, *names: str) -> "Graph":
        """Without these nodes and all their edges."""
        for name in names:
            self[name]
        gone = set(names)
        edges = tuple(e for e in self.edges if not gone & {e.source.node, e.target.node})
        return self._with({k: v for k, v in self.nodes.items() if k not in gone}, edges)

    def replaced(self, name: str, /, **changes: Any) -> "Graph":
        """With a node's fields changed: ``graph.replaced("vox.eq", kind="GraphicEQ", values={})``; edges stay."""
        old = self[name]
        new = replace(old, **changes)
        nodes = {new.name if k == name else k: new if k == name else v for k, v in self.nodes.items()}
        if len(nodes) < len(self.nodes):
            raise GraphError(f"two nodes are called {new.name!r}; every name stands once")
        graph = self._with(nodes, self.edges if new.name == name else self._renamed_edges({name: new.name}))
        for edge in (*graph._at(new.name), *graph._from(new.name)):
            graph._check_edge(edge)
        return graph

    def turned(self, name: str, /, **values: float) -> "Graph":
        """With some knobs of a node at other values, or an edge's ``gain_db`` or ``amount`` by the edge's name."""
        if name in self.nodes:
            return self.replaced(name, values={**self.nodes[name].values, **values})
        edges = list(self.edges)
        at = next((n for n, e in enumerate(edges) if e.name == name), None)
        if at is None:
            raise GraphError(f"there is no node or edge {name!r}; there are: {_some(self.nodes)}")
        if unknown := sorted(values.keys() - {"gain_db", "amount"}):
            raise GraphError(f"the edge {name} has no {unknown[0]!r}; it may have a gain_db or an amount")
        edges[at] = replace(edges[at], **values)  # type: ignore[arg-type]
        self._check_edge(edges[at])
        return self._with(dict(self.nodes), tuple(edges))

    def renamed(self, names: Mapping[str, str]) -> "Graph":
        """With nodes called otherwise, by their old names."""
        for old in names:
            self[old]
        nodes = [replace(node, name=names.get(node.name, node.name)) for node in self]
        return Graph(nodes, self._renamed_edges(names))

    def _renamed_edges(self, names: Mapping[str, str]) -> tuple[Edge, ...]:
        def moved(end: Endpoint) -> Endpoint:
            return Endpoint(names.get(end.node, end.node), end.port)

        return tuple(replace(e, source=moved(e.source), target=moved(e.target)) for e in self.edges)

    def union(self, other: "Graph") -> "Graph":
        """Both graphs beside each other. Raises GraphError for a name that both have."""
        graph = self.adding(*other)
        return graph._with(dict(graph.nodes), self.edges + other.edges)

    # -- questions -----------------------------------------------------------------------------------------------

    def endpoint(self, text: str, side: str) -> Endpoint:
        """``"node"`` or ``"node:port"`` as an endpoint; ``side`` is ``"outlet"`` or ``"inlet"``. Raises GraphError."""
        name, _, port = text.partition(":")
        node = self[name]
        if not port:
            ports = node.outlets if side == "outlet" else node.inlets
            if not ports:
                raise GraphError(f"node {name!r}: {node.kind} has no {side}")
            port = ports[0].name
        (node.outlet if side == "outlet" else node.inlet)(port)
        return Endpoint(name, port)

    def into(self, name: str, inlet: str | None = None) -> tuple[Edge, ...]:
        """The edges that end at a node, or at one of its inlets, in order."""
        self[name]
        return tuple(e for e in self._at(name) if inlet in (None, e.target.port))

    def out_of(self, name: str, outlet: str | None = None) -> tuple[Edge, ...]:
        """The edges that start at a node, or at one of its outlets, in order."""
        self[name]
        return tuple(e for e in self._from(name) if outlet in (None, e.source.port))

    def _at(self, name: str) -> list[Edge]:
        if self._into is None:
            object.__setattr__(self, "_into", _grouped(self.edges, lambda e: e.target.node))
        assert self._into is not None
        return self._into.get(name, [])

    def _from(self, name: str) -> list[Edge]:
        if self._out_of is None:
            object.__setattr__(self, "_out_of", _grouped(self.edges, lambda e: e.source.node))
        assert self._out_of is not None
        return self._out_of.get(name, [])

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the ``In`` nodes, in order."""
        return tuple(node.name for node in self if node.kind == "In")

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the ``Out`` nodes, in order."""
        return tuple(node.name for node in self if node.kind == "Out")

    def spec(self, edges: bool = True) -> ParamSpec:
        """Every knob as ``node.knob``, and if ``edges``, every ``edge.gain_db`` and ``edge.amount`` that is given.

        Defaults are the graph's values, so that ``spec().default()`` are the controls of the graph as it is.
        """
        params = {}
        for node in self:
            for knob, p in node.params.items():
                params[f"{node.name}.{knob}"] = replace(p, default=p.nearest(node.setting(knob)))
        for edge in self.edges if edges else ():
            if edge.gain_db is not None:
                params[f"{edge.name}.gain_db"] = replace(EDGE_GAIN, default=edge.gain_db)
            if edge.amount is not None:
                params[f"{edge.name}.amount"] = replace(EDGE_AMOUNT, default=edge.amount)
        return ParamSpec(params)

    def at(self, values: Mapping[str, float]) -> "Graph":
        """The graph with knobs set by the names of `spec`: ``graph.at({"vox.eq.gain_db": 3})``. Raises GraphError."""
        by_owner: dict[str, dict[str, float]] = {}
        for name, value in values.items():
            owner, _, knob = name.rpartition(".")
            by_owner.setdefault(owner, {})[knob] = value
        graph = self
        for owner, knobs in by_owner.items():
            graph = graph.turned(owner, **knobs)
        return graph

    # -- rules ---------------------------------------------------------------------------------------------------

    def _check_edge(self, edge: Edge) -> None:
        out = self[edge.source.node].outlet(edge.source.port)
        into = self[edge.target.node].inlet(edge.target.port)
        if (out.kind == "control") != (into.kind == "control"):
            raise GraphError(f"the edge {edge.name} joins an outlet for {out.kind} to an inlet for {into.kind}")
        if into.kind == "control":
            if edge.gain_db is not None:
                raise GraphError(f"the edge {edge.name} carries a control signal: it has an amount, not a gain_db")
            _inside(edge, "amount", edge.amount, EDGE_AMOUNT)
        else:
            if edge.amount is not None:
                raise GraphError(f"the edge {edge.name} carries audio: it has a gain_db, not an amount")
            if edge.gain_db is not None:
                _inside(edge, "gain_db", edge.gain_db, EDGE_GAIN)

    def check(self) -> Checked:
        """Order of rendering and channels of every outlet.

        Raises GraphError, naming node and rule, for a required inlet without a signal, a cycle without a ``Feedback``,
        channels that do not fit, or a graph without an output.
        """
        if self._checked is None:
            object.__setattr__(self, "_checked", checked(self))
        assert self._checked is not None
        return self._checked

    # -- files ---------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain data with format and version; what is at its default is left out."""
        return file.to_dict(self)

    @classmethod
    def from_dict(cls, data: Any, where: str = "the given data") -> "Graph":
        """The graph of `to_dict`'s data. Raises GraphError for another format, a later version, or a broken rule."""
        return cls(*file.parts(data, where))

    def to_json(self, path: Path | None = None) -> str:
        """JSON text, one line per node and edge; also written to ``path`` if given (OutputError if that cannot be)."""
        return file.save(self, path)

    @classmethod
    def from_json(cls, source: Path) -> "Graph":
        """Read a file written by `to_json`, or its text. Raises GraphError."""
        return cls.from_dict(*read_json(source, "a graph", GraphError))


def _grouped(edges: Iterable[Edge], node: Callable[[Edge], str]) -> dict[str, list[Edge]]:
    found: dict[str, list[Edge]] = {}
    for edge in edges:
        found.setdefault(node(edge), []).append(edge)
    return found


def in_a_row(first: float | None, second: float | None) -> float | None:
    """The gain of two cables in a row; what no cable can turn down further is silent."""
    return first if second is None else second if first is None else max(first + second, EDGE_GAIN.low)


def _beside(first: float | None, second: float | None) -> float:
    """The gain of two cables beside each other."""
    return shortest(20 * math.log10(sum(10 ** ((gain or 0.0) / 20) for gain in (first, second))))


def _inside(edge: Edge, what: str, value: float | None, limits: Param) -> None:
    given = math.nan if value is None else number(f"the edge {edge.name}: {what}", value)
    if not limits.low <= given <= limits.high:
        outside = f"the edge {edge.name}: {what} is {value}, allowed {limits.range_text()}"
        raise GraphError(outside).of(f"{edge.name}.{what}", value, (limits.low, limits.high))


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return (", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")) or "none"
