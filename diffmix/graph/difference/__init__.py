"""What was done between two graphs, as edits that a mixing engineer would name.

`difference` finds them, ``str`` says them, `Difference.apply` does them again, to the same graph exactly, or to another
song's. `diffmix.graph.difference.audible` tells what each of them changes for the ear.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from difflib import SequenceMatcher
from typing import Any

from diffmix.errors import GraphError
from diffmix.files import check_format
from diffmix.graph.difference.edits import (
    EDITS,
    Added,
    Chosen,
    Connected,
    Disconnected,
    Draft,
    Edit,
    Exchanged,
    Laid,
    Limited,
    Moved,
    Pair,
    Removed,
    Renamed,
    Reordered,
    Retuned,
    Sent,
    bridges,
)
from diffmix.graph.file import edge_entry, node_entry, read_edges, read_end, read_nodes
from diffmix.graph.graph import Graph
from diffmix.graph.node import Edge, Endpoint, Node

FORMAT, VERSION = "diffmix-difference", 1

_LOOKED_AT = 500  # nodes on the way of a signal: a larger graph would be searched once for each cable
_MOVES = 64  # of nodes, each chosen among as many: further ones are told as cables


@dataclass(frozen=True)
class Difference:
    """Edits in the order in which they are done."""

    edits: tuple[Edit, ...]

    def __len__(self) -> int:
        return len(self.edits)

    def __iter__(self) -> Iterator[Edit]:
        return iter(self.edits)

    def __str__(self) -> str:
        return "\n".join(map(str, self.edits))

    def apply(self, graph: Graph, exact: bool = False) -> Graph:
        """Do the edits: ``difference(a, b).apply(a) == b``, or to another graph that has these nodes.

        Knobs get the values they have in ``b``. In a graph that is cabled otherwise, new and moved nodes go behind the
        node that they were put behind, if not ``exact``. Raises GraphError, naming it, for a node or cable that the
        graph does not have, and for a rule that would be broken.
        """
        draft = Draft(graph, exact)
        for edit in self.edits:
            edit.change(draft)
        return draft.finished()

    def to_dict(self) -> dict[str, Any]:
        """Plain data with format and version."""
        edits = [
            {"edit": type(edit).__name__.lower()} | {f.name: _plain(getattr(edit, f.name)) for f in fields(edit)}
            for edit in self.edits
        ]
        return {"format": FORMAT, "version": VERSION, "edits": edits}

    @classmethod
    def from_dict(cls, data: Any, where: str = "the given data") -> "Difference":
        """The difference of `to_dict`'s data. Raises GraphError for another format, a later version, a wrong edit."""
        edits = check_format(data, where, "a difference", FORMAT, VERSION, GraphError).get("edits")
        if not isinstance(edits, list):
            raise GraphError(f"{where}: edits is {type(edits).__name__}, a list is expected")
        return cls(tuple(_edit(entry, f"{where}: edits[{n}]") for n, entry in enumerate(edits)))


def difference(before: Graph, after: Graph) -> Difference:
    """The edits that make ``after`` of ``before``.

    Nodes are matched by name, those that are left by kind, settings and neighbours: a node that only changed its name
    is renamed. Every knob, option and range that differs is an edit of its own; so is each group of nodes that came or
    went together, with its cables; a node that stands elsewhere in its chain moved; what is left are cables.
    """
    return Difference(tuple(_Finder(before, after).edits()))


class _Finder:
    def __init__(self, before: Graph, after: Graph) -> None:
        self.before, self.after = before, after
        self.draft = Draft(before)
        self.found: list[Edit] = []
        self.wanted = {(e.source, e.target): e for e in after.edges}
        self.places: dict[Pair, int] = {}
        counts: Counter[Endpoint] = Counter()
        for edge in after.edges:
            self.places[edge.source, edge.target] = counts[edge.target]
            counts[edge.target] += 1

    def _do(self, edit: Edit) -> None:
        edit.change(self.draft)
        self.found.append(edit)

    def edits(self) -> list[Edit]:
        for old, new in renames(self.before, self.after).items():
            self._do(Renamed(old, new))
        for node in self.after:
            if node.name in self.draft.nodes:
                self._settings(node)
        self._removed()
        self._moved()
        self._added()
        self._cables()
        return self.found

    def _settings(self, new: Node) -> None:
        name = new.name
        loose = self.draft.node(name)
        if loose.kind != new.kind:
            self._do(Exchanged(Node(name, *loose), new))
            return
        for option in dict.fromkeys((*loose.options, *new.options)):
            was, now = (((own[option],) if option in own else ()) for own in (loose.options, new.options))
            if was != now or [type(v) for v in was] != [type(v) for v in now]:
                self._do(Chosen(name, option, was, now))
        for knob in dict.fromkeys((*loose.ranges, *new.ranges)):
            if loose.ranges.get(knob) != new.ranges.get(knob):
                self._do(Limited(name, new.kind, knob, loose.ranges.get(knob), new.ranges.get(knob)))
        for knob in dict.fromkeys((*new.params, *loose.values)):
            if loose.values.get(knob) != new.values.get(knob):
                at_hz = _band(new, knob)
                self._do(Retuned(name, new.kind, knob, loose.values.get(knob), new.values.get(knob), at_hz))

    # -- nodes -----------------------------------------------------------------------------------------------------

    def _removed(self) -> None:
        gone = [name for name in self.draft.nodes if name not in self.after]
        for names in _together(gone, self.draft.edges(gone)):
            nodes = tuple(Node(name, *self.draft.node(name)) for name in names)
            cut = tuple(self.draft.edges(names))
            laid = [
                Laid(self.wanted.get((edge.source, edge.target), edge), place)
                for edge, place in bridges(self.draft, nodes)
                if self.draft.edge(edge.source, edge.target) is None and self._leads(edge.source, edge.target)
            ]
            self._do(Removed(cut, tuple(laid), nodes))

    def _leads(self, source: Endpoint, target: Endpoint) -> bool:
        """Whether what leaves ``source`` still reaches ``target``, if through others."""
        if (source, target) in self.wanted:
            return True
        if source.node not in self.after or target.node not in self.after:
            return False
        todo, seen = [source.node], {source.node}
        while todo and len(seen) < _LOOKED_AT:
            for edge in self.after.out_of(todo.pop()):
                if edge.target == target:
                    return True
                if edge.target.node not in seen:
                    seen.add(edge.target.node)
                    todo.append(edge.target.node)
        return False

    def _moved(self) -> None:
        """Nodes that changed their place, one after the other, each the one that explains most cables."""
        new = [node for node in self.after if node.name not in self.draft.nodes]
        whole = Draft(self.after)
        wanted = dict(self.wanted)
        for edge, _ in bridges(whole, new):
            wanted.setdefault((edge.source, edge.target), edge)
        names = {node.name for node in new}
        wanted = {p: e for p, e in wanted.items() if not names & {p[0].node, p[1].node}}
        have = {(e.source, e.target) for edges in self.draft.inlets.values() for e in edges}
        left = have ^ wanted.keys()
        for _ in range(_MOVES):
            touched = dict.fromkeys(end.node for pair in sorted(left) for end in pair)
            candidates = [name for name in self.draft.nodes if name in touched]
            if not candidates or len(candidates) > _MOVES:
                return
            moves = [found for name in candidates if (found := self._move(name, wanted))]
            gains = [len(pairs & left) - len(pairs - left) for _, pairs in moves]
            if not gains or max(gains) < 4:
                return
            move, explained = moves[gains.index(max(gains))]
            self._do(move)
            left ^= explained

    def _move(self, name: str, wanted: Mapping[Pair, Edge]) -> tuple[Moved, set[Pair]] | None:
        node = Node(name, *self.draft.node(name))
        if not node.inlets or not node.outlets or node.outlets[0].kind == "control":
            return None
        into, out = Endpoint(name, node.inlets[0].name), Endpoint(name, node.outlets[0].name)
        wires = [e for e in self.draft.edges([name]) if into == e.target or (out == e.source and self._is_audio(e))]
        had = {(e.source, e.target): e for e in wires}
        gets = {p: e for p, e in wanted.items() if into == p[1] or (out == p[0] and self._is_audio(e))}
        sources, targets = ([p[0] for p in gets if p[1] == into], [p[1] for p in gets if p[0] == out])
        if not sources or not targets or not any(p[1] == into for p in had) or not any(p[0] == out for p in had):
            return None
        cut = {p: e for p, e in had.items() if p not in gets}
        laid = {p: Laid(e, self.places.get(p, 0)) for p, e in gets.items() if p not in had}
        for edge, place in bridges(self.draft, (node,), most=64):
            pair = edge.source, edge.target
            if (
                self.draft.edge(*pair) is None
                and pair not in laid
                and edge.target.port == self._first(edge.target.node)
            ):
                laid[pair] = Laid(wanted.get(pair, edge), place)
        for source in sources:
            for target in targets:
                pair = source, target
                if pair in wanted:
                    continue
                laid.pop(pair, None)
                if (between := self.draft.edge(*pair)) is not None:
                    cut[pair] = between
        if not cut or not laid:
            return None
        return Moved(tuple(cut.values()), tuple(laid.values()), name, sources[0].node), cut.keys() | laid.keys()

    def _first(self, name: str) -> str:
        inlets = Node(name, *self.draft.node(name)).inlets
        return inlets[0].name if inlets else ""

    def _is_audio(self, edge: Edge) -> bool:
        return edge.amount is None and edge.target.port == self._first(edge.target.node)

    def _added(self) -> None:
        new = [node.name for node in self.after if node.name not in self.draft.nodes]
        of = {name: names for names in _together(new, self.after.edges) for name in names}
        for names in {id(names): names for names in of.values()}.values():
            edges = [e for n in names for e in (*self.after.into(n), *self.after.out_of(n))]
            edges = list({(e.source, e.target): e for e in edges}.values())
            feeds = {e.source for e in edges if e.source.node not in of}
            cut = [
                edge
                for target in dict.fromkeys(e.target for e in edges if e.target.node not in of)
                for edge in self.draft.inlets.get(target, [])
                if edge.source in feeds and (edge.source, edge.target) not in self.wanted
            ]
            edges.sort(key=lambda e: self.places[e.source, e.target])
            laid = tuple(Laid(e, self.places[e.source, e.target]) for e in edges)
            self._do(Added(tuple(cut), laid, tuple(self.after[name] for name in names)))

    # -- cables ----------------------------------------------------------------------------------------------------

    def _cables(self) -> None:
        have = {(e.source, e.target): e for edges in self.draft.inlets.values() for e in edges}
        for pair, edge in have.items():
            if pair not in self.wanted:
                self._do(Disconnected(edge, self.after[edge.target.node].kind))
        for pair, edge in self.wanted.items():
            kind = self.after[edge.target.node].kind
            if pair not in have:
                self._do(Connected(edge, self.places[pair], kind))
            elif have[pair] != edge:
                self._do(Sent(have[pair], edge, kind))
        orders: dict[Endpoint, list[Endpoint]] = {}
        for source, target in self.wanted:
            orders.setdefault(target, []).append(source)
        for target, order in orders.items():
            if [e.source for e in self.draft.inlets[target]] != order:
                self._do(Reordered(target, tuple(order)))


def _band(node: Node, knob: str) -> float | None:
    """The frequency of the band that a gain or a Q belongs to."""
    stem = knob.removesuffix("gain_db").removesuffix("q")
    centre = f"{stem}cutoff_frequency_hz"
    return node.setting(centre) if stem != knob and centre in node.params else None


def _together(names: Iterable[str], edges: Iterable[Edge]) -> list[list[str]]:
    """Names in groups that edges join, in order."""
    group = {name: [name] for name in names}
    for edge in edges:
        one, other = group.get(edge.source.node), group.get(edge.target.node)
        if one is not None and other is not None and one is not other:
            one, other = (one, other) if len(one) >= len(other) else (other, one)
            one += other
            group |= dict.fromkeys(other, one)
    rank = {name: n for n, name in enumerate(group)}
    return [sorted(names, key=rank.__getitem__) for names in {id(g): g for g in group.values()}.values()]


# -- renames -------------------------------------------------------------------------------------------------------


def renames(before: Graph, after: Graph, most: int = 20_000) -> dict[str, str]:
    """Nodes that have another name in ``after``: of the same kind, and alike in settings and neighbours."""
    gone = [n for n in before if n.name not in after]
    came = [n for n in after if n.name not in before]
    found: dict[str, str] = {}
    while True:
        pairs = [(a, b) for a in gone for b in came if a.kind == b.kind] if len(gone) * len(came) <= most else []
        around = {n.name: _around(before, n.name, after, found) for n in {a.name: a for a, _ in pairs}.values()}
        theirs = {n.name: _around(after, n.name, before, {}) for n in {b.name: b for _, b in pairs}.values()}
        scores = [(_alike(a, b, around[a.name], theirs[b.name]), a, b) for a, b in pairs]
        scores.sort(key=lambda score: -score[0])
        taken: set[str] = set()
        for score, a, b in scores:
            if score >= 1.7 and a.name not in taken and b.name not in taken:
                found[a.name] = b.name
                taken |= {a.name, b.name}
        if not taken:
            return found
        gone = [n for n in gone if n.name not in taken]
        came = [n for n in came if n.name not in taken]


def _around(graph: Graph, name: str, other: Graph, found: Mapping[str, str]) -> Counter[tuple[str, ...]]:
    """What stands around a node: its neighbours' names where both graphs have them, else their kinds."""
    ends = [(e.target.port, e.source) for e in graph.into(name)]
    ends += [(e.source.port, Endpoint(e.target.node, e.target.port)) for e in graph.out_of(name)]
    known = {end.node: found.get(end.node, end.node) for _, end in ends}
    return Counter(
        (port, end.port, known[end.node])
        if end.node in other or end.node in found
        else (port, end.port, "", graph[end.node].kind)
        for port, end in ends
    )


def _alike(a: Node, b: Node, around: Counter[tuple[str, ...]], other: Counter[tuple[str, ...]]) -> float:
    """0 to 3: equal settings, equal neighbours, and a little for the name."""
    mine, its = a.settings, b.settings
    same = sum(mine[k] == its.get(k) for k in mine) / max(len(mine), 1) if mine else 1.0
    same *= dict(a.options) == dict(b.options)
    near = sum((around & other).values()) / max(sum(around.values()), sum(other.values()), 1)
    return same + near + 0.9 * SequenceMatcher(None, a.name, b.name, autojunk=False).ratio()


# -- files ---------------------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """A field of an edit as plain data."""
    if isinstance(value, Node):
        return node_entry(value)
    if isinstance(value, Laid):
        return edge_entry(value.edge) | {"place": value.place}
    if isinstance(value, Edge):
        return edge_entry(value)
    if isinstance(value, Endpoint):
        return str(value)
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _edit(entry: Any, where: str) -> Edit:
    if not isinstance(entry, Mapping) or entry.get("edit") not in EDITS:
        raise GraphError(f"{where} is no edit: its edit is one of {', '.join(EDITS)}")
    kind = EDITS[entry["edit"]]
    names = [f.name for f in fields(kind)]
    if missing := [name for name in names if name not in entry]:
        raise GraphError(f"{where}: {entry['edit']} needs {missing[0]!r}")
    if extra := sorted(entry.keys() - {"edit", *names}):
        raise GraphError(f"{where} holds {extra[0]!r}, which no {entry['edit']} has")
    try:
        return kind(**{name: _read(kind, name, entry[name]) for name in names})
    except GraphError as error:
        raise GraphError(f"{where}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise GraphError(f"{where} is no {entry['edit']}: {error}") from None


def _read(kind: type[Edit], name: str, data: Any) -> Any:
    """The inverse of `_plain`, by the field's name."""
    if name in ("old", "new"):
        return read_nodes([data], "the edit")[0]
    if name == "nodes":
        return tuple(read_nodes(data, "the edit"))
    if name in ("edge", "old_edge"):
        return read_edges([data], "the edit")[0]
    if name == "cut":
        return tuple(read_edges(data, "the edit"))
    if name == "laid":
        edges = read_edges([{k: v for k, v in e.items() if k != "place"} for e in data], "the edit")
        return tuple(Laid(edge, _whole(e["place"])) for edge, e in zip(edges, data, strict=True))
    if name == "inlet":
        return read_end(data, "the edit")
    if name == "order":
        return tuple(read_end(text, "the edit") for text in data)
    if name == "place":
        return _whole(data)
    if name in ("was", "now"):
        if kind is Chosen:
            return tuple(data)
        return data if data is None else (_number(data[0]), _number(data[1])) if kind is Limited else _number(data)
    if name == "at_hz":
        return None if data is None else _number(data)
    if not isinstance(data, str):
        raise GraphError(f"{name} is {type(data).__name__}, text is expected")
    return data


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise GraphError(f"{value!r} is no number")
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise GraphError(f"the place {value!r} is no whole number from 0")
    return value
