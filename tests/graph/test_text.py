"""Graphs as text: what is written reads as the same graph, and what cannot be read is said where."""

import contextlib
import random
import time

import pytest

from diffmix.errors import GraphError
from diffmix.graph import Edge, Endpoint, Graph, Node
from diffmix.graph.node import BUILT_IN
from diffmix.graph.text import parse, write
from diffmix.graph.text import vocabulary as words
from diffmix.processors import REGISTRY
from tests.graph.any_graph import EXAMPLE, anything, strips
from tests.sweeps import seeds


@pytest.mark.parametrize("block", seeds(3, 10))
def test_what_is_written_reads_as_the_same_graph(block: int) -> None:
    for seed in range(30 * block, 30 * block + 30):
        for graph in (anything(seed), strips(seed)):
            text = write(graph)
            assert parse(text) == graph, text
            assert parse(text.replace("\n", ";")) == graph
            kinds = {name: [type(v) for v in node.options.values()] for name, node in graph.nodes.items()}
            again = parse(text)
            assert all(
                [type(v) for v in again[name].options.values()] == types
                for name, types in kinds.items()
                if graph[name].kind not in BUILT_IN
            )


def test_the_example() -> None:
    graph = parse(EXAMPLE)
    graph.check()
    names = "kick kick.gate kick.pan vox vox.hpf vox.comp vox.pan hall wobble mix mix.limiter out"
    assert list(graph.nodes) == names.split()
    assert graph["vox.comp"] == Node("vox.comp", "KneeCompressor", {"ratio": 4, "threshold_db": -20})
    assert graph["vox.pan"].values == {"pan": -0.3}
    assert [e.name for e in graph.into("vox.comp")] == ["kick:out>vox.comp:side_chain", "vox.hpf:out>vox.comp:in"]
    assert graph.into("hall")[0].gain_db == -12
    assert graph.into("vox.pan", "pan")[0].amount == 0.3
    assert write(graph) == EXAMPLE.strip().split("   #")[0] + "\n" + "\n".join(
        ["vox.pan -> hall(-12dB)", *EXAMPLE.strip().splitlines()[2].split("; ")[1:], *EXAMPLE.strip().splitlines()[3:]]
    ) + "\n"  # fmt: skip


@pytest.mark.parametrize(
    ("text", "knobs"),
    [
        ("a: hpf(1.2kHz)", {"cutoff_frequency_hz": 1200}),
        ("a: hpf(80)", {"cutoff_frequency_hz": 80}),
        ("a: hpf(freq=80hz)", {"cutoff_frequency_hz": 80}),
        ("a: hpf(cutoff_frequency_hz=80)", {"cutoff_frequency_hz": 80}),
        ("a: peak(1kHz, +3dB, q=2)", {"cutoff_frequency_hz": 1000, "gain_db": 3, "q": 2}),
        ("a: peak(3dB, 1kHz)", {"cutoff_frequency_hz": 1000, "gain_db": 3}),
        ("a: comp(10ms, 0.2s, -20dB,\n 4:1)", {"attack_ms": 10, "release_ms": 200, "threshold_db": -20, "ratio": 4}),
        ("a: delay(400ms, mix=30%)", {"delay_seconds": 0.4, "mix": 0.3}),
        ("a: pan(100)", {"pan": 1}),
        ("a: pan(0)", {"pan": 0}),
        ("a: pan(pan=-0.3)", {"pan": -0.3}),
        ("a: pan(-30%)", {"pan": -0.3}),
        ("a: eq(peak1_gain=3dB, low_shelf_freq=60Hz)", {"peak1_gain_db": 3, "low_shelf_cutoff_frequency_hz": 60}),
        ("a: modphaser(2oct)", {"depth_octaves": 2}),
        ("a: width(1.2)", {"width": 1.2}),
    ],
)
def test_values_turn_the_knob_of_their_unit(text: str, knobs: dict[str, float]) -> None:
    assert parse(text)["a"].values == knobs


def test_ranges_and_locks() -> None:
    node = parse("a: peak(gain=3dB[-6..6dB], 1kHz[0.8kHz..2000], q[1..2]); b: pan(pan=0!); c: pan(10[-20..20])")["a"]
    assert node.ranges == {"gain_db": (-6, 6), "cutoff_frequency_hz": (800, 2000), "q": (1, 2)}
    assert node.values == {"gain_db": 3, "cutoff_frequency_hz": 1000}
    graph = parse("b: pan(pan=0!); c: pan(10[-20..20])")
    assert graph["b"].ranges == {"pan": (0, 0)}
    assert graph["c"].ranges == {"pan": (-0.2, 0.2)}


def test_a_word_is_a_node_if_one_is_called_so() -> None:
    graph = parse("a: in > verb > out\nverb: room")
    assert graph["verb"].kind == "RoomReverb"
    assert [e.name for e in graph.edges] == ["a:out>verb:in", "verb:out>out:in"]
    assert list(parse("a: in > verb() > out\nverb: room").nodes) == ["a", "a.verb", "out", "verb"]
    assert list(parse("in > hpf > hpf() > out").nodes) == ["in", "hpf", "hpf2", "out"]
    assert list(parse("a: in; b: in; a > out; b > out").nodes) == ["a", "b", "out"]
    assert parse("s: in > out; phones: out; s -> phones(-3dB)").outputs == ("out", "phones")


def test_a_send_may_lead_to_a_node_that_is_called_as_an_effect() -> None:
    line = "vox: in > hpf(80Hz) > comp(4:1, -20dB, sc=kick) > pan(-30) > out; vox -> verb(-12dB)"
    graph = parse(f"{line}; kick: in > out; verb: verb > out")
    assert graph.into("verb") == (Edge(Endpoint("vox", "out"), Endpoint("verb", "in"), -12.0),)
    assert parse("lfo(5Hz) ~> vox.pan:pan(0.3); vox: in > pan").into("vox.pan", "pan")[0].amount == 0.3


def test_ports() -> None:
    graph = parse(
        "b: in > xo=xover(200Hz) > comp > m; xo:high > gain(2dB) > m; m: sum; s: split; s:side -> j:mid; j: merge"
    )
    assert [str(e.source) for e in graph.into("m")] == ["b.comp:out", "xo.gain:out"]
    assert graph.into("xo.gain")[0].source == Endpoint("xo", "high")
    assert "xo:high > gain(+2dB) > m" in write(graph).splitlines()
    assert graph.into("j")[0].name == "s:side>j:mid"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: in > delay > out; lfo ~> a.delay:delay", "column 29: .* of Delay cannot be modulated; those[^;]*$"),
        ("vox: in > hpg(80Hz) > out", "line 1, column 11: there is no effect 'hpg'; did you mean 'hpf'?"),
        ("a: in\nvox: in > comp(treshold=-3dB)", "line 2, column 16: .* no knob 'treshold'; did you mean 'threshold'?"),
        ("k: in > comp(sc=kik); kick: in", "line 1, column 17: there is no node 'kik'; did you mean 'kick'?"),
        ("a: in > hpf(80Hz > out", "line 1, column 18: ',' or '\\)' is expected, got '>'"),
        ("a: in >", "line 1, column 8: an effect or a node is expected, got no more"),
        ("a: in >> out", "line 1, column 8: an effect or a node is expected, got '>'"),
        ("a: in out", "line 1, column 7: .* is expected, got 'out'"),
        ("comp(2dB, 3dB)", "line 1, column 11: 3dB needs its knob's name: knee=, makeup="),
        ("comp(4)", "line 1, column 6: .* takes: ratio \\(1..20 :1\\)"),
        ("hpf(3dB)", "HighpassFilter has no knob for 3dB"),
        ("hpf(freq=3dB)", "cutoff_frequency_hz is 10..20000 Hz, got 3dB"),
        ("hpf(3fortnights)", "column 6: there is no unit 'fortnights'"),
        ("peak(gain=30dB)", "gain_db = 30 dB, allowed -24..24 dB"),
        ("pan(0.3)", "this pan is 0.3 %; write pan\\(30\\)"),
        ("hpf(80Hz, freq=90Hz)", "cutoff_frequency_hz is given twice"),
        ("a: in; a: in", "column 11: two nodes are called 'a'"),
        ("in > hpf > hpf", "'hpf' is an effect, and here also the name of a node"),
        ("a: in > b", "there is no node 'b'; a new one is written"),
        ("l: lfo > p; p: pan", "l:lfo is a control signal"),
        ("l: in ~> p:pan; p: pan", "l:out is audio"),
        ("l: lfo ~> p:pan(3Hz); p: pan", "p:pan is moved in its own unit, got 3Hz"),
        ("a: in -> b(3Hz); b: sum", "the gain of a cable is in dB, got 3Hz"),
        ("a: in -> b, b; b: sum", "the cable a:out>b:in stands twice"),
        ("a: in > b:side > c; b: merge; c: sum", "the port 'side' stands inside a chain"),
        ("a: b:out > c; b: in; c: sum", "the label 'a' names a new node"),
        ("comp(detector=[[[", "column 18: this is no JSON value"),
        ("comp(detector=loud)", "detector is 'peak' or 'rms'"),
        ("in(3)", "channels is 3, allowed are 1 and 2"),
        ("fb(delay_ms=x)", "line 1, column 1: node 'fb'"),
        ('"a', "this is no JSON value"),
    ],
)
def test_an_error_says_where_and_what(text: str, sentence: str) -> None:
    with pytest.raises(GraphError, match=sentence):
        parse(text)


@pytest.mark.parametrize(
    "garbage",
    [
        "(" * 100_000,
        "[" * 100_000,
        "a(b=" + "[" * 100_000,
        "a(b=" * 25_000,
        '"' + "\\" * 100_000,
        "x" * 100_000,
        "1" * 100_000,
        "a: hpf(" + "1" * 100_000 + ")",
        "a: hpf(1e" + "9" * 100_000 + ")",
        "a: comp(lookahead_ms=" + "1" * 100_000 + ")",
        "a." * 50_000,
        "a:" * 50_000,
        ">" * 100_000,
        "a > " * 25_000,
        "hpf > " * 20_000 + "out",
        "hpf() > " * 20_000 + "out",
        "a -> " + "b," * 50_000,
        "# " * 50_000 + "\n?",
        "\n" * 99_999 + "?",
        ";" * 99_999 + "?",
        "\x00" * 100_000,
        "".join(random.Random(1).choices("abc.:;>-~()[]=\"'#!\n 01dBHz,{}", k=100_000)),
        "".join(random.Random(2).choices([chr(c) for c in range(1, 0x2FFF)], k=100_000)),
    ],
)
def test_garbage_fails_fast_with_a_sentence(garbage: str) -> None:
    start = time.process_time()
    with pytest.raises(GraphError, match=r"line \d+, column \d+: ") as error:
        parse(garbage)
    assert time.process_time() - start < 2
    assert len(str(error.value)) < 500


def test_no_garbage_raises_another_error() -> None:
    dice = random.Random(5)
    text = EXAMPLE + write(strips(3))
    for _ in range(300):
        cut = list(text)
        for _ in range(dice.randint(1, 6)):
            cut[dice.randrange(len(cut))] = dice.choice(
                ["", "(", ")", ":", ">", "=", "!", "[", "1", "x", '"', "\n", "~>", " "]
            )
        with contextlib.suppress(GraphError):
            parse("".join(cut))


def test_a_graph_of_ten_thousand_nodes() -> None:
    names = [f"n{k}" for k in range(9_998)]
    graph = Graph(
        [Node("i", "In"), *(Node(n, "Invert") for n in names), Node("out", "Out")],
        [Edge(Endpoint(a, "out"), Endpoint(b, "in")) for a, b in zip(["i", *names], [*names, "out"], strict=True)],
    )
    start = time.process_time()
    assert parse(write(graph)) == graph
    assert time.process_time() - start < 5


def test_text_is_expected() -> None:
    with pytest.raises(GraphError, match="read from text, got int"):
        parse(3)  # type: ignore[arg-type]
    assert parse("  # nothing\n;;") == Graph()
    assert write(Graph()) == ""


def test_every_word_is_one_effect() -> None:
    assert all(
        words.kind_of(word) == kind and (kind in REGISTRY or kind in BUILT_IN) for word, kind in words.SHORT.items()
    )
    assert len(set(words.SHORT.values())) == len(words.SHORT)
    assert all(words.NAME.fullmatch(word) and "." not in word for word in words.effect_words())
    assert "comp       KneeCompressor        ratio, threshold, attack, release\n" in words.table()
    assert len(words.table().splitlines()) == len(words.SHORT)


def test_a_source_has_the_channels_of_what_it_feeds() -> None:
    text = (
        "vox: in > hpf(80Hz) > comp(4:1, -20dB, sc=kick) > pan(-30) > out; kick: in > pan > out; pad: in > width > out"
    )
    graph = parse(
        text + "; vox.pan -> hall(-12dB); hall: verb > out; lfo(5Hz) ~> vox.pan:pan(0.3); bare: in > hpf > out"
    )
    graph.check()
    assert {name: graph[name].option("channels") for name in graph.sources} == {
        "vox": 1,
        "kick": 1,
        "pad": 2,
        "bare": 2,
    }
    assert parse(write(graph)) == graph
    assert parse("a: in(2) > out") == parse("a: in > out")
    stereo = Graph().add("a", "In").add("p", "Pan").add("out", "Out").chained("a", "p", "out")  # of no use, but a graph
    assert parse(write(stereo)) == stereo
    assert Graph.from_text(str(graph)) == graph
