"""A graph in the text form of `diffmix.graph.text`."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from diffmix.graph.graph import Graph
from diffmix.graph.node import Edge, Node
from diffmix.graph.text.vocabulary import (
    CHANNELS,
    NAME,
    PERCENT,
    UNITS,
    WORDS,
    automatic,
    begun,
    kind_of,
    knob_names,
    leading,
    plain,
    quantity,
    reach_unit,
    reserved,
    scaled,
    word_of,
)


def write(graph: Graph) -> str:
    """The text of a graph, one statement per line, sources first; ``parse(write(graph)) == graph``.

    Strips begin with their label and run to where they are summed; side chains stand between the brackets of the
    effect that listens. Numbers are exact, in the fewest digits that read as the same.
    """
    return _Writer(graph).text()


@dataclass
class _Line:
    """A chain of nodes, of which those from ``first`` on are new, or one send."""

    nodes: list[str]
    new: bool = True  # whether the first node is
    outlet: str = ""  # of the first node, where it is not its first one
    end: Edge | None = None  # where the chain ends, if not at a new node


class _Writer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        at = Counter(e.target for e in graph.edges)
        firsts = {
            n.name: (n.inlets[0].name if n.inlets else None, n.outlets[0].name if n.outlets else None) for n in graph
        }
        self.first_in = {name: pair[0] for name, pair in firsts.items()}
        self.first_out = {name: pair[1] for name, pair in firsts.items()}
        self.keyed: dict[str, list[Edge]] = {}  # side chains, written between brackets
        self.leads: dict[str, list[Edge]] = {}  # everything else by where it comes from
        self.only: set[Edge] = set()  # wires that alone feed a first inlet: a chain may go on there
        for edge in graph.edges:
            target = graph[edge.target.node]
            is_first = edge.target.port == self.first_in[target.name]
            if not is_first and target.inlet(edge.target.port).kind == "side chain":
                self.keyed.setdefault(target.name, []).append(edge)
                continue
            self.leads.setdefault(edge.source.node, []).append(edge)
            if is_first and at[edge.target] == 1 and edge.is_wire:
                self.only.add(edge)
        self.placed: set[str] = set()
        self.automatic: set[str] = set()

    def text(self) -> str:
        lines = self._ordered(list(self._lines()))
        self._call(lines)
        texts: list[str] = []
        ready: tuple[str, str, str] | None = None  # what a send that may stand in the last line starts from
        for line in lines:
            last = line.nodes[-1]
            if line.end is None or line.end.is_wire or line.new or len(line.nodes) > 1:
                texts.append(self._chain(line))
                ready = (last, "" if len(line.nodes) > 1 else line.outlet, "") if line.end is None else None
                continue
            arrow = "->" if line.end.amount is None else "~>"
            sent = self._reference(line.end.target.node) + self._inlet(line.end) + self._level(line.end)
            if ready == (last, line.outlet, arrow):
                texts[-1] += f", {sent}"
            elif ready == (last, line.outlet, ""):
                texts[-1] += f" {arrow} {sent}"
            else:
                texts.append(f"{self._chain(_Line(line.nodes, False, line.outlet))} {arrow} {sent}")
            ready = (last, line.outlet, arrow)
        return "".join(f"{text}\n" for text in texts)

    # -- what stands in which line ---------------------------------------------------------------------------------

    def _lines(self) -> Iterator[_Line]:
        """Chains, each from where it is called to a sum, then what branches off it."""
        fed = {e.target.node for e in self.only}
        order = sorted(self.graph, key=lambda n: (n.kind == "Out") - (n.kind == "In"))
        heads = [n.name for n in order if n.name not in fed]
        for name in (*heads, *(n.name for n in order if n.name in fed)):  # the latter only where a ring has no begin
            if name not in self.placed and not (name == "out" and self._is_shared(name) and self.graph.into(name)):
                yield from self._from(name)

    def _from(self, name: str) -> Iterator[_Line]:
        todo: list[tuple[_Line, Edge | None]] = [(_Line([name]), None)]
        self.placed.add(name)
        while todo:
            line, begin = todo.pop()
            nodes, taken = line.nodes, set()
            if begin is not None:
                taken.add(begin)
            while True:
                here = nodes[-1]
                port = line.outlet if len(nodes) == 1 and line.outlet else self.first_out[here]
                wires = [e for e in self.leads.get(here, []) if e.source.port == port and e.is_wire]
                if begin is not None and len(nodes) == 1:
                    wires = [begin]
                on = next((e for e in wires if e in self.only and e.target.node not in self.placed), None)
                if on is not None:
                    taken.add(on)
                    nodes.append(on.target.node)
                    self.placed.add(on.target.node)
                    continue
                line.end = next((e for e in wires if not (e in self.only and e.target.node not in self.placed)), None)
                if line.end is not None:
                    taken.add(line.end)
                break
            yield line
            more: list[tuple[_Line, Edge | None]] = []
            for here in nodes if line.new else nodes[1:]:
                for edge in self.leads.get(here, []):
                    if edge in taken:
                        continue
                    outlet = "" if edge.source.port == self.first_out[here] else edge.source.port
                    if edge in self.only and edge.target.node not in self.placed:
                        more.append((_Line([here], False, outlet), edge))
                    else:
                        yield _Line([here], False, outlet, edge)
            todo += more[::-1]

    def _ordered(self, lines: list[_Line]) -> list[_Line]:
        """The lines so that the edges at each inlet come in their order. Each line has one such edge at most."""
        waiting: dict[Any, list[Edge]] = {}
        for edge in reversed(self.graph.edges):
            waiting.setdefault(edge.target, []).append(edge)
        of = {line.end: line for line in lines if line.end is not None}
        found: list[_Line] = []
        for line in lines:
            if line.end is None:
                found.append(line)
                continue
            queue = waiting[line.end.target]
            if line.end not in of:
                continue
            while True:
                edge = queue.pop()
                before = of.pop(edge, None)
                if before is not None:
                    found.append(before)
                if edge is line.end:
                    break
        return found

    # -- how nodes are called --------------------------------------------------------------------------------------

    def _is_shared(self, name: str) -> bool:
        return name == "out" and self.graph[name].kind == "Out"

    def _call(self, lines: list[_Line]) -> None:
        """Find the nodes whose names a reader gives them without being told."""
        counts: Counter[tuple[str | None, str]] = Counter()
        for line in lines:
            prefix: str | None = None if line.new else begun(line.nodes[0])
            for number, name in enumerate(line.nodes):
                if self._is_shared(name) or (number == 0 and not line.new):
                    continue
                word = word_of(self.graph[name].kind)
                given = automatic(prefix, word, counts[prefix, word] + 1) == name
                if given and (number or self._goes_on_unnamed(line)):
                    counts[prefix, word] += 1
                    self.automatic.add(name)
                elif number == 0:
                    prefix = name

    def _goes_on_unnamed(self, line: _Line) -> bool:
        """Whether a line can do without label: what follows is not called after its first node."""
        names = [name for name in line.nodes[1:] if not self._is_shared(name)]
        return "." not in line.nodes[0] and bool(names) and names[0].startswith(word_of(self.graph[names[0]].kind))

    def _is_called(self, name: str) -> bool:
        """Whether a label or ``name=`` calls it."""
        return name not in self.automatic and not self._is_shared(name)

    def _reference(self, name: str) -> str:
        return _bare(name) if kind_of(name) is None or name not in self.automatic else _quoted(name)

    # -- words -----------------------------------------------------------------------------------------------------

    def _chain(self, line: _Line) -> str:
        parts = []
        label = ""
        for number, name in enumerate(line.nodes):
            if number == 0 and not line.new:
                parts.append(self._reference(name) + (f":{_bare(line.outlet)}" if line.outlet else ""))
            elif number == 0 and self._is_called(name):
                label = f"{_bare(name)}: "
                parts.append(self._effect(name))
            elif self._is_called(name):
                parts.append(f"{_bare(name)}={self._effect(name)}")
            else:
                parts.append("out" if self._is_shared(name) else self._effect(name))
        if line.end is not None:
            parts.append(self._reference(line.end.target.node) + self._inlet(line.end))
        return label + " > ".join(parts)

    def _inlet(self, edge: Edge) -> str:
        name, port = edge.target
        if port == self.first_in[name] and edge.amount is None:
            return ""
        params = self.graph[name].params
        return ":" + (
            knob_names(params, frozenset(p.name for p in self.graph[name].inlets))[port]
            if port in params
            else _bare(port)
        )

    def _level(self, edge: Edge) -> str:
        if edge.amount is not None:
            unit = reach_unit(self.graph[edge.target.node].params.get(edge.target.port))
            return f"({quantity(edge.amount, unit)})"
        return "" if edge.gain_db is None else f"({plain(edge.gain_db)}dB)"

    def _effect(self, name: str) -> str:
        node = self.graph[name]
        word = word_of(node.kind)
        given = ", ".join(self._given(node))
        # without brackets a word may be the node that is called so
        taken = name in self.automatic and word != name and (word in self.graph or word == "out")
        return f"{word}({given})" if given or taken else word

    def _given(self, node: Node) -> Iterator[str]:
        params = node.params
        names = knob_names(params, reserved(node.kind))
        full: set[str] = set()  # dimensions in which a knob had to be named: a value without would go there
        for knob in leading(node.kind, params):
            dimension = UNITS[params[knob].unit][0]
            if knob not in node.values or dimension in full or not (text := _unnamed(node, knob)):
                full.add(dimension)
                continue
            yield text
            names.pop(knob)
        for knob, called in names.items():
            if knob in node.values:
                yield f"{called}={_value(node, knob)}"
            elif knob in node.ranges:
                yield f"{called}{_limits(node, knob)}"
        for option, value in node.options.items():
            yield _option(node.kind, option, value)
        if node.kind == "In" and "channels" not in node.options and feeds_mono(self.graph, node.name):
            yield "2"
        for edge in self.keyed.get(node.name, []):
            key = "sc" if edge.target.port == "side_chain" else edge.target.port
            outlet = "" if edge.source.port == self.first_out[edge.source.node] else f":{_bare(edge.source.port)}"
            source = edge.source.node
            yield f"{key}={_bare(source)}{outlet}{self._level(edge)}"


def feeds_mono(graph: Graph, name: str) -> bool:
    """Whether what a source feeds, through effects for any number of channels, wants one channel first of all."""
    found, todo = {name}, [name]
    for at in todo:  # grows while it is read; breadth first
        for edge in graph.out_of(at):
            node = graph[edge.target.node]
            port = node.inlet(edge.target.port)
            if port.kind == "control" or port != node.inlets[0]:
                continue
            if port.channels is not None:
                return port.channels == 1
            if node.name not in found:
                found.add(node.name)
                todo.append(node.name)
    return False


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _bare(name: str) -> str:
    return name if NAME.fullmatch(name) and name not in ("Infinity", "NaN") else _quoted(name)


def _unnamed(node: Node, knob: str) -> str | None:
    """A knob's value and range without its name, None if that would not be read as this knob's."""
    value, unit = node.values[knob], node.params[knob].unit
    if node.kind == PERCENT:
        tried = (f"{100 * value:.{digits}g}" for digits in range(1, 18))
        percent = next((text for text in tried if "e" not in text and scaled(text, "%", "") == value), "0.5")
        return None if 0 < abs(float(percent)) < 1 or knob in node.ranges else percent
    if (unit and unit not in ("cycles", "bits")) or len(leading(node.kind, node.params)) == 1:
        return _value(node, knob)
    return None


def _value(node: Node, knob: str) -> str:
    """A knob's value and range; what a filter or fader adds has a sign."""
    value = node.values[knob]
    sign = "+" if value > 0 and knob.endswith("gain_db") else ""
    return f"{sign}{quantity(value, node.params[knob].unit)}{_limits(node, knob)}"


def _limits(node: Node, knob: str) -> str:
    if knob not in node.ranges:
        return ""
    low, high = node.ranges[knob]
    if low == high == node.values.get(knob):
        return "!"
    return f"[{plain(low)}..{plain(high)}]"


def _option(kind: str, name: str, value: Any) -> str:
    if name == "channels" and type(value) is int and value in CHANNELS.values():
        if kind == "In":
            return str(value)
        return next(word for word, count in CHANNELS.items() if count == value)
    if kind == "Feedback" and name == "delay_ms" and type(value) in (int, float):
        return f"{plain(value)}ms"
    if isinstance(value, str) and NAME.fullmatch(value) and value not in (*WORDS, *CHANNELS, "Infinity", "NaN"):
        return f"{name}={value}"
    return f"{name}={json.dumps(value, ensure_ascii=False)}"
