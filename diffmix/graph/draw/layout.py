"""Where everything stands in a picture of a graph: columns, rows, cables.

Signals flow from left to right. A grid of columns and rows holds the boxes; between columns run gutters, below every
row a corridor, and cables run in these only, or along cells that hold no box, so that no cable meets a box. Of what
arrives at one inlet the cables join (a bus); of one outlet the side chains and control cables stay together until they
part. Nodes that hang only on a `Feedback` stand mirrored below, and flow back to the left.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median_low

from diffmix.graph.draw.words import own_name
from diffmix.graph.graph import Graph
from diffmix.graph.node import Edge, Node


@dataclass
class Cable:
    """An edge on its way: the points it passes, and the name of the net in which it may touch others."""

    edge: Edge
    net: tuple[str, ...]
    text: str
    side: bool
    """Whether it enters from below: side chains and control."""
    points: list[tuple[float, float]] = field(default_factory=list)
    label_at: tuple[float, float, str] = (0, 0, "start")


@dataclass
class Place:
    """A node's box: its cell, then its rectangle; ``chain`` are the names of the nodes of its chain."""

    node: Node
    chain: list[str]
    column: int
    row: int
    mirrored: bool
    exits: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    """Where cables leave, from above: outlet and net."""
    entries: list[str] = field(default_factory=list)
    """Inlets on its underside, from the left."""
    notes: list[str] = field(default_factory=list)
    """What else it says: where a cable has no room for its text."""
    x: float = 0
    y: float = 0
    width: float = 0
    height: float = 0

    def edge(self, right: bool) -> float:
        """Its left or right edge."""
        return self.x + self.width if right else self.x

    def entry_x(self, inlet: str) -> float:
        """Where a cable enters from below."""
        return self.x + self.width * (self.entries.index(inlet) + 1) / (len(self.entries) + 1)

    @property
    def gutter_in(self) -> int:
        """The gutter in front of its inlets; gutter g is left of column g."""
        return self.column + self.mirrored

    @property
    def gutter_out(self) -> int:
        """The gutter behind its outlets."""
        return self.column + (not self.mirrored)


def is_audio(graph: Graph, edge: Edge) -> bool:
    """Whether an edge enters at the front of a box; side chains and control signals enter from below."""
    return graph[edge.target.node].inlet(edge.target.port).kind == "audio"


def front(node: Node) -> list[str]:
    """The inlets at the front of a box: those of audio."""
    return [port.name for port in node.inlets if port.kind == "audio"]


@dataclass
class Flow:
    """The audio of a graph as it is drawn: who follows whom, in chains."""

    graph: Graph
    order: list[str]
    forward: dict[str, list[Edge]]
    """Audio edges out of each node that do not close a cycle."""
    backward: dict[str, list[Edge]]
    """The same edges by where they end."""
    returning: set[str]
    """Nodes that hang only on a `Feedback`."""
    chains: list[list[str]]
    """Runs of nodes, each the only thing in front of the next one; in the order of their heads."""


def flow(graph: Graph) -> Flow:
    """Order and chains, without asking whether the graph is complete: an edge that closes a cycle is set aside."""
    audio = [e for e in graph.edges if is_audio(graph, e) and graph[e.target.node].kind != "Feedback"]
    order, audio = _ordered(graph, audio)
    forward: dict[str, list[Edge]] = {name: [] for name in order}
    backward: dict[str, list[Edge]] = {name: [] for name in order}
    for edge in audio:
        forward[edge.source.node].append(edge)
        backward[edge.target.node].append(edge)
    returning: set[str] = set()
    for name in order:
        before = [e.source.node for e in backward[name]]
        if graph[name].kind == "Feedback" or (before and all(b in returning for b in before)):
            returning.add(name)
    chains: list[list[str]] = []
    of: dict[str, list[str]] = {}
    for name in order:
        feeding = {e.source.node for e in backward[name]}
        head = feeding.pop() if len(feeding) == 1 else ""
        if head and head not in returning and _heir(graph, forward, backward, head) == name:
            of[name] = of[head]
            of[head].append(name)
        else:
            of[name] = [name]
            chains.append(of[name])
    return Flow(graph, order, forward, backward, returning, chains)


def _ordered(graph: Graph, audio: list[Edge]) -> tuple[list[str], list[Edge]]:
    """Nodes so that audio edges point onward, the sources first, chains kept together; and the edges that do."""
    after: dict[str, list[Edge]] = {name: [] for name in graph.nodes}
    waits = dict.fromkeys(graph.nodes, 0)
    for edge in audio:
        after[edge.source.node].append(edge)
        waits[edge.target.node] += 1
    ready = sorted((n for n, count in waits.items() if not count), key=lambda n: graph[n].kind != "In")
    todo, order, seen = ready[::-1], list[str](), set[str]()
    while len(order) < len(graph):
        if not todo:  # a cycle without a Feedback: broken at the first of its nodes
            todo.append(next(n for n in graph.nodes if n not in seen))
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        order.append(name)
        opened = []
        for edge in after[name]:
            waits[edge.target.node] -= 1
            if not waits[edge.target.node]:
                opened.append(edge.target.node)
        todo += opened[::-1]
    position = {name: i for i, name in enumerate(order)}
    return order, [e for e in audio if position[e.source.node] < position[e.target.node]]


def _heir(graph: Graph, forward: dict[str, list[Edge]], backward: dict[str, list[Edge]], name: str) -> str | None:
    """The node that continues a chain: what its first outlet feeds and nothing else does, wires before sends."""
    first = graph[name].outlets[0].name
    alone = [
        e
        for e in forward[name]
        if e.source.port == first and len({b.source.node for b in backward[e.target.node]}) == 1
    ]
    alone.sort(key=lambda e: e.gain_db is not None)
    return alone[0].target.node if alone else None


def columns(parts: Flow) -> dict[str, int]:
    """Column of each node: behind all that feeds it, and strips of several sources stage under stage."""
    graph, at = parts.graph, dict.fromkeys(parts.order, 0)
    least = _stages(parts)
    for name in parts.order:
        behind = [at[e.source.node] + 1 for e in parts.backward[name] if e.source.node not in parts.returning]
        at[name] = max([least.get(name, 0), *behind])
    for name in reversed(parts.order):
        if name in parts.returning:
            after = [e.target.node for e in parts.forward[name]]
            at[name] = min((at[n] + (n in parts.returning) for n in after), default=0)
    waiting = [name for name in parts.order if _generates(parts, name)]
    while waiting:  # a generator stands below what it moves, which may be another one
        ready = [n for n in waiting if not any(e.target.node in waiting for e in graph.out_of(n))] or waiting
        for name in ready:
            at[name] = min((at[e.target.node] for e in graph.out_of(name)), default=0)
        waiting = [n for n in waiting if n not in ready]
    return at


def _generates(parts: Flow, name: str) -> bool:
    """Whether a node makes control signals of nothing."""
    return parts.graph[name].kind != "In" and not parts.backward[name] and not parts.forward[name]


def _stages(parts: Flow) -> dict[str, int]:
    """Least columns that line up like stages of strips, if their orders agree well enough; else nothing."""
    strips = [chain for chain in parts.chains if parts.graph[chain[0]].kind == "In"]
    if len(strips) < 2:
        return {}
    stages = [[_stage(parts.graph[name], strip) for name in strip] for strip in strips]
    common: list[set[str]] = []
    for strip in sorted(stages, key=len, reverse=True):
        for column, stage in _aligned(strip, common):
            if stage is None:
                common.insert(column, set())
            else:
                common[column].add(stage)
    if len(common) > max(map(len, strips)) + 2:
        return {}
    least: dict[str, int] = {}
    for strip, names in zip(stages, strips, strict=True):
        least |= dict(
            zip(names, (column for column, stage in _aligned(strip, common) if stage is not None), strict=True)
        )
    return least


def _stage(node: Node, strip: list[str]) -> str:
    """What a node is in its strip: ``eq`` if it is called ``vox.eq``, else its kind."""
    name = own_name(node.name, strip)
    return node.kind if name == node.name else name


def _aligned(strip: list[str], common: list[set[str]]) -> list[tuple[int, str | None]]:
    """Where the stages of a strip stand among columns: steps (column, stage), stage None where a column is put in.

    As many stages as possible stand in columns that know them, then as early as possible; by dynamic programming.
    """
    best = [[0] * (len(common) + 1) for _ in range(len(strip) + 1)]
    for i in range(len(strip) - 1, -1, -1):
        best[i][-1] = i - len(strip)
        for j in range(len(common) - 1, -1, -1):
            stand = 3 * (strip[i] in common[j]) + best[i + 1][j + 1]
            best[i][j] = max(stand, best[i][j + 1], best[i + 1][j] - 1)
    steps: list[tuple[int, str | None]] = []
    i = j = more = 0
    while i < len(strip):
        if j < len(common) and best[i][j] == 3 * (strip[i] in common[j]) + best[i + 1][j + 1]:
            i, j = i + 1, j + 1
            steps.append((j - 1 + more, strip[i - 1]))
        elif j < len(common) and best[i][j] == best[i][j + 1]:
            j += 1
        else:
            steps += [(j + more, None), (j + more, strip[i])]
            i, more = i + 1, more + 1
    return steps


class Rows:
    """Rows from above, each with the columns that are taken in it, by whom."""

    def __init__(self) -> None:
        self.taken: list[dict[int, object]] = []

    def free(self, row: int, cells: Iterable[int], owner: object = None) -> bool:
        """Whether nothing of another owner stands or runs in these cells."""
        return all(c not in self.taken[row] or self.taken[row][c] == owner for c in cells)

    def take(self, row: int, cells: Iterable[int], owner: object) -> None:
        """Mark cells."""
        for c in cells:
            self.taken[row][c] = owner

    def insert(self, row: int) -> int:
        """A new empty row in front of this one."""
        self.taken.insert(row, {})
        return row


def rows(parts: Flow, at: Mapping[str, int]) -> tuple[dict[str, int], Rows]:
    """Row of each node: a lane per source, branches below what they branch from, sums amid what they sum."""
    grid = Rows()
    row_of: dict[int, dict[int, object]] = {}  # rows move when one is inserted; their cells keep their identity

    def row(chain: int) -> int:
        return next(i for i, cells in enumerate(grid.taken) if cells is row_of[chain])

    number = {name: i for i, chain in enumerate(parts.chains) for name in chain}
    graph = parts.graph
    order = sorted(range(len(parts.chains)), key=lambda i: (_late(parts, parts.chains[i]), i))
    for i in order:
        chain = parts.chains[i]
        cells = _interval(parts, at, chain)
        before = [number[e.source.node] for e in parts.backward[chain[0]] if number[e.source.node] in row_of]
        above = before or [number[e.target.node] for e in graph.out_of(chain[0]) if number[e.target.node] in row_of]
        if graph[chain[0]].kind == "In" or not above:
            place = grid.insert(len(grid.taken))
        else:
            place = _free_row(parts, grid, cells, chain, sorted({row(b) for b in above}), bool(before))
        grid.take(place, cells, ("box", chain[0]))
        row_of[i] = grid.taken[place]
    for i in order:  # what moves a knob stands right below it, if there is room at last
        chain = parts.chains[i]
        moved = [number[e.target.node] for e in graph.out_of(chain[0])]
        if len(chain) == 1 and _generates(parts, chain[0]) and moved:
            below, cell = row(moved[0]) + 1, at[chain[0]]
            if below < len(grid.taken) and grid.free(below, [cell]):
                row_of[i].pop(cell)
                grid.take(below, [cell], ("box", chain[0]))
                row_of[i] = grid.taken[below]
    grid.taken = [cells for cells in grid.taken if cells]
    index = {id(cells): i for i, cells in enumerate(grid.taken)}
    found = {name: index[id(row_of[number[name]])] for name in parts.order}
    for name in parts.order:  # from here on only boxes are in the way, and cables that are laid
        grid.taken[found[name]][at[name]] = ("node", name)
    for taken in grid.taken:
        for c in [c for c, owner in taken.items() if isinstance(owner, tuple) and owner[0] == "box"]:
            del taken[c]
    return found, grid


def _late(parts: Flow, chain: list[str]) -> int:
    """Sources first, then what they feed, then what returns to these, what moves them, and what moves that."""
    graph, name, turn = parts.graph, chain[0], 3
    if graph[name].kind == "In":
        return 0
    if not _generates(parts, name):
        return 2 if name in parts.returning or not parts.backward[name] else 1
    while turn < 9 and (moved := graph.out_of(name)) and _generates(parts, moved[0].target.node):
        name, turn = moved[0].target.node, turn + 1
    return turn


def _interval(parts: Flow, at: Mapping[str, int], chain: list[str]) -> range:
    """The columns of a chain, and those through which its cable runs on to what it feeds."""
    columns = [at[name] for name in chain]
    if chain[0] in parts.returning:
        return range(min(columns), max(columns) + 1)
    onward = parts.forward[chain[-1]]
    passed = [e for e in onward if e.gain_db is None] or onward
    columns_on = [at[e.target.node] for e in passed]
    return range(min(columns), max([max(columns) + 1, *columns_on]))


def _free_row(parts: Flow, grid: Rows, cells: range, chain: list[str], near: list[int], fed: bool) -> int:
    """A row for a chain, an inserted one if need be; ``near`` are the rows that it hangs on, in order."""
    shared = len(near) > 1 or len(parts.graph.sources) > 1
    if fed and shared and all(e.gain_db is not None for e in parts.backward[chain[0]]):  # a return: below all strips
        lowest = max((r for r, taken in enumerate(grid.taken) if 0 in taken), default=0)
        tries, place = list(range(max(near[-1], lowest) + 1, len(grid.taken))), len(grid.taken)
    elif not fed:  # what moves a knob: right below it
        tries, place = [near[-1] + 1], near[-1] + 1
    elif len(near) > 1:  # a sum: amid what it sums
        wanted, reach = median_low(near), max(2, near[-1] - near[0])
        tries, place = (
            sorted(range(wanted - reach, wanted + reach + 1), key=lambda r: (abs(r - wanted), -r)),
            wanted + 1,
        )
    else:  # a branch: below
        tries, place = [near[0], near[0] + 1, near[0] + 2], near[0] + 1
    free = (r for r in tries if 0 <= r < len(grid.taken) and grid.free(r, cells))
    found = next(free, None)
    return grid.insert(place) if found is None else found
