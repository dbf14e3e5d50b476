"""Graphs as a mixing engineer writes them, one strip per line.

::

    kick: in > gate(-35dB) > pan > mix
    vox:  in > hpf(80Hz) > comp(4:1, -20dB, sc=kick) > pan(-30) > mix    # thirty percent to the left
    vox.pan -> hall(-12dB)                                                  # a send, behind the pan
    hall: verb(room_size=0.8, dry_level=0) > mix
    wobble: lfo(5Hz) ~> vox.pan:pan(0.3)                              # moves the pan by 0.3
    mix:  sum > limiter(-6dB) > out

`parse` reads it, `write` writes any graph so that ``parse(write(graph)) == graph``.

**Statements** end at a line's end or ``;``. ``>`` is a wire; ``-> name(-12dB)`` a cable with a gain;
``~> name:knob(2oct)`` moves a knob, in its unit, or in octaves where its scale is logarithmic; by 1 without amount.

**Names.** A label names the node its statement begins with. The others are called after the label and their effect,
``vox.comp``, and numbered if there are more, ``vox.comp2``; ``eq1=peak(1kHz)`` calls one otherwise. A statement that
begins with a node that is there, ``vox.pan > delay(300ms) > mix``, calls new ones after it up to its last dot, and
one that begins with a new node without label calls them ``comp`` and ``comp2``. A name is that node: ``vox -> hall``
sends what the source ``vox`` plays, ``vox.pan -> hall`` what leaves its pan. Statements stand in any order.

**New or there?** In a chain a word with brackets is a new effect. A word without brackets is the node that is called
so by a label or by ``name=``, else a new effect at its defaults, else a node that was called after its effect. Quoted
words are always nodes. ``out`` is one output for all, unless something else is called so.

**Between brackets**, in any order: values that their unit assigns (`vocabulary.table` lists which, for every effect);
``knob=value`` for all knobs, without the unit in its name if that is clear (``threshold`` or ``threshold_db``,
``freq``); options of the class; ``sc=kick`` or ``sc=kick(-6dB)``, a side chain, and other inlets by their names. A
number without unit is in the knob's own; ``%`` is a hundredth. ``pan(-30)`` is in percent. ``gain=3dB[-6..6]`` narrows
the range, ``gain[-6..6]`` does so at the default, ``pan=0!`` locks. ``in(1)`` is mono, ``in(2)`` stereo; ``in`` is mono
if a pan comes first behind it, else stereo.

::

    text      = { statement ( newline | ";" ) } ;                     comments: "#" to the line's end
    statement = [ name ":" blank ] item { ">" item } [ "->" sends | "~>" sends ] ;
    item      = [ name "=" ] effect [ "(" [ given { "," given } ] ")" ]     a new node
              | node ;                                                      one that is there
    sends     = send { "," send } ;
    send      = node [ "(" quantity ")" ] ;
    node      = name [ ":" port ] ;       an outlet where a statement begins, an inlet where a chain ends
    given     = quantity [ limits ] | word
              | key "=" ( quantity [ limits ] | send | json | "true" | "false" | "null" | word )
              | key limits ;
    limits    = "!" | "[" quantity ".." quantity "]" ;
    quantity  = number [ unit ] ;         unit: Hz kHz s ms dB :1 % oct cycles bits LUFS, directly behind
    name      = letter { letter | digit | "_" | "." | "-" } | json string ;
    effect    = short name | class name ;
"""

from collections.abc import Container, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

from diffmix.errors import GraphError
from diffmix.graph.graph import Graph
from diffmix.graph.node import BUILT_IN, MOST_NODES, Edge, Endpoint, Node, frozen_options, prototype
from diffmix.graph.text.reader import Given, Item, Located, Quantity, Reader, Source, Statement, Target
from diffmix.graph.text.vocabulary import (
    CHANNELS,
    PERCENT,
    UNITS,
    WORDS,
    automatic,
    begun,
    effect_words,
    kind_of,
    knob_names,
    knob_words,
    leading,
    nearest,
    option_names,
    ports,
    reach_unit,
    reserved,
    scaled,
)
from diffmix.graph.text.writer import feeds_mono, write
from diffmix.params import Param

__all__ = ["parse", "write"]


def parse(text: str) -> Graph:
    """The graph that a text describes; see the module.

    Raises GraphError with line and column, what came and what is expected there. What only the whole graph can get
    wrong, such as an inlet without a signal, is left to `Graph.check`.
    """
    if not isinstance(text, str):
        raise GraphError(f"a graph is read from text, got {type(text).__name__}")
    return _Builder(text, list(Reader(text).statements())).graph()


class _Builder(Source):
    """Statements to a graph: names first, so that a cable may lead to what comes later."""

    def __init__(self, text: str, statements: list[Statement]) -> None:
        super().__init__(text)
        self.statements = statements
        self.called: set[str] = set()  # by a label, or name=
        self.nodes: dict[str, Node] = {}
        self.edges: dict[tuple[Endpoint, Endpoint], Edge] = {}
        self.counts: dict[tuple[str | None, str], int] = {}
        self.bare = Graph()
        self.unsaid: list[str] = []  # sources of which nothing says how many channels they have

    def graph(self) -> Graph:
        for statement in self.statements:
            first = statement.items[0]
            names = [(item.name, item.at) for item in statement.items if item.name is not None]
            if statement.label is not None:
                if first.quoted or first.port or first.name is not None:
                    self.fail(first.at, f"the label {statement.label!r} names a new node: an effect is expected here")
                names.append((statement.label, first.at))
            for name, at in names:
                if name in self.called:
                    self.fail(at, f"two nodes are called {name!r}; every name stands once")
                self.called.add(name)
        cables = [self._named(statement) for statement in self.statements]
        self.bare = Graph(self.nodes.values())
        for statement, keyed in zip(self.statements, cables, strict=True):
            for name, inlet, source in keyed:
                self._cable(self._end(source, "outlet"), Endpoint(name, inlet), source.at, source.level)
            self._connect(statement)
        graph = Graph(self.nodes.values(), self.edges.values())
        mono = {name for name in self.unsaid if feeds_mono(graph, name)}
        nodes = (replace(node, options={"channels": 1}) if node.name in mono else node for node in graph)
        return Graph(nodes, graph.edges) if mono else graph

    # -- nodes -----------------------------------------------------------------------------------------------------

    def _is_new(self, item: Item) -> bool:
        if item.new or item.given is not None:
            return True
        if item.quoted or item.port or item.word in self.called or item.word == "out" or not kind_of(item.word):
            return False
        if item.word in self.nodes:
            both = f'write {item.word}() for a new effect, "{item.word}" in quotes for the node'
            self.fail(item.at, f"{item.word!r} is an effect, and here also the name of a node: {both}")
        return True

    def _named(self, statement: Statement) -> list[tuple[str, str, Target]]:
        """Make the new nodes of a statement; the cables that stand between their brackets."""
        prefix = statement.label
        cables: list[tuple[str, str, Target]] = []
        for number, item in enumerate(statement.items):
            labelled = number == 0 and statement.label is not None
            item.new = labelled or self._is_new(item)
            if item.new and not kind_of(item.word):
                self.fail(item.at, f"there is no effect {item.word[:40]!r}{nearest(item.word, effect_words())}")
            if not item.new:
                item.name = item.word
                self._shared_output(item.word, item.quoted)
            elif labelled:
                item.name = statement.label
            if number == 0 and statement.label is None:
                prefix = begun(item.name) if item.name is not None else None
            if item.name is None:
                count = self.counts[prefix, item.word] = self.counts.get((prefix, item.word), 0) + 1
                item.name = automatic(prefix, item.word, count)
                if item.name in self.called or item.name in self.nodes:
                    self.fail(item.at, f"two nodes are called {item.name!r}; call this one otherwise: name={item.word}")
            if item.new:
                node, found = self._made(item)
                if node.kind == "In" and not item.given:
                    self.unsaid.append(node.name)
                self.nodes[node.name] = node
                cables += found
            if len(self.nodes) > MOST_NODES:
                self.fail(item.at, f"these are too many nodes: a graph holds at most {MOST_NODES}")
        for send in statement.sends:
            self._shared_output(send.name, send.quoted)
        return cables

    def _shared_output(self, word: str, quoted: bool) -> None:
        if word == "out" and not quoted and word not in self.called and word not in self.nodes:
            self.nodes[word] = Node(word, "Out")

    def _made(self, item: Item) -> tuple[Node, list[tuple[str, str, Target]]]:
        name, kind, given = item.name or "", kind_of(item.word) or "", item.given or []
        options: dict[str, Any] = {}
        cables: list[tuple[str, str, Target]] = []
        settings: list[Given] = []
        inlets = [port.name for port in ports(kind)[1:]]
        for one in given:
            key = "side_chain" if one.key == "sc" else one.key
            if key is None:
                key = self._unnamed_option(kind, one)
            if key in option_names(kind):
                self._once(one, key, options)
                options[key] = self._option(key, one)
            elif key in inlets:
                if not isinstance(one.value, Target):
                    self.fail(one.at, f"{one.key} takes the name of a node")
                cables.append((name, key, one.value))
            else:
                settings.append(one)
        try:
            params = prototype(kind, frozen_options(options), "{}").spec.params if kind not in BUILT_IN else {}
            values, ranges = self._settings(kind, params, settings, inlets)
            return Node(name, kind, values, options, ranges), cables
        except Located:
            raise
        except Exception as error:  # whatever a class makes of an option that it does not expect
            self.fail(item.at, str(error) if isinstance(error, GraphError) else f"node {name!r} ({kind}): {error}")

    def _unnamed_option(self, kind: str, one: Given) -> str | None:
        """``mono`` and ``stereo``, and the values of what has no knobs."""
        if isinstance(one.value, Target):
            return "channels" if one.value.name in CHANNELS and "channels" in option_names(kind) else None
        if kind not in ("In", "Feedback") or not isinstance(one.value, Quantity):
            return None
        return {"time": "delay_ms", "number": "channels"}.get(UNITS[one.value.unit][0])

    def _option(self, name: str, one: Given) -> Any:
        value = one.value
        if one.limits is not None or value is None:
            self.fail(one.at, f"{name} is an option: it has a value, and no range")
        if isinstance(value, list):
            return value[0]
        if isinstance(value, Quantity):
            whole = value.number.lstrip("+-").isdigit() and len(value.number) < 300
            if not value.unit:
                return int(value.number) if whole else float(value.number)
            into = name.rpartition("_")[2].replace("db", "dB").replace("hz", "Hz")
            if into not in UNITS or UNITS[into][0] != UNITS[value.unit][0]:
                self.fail(one.at, f"the option {name} is not in {value.unit}")
            return scaled(value.number, value.unit, into)
        if value.port or value.level:
            self.fail(one.at, f"the option {name} takes one word, a number, or text in quotes")
        if value.quoted:
            return value.name
        return CHANNELS.get(value.name, value.name) if name == "channels" else WORDS.get(value.name, value.name)

    def _once(self, one: Given, name: str, found: Container[str]) -> None:
        if name in found:
            self.fail(one.at, f"{name} is given twice")

    def _settings(
        self, kind: str, params: Mapping[str, Param], given: list[Given], inlets: list[str]
    ) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
        values: dict[str, float] = {}
        ranges: dict[str, tuple[float, float]] = {}
        words = knob_words(params, reserved(kind))
        free = leading(kind, params)
        for one in given:
            percent = False
            if one.key is not None:
                if one.key not in words:
                    others = [*option_names(kind), *inlets]
                    listed = ", ".join([*knob_names(params, reserved(kind)).values(), *others])
                    hint = nearest(one.key, [*words, *others]) or f"; it has: {listed or 'none'}"
                    self.fail(one.at, f"{kind} has no knob {one.key[:40]!r}{hint}")
                knob = words[one.key]
            elif isinstance(one.value, Quantity):
                knob = self._assigned(kind, params, free, one.value)
                free.remove(knob)
                percent = kind == PERCENT and not one.value.unit
                text = one.value.number
                if percent and 0 < abs(float(text)) < 1:
                    self.fail(one.at, f"this pan is {text} %; write pan({scaled(text, '', '%'):g})")
            else:
                assert isinstance(one.value, Target)
                self.fail(one.at, f"a value or knob=value is expected, got {one.value.name[:40]!r}")
            self._once(one, knob, values.keys() | ranges.keys())
            p = params[knob]
            if one.value is not None:
                if not isinstance(one.value, Quantity):
                    self.fail(one.at, f"{knob} of {kind} takes a number, {p.range_text()}")
                values[knob] = self._number(one.value, knob, p, percent)
            if one.limits == "lock":
                ranges[knob] = (values.get(knob, p.default),) * 2
            elif one.limits is not None:
                low, high = (self._number(end, knob, p, percent) for end in one.limits)
                ranges[knob] = (low, high)
        return values, ranges

    def _assigned(self, kind: str, params: Mapping[str, Param], free: list[str], value: Quantity) -> str:
        """The knob that a value without a name turns."""
        unnamed = leading(kind, params)
        fitting = [knob for knob in params if UNITS[params[knob].unit][0] == UNITS[value.unit][0]]
        left = [knob for knob in free if knob in fitting or (not value.unit and len(unnamed) == 1)]
        if left:
            return left[0]
        written = value.number[:20] + value.unit
        names = knob_names(params, reserved(kind))
        if same := [knob for knob in fitting if knob not in unnamed]:
            self.fail(value.at, f"{written} needs its knob's name: " + ", ".join(f"{names[k]}=" for k in same[:6]))
        takes = ", ".join(f"{names[k]} ({params[k].range_text()})" for k in unnamed)
        self.fail(value.at, f"{kind} has no knob for {written}; without a name it takes: {takes or 'none'}")

    def _number(self, value: Quantity, knob: str, p: Param, percent: bool = False) -> float:
        unit = value.unit or ("%" if percent else p.unit)
        if UNITS[unit][0] != UNITS[p.unit][0]:
            self.fail(value.at, f"{knob} is {p.range_text()}, got {value.number[:20]}{value.unit}")
        return scaled(value.number, unit, p.unit)

    # -- cables ----------------------------------------------------------------------------------------------------

    def _end(self, target: Target, side: Literal["outlet", "inlet"]) -> Endpoint:
        """The port that a node's name means, with or without the port's."""
        if target.name not in self.nodes:
            hint = (
                nearest(target.name, self.nodes) or "; a new one is written effect(...), or called: name: effect(...)"
            )
            self.fail(target.at, f"there is no node {target.name[:40]!r}{hint}")
        node = self.nodes[target.name]
        names = [port.name for port in (node.inlets if side == "inlet" else node.outlets)]
        port = target.port
        if port is None:
            if not names:
                self.fail(target.at, f"node {node.name!r}: {node.kind} has no {side}")
            return Endpoint(node.name, names[0])
        if side == "inlet" and port not in names:
            port = knob_words(node.params, frozenset(names)).get(port, port)
        try:
            (node.inlet if side == "inlet" else node.outlet)(port)
        except GraphError as error:
            known = [*names, *knob_words(node.params, frozenset(names))]
            self.fail(target.at, f"{error}{'' if port in known else nearest(port, known)}")
        return Endpoint(node.name, port)

    def _connect(self, statement: Statement) -> None:
        items, last = statement.items, len(statement.items) - 1
        for number, item in enumerate(items):
            begins, ends_chain = number == 0 and (last or statement.arrow), number == last > 0 and not statement.arrow
            if item.port and not begins and not ends_chain:
                what = f"the port {item.port!r} stands inside a chain"
                self.fail(item.at, f"{what}: end it at an inlet, begin at an outlet")
        ends = [Target(item.at, item.name or "", True, item.port) for item in items]
        if not last and ends[0].name not in self.nodes:
            self._end(ends[0], "outlet")
        for source, target in pairwise(ends):
            source = source if source is ends[0] else source._replace(port=None)
            start, end = self._end(source, "outlet"), self._end(target, "inlet")
            if self.nodes[start.node].outlet(start.port).kind == "control":
                self.fail(target.at, f"{start} is a control signal, which moves a knob: ~> node:knob(amount)")
            self._cable(start, end, target.at, None)
        for send in statement.sends:
            source = ends[-1] if not last else ends[-1]._replace(port=None)
            start = self._end(source, "outlet")
            control = self.nodes[start.node].outlet(start.port).kind == "control"
            if control != (statement.arrow == "~>"):
                self.fail(send.at, f"{start} is {'a control signal: ~>' if control else 'audio: ->'} leads from it")
            self._cable(start, self._moved(send) if control else self._end(send, "inlet"), send.at, send.level)

    def _moved(self, send: Target) -> Endpoint:
        """Where a control signal arrives: without a port at the control inlet, or the only knob that may move."""
        end = self._end(send, "inlet")
        if send.port:
            return end
        node = self.nodes[send.name]
        ways = [port.name for port in node.inlets if port.kind == "control"]
        ways = ways or [knob for knob, p in node.params.items() if p.modulatable]
        if len(ways) != 1:
            self.fail(send.at, f"a control signal moves one knob: {send.name}:knob, with {', '.join(ways) or 'none'}")
        return Endpoint(send.name, ways[0])

    def _cable(self, start: Endpoint, end: Endpoint, at: int, level: Quantity | None) -> None:
        gain = amount = None
        if self.nodes[end.node].inlet(end.port).kind == "control":
            unit = reach_unit(self.nodes[end.node].params.get(end.port))
            amount = 1.0
            if level is not None:
                if level.unit and UNITS[level.unit][0] != UNITS[unit][0]:
                    self.fail(level.at, f"{end} is moved in {unit or 'its own unit'}, got {level.number}{level.unit}")
                amount = scaled(level.number, level.unit or unit, unit)
        elif level is not None:
            if level.unit not in ("", "dB"):
                self.fail(level.at, f"the gain of a cable is in dB, got {level.number}{level.unit}")
            gain = float(level.number)
        edge = Edge(start, end, gain, amount)
        if (start, end) in self.edges:
            self.fail(at, f"the cable {edge.name} stands twice")
        try:
            self.bare._check_edge(edge)
        except GraphError as error:
            self.fail(at, str(error))
        self.edges[start, end] = edge
