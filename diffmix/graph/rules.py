"""What only a whole graph can get wrong: inlets without a signal, cycles, channels that do not fit."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from diffmix.errors import GraphError
from diffmix.graph.node import Endpoint

if TYPE_CHECKING:
    from diffmix.graph.graph import Graph


class Checked(NamedTuple):
    """What `Graph.check` finds: nodes in an order in which they can be rendered, and the channels of each outlet.

    ``loops`` are the cycles: sets of nodes that reach each other through a ``Feedback``.
    """

    order: tuple[str, ...]
    channels: Mapping[Endpoint, int]
    loops: tuple[frozenset[str], ...]


def checked(graph: "Graph") -> Checked:
    """See `Graph.check`."""
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


def _cycle(graph: "Graph", left: set[str]) -> list[str]:
    """The names along one cycle among nodes of which each has a predecessor among them, the first one again last."""
    path, seen = [min(left)], {}
    while path[-1] not in seen:
        seen[path[-1]] = len(path) - 1
        path.append(next(e.source.node for e in graph._at(path[-1]) if e.source.node in left))
    return path[seen[path[-1]] :][::-1]


def _channels(graph: "Graph", order: Iterable[str]) -> dict[Endpoint, int]:
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


def _fitting(graph: "Graph", name: str, channels: Mapping[Endpoint, int]) -> int:
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


def _loops(graph: "Graph") -> tuple[frozenset[str], ...]:
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
