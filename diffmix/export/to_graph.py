"""A preset, or a live Pedalboard, as a graph."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from diffmix.errors import DiffmixError, GraphError, PresetError
from diffmix.export import standalone
from diffmix.export.matrices import placement
from diffmix.export.preset import Preset, entry, load, validate
from diffmix.graph.graph import Graph
from diffmix.graph.node import EDGE_GAIN, Edge, Endpoint, Node
from diffmix.kernels.units import SILENCE_DB
from diffmix.processors import Convolution, Processor
from diffmix.processors.base import Matrix
from diffmix.settings import shortest
from diffmix.types import Path

if TYPE_CHECKING:
    from pedalboard import Plugin

BOXES = {"PitchShift", "Resample", "GSMFullRateCompressor", "MP3Compressor"}
"""Plugins that are nodes only as black boxes, of `diffmix.plugins`."""

MID, SIDE = [[0.5, 0.5]], [[0.5, -0.5]]
FROM_MID, FROM_SIDE = [[1], [1]], [[1], [-1]]


class Imported(NamedTuple):
    """A graph, and the effects that its plain data cannot hold, by node: ``Renderer(graph, rate, processors=...)``.

    These are each ``Convolution``, with its impulse response.
    """

    graph: Graph
    processors: dict[str, Processor]


def graph_of(preset: Preset | Path) -> Imported:
    """A preset, or a file of one, as a graph, which renders as the preset plays; `preset_of` makes it a preset again.

    A node ``vox`` of the preset becomes a source or a sum ``vox``, followed by a node for each plugin (``vox.gain``,
    ``vox.peak_filter``, ``vox.peak_filter_2``) and for its matrix (``vox.pan``). A Mix becomes branches and a sum. An
    input of 0 dB is a wire. Matrices are read as ``Pan`` with one of its laws, as ``BalanceWidth``, or as a mid/side
    split or merge, whose knobs give the same numbers.

    One thing plays otherwise: a Chorus, a Phaser or a black box behind something late on one board, which Pedalboard
    gives the late signal, and a graph one in time. (`preset_of` ends a board there.)

    Raises PresetError if the preset is not valid, or naming what no effect here can be: other matrices, and values
    outside an effect's range.
    """
    if isinstance(preset, str | os.PathLike):
        preset = load(preset)
    elif isinstance(preset, dict):
        validate(preset)
    else:
        raise PresetError(
            f"a preset or the path of one is expected, got {type(preset).__name__}; `graph_of_board` reads live plugins"
        )
    reader = _Reader(preset["sample_rate"], [node["name"] for node in preset["nodes"]])
    reader.read(preset["nodes"])
    return reader.finished(reader.made[preset["output"]])


def graph_of_board(board: "Plugin", sample_rate: int = 44100, channels: int = 2) -> Imported:
    """A live ``pedalboard.Pedalboard``, or one plugin, as a graph from the source ``in`` to the output ``out``.

    Args:
        board: plugins of Pedalboard's own; nested boards, chains and mixes are followed.
        sample_rate: Hz, at which the samples of impulse responses are.
        channels: of the source, 1 or 2.

    Raises PresetError, naming each plugin that cannot be an effect here: VST3 and Audio Unit files, values out of
    range, impulse responses that are files.
    """
    reader = _Reader(sample_rate, [])
    at = reader.add("in", "In", channels=channels)
    for number, plugin in enumerate(_plugins(board), 1):
        at = reader.live(plugin, at, f"plugin {number}")
    return reader.finished(at)


class _Reader:
    """Nodes and edges so far, and what could not be read."""

    def __init__(self, sample_rate: int, reserved: Iterable[str]) -> None:
        self.sample_rate = sample_rate
        self.number = {name: number for number, name in enumerate(reserved)}
        self.numbered: defaultdict[str, int] = defaultdict(lambda: 1)
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []
        self.processors: dict[str, Processor] = {}
        self.problems: list[str] = []
        self.made: dict[str, Endpoint] = {}
        self.splits: dict[tuple[Any, ...], str] = {}

    def finished(self, last: Endpoint) -> Imported:
        """The graph, with an output. Raises PresetError if there were problems."""
        out = self.add(self.free("out"), "Out")
        self.edges.append(Edge(last, Endpoint(out.node, "in")))
        if self.problems:
            raise PresetError(f"This cannot be a graph: {'; '.join(self.problems)}.")
        try:
            return Imported(Graph(self.nodes.values(), self.edges), self.processors)
        except GraphError as error:
            raise PresetError(f"This cannot be a graph: {error}.") from None

    def free(self, name: str) -> str:
        """``name``, numbered if it is taken."""
        found = name
        while found in self.nodes or found in self.number:
            self.numbered[name] += 1
            found = f"{name}_{self.numbered[name]}"
        return found

    def add(self, name: str, kind: str, values: Mapping[str, float] | None = None, **options: Any) -> Endpoint:
        """A node; its first outlet. A node that cannot be is a problem, and a sum in its place."""
        try:
            node = Node(name, kind, values or {}, options)
            at = Endpoint(name, node.outlets[0].name if node.outlets else "")
        except GraphError as error:
            self.problems.append(str(error))
            node, at = Node("a sum", "Sum"), Endpoint(name, "out")
        self.nodes[name] = node
        return at

    def behind(self, at: Endpoint, end: Endpoint) -> Endpoint:
        """The first outlet of a node that hears another one by a wire."""
        self.edges.append(Edge(at, Endpoint(end.node, self.nodes[end.node].inlets[0].name)))
        return end

    # -- nodes of a preset -----------------------------------------------------------------------------------------

    def read(self, nodes: list[dict[str, Any]]) -> None:
        """Every node of a preset."""
        merges = dict(_merges(nodes))
        sides = {name for pair in merges.values() for name in pair}
        before: dict[str, Endpoint] = {}  # what comes out of a half of a mid/side pair, before it is made stereo
        for node in nodes:
            name = node["name"]
            if name in merges:
                at = self.add(name, "MidSideMerge")
                for half, port in zip(merges[name], ("mid", "side"), strict=True):
                    self.edges.append(Edge(before[half], Endpoint(name, port)))
            elif "source" in node:
                at = self.add(name, "In", channels=node["source"]["channels"])
            elif node.get("matrix") in (MID, SIDE) and not node["plugins"]:
                self.made[name] = self.split(node)
                continue
            else:
                at = self.add(name, "Sum")
                self.hear(node, Endpoint(name, "in"))
            for number, plugin in enumerate(node["plugins"], 1):
                at = self.plugin(plugin, at, f"{name}.", f"node {name!r}, plugin {number}")
            before[name] = at
            if "matrix" in node and name not in sides:
                at = self.matrix(node["matrix"], at, name)
            self.made[name] = at

    def hear(self, node: Mapping[str, Any], end: Endpoint) -> None:
        """The edges into a node, in the order in which a player adds them: that of the file."""
        heard: set[Endpoint] = set()
        for each in sorted(node["inputs"], key=lambda each: self.number[each["from"]]):
            source = self.made[each["from"]]
            if source in heard:  # a graph has one cable from an outlet to an inlet
                source = self.behind(source, self.add(self.free(f"{each['from']} again"), "Sum"))
            heard.add(source)
            self.edges.append(Edge(source, end, self.gain_db(each["gain_db"], node["name"], each["from"])))

    def gain_db(self, gain_db: float, name: str, source: str) -> float | None:
        """The gain of an edge; None for a wire."""
        if gain_db > EDGE_GAIN.high:
            limits = EDGE_GAIN.range_text()
            self.problems.append(f"node {name!r}: gain_db from {source!r} is {gain_db:g} dB, allowed {limits}")
            return None
        return max(gain_db, EDGE_GAIN.low) or None  # all that is so low is silence

    def split(self, node: Mapping[str, Any]) -> Endpoint:
        """An outlet of a mid/side split; two nodes of the same inputs are one."""
        key = tuple((each["from"], each["gain_db"]) for each in node["inputs"])
        if key not in self.splits:
            self.splits[key] = self.free(f"{node['name']}.mid_side_split")
            self.add(self.splits[key], "MidSideSplit")
            self.hear(node, Endpoint(self.splits[key], "in"))
        return Endpoint(self.splits[key], "mid" if node["matrix"] == MID else "side")

    def matrix(self, matrix: Matrix, at: Endpoint, name: str) -> Endpoint:
        """A matrix as an effect."""
        if matrix in (MID, SIDE):
            end = self.behind(at, self.add(self.free(f"{name}.mid_side_split"), "MidSideSplit"))
            return Endpoint(end.node, "mid" if matrix == MID else "side")
        found = placement(matrix)
        if found is None:
            self.problems.append(
                f"node {name!r}: the matrix {matrix} is no Pan, no BalanceWidth and no mid/side split or merge"
            )
            return at
        kind, values, options = found
        return self.behind(at, self.add(self.free(f"{name}.{_snake(kind)}"), kind, values, **options))

    # -- plugins ---------------------------------------------------------------------------------------------------

    def live(self, plugin: Any, at: Endpoint, where: str) -> Endpoint:
        """A live plugin behind a signal."""
        try:
            written = _written(plugin)
            standalone.check_plugin(where, written, self.sample_rate)
        except PresetError as error:
            self.problems.append(f"{where}: {error}".removesuffix("."))
        except standalone.Mistake as mistake:
            self.problems.append(str(mistake).removesuffix("."))
        else:
            at = self.plugin(written, at, "", where)
        return at

    def plugin(self, plugin: Mapping[str, Any], at: Endpoint, prefix: str, where: str) -> Endpoint:
        """A plugin of a preset behind a signal; what comes out."""
        kind = plugin["type"]
        if kind == "Chain":
            for inner in plugin["plugins"]:
                at = self.plugin(inner, at, prefix, where)
            return at
        if kind == "Mix":
            return self._mix(plugin["plugins"], at, prefix, where)
        if kind in BOXES:
            import diffmix.plugins  # noqa: F401  (which declares them)
        params = dict(plugin["params"])
        options: dict[str, Any] = {key: params.pop(key) for key in ("mode", "quality") if key in params}
        if "freeze_mode" in params:
            options |= {"freeze": True} if params.pop("freeze_mode") >= 0.5 else {}
        if kind == "Gain":
            params["gain_db"] = max(params["gain_db"], SILENCE_DB)  # what is lower is as silent
        name = self.free(prefix + _snake(kind))
        if "impulse_response" in params:
            samples = standalone.samples(params.pop("impulse_response"))
            try:
                self.processors[name] = Convolution(self.sample_rate, impulse_response=samples)
            except DiffmixError as error:
                self.problems.append(f"{where}: {error}")
        return self.behind(at, self.add(name, kind, _without_defaults(kind, params, options), **options))

    def _mix(self, branches: Iterable[Mapping[str, Any]], at: Endpoint, prefix: str, where: str) -> Endpoint:
        ends: list[Endpoint] = []
        for branch in branches:
            end = self.plugin(branch, at, prefix, where)
            if end in ends:  # a sum hears a signal once; the same again passes another one
                end = self.behind(at, self.add(self.free(f"{prefix}dry"), "Sum"))
            ends.append(end)
        if not ends:
            return self.behind(at, self.add(self.free(f"{prefix}gain"), "Gain", {"gain_db": SILENCE_DB}))
        whole = self.add(self.free(f"{prefix}mix"), "Sum")
        self.edges += [Edge(end, Endpoint(whole.node, "in")) for end in ends]
        return whole


def _without_defaults(kind: str, values: Mapping[str, float], options: Mapping[str, Any]) -> dict[str, float]:
    """The values that a node has to hold."""
    try:
        params = Node("node", kind, options=options).params
    except GraphError:
        return dict(values)  # which the node itself will name
    return {
        knob: value for knob, value in values.items() if knob not in params or value != shortest(params[knob].default)
    }


def _snake(kind: str) -> str:
    """``PeakFilter`` to ``peak_filter``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z0-9])(?=[A-Z][a-z])", "_", kind).lower()


# Matrices


def _merges(nodes: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, tuple[str, str]]]:
    """The nodes that only sum a middle and a side, which nothing else hears: (name, (middle, side))."""
    nodes = list(nodes)
    readers = Counter(each["from"] for node in nodes for each in node["inputs"])
    halves = {node["name"]: node.get("matrix") for node in nodes if readers[node["name"]] == 1}
    for node in nodes:
        inputs = {halves.get(each["from"]) == FROM_SIDE: each["from"] for each in node["inputs"] if not each["gain_db"]}
        if len(node["inputs"]) == len(inputs) == 2 and halves.get(inputs[False]) == FROM_MID:
            yield node["name"], (inputs[False], inputs[True])


# Live plugins


def _plugins(board: "Plugin") -> list[Any]:
    """The plugins of a board, or the only one."""
    import pedalboard

    return list(board) if isinstance(board, pedalboard.Chain) else [board]


def _written(plugin: Any) -> dict[str, Any]:
    """A live plugin as a preset holds it. Raises PresetError for one that a preset does not know."""
    import pedalboard

    kind = type(plugin).__name__
    if isinstance(plugin, pedalboard.PluginContainer):
        nest = "Mix" if isinstance(plugin, pedalboard.Mix) else "Chain"
        return {"type": nest, "plugins": [_written(inner) for inner in plugin]}
    if kind not in standalone.LIMITS:
        raise PresetError(
            f"{kind} is none of the plugins that have a twin here, which are {', '.join(standalone.LIMITS)}."
        )
    if getattr(plugin, "true_peak", False):
        raise PresetError(f"{kind} with true_peak has no twin here.")
    if kind == "Convolution":
        if plugin.impulse_response is None:
            raise PresetError(f"{kind} has the file {plugin.impulse_response_filename}: give it the samples instead.")
        samples = {"impulse_response_filename": plugin.impulse_response, "sample_rate": None}
        return entry(kind, {**samples, "mix": plugin.mix})
    values = {key: getattr(plugin, key) for key in standalone.LIMITS[kind]}
    return entry(kind, {key: getattr(value, "name", value) for key, value in values.items()})
