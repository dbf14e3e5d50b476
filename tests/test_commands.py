"""What holds for every command of ``diffmix``."""

import os
import subprocess
import sys

import pytest

from diffmix.cli import main


def test_a_reader_that_has_had_enough_gets_no_traceback() -> None:
    code = "from diffmix import cli; cli.doctor.PACKAGES = (); cli.main(['doctor'])"
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
