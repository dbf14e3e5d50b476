"""The graph as a value: effects by name, joined by edges that carry audio, side chains and control signals.

A `Graph` is plain, immutable data, free of sample rate and tensors: every edit gives another graph. Parameters belong
to a node by its name, never to a rank, so that no edit changes what another node's knobs mean.
"""

import inspect
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Any, NamedTuple

from diffmix.errors import DiffmixError, GraphError, SettingsError
from diffmix.files import write_text
from diffmix.params import Param, ParamSpec
from diffmix.processors.base import REGISTRY, Port, Processor
from diffmix.settings import shortest
from diffmix.types import Path

FORMAT, VERSION = "diffmix-graph", 1

MOST_NODES = 10_000
"""A graph holds no more: beyond it, a mistake is likelier than a wish."""

EDGE_GAIN = Param(-120, 40, 0, "dB", doc="level of what an edge carries")
EDGE_AMOUNT = Param(-20_000, 20_000, 1, "", doc="how far a control signal of 1 moves a knob: in its unit, or octaves")

BUILT_IN: dict[str, tuple[tuple[Port, ...], tuple[Port, ...], dict[str, Any]]] = {
    "In": ((), (Port("out"),), {"channels": 2}),
    "Out": ((Port("in"),), (), {}),
    "Sum": ((Port("in"),), (Port("out"),), {}),
    "Feedback": ((Port("in"),), (Port("out"),), {"channels": 2, "delay_ms": 50.0}),
}
"""What a graph has besides effects: inlets, outlets and options. A cycle is legal through a ``Feedback``, whose output
is its input ``delay_ms`` later."""


class Endpoint(NamedTuple):
    """A port of a node."""

    node: str
    port: str

    def __str__(self) -> str:
        return f"{self.node}:{self.port}"


@dataclass(frozen=True)
class Node:
    """One effect, source, output, sum or feedback.

    ``values`` holds the knobs that are not at their default, in physical units; ``options`` the choices of its class
    (``{"law": "linear"}``); ``ranges`` narrower (low, high) by knob, equal limits lock it.
    """

    name: str
    kind: str
    values: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    params: Mapping[str, Param] = field(init=False, repr=False, compare=False)
    """Its knobs, as narrowed by its options and ``ranges``."""
    inlets: tuple[Port, ...] = field(init=False, repr=False, compare=False)
    """Where signals enter, besides the knobs that may be modulated."""
    outlets: tuple[Port, ...] = field(init=False, repr=False, compare=False)
    """Where signals leave."""

    def __post_init__(self) -> None:
        if not _is_name(self.name):
            raise GraphError(f"a node cannot be called {self.name!r}: a name is text in one line, without ':' and '>'")
        if not isinstance(self.kind, str):
            raise GraphError(f"node {self.name!r}: its kind is {self.kind!r}, the name of an effect is expected")
        values = {k: _number(f"node {self.name!r}: {k}", v) for k, v in self.values.items()}
        object.__setattr__(self, "values", MappingProxyType(values))
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))
        object.__setattr__(self, "ranges", MappingProxyType({k: self._range(k, v) for k, v in self.ranges.items()}))
        params: Mapping[str, Param] = {}
        if self.kind in BUILT_IN:
            self._check_built_in()
            usual = BUILT_IN[self.kind][2]
            chosen = {k: v for k, v in self.options.items() if v != usual[k]}  # so that equal nodes compare equal
            object.__setattr__(self, "options", MappingProxyType(chosen))
            inlets, outlets, _ = BUILT_IN[self.kind]
        else:
            effect = self._checked_effect()
            inlets, outlets, params = effect.inlets, effect.outlets, effect.spec.params
        for name, value in (("params", MappingProxyType(params)), ("inlets", inlets), ("outlets", outlets)):
            object.__setattr__(self, name, value)

    def _range(self, knob: str, limits: Any) -> tuple[float, float]:
        if not isinstance(limits, tuple | list) or len(limits) != 2:
            raise GraphError(f"node {self.name!r}: the range of {knob} is {limits!r}, two numbers are expected")
        low, high = (_number(f"node {self.name!r}: an end of the range of {knob}", v) for v in limits)
        return low, high

    def __reduce__(self) -> tuple[Any, ...]:  # its mappings cannot be pickled
        return Node, (self.name, self.kind, dict(self.values), dict(self.options), dict(self.ranges))

    def _check_built_in(self) -> None:
        allowed = BUILT_IN[self.kind][2]
        if self.values or self.ranges:
            raise GraphError(f"node {self.name!r}: {self.kind} has no knobs")
        if unknown := sorted(self.options.keys() - allowed.keys()):
            raise GraphError(
                f"node {self.name!r}: {self.kind} has no option {unknown[0]!r}; it has {', '.join(allowed) or 'none'}"
            )
        channels = self.options.get("channels", 1)
        if type(channels) is not int or channels not in (1, 2):
            raise GraphError(f"node {self.name!r}: channels is {channels!r}, allowed are 1 and 2")
        if not 1 <= _number(f"node {self.name!r}: delay_ms", self.options.get("delay_ms", 1)) <= 10_000:
            raise GraphError(f"node {self.name!r}: delay_ms is {self.options['delay_ms']:g} ms, allowed 1..10000 ms")

    def _checked_effect(self) -> Processor:
        if self.kind not in REGISTRY:
            near = sorted(k for k in REGISTRY if k[:3].lower() == self.kind[:3].lower())
            raise GraphError(
                f"node {self.name!r}: there is no effect {self.kind!r} ({', '.join(near) or 'see diffmix.processors'})"
            )
        try:
            effect = prototype(self.kind, frozen_options(self.options), frozen_options(self.ranges))
        except (DiffmixError, TypeError, ValueError, OverflowError) as error:
            raise GraphError(f"node {self.name!r} ({self.kind}): {error}") from None
        params = effect.spec.params
        for knob, value in self.values.items():
            if knob not in params:
                raise GraphError(f"node {self.name!r}: {self.kind} has no knob {knob!r}; it has: {', '.join(params)}")
            if not _allowed(value, params[knob]):
                raise GraphError(
                    f"node {self.name!r}: {knob} = {value:g} {params[knob].unit}".rstrip()
                    + f", allowed {params[knob].range_text()}"
                )
        return effect

    def option(self, name: str) -> Any:
        """A built-in's option, or its default."""
        return self.options.get(name, BUILT_IN[self.kind][2][name])

    def setting(self, knob: str) -> float:
        """A knob's value, its default if not given."""
        return self.values[knob] if knob in self.values else shortest(self.params[knob].default)

    @property
    def settings(self) -> dict[str, float]:
        """Every knob's value."""
        return {knob: self.setting(knob) for knob in self.params}

    def inlet(self, name: str) -> Port:
        """A port by name; a modulatable knob is a control inlet that hears the first channel. Raises GraphError."""
        for port in self.inlets:
            if port.name == name:
                return port
        if name in self.params:
            if not self.params[name].modulatable:
                raise GraphError(f"node {self.name!r}: the knob {name} of {self.kind} cannot be modulated")
            return Port(name, None, "control", optional=True)
        knobs = [knob for knob, p in self.params.items() if p.modulatable]
        known = ", ".join([port.name for port in self.inlets] + knobs) or "none"
        raise GraphError(f"node {self.name!r}: {self.kind} has no inlet {name!r}; it has: {known}")

    def outlet(self, name: str) -> Port:
        """A port by name. Raises GraphError."""
        for port in self.outlets:
            if port.name == name:
                return port
        known = ", ".join(port.name for port in self.outlets) or "none"
        raise GraphError(f"node {self.name!r}: {self.kind} has no outlet {name!r}; it has: {known}")


@dataclass(frozen=True)
class Edge:
    """A cable from an outlet to an inlet.

    Audio and side chains may have a ``gain_db``; without one the edge is a wire. A control signal is multiplied by
    ``amount``: at a knob that is its reach for a signal of 1, in the knob's unit, or in octaves where its scale is
    logarithmic (Hz, ms, ratios and Q); the moved knob stays inside its range.
    """

    source: Endpoint
    target: Endpoint
    gain_db: float | None = None
    amount: float | None = None

    def __post_init__(self) -> None:
        for what in ("gain_db", "amount"):
            if type(value := getattr(self, what)) not in (float, int, type(None)):
                object.__setattr__(self, what, _number(f"the edge {self.name}: {what}", value))

    @property
    def name(self) -> str:
        """``source>target``, with ports."""
        return f"{self.source}>{self.target}"


@lru_cache(maxsize=4096)
def prototype(kind: str, options: str, ranges: str) -> Processor:
    """An effect for what does not depend on the sample rate: ports and limits."""
    return make(kind, json.loads(options), json.loads(ranges), 48_000)


def make(
    kind: str, options: Mapping[str, Any], ranges: Mapping[str, Any], sample_rate: float, **more: Any
) -> Processor:
    """An effect of a class by name. Raises SettingsError for options that the class does not have."""
    allowed = list(inspect.signature(REGISTRY[kind].__init__).parameters)[4:]
    if unknown := sorted(options.keys() - set(allowed)):
        raise SettingsError(f"{kind} has no option {unknown[0]!r}; it has: {', '.join(allowed) or 'none'}")
    return REGISTRY[kind](sample_rate, ranges or None, **options, **more)


def frozen_options(mapping: Mapping[str, Any]) -> str:
    """Options or ranges as text that can be compared and hashed."""
    try:
        return json.dumps(dict(mapping), sort_keys=True)
    except TypeError as error:
        raise GraphError(f"an option must be plain data: {error}") from None


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
    _checked: "Checked | None"

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
                    new = [Edge(e.source, edge.target, _added(e.gain_db, edge.gain_db)) for e in before]
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
                params[f"{node.name}.{knob}"] = replace(p, default=min(max(node.setting(knob), p.low), p.high))
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

    def check(self) -> "Checked":
        """Order of rendering and channels of every outlet.

        Raises GraphError, naming node and rule, for a required inlet without a signal, a cycle without a ``Feedback``,
        channels that do not fit, or a graph without an output.
        """
        if self._checked is None:
            object.__setattr__(self, "_checked", _check(self))
        assert self._checked is not None
        return self._checked

    # -- files ---------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain data with format and version; what is at its default is left out."""
        nodes = []
        for node in self:
            entry: dict[str, Any] = {"name": node.name, "kind": node.kind}
            entry |= {key: dict(part) for key in ("values", "options") if (part := getattr(node, key))}
            if node.ranges:
                entry["ranges"] = {knob: list(limits) for knob, limits in node.ranges.items()}
            nodes.append(entry)
        edges = []
        for edge in self.edges:
            entry = {"from": str(edge.source), "to": str(edge.target)}
            entry |= {key: v for key in ("gain_db", "amount") if (v := getattr(edge, key)) is not None}
            edges.append(entry)
        return {"format": FORMAT, "version": VERSION, "nodes": nodes, "edges": edges}

    @classmethod
    def from_dict(cls, data: Any, where: str = "the given data") -> "Graph":
        """The graph of `to_dict`'s data. Raises GraphError for another format, a later version, or a broken rule."""
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            raise GraphError(f"{where} does not hold a graph: its format is not {FORMAT!r}")
        if data.get("version") != VERSION:
            raise GraphError(f"{where} has version {data.get('version')}, this diffmix reads version {VERSION}")
        if extra := sorted(data.keys() - {"format", "version", "nodes", "edges"}):
            raise GraphError(f"{where} holds {extra[0]!r}, which no graph has")
        entries = [_entry(where, data, "nodes", ("name", "kind")), _entry(where, data, "edges", ("from", "to"))]
        if len(entries[0]) > MOST_NODES:
            raise GraphError(f"{where}: {len(entries[0])} nodes are too many: a graph holds at most {MOST_NODES}")
        nodes = [
            Node(e["name"], e["kind"], e.get("values", {}), e.get("options", {}), e.get("ranges", {}))
            for e in entries[0]
        ]
        edges = [
            Edge(_end(where, e["from"]), _end(where, e["to"]), e.get("gain_db"), e.get("amount")) for e in entries[1]
        ]
        return cls(nodes, edges)

    def to_json(self, path: Path | None = None) -> str:
        """JSON text, one line per node and edge; also written to ``path`` if given (OutputError if that cannot be)."""
        data = self.to_dict()
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

    @classmethod
    def from_json(cls, source: Path) -> "Graph":
        """Read a file written by `to_json`, or its text. Raises GraphError."""
        text, name = str(source), "the given text"
        if not text.lstrip().startswith("{"):
            name = text
            try:
                text = FilePath(source).read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                raise GraphError(f"{name} cannot be read as a graph: {error}") from None
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:  # ValueError also for a number of too many digits
            raise GraphError(f"{name} is not JSON: {error}") from None
        return cls.from_dict(data, name)


class Checked(NamedTuple):
    """What `Graph.check` finds: nodes in an order in which they can be rendered, and the channels of each outlet.

    ``loops`` are the cycles: sets of nodes that reach each other through a ``Feedback``.
    """

    order: tuple[str, ...]
    channels: Mapping[Endpoint, int]
    loops: tuple[frozenset[str], ...]


def _check(graph: Graph) -> Checked:
    if not graph.outputs:
        raise GraphError("the graph has no Out node: nothing would be heard")
    # edges into a Feedback do not hold its output back
    waits = {name: sum(graph[name].kind != "Feedback" for _ in graph._at(name)) for name in graph.nodes}
    ready = [name for name, count in waits.items() if not count]
    order: list[str] = []
    for name in ready:  # grows while it is read
        order.append(name)
        for edge in graph._from(name):
            if graph[edge.target.node].kind != "Feedback":
                waits[edge.target.node] -= 1
                if not waits[edge.target.node]:
                    ready.append(edge.target.node)
    if len(order) < len(graph):
        cycle = _cycle(graph, {name for name, count in waits.items() if count})
        raise GraphError(f"the nodes {' > '.join(cycle)} are a cycle: a cycle needs a Feedback node, which delays it")
    channels = _channels(graph, order)
    return Checked(tuple(order), channels, _loops(graph))


def _cycle(graph: Graph, left: set[str]) -> list[str]:
    """The names along one cycle among nodes of which each has a predecessor among them, the first one again last."""
    path, seen = [min(left)], {}
    while path[-1] not in seen:
        seen[path[-1]] = len(path) - 1
        path.append(next(e.source.node for e in graph._at(path[-1]) if e.source.node in left))
    return path[seen[path[-1]] :][::-1]


def _channels(graph: Graph, order: Iterable[str]) -> dict[Endpoint, int]:
    channels: dict[Endpoint, int] = {}
    fed_back = []
    for name in order:
        node = graph[name]
        if node.kind in ("In", "Feedback"):
            channels[Endpoint(name, "out")] = node.option("channels")
        if node.kind == "Feedback":
            fed_back.append(name)
            continue
        first = _fitting(graph, name, channels)
        for port in node.outlets if node.kind != "In" else ():
            channels[Endpoint(name, port.name)] = port.channels or first
    for name in fed_back:
        if _fitting(graph, name, channels) != graph[name].option("channels"):
            raise GraphError(
                f"node {name!r}: a Feedback of {graph[name].option('channels')} channel(s) gets "
                f"{_fitting(graph, name, channels)}"
            )
    return channels


def _fitting(graph: Graph, name: str, channels: Mapping[Endpoint, int]) -> int:
    """The channels at a node's first inlet, after checking what every inlet gets."""
    node, first = graph[name], 1
    at = graph._at(name)
    for port in (*node.inlets, *(node.inlet(p) for p in {e.target.port for e in at} - {p.name for p in node.inlets})):
        edges = [e for e in at if e.target.port == port.name]
        if not edges:
            if not port.optional:
                raise GraphError(f"node {name!r}: nothing is connected to the inlet {port.name!r} of {node.kind}")
            continue
        came = {channels[e.source] for e in edges}
        if len(came) > 1:
            listed = ", ".join(f"{channels[e.source]} from {e.source}" for e in edges[:4])
            raise GraphError(f"node {name!r}: signals of one inlet have equal channels, {port.name!r} gets {listed}")
        count = came.pop()
        if port.channels not in (None, count):
            hint = "; a Pan makes stereo of mono" if (count, port.channels) == (1, 2) else ""
            raise GraphError(
                f"node {name!r}: the inlet {port.name!r} of {node.kind} takes {port.channels} channel(s), "
                f"{edges[0].source} has {count}{hint}"
            )
        if port is node.inlets[0]:
            first = count
    return first


def _loops(graph: Graph) -> tuple[frozenset[str], ...]:
    """Strongly connected sets that hold a Feedback: what a Feedback reaches and is reached by."""

    def reached(start: str, back: bool) -> set[str]:
        found, todo = {start}, [start]
        while todo:
            edges = graph._at(todo.pop()) if back else graph._from(todo.pop())
            for name in {e.source.node if back else e.target.node for e in edges} - found:
                found.add(name)
                todo.append(name)
        return found

    loops: list[frozenset[str]] = []
    for node in graph:
        if node.kind == "Feedback" and not any(node.name in loop for loop in loops):
            loops.append(frozenset(reached(node.name, False) & reached(node.name, True)))
    return tuple(loops)


def _allowed(value: float, limits: Param) -> bool:
    """Inside, or beside an end by no more than float32 rounds; NaN is not."""
    near = any(math.isclose(value, end, rel_tol=1e-6) for end in (limits.low, limits.high))
    return limits.low <= value <= limits.high or near


def _grouped(edges: Iterable[Edge], node: Callable[[Edge], str]) -> dict[str, list[Edge]]:
    found: dict[str, list[Edge]] = {}
    for edge in edges:
        found.setdefault(node(edge), []).append(edge)
    return found


def _added(first: float | None, second: float | None) -> float | None:
    """The gain of two cables in a row; what no cable can turn down further is silent."""
    return first if second is None else second if first is None else max(first + second, EDGE_GAIN.low)


def _beside(first: float | None, second: float | None) -> float:
    """The gain of two cables beside each other."""
    return shortest(20 * math.log10(sum(10 ** ((gain or 0.0) / 20) for gain in (first, second))))


def _is_name(name: Any) -> bool:
    if not isinstance(name, str) or not name or name != name.strip():
        return False
    return not any(c in ":>\r\n" or "\ud800" <= c <= "\udfff" for c in name)  # no file holds half a character


def _number(what: str, value: Any) -> float:
    """A plain number, as files hold it. Raises GraphError for anything else."""
    try:
        if isinstance(value, bool | str):
            raise TypeError
        return value if isinstance(value, int) and abs(value) < 2**53 else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise GraphError(f"{what} is {_brief(value)}, a number is expected") from None


def _brief(value: Any) -> str:
    text = "a number of very many digits" if isinstance(value, int) and abs(value) > 2**53 else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _inside(edge: Edge, what: str, value: float | None, limits: Param) -> None:
    given = math.nan if value is None else _number(f"the edge {edge.name}: {what}", value)
    if not limits.low <= given <= limits.high:
        raise GraphError(f"the edge {edge.name}: {what} is {value}, allowed {limits.range_text()}")


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return (", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")) or "none"


def _entry(where: str, data: Mapping[str, Any], key: str, fields: tuple[str, str]) -> list[Mapping[str, Any]]:
    """The list of nodes or edges of a file, its types checked."""
    more = {"nodes": ("values", "options", "ranges"), "edges": ("gain_db", "amount")}[key]
    entries = data.get(key)
    if not isinstance(entries, list):
        raise GraphError(f"{where}: {key} is {type(entries).__name__}, a list is expected")
    for number, entry in enumerate(entries):
        place = f"{where}: {key}[{number}]"
        if not isinstance(entry, Mapping) or not all(isinstance(entry.get(f), str) for f in fields):
            raise GraphError(f"{place} needs {fields[0]} and {fields[1]} as text")
        if extra := sorted(entry.keys() - {*fields, *more}):
            raise GraphError(f"{place} holds {extra[0]!r}; allowed are {', '.join((*fields, *more))}")
        for field_name in more:
            value = entry.get(field_name)
            if key == "nodes" and field_name in entry and not isinstance(value, Mapping):
                raise GraphError(f"{place}: {field_name} is {type(value).__name__}, an object is expected")
            numbers = value.items() if isinstance(value, Mapping) and field_name == "values" else ()
            for knob, number_given in (
                *numbers,
                *(((field_name, value),) if key == "edges" and value is not None else ()),
            ):
                if isinstance(number_given, bool) or not isinstance(number_given, int | float):
                    raise GraphError(f"{place}: {knob} is {number_given!r}, a number is expected")
        for knob, limits in (entry.get("ranges") or {}).items():
            if not isinstance(limits, list) or len(limits) != 2:
                raise GraphError(f"{place}: the range of {knob} is {limits!r}, two numbers are expected")
    return entries


def _end(where: str, text: str) -> Endpoint:
    node, _, port = text.partition(":")
    if not port:
        raise GraphError(f"{where}: {text!r} is no endpoint; one is written node:port")
    return Endpoint(node, port)
