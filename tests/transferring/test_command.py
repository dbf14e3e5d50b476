"""The commands ``diffmix transfer`` and ``diffmix describe``: what they write, say and refuse."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from diffmix.cli import main
from diffmix.data.audio import write_wav
from diffmix.transferring import describing
from tests.transferring.stand_in import RATE, Brightness, StandIn, song, treatment

Believing = Callable[..., StandIn]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A song, another one to sound like, and a folder of stems."""
    (tmp_path / "stems").mkdir()
    for name, seed in (("song", 1), ("like", 3), ("stems/kick", 4), ("stems/keys", 5)):
        write_wav(tmp_path / f"{name}.wav", torch.from_numpy(song(2.0, seed=seed)), RATE)
    return tmp_path


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    try:
        main(list(map(str, arguments)))
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_plugins_do_it_instead(folder: Path, believing: Believing, capsys: pytest.CaptureFixture[str]) -> None:
    believing(treatment(8, ratio=1.0))
    out = folder / "out"
    code, said, _ = command(
        capsys, "transfer", folder / "song.wav", folder / "like.wav", "-o", out, "--quality", "fast", "--only", "tone",
        "--chain", "HighShelfFilter:gain_db", "LowShelfFilter:gain_db", "--chain", "Gain",
    )  # fmt: skip
    assert code == 0
    found = json.loads((out / "settings.json").read_text(encoding="utf-8"))
    assert set(found["settings"]) | set(found["left_out"]) == {"HighShelfFilter", "LowShelfFilter", "Gain"}
    assert found["after"] < 0.7 * found["before"]
    assert found["settings"]
    for name, knobs in found["settings"].items():
        assert set(knobs) == {"gain_db"}
        assert f"{name}: gain_db {knobs['gain_db']:g}\n" in said
    assert str(out / "transfer.wav") in said
    assert (out / "transfer.wav").is_file()


def test_plugins_that_nothing_is_asked_of_say_why(
    folder: Path, believing: Believing, capsys: pytest.CaptureFixture[str]
) -> None:
    believing(treatment(1.0, ratio=1.05), scale=12.0)
    files = folder / "song.wav", folder / "like.wav"
    code, said, _ = command(capsys, "transfer", *files, "-o", folder / "out", "--quality", "fast", "--chain", "Gain")
    assert code == 0
    assert "Gain: left out" in said
    assert "note: The style could not be measured surely enough" in said


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--chain", "Warmth"], "Warmth: no such file, and no plugin of Pedalboard; those are: Bitcrush"),
        (["--chain", "eq.vst3"], "eq.vst3: no such file"),
        (["--chain", "Gain", "Compressor:ratio,colour"], "Compressor: no parameter 'colour'; there are: threshold_db"),
        (["--chain", "Compressor:"], "--chain Compressor:: PLUGIN or PLUGIN:KNOB,KNOB is expected"),
        (["--chain", "Gain", "--lock", "eq", "--candidates", "2"], "lock, candidates cannot be asked for there"),
        (["--console", "none.yaml"], "none.yaml cannot be read as a console"),
        (["--amount", "tone=much"], "--amount: 'much' is no number"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(
    folder: Path, believing: Believing, capsys: pytest.CaptureFixture[str], asked: list[str], message: str
) -> None:
    believing()
    files = folder / "song.wav", folder / "like.wav"
    code, said, error = command(capsys, "transfer", *files, "-o", folder / "out", "--quality", "fast", *asked)
    assert (code, said) == (2, "")
    assert error.startswith("diffmix: ")
    assert message in error
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        (["--amount", "0.5", "--only", "tone", "--candidates", "2"], "amount, only, candidates"),
        (["--amount", "tone=0.5"], "amount"),
        (
            ["--weights", "1", "--mode", "same-source", "--gate", "bold", "--chain", "Gain"],
            "weights, mode, gate, chain",
        ),
    ],
)
def test_stems_are_mixed_as_a_whole_or_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], asked: list[str], names: str
) -> None:
    code, _, error = command(capsys, "transfer", folder / "stems", folder / "like.wav", "-o", folder / "out", *asked)
    assert code == 2
    assert f"as a whole: {names} cannot be asked for there; lock, bound, quality, ceiling and console can" in error


@pytest.mark.usefixtures("sketched")
def test_stems_are_mixed_on_a_console_of_ones_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout = "strip: {trim: Gain, eq: ParametricEQ}\nsends: {}\nbuses: {}\n"
    (folder / "console.yaml").write_text(layout, encoding="utf-8")
    code, said, _ = command(
        capsys, "transfer", folder / "stems", folder / "like.wav", "-o", folder / "out", "--quality", "fast",
        "--console", folder / "console.yaml", "--lock", "kick.pan=0.5",
    )  # fmt: skip
    assert code == 0
    assert "keys" in said
    settings = json.loads((folder / "out" / "settings.json").read_text(encoding="utf-8"))
    assert set(settings["tracks"]) == {"kick", "keys"}
    assert settings["tracks"]["kick"]["image"]["balance"] == 0.5


@pytest.mark.usefixtures("sketched")
def test_words_are_described(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(describing, "Clap", lambda weights: Brightness())
    out = folder / "out"
    code, said, _ = command(
        capsys, "describe", folder / "song.wav", "bright", "--weights", folder, "-o", out, "--quality", "fast"
    )
    assert code == 0
    assert "like bright, heard as words" in said
    assert "nearer to the words" in said
    for name in ("transfer.wav", "before.wav", "settings.json", "preset.json", "report.html"):
        assert (out / name).is_file()
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert (report["style"], report["route"]) == ("bright", "text")
    assert report["expected_gain"] > 0


def test_words_without_a_model_or_its_package_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(words: str, weights: object, *asked: str) -> str:
        there = "-o", folder / "out", *asked
        code, _, error = command(capsys, "describe", folder / "song.wav", words, "--weights", weights, *there)
        assert code == 2
        return error

    assert "none is no folder with a CLAP model" in refused("warm", folder / "none")
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "CLAP models need transformers: pip install 'diffmix[text]'" in refused("warm", folder)
    monkeypatch.setattr(describing, "Clap", lambda weights: Brightness())
    assert "there are no words to go by" in refused(" ", folder)
    assert "allowed 0..1" in refused("warm", folder, "--amount", "2")
    assert "quality is one of fast, balanced, best" in refused("warm", folder, "--quality", "good")
