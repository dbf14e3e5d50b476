"""The order of work: a graph as a list of steps, in which nodes of one kind run together.

A step takes its signals from values that earlier steps wrote and never touches them again, so that a value can be freed
after its last reader. What runs together depends on kinds and cables only, not on names or on the order of nodes.

Neighbouring linear filters are one cascade; a pan (with the gain in front of it) that ends in sums is added to all of
them in one pass. Both change no sample.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from diffmix.graph.graph import Graph
from diffmix.graph.node import Edge, Endpoint, frozen_options
from diffmix.graph.plan import Batch, Inlet, Loop, Place, Plan, Step, Sum, Value, source_of
from diffmix.graph.rules import Checked
from diffmix.processors.base import REGISTRY, LinearFilter

TOGETHER = 16
"""How many nodes run together; more would only need more memory."""

PLACING = ("Pan", "BalanceWidth", "Imager")


def schedule(
    graph: Graph,
    targets: Iterable[Value] = (),
    given: Iterable[Value] = (),
    late: bool = False,
    own: Mapping[str, object] = MappingProxyType({}),
) -> Plan:
    """The steps that make ``targets`` (the outputs, if none are named) from ``given`` values and the graph's sources.

    ``late`` says that signals may arrive at different times (effects that look ahead, in chunks): sums are then made
    one by one, where they can be aligned. ``own`` are nodes with an effect of their own, which run together with those
    that share it. Raises GraphError as `Graph.check`.
    """
    checked = graph.check()
    outputs = tuple(source_of(graph, name, "in") for name in graph.outputs)
    return _Scheduler(graph, checked, tuple(targets) or outputs, set(given), late, own).plan()


class _Unit:
    """Work that is done at once: a run of nodes, a loop."""

    __slots__ = ("edges", "index", "kind", "missing", "moved", "nodes", "recent", "signals", "writes")

    def __init__(self, nodes: tuple[str, ...]) -> None:
        self.nodes = nodes
        self.signals: dict[str, Value] = {}
        self.moved: dict[str, tuple[Edge, ...]] = {}
        self.edges: tuple[Edge, ...] = ()  # of a placed track: one to each sum
        self.writes: tuple[Endpoint, ...] = ()
        self.kind: Any = None
        self.missing = 0
        self.recent = 0
        self.index = 0  # where its first node stands in the graph

    def reads(self) -> Iterator[Value]:
        yield from self.signals.values()
        for edges in self.moved.values():
            yield from (e.source for e in edges)


class _Scheduler:
    def __init__(
        self,
        graph: Graph,
        checked: Checked,
        targets: tuple[Value, ...],
        given: set[Value],
        late: bool,
        own: Mapping[str, object],
    ) -> None:
        self.graph, self.checked, self.targets, self.given = graph, checked, targets, given
        self.late, self.own = late, own
        self.given |= {Endpoint(name, "out") for name in graph.sources}
        open_loops = [loop for loop in checked.loops if not self._fed(loop) <= given]
        self.loop_of = {name: loop for loop in open_loops for name in loop}
        self.maker: dict[Value, _Unit] = {}  # who writes an outlet
        self.sums: dict[Inlet, list[Edge]] = {}  # the edges an inlet still waits for
        self.begun: set[Inlet] = set()
        self.placed: dict[Edge, _Unit] = {}
        self.readers: dict[Value, list[_Unit]] = {}
        self.waiting: dict[Endpoint, list[Inlet]] = {}
        self.ready: dict[Any, list[_Unit]] = {}
        self.steps: list[Step] = []
        self.made: set[Value] = set()

    def _fed(self, loop: frozenset[str]) -> set[Value]:
        return {Endpoint(name, "out") for name in loop if self.graph[name].kind == "Feedback"}

    # -- what has to be done ---------------------------------------------------------------------------------------

    def plan(self) -> Plan:
        units = self._units()
        index = {name: n for n, name in enumerate(self.graph.nodes)}
        for unit in units:
            unit.index = index[unit.nodes[0]]
            reads = [v for v in set(unit.reads()) if v not in self.given]
            unit.missing = len(reads)
            for value in reads:
                self.readers.setdefault(value, []).append(unit)
            if not unit.missing:
                self._offer(unit)
        for inlet, edges in self.sums.items():
            for edge in edges:
                self.waiting.setdefault(edge.source, []).append(inlet)
        for inlet in list(self.sums):
            self._advance(inlet)
        while self.ready:
            self._step()
        return Plan(self.graph, tuple(self.steps), self.targets, self._spent())

    def _spent(self) -> tuple[tuple[Value, ...], ...]:
        """The values that each step is the last to touch, but for the targets."""
        last = {value: n for n, step in enumerate(self.steps) for value in (*step.reads(), *step.written())}
        spent: list[list[Value]] = [[] for _ in self.steps]
        for value, number in last.items():
            if value not in self.targets:
                spent[number].append(value)
        return tuple(map(tuple, spent))

    def _units(self) -> list[_Unit]:
        """The work behind the targets, found from them backwards; what no target needs is not done."""
        units: list[_Unit] = []
        todo, seen = list(self.targets), set(self.given)
        while todo:
            value = todo.pop()
            if value in seen:
                continue
            seen.add(value)
            if isinstance(value, Inlet):
                self.sums[value] = list(self.graph.into(*value))
                todo += [e.source for e in self.sums[value]]
            elif value not in self.maker:
                unit = self._unit(value.node)
                units.append(unit)
                todo += unit.reads()
        if not self.late:
            self._find_placed(units)
        return units

    def _unit(self, name: str) -> _Unit:
        if name in self.loop_of:
            return self._loop_unit(self.loop_of[name])
        nodes = [name]
        while (before := self._filter_before(nodes[0])) is not None:
            nodes.insert(0, before)
        unit = _Unit(tuple(nodes))
        node = self.graph[nodes[0]]
        for port in node.inlets:
            if self.graph.into(node.name, port.name):
                unit.signals[port.name] = source_of(self.graph, node.name, port.name)
        for knob in sorted({e.target.port for e in self.graph.into(node.name)} - {p.name for p in node.inlets}):
            unit.moved[knob] = self.graph.into(node.name, knob)
        unit.writes = tuple(Endpoint(name, port.name) for port in self.graph[name].outlets)
        unit.kind = self._kind(unit)
        for end in unit.writes:
            self.maker[end] = unit
        return unit

    def _filter_before(self, name: str) -> str | None:
        """The filter in front of a filter, if nothing else hears it and only a wire is between."""
        edges = self.graph.into(name)
        if not self._is_filter(name) or len(edges) != 1 or edges[0].gain_db is not None:
            return None
        source = edges[0].source
        before = source.node
        if not self._is_filter(before) or len(self.graph.out_of(before)) != 1 or before in self.loop_of:
            return None
        moved = any(e.target.port in self.graph[before].params for e in self.graph.into(before))
        return None if moved or source in self.given or source in self.targets else before

    def _is_filter(self, name: str) -> bool:
        kind = self.graph[name].kind
        return kind in REGISTRY and issubclass(REGISTRY[kind], LinearFilter)

    def _kind(self, unit: _Unit) -> Any:
        """What two units must have in common to run together."""
        nodes = [self.graph[name] for name in unit.nodes]
        signals = tuple((port, self._channels(value)) for port, value in unit.signals.items())
        moved = tuple((knob, len(edges)) for knob, edges in unit.moved.items())
        own = tuple(id(self.own[n.name]) if n.name in self.own else None for n in nodes)
        return tuple((n.kind, frozen_options(n.options)) for n in nodes), signals, moved, own

    def _channels(self, value: Value) -> int:
        end = value if isinstance(value, Endpoint) else self.graph.into(*value)[0].source
        return self.checked.channels[end]

    def _loop_unit(self, loop: frozenset[str]) -> _Unit:
        feedback = tuple(name for name in self.graph.nodes if name in loop and self.graph[name].kind == "Feedback")
        edges = self.graph.edges
        heard = [e.source for e in edges if e.source.node in loop and e.target.node not in loop]
        heard += [v for v in self.targets if v.node in loop and isinstance(v, Endpoint)]
        writes = tuple(dict.fromkeys(heard))
        entering = (e.source for e in edges if e.target.node in loop and e.source.node not in loop)
        outside = tuple(dict.fromkeys(entering))
        targets = tuple(dict.fromkeys([*writes, *(source_of(self.graph, name, "in") for name in feedback)]))
        given = self._fed(loop) | set(outside)
        inside = _Scheduler(self.graph, self.checked, targets, given, self.late, self.own).plan()
        unit = _Unit(tuple(sorted(loop)))
        unit.signals = {str(n): value for n, value in enumerate(outside)}
        unit.writes = writes
        unit.kind = Loop(inside, feedback, outside, writes)
        for end in writes:
            self.maker[end] = unit
        return unit

    # -- tracks that end in sums -----------------------------------------------------------------------------------

    def _find_placed(self, units: list[_Unit]) -> None:
        """Let a pan that only ends in sums, with the gain in front of it, be added to all of them in one pass."""
        for unit in list(units):
            if unit.nodes[-1] in self.loop_of or self.graph[unit.nodes[-1]].kind not in PLACING or unit.moved:
                continue
            edges = self.graph.out_of(unit.nodes[-1])
            inlets = [Inlet(*e.target) for e in edges]
            wires = [e for e in edges if e.gain_db is None]
            if not wires or not all(inlet in self.sums for inlet in inlets) or unit.writes[0] in self.targets:
                continue
            unit.edges = (wires[0], *(e for e in edges if e is not wires[0]))
            before = self.maker.get(unit.signals["in"])
            if before is not None and self._is_fader(before):
                units.remove(before)
                unit.signals, unit.nodes = before.signals, before.nodes + unit.nodes
            into = tuple(e.target for e in unit.edges)
            unit.kind = "placed", self._kind(unit), into, tuple(e.gain_db is None for e in unit.edges)
            for edge in unit.edges:
                self.placed[edge] = unit
            unit.writes = ()

    def _is_fader(self, unit: _Unit) -> bool:
        name = unit.nodes[0]
        if len(unit.nodes) != 1 or self.graph[name].kind != "Gain" or unit.moved or name in self.own:
            return False
        edges = self.graph.out_of(name)
        return len(edges) == 1 and edges[0].gain_db is None and unit.writes[0] not in self.targets

    def _unplace(self, unit: _Unit) -> None:
        """Make a placed track an ordinary one, where its sums are not in one order."""
        for edge in unit.edges:
            del self.placed[edge]
        unit.edges = ()
        name = unit.nodes[-1]
        unit.writes = (Endpoint(name, "out"),)
        unit.kind = self._kind(unit)

    # -- the order -------------------------------------------------------------------------------------------------

    def _offer(self, unit: _Unit) -> None:
        self.ready.setdefault(unit.kind, []).append(unit)

    def _step(self) -> None:
        """The most work of one kind; of equally much, what continues the latest."""

        def merit(kind: Any) -> tuple[int, int]:
            units = self.ready[kind]
            return min(len(units), TOGETHER), max(u.recent for u in units)

        for kind in sorted(self.ready, key=merit, reverse=True):
            units = self.ready[kind]
            if isinstance(kind, Loop):
                self._take(kind, units[:1])
                return self._emit(kind)
            if not units[0].edges:
                latest = sorted(units, key=lambda u: (-u.recent, u.index))[:TOGETHER]
                units = sorted(latest, key=lambda u: u.index)  # neighbours stay neighbours, which saves copies
                self._take(kind, units)
                return self._emit(self._batch(units))
            if units := self._next_placed(units):
                self._take(kind, units)
                return self._emit(self._place(units))
        stuck = next(iter(self.ready))
        for unit in self.ready.pop(stuck):
            self._unplace(unit)
            self._offer(unit)
        return None

    def _take(self, kind: Any, units: Sequence[_Unit]) -> None:
        left = [u for u in self.ready[kind] if u not in units]
        if left:
            self.ready[kind] = left
        else:
            del self.ready[kind]

    def _emit(self, step: Step) -> None:
        self.steps.append(step)
        for value in dict.fromkeys(step.written()):
            if isinstance(value, Inlet):
                self._advance(value)
            else:
                self._made(value)
                for inlet in dict.fromkeys(self.waiting.get(value, ())):
                    self._advance(inlet)

    def _made(self, value: Value) -> None:
        self.made.add(value)
        for unit in self.readers.pop(value, ()):
            unit.missing -= 1
            unit.recent = len(self.steps)
            if not unit.missing:
                self._offer(unit)

    def _advance(self, inlet: Inlet) -> None:
        """Add what the inlet waits for, as far as it is there and comes next."""
        edges = self.sums.get(inlet)
        if edges is None or inlet in self.made:
            return
        count = 0
        while count < len(edges) and edges[count] not in self.placed:
            if edges[count].source not in self.given and edges[count].source not in self.made:
                break
            count += 1
        if count:
            step = Sum(inlet, tuple(edges[:count]), inlet in self.begun)
            self.begun.add(inlet)
            del edges[:count]
            self.steps.append(step)
        if not edges:
            self._made(inlet)

    def _batch(self, units: Sequence[_Unit]) -> Batch:
        first = units[0]
        return Batch(
            tuple(u.nodes for u in units),
            {port: tuple(u.signals[port] for u in units) for port in first.signals},
            {knob: tuple(u.moved[knob] for u in units) for knob in first.moved},
            tuple(tuple(u.writes[n] for u in units) for n in range(len(first.writes))),
        )

    def _next_placed(self, units: Sequence[_Unit]) -> list[_Unit]:
        """Those of the tracks that come next at each of their sums, in the sums' order."""
        ready, found = set(units), []
        into = [Inlet(*e.target) for e in units[0].edges]
        for number in range(TOGETHER):
            nexts = [self.sums[inlet][number] if number < len(self.sums[inlet]) else None for inlet in into]
            unit = self.placed.get(nexts[0]) if nexts[0] is not None else None
            if unit is None or unit not in ready or tuple(nexts) != unit.edges:
                break
            found.append(unit)
        return found

    def _place(self, units: Sequence[_Unit]) -> Place:
        first = units[0]
        into = tuple(Inlet(*e.target) for e in first.edges)
        step = Place(
            tuple(u.signals["in"] for u in units),
            tuple(u.nodes[0] for u in units) if len(first.nodes) == 2 else None,
            tuple(u.nodes[-1] for u in units),
            into,
            tuple(tuple(u.edges[n] for u in units) for n in range(1, len(into))),
            tuple(inlet in self.begun for inlet in into),
        )
        self.begun.update(into)
        for inlet in into:
            del self.sums[inlet][: len(units)]
        return step
