"""Data sets of dry and wet sound, through the command as a user gives it."""

import errno
import json
import os
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pedalboard
import pytest
import soundfile
from torch import Tensor

from diffmix import sweep as module
from diffmix.cli import main
from diffmix.errors import OutputError
from diffmix.processors import Gain
from diffmix.processors.black_box import FunctionNode

RATE = 16000


@pytest.fixture
def dry(tmp_path: Path) -> Path:
    folder = tmp_path / "dry"
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    soundfile.write(folder / "a.wav", 0.2 * rng.standard_normal((2000, 2)), RATE, "PCM_24")
    soundfile.write(folder / "more" / "b.wav", 0.2 * rng.standard_normal(1500), 44100, "PCM_24")
    (folder / "notes.txt").write_text("no sound")
    return folder


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    try:
        main(["sweep", *map(str, arguments)])
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_what_is_written_is_what_pedalboard_plays(
    dry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code, said, _ = command(
        capsys, "Compressor", dry, "-o", out, "--count", 5, "--seed", 3, "--parameters", "threshold_db,ratio"
    )
    assert (code, said.strip()) == (0, str(out / "manifest.json"))
    written = manifest(out)
    assert (written["plugin"], written["seed"], written["moving"]) == ("Compressor", 3, ["threshold_db", "ratio"])
    assert written["parameters"]["threshold_db"]["low"] == -60
    assert written["made_with"]["pedalboard"] == version("pedalboard")
    assert [Path(item["dry"]).name for item in written["items"]] == ["a.wav", "b.wav", "a.wav", "b.wav", "a.wav"]
    assert len({item["values"]["ratio"] for item in written["items"]}) == 5
    for item in written["items"]:
        x, rate = soundfile.read(out / item["dry"], dtype="float32", always_2d=True)
        y, wet_rate = soundfile.read(out / item["wet"], dtype="float32", always_2d=True)
        theirs = pedalboard.Compressor(**item["values"])(x.T, rate)
        assert wet_rate == rate
        assert item["gain_db"] == 0
        assert (item["values"]["attack_ms"], item["values"]["release_ms"]) == (1, 100)
        assert np.abs(theirs - y.T).max() < 2**-23  # half a step of 24 bits


def test_a_sweep_goes_on_and_equals_one_that_was_not_stopped(
    dry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    arguments = ("Reverb", dry, "--count", 12, "--jobs", 1)
    assert command(capsys, *arguments, "-o", whole)[0] == 0
    write = module._write

    def stopped(*given: Any) -> None:
        if given[1] == 6:
            raise KeyboardInterrupt
        write(*given)

    monkeypatch.setattr(module, "_write", stopped)
    assert command(capsys, *arguments, "-o", parts)[0] == 130
    assert manifest(parts)["items"] == []
    assert not (parts / "00006.json").exists()
    before = (parts / "00000.wav").stat().st_mtime_ns
    monkeypatch.setattr(module, "_write", write)
    assert command(capsys, *arguments, "-o", parts)[0] == 0
    assert contents(parts) == contents(whole)
    assert (parts / "00000.wav").stat().st_mtime_ns == before
    assert command(capsys, "Reverb", dry, "--count", 14, "-o", parts)[0] == 0
    assert manifest(parts)["items"][:12] == manifest(whole)["items"]
    assert command(capsys, "Reverb", dry, "--count", 12, "-o", tmp_path / "jobs", "--jobs", 3)[0] == 0
    assert contents(tmp_path / "jobs") == contents(whole)


def test_black_boxes_and_loud_sounds(dry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(capsys, "Resample", dry, "-o", tmp_path / "a", "--count", 2)[0] == 0
    assert manifest(tmp_path / "a")["items"][0]["values"].keys() == {"target_sample_rate"}
    assert command(capsys, "Gain", dry, "-o", tmp_path / "b", "--count", 8, "--seed", 1)[0] == 0
    items = manifest(tmp_path / "b")["items"]
    assert any(item["gain_db"] < 0 for item in items)
    for item in items:
        x, _ = soundfile.read(tmp_path / "b" / item["dry"])
        y, _ = soundfile.read(tmp_path / "b" / item["wet"])
        factor = 10 ** ((item["values"]["gain_db"] + item["gain_db"]) / 20)
        assert np.abs(y - factor * x).max() < 2e-5


def test_a_grid(dry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("Compressor", dry, "-o", tmp_path / "out", "--parameters", "ratio,threshold_db")
    assert command(capsys, *arguments, "--grid", 3)[0] == 0
    written = manifest(tmp_path / "out")
    met = [(Path(i["dry"]).name, i["values"]["threshold_db"], i["values"]["ratio"]) for i in written["items"]]
    ratios = 1.0, pytest.approx(20**0.5, rel=1e-6), 20.0
    assert met == [(name, level, r) for level in (-60.0, -30.0, 0.0) for r in ratios for name in ("a.wav", "b.wav")]
    code, _, said = command(capsys, *arguments, "--grid", 2)
    assert code == 2
    assert "holds another sweep (its grid differ)" in said
    one = ("Gain", dry / "a.wav", "-o", tmp_path / "one", "--grid", 2)
    assert command(capsys, *one)[0] == 0
    assert [item["values"]["gain_db"] for item in manifest(tmp_path / "one")["items"]] == [-100, 60]


def test_a_full_disk(
    dry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("Gain", dry, "--count", 5)
    assert command(capsys, *arguments, "-o", tmp_path / "whole")[0] == 0
    left, fsync = iter([True] * 6), os.fsync  # the manifest, two items, the third's sound

    def full(file: int) -> None:
        if not next(left, False):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(file)

    monkeypatch.setattr(os, "fsync", full)
    code, _, said = command(capsys, *arguments, "-o", tmp_path / "out")
    assert code == 2
    assert "00002.json: cannot be written (No space left on device)" in said
    monkeypatch.setattr(os, "fsync", fsync)
    assert command(capsys, *arguments, "-o", tmp_path / "out")[0] == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_mono_through_a_stereo_effect(dry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(capsys, "BalanceWidth", dry / "more", "-o", tmp_path / "out", "--count", 1)[0] == 0
    assert soundfile.info(tmp_path / "out" / "00000.wav").channels == 2


def test_mistakes_end_in_one_sentence(dry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"

    def fails(sentence: str, *arguments: object) -> None:
        code, _, said = command(capsys, *arguments)
        assert code == 2
        assert sentence in said
        assert said.count("\n") == 1

    fails("Corus: neither a file nor an effect; effects are", "Corus", dry, "-o", out)
    fails("Gain: no parameter 'db'; there are: gain_db", "Gain", dry, "-o", out, "--parameters", "db")
    fails("count is 0, at least 1 is needed", "Gain", dry, "-o", out, "--count", 0)
    fails("jobs is 0, at least 1 is needed", "Gain", dry, "-o", out, "--grid", 2, "--jobs", 0)
    fails("no such file", "Gain", tmp_path / "nothing", "-o", out)
    fails("Pan takes mono, and a dry file is stereo", "Pan", dry, "-o", out, "--count", 1)
    fails("a grid has 2 values or more of one or two parameters, not 3 of 4", "Compressor", dry, "-o", out, "--grid", 3)
    fails("a grid has 2 values or more of one or two parameters, not 1 of 1", "Gain", dry, "-o", out, "--grid", 1)
    (tmp_path / "empty").mkdir()
    fails("holds no audio files", "Gain", tmp_path / "empty", "-o", out)
    fails("is not empty and holds no sweep", "Gain", dry, "-o", dry)
    fails("holds another sweep (its plugin, parameters, moving differ)", "Gain", dry, "-o", out)
    (tmp_path / "file").touch()
    fails("cannot write to", "Gain", dry, "-o", tmp_path / "file" / "out")


def test_what_is_no_sound_is_not_written(dry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = FunctionNode(lambda x: x * np.nan, {}, RATE)
    monkeypatch.setattr(module, "_effect", lambda *_: broken)
    with pytest.raises(OutputError, match="NaN or infinite"):
        module.sweep("broken", dry, tmp_path / "out", count=1)
    assert not (tmp_path / "out" / "00000.json").exists()


def test_no_more_than_so_many_jobs_run_at_once(dry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, running, most, process = threading.Lock(), 0, 0, Gain.process

    def slow(self: Gain, x: Tensor, **values: Tensor) -> Tensor:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return process(self, x, **values)

    monkeypatch.setattr(Gain, "process", slow)
    module.sweep("Gain", dry, tmp_path / "out", count=8, jobs=2)
    assert most == 2


def test_settings_depend_on_the_seed_and_the_item_alone(dry: Path, tmp_path: Path) -> None:
    def values(name: str, **options: int) -> list[dict[str, float]]:
        written = json.loads(module.sweep("Gain", dry, tmp_path / name, **options).read_text())
        return [item["values"] for item in written["items"]]

    some = values("some", count=3, seed=1)
    assert values("more", count=5, seed=1)[:3] == some
    assert not any(a == b for a, b in zip(values("other", count=3, seed=2), some, strict=True))
