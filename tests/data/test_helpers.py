"""Further processes: they do what they are told, and none outlives the one that started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from diffmix.data.helpers import start


def test_a_helper_does_what_it_is_told_on_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with start(os.mkdir, str(tmp_path / "made")) as helper, start(os.mkdir, str(tmp_path / "no" / "folder")) as failing:
        assert helper.wait(60) == 0
        assert failing.wait(60) == 1
    assert (tmp_path / "made").is_dir()
    threads = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"
    for name in threads:
        monkeypatch.setenv(name, "7")
    with start(os.system, f"env > {tmp_path / 'told'}") as helper:
        assert helper.wait(60) == 0
    assert {f"{name}=1" for name in threads} <= set((tmp_path / "told").read_text().splitlines())


@pytest.mark.skipif(sys.platform == "win32", reason="asks for a signal that Windows lacks")
def test_a_helper_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = "import time; from diffmix.data.helpers import start; print(start(time.sleep, 600).pid, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        helper = int(parent.stdout.readline())
        os.kill(helper, 0)  # it lives
        parent.kill()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            os.kill(helper, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.kill(helper, signal.SIGKILL)
    pytest.fail("the helper outlived its parent by a minute")
