"""Folders of results: nothing that cannot be made again is written over, and nothing of an earlier result misleads."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import diffmix
from diffmix.cli import main
from diffmix.cli.showing import show_mix
from diffmix.errors import OutputError
from diffmix.files import left_behind, spare, workshop
from diffmix.transferring.through import Played

RATE = 16000
PLAIN: dict = {"strip": {}, "sends": {}, "buses": {}, "master": {"gain": "Gain"}}


def write(file: Path, seed: int = 0, channels: int = 1) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).standard_normal((RATE, channels))
    soundfile.write(file, 0.1 * noise, RATE)
    return file


def mixed(folder: Path) -> diffmix.Mix:
    return diffmix.render(folder, diffmix.Settings(tracks={"a": {}, "b": {}}), PLAIN)


@pytest.fixture
def stems(tmp_path: Path) -> Path:
    for n, name in enumerate("ab"):
        write(tmp_path / "song" / f"{name}.wav", n)
    return tmp_path / "song"


def test_processed_tracks_add_up_to_the_mix(stems: Path) -> None:
    made = mixed(stems)
    parts = dict(made.processed)
    assert list(parts) == ["a", "b"]
    np.testing.assert_allclose(sum(parts.values()), made.audio, atol=1e-7)


@pytest.mark.usefixtures("sketched")
def test_stems_add_up_to_the_mix_with_their_returns(stems: Path, tmp_path: Path) -> None:
    (stems / "b.wav").rename(stems / "reverb.wav")
    layout = {
        "strip": {},
        "sends": {"send": "reverb", "slap": "echo"},
        "buses": {"reverb": {"reverb": "Reverb"}, "echo": {"delay": "Delay"}},
        "master": {},
    }
    knobs = {"send": {"gain_db": -6.0}, "slap": {"gain_db": -9.0}}
    settings = diffmix.Settings(tracks={"a": knobs, "reverb": knobs})
    settings["buses"] = {"echo": {"delay": {"delay_seconds": 0.25, "mix": 1.0}}}
    made = diffmix.render(stems, settings, layout)
    files = made.save(tmp_path / "out", stems=True)
    written = [name for name in files if name.startswith("stems/")]
    assert written == ["stems/a.wav", "stems/echo.wav", "stems/reverb.wav", "stems/reverb_.wav"]
    sounds = {name: soundfile.read(files[name])[0] for name in written}
    np.testing.assert_allclose(sum(sounds.values()), made.audio.T, atol=1e-6)
    returns = dict(made.returns)
    assert list(returns) == ["reverb", "echo"]
    assert not np.abs(returns["echo"][:, : RATE // 4]).any()
    assert np.abs(returns["reverb"][:, : RATE // 4]).max() > 1e-3
    for file, (name, returned) in zip(("stems/reverb_.wav", "stems/echo.wav"), returns.items(), strict=True):
        np.testing.assert_allclose(sounds[file], returned.T, atol=5e-7)
        assert made.report["returns"][name]["peak_db"] == pytest.approx(20 * np.log10(np.abs(returned).max()), abs=1e-4)


@pytest.mark.usefixtures("sketched")
def test_a_mix_by_others_among_the_tracks_stays(stems: Path, tmp_path: Path) -> None:
    rough = write(stems / "mix.wav", 7, 2)
    before = rough.read_bytes()
    with pytest.raises(OutputError, match=r"mix.wav is no result of diffmix and would be written over"):
        mixed(stems).save(stems)
    assert rough.read_bytes() == before
    raw = write(tmp_path / "other" / "stems" / "a.wav", 8)
    with pytest.raises(OutputError, match=r"stems.a.wav is no result of diffmix and would be written over"):
        mixed(stems).save(tmp_path / "other", stems=True)
    assert [f.name for f in (tmp_path / "other").rglob("*")] == ["stems", raw.name]
    assert sorted(f.name for f in stems.iterdir()) == ["a.wav", "b.wav", "mix.wav"]
    rough.unlink()
    for _ in range(2):  # an own result may be written again
        mixed(stems).save(stems)


@pytest.mark.usefixtures("sketched")
def test_a_recording_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = write(tmp_path / "master.wav", channels=2)
    before = recording.read_bytes()
    with pytest.raises(SystemExit) as stop:
        main(["master", str(recording), "--target", "-14", "-o", str(tmp_path)])
    assert stop.value.code == 2
    assert "master.wav is the recording itself" in capsys.readouterr().err
    assert recording.read_bytes() == before
    with pytest.raises(OutputError, match=r"before.wav is the recording itself"):
        spare(tmp_path, ("transfer.wav", "before.wav"), [tmp_path / "x" / ".." / "before.wav"])


@pytest.mark.usefixtures("sketched")
def test_settings_edited_by_hand_are_kept(stems: Path, tmp_path: Path) -> None:
    made, out = mixed(stems), tmp_path / "out"
    plain = set(made.save(out))
    assert set(made.save(out)) == plain
    file, later = out / "settings.json", (out / "report.json").stat().st_mtime + 1
    for other in ("settings.edited.json", "settings.edited-1.json"):
        file.write_text(edited := diffmix.Settings(made.settings, master={"gain": {"gain_db": -1}}).to_json())
        os.utime(file, (later, later))
        turned = made.rendered(diffmix.Settings.from_json(file))
        assert set(turned.save(tmp_path / "elsewhere")) == plain
        assert set(made.save(out)) == plain | {other}
        assert (out / other).read_text() == edited
        assert file.read_text() != edited
    assert set(turned.save(out)) == plain  # nobody edited these
    file.write_text(file.read_text() + "\n")
    os.utime(file, (later + 1, later + 1))
    assert set(turned.save(out)) == plain


def test_what_an_earlier_run_left_is_said(tmp_path: Path) -> None:
    for name in ("mix.wav", "2/mix.wav", "10/mix.wav", "9/mine.wav", "stems/a.wav", "stems/b.wav", "2/stems/a.wav"):
        write(tmp_path / name)
    now = [tmp_path / "mix.wav", tmp_path / "stems" / "a.wav"]
    left = [str(file.relative_to(tmp_path)) for file in left_behind(tmp_path, now)]
    assert left == [str(Path("stems", "b.wav")), "2", "10"]
    left = [str(file.relative_to(tmp_path)) for file in left_behind(tmp_path, [tmp_path / "2" / "mix.wav"])]
    assert left == ["mix.wav", "stems", str(Path("2", "stems")), "10"]
    assert left_behind(tmp_path, now, [tmp_path / "stems" / "b.wav"]) == [tmp_path / "2", tmp_path / "10"]


def test_the_table_of_a_mix_stands_in_columns(stems: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (stems / "a.wav").rename(stems / "音声.wav")
    show_mix(diffmix.render(stems, diffmix.Settings(tracks={"b": {}, "音声": {}}), PLAIN), {})
    head, one, wide, *_ = capsys.readouterr().out.splitlines()
    assert head.startswith("track  ")
    assert one.startswith("b      ")
    assert wide.startswith("音声   ")  # letters of two columns each
    assert "-0.00" not in one + wide


@pytest.mark.usefixtures("sketched")
def test_a_result_of_another_kind_keeps_its_settings(stems: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = mixed(stems).save(out)
    before = written["settings.json"].read_bytes()
    with pytest.raises(OutputError, match=r"out holds mix.wav, whose settings and report would be written over"):
        diffmix.master(written["mix.wav"], -20).save(out)
    assert written["settings.json"].read_bytes() == before
    assert not (out / "master.wav").exists()


def test_a_transfer_by_plugins_leaves_no_report_of_an_earlier_one(tmp_path: Path) -> None:
    for name in (
        "transfer.wav",
        "settings.json",
        "report.html",
        "preset.json",
        "before.wav",
        "mine.wav",
        "report.json",  # the last, as results are written: what is later was edited by hand
    ):
        (tmp_path / name).write_text("{}")
    silence = np.zeros((2, RATE), np.float32)
    made = Played(silence, RATE, torch.from_numpy(silence), {"Gain": {"gain_db": 1.0}}, (), 1.0, 0.5)
    made.save(tmp_path)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["before.wav", "mine.wav", "settings.json", "transfer.wav"]
    with pytest.raises(OutputError, match="is the recording itself"):
        replace(made, files=(str(tmp_path / "transfer.wav"),)).save(tmp_path)


def test_what_killed_programs_left_goes_and_work_of_others_stays(tmp_path: Path) -> None:
    long_ago = time.time() - 60
    (tmp_path / ".diffmix.killed12" / "stems").mkdir(parents=True)
    (tmp_path / ".diffmix.mine").mkdir()
    os.utime(tmp_path / ".diffmix.killed12", (long_ago, long_ago))
    with workshop(tmp_path) as one:
        os.utime(one, (long_ago, long_ago))
        with workshop(tmp_path) as other:
            assert {file.name for file in tmp_path.iterdir()} == {".diffmix.mine", one.name, other.name}
    assert [file.name for file in tmp_path.iterdir()] == [".diffmix.mine"]
