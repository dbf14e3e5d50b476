"""Further Python processes that share work, and end with the one that started them, however that ends."""

import importlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


def start(function: Callable[[Any], object], told: Any) -> subprocess.Popen[bytes]:
    """Another Python that calls ``function(told)``, of a module's own level, on one thread; ``told`` goes as JSON.

    Not a fork, which the threads of torch would not survive. What it prints is not shown. It ends at once when its
    standard input is closed, as `Popen.communicate` does.
    """
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    asked = json.dumps([function.__module__, function.__name__, told])
    return subprocess.Popen(
        [sys.executable, "-c", "from diffmix.data.helpers import work; work()", asked],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def work() -> None:
    """What a helper runs: the function that its argument names."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    module, name, told = json.loads(sys.argv[1])
    getattr(importlib.import_module(module), name)(told)


def _end_with_parent() -> None:
    """Wait until the pipe from the parent closes, as it does even if that is killed, and leave at once."""
    while os.read(0, 1024):  # not sys.stdin, whose lock this thread would hold when the interpreter ends
        pass
    os._exit(0)
