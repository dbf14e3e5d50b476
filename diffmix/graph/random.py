"""Random graphs by a seeded grammar, for tests and for training.

A graph starts as sources that end in one output, and grows by productions, each drawn by its weight and applied to a
random place: an effect in series, bands, a dry path beside a wet one, middle and side, modulation, side chains, sends,
groups, feedback (after the synthetic graphs of Lee et al., Blind Estimation of Audio Processing Graph, ICASSP 2023).
Every effect's knobs are uniform on their own scale, within what a mixing engineer would turn them to.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from diffmix.graph.grammar import OPTIONS, PRODUCTIONS, REVERBS, Grammar, likely
from diffmix.graph.graph import Graph
from diffmix.graph.node import BUILT_IN, Edge, Endpoint, Node
from diffmix.params import Param
from diffmix.processors.base import REGISTRY, Processor


def random_graph(seed: int | Random, grammar: Grammar | None = None) -> Graph:
    """A checked graph with one output, drawn by a seed: the same one on every machine.

    ``seed`` may be a `random.Random`, which several graphs then share. Sources are called ``in1``, ``in2``..., the
    output ``out``. What runs through a feedback becomes less on each turn, whatever the knobs.
    """
    growing = _Growing(grammar or Grammar(), seed if isinstance(seed, Random) else Random(seed))
    growing.grow()
    return growing.graph()


class _Growing:
    """A graph that grows. Draws only use ``Random.random``, whose sequence no version of Python changes."""

    def __init__(self, grammar: Grammar, rng: Random) -> None:
        self.grammar, self.rng = grammar, rng
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []
        self.channels: dict[Endpoint, int] = {}
        self.loops: list[set[str]] = []  # what stands inside feedback, where only what loses level may stand
        low, high = grammar.nodes
        self.wanted = self.whole(low, high)
        self._begin()

    # -- draws ---------------------------------------------------------------------------------------------------

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.rng.random()

    def whole(self, low: int, high: int) -> int:
        return min(int(self.uniform(low, high + 1)), high)

    def one_of(self, things: Sequence[Any]) -> Any:
        return things[self.whole(0, len(things) - 1)]

    def weighted(self, weights: Mapping[str, float]) -> str:
        at = self.uniform(0, sum(weights.values()))
        for name, weight in weights.items():
            at -= weight
            if at < 0:
                return name
        return name

    def level(self, low: float | None = None, high: float | None = None) -> float:
        ends = self.grammar.gain_db
        return round(self.uniform(ends[0] if low is None else low, ends[1] if high is None else high), 1)

    # -- parts ---------------------------------------------------------------------------------------------------

    def add(self, kind: str, channels: int, name: str = "", options: Mapping[str, Any] | None = None) -> str:
        """A node; the channels are those of its first outlet, as far as it leaves them open."""
        number = sum(node.kind == kind for node in self.nodes.values()) + 1
        name = name or f"{kind.lower()}{number}"
        if kind in BUILT_IN:
            node = Node(name, kind, options=options or {})
        else:
            drawn = {option: self.one_of(choices) for option, choices in OPTIONS.get(kind, {}).items()}
            node = Node(name, kind, options=drawn)
            node = replace(node, values={knob: self.turned(kind, knob, p) for knob, p in node.params.items()})
        self.nodes[name] = node
        for port in node.outlets:
            self.channels[Endpoint(name, port.name)] = port.channels or channels
        return name

    def turned(self, kind: str, knob: str, p: Param) -> float:
        """A setting of four digits, uniform on the knob's scale."""
        low, high = likely(kind, knob, p)
        u = self.rng.random()
        value = low * (high / low) ** u if p.scale == "log" else low + (high - low) * u
        return min(max(float(f"{value:.4g}"), low), high)

    def effect(self, channels: int, beside: set[str]) -> str | None:
        """An effect for that many channels, unlike its neighbours."""
        full = sum(n.kind in REVERBS for n in self.nodes.values()) >= self.grammar.most_reverbs
        weights = {
            kind: weight
            for kind, weight in self.grammar.effects.items()
            if kind not in beside and not (full and kind in REVERBS) and _fits(kind, channels)
        }
        return self.add(self.weighted(weights), channels) if weights else None

    def connect(self, source: str, target: str, gain_db: float | None = None, amount: float | None = None) -> None:
        start, _, out = source.partition(":")
        end, _, into = target.partition(":")
        first, last = self.nodes[start].outlets[0].name, self.nodes[end].inlets
        self.edges.append(Edge(Endpoint(start, out or first), Endpoint(end, into or last[0].name), gain_db, amount))

    def put(self, edge: Edge, into: str, out: str | None = None) -> None:
        """Put what begins and ends at these nodes into an edge; the gain stays at its end."""
        end = out or into
        at = self.edges.index(edge)
        self.edges[at] = replace(edge, source=Endpoint(end, self.nodes[end].outlets[0].name))
        self.edges.append(Edge(edge.source, Endpoint(into, self.nodes[into].inlets[0].name)))

    def cables(self, channels: int | None = None) -> list[Edge]:
        """The edges of audio that something may be put into."""
        return [
            e
            for e in self.edges
            if e.amount is None
            and self.nodes[e.target.node].inlet(e.target.port).kind == "audio"
            and channels in (None, self.channels[e.source])
            and not any({e.source.node, e.target.node} <= loop for loop in self.loops)
        ]

    def kinds_at(self, edge: Edge) -> set[str]:
        return {self.nodes[edge.source.node].kind, self.nodes[edge.target.node].kind}

    def upstream(self, name: str, channels: int | None = None) -> list[str]:
        """The audio outlets that do not hear a node."""
        after, todo = {name}, [name]
        while todo:
            at = todo.pop()
            new = {e.target.node for e in self.edges if e.source.node == at} - after
            after |= new
            todo += sorted(new)
        return [
            str(end)
            for end, count in self.channels.items()
            if end.node not in after and channels in (None, count) and self.carries_audio(end)
        ]

    def carries_audio(self, end: Endpoint) -> bool:
        return self.nodes[end.node].outlet(end.port).kind != "control"

    # -- the grammar ---------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        low, high = self.grammar.sources
        count = self.whole(low, max(low, min(high, (self.wanted - 2) // 2)))
        channels = [2 if self.rng.random() < self.grammar.stereo else 1 for _ in range(count)]
        width = 2 if count > 1 else channels[0]
        sources = [self.add("In", c, f"in{n}", {"channels": c}) for n, c in enumerate(channels, 1)]
        self.add("Out", width, "out")
        if count == 1:
            self.connect(sources[0], "out")
            return
        mix = self.add("Sum", width, "mix")
        for source, c in zip(sources, channels, strict=True):
            end = source
            if c < width:
                end = self.add("Pan", width)
                self.connect(source, end)
            self.connect(end, mix, self.level() if self.rng.random() < 0.5 else None)
        self.connect(mix, "out")

    def grow(self) -> None:
        makers: dict[str, Callable[[], bool]] = {name: getattr(self, f"_{name}") for name in PRODUCTIONS}
        failed = 0
        while len(self.nodes) < self.wanted and failed < 20:
            failed = 0 if makers[self.weighted(self.grammar.productions)]() else failed + 1

    def graph(self) -> Graph:
        graph = Graph(self.nodes.values(), self.edges)
        graph.check()
        return graph

    def room(self, count: int) -> bool:
        return len(self.nodes) + count <= self.wanted

    def _serial(self) -> bool:
        edge = self.one_of(self.cables())
        name = self.effect(self.channels[edge.source], self.kinds_at(edge))
        if name is None:
            return False
        self.put(edge, name)
        return True

    def _multiband(self) -> bool:
        if not self.room(3):
            return False
        edge = self.one_of(self.cables())
        count = self.channels[edge.source]
        split, total = self.add("Crossover", count), self.add("Sum", count)
        self.put(edge, split, total)
        treated = self.one_of(("low", "high"))
        for band in ("low", "high"):
            name = self.effect(count, set()) if band == treated or self.room(1) else None
            self._path(f"{split}:{band}", name, total)
        return True

    def _parallel(self) -> bool:
        if not self.room(2):
            return False
        edge = self.one_of(self.cables())
        count = self.channels[edge.source]
        total, wet = self.add("Sum", count), self.effect(count, self.kinds_at(edge))
        self.put(edge, total)
        self.edges[-1] = replace(self.edges[-1], gain_db=self.level())
        if wet is not None:
            self.connect(str(edge.source), wet)
            self.connect(wet, total, self.level())
        return True

    def _mid_side(self) -> bool:
        edges = self.cables(2)
        if not edges or not self.room(3):
            return False
        edge = self.one_of(edges)
        split, merge = self.add("MidSideSplit", 1), self.add("MidSideMerge", 2)
        self.put(edge, split, merge)
        treated = self.one_of(("mid", "side"))
        for side in ("mid", "side"):
            name = self.effect(1, set()) if side == treated or self.room(1) else None
            self._path(f"{split}:{side}", name, f"{merge}:{side}")
        return True

    def _path(self, source: str, through: str | None, target: str) -> None:
        if through is None:
            self.connect(source, target)
        else:
            self.connect(source, through)
            self.connect(through, target)

    def _still(self) -> list[tuple[str, str]]:
        """Control inlets and knobs that nothing moves yet, as (node, port)."""
        taken = {e.target for e in self.edges}
        free = []
        for node in self.nodes.values():
            if node.kind in BUILT_IN:
                continue
            ports = [port.name for port in node.inlets if port.kind == "control"]
            knobs = [knob for knob, p in node.params.items() if p.modulatable and p.low < p.high]
            free += [(node.name, port) for port in ports + knobs if Endpoint(node.name, port) not in taken]
        return free

    def _move(self, source: str, name: str, port: str) -> None:
        """Let a control signal move a knob within where it is likely to stand."""
        node = self.nodes[name]
        sign = 1 if self.rng.random() < 0.5 else -1
        if port in node.params:
            p = node.params[port]
            low, high = likely(node.kind, port, p)
            reach = math.log2(high / low) if p.scale == "log" else high - low
            self.nodes[name] = replace(node, ranges={**node.ranges, port: (low, high)})
            amount = float(f"{sign * self.uniform(0.1, 0.4) * reach:.4g}")
        else:
            amount = round(sign * self.uniform(0.2, 1), 3)
        self.connect(source, f"{name}:{port}", amount=amount)

    def _modulated(self) -> bool:
        places = self._still()
        if not places:
            return False
        name, port = self.one_of(places)
        self._move(self.add("LFO", 1), name, port)
        return True

    def _envelope(self) -> bool:
        places = self._still()
        if not places:
            return False
        name, port = self.one_of(places)
        sources = self.upstream(name)
        if not sources:
            return False
        follower = self.add("EnvelopeFollower", 1)
        self.connect(self.one_of(sources), follower)
        self._move(follower, name, port)
        return True

    def _side_chain(self) -> bool:
        taken = {e.target for e in self.edges}
        free = [
            node.name
            for node in self.nodes.values()
            if _listens(node) and Endpoint(node.name, "side_chain") not in taken
        ]
        if free:
            name = self.one_of(free)
        else:
            edge = self.one_of(self.cables())
            beside = self.kinds_at(edge)
            kinds = {k: w for k, w in self.grammar.effects.items() if k not in beside and _listens(REGISTRY[k])}
            if not kinds:
                return False
            name = self.add(self.weighted(kinds), self.channels[edge.source])
            self.put(edge, name)
        heard = {str(e.source) for e in self.edges if e.target.node == name}
        sources = [end for end in self.upstream(name) if end not in heard]
        if sources:
            gain = self.level() if self.rng.random() < 0.3 else None
            self.connect(self.one_of(sources), f"{name}:side_chain", gain)
        return True

    def _send(self) -> bool:
        """What some cables carry, through an effect, back into the mix behind them all."""
        if not self.room(2):
            return False
        edge = self.one_of(self.cables())
        count = self.channels[edge.source]
        back = self.add("Sum", count)
        self.put(edge, back)
        sources = self.upstream(back, count)
        wet = self.effect(count, set())
        if wet is None or not sources:
            return True
        for _ in range(min(self.whole(1, 3), len(sources))):
            self.connect(sources.pop(self.whole(0, len(sources) - 1)), wet, self.level(-24, -6))
        self.connect(wet, back, self.level() if self.rng.random() < 0.5 else None)
        return True

    def _group(self) -> bool:
        sums = [name for name, node in self.nodes.items() if node.kind == "Sum" and self._open(name)]
        wide = [name for name in sums if sum(e.target.node == name for e in self.edges) > 2]
        if not wide or not self.room(1):
            return False
        total = self.one_of(wide)
        members = [e for e in self.edges if e.target.node == total]
        members = members[: self.whole(2, len(members) - 1)]
        bus = self.add("Sum", self.channels[Endpoint(total, "out")])
        for edge in members:
            self.edges[self.edges.index(edge)] = replace(edge, target=Endpoint(bus, "in"))
        self.connect(bus, total)
        return True

    def _open(self, name: str) -> bool:
        return not any(name in loop for loop in self.loops)

    def _feedback(self) -> bool:
        """A sum that hears itself again, later, through a filter that never amplifies and a level below 0 dB."""
        if not self.room(3):
            return False
        edge = self.one_of(self.cables())
        count = self.channels[edge.source]
        total = self.add("Sum", count)
        self.put(edge, total)
        filtered = self.add(self.one_of(("LowpassFilter", "HighpassFilter")), count)
        line = self.add("Feedback", count, options={"channels": count, "delay_ms": round(self.uniform(5, 200), 1)})
        self.connect(total, filtered)
        self.connect(filtered, line)
        self.connect(line, total, self.level(-20, -3))
        self.loops.append({total, filtered, line})
        return True


def _fits(kind: str, channels: int) -> bool:
    inlet, outlet = REGISTRY[kind].inlets[0], REGISTRY[kind].outlets[0]
    return inlet.channels in (None, channels) and outlet.channels in (None, channels)


def _listens(effect: Node | type[Processor]) -> bool:
    return any(port.name == "side_chain" for port in effect.inlets)
