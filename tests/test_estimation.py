"""From tracks and their mix to a graph: the call, the command, what is written, and what is refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import diffmix
from diffmix import Graph
from diffmix.cli import main
from diffmix.data.audio import read, write_wav
from diffmix.errors import AudioError, GraphError, OutputError, SettingsError
from diffmix.graph import render
from tests.graph.test_pruning import RATE, TRUTH, sources

LAYOUT: dict[str, Any] = {
    "strip": {"compressor": "Compressor"},
    "sends": {},
    "buses": {},
    "master": {"eq": "ParametricEQ"},
}


@pytest.fixture(scope="module")
def tracks() -> dict[str, np.ndarray]:
    return {str(name): x[0].numpy() for name, x in sources().items()}


@pytest.fixture(scope="module")
def mix() -> np.ndarray:
    found: np.ndarray = render(TRUTH, sources(), RATE)[0].numpy()
    return found


@pytest.fixture(scope="module")
def estimate(tracks: dict[str, np.ndarray], mix: np.ndarray) -> diffmix.Estimate:
    said: list[tuple[str, float]] = []
    found = diffmix.estimate_graph(
        tracks, mix, LAYOUT, sample_rate=RATE, steps=60, progress=lambda what, done: said.append((what, done))
    )
    assert [done for _, done in said] == sorted(done for _, done in said)
    assert said[-1] == ("done", 1.0)
    assert {"reading", "fitting", "trying", "rendering"} <= {what for what, _ in said}
    return found


def test_the_effects_of_a_mix_are_found_again(estimate: diffmix.Estimate, mix: np.ndarray) -> None:
    assert {"kick.fader", "vox.compressor"} <= set(estimate.graph.nodes)
    assert {"kick.compressor", "master.eq"} <= set(estimate.removed)
    assert estimate.graph["kick.fader"].setting("gain_db") == pytest.approx(-7, abs=0.6)
    assert estimate.away_db <= estimate.whole_db + 0.1
    assert estimate.away_db < 0.1 * estimate.plain_db
    assert estimate.audio.shape == mix.shape
    assert 20 * np.log10(np.abs(estimate.audio - mix).mean() / np.abs(mix).mean()) < -15
    with torch.no_grad():
        again = render(estimate.graph, estimate.sources, RATE)[0]
    assert np.array_equal(again.numpy(), estimate.audio)
    assert estimate.audible_db["vox.compressor"] > 0.5
    assert "effects and sends are needed" in str(estimate)


def test_everything_is_written_and_plays_in_pedalboard(
    estimate: diffmix.Estimate, tracks: dict[str, np.ndarray], tmp_path: Path
) -> None:
    from diffmix.export.pedalboard import to_pedalboard

    files = estimate.save(tmp_path / "out")
    names = ("estimate.wav", "graph.json", "graph.txt", "graph.svg", "graph.mmd", "report.json", "preset.json")
    assert {*names, "preset.py"} == set(files)
    assert Graph.read(files["graph.json"]) == Graph.read(files["graph.txt"]) == estimate.graph
    report = json.loads(files["report.json"].read_text())
    assert report["distance_db"]["graph"] == pytest.approx(estimate.away_db, abs=1e-3)
    assert set(report["kept"]) == set(estimate.audible_db)
    played = to_pedalboard(json.loads(files["preset.json"].read_text())).render(tracks)
    assert np.abs(played - estimate.audio).max() <= 2e-7
    audio, rate = read(files["estimate.wav"])
    assert rate == RATE
    assert np.abs(audio.numpy() - estimate.audio).max() < 2e-7
    other = dataclasses.replace(estimate, graph=estimate.graph.turned("kick.fader", gain_db=-9))
    assert set(other.save(tmp_path / "out")) == set(files)  # its own results are written over, not kept as edited
    odd = dataclasses.replace(
        estimate, graph=estimate.graph.replaced("vox.compressor", kind="KneeCompressor", values={})
    )
    assert "preset.json" not in odd.save(tmp_path / "out")
    assert not (tmp_path / "out" / "preset.json").exists()
    assert "note: No preset for Pedalboard:" in str(odd)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "estimate.wav").write_bytes(b"mine")
    with pytest.raises(OutputError, match="is no result of diffmix"):
        estimate.save(tmp_path / "other")


def test_a_mix_that_begins_later_is_moved(tracks: dict[str, np.ndarray], mix: np.ndarray) -> None:
    late = np.pad(mix, ((0, 0), (800, 0)))
    found = diffmix.estimate_graph(tracks, late, LAYOUT, sample_rate=RATE, steps=1)
    assert "begins 0.05 s later" in found.notes[0]
    still = diffmix.estimate_graph(tracks, mix, LAYOUT, sample_rate=RATE, steps=1)
    assert not still.notes
    assert found.plain_db == pytest.approx(still.plain_db, abs=0.02)


def test_a_graph_of_ones_own_is_searched_and_a_lock_holds(tracks: dict[str, np.ndarray], mix: np.ndarray) -> None:
    graph = Graph.from_text("""
        kick: in(1) > kick.fader=gain(-7dB) > kick.pan=pan > mix
        vox: in(1) > vox.eq=ParametricEQ > vox.pan=pan > mix
        mix: sum > out
    """)
    found = diffmix.estimate_graph(tracks, mix, graph, sample_rate=RATE, steps=1, lock=["kick.*"])
    assert found.graph["kick.fader"] == graph["kick.fader"]
    assert found.graph["kick.pan"] == graph["kick.pan"]
    assert found.whole["vox.eq"] != graph["vox.eq"]


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"target_mix": np.zeros((2, 32_000), np.float32)}, AudioError, "the mix is silent where its tracks play"),
        ({"within_db": -1}, SettingsError, "the allowance"),
        ({"steps": 0}, SettingsError, "the number of steps"),
        ({"lock": ["gtr.*"]}, SettingsError, "nothing to lock matches 'gtr.*'"),
        ({"console": diffmix.Console(8000)}, AudioError, "the console runs at 8000 Hz, the tracks at 16000 Hz"),
        ({"console": Graph.from_text("gtr: in > out")}, AudioError, "the graph hears 'gtr', which is no track"),
        ({"console": Graph.from_text("kick: in(1) > pan > out\nvox: in(1) > out2=out")}, SettingsError, "the outputs"),
    ],
)
def test_what_cannot_be_estimated_is_said(
    tracks: dict[str, np.ndarray], mix: np.ndarray, changed: dict[str, Any], error: type[Exception], message: str
) -> None:
    given: dict[str, Any] = {"target_mix": mix, "console": LAYOUT, "sample_rate": RATE, "steps": 1} | changed
    with pytest.raises(error, match=message.replace("*", r"\*")):
        diffmix.estimate_graph(tracks, **given)


def test_the_command(
    tracks: dict[str, np.ndarray], mix: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stems").mkdir()
    for name, x in tracks.items():
        write_wav(tmp_path / "stems" / f"{name}.wav", torch.from_numpy(x), RATE)
    write_wav(tmp_path / "stems" / "final.wav", torch.from_numpy(mix), RATE)  # a mix among its tracks is none of them
    (tmp_path / "desk.yaml").write_text(json.dumps(LAYOUT))
    asked = ["estimate", tmp_path / "stems", tmp_path / "stems" / "final.wav", "-o", tmp_path / "out", "--steps", "1"]
    main([*map(str, asked), "--console", str(tmp_path / "desk.yaml"), "--within", "3"])
    said = capsys.readouterr().out
    assert "distance to the mix:" in said
    assert "final" not in (tmp_path / "out" / "graph.txt").read_text()
    assert str(tmp_path / "out" / "graph.txt") in said
    with pytest.raises(AudioError, match="is the only track"):
        diffmix.estimate_graph([asked[2]], asked[2])
    with pytest.raises(SystemExit):
        main([*map(str, asked[:2]), str(tmp_path / "none.wav"), "-o", str(tmp_path / "out")])
    assert "none.wav" in capsys.readouterr().err


def test_a_graph_that_breaks_a_rule_is_refused(tracks: dict[str, np.ndarray], mix: np.ndarray) -> None:
    with pytest.raises(GraphError):
        diffmix.estimate_graph(tracks, mix, Graph.from_text("kick: in(1) > out").removed("kick"), sample_rate=RATE)
