"""Graphs on stems: from Python and from the command line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import diffmix
from diffmix.cli import main
from diffmix.data.audio import read, write_wav
from diffmix.errors import AudioError, GraphError
from diffmix.graph import render
from tests.fabricate import stamped

TEXT = """
vox: in > hpf(80Hz) > Compressor(4:1, -24dB) > pan(-30) > mix
keys: in > peak(1kHz, +3dB) > mix
vox.pan -> hall(-12dB)
hall: verb(room_size=0.8, dry_level=0) > mix
mix: sum > gain(-3dB) > out
"""


def stems() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "vox": 0.1 * torch.randn(1, 8000, generator=generator),
        "keys": 0.1 * torch.randn(2, 8000, generator=generator),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "stems").mkdir()
    for name, audio in {**stems(), "unheard": torch.full((1, 9000), 0.1)}.items():
        write_wav(tmp_path / "stems" / f"{name}.wav", audio, 44100)
    (tmp_path / "song.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


def test_a_graph_plays_stems(folder: Path) -> None:
    graph = diffmix.Graph.from_text(TEXT)
    outputs, rate = diffmix.play(graph, stems(), sample_rate=44100)
    expected = render(graph, {name: x[None] for name, x in stems().items()}, 44100)[0]
    assert rate == 44100
    assert list(outputs) == ["out"]
    np.testing.assert_array_equal(outputs["out"], expected.numpy())
    for file, text in (("g.json", graph.to_json()), ("g.txt", str(graph))):
        (folder / file).write_text(text, encoding="utf-8")
        again, _ = diffmix.play(folder / file, stems(), sample_rate=44100)
        np.testing.assert_array_equal(again["out"], outputs["out"])


def test_mistakes_are_one_sentence(folder: Path) -> None:
    with pytest.raises(AudioError, match="the graph hears 'keys', which is no track; there are: vox"):
        diffmix.play(diffmix.Graph.from_text(TEXT), {"vox": stems()["vox"]}, sample_rate=44100)
    with pytest.raises(GraphError, match=r"nothing\.txt cannot be read as a graph"):
        diffmix.play(folder / "nothing.txt", stems(), sample_rate=44100)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("g.json", "{}", r"g\.json: does not hold a graph: its format is not 'diffmix-graph'"),
        ("g.json", "{", r"g\.json: is not JSON: Expecting property name"),
        ("g.txt", "vox: in > wat(3) > out", r"g\.txt: line 1, column 11: there is no effect 'wat'"),
        ("g.txt", None, r"g\.txt cannot be read as a graph: No such file or directory$"),
    ],
)
def test_mistakes_in_files_are_named_with_the_file(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(GraphError, match=message):
        diffmix.Graph.read(tmp_path / name)


def test_stems_are_not_written_over_and_one_may_come_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vox = folder / "stems" / "vox.wav"
    before = vox.read_bytes()
    (folder / "solo.txt").write_text(
        "vox: in > pan(0) > mix\nmix: sum > vox2\nvox2: gain(-3dB) > out", encoding="utf-8"
    )
    main(["graph", str(folder / "solo.txt"), str(vox), "-o", str(folder / "out")])
    assert read(folder / "out" / "out.wav")[0].shape == (2, 8000)
    assert "note:" not in capsys.readouterr().out
    (folder / "loud.txt").write_text("vox: in > pan(0) > gain(30dB) > out", encoding="utf-8")
    main(["graph", str(folder / "loud.txt"), str(vox), "-o", str(folder / "loud")])
    assert "note: out passes 0 dBFS: its file is in floating point" in capsys.readouterr().out
    assert read(folder / "loud" / "out.wav")[0].abs().max() > 1
    (folder / "stems" / "out.wav").write_bytes(before)
    with pytest.raises(SystemExit, match="2"):
        main(["graph", str(folder / "solo.txt"), str(folder / "stems"), "-o", str(folder / "stems")])
    assert "out.wav lies among the stems and would be written over" in capsys.readouterr().err
    assert (folder / "stems" / "out.wav").read_bytes() == before
    (folder / "mine").mkdir()
    (folder / "mine" / "out.wav").write_bytes(before)
    with pytest.raises(SystemExit, match="2"):
        main(["graph", str(folder / "solo.txt"), str(vox), "-o", str(folder / "mine")])
    assert "out.wav is no result of diffmix and would be written over" in capsys.readouterr().err


def test_a_graph_by_hand_is_not_written_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by_hand = (folder / "song.txt").rename(folder / "graph.txt")
    with pytest.raises(SystemExit, match="2"):
        main(["graph", str(by_hand), "-o", str(folder)])
    assert "graph.txt is the graph itself, which would be written over" in capsys.readouterr().err


def test_the_command_shows_plays_and_carries(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "stems" / "keys.wav").rename(folder / "stems" / "keys.wave")
    for number, file in enumerate(("keys.wave", "unheard.wav", "vox.wav")):
        stamped(folder / "stems" / file, 500 * number)
    main(["graph", str(folder / "song.txt"), str(folder / "stems"), "-o", str(folder / "out")])
    shown = capsys.readouterr().out
    assert "hpf 80 Hz" in shown
    assert "pan L30" in shown
    assert shown.count("note:") == 2  # that tracks were placed, and padded
    files = sorted(f.name for f in (folder / "out").iterdir())
    assert files == ["graph.json", "graph.mmd", "graph.svg", "graph.txt", "out.wav", "preset.json", "preset.py"]
    assert diffmix.Graph.read(folder / "out" / "graph.json") == diffmix.Graph.read(folder / "out" / "graph.txt")
    audio, _ = read(folder / "out" / "out.wav")
    expected, _ = diffmix.play(diffmix.Graph.from_text(TEXT), folder / "stems")
    assert np.abs(audio.numpy() - expected["out"]).max() <= 2**-23
    preset = json.loads((folder / "out" / "preset.json").read_text())
    assert round(preset["tail_s"] * 44100) == 500  # which only the unheard one lasts
    nodes = preset["nodes"]
    sources = {node["name"]: node["source"] for node in nodes if "source" in node}
    assert sources == {
        "vox": {"files": ["vox.wav"], "channels": 1, "start_s": round(1000 / 44100, 9)},
        "keys": {"files": ["keys.wave"], "channels": 2},
    }


def test_what_pedalboard_cannot_hold_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "song.txt").write_text(
        TEXT.replace("Compressor(4:1, -24dB)", "comp(4:1, -24dB, sc=keys)"), encoding="utf-8"
    )
    (folder / "out").mkdir()
    (folder / "out" / "preset.json").write_text("{}")  # of an earlier graph
    main(["graph", str(folder / "song.txt"), str(folder / "stems"), "-o", str(folder / "out")])
    assert "note: no preset for Pedalboard" in (out := capsys.readouterr().out)
    assert "vox.comp" in out
    assert not (folder / "out" / "preset.json").exists()
    shutil.rmtree(folder / "out")
    with pytest.raises(SystemExit, match="2"):
        main(["graph", str(folder / "song.txt"), str(folder / "stems")])
    assert "-o FOLDER is needed" in capsys.readouterr().err
