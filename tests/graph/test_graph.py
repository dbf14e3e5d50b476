"""The graph as a value: edits, rules, files."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffmix.errors import DiffmixError, GraphError
from diffmix.graph import Edge, Endpoint, Grammar, Graph, Node, random_graph


def desk() -> Graph:
    """Two tracks, a bus, a side chain, a modulated pan."""
    return (
        Graph()
        .add("vox", "In", channels=1)
        .add("kick", "In", channels=1)
        .add("comp", "KneeCompressor", {"threshold_db": -30, "ratio": 4})
        .add("vox.pan", "Pan", law="linear")
        .add("kick.pan", "Pan", {"pan": -0.5}, ranges={"pan": (-0.75, 0.25)})
        .add("lfo", "LFO", {"rate_hz": 2}, channels=1)
        .add("bus", "Sum")
        .add("out", "Out")
        .chained("vox", "comp", "vox.pan")
        .chained("kick", "kick.pan")
        .connect("kick", "comp:side_chain", -3)
        .connect("lfo", "vox.pan:pan", amount=0.5)
        .connect("vox.pan", "bus", -6)
        .connect("kick.pan", "bus")
        .connect("bus", "out")
    )


def ends(graph: Graph) -> list[str]:
    return [e.name + ("" if e.gain_db is None else f" {e.gain_db:g}") for e in graph.edges]


def test_edits_give_other_graphs() -> None:
    graph = desk()
    before = graph.to_json()
    graph.add("x", "Sum")
    graph.disconnect("bus", "out")
    graph.without("comp")
    graph.removed("lfo")
    graph.replaced("comp", kind="Expander", values={})
    graph.renamed({"vox": "voice"})
    graph.turned("comp", ratio=2)
    graph.at({"vox.pan:out>bus:in.gain_db": -1})
    assert graph.to_json() == before
    assert graph == desk()
    assert hash(graph) == hash(desk())
    with pytest.raises(AttributeError, match="immutable"):
        graph.edges = ()  # type: ignore[misc]
    with pytest.raises(TypeError):
        graph.nodes["z"] = graph["vox"]  # type: ignore[index]
    with pytest.raises(TypeError):
        graph["comp"].values["ratio"] = 3  # type: ignore[index]


def test_turned_and_at() -> None:
    graph = desk()
    assert graph.turned("comp", ratio=2)["comp"].setting("ratio") == 2
    assert graph.turned("comp", ratio=2)["comp"].setting("threshold_db") == -30
    changed = graph.at({"comp.ratio": 2, "vox.pan:out>bus:in.gain_db": -1, "lfo:lfo>vox.pan:pan.amount": 0.1})
    assert changed.into("bus")[0].gain_db == -1
    assert changed.into("vox.pan", "pan")[0].amount == 0.1
    assert changed.at(dict.fromkeys(())) == changed


def test_without_is_a_wire_and_keeps_the_order_of_sums() -> None:
    graph = desk().disconnect("vox", "comp").connect("vox", "comp", -2)
    assert ends(graph.without("comp")) == [
        "vox:out>vox.pan:in -2",
        "kick:out>kick.pan:in",
        "lfo:lfo>vox.pan:pan",
        "vox.pan:out>bus:in -6",
        "kick.pan:out>bus:in",
        "bus:out>out:in",
    ]
    assert [e for e in ends(graph.without("bus")) if ">out:in" in e] == ["vox.pan:out>out:in -6", "kick.pan:out>out:in"]
    assert [e.source.node for e in graph.without("lfo").edges].count("lfo") == 0


def test_without_joins_cables_that_meet() -> None:
    parallel = (
        Graph().add("a", "In").add("fx", "Invert").add("m", "Sum").add("out", "Out").chained("a", "fx", "m", "out")
    )
    parallel = parallel.connect("a", "m", -6)
    (edge, _) = parallel.without("fx").edges
    assert 10 ** (edge.gain_db / 20) == pytest.approx(1 + 10 ** (-6 / 20))
    split = Graph().add("a", "In").add("x", "Crossover").add("m", "Sum").add("out", "Out").connect("a", "x")
    split = split.connect("x:low", "m").connect("x:high", "m").connect("m", "out").without("x")
    assert split.edges[0].gain_db == pytest.approx(6.0206, abs=1e-4)
    assert Graph.from_json(split.to_json()) == split
    quiet = Graph().add("a", "In").add("g", "Gain").add("out", "Out").connect("a", "g", -100).connect("g", "out", -90)
    assert quiet.without("g").edges[0].gain_db == -120
    loud = Graph().add("a", "In").add("g", "Gain").add("out", "Out").connect("a", "g", 30).connect("g", "out", 30)
    with pytest.raises(GraphError, match="a:out>out:in: gain_db is 60"):
        loud.without("g")
    loop = Graph().add("a", "In").add("fb", "Feedback").add("out", "Out").connect("a", "fb", -6).connect("fb", "fb", -6)
    assert ends(loop.connect("fb", "out", -1).without("fb")) == ["a:out>out:in -7"]


def test_replaced_and_renamed() -> None:
    graph = desk()
    filtered = graph.add("f", "ResonantFilter", {"q": 1}, kind="highpass")  # an option may be called kind
    assert filtered["f"].options["kind"] == "highpass"
    assert graph.replaced("comp", kind="KneeGate", values={})["comp"].kind == "KneeGate"
    with pytest.raises(GraphError, match="no inlet 'side_chain'"):
        graph.replaced("comp", kind="Compressor", values={})
    with pytest.raises(GraphError, match="two nodes are called 'vox'"):
        graph.replaced("kick", name="vox")
    swapped = graph.renamed({"vox": "kick", "kick": "vox"})
    assert swapped.into("comp", "side_chain")[0].source.node == "vox"
    assert swapped.renamed({"vox": "kick", "kick": "vox"}) == graph
    other = desk().renamed({name: f"2.{name}" for name in desk().nodes})
    assert len(graph.union(other)) == 2 * len(graph)
    with pytest.raises(GraphError, match="'vox'"):
        graph.union(desk())


def test_check_finds_channels_and_order() -> None:
    found = desk().check()
    assert found.channels[Endpoint("comp", "out")] == 1
    assert found.channels[Endpoint("bus", "out")] == 2
    assert found.order.index("kick") < found.order.index("comp") < found.order.index("bus") < found.order.index("out")


def test_values_are_plain_numbers_at_their_knobs() -> None:
    node = Node("g", "Gain", {"gain_db": np.float32(3.5)})
    assert type(node.values["gain_db"]) is float
    assert type(Node("g", "Gain", {"gain_db": torch.tensor(2.0)}).values["gain_db"]) is float
    edge = Edge(Endpoint("a", "out"), Endpoint("b", "in"), np.float32(-1))
    assert type(edge.gain_db) is float
    spec = Graph([Node("g", "Gain", {"gain_db": 60.00001})]).spec()
    assert spec.params["g.gain_db"].default == 60
    spec = desk().spec()
    assert spec.params["vox.pan:out>bus:in.gain_db"].default == -6
    assert spec.params["kick.pan.pan"].low == -0.75
    assert "kick.pan:out>bus:in.gain_db" not in spec.params


SENTENCES: dict[str, tuple[Any, str]] = {
    "cycle": (
        lambda: desk().add("eq", "PeakFilter").chained("bus", "eq", "bus").check(),
        "nodes (bus > eq > bus|eq > bus > eq) are a cycle: a cycle needs a Feedback node",
    ),
    "unknown outlet": (lambda: desk().connect("vox:wet", "bus"), "'vox': In has no outlet 'wet'; it has: out"),
    "unknown inlet": (lambda: desk().connect("vox", "comp:key"), "'comp': KneeCompressor has no inlet 'key'"),
    "unknown node": (lambda: desk().connect("vox", "nope"), "there is no node 'nope'"),
    "unknown effect": (lambda: desk().add("x", "Compresor"), "node 'x': there is no effect 'Compresor' .*Compressor"),
    "unknown knob": (lambda: desk().turned("comp", ration=2), "node 'comp': KneeCompressor has no knob 'ration'"),
    "unknown option": (lambda: desk().add("x", "Pan", slope=1), "node 'x'.*no option 'slope'"),
    "unknown edge value": (lambda: desk().at({"bus:out>out:in.level": 1}), "bus:out>out:in has no 'level'"),
    "channels of a sum": (
        lambda: desk().connect("vox", "bus").check(),
        "node 'bus': signals of one inlet have equal channels",
    ),
    "channels of an effect": (
        lambda: (
            desk()
            .without("kick.pan")
            .removed("vox.pan")
            .add("p", "Pan")
            .chained("bus", "p")
            .add("i", "Imager")
            .add("o2", "Out")
            .chained("kick", "i", "o2")
            .check()
        ),
        "node 'i': the inlet 'in' of Imager takes 2 channel.*a Pan makes stereo of mono",
    ),
    "channels of a feedback": (
        lambda: desk().add("fb", "Feedback", channels=1).chained("bus", "fb").check(),
        "node 'fb': a Feedback of 1 channel.* gets 2",
    ),
    "duplicate": (lambda: desk().add("vox", "In"), "two nodes are called 'vox'"),
    "duplicates": (lambda: Graph([Node("a", "Sum"), Node("a", "Sum")]), "two nodes are called 'a'"),
    "edge twice": (lambda: desk().connect("kick", "kick.pan"), "the edge kick:out>kick.pan:in stands twice"),
    "later version": (
        lambda: Graph.from_json('{"format": "diffmix-graph", "version": 2}'),
        "version 2, this diffmix reads version 1",
    ),
    "too many": (lambda: Graph(Node(f"n{k}", "Sum") for k in range(10_001)), "10001 nodes are too many.*10000"),
    "far too many": (
        lambda: Graph.from_dict(
            {
                "format": "diffmix-graph",
                "version": 1,
                "nodes": [{"name": str(k), "kind": "Sum"} for k in range(100_000)],
                "edges": [],
            }
        ),
        "100000 nodes are too many",
    ),
    "nan": (lambda: desk().turned("comp", ratio=float("nan")), "node 'comp': ratio = nan .*allowed 1..20"),
    "nan gain": (lambda: desk().connect("vox", "bus", float("nan")), "vox:out>bus:in: gain_db is nan"),
    "out of range": (lambda: desk().turned("kick.pan", pan=0.5), "node 'kick.pan': pan = 0.5, allowed -0.75..0.25"),
    "text": (lambda: desk().turned("comp", ratio="4"), "node 'comp': ratio is '4', a number is expected"),
    "very long number": (lambda: desk().turned("comp", ratio=10**400), "comp'.*many digits"),
    "yes": (lambda: desk().connect("vox", "bus", True), "gain_db is True, a number is expected"),
    "range": (lambda: Node("g", "Gain", ranges={"gain_db": (1,)}), "'g': the range of gain_db is .*two numbers"),  # type: ignore[dict-item]
    "wrong range": (
        lambda: Node("g", "Gain", ranges={"gain_db": (-200, 3)}),
        "'g' .*-200..3 is not inside -100..60 dB",
    ),
    "missing inlet": (lambda: desk().disconnect("comp", "vox.pan").check(), "'vox.pan': nothing is connected"),
    "no output": (lambda: desk().removed("out").check(), "no Out node"),
    "audio to knob": (lambda: desk().connect("vox", "kick.pan:pan"), "vox:out>kick.pan:pan joins an outlet for audio"),
    "control to side chain": (
        lambda: desk().connect("lfo", "comp:side_chain"),
        "an outlet for control to an inlet for",
    ),
    "gain of control": (lambda: desk().connect("lfo", "kick.pan:pan", -3), "has an amount, not a gain_db"),
    "amount of audio": (lambda: desk().connect("vox", "bus", amount=1), "has a gain_db, not an amount"),
    "fixed knob": (
        lambda: desk().add("d", "Delay").connect("lfo", "d:delay_seconds"),
        "'d': the knob delay_seconds of Delay cannot be modulated; those that can: feedback, mix",
    ),
    "no such edge": (lambda: desk().disconnect("vox", "bus"), "there is no edge vox:out>bus:in"),
    "name": (lambda: Node("a:b", "Sum"), "a node cannot be called 'a:b'"),
    "half a character": (lambda: Node("a\ud800", "Sum"), "cannot be called"),
    "no name": (lambda: Node(3, "Sum"), "cannot be called 3"),  # type: ignore[arg-type]
    "no kind": (lambda: Node("a", ["Sum"]), "'a': its kind is"),  # type: ignore[arg-type]
    "channels option": (
        lambda: Node("a", "In", options={"channels": 1.0}),
        "'a': channels is 1.0, allowed are 1 and 2",
    ),
    "delay": (lambda: Node("a", "Feedback", options={"delay_ms": 0.5}), "'a': delay_ms is 0.5 ms, allowed 1..10000"),
    "delay text": (lambda: Node("a", "Feedback", options={"delay_ms": "x"}), "'a': delay_ms is 'x', a number"),
    "option": (lambda: Node("a", "KneeCompressor", options={"lookahead_ms": float("nan")}), "'a' .*nan ms, allowed"),
    "knobs of a sum": (lambda: Node("a", "Sum", {"gain_db": 3}), "'a': Sum has no knobs"),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_a_broken_rule_is_named_with_its_node(case: str) -> None:
    act, sentence = SENTENCES[case]
    with pytest.raises(GraphError, match=sentence) as caught:
        act()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_cycle_of_many_is_named_along_its_way() -> None:
    graph = Graph([Node(f"n{k}", "Sum") for k in range(5)] + [Node("out", "Out")])
    graph = graph.chained("n3", "n1", "n4", "n0", "n2", "n3").connect("n0", "out")
    with pytest.raises(GraphError, match="n0 > n2 > n3 > n1 > n4 > n0 are a cycle"):
        graph.check()


@pytest.mark.parametrize("seed", range(20))
def test_files_hold_a_graph_exactly(seed: int, tmp_path: Path) -> None:
    graph = random_graph(seed, Grammar(nodes=(2, 60)))
    text = graph.to_json(tmp_path / "graph.json")
    for again in (Graph.from_json(tmp_path / "graph.json"), Graph.from_json(text), Graph.from_dict(json.loads(text))):
        assert again == graph
        assert again.to_json() == text
        assert list(again.nodes) == list(graph.nodes)


def test_graphs_can_be_copied_and_sent_to_other_processes() -> None:
    graph = desk()
    for again in (copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))):
        assert again == graph
        assert again.check().order == graph.check().order


HEAD = '{"format": "diffmix-graph", "version": 1, '
FILES = {
    "not json": "{",
    "list": "{}",
    "deep": '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "no version": '{"format": "diffmix-graph"}',
    "no edges": HEAD + '"nodes": []}',
    "nodes": HEAD + '"nodes": {}, "edges": []}',
    "more": HEAD + '"nodes": [], "edges": [], "tempo": 120}',
    "node": HEAD + '"nodes": [3], "edges": []}',
    "no kind": HEAD + '"nodes": [{"name": "a"}], "edges": []}',
    "name": HEAD + '"nodes": [{"name": 3, "kind": "Sum"}], "edges": []}',
    "extra": HEAD + '"nodes": [{"name": "a", "kind": "Sum", "x": 1}], "edges": []}',
    "values": HEAD + '"nodes": [{"name": "a", "kind": "Gain", "values": [1]}], "edges": []}',
    "null": HEAD + '"nodes": [{"name": "a", "kind": "Gain", "values": null}], "edges": []}',
    "text": HEAD + '"nodes": [{"name": "a", "kind": "Gain", "values": {"gain_db": "3"}}], "edges": []}',
    "bool": HEAD + '"nodes": [{"name": "a", "kind": "Gain", "values": {"gain_db": true}}], "edges": []}',
    "nan": HEAD + '"nodes": [{"name": "a", "kind": "Gain", "values": {"gain_db": NaN}}], "edges": []}',
    "huge": HEAD
    + '"nodes": [{"name": "a", "kind": "Gain", "values": {"gain_db": '
    + "9" * 400
    + "}}],"
    + '"edges": []}',
    "endless": HEAD + '"nodes": [{"name": "a", "kind": "Gain", "values": {"gain_db": ' + "9" * 5000 + "}}]}",
    "ranges": HEAD + '"nodes": [{"name": "a", "kind": "Gain", "ranges": {"gain_db": 3}}], "edges": []}',
    "range of text": HEAD + '"nodes": [{"name": "a", "kind": "Gain", "ranges": {"gain_db": ["a", 1]}}], "edges": []}',
    "huge range": HEAD + '"nodes": [{"name": "a", "kind": "Gain", "ranges": {"gain_db": [0, 1e999]}}], "edges": []}',
    "option": HEAD + '"nodes": [{"name": "a", "kind": "Pan", "options": {"law": [1]}}], "edges": []}',
    "impulse": HEAD
    + '"nodes": [{"name": "a", "kind": "Convolution", "options": {"impulse_response": "x"}}], "edges": []}',
    "edge": HEAD + '"nodes": [{"name": "a", "kind": "In"}], "edges": [{"from": "a", "to": "a:in"}]}',
    "loose edge": HEAD + '"nodes": [], "edges": [{"from": "a:out", "to": "b:in"}]}',
    "gain": HEAD + '"nodes": [{"name": "a", "kind": "In"}, {"name": "b", "kind": "Out"}], '
    '"edges": [{"from": "a:out", "to": "b:in", "gain_db": ' + "9" * 400 + "}]}",
    "no path": "no/such/file.json",
    "no name": "\0",
}


@pytest.mark.parametrize("case", FILES)
def test_a_broken_file_is_refused_in_a_sentence(case: str) -> None:
    with pytest.raises(GraphError) as caught:
        Graph.from_json(FILES[case])
    assert len(str(caught.value)) < 700


def test_a_folder_is_no_graph(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="cannot be read"):
        Graph.from_json(tmp_path)
    (tmp_path / "x.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(GraphError, match="cannot be read"):
        Graph.from_json(tmp_path / "x.json")
    with pytest.raises(DiffmixError):
        Graph().to_json(tmp_path / "no" / "such" / "folder" / "\0")
