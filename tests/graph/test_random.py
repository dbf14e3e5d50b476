"""Random graphs: seeded, within their grammar, sane; and what of them is heard."""

from random import Random

import pytest
import torch

from diffmix.errors import GraphError
from diffmix.graph import Grammar, Graph, Renderer, inaudible, random_graph, render
from diffmix.graph.grammar import EFFECTS, PRODUCTIONS, REVERBS
from diffmix.graph.inaudible import audibility, audible_graph, difference_db, difference_from
from diffmix.graph.node import BUILT_IN
from diffmix.processors.base import REGISTRY, LinearFilter

RATE = 44100
LARGE = Grammar(nodes=(2, 60))


def test_the_same_seed_gives_the_same_graph() -> None:
    assert random_graph(5) == random_graph(5)
    assert random_graph(5) == random_graph(Random(5))
    rng = Random(5)
    assert random_graph(rng) != random_graph(rng)


def test_a_graph_written_down_once_is_drawn_on_every_machine() -> None:
    small = Grammar(nodes=(4, 4), effects={"Gain": 1, "PeakFilter": 1}, productions={"serial": 1})
    expected = Graph().add("in1", "In", channels=2).add("out", "Out").add("gain1", "Gain", {"gain_db": -17.68})
    expected = expected.add("peakfilter1", "PeakFilter", {"cutoff_frequency_hz": 19410, "gain_db": -2.124, "q": 3.853})
    expected = expected.connect("peakfilter1", "out").chained("in1", "gain1", "peakfilter1")
    assert random_graph(3, small) == expected


@pytest.fixture(scope="module")
def graphs() -> list[Graph]:
    return [random_graph(seed, LARGE) for seed in range(80)]


def test_sizes_and_parts(graphs: list[Graph]) -> None:
    sizes = [len(graph) for graph in graphs]
    assert min(sizes) >= 2
    assert max(sizes) <= 60
    assert sum(sizes) / len(sizes) > 25
    kinds = {n.kind for graph in graphs for n in graph}
    assert kinds >= set(BUILT_IN) | {"Crossover", "MidSideSplit", "MidSideMerge", "LFO", "EnvelopeFollower", "Pan"}
    assert len(kinds & set(EFFECTS)) > len(EFFECTS) - 4
    ports = {g[e.target.node].inlet(e.target.port).kind for g in graphs for e in g.edges}
    assert ports == {"audio", "side chain", "control"}
    for graph in graphs:
        assert graph.outputs == ("out",)
        assert 1 <= len(graph.sources) <= 4
        assert sum(n.kind in REVERBS for n in graph) <= 2
        for edge in graph.edges:
            pair = {graph[edge.source.node].kind, graph[edge.target.node].kind}
            assert len(pair) > 1 or edge.amount is not None or pair <= {"Sum"} or not _linear(*pair)


def _linear(kind: str) -> bool:
    return kind in REGISTRY and issubclass(REGISTRY[kind], LinearFilter)


def test_every_effect_is_drawn_or_left_out_on_purpose() -> None:
    import diffmix.processors as processors

    left_out = {"LFO", "EnvelopeFollower", "Crossover", "MidSideSplit", "MidSideMerge", "Pan"}
    left_out |= {"Convolution", "NeuralEffect", "LoudnessNormaliser"}
    ours = {name for name in REGISTRY if name in processors.__all__}
    assert ours - left_out == set(EFFECTS)


def test_levels_stay_sane(graphs: list[Graph]) -> None:
    for graph in graphs[:6]:
        x = {n: 0.1 * torch.randn(1, graph[n].option("channels"), 6000) for n in graph.sources}
        y = Renderer(graph, RATE).render(x)["out"]
        assert y.isfinite().all()
        assert y.abs().max() < 100


def test_feedback_loses_level(graphs: list[Graph]) -> None:
    loops = [(graph, loop) for graph in graphs for loop in graph.check().loops]
    assert loops
    for graph, loop in loops:
        assert {graph[name].kind for name in loop} <= {"Sum", "Feedback", "LowpassFilter", "HighpassFilter"}
        gains = [e.gain_db for e in graph.edges if {e.source.node, e.target.node} <= loop and e.gain_db is not None]
        assert sum(gains) <= -3


def test_weights_are_obeyed() -> None:
    only = Grammar(nodes=(12, 12), sources=(1, 1), effects={"Gain": 1, "Invert": 1}, productions={"serial": 1})
    for seed in range(10):
        assert {n.kind for n in random_graph(seed, only)} <= {"In", "Out", "Gain", "Invert"}
    for name in PRODUCTIONS:
        alone = Grammar(nodes=(20, 20), productions={name: 1, "serial": 0.5})
        assert len(random_graph(1, alone)) <= 20
    for wrong, sentence in (
        ({"nodes": (5, 2)}, "nodes are 5..2"),
        ({"effects": {"Compresor": 1}}, "no effect 'Compresor'"),
        ({"effects": {"Crossover": 1}}, "Crossover is none"),
        ({"productions": {"magic": 1}}, "no production 'magic'"),
    ):
        with pytest.raises(GraphError, match=sentence):
            Grammar(**wrong)


def chain() -> Graph:
    graph = Graph().add("a", "In", channels=1).add("loud", "Gain", {"gain_db": -9}).add("flat", "PeakFilter")
    graph = graph.add("pan", "Pan").add("slight", "Gain", {"gain_db": 0.2}).add("out", "Out")
    return graph.chained("a", "flat", "slight", "loud", "pan", "out").add("dead", "Reverb").connect("flat", "dead")


def test_difference_is_in_db() -> None:
    x = torch.randn(1, 2, 9000)
    assert difference_db(x, x) == 0
    assert difference_db(x * 10 ** (-3 / 20), x) == pytest.approx(3, abs=0.1)
    assert difference_db(x[..., :100], x[..., :100]) == 0
    assert difference_db(x * 0, x * 0) == 0


def test_spectra_of_a_reference_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(1, 2, 9000)
    made: list[int] = []
    power = inaudible._power
    monkeypatch.setattr(inaudible, "_power", lambda y, size: made.append(size) or power(y, size))
    away = difference_from(x)
    assert [away(x), away(2 * x), away(x)] == pytest.approx([0, difference_db(2 * x, x), 0], abs=1e-9)
    assert len(made) == (1 + 3 + 2) * len(inaudible.FFT_SIZES)


def test_what_is_not_heard_goes() -> None:
    x = {"a": torch.randn(1, 1, 9000)}
    heard = audibility(chain(), x, RATE)
    assert heard.keys() == {"flat", "slight", "loud", "dead"}
    assert heard["flat"] == heard["dead"] == 0
    assert heard["slight"] == pytest.approx(0.2, abs=0.02)
    assert heard["loud"] == pytest.approx(9, abs=0.3)
    assert list(audible_graph(chain(), x, RATE).nodes) == ["a", "loud", "pan", "out"]
    assert "slight" in audible_graph(chain(), x, RATE, least_db=0.1)
    ends = chain().add("out2", "Out").connect("loud", "out2").add("soft", "Gain", {"gain_db": -3})
    assert audibility(ends.disconnect("loud", "pan").chained("loud", "soft", "pan"), x, RATE)["soft"] > 2
    loop = Graph().add("a", "In", channels=1).add("m", "Sum").add("fb", "Feedback", channels=1).add("out", "Out")
    loop = loop.chained("a", "m", "fb").connect("fb", "m", -90).connect("m", "out")
    assert audibility(loop, x, RATE)["fb"] < 0.1
    assert list(audible_graph(loop, x, RATE).nodes) == ["a", "out"]


def test_what_goes_uncovers_and_covers_others() -> None:
    x = {"a": torch.randn(1, 1, 9000)}
    twice = Graph.from_text("a: in(1) > clip(-20dB) > clip(-20dB) > out")
    assert len(audible_graph(twice, x, RATE)) == 3
    side = Graph.from_text("a: in(1) > comp(8:1, -30dB, sc=key) > out; a > key=gain(-60dB)")
    assert audibility(side, x, RATE)["key"] > 3
    assert list(audible_graph(side, x, RATE).nodes) == ["a", "out"]


def test_what_goes_bit_by_bit_is_not_much_together() -> None:
    graph = Graph.from_text("a: in > g1=gain(0.6dB) > g2=gain(0.6dB) > g3=gain(0.6dB) > clip(-3dB) > out")
    x = {"a": 0.1 * torch.randn(1, 2, 9000)}
    assert list(audible_graph(graph, x, RATE).nodes) == ["a", "out"]
    left = audible_graph(graph, x, RATE, within_db=1.3)
    assert len(left) == 3
    assert difference_db(render(left, x, RATE), render(graph, x, RATE)) == pytest.approx(1.2, abs=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_left_is_heard(seed: int) -> None:
    graph = random_graph(seed, Grammar(nodes=(8, 16)))
    x = {n: 0.2 * torch.randn(1, graph[n].option("channels"), 9000) for n in graph.sources}
    left = audible_graph(graph, x, RATE)
    left.check()
    assert min(audibility(left, x, RATE).values(), default=1) >= 1
