"""Further Python processes that share work, and end with the one that started them, however that ends."""

import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
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


def shared(
    missing: Sequence[int],
    is_made: Callable[[int], bool],
    make: Callable[[int], object],
    helper: Callable[[Sequence[int]], subprocess.Popen[bytes]],
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Make all that is missing, by its numbers: every ``workers``-th by this process, the others by helpers.

    ``helper(numbers)`` starts one that makes those; what one leaves undone ``make`` does, and so says what is wrong.
    ``progress(done, total)`` is called as things are made.
    """
    helpers = [helper(missing[k::workers]) for k in range(1, min(workers, len(missing)))]
    try:
        own = missing[:: max(workers, 1)]
        for number in (*own, *(n for n in missing if n not in own)):
            if helpers and number not in own:
                while not is_made(number) and any(h.poll() is None for h in helpers):
                    time.sleep(0.02)
            if not is_made(number):  # ours, or a helper failed: then the reason shows here
                make(number)
            if progress:
                progress(sum(map(is_made, missing)), len(missing))
    finally:
        for one in helpers:
            one.terminate()
            one.communicate()


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
