"""What holds for every command of ``diffmix``."""

import argparse
import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from diffmix import api
from diffmix.cli import demo, graph, main
from diffmix.errors import OutputError
from diffmix.files import check_folder, replacing
from diffmix.progress import progress


def test_a_reader_that_has_had_enough_gets_no_traceback() -> None:
    code = "import diffmix.cli as cli; cli.doctor.PACKAGES = (); cli.main(['doctor'])"
    reads, writes = os.pipe()
    os.close(reads)
    ended = subprocess.run([sys.executable, "-c", code], stdout=writes, stderr=subprocess.PIPE, check=False)
    os.close(writes)
    assert (ended.returncode, ended.stderr) == (1, b"")


@pytest.mark.parametrize("command", ["automix a", "transfer a b", "describe a b --weights c", "sweep a b"])
@pytest.mark.parametrize("seed", ["-1", "1.5", str(2**31)])
def test_a_seed_that_none_can_be_drawn_by_is_refused(
    command: str, seed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "-o", "out", "--seed", seed])
    assert stop.value.code == 2
    assert f"argument --seed: '{seed}' is no whole number from 0 to 2147483647" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["automix a", "render a b", "fit a b", "master a", "transfer a b", "sweep Gain a"])
def test_a_folder_that_cannot_be_written_is_said_before_the_work(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("load", "automix_variants", "render", "fit"):
        monkeypatch.setattr(api, name, None)
    (tmp_path / "file").write_text("mine")
    monkeypatch.chdir(tmp_path)
    for folder in ("file", "file/new/out"):
        with pytest.raises(SystemExit) as stop:
            main([*command.split(), "-o", folder])
        assert stop.value.code == 2
        assert capsys.readouterr().err == f"diffmix: cannot write to {folder}: Not a directory\n"


def test_a_command_that_is_ended_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(options: argparse.Namespace) -> None:
        with replacing(options.output / "a"):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(graph, "run", run)
    before = [signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)]
    try:
        with pytest.raises(SystemExit) as stop:
            main(["graph", "g", "-o", str(tmp_path)])
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGHUP), before, strict=True):
            signal.signal(number, handler)
    assert stop.value.code == 128 + 15
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["automix a", "graph a", "master a", "demo"])
def test_an_empty_name_is_refused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*command.split(), "-o", ""])
    assert "argument -o/--output: the name is empty" in capsys.readouterr().err
    if not command.startswith("demo"):
        with pytest.raises(SystemExit, match="2"):  # which would be the folder that one is in
            main([command.split()[0], "", "-o", "out"])
        assert "the name is empty" in capsys.readouterr().err


def test_ctrl_c_leaves_a_demos_training_time_to_keep_its_step() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    press = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT))
    press.start()
    try:
        assert demo._trained(["sh", "-c", "sleep 0.4; exit 7"]) == 7
    finally:
        press.cancel()
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_pressed_once_more_and_an_end_of_the_demo_end_its_training(monkeypatch: pytest.MonkeyPatch) -> None:
    training = MagicMock()
    training.return_value.__enter__.return_value = running = MagicMock()
    running.wait.side_effect = [KeyboardInterrupt, KeyboardInterrupt, -signal.SIGTERM, SystemExit]
    monkeypatch.setattr(demo.subprocess, "Popen", training)
    assert demo._trained(["train"]) == -signal.SIGTERM
    assert running.terminate.call_count == 1
    training.return_value.__exit__.return_value = False
    with pytest.raises(SystemExit):
        demo._trained(["train"])
    assert running.terminate.call_count == 2


def test_looking_at_a_folder_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_folder(tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="out: Permission denied"):
        check_folder(tmp_path / "out")


def test_progress_shows_names_with_brackets_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "200")
    with progress("Mixing song [take 2][/x]", 1) as advance:
        advance(1, "[b]oth[/]")
    assert "Mixing song [take 2][/x]" in sys.stderr.getvalue()
    assert "[b]oth[/]" in sys.stderr.getvalue()
