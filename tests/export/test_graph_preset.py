"""Graphs as presets and back: the same samples, and a sentence for what cannot be carried."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pedalboard
import pytest
import torch

from diffmix.console import Console
from diffmix.errors import PresetError
from diffmix.export import carried, graph_of, graph_of_board, preset_of, to_pedalboard, uncarried
from diffmix.export.matrices import placement
from diffmix.graph import Graph, Renderer
from diffmix.kernels.stereo import PAN_LAWS, balance_width_matrix, pan_matrix
from diffmix.processors import REGISTRY, Convolution
from tests.sweeps import seeds

RATE = 44100


def signals(graph: Graph, kind: str = "noise", samples: int = 4000, rate: int = RATE) -> dict[str, np.ndarray]:
    """Audio (C, T) for each source."""
    rng = np.random.default_rng(7)
    t = np.arange(samples)
    made = {}
    for name in graph.sources:
        channels = graph[name].option("channels")
        x = rng.standard_normal((channels, samples)) * 0.2
        if kind == "impulse":
            x = np.eye(1, samples, 50).repeat(channels, 0) * rng.uniform(0.3, 0.9, (channels, 1))
        elif kind == "drum":  # hits that fade, a tone under them
            x = x * 0.999 ** (t % 1700) + 0.4 * np.sin(2 * np.pi * 90 / rate * t) * 0.998 ** (t % 1700)
        made[name] = x.astype(np.float32)
    return made


def rendered(graph: Graph, stems: dict[str, np.ndarray], rate: int = RATE, live: Any = None) -> np.ndarray:
    with torch.no_grad():
        sources = {name: torch.from_numpy(x)[None] for name, x in stems.items()}
        return next(iter(Renderer(graph, rate, processors=live).render(sources).values()))[0].numpy()


def assert_same(graph: Graph, kind: str = "noise", rate: int = RATE, live: Any = None) -> dict[str, Any]:
    """The preset of a graph, after checking that it, and the graph that it becomes, play what the graph renders."""
    preset = preset_of(graph, rate, processors=live)
    stems = signals(graph, kind, rate=rate)
    expected = rendered(graph, stems, rate, live)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_array_equal(to_pedalboard(preset).render(stems), expected)
    back, effects = graph_of(preset)
    heard = {name: stems[name] for name in back.sources}
    np.testing.assert_array_equal(rendered(back, heard, rate, effects), expected)
    np.testing.assert_array_equal(to_pedalboard(preset_of(back, rate, processors=effects)).render(stems), expected)
    return preset


def desk() -> Graph:
    """Two mono tracks and a stereo one, a group, two returns, a master."""
    g = Graph().add("vox", "In", channels=1).add("bass", "In", channels=1).add("keys", "In")
    g = g.add("vox.hp", "HighpassFilter", {"cutoff_frequency_hz": 90})
    g = g.add("vox.eq", "ParametricEQ", {"peak1_gain_db": 4})
    g = g.add("vox.comp", "Compressor", {"threshold_db": -24, "ratio": 3}).add("vox.fader", "Gain", {"gain_db": -2.3})
    g = g.add("vox.pan", "Pan", {"pan": -0.3}).add("bass.gate", "NoiseGate", {"threshold_db": -30})
    g = g.add("bass.pan", "Pan", law="linear").add("keys.image", "BalanceWidth", {"balance": 0.2, "width": 1.3})
    g = g.add("keys.chorus", "Chorus").add("verb", "Reverb", {"dry_level": 0})
    g = g.add("echo", "Delay", {"delay_seconds": 0.02}).add("group", "Sum")
    g = g.add("group.comp", "Compressor", {"threshold_db": -18, "ratio": 2}).add("master in", "Sum")
    g = g.add("master.eq", "PeakFilter", {"gain_db": 2}).add("master.gain", "Gain", {"gain_db": -3}).add("out", "Out")
    g = g.chained("vox", "vox.hp", "vox.eq", "vox.comp", "vox.fader", "vox.pan", "group")
    g = g.chained("bass", "bass.gate", "bass.pan", "group", "group.comp").chained("keys", "keys.chorus", "keys.image")
    for track, level in (("vox.pan", -12), ("bass.pan", -30), ("keys.image", -15.5)):
        g = g.connect(track, "verb", level)
    g = g.connect("vox.pan", "echo", -9).connect("echo", "verb", -6).connect("group.comp", "master in")
    g = g.connect("keys.image", "master in").connect("echo", "master in", -1.5).connect("verb", "master in")
    return g.chained("master in", "master.eq", "master.gain", "out")


@pytest.mark.parametrize("rate", [44100, 48000])
@pytest.mark.parametrize("kind", ["noise", "impulse", "drum"])
def test_a_desk_is_carried_to_the_last_bit(kind: str, rate: int) -> None:
    preset = assert_same(desk(), kind, rate)
    names = [node["name"] for node in preset["nodes"]]
    assert sorted(names) == ["bass", "echo", "group", "keys", "master", "verb", "vox"]
    assert preset["output"] == names[-1] == "master"
    vox = next(node for node in preset["nodes"] if node["name"] == "vox")
    assert [p["type"] for p in vox["plugins"]][:2] == ["HighpassFilter", "LowShelfFilter"]
    assert vox["source"] == {"files": ["vox.wav"], "channels": 1}
    verb = next(node for node in preset["nodes"] if node["name"] == "verb")
    assert {each["from"]: each["gain_db"] for each in verb["inputs"]} == {
        "vox": -12,
        "bass": -30,
        "keys": -15.5,
        "echo": -6,
    }


@pytest.fixture(scope="module")
def console() -> tuple[Graph, dict[str, int], dict[str, np.ndarray], np.ndarray]:
    """A console at random controls as a graph, its tracks and their audio, and its own mix."""
    desk, channels = Console(RATE), {"vox": 1, "master": 1, "keys": 2}
    controls = desk.sample(1, 3, torch.Generator().manual_seed(3))
    settings = desk.settings(controls, list(channels), list(channels.values()))
    graph = desk.to_graph(channels, settings)
    stems = {name: signals(Graph().add(name, "In", channels=n), "drum")[name] for name, n in channels.items()}
    mono = torch.from_numpy(np.stack([stems["vox"], stems["master"]]))[None]
    with torch.no_grad():
        mix = desk.mix((mono, torch.from_numpy(stems["keys"])[None, None]), desk.numbers(settings))[0].numpy()
    return graph, channels, stems, mix


def test_a_console_is_carried_as_its_tracks_buses_and_master(console: Any) -> None:
    graph, channels, stems, mix = console
    sources = {name: ((f"a/{name}.wav",), count) for name, count in channels.items()}
    preset = preset_of(graph, RATE, sources)
    assert [node["name"] for node in preset["nodes"]] == ["vox", "master", "keys", "reverb", "master_"]
    assert preset["nodes"][0]["source"] == {"files": ["vox.wav"], "channels": 1}
    np.testing.assert_array_equal(to_pedalboard(preset).render(stems), mix)
    with pytest.raises(PresetError, match=r"Source 'vox' has 2 channel\(s\), in the graph it has 1\."):
        preset_of(graph, RATE, {**sources, "vox": ((), 2)})


def test_a_consoles_preset_comes_back(console: Any) -> None:
    graph, _, stems, mix = console
    preset = preset_of(graph, RATE)
    back, effects = graph_of(preset)
    assert effects == {}
    assert {"vox.compressor", "vox.pan", "keys.balance_width", "reverb.reverb", "master_.gain"} <= set(back.nodes)
    assert back["vox.pan"].setting("pan") == pytest.approx(graph["vox.pan"].setting("pan"), rel=1e-6)
    np.testing.assert_array_equal(rendered(back, stems), mix)
    assert preset_of(back, RATE) == preset


def twins() -> list[str]:
    """Every effect that says it is a plugin of Pedalboard's."""
    return sorted(
        name for name, kind in REGISTRY.items() if kind.pedalboard and kind.__module__.startswith("diffmix.proc")
    )


@pytest.mark.parametrize("kind", twins())
def test_every_twin_is_carried_both_ways(kind: str) -> None:
    for channels, rate in ((1, 48000), (2, 44100)):
        rng = random.Random(f"{kind}{channels}")
        values = {}
        for knob, p in Graph().add("x", kind)["x"].params.items():
            u = rng.uniform(0.2, 0.8)
            values[knob] = p.low * (p.high / p.low) ** u if p.scale == "log" else p.low + (p.high - p.low) * u
        if kind == "Delay":
            values["delay_seconds"] = 0.0213
        g = Graph().add("x", "In", channels=channels).add("a", kind, values).add("b", kind, values).add("out", "Out")
        g = g.add("place", "Pan" if channels == 1 else "Imager").chained("x", "a", "b", "place", "out")
        preset = preset_of(g, rate)
        stems = signals(g, rate=rate)
        expected, played = rendered(g, stems, rate), to_pedalboard(preset).render(stems)
        back, effects = graph_of(preset)
        again = rendered(back, stems, rate, effects)
        np.testing.assert_array_equal(again, expected)
        if kind == "Convolution":  # a transform of another size rounds otherwise
            assert sorted(effects) == ["x.convolution", "x.convolution_2"]
            assert np.abs(played - expected).max() < 1e-6
        else:
            assert effects == {}
            np.testing.assert_array_equal(played, expected)
        assert preset_of(back, rate, processors=effects) == preset


def random_graph(seed: int) -> Graph:
    """Twins, matrices, forks, sums and sends in any order, without what cannot be carried."""
    rng = random.Random(seed)
    g = Graph()
    open_ends: list[tuple[str, int]] = []
    for n in range(rng.randint(1, 3)):
        g = g.add(f"in{n}", "In", channels=(c := rng.choice((1, 2))))
        open_ends.append((f"in{n}", c))
    kinds = ["Gain", "PeakFilter", "Compressor", "Chorus", "Clipping", "Invert", "Delay", "Bitcrush", "Reverb"]
    for n in range(rng.randint(3, 16)):
        (end, channels), name = rng.choice(open_ends[-4:]), f"n{n}"
        what = rng.choice([*kinds, "place", "sum", "sum", "split"])
        if what == "place":
            kind, values = rng.choice(
                [("BalanceWidth", {"balance": round(rng.uniform(-1, 1), 2), "width": round(rng.uniform(0, 2), 2)})]
                if channels == 2
                else [("Pan", {"pan": round(rng.uniform(-1, 1), 3)})]
            )
            g, channels = g.add(name, kind, values).chained(end, name), 2
        elif what == "sum":
            g = g.add(name, "Sum")
            alike = [e for e, c in open_ends if c == channels]
            for other in rng.sample(alike, rng.randint(1, len(alike))):
                g = g.connect(other, name, rng.choice([None, None, round(rng.uniform(-20, 6), 1)]))
        elif what == "split" and channels == 2:
            g = g.add(f"{name}s", "MidSideSplit").add(f"{name}m", "Gain").add(name, "MidSideMerge")
            g = g.chained(end, f"{name}s", f"{name}m", name).connect(
                f"{name}s:side", f"{name}:side", rng.choice([None, 3])
            )
        elif what == "split":
            continue
        else:
            values = {"delay_seconds": 0.01} if what == "Delay" else {}
            g = g.add(name, what, values).connect(end, name, rng.choice([None, None, -4.5]))
        open_ends.append((name, channels))
    g = g.add("bus", "Sum").add("out", "Out").chained("bus", "out")
    for end, channels in rng.sample(open_ends, min(len(open_ends), 5)):
        if channels == 1:
            g, end = g.add(f"{end}.pan", "Pan", {"pan": 0.1}).chained(end, f"{end}.pan"), f"{end}.pan"
        g = g.connect(end, "bus", rng.choice([None, -6.0]))
    return g


@pytest.mark.parametrize("seed", seeds(12, 25))
def test_any_graph_of_twins_is_carried_to_the_last_bit(seed: int) -> None:
    assert_same(random_graph(seed), ["noise", "impulse", "drum"][seed % 3], [44100, 48000][seed % 2])


def test_sums_that_want_opposite_orders_each_get_theirs() -> None:
    g = Graph().add("out", "Out")
    tracks = [f"t{n}" for n in range(4)]
    for name in tracks:
        g = g.add(name, "In").add(f"{name}.gain", "Gain", {"gain_db": 0.3}).chained(name, f"{name}.gain")
    for bus, order in (("forth", tracks), ("back", tracks[::-1])):
        g = g.add(bus, "Sum").add(f"{bus}.clip", "Clipping").chained(bus, f"{bus}.clip", "out")
        for n, name in enumerate(order):
            g = g.connect(f"{name}.gain", bus, -1.7 * n)
    preset = assert_same(g)
    names = [node["name"] for node in preset["nodes"]]
    assert names == ["t0", "t1", "t2", "t3", "forth", "t1 to back", "t0 to back", "back", "out"]


def test_what_follows_a_matrix_is_another_node() -> None:
    g = Graph().add("x", "In", channels=1).add("x.pan", "Pan", {"pan": 0.4}).add("x.room", "Reverb")
    g = g.add("x.image", "Imager", {"width": 0.3}).add("x.image2", "Imager", {"width": 1.4}).add("out", "Out")
    preset = assert_same(g.chained("x", "x.pan", "x.room", "x.image", "x.image2", "out"))
    assert [node["name"] for node in preset["nodes"]] == ["x", "x.room", "x.image2"]
    assert [[p["type"] for p in node["plugins"]] for node in preset["nodes"]] == [[], ["Reverb"], []]


def test_middle_and_side_are_taken_apart_and_joined() -> None:
    g = Graph().add("keys", "In").add("ms", "MidSideSplit").add("mid.eq", "PeakFilter", {"gain_db": -3})
    g = g.add("side.eq", "HighShelfFilter", {"gain_db": 4}).add("lr", "MidSideMerge").add("lr.gain", "Gain")
    g = g.add("out", "Out").chained("keys", "ms", "mid.eq", "lr", "lr.gain", "out")
    g = g.connect("ms:side", "side.eq").connect("side.eq", "lr:side", 1.5)
    preset = assert_same(g)
    back = graph_of(preset).graph
    assert [node.kind for node in back].count("MidSideSplit") == 1
    assert [node.kind for node in back].count("MidSideMerge") == 1


def test_a_board_ends_behind_what_is_late() -> None:
    """Pedalboard makes up for latency at the end of a board: a chorus on it would swing elsewhere in the audio."""
    g = Graph().add("x", "In").add("x.limiter", "BrickwallLimiter", {"ceiling_db": -12}).add("x.chorus", "Chorus")
    preset = assert_same(g.add("out", "Out").chained("x", "x.limiter", "x.chorus", "out"))
    assert [[p["type"] for p in node["plugins"]] for node in preset["nodes"]] == [["BrickwallLimiter"], ["Chorus"]]
    assert preset["pedalboard"] == ">=0.9.26"


def test_an_impulse_response_comes_beside_the_graph() -> None:
    rng = np.random.default_rng(0)
    room = Convolution(RATE, impulse_response=rng.standard_normal((2, 900)) * 0.99 ** np.arange(900))
    g = Graph().add("x", "In").add("room", "Convolution", {"mix": 0.4}).add("out", "Out").chained("x", "room", "out")
    preset = preset_of(g, RATE, processors={"room": room})
    back, effects = graph_of(preset)
    assert list(effects) == ["x.convolution"]
    assert torch.equal(effects["x.convolution"].impulse_response, room.impulse_response)
    stems = signals(g)
    np.testing.assert_array_equal(rendered(back, stems, live=effects), rendered(g, stems, live={"room": room}))
    assert preset_of(back, RATE, processors=effects) == preset


# What cannot be carried


def loose() -> Graph:
    """A side chain, a modulation, a feedback, look-ahead, a knee, and what Pedalboard does not have."""
    g = Graph().add("vox", "In", channels=1).add("kick", "In", channels=1).add("eq", "PeakFilter", {"gain_db": 3})
    g = g.add("duck", "KneeCompressor", {"knee_db": 0}).add("soft", "KneeCompressor", lookahead_ms=5, link=False)
    g = g.add("pan", "Pan").add("lfo", "LFO", channels=1).add("echo", "FilteredDelay").add("mix", "Sum")
    g = g.add("back", "Feedback", delay_ms=30).add("back.hp", "HighpassFilter").add("out", "Out")
    g = g.chained("vox", "eq", "duck", "soft", "pan", "echo", "mix", "out").connect("kick", "duck:side_chain")
    return g.connect("lfo", "pan:pan", amount=0.5).chained("mix", "back", "back.hp").connect("back.hp", "mix", -6)


REASONS = {
    "lfo": "LFO cannot be carried into Pedalboard: it has no control signals",
    "duck": "it listens to 'kick', and Pedalboard's plugins have no side chain",
    "soft": "KneeCompressor cannot be carried into Pedalboard, which lacks a knee of 6 dB (0 dB can be), look-ahead",
    "echo": "FilteredDelay cannot be carried into Pedalboard: its Delay has no filter in the loop",
    "back": "a preset plays each node once and in order, so that nothing can be fed back",
}


def test_all_that_cannot_be_carried_is_named_with_its_reason() -> None:
    reasons = uncarried(loose())
    assert reasons.keys() == REASONS.keys()
    for name, reason in REASONS.items():
        assert reason in reasons[name]
    assert "it moves pan of 'pan', and in a preset knobs stand still" in reasons["lfo"]
    with pytest.raises(PresetError) as caught:
        preset_of(loose(), RATE)
    text = str(caught.value)
    assert all(f"node {name!r}: {reason}" in text for name, reason in reasons.items())
    assert text.endswith(".")
    assert "\n" not in text
    assert uncarried(desk()) == {}


def test_what_cannot_be_carried_may_be_left_out() -> None:
    graph, left_out = carried(loose())
    assert left_out.keys() == REASONS.keys() | {"back.hp"}
    assert left_out["back.hp"] == "it hears nothing without the others"
    assert set(graph.nodes) == {"vox", "kick", "eq", "pan", "mix", "out"}
    assert_same(graph.removed("kick"))
    assert carried(desk()) == (desk(), {})


def test_what_divides_a_signal_cannot_be_left_out() -> None:
    g = Graph().add("x", "In").add("bands", "Crossover").add("out", "Out").chained("x", "bands", "out")
    for outlet in g["bands"].outlets[1:]:
        g = g.connect(f"bands:{outlet.name}", "out")
    with pytest.raises(PresetError, match="nor without these nodes: node 'bands': Crossover cannot be carried"):
        carried(g)
    osc = (
        Graph()
        .add("x", "In")
        .add("lfo", "LFO", channels=1)
        .add("follow", "MidSideSplit")
        .add("pan", "Pan")
        .add("out", "Out")
    )
    osc = osc.chained("x", "follow", "pan", "out").connect("lfo", "pan:pan")
    assert set(carried(osc)[0].nodes) == {"x", "follow", "pan", "out"}


def test_values_that_pedalboard_refuses_are_named() -> None:
    g = Graph().add("x", "In").add("lp", "LowpassFilter", {"cutoff_frequency_hz": 15000}).add("out", "Out")
    g = g.chained("x", "lp", "out")
    assert uncarried(g) == {}
    assert "cutoff_frequency_hz is 15000" in uncarried(g, 22050)["lp"]


def test_one_output_in_stereo_is_exported() -> None:
    g = (
        Graph()
        .add("x", "In")
        .add("a", "Gain")
        .add("b", "LFO", channels=1)
        .add("pan", "Pan")
        .add("mono", "In", channels=1)
    )
    g = g.add("main", "Out").add("cue", "Out").chained("x", "a", "main").chained("mono", "pan", "cue")
    g = g.connect("b", "pan:pan")
    with pytest.raises(PresetError, match="has the outputs main, cue; a preset has one: choose it by name"):
        preset_of(g, RATE)
    with pytest.raises(PresetError, match="no output 'aux'; it has main, cue"):
        preset_of(g, RATE, output="aux")
    assert [node["name"] for node in preset_of(g, RATE, output="main")["nodes"]] == ["x"]
    assert uncarried(g, output="main") == {}
    assert list(uncarried(g, output="cue")) == ["b"]
    mono = Graph().add("x", "In", channels=1).add("out", "Out").chained("x", "out")
    with pytest.raises(PresetError, match="'out': it has one channel and the output of a preset two; a Pan makes"):
        preset_of(mono, RATE)


def test_names_that_are_taken_get_an_underscore() -> None:
    g = Graph().add("verb", "In").add("verb.room", "Reverb").add("out", "Out").add("verb.dry", "Gain")
    g = (
        g.connect("verb", "verb.dry")
        .connect("verb.dry", "out")
        .connect("verb", "verb.room", -3)
        .chained("verb.room", "out")
    )
    assert [node["name"] for node in assert_same(g)["nodes"]] == ["verb", "verb.dry", "verb.room", "out"]


# Back


@pytest.mark.parametrize("law", PAN_LAWS)
def test_pans_are_found_in_their_matrices(law: str) -> None:
    rng = np.random.default_rng(0)
    for pan in (*np.round(rng.uniform(-1, 1, 30), 2), *rng.uniform(-1, 1, 60), -1, 1, 0, 1e-3, 0.9999):
        one = torch.tensor([pan], dtype=torch.float32)
        kind, values, options = placement(pan_matrix(one, law)[0].tolist())
        assert kind == "Pan"
        found = pan_matrix(
            torch.tensor([values.get("pan", 0)], dtype=torch.float32), options.get("law", "constant power")
        )
        np.testing.assert_array_equal(found[0].float(), pan_matrix(one, law)[0].float())
        if pan == round(pan, 2) and options.get("law", "constant power") == law:
            assert values.get("pan", 0) == pan


def test_balance_and_width_are_found_in_their_matrices() -> None:
    rng = np.random.default_rng(0)
    for n in range(150):
        balance, width = rng.uniform(-1, 1) ** (1 + 2 * (n % 2)), rng.uniform(0, 2)
        if n % 3 == 0:
            balance, width = round(balance, 2), round(width, 2)
        knobs = [torch.tensor([v], dtype=torch.float32) for v in (balance, width)]
        kind, values, _ = placement(balance_width_matrix(*knobs)[0].tolist())
        assert kind == "BalanceWidth"
        again = [torch.tensor([v], dtype=torch.float32) for v in (values.get("balance", 0), values.get("width", 1))]
        np.testing.assert_array_equal(balance_width_matrix(*again)[0].float(), balance_width_matrix(*knobs)[0].float())
        if n % 3 == 0:
            assert (values.get("balance", 0), values.get("width", 1)) == (balance, width)
    assert placement([[1, 0], [0, 1]]) == ("BalanceWidth", {}, {})


def test_matrices_and_values_that_no_effect_has_are_named() -> None:
    preset = preset_of(desk(), RATE)
    nodes = {node["name"]: node for node in preset["nodes"]}
    nodes["vox"]["matrix"] = [[1], [-1]]
    nodes["keys"]["matrix"] = [[0, 1], [1, 0]]
    nodes["vox"]["plugins"][-1]["params"]["gain_db"] = 120
    nodes["verb"]["inputs"][0]["gain_db"] = 60
    with pytest.raises(PresetError) as caught:
        graph_of(preset)
    for sentence in (
        "node 'vox': the matrix [[1], [-1]] is no Pan, no BalanceWidth and no mid/side split or merge",
        "node 'keys': the matrix [[0, 1], [1, 0]] is no Pan",
        "node 'vox.gain': gain_db = 120 dB, allowed -100..60 dB",
        "node 'verb': gain_db from 'vox' is 60 dB, allowed -120..40 dB",
    ):
        assert sentence in str(caught.value)


@pytest.mark.parametrize("broken", [{}, {"format": "diffmix-preset"}, [], None])
def test_malformed_presets_are_refused(broken: Any) -> None:
    with pytest.raises(PresetError):
        graph_of(broken)


def test_a_node_may_hear_another_one_twice(tmp_path: Path) -> None:
    preset = preset_of(desk(), RATE)
    (tmp_path / "preset.json").write_text(json.dumps(preset), encoding="utf-8")
    assert graph_of(tmp_path / "preset.json").graph == graph_of(preset).graph
    master = preset["nodes"][-1]
    master["inputs"] += [{"from": "keys", "gain_db": -3.0}, {"from": "vox", "gain_db": -150.0}]
    graph = graph_of(preset).graph
    stems = signals(graph)
    np.testing.assert_array_equal(rendered(graph, stems), to_pedalboard(preset).render(stems))


# Live boards


def test_a_live_board_becomes_a_graph() -> None:
    ladder = pedalboard.LadderFilter(pedalboard.LadderFilter.Mode.HPF24, 300, 0.2, 1.5)
    wet = pedalboard.Chain([pedalboard.Delay(0.01, 0.3, 1.0), pedalboard.Gain(-6)])
    mix = pedalboard.Mix([pedalboard.Chain([]), wet, pedalboard.Chain([]), ladder])
    board = pedalboard.Pedalboard(
        [pedalboard.Gain(-200), pedalboard.Mix([]), pedalboard.PeakFilter(500, 3), pedalboard.PeakFilter(900, -3)]
    )
    board = pedalboard.Pedalboard([*list(board)[2:], mix, pedalboard.Reverb(freeze_mode=0.3), pedalboard.Gain(-1.5)])
    graph, effects = graph_of_board(board)
    assert [node.name for node in graph] == [
        *(
            "in",
            "peak_filter",
            "peak_filter_2",
            "delay",
            "gain",
            "dry",
            "ladder_filter",
            "mix",
            "reverb",
            "gain_2",
            "out",
        ),
    ]
    assert graph["ladder_filter"].options == {"mode": "HPF24"}
    stems = signals(graph)
    np.testing.assert_array_equal(rendered(graph, stems, live=effects), board(stems["in"], RATE, reset=True))
    silent = graph_of_board(pedalboard.Pedalboard([pedalboard.Gain(-200), pedalboard.Mix([])])).graph
    assert not rendered(silent, stems).any()


def test_one_live_plugin_becomes_a_graph_in_mono() -> None:
    graph = graph_of_board(pedalboard.Distortion(12), 48000, channels=1).graph
    stems = signals(graph, rate=48000)
    assert graph["in"].option("channels") == 1
    np.testing.assert_array_equal(rendered(graph, stems, 48000), pedalboard.Distortion(12)(stems["in"], 48000))
    room = np.random.default_rng(0).standard_normal((2, 300)).astype(np.float32)
    effects = graph_of_board(pedalboard.Convolution(room, 0.5, RATE)).processors
    assert np.array_equal(effects["convolution"].impulse_response, room)


def test_live_plugins_that_cannot_be_effects_are_named() -> None:
    class Unknown(pedalboard.Gain):
        """As a VST3 file is one."""

    unknown, limiter = Unknown(), pedalboard.BrickwallLimiter()
    limiter.true_peak = True
    board = pedalboard.Pedalboard([pedalboard.Delay(9.0), limiter, pedalboard.Mix([unknown])])
    with pytest.raises(PresetError) as caught:
        graph_of_board(board)
    with pytest.raises(PresetError, match="is expected, got Pedalboard; `graph_of_board` reads live plugins"):
        graph_of(board)
    for sentence in (
        "node 'delay': delay_seconds = 9 s, allowed 0.001..5 s",
        "plugin 2: BrickwallLimiter with true_peak has no twin here",
        "plugin 3: Unknown is none of the plugins that have a twin here",
    ):
        assert sentence in str(caught.value)


def test_black_boxes_come_back_as_themselves() -> None:
    board = pedalboard.Pedalboard(
        [pedalboard.Resample(12000, pedalboard.Resample.Quality.Linear), pedalboard.PitchShift(3)]
    )
    graph = graph_of_board(board).graph
    assert [node.kind for node in graph] == ["In", "Resample", "PitchShift", "Out"]
    assert graph["resample"].options == {"quality": "Linear"}
    assert len(assert_same(graph)["nodes"]) == 2  # each on a board of its own


def test_more_nodes_than_a_graph_holds_are_refused() -> None:
    node = {"name": "x", "source": {"files": ["x.wav"], "channels": 2}, "inputs": [], "plugins": []}
    node["plugins"] = [{"type": "Invert", "params": {}}] * 10_000
    head = {"format": "diffmix-preset", "version": 1, "generator": "test", "pedalboard": ">=0.9.16"}
    with pytest.raises(PresetError, match=r"This cannot be a graph: 10002 nodes are too many"):
        graph_of({**head, "sample_rate": RATE, "output": "x", "nodes": [node]})
