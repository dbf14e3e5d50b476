"""Effects that a program declares itself."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

import diffmix
from diffmix import Console, Graph, Param, Processor
from diffmix.data.multitrack import Multitrack, Track
from diffmix.errors import GraphError, SettingsError
from diffmix.graph import Renderer, Session, render, streamed
from diffmix.graph.plan import Batch
from diffmix.processors import Gain, named
from diffmix.refine import refine
from diffmix.settings import Settings
from diffmix.wishes import Wishes

pytestmark = pytest.mark.usefixtures("declaring")

X = torch.ones(1, 2, 8)


def shift() -> type[Processor]:
    class Shift(Processor):
        amount = Param(-12, 12, 0, "st")
        cents = Param(-100, 100, 0, "ct")

        def __init__(self, sample_rate: float, ranges: dict | None = None, order: int = 1, precision: str = "float32"):
            super().__init__(sample_rate, ranges, precision)
            self.order = order

        def process(self, x: Tensor, *, amount: Tensor, cents: Tensor) -> Tensor:
            return x * self.order * amount[:, None, None]

    return Shift


def test_units_and_options_of_ones_own_are_written_and_read() -> None:
    shift()
    graph = Graph.from_text("a: in > Shift(amount=3, order=2) > out")
    assert render(graph, {"a": X}, 44100).unique().tolist() == [6]
    assert Graph.from_text(str(graph)) == graph == Graph.from_json(graph.to_json())
    console = Console(44100, strip={"trim": "Gain", "shift": {"kind": "Shift", "order": 3}})
    assert Graph.from_text(str(console.to_graph({"a": 2})))["a.shift"].options == {"order": 3}


def test_an_effect_of_another_rate_is_not_played_too_fast() -> None:
    named("Trained", lambda _: Gain(44100))
    graph = Graph.from_text("a: in > Trained(gain_db=0) > out")
    assert torch.equal(render(graph, {"a": X}, 44100), X)
    with pytest.raises(GraphError, match=r"node 'a.Trained': the effect given runs at 44100 Hz, the graph at 48000 Hz"):
        render(graph, {"a": X}, 48000)


def bent() -> type[Processor]:
    class Bent(Processor):
        """With a weight of its own, drawn when it is made."""

        drive = Param(0, 1, 1, "")

        def __init__(self, sample_rate: float, ranges: Any = None, precision: Any = "float32") -> None:
            super().__init__(sample_rate, ranges, precision)
            self.weight = torch.nn.Parameter(torch.rand(()))

        def process(self, x: Tensor, *, drive: Tensor) -> Tensor:
            return x * self.weight * drive[:, None, None]

    return Bent


def test_weights_are_those_of_one_node_also_in_chunks() -> None:
    bent()
    graph = Graph.from_text("a: in > Bent > m\nb: in > Bent > m\nm: sum > truepeak(-1dB) > out")
    renderer = Renderer(graph, 44100)
    assert {name for name, _ in renderer.named_parameters()} == {"effects.0.weight", "effects.1.weight"}
    x = {name: torch.full((1, 2, 600), 0.1) for name in "ab"}
    y = renderer.render(x)["out"]
    assert y[0, 0, 0].item() == pytest.approx(0.1 * sum(p.item() for p in renderer.parameters()))
    y.sum().backward()
    assert all(p.grad is not None for p in renderer.parameters())
    blocks = ({name: audio[..., n : n + 200] for name, audio in x.items()} for n in range(0, 600, 200))
    assert torch.equal(torch.cat([block["out"] for block in streamed(renderer, blocks)], -1), y)
    shared = renderer.live["a.Bent"]
    both = Renderer(graph, 44100, processors={"a.Bent": shared, "b.Bent": shared})
    assert len(list(both.parameters())) == 1
    assert next(len(step.runs) for step in both.plan.steps if isinstance(step, Batch)) == 2  # side by side
    named("Trained", lambda _: shared)
    both = Renderer(Graph.from_text(str(graph).replace("Bent", "Trained")), 44100)
    assert next(len(step.runs) for step in both.plan.steps if isinstance(step, Batch)) == 2
    own = Gain(44100)
    placed = Graph.from_text("a: in > gain > pan > m\nb: in > pan > m\nm: sum > out")
    faded = Renderer(placed, 44100, processors={"a.gain": own})
    assert any(effect is own for effect in faded.effects)


def test_weights_of_nodes_in_a_loop_are_their_own() -> None:
    bent()
    graph = Graph().add("a", "In").add("m", "Sum").add("b", "Bent").add("c", "Bent").add("s", "Sum").add("out", "Out")
    graph = graph.add("fb", "Feedback", delay_ms=1).chained("a", "m", "b", "s", "fb", "m").chained("m", "c", "s", "out")
    renderer = Renderer(graph, 44100)
    y = renderer.render({"a": X})["out"]
    assert y[0, 0, 0].item() == pytest.approx(sum(renderer.live[name].weight.item() for name in "bc"))


def test_weights_stay_through_the_edits_of_a_session() -> None:
    kind = bent()
    graph = Graph.from_text("a: in > gain(0dB) > Bent > m; a > b=Bent > m; m: sum > out")
    session = Session(graph, {"a": X}, 44100)
    y = session.render(graph)["out"]
    assert y[0, 0, 0] != 2 * session.signal("a.Bent")[0, 0, 0]  # each has its own
    for edited in (graph.replaced("a.gain", values={"gain_db": 6.0}), graph):
        session.keep(edited)
    assert torch.equal(session.render(graph.replaced("a.gain", values={"gain_db": 1e-9}))["out"], y)
    assert torch.equal(session.render(graph)["out"], y)
    other = Graph.from_text("a: in > gain(0dB) > c=Bent > m; a > b=Bent > m; m: sum > out")
    assert not torch.equal(session.render(other)["out"], y)
    shared = dict.fromkeys(("a.Bent", "b"), kind(44100))
    given = Session(graph, {"a": X}, 44100, processors=shared)
    assert torch.equal(given.render(graph)["out"], 2 * given.signal("b"))


def test_a_console_has_weights_and_every_desk_plays_them() -> None:
    bent()
    console = Console(44100, strip={"bent": "Bent"}, master={"bent": "Bent", "gain": "Gain"})
    assert list(console.state_dict()) == ["learned.track/bent.weight", "learned.master/bent.weight"]
    x = 0.1 * torch.ones(1, 3, 1, 200)
    drawn = torch.get_rng_state()
    y = console(x[:, :2], console.default(1, 2))
    assert torch.equal(torch.get_rng_state(), drawn)  # a desk draws no weights, which would move a run's later draws
    assert torch.equal(y, console(x, console.default(1, 3), mask=torch.tensor([[1, 1, 0]])))
    y.sum().backward()
    assert all(p.grad is not None for p in console.parameters())
    other = Console(44100, **console.description)
    assert not torch.equal(other(x[:, :2], other.default(1, 2)), y)
    other.load_state_dict(console.state_dict())
    for same in (other, copy.deepcopy(console)):
        assert torch.equal(same(x[:, :2], same.default(1, 2)), y)
    assert not Console(44100).learned
    bus, group = {"room": {"bent": "Bent"}}, {"all": {"tracks": ["a*"], "stages": {"bent": "Bent"}}}
    rich = Console(44100, sends={"send": "room"}, buses=bus, groups=group)
    assert list(rich.state_dict()) == ["learned.bus/room/bent.weight", "learned.group/all/bent.weight"]
    live = rich.wired([1], ["a"]).renderer.live
    assert (live["room.bent"], live["all.bent"]) == (rich.buses["room"]["bent"], rich.groups["all"]["bent"])
    tracks, settings = {"a": x[0, 0, 0].numpy()}, {"tracks": {"a": {}}}
    with pytest.raises(
        SettingsError, match="stage track/bent: a Bent has weights, which no layout holds; give the Conso"
    ):
        diffmix.render(tracks, settings, console.description, sample_rate=44100)
    assert diffmix.render(tracks, settings, console, sample_rate=44100).rendered().audio.any()
    softer = Settings(console.check({"tracks": {"a": {"bent": {"drive": 0.5}}}}))
    made = Multitrack("song", 44100, (Track("a", 0.1 * torch.randn(1, 4000)),))
    explained = [diffmix.render(made, softer, console).report["tracks"]["a"]["bypass"]["bent"] for _ in range(2)]
    assert explained[0] == explained[1]  # by the console's weights, not by others
    refined = [refine(console, made, softer, Wishes(), 1).before for _ in range(2)]
    assert refined[0] == refined[1]
    trained = console.strip["bent"]
    named("Trained", lambda _: trained)
    layout = {"strip": {"bent": "Trained"}, "master": {}}
    assert diffmix.render(tracks, settings, layout, sample_rate=44100).audio.any()


def test_a_class_that_is_declared_again_is_the_new_one() -> None:
    text = "a: in > Shift(amount=3, order=2) > out"
    for _ in range(2):
        shift()
        render(Graph.from_text(text), {"a": X}, 44100)

    class Shift(Processor):
        level = Param(0, 9, 0, "V")

        def process(self, x: Tensor, *, level: Tensor) -> Tensor:
            return x + level[:, None, None]

    assert render(Graph.from_text("a: in > Shift(level=4) > out"), {"a": X}, 44100).unique().tolist() == [5]


def test_what_cannot_be_made_by_name_is_refused_in_a_sentence() -> None:
    class Odd(Processor):
        def __init__(self, sample_rate: float) -> None:
            super().__init__(sample_rate)

        def process(self, x: Tensor) -> Tensor:
            return x

    with pytest.raises(GraphError, match=r"Odd\(\) takes no ranges; an effect by name is made with sample_rate, ran"):
        Graph().add("a", "Odd")
    for unknown, hint in (("Gian", "Gain"), ("Presence", "see .* one of your own is known once its class is declared")):
        with pytest.raises(GraphError, match=rf"no effect '{unknown}' \({hint}\)"):
            Graph().add("a", unknown)
    with pytest.raises(SettingsError, match="an effect is called by its name, 'Odd', not by its class"):
        Console(44100, strip={"trim": Odd})  # type: ignore[dict-item]
