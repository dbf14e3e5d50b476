"""How the cables of a picture run: gutters, corridors, tracks in them, then coordinates."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from diffmix.graph.draw.layout import Cable, Place, Rows, columns, flow, front, is_audio, rows
from diffmix.graph.draw.words import clipped, edge_text, plain
from diffmix.graph.graph import Graph
from diffmix.graph.node import Edge

PORT, FIRST = 16.0, 15.0
"""Distance of ports, and of the first one from the top of a box."""
TRACK, GAP, MARGIN = 9.0, 18.0, 24.0
"""Distance of cables beside each other, least height of a corridor, edge of the picture."""
ARROW, STUB = 14.0, 8.0
"""Room in front of an inlet and behind an outlet."""

Level = float
"""A height before heights are known: row + SLOT slot, or for the corridor below a row, row + CORRIDOR + LANE track."""

SLOT, CORRIDOR, LANE = 1e-5, 0.9, 1e-6

Pin = tuple[Level, bool]
"""A level at which a net meets a gutter, and whether from the right."""


@dataclass
class Drawing:
    """Boxes and cables with all their coordinates."""

    places: dict[str, Place]
    cables: list[Cable]
    width: float
    height: float


@dataclass
class _Run:
    """A cable in the grid: the gutters in which it climbs, and the levels between."""

    cable: Cable
    source: Place
    target: Place
    gutters: list[int]
    levels: list[Level]
    """One more than gutters: the level of the exit, of every corridor or row between, of the entry."""

    def pins(self, number: int) -> list[Pin]:
        """Levels at which it meets its gutter of this number, and whether from the right."""
        here = self.gutters[number]
        came = self.gutters[number - 1] > here if number else self.source.mirrored
        if number + 1 < len(self.gutters):
            goes = self.gutters[number + 1] > here
        else:
            goes = self.target.column >= here if self.cable.side else not self.target.mirrored
        return [(self.levels[number], came), (self.levels[number + 1], goes)]


def drawing(graph: Graph, size: Callable[[Place], tuple[float, float]], text_width: Callable[[str], float]) -> Drawing:
    """Places and cables of a graph; ``size`` is the least (width, height) of a box whose ports are known."""
    parts = flow(graph)
    at = columns(parts)
    row_of, grid = rows(parts, at)
    chain = {name: names for names in parts.chains for name in names}
    places = {
        name: Place(graph[name], chain[name], at[name], row_of[name], name in parts.returning) for name in graph.nodes
    }
    cables = [_cable(graph, edge, places) for edge in graph.edges]
    _ports(places, cables)
    for place in places.values():
        place.width, place.height = size(place)
    runs = [_routed(cable, places, grid) for cable in cables]
    corridors = _corridors(runs)
    gutters = range(max((p.column for p in places.values()), default=0) + 2)
    tracks = [_tracks(runs, g) for g in gutters]
    if sum(_parted(runs, g, tracks[g]) for g in gutters):
        tracks = [_tracks(runs, g) for g in gutters]
    return _measured(places, runs, corridors, tracks, text_width)


def _cable(graph: Graph, edge: Edge, places: Mapping[str, Place]) -> Cable:
    text = edge_text(graph, edge)
    side = not is_audio(graph, edge)
    source, target = places[edge.source.node], places[edge.target.node]
    if side and _lifted(graph, edge, source, target):
        source.notes.append(f"↑ {text}")
        return Cable(edge, ("lift", str(edge.source)), "", True)
    net = ("side", str(edge.source), text) if side else ("to", str(edge.target))
    sends = [e for e in graph.out_of(edge.source.node) if e.gain_db is not None and is_audio(graph, e)]
    if len(sends) > 1 and edge in sends:
        text = f"{clipped(plain(edge.target.node), 12)} {text}"
    return Cable(edge, net, text, side)


def _lifted(graph: Graph, edge: Edge, source: Place, target: Place) -> bool:
    """Whether a control signal goes straight up: from a generator that stands below the only thing that it moves."""
    fed = any(is_audio(graph, e) for e in graph.into(source.node.name))
    alone = len(graph.out_of(source.node.name)) == 1 and not fed
    return alone and source.column == target.column and source.row == target.row + 1


def _ports(places: Mapping[str, Place], cables: Iterable[Cable]) -> None:
    """Where cables leave and enter each box."""
    leaving: dict[str, list[Cable]] = {}
    for cable in cables:
        if cable.net[0] != "lift":
            leaving.setdefault(cable.edge.source.node, []).append(cable)
        if cable.side and cable.edge.target.port not in places[cable.edge.target.node].entries:
            places[cable.edge.target.node].entries.append(cable.edge.target.port)
    for name, those in leaving.items():
        place = places[name]
        outlets = [port.name for port in place.node.outlets]

        def rank(cable: Cable, place: Place = place, outlets: list[str] = outlets) -> tuple[float, ...]:
            target = places[cable.edge.target.node]
            near = target.row == place.row and not cable.side
            distance = abs(target.column - place.column) if near else 0
            outlet = outlets.index(cable.edge.source.port)
            return (outlet, not near, distance, cable.side, bool(cable.text), target.row)

        for cable in sorted(those, key=rank):
            slot = (cable.edge.source.port, cable.net)
            if slot not in place.exits:
                place.exits.append(slot)


def _level(place: Place, slot: int) -> Level:
    return place.row + SLOT * slot


def _routed(cable: Cable, places: Mapping[str, Place], grid: Rows) -> _Run:
    edge = cable.edge
    source, target = places[edge.source.node], places[edge.target.node]
    if cable.net[0] == "lift":
        return _Run(cable, source, target, [], [])
    out, start = source.gutter_out, _level(source, source.exits.index((edge.source.port, cable.net)))
    if cable.side:
        return _Run(cable, source, target, [out], [start, target.row + CORRIDOR])
    into, end = target.gutter_in, _level(target, front(target.node).index(edge.target.port))
    if out == into:
        return _Run(cable, source, target, [out], [start, end])
    between = range(min(out, into), max(out, into))
    for owner, row, levels in (
        (("from", edge.source.node), source.row, [start, start, end]),
        (("to", edge.target.node), target.row, [start, end, end]),
    ):
        if grid.free(row, between, owner):
            grid.take(row, between, owner)
            return _Run(cable, source, target, [out, into], levels)
    backward = into < out
    row = max(source.row, target.row) if backward else target.row - 1 if source.row < target.row else target.row
    return _Run(cable, source, target, [out, into], [start, row + CORRIDOR, end])


def _is_corridor(level: Level) -> bool:
    return level % 1 > CORRIDOR - 0.01


def _corridors(runs: Iterable[_Run]) -> dict[int, int]:
    """Give every cable in a corridor its track, by what spans least first; the tracks of each corridor."""
    spans: dict[int, dict[tuple[str, ...], list[float]]] = {}
    for run in runs:
        for number, level in enumerate(run.levels):
            if _is_corridor(level):
                ends = [2.0 * g for g in run.gutters[max(0, number - 1) : number + 1]]
                if run.cable.side:
                    ends.append(2 * run.target.column + 1)
                spans.setdefault(math.floor(level), {}).setdefault(run.cable.net, []).extend(ends)
    counts: dict[int, int] = {}
    track: dict[tuple[int, tuple[str, ...]], int] = {}
    for corridor, nets in spans.items():
        taken: list[list[tuple[float, float]]] = []
        for net, ends in sorted(nets.items(), key=lambda n: (n[0][0] != "side", max(n[1]) - min(n[1]))):
            low, high = min(ends), max(ends)
            free = (i for i, t in enumerate(taken) if all(high < a or b < low for a, b in t))
            found = next(free, len(taken))
            if found == len(taken):
                taken.append([])
            taken[found].append((low, high))
            track[corridor, net] = found
        counts[corridor] = len(taken)
    for run in runs:
        run.levels = [
            level + LANE * track[math.floor(level), run.cable.net] if _is_corridor(level) else level
            for level in run.levels
        ]
    return counts


def _tracks(runs: Iterable[_Run], gutter: int) -> dict[tuple[str, ...], int]:
    """The track of each net that climbs in a gutter, from the left, so that few cables cross and none coincide."""
    pins = _pins(runs, gutter)
    nets = sorted(pins, key=lambda n: (min(pins[n]), n))
    order = _sifted(nets, pins) if len(nets) <= 40 else nets
    track: dict[tuple[str, ...], int] = {}
    for number, net in enumerate(order):
        low, high = min(pins[net])[0], max(pins[net])[0]
        beside = [track[o] for o in order[:number] if min(pins[o])[0] <= high + 0.05 and low <= max(pins[o])[0] + 0.05]
        track[net] = max(beside, default=-1) + 1
    return track


def _pins(runs: Iterable[_Run], gutter: int) -> dict[tuple[str, ...], set[Pin]]:
    """Where the nets that climb in a gutter meet it."""
    pins: dict[tuple[str, ...], set[Pin]] = {}
    for run in runs:
        for number, g in enumerate(run.gutters):
            if g == gutter and run.levels[number] != run.levels[number + 1]:
                pins.setdefault(run.cable.net, set()).update(run.pins(number))
    return pins


def _parted(runs: Iterable[_Run], gutter: int, track: Mapping[tuple[str, ...], int]) -> bool:
    """Whether cables that would coincide in a gutter, in any order, had to be parted: one leaves half a slot lower."""
    pins = _pins(runs, gutter)
    onward: dict[Level, list[int]] = {}
    for net, those in pins.items():
        for level, goes_right in those:
            if goes_right:
                onward.setdefault(level, []).append(track[net])
    found = False
    for run in runs:
        level = run.levels[0] if run.levels else -1.0
        arrives = run.cable.net in track and not run.source.mirrored and (level, False) in pins[run.cable.net]
        if arrives and any(t < track[run.cable.net] for t in onward.get(level, [])):
            run.levels = [value + SLOT / 2 if value == level else value for value in run.levels]
            found = True
    return found


def _sifted(nets: list[tuple[str, ...]], pins: Mapping[tuple[str, ...], set[Pin]]) -> list[tuple[str, ...]]:
    """An order with few crossings: each net in turn is moved to where it crosses least, until nothing improves."""
    cost = {(a, b): _cost(pins[a], pins[b]) for a in nets for b in nets if a != b}
    order = list(nets)
    for _ in range(6):
        before = list(order)
        for net in before:
            rest = [n for n in order if n != net]
            total = best = sum(cost[net, n] for n in rest)
            place = 0
            for i, n in enumerate(rest):
                total += cost[n, net] - cost[net, n]
                if total < best:
                    best, place = total, i + 1
            order = [*rest[:place], net, *rest[place:]]
        if order == before:
            break
    return order


def _cost(left: set[Pin], right: set[Pin]) -> int:
    """Crossings of two nets if one climbs left of the other; coinciding lines count as many."""
    spans = [(min(p)[0], max(p)[0]) for p in (left, right)]
    cost = sum(goes_right and spans[1][0] < level < spans[1][1] for level, goes_right in left)
    cost += sum(not goes_right and spans[0][0] < level < spans[0][1] for level, goes_right in right)
    from_left = {level for level, goes_right in left if goes_right}
    return cost + 50 * len(from_left & {level for level, goes_right in right if not goes_right})


def _measured(
    places: dict[str, Place],
    runs: list[_Run],
    corridors: Mapping[int, int],
    tracks: list[dict[tuple[str, ...], int]],
    text_width: Callable[[str], float],
) -> Drawing:
    """Coordinates of everything."""
    column_x, first_track, width = _across(places, runs, tracks, text_width)
    widths = _widths(places, len(tracks))
    row_y, corridor_y, height = _down(places, corridors)
    for place in places.values():
        place.x, place.y = column_x[place.column], row_y[place.row]
        place.width = widths[place.column]

    def y(level: Level) -> float:
        row = math.floor(level)
        part = level - row
        if _is_corridor(level):
            return corridor_y[row] + TRACK * round((part - CORRIDOR) / LANE)
        return row_y[row] + FIRST + PORT * round(2 * part / SLOT) / 2

    for run in runs:
        run.cable.points = _points(run, y, lambda g, net: first_track[g] + TRACK * tracks[g][net])
        if run.levels:
            edge, sign = run.source.edge(right=not run.source.mirrored), -1 if run.source.mirrored else 1
            run.cable.label_at = (edge + sign * STUB, y(run.levels[0]) - 4, "end" if run.source.mirrored else "start")
    return Drawing(places, [run.cable for run in runs], width, height)


def _points(
    run: _Run, y: Callable[[Level], float], x: Callable[[int, tuple[str, ...]], float]
) -> list[tuple[float, float]]:
    cable, target = run.cable, run.target
    entry = target.entry_x(cable.edge.target.port) if cable.side else target.edge(right=target.mirrored)
    if not run.levels:
        return [(entry, run.source.y), (entry, target.y + target.height)]
    points = [(run.source.edge(right=not run.source.mirrored), y(run.levels[0]))]
    for g, (one, two) in zip(run.gutters, pairwise(run.levels), strict=True):
        if one != two:
            points += [(x(g, cable.net), y(one)), (x(g, cable.net), y(two))]
    points.append((entry, y(run.levels[-1])))
    if cable.side:
        points.append((entry, target.y + target.height))
    return points


def _across(
    places: Mapping[str, Place],
    runs: Iterable[_Run],
    tracks: list[dict[tuple[str, ...], int]],
    text_width: Callable[[str], float],
) -> tuple[list[float], list[float], float]:
    """Left edge of each column, the first track of each gutter, and the width of all."""
    widths = _widths(places, len(tracks))
    left, right = [0.0] * len(tracks), [0.0] * len(tracks)
    for run in runs:
        if run.levels:
            room = STUB + (text_width(run.cable.text) + 4 if run.cable.text else 0)
            side, out = (right, run.source.gutter_out) if run.source.mirrored else (left, run.source.gutter_out)
            side[out] = max(side[out], room)
            if not run.cable.side:
                side, into = (left, run.target.gutter_in) if run.target.mirrored else (right, run.target.gutter_in)
                side[into] = max(side[into], ARROW)
    x, found, first = MARGIN, [], []
    for g in range(len(tracks)):
        first.append(x + left[g] + TRACK / 2)
        count = max(tracks[g].values(), default=-1) + 1
        x += left[g] + right[g] + TRACK * count
        found.append(x)
        x += widths[g]
    return found, first, x + MARGIN


def _widths(places: Mapping[str, Place], count: int) -> list[float]:
    widths = [0.0] * count
    for place in places.values():
        widths[place.column] = max(widths[place.column], place.width)
    return widths


def _down(places: Mapping[str, Place], corridors: Mapping[int, int]) -> tuple[list[float], dict[int, float], float]:
    """The top of each row, the first track of each corridor, and the height of all."""
    tops: list[float] = []
    first = {-1: MARGIN}
    y = MARGIN + TRACK * corridors.get(-1, 0) + (GAP / 2 if corridors.get(-1) else 0)
    heights: dict[int, float] = {}
    for place in places.values():
        heights[place.row] = max(heights.get(place.row, 0), place.height)
    for row in range(max(heights, default=-1) + 1):
        tops.append(y)
        y += heights.get(row, 0)
        first[row] = y + GAP / 2 + 2
        y += GAP + TRACK * corridors.get(row, 0)
    return tops, first, y - GAP + MARGIN
