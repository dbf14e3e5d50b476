"""Steps of work on a graph, and plans: what each step reads and writes, and when a value is spent."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from diffmix.graph.graph import Graph
from diffmix.graph.node import Edge, Endpoint

_keys = count()  # no two steps are one


class Inlet(NamedTuple):
    """The sum of what arrives at an inlet, where that is more than one wire."""

    node: str
    port: str


Value = Endpoint | Inlet
"""What a step writes: the signal of an outlet, or the sum at an inlet."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Runs of nodes of the same kinds, side by side; more than one node in a run are filters that run as a cascade.

    ``signals`` holds for each connected inlet one value per run; ``moved`` for each modulated knob the edges per run.
    """

    runs: tuple[tuple[str, ...], ...]
    signals: Mapping[str, tuple[Value, ...]]
    moved: Mapping[str, tuple[tuple[Edge, ...], ...]]
    writes: tuple[tuple[Endpoint, ...], ...]  # by outlet, one per run
    key: int = field(default_factory=_keys.__next__)

    def only(self, numbers: Sequence[int]) -> "Batch":
        """Some of its runs."""
        return Batch(
            tuple(self.runs[k] for k in numbers),
            {port: tuple(values[k] for k in numbers) for port, values in self.signals.items()},
            {knob: tuple(edges[k] for k in numbers) for knob, edges in self.moved.items()},
            tuple(tuple(outlet[k] for k in numbers) for outlet in self.writes),
        )

    def reads(self) -> Iterator[Value]:
        """The values it needs."""
        for values in self.signals.values():
            yield from values
        for edges in self.moved.values():
            yield from (e.source for each in edges for e in each)

    def written(self) -> Iterator[Value]:
        """The values it makes."""
        for outlet in self.writes:
            yield from outlet


@dataclass(frozen=True, eq=False)
class Sum:
    """More edges added, in order, to what an inlet has so far (``begun``)."""

    into: Inlet
    edges: tuple[Edge, ...]
    begun: bool

    def reads(self) -> Iterator[Value]:
        """The values it needs."""
        yield from (e.source for e in self.edges)
        if self.begun:
            yield self.into

    def written(self) -> Iterator[Value]:
        """The value it makes."""
        yield self.into


@dataclass(frozen=True, eq=False)
class Place:
    """Tracks behind their faders, placed between left and right and added to several sums.

    ``sends`` holds for each sum but the first one edge per track.
    """

    signals: tuple[Value, ...]
    faders: tuple[str, ...] | None
    pans: tuple[str, ...]
    into: tuple[Inlet, ...]
    sends: tuple[tuple[Edge, ...], ...]
    begun: tuple[bool, ...]
    key: int = field(default_factory=_keys.__next__)

    def reads(self) -> Iterator[Value]:
        """The values it needs."""
        yield from self.signals
        yield from (into for into, begun in zip(self.into, self.begun, strict=True) if begun)

    def written(self) -> Iterator[Value]:
        """The values it makes."""
        yield from self.into


@dataclass(frozen=True, eq=False)
class Loop:
    """Nodes that reach each other through ``feedback`` nodes, with the steps inside."""

    inside: "Plan"
    feedback: tuple[str, ...]
    outside: tuple[Value, ...]
    writes: tuple[Endpoint, ...]

    def reads(self) -> Iterator[Value]:
        """The values it needs."""
        yield from self.outside

    def written(self) -> Iterator[Value]:
        """The values it makes."""
        yield from self.writes


Step = Batch | Sum | Place | Loop


@dataclass(frozen=True, eq=False)
class Plan:
    """Steps in order, and after which of them each value is not needed any more."""

    graph: Graph
    steps: tuple[Step, ...]
    targets: tuple[Value, ...]
    spent: tuple[tuple[Value, ...], ...]

    @property
    def count(self) -> int:
        """Number of steps: calls of effects, sums and loops."""
        return len(self.steps)


def source_of(graph: Graph, node: str, port: str) -> Value:
    """What an inlet hears: the outlet at the other end of its only wire, or the sum of its edges."""
    edges = graph.into(node, port)
    if len(edges) == 1 and edges[0].is_wire:
        return edges[0].source
    return Inlet(node, port)
