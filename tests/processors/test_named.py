"""Effects under a name of one's own: graphs, consoles and files know them."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from diffmix import Chain, Console, Gain, Graph, KneeCompressor
from diffmix.errors import GraphError, PresetError, SettingsError
from diffmix.export import preset_of
from diffmix.graph import Renderer, difference, render, show
from diffmix.params import Param
from diffmix.processors import REGISTRY, FunctionNode, MidSideSplit, named
from diffmix.processors.dasp import dasp

RATE = 8000


def steps(audio: np.ndarray, *, levels: float) -> np.ndarray:
    return np.round(audio * levels) / levels


@pytest.fixture(autouse=True)
def kinds() -> Iterator[None]:
    known = dict(REGISTRY)
    named("Steps", lambda rate: FunctionNode(steps, {"levels": Param(2, 256, 16, "", "log")}, rate))
    yield
    for name in REGISTRY.keys() - known.keys():
        del REGISTRY[name]


def test_a_graph_plays_writes_and_turns_it() -> None:
    graph = Graph.from_text("vox: in(1) > Steps(levels=40) > gain(6dB) > out")
    assert Graph.from_text(str(graph)) == graph == Graph.from_json(graph.to_json())
    assert "Steps levels 40" in show(graph)
    assert "from 40 to 8" in "".join(map(str, difference(graph, graph.turned("vox.Steps", levels=8))))
    x = torch.randn(2, 1, 300) * 0.1
    y = render(graph, {"vox": x}, RATE)
    torch.testing.assert_close(y, torch.round(x * 40) / 40 * 10 ** (6 / 20))
    with pytest.raises(GraphError, match=r"levels = 1, allowed 2\.\.256"):
        graph.turned("vox.Steps", levels=1)
    with pytest.raises(PresetError, match="it is a function of its own"):
        preset_of(graph, RATE)


def test_its_knobs_learn() -> None:
    graph = Graph.from_text("vox: in(1) > Steps(levels=40) > out")
    levels = torch.tensor([40.0], requires_grad=True)
    y = Renderer(graph, RATE).render({"vox": torch.rand(1, 1, 999)}, {"vox.Steps.levels": levels})["out"]
    y.square().sum().backward()
    assert levels.grad is not None
    assert torch.isfinite(levels.grad).all()


def test_a_console_has_it_with_its_ranges() -> None:
    console = Console(RATE, {"steps": {"levels": (4, 64)}}, strip={"trim": "Gain", "steps": "Steps"})
    levels = console.track_spec.params["steps.levels"]
    assert (levels.low, levels.high) == (4, 64)


def test_other_peoples_effects_and_those_declared_here_sound_the_same() -> None:
    named("DaspCompressor", lambda rate: dasp("compressor", rate))
    named("Squeeze", lambda rate: KneeCompressor(rate, lookahead_ms=5))
    x = torch.randn(1, 2, 2000)
    for name, effect in (("DaspCompressor", dasp("compressor", RATE)), ("Squeeze", None)):
        made = REGISTRY[name](RATE)
        effect = effect or KneeCompressor(RATE, lookahead_ms=5)
        u = torch.full((1, made.spec.size), 0.6)
        assert made.spec.names == effect.spec.names
        assert torch.equal(made(x, u), effect(x, u))
        assert made.latency_samples({}) == effect.latency_samples({})
    values = made.spec.denormalize(u)
    y, state = made.process_chunk(x[..., :700], None, **values)
    rest, _ = made.process_chunk(x[..., 700:], state, **values)
    assert torch.equal(torch.cat([y, rest], -1)[..., 40:], made.process(x, **values)[..., :-40])


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("a plate", Gain, "'a plate' cannot be the name of an effect"),
        ("Plate", Gain(RATE), "Plate: what makes the effect is expected, .*; got the effect"),
        ("Plate", float, "Plate: an effect is expected to be made, got float"),
        ("Gain", Gain, "Gain is an effect of diffmix.processors.gain; one of your own needs another name"),
        ("Split", MidSideSplit, "a MidSideSplit has more than one inlet or outlet"),
        ("Both", lambda rate: Chain(a=Gain(rate)), "a parameter is called a.gain_db; names without dots are needed"),
    ],
)
def test_mistakes_are_one_sentence(name: str, make: type, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        named(name, make)
