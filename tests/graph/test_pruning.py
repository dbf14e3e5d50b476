"""Graphs fitted to a target and pruned: excerpts, where knobs begin, what may go, what is found of a truth."""

import pytest
import torch
from torch import Tensor

from diffmix import Graph
from diffmix.errors import GraphError
from diffmix.graph import fitting, render
from diffmix.graph.fitting import Excerpts, fit_anew, fit_graph, opened, retimed
from diffmix.graph.inaudible import difference_db
from diffmix.graph.pruning import candidates, prune_graph, without

RATE = 16_000

WHOLE = Graph.from_text("""
    kick: in(1) > kick.eq=ParametricEQ > kick.comp=Compressor > kick.fader=gain(0dB) > kick.pan=pan > mix
    vox:  in(1) > vox.eq=ParametricEQ > vox.comp=Compressor > vox.fader=gain(0dB) > vox.pan=pan > mix
    vox.pan -> hall(-60dB)
    hall: sum > hall.verb=verb(dry_level=0, wet_level=0.5) > mix
    mix: sum > master=gain(0dB) > wide=balance > out
""")
TRUTH = Graph.from_text("""
    kick: in(1) > kick.fader=gain(-7dB) > kick.pan=pan > mix
    vox:  in(1) > vox.comp=Compressor(4:1, -24dB, 5ms, 60ms) > vox.pan=pan > mix
    mix: sum > wide=balance > out
""")


def sources(seconds: float = 2.0, rows: int = 1) -> dict[str | tuple[str, ...], Tensor]:
    """Hits and a swelling tone over noise, mono."""
    generator = torch.Generator().manual_seed(3)
    t = torch.arange(round(seconds * RATE)) / RATE
    kick = torch.sin(2 * torch.pi * 80 * t) * torch.exp(-12 * (t % 0.5))
    vox = torch.sin(2 * torch.pi * 330 * t) * (0.2 + 0.8 * torch.sin(2 * torch.pi * 1.3 * t).square())
    noise = 0.02 * torch.randn(2, len(t), generator=generator)
    tracks = {"kick": 0.5 * kick + noise[0], "vox": 0.4 * vox + noise[1]}
    return {name: x.expand(rows, 1, -1) for name, x in tracks.items()}


def heard_of(graph: Graph, seconds: float = 2.0) -> Excerpts:
    tracks = sources(seconds)
    return Excerpts.of(tracks, render(graph, tracks, RATE), RATE, [0, RATE // 2], RATE, RATE // 4)


def away_db(graph: Graph, heard: Excerpts) -> float:
    with torch.no_grad():
        y = render(graph, heard.sources, RATE)
    return difference_db(y[..., heard.warm_up :], heard.target[..., heard.warm_up :])


def test_excerpts_begin_before_what_is_compared_and_are_silent_around_the_song() -> None:
    x = torch.arange(1.0, 11.0)[None, None]
    heard = Excerpts.of({"a": x}, x.expand(1, 2, -1), RATE, [0, 4, 8], length=4, warm_up=2)
    rows = [[0, 0, 1, 2, 3, 4], [3, 4, 5, 6, 7, 8], [7, 8, 9, 10, 0, 0]]
    assert heard.sources["a"][:, 0].tolist() == rows
    assert heard.target[:, 1].tolist() == rows
    assert len(heard) == 3
    assert heard.some([2, 0]).sources["a"][:, 0].tolist() == [rows[2], rows[0]]


def test_what_does_nothing_is_opened_and_what_is_set_or_locked_stays() -> None:
    set_ = WHOLE.turned("kick.comp", threshold_db=-12, ratio=3)
    found = opened(set_, sources(), RATE)
    assert found["kick.comp"] == set_["kick.comp"]
    assert -40 < found["vox.comp"].setting("threshold_db") < -6
    assert found["vox.comp"].setting("ratio") == 3
    assert found.out_of("vox.pan")[1].gain_db == -24
    gentle = opened(WHOLE.replaced("vox.comp", ranges={"ratio": (1, 2)}), sources(), RATE)
    assert gentle["vox.comp"].setting("ratio") == 2
    locked = {"vox.comp.threshold_db", "vox.pan:out>hall:in.gain_db"}
    held = opened(WHOLE, sources(), RATE, locked)
    assert held["vox.comp"].setting("threshold_db") == 0
    assert held["vox.comp"].setting("ratio") == 3
    assert held.out_of("vox.pan")[1].gain_db == -60
    assert held["kick.comp"].setting("threshold_db") < -6


def test_candidates_are_effects_sends_and_sources_and_what_is_not_fed_goes_with_them() -> None:
    stages = ("eq", "comp", "fader", "pan")
    names = [*(f"{track}.{stage}" for track in ("kick", "vox") for stage in stages), "hall.verb", "master", "wide"]
    send = "vox.pan:out>hall:in"
    assert candidates(WHOLE) == [*names, send, "kick", "vox"]
    locked = candidates(WHOLE, ["vox.eq.peak1_q", f"{send}.gain_db"])
    held = {"vox.eq", "vox", "vox.pan", send}  # nor may go what a locked effect hears, or a cable hangs on
    assert locked == [name for name in candidates(WHOLE) if name not in held]
    less = without(WHOLE, send)
    assert less is not None
    assert {"hall", "hall.verb"} & set(less.nodes) == set()
    less = without(WHOLE, "kick")
    assert less is not None
    assert less.sources == ("vox",)
    assert {f"kick.{stage}" for stage in stages} & set(less.nodes) == set()
    assert without(WHOLE, "a>b") is None
    mono = Graph.from_text("a: in(1) > pan > out")
    assert without(mono, "pan") is None  # one channel would come out
    assert without(Graph.from_text("a: in > gain(-3dB) > out"), "a") is None


def test_knobs_are_found_and_locked_ones_stay_and_twice_is_the_same() -> None:
    heard = heard_of(TRUTH)
    graph = TRUTH.turned("kick.fader", gain_db=0).turned("vox.comp", threshold_db=-15, ratio=2)
    steps: list[int] = []
    found = fit_graph(graph, heard, steps=40, progress=lambda step, loss: steps.append(step))
    assert steps == list(range(1, 41))
    assert found["kick.fader"].setting("gain_db") == pytest.approx(-7, abs=0.5)
    assert away_db(found, heard) < 0.15 * away_db(graph, heard)
    held = fit_graph(graph, heard, steps=3, locked={"kick.fader.gain_db"})
    assert held["kick.fader"] == graph["kick.fader"]
    assert held["vox.comp"] != graph["vox.comp"]
    assert fit_graph(graph, heard, steps=3) == fit_graph(graph, heard, steps=3)


def test_echoes_are_found_where_descent_leads_to_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "ECHO_S", 0.24)
    late = Graph.from_text("a: in(1) > delay(230ms, feedback=0.3, mix=0.4) > pan > out")
    tracks = {"a": sources(0.6)["kick"]}
    heard = Excerpts.of(tracks, render(late, tracks, RATE), RATE, [0], RATE // 2, 0)
    other = late.turned("a.delay", delay_seconds=0.4)
    assert retimed(other, heard)["a.delay"].setting("delay_seconds") == pytest.approx(0.23, abs=1e-4)
    assert retimed(other, heard, {"a.delay.delay_seconds"}) == other
    assert fit_graph(other, heard, steps=1)["a.delay"].setting("delay_seconds") == 0.4
    steps: list[int] = []
    found = fit_anew(other, heard, steps=5, progress=lambda step, loss: steps.append(step))
    assert steps == [1, 2, 3, 4, 5]
    assert found["a.delay"].setting("delay_seconds") == pytest.approx(0.23, abs=0.002)


def test_what_is_not_missed_goes_and_what_a_person_locked_stays() -> None:
    heard = heard_of(TRUTH)
    known = WHOLE.turned("kick.fader", gain_db=-7).turned(
        "vox.comp", threshold_db=-24, ratio=4, attack_ms=5, release_ms=60
    )
    known = known.turned("kick.eq", peak1_gain_db=0.01)
    found = prune_graph(known, heard, within_db=0.05, refit=1)
    assert set(found.graph.nodes) == {*TRUTH.nodes} - {"wide"}
    assert {"kick.eq", "kick.comp", "vox.eq", "vox.fader", "master", "wide"} <= set(found.removed)
    assert found.away_db <= found.whole_db + 0.05
    assert found.away_db == pytest.approx(away_db(found.graph, heard), abs=1e-4)
    assert found.trials > len(found.removed)
    kept = prune_graph(known, heard, within_db=0.05, refit=1, locked={"master.gain_db"})
    assert "master" in kept.graph


def test_what_is_missed_a_little_more_than_is_allowed_stays() -> None:
    truth = TRUTH.turned("kick.fader", gain_db=-0.3)
    heard = heard_of(truth)
    less = without(truth, "kick.fader")
    assert less is not None
    missed_db = away_db(less, heard)
    assert 0.02 < missed_db < 0.5
    kept = prune_graph(truth, heard, within_db=0.7 * missed_db, refit=1)
    assert "kick.fader" in kept.graph
    gone = prune_graph(truth, heard, within_db=1.5 * missed_db, refit=1)
    assert "kick.fader" in gone.removed


def test_bands_that_do_nothing_become_flat() -> None:
    graph = Graph.from_text("a: in(1) > eq=ParametricEQ(peak2_gain=-9dB) > pan > out")
    tracks = {"a": sources()["vox"]}
    heard = Excerpts.of(tracks, render(graph, tracks, RATE), RATE, [0], 2 * RATE, 0)
    messy = graph.turned("eq", peak1_gain_db=0.05, peak1_q=2, high_shelf_gain_db=-0.03)
    found = prune_graph(messy, heard, within_db=0.05, refit=1).graph["eq"]
    assert {knob for knob in found.params if knob.endswith("gain_db") and found.setting(knob)} == {"peak2_gain_db"}
    assert not any(knob.startswith(("peak1_", "high_shelf_")) for knob in found.values)  # nor are they printed


def test_a_graph_that_breaks_a_rule_is_refused() -> None:
    heard = heard_of(TRUTH)
    with pytest.raises(GraphError):
        fit_graph(WHOLE.removed("kick.eq"), heard, steps=1)
