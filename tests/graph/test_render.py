"""Rendering against a naive renderer, and against itself: other names, batches, chunks, edits, gradients."""

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from diffmix.errors import AudioError, GraphError
from diffmix.graph import Grammar, Graph, Node, Renderer, Session, random_graph, render, streamed
from diffmix.graph.node import make
from tests.graph.naive import naive, relative_db
from tests.sweeps import seeds

RATE = 44100
LARGE = Grammar(nodes=(2, 60))


def sources_of(graph: Graph, samples: int = 4000, batch: int = 1) -> dict[str, Tensor]:
    """Decaying noise."""
    fade = 0.3 * torch.exp(-torch.arange(samples) / (samples / 3))
    return {name: torch.randn(batch, graph[name].option("channels"), samples) * fade for name in graph.sources}


def cut(sources: dict[str, Tensor], rng: random.Random) -> list[dict[str, Tensor]]:
    """Blocks of any lengths."""
    left, lengths = next(iter(sources.values())).shape[-1], []
    while left:
        lengths.append(min(left, int(2 ** rng.uniform(0, 11.5))))
        left -= lengths[-1]
    return [
        dict(zip(sources, parts, strict=True))
        for parts in zip(*(x.split(lengths, -1) for x in sources.values()), strict=True)
    ]


def joined(blocks: list[dict[str, Tensor]], name: str = "out") -> Tensor:
    return torch.cat([block[name] for block in blocks], -1)


# -- what is right -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", seeds(8, 500))
def test_random_graphs_equal_a_naive_renderer(seed: int) -> None:
    graph = random_graph(seed, LARGE)
    x = {name: audio.double() for name, audio in sources_of(graph, 5000).items()}
    expected = naive(graph, x, RATE)["out"]
    assert expected.isfinite().all()
    assert relative_db(Renderer(graph, RATE, "float64").render(x)["out"], expected) < -120


def linear() -> Graph:
    """Everything that a curve may move, in places that are rendered differently."""
    graph = Graph().add("a", "In", channels=1).add("b", "In", channels=1).add("c", "In", channels=2)
    for name in "ab":
        graph = graph.add(f"{name}.gain", "Gain", {"gain_db": -3}).add(f"{name}.pan", "Pan")
        graph = graph.chained(name, f"{name}.gain", f"{name}.pan")
    graph = graph.add("wide", "Imager").add("bus", "Sum").add("fx", "LowpassFilter", {"cutoff_frequency_hz": 2000})
    graph = graph.add("lfo", "LFO", {"rate_hz": 20}, channels=1).connect("lfo", "fx:cutoff_frequency_hz", amount=1)
    graph = graph.add("flanger", "Flanger").connect("lfo", "flanger:modulation", amount=0.5)
    graph = (
        graph.add("out", "Out").chained("c", "flanger", "wide", "bus").connect("a.pan", "bus").connect("b.pan", "bus")
    )
    graph = graph.connect("a.pan", "fx", -6).connect("b.pan", "fx", -12)
    return graph.connect("fx", "bus", -3).connect("bus", "out", 2)


@pytest.mark.parametrize("points", [2, 7, 3000])
def test_curves(points: int) -> None:
    graph = linear()
    x = {name: audio.double() for name, audio in sources_of(graph, 3000, 2).items()}
    names = [
        "a.gain.gain_db",
        "b.pan.pan",
        "wide.width",
        "fx.cutoff_frequency_hz",
        "lfo:lfo>fx:cutoff_frequency_hz.amount",
        "lfo:lfo>flanger:modulation.amount",
        "a.pan:out>fx:in.gain_db",
        "fx:out>bus:in.gain_db",
        "bus:out>out:in.gain_db",
    ]
    renderer = Renderer(graph, RATE, "float64")
    for name in names:
        low, reach = (200, 1000) if name.endswith("hz") else (0, 1)
        values = {name: low + reach * torch.rand(2, points, dtype=torch.float64)}
        assert relative_db(renderer.render(x, values)["out"], naive(graph, x, RATE, values)["out"]) < -120, name
    # curves of unlike lengths in nodes that run together
    values = {"a.pan.pan": torch.rand(2, 3).double(), "b.pan.pan": torch.rand(2, 4).double()}
    assert relative_db(renderer.render(x, values)["out"], naive(graph, x, RATE, values)["out"]) < -120


def test_the_amount_of_an_edge_counts_at_every_control_inlet() -> None:
    graph = linear()
    x = sources_of(graph)
    outputs = [render(graph.turned("lfo:lfo>flanger:modulation", amount=amount), x, RATE) for amount in (0.0, 0.5, 1.0)]
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3
    assert (outputs[2] - outputs[1]).abs().max() > 1e-3
    twice = graph.add("lfo2", "LFO", {"rate_hz": 9}, channels=1).connect("lfo2", "flanger:modulation", amount=-0.3)
    double = {name: audio.double() for name, audio in x.items()}
    expected = naive(twice, double, RATE)["out"]
    assert relative_db(Renderer(twice, RATE, "float64").render(double)["out"], expected) < -120


# -- what must not matter ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", seeds(4, 8))
def test_names_and_the_order_of_nodes_do_not_matter(seed: int) -> None:
    graph, rng = random_graph(seed, LARGE), random.Random(seed)
    x = sources_of(graph)
    names = {old: f"k{n}" for n, old in enumerate(rng.sample(list(graph.nodes), len(graph)))}
    other = graph.renamed(names)
    other = Graph(rng.sample(list(other), len(other)), other.edges)
    y = Renderer(other, RATE).render({names[name]: audio for name, audio in x.items()})
    assert torch.equal(y[names["out"]], Renderer(graph, RATE).render(x)["out"])


@pytest.mark.parametrize("seed", seeds(4, 8))
def test_a_batch_is_its_items(seed: int) -> None:
    graph, rng = random_graph(seed, LARGE), random.Random(seed)
    x = sources_of(graph, batch=3)
    values = {}
    for name, p in graph.spec():
        if rng.random() < 0.5:
            near = [min(max(p.default * rng.uniform(0.95, 1.05), p.low), p.high) for _ in range(3)]
            values[name] = torch.tensor(near)
    together = Renderer(graph, RATE).render(x, values)["out"]
    for b in range(3):
        item = {name: audio[b : b + 1] for name, audio in x.items()}
        alone = Renderer(graph, RATE).render(item, {name: v[b : b + 1] for name, v in values.items()})["out"]
        assert torch.equal(together[b], alone[0])
        turned = graph.at({name: v[b].item() for name, v in values.items()})
        assert torch.equal(together[b], Renderer(turned, RATE).render(item)["out"][0])


@pytest.mark.parametrize("seed", seeds(5, 12))
def test_chunks_are_the_whole(seed: int) -> None:
    """But for the last samples behind a look-ahead, where one call hears nothing and chunks hear echoes."""
    graph = random_graph(seed, LARGE)
    x, renderer = sources_of(graph), Renderer(graph, RATE)
    whole = renderer.render(x)["out"]
    chunks = joined(list(streamed(renderer, cut(x, random.Random(seed)))))
    assert chunks.shape == whole.shape
    end = whole.shape[-1] - renderer.latency_samples
    if all(effect.exact_chunks for effect in renderer.effects):  # type: ignore[union-attr]
        assert torch.equal(chunks[..., :end], whole[..., :end])
    assert relative_db(chunks[..., :end], whole[..., :end]) < -90


@pytest.mark.parametrize("seed", seeds(4, 8))
def test_an_edit_renders_what_all_of_it_would(seed: int) -> None:
    graph, rng = random_graph(seed, LARGE), random.Random(seed)
    x = sources_of(graph)
    precision = rng.choice(["float32", "float64"])
    session = Session(graph, x, RATE, precision)
    done = 0
    for _ in range(12):
        edited = _edited(session.graph, rng)
        try:
            edited.check()
        except GraphError:
            continue
        done += 1
        y = (session.keep if rng.random() < 0.5 else session.render)(edited)["out"]
        assert torch.equal(y, Renderer(edited, RATE, precision).render(x)["out"])
        node = session.graph[rng.choice(list(session.graph.nodes))]
        if node.outlets:
            session.signal(node.name, node.outlets[0].name)
    assert done > 2


def _edited(graph: Graph, rng: random.Random) -> Graph:
    names = [n.name for n in graph if n.kind not in ("In", "Out")]
    edges = [e for e in graph.edges if e.amount is None]
    knobs = graph.spec()
    what = rng.random()
    if what < 0.3 and names:
        return graph.without(rng.choice(names))
    if what < 0.6 and knobs.size:
        name = rng.choice(knobs.names)
        p = knobs.params[name]
        return graph.at({name: min(max(p.default * 1.1 + 0.1, p.low), p.high)})
    edge = rng.choice(edges)
    if what < 0.8:
        return graph.turned(edge.name, gain_db=round(rng.uniform(-10, 0), 2))
    return graph.disconnect(str(edge.source), str(edge.target))


def test_a_session_knows_what_a_signal_depends_on() -> None:
    graph = Graph().add("a", "In", channels=1).add("g", "Gain", {"gain_db": 0}).add("lfo", "LFO", channels=1)
    graph = graph.add("out", "Out").chained("a", "g", "out").connect("lfo", "g:gain_db", amount=20)
    x = {"a": torch.randn(1, 1, 3000)}
    session = Session(graph, x, RATE)
    narrow = graph.replaced("g", ranges={"gain_db": (-3, 3)})  # a moved knob stays inside its range
    assert torch.equal(session.render(narrow)["out"], Renderer(narrow, RATE).render(x)["out"])
    louder = graph.turned("g", gain_db=3)
    session.render(louder)
    assert session.rendered == 1


def test_several_graphs_in_one_call() -> None:
    graphs = [random_graph(seed) for seed in range(6)]
    union, x = Graph(), {}
    for n, graph in enumerate(graphs):
        renamed = graph.renamed({name: f"{n}.{name}" for name in graph.nodes})
        union = union.union(renamed)
        x |= sources_of(renamed)
    y = Renderer(union, RATE).render(x)
    assert set(y) == {f"{n}.out" for n in range(6)}
    for n, graph in enumerate(graphs):
        alone = Renderer(graph, RATE).render({name: x[f"{n}.{name}"] for name in graph.sources})["out"]
        assert torch.equal(y[f"{n}.out"], alone)
    with pytest.raises(GraphError, match=r"0\.out, 1\.out.*use Renderer"):
        render(union, x, RATE)


# -- gradients ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", seeds(4, 40))
def test_gradients_equal_finite_differences(seed: int) -> None:
    graph, rng = random_graph(seed, Grammar(nodes=(2, 24))), random.Random(seed)
    if {n.kind for n in graph} & {"Bitcrush", "BrickwallLimiter", "Delay"}:
        pytest.skip("holds an effect with a gradient of its own choice")
    x = {name: audio.double() for name, audio in sources_of(graph, 1200).items()}
    spec, renderer = graph.spec(), Renderer(graph, RATE, "float64")
    weights = torch.randn(2, 1200, dtype=torch.float64)
    knobs = [name for name, p in spec if p.low < p.high]
    values = {name: torch.tensor([spec.params[name].default], dtype=torch.float64) for name in knobs}
    chosen = rng.sample(knobs, min(5, len(knobs))) + [name for name in knobs if ">" in name][:2]

    def loss(values: dict[str, Tensor], x: dict[str, Tensor]) -> Tensor:
        y = renderer.render(x, values)["out"]
        return (y * weights[: y.shape[1]]).sum()

    leaves = {name: v.clone().requires_grad_(name in chosen) for name, v in values.items()}
    audio = {name: v.clone().requires_grad_() for name, v in x.items()}
    heard = [leaves[name] for name in chosen]
    value = loss(leaves, audio)
    gradients = torch.autograd.grad(value, [*heard, *audio.values()], allow_unused=True)
    for name, gradient in zip(chosen, gradients, strict=False):
        scale = (lambda v: v) if spec.params[name].scale == "log" else (lambda v: 1.0)
        got = 0.0 if gradient is None else gradient.item() * scale(values[name].item())
        _same(got, lambda d, n=name, s=scale: loss({**values, n: values[n] + d * s(values[n])}, x), value.item())
    for name, gradient in zip(x, gradients[len(heard) :], strict=True):
        way = torch.randn_like(x[name]) * 0.1
        got = 0.0 if gradient is None else (gradient * way).sum().item()
        _same(got, lambda d, n=name, w=way: loss(values, {**x, n: x[n] + d * w}), value.item())


def _same(gradient: float, along: Callable[[float], Tensor], size: float) -> None:
    """Equal to the best of several finite differences, as a step may be too small or cross a kink."""

    def error(step: float) -> float:
        a, b, c, d = (along(k * step).item() for k in (-2, -1, 1, 2))
        finite = (a - 8 * b + 8 * c - d) / (12 * step)
        return abs(finite - gradient) / max(abs(finite), abs(gradient), 1e-4 * abs(size), 1e-9)

    assert any(error(step) < 1e-5 for step in (1e-4, 1e-3, 1e-5, 1e-6))


def test_gradients_stay_finite_where_a_knob_is_moved_far_beyond_its_range() -> None:
    graph = linear()
    amount = torch.tensor([20_000.0], requires_grad=True)
    y = Renderer(graph, RATE).render(sources_of(graph), {"lfo:lfo>fx:cutoff_frequency_hz.amount": amount})["out"]
    (gradient,) = torch.autograd.grad(y.square().sum(), amount)
    assert gradient.isfinite().all()


def test_weights_of_an_effect_in_a_loop_get_their_gradient() -> None:
    graph = Graph().add("a", "In", channels=1).add("m", "Sum").add("net", "NeuralEffect", channels=2, dilations=[1, 2])
    graph = graph.add("fb", "Feedback", channels=1, delay_ms=5).add("out", "Out")
    graph = graph.chained("a", "m", "net", "fb").connect("fb", "m", -6).connect("net", "out")
    net = make("NeuralEffect", graph["net"].options, {}, RATE).double()
    renderer = Renderer(graph, RATE, processors={"net": net})
    x = {"a": torch.randn(1, 1, 1500, dtype=torch.float64)}
    weight = next(p for p in net.parameters() if p.requires_grad and p.ndim > 1)

    def loss() -> Tensor:
        return renderer.render(x)["out"].square().sum()

    (gradient,) = torch.autograd.grad(loss(), weight)
    way = torch.randn_like(weight)
    with torch.no_grad():
        ends = []
        for step in (1e-5, -2e-5):
            weight += step * way
            ends.append(loss().item())
        weight += 1e-5 * way
    assert (gradient * way).sum().item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)


# -- effects, latency, outputs -----------------------------------------------------------------------------------------


def two(kind: str, **values: float) -> Graph:
    graph = Graph().add("a", "In", channels=1).add("b", "In", channels=1).add("m", "Sum").add("out", "Out")
    graph = graph.add("1", kind, values).add("2", kind, values)
    return graph.chained("a", "1", "m").chained("b", "2", "m", "out")


@pytest.mark.parametrize(
    ("kind", "values", "option"),
    [
        ("Pan", {"pan": 0.3}, {"law": "linear"}),
        ("KneeCompressor", {"threshold_db": -40.0, "ratio": 8.0}, {"detector": "rms"}),
        ("ResonantFilter", {"q": 2.0}, {"kind": "highpass"}),
    ],
)
def test_a_given_effect_is_used_for_its_node_and_no_other(
    kind: str, values: dict[str, float], option: dict[str, str]
) -> None:
    graph = two(kind, **values)
    x = sources_of(graph)
    given = make(kind, option, {}, RATE)
    y = Renderer(graph, RATE, processors={"2": given}).render(x)["out"]
    assert torch.equal(y, render(graph.replaced("2", options=option), x, RATE))
    session = Session(graph, x, RATE, processors={"2": given})
    assert torch.equal(session.render(graph)["out"], y)
    for wrong, sentence in (
        ({"9": given}, "no node '9'"),
        ({"m": given}, "'m' is a Sum"),
        ({"2": make(kind, {}, {}, 48_000)}, "48000 Hz.* 44100 Hz"),
    ):
        with pytest.raises(GraphError, match=sentence):
            Renderer(graph, RATE, processors=wrong)


def test_paths_are_aligned_where_one_looks_ahead() -> None:
    graph = (
        Graph()
        .add("a", "In", channels=1)
        .add("look", "KneeCompressor", lookahead_ms=5)
        .add("gain", "Gain", {"gain_db": 0})
    )
    graph = graph.add("m", "Sum").add("out", "Out").add("dry", "Out")
    graph = graph.chained("a", "look", "m").chained("a", "gain", "m", "out").connect("a", "dry")
    graph = graph.add("chorus", "Chorus").add("wet", "Out").chained("look", "chorus", "wet")
    renderer = Renderer(graph, RATE)
    x = sources_of(graph)
    y = renderer.render(x)
    assert torch.equal(y["out"], 2 * x["a"])
    assert torch.equal(y["dry"], x["a"])
    assert renderer.latency_samples == 220
    blocks = list(streamed(renderer, cut(x, random.Random(1))))
    assert torch.equal(joined(blocks), 2 * x["a"])
    assert torch.equal(joined(blocks, "dry"), x["a"])
    end = 4000 - 220
    assert torch.equal(joined(blocks, "wet")[..., :end], y["wet"][..., :end])  # its oscillator starts with the signal
    loop = graph.disconnect("m", "out").add("fb", "Feedback", channels=1).add("c2", "Chorus").add("m2", "Sum")
    loop = loop.chained("m", "m2", "c2", "fb").connect("fb", "m2", -6).connect("c2", "out")
    y, blocks = Renderer(loop, RATE).render(x), list(streamed(Renderer(loop, RATE), cut(x, random.Random(2))))
    assert torch.equal(joined(blocks)[..., :end], y["out"][..., :end])


def test_what_looks_ahead_cannot_stand_in_a_loop() -> None:
    graph = Graph().add("a", "In").add("m", "Sum").add("out", "Out").add("fb", "Feedback")
    graph = graph.add("x", "TruePeakLimiter").chained("a", "m", "x", "fb", "m").connect("x", "out")
    with pytest.raises(GraphError, match="'x': TruePeakLimiter looks ahead"):
        Renderer(graph, RATE)
    graph = graph.replaced("x", kind="LoudnessNormaliser")
    with pytest.raises(GraphError, match="'x': LoudnessNormaliser needs the whole signal"):
        Renderer(graph, RATE)


def test_a_feedback_is_a_delay() -> None:
    graph = Graph().add("a", "In", channels=1).add("fb", "Feedback", channels=1, delay_ms=10).add("out", "Out")
    x = torch.randn(1, 1, 2000)
    y = render(graph.chained("a", "fb", "out"), {"a": x}, RATE)
    assert torch.equal(y, torch.nn.functional.pad(x, (441, 0))[..., :2000])
    echo = graph.chained("a", "fb", "out").connect("fb", "fb", -6)
    y = render(echo, {"a": torch.eye(1, 2000)[None]}, RATE)
    assert y[0, 0, 441] == 1
    assert y[0, 0, 882].item() == pytest.approx(10 ** (-6 / 20))


def test_mute_by_disconnecting() -> None:
    graph = linear()
    x = sources_of(graph)
    muted = graph.disconnect("a.pan", "bus").disconnect("a.pan", "fx")
    silent = {**x, "a": torch.zeros_like(x["a"])}
    assert torch.equal(render(muted, x, RATE), render(graph, silent, RATE))
    only = {name: audio for name, audio in x.items() if name != "a"}
    assert torch.equal(render(muted, only, RATE), render(muted, x, RATE))


def test_stacked_sources_and_values() -> None:
    graph = two("Pan")
    x = torch.randn(2, 2, 1, 1000)
    y = Renderer(graph, RATE).render({("a", "b"): x}, {("1.pan", "2.pan"): torch.tensor([[0.1, -0.5]])})["out"]
    turned = graph.at({"1.pan": 0.1, "2.pan": -0.5})
    assert torch.equal(y, render(turned, {"a": x[:, 0], "b": x[:, 1]}, RATE))


def test_controls_are_values() -> None:
    graph = linear()
    x, renderer = sources_of(graph, batch=2), Renderer(graph, RATE)
    u = torch.rand(2, renderer.spec.size)
    values = {name: v.float() for name, v in renderer.spec.denormalize(u).items()}
    assert torch.equal(renderer(x, u)["out"], renderer.render(x, values)["out"])
    found = renderer.turned(u.requires_grad_(), 1)
    assert torch.equal(renderer(x, u)["out"][1:], render(found, {name: audio[1:] for name, audio in x.items()}, RATE))
    assert max(len(repr(value)) for node in found for value in node.values.values()) < 13


@pytest.mark.parametrize(
    ("sources", "sentence"),
    [
        ({"a": torch.zeros(1, 1, 9)}, "'b' is missing; the graph needs a, b, given: a"),
        ({"a": torch.zeros(1, 1, 9), "b": torch.zeros(1, 2, 9)}, r"'b' has 2 channel\(s\), the graph says 1"),
        ({"a": torch.zeros(1, 1, 9), "b": torch.zeros(1, 1, 8)}, "8 samples.* of 9"),
        ({"a": torch.zeros(1, 1, 9), "b": torch.zeros(2, 1, 9)}, "2 items"),
        ({"a": torch.zeros(1, 1, 9), "b": torch.zeros(1, 1, 9).double()}, "float64, another one torch.float32"),
        ({"a": torch.zeros(1, 9), "b": torch.zeros(1, 9)}, r"shape \(1, 9\); \(B, C, T\) is expected"),
        ({"a": torch.zeros(1, 1, 0), "b": torch.zeros(1, 1, 0)}, "at least one sample"),
        ({"a": [0.0], "b": [0.0]}, "'a' is list"),
        ({("a", "b"): torch.zeros(1, 3, 1, 9)}, r"\(B, 2, C, T\)"),
        ({"a": torch.zeros(1, 1, 9), "b": torch.zeros(1, 1, 9), "1": torch.zeros(1, 1, 9)}, "no source '1'"),
        ({}, "missing"),
    ],
)
def test_sources_that_do_not_fit_are_refused(sources: dict, sentence: str) -> None:
    with pytest.raises(AudioError, match=sentence):
        Renderer(two("Pan"), RATE).render(sources)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"1.level": torch.zeros(1)}, "there is no knob '1.level'"),
        ({"3.pan": torch.zeros(1)}, "there is no knob '3.pan'"),
        ({"1:out>m:in.gain_db": torch.zeros(1)}, "there is no knob '1:out>m:in.gain_db'"),  # a wire
        ({"1.pam": torch.zeros(1)}, "there is no knob '1.pam'; did you mean '1.pan'"),
        ({"1.pan": torch.zeros(3)}, r"of '1.pan' are \(3,\); allowed are \(2,\), one for each item, or \(1,\) for all"),
        ({"1.pan": torch.tensor(0.0)}, r"are \(\); allowed are \(2,\)"),
        ({"1.pan": 0.5}, "'1.pan' is 0.5; a tensor"),
        ({"1.pan": torch.zeros(2, 1, 3)}, r"\(2, 1, 3\); allowed are \(2,\)"),
        ({("1.pan", "2.pan"): torch.zeros(2, 3)}, r"'1.pan' and so on are \(2, 3\); allowed are \(2, 2\)"),
        ({("1.pan", "2.pan"): torch.zeros(2)}, r"are \(2,\); allowed are \(2, 2\)"),
    ],
)
def test_values_that_do_not_fit_are_refused(values: dict, sentence: str) -> None:
    graph = two("Pan")
    with pytest.raises(GraphError, match=sentence):
        Renderer(graph, RATE).render(sources_of(graph, batch=2), values)


def test_a_renderer_needs_a_rate_and_chunks_no_curves() -> None:
    graph = two("Pan")
    for rate in (0, -1, float("nan"), float("inf")):
        with pytest.raises(AudioError, match="sample_rate"):
            Renderer(graph, rate)
    with pytest.raises(GraphError, match="is a curve"):
        next(streamed(Renderer(graph, RATE), [sources_of(graph)], {"1.pan": torch.zeros(1, 2)}))
    whole = Graph([Node("a", "In"), Node("l", "LoudnessNormaliser"), Node("o", "Out")]).chained("a", "l", "o")
    with pytest.raises(AudioError, match="LoudnessNormaliser needs the whole signal"):
        Renderer(whole, RATE).process_chunk(sources_of(whole), None)
