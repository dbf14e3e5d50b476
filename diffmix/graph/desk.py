"""A mixing desk as a graph: strips that end in other strips."""

from collections.abc import Sequence
from dataclasses import dataclass

from diffmix.graph.graph import Graph
from diffmix.graph.node import Edge, Endpoint, Node


@dataclass(frozen=True)
class Strip:
    """A track, group, bus or master: effects in series behind a source or a sum.

    ``channels`` are a source's; 0 makes it a sum of what other strips send. Its sound goes to the strip ``into`` ("":
    nowhere) and, with a gain in dB, to those of ``sends``. Effects that hang behind nothing are joined by their first
    ports.
    """

    name: str
    channels: int
    effects: tuple[Node, ...]
    into: str
    sends: tuple[tuple[str, float], ...] = ()

    @property
    def end(self) -> Endpoint:
        """Where its sound is complete."""
        last = self.effects[-1] if self.effects else None
        return Endpoint(last.name, last.outlets[0].name) if last else Endpoint(self.name, "out")


def desk(strips: Sequence[Strip], output: str) -> Graph:
    """Strips as a graph; the one called ``output`` is heard at the Out node ``out``, or ``out_`` if a strip is.

    At a sum, sounds arrive in the order of the strips.
    """
    nodes: list[Node] = []
    edges: list[Edge] = []
    for strip in strips:
        kind, options = ("In", {"channels": strip.channels}) if strip.channels else ("Sum", {})
        nodes += [Node(strip.name, kind, {}, options), *strip.effects]
        before = Endpoint(strip.name, "out")
        for effect in strip.effects:
            edges.append(Edge(before, Endpoint(effect.name, effect.inlets[0].name)))
            before = Endpoint(effect.name, effect.outlets[0].name)
        if strip.into:
            edges.append(Edge(before, Endpoint(strip.into, "in")))
        edges += [Edge(before, Endpoint(bus, "in"), gain_db) for bus, gain_db in strip.sends]
    last = next(strip for strip in strips if strip.name == output)
    out = free("out", {node.name for node in nodes})
    return Graph([*nodes, Node(out, "Out")], [*edges, Edge(last.end, Endpoint(out, "in"))])


def free(name: str, taken: set[str]) -> str:
    """``name``, or with underscores behind it if it is taken."""
    while name in taken:
        name += "_"
    return name
