"""What every benchmark shares: fair timing, results as JSON, and RESULTS.md made of them.

Competitors run in turns of half a second or of one call that takes longer, so that a busy machine slows all of them
alike and each finds the caches as its own last call left them. Times are the median and the minimum over all calls;
CPU time counts all threads and, unlike wall time, hardly depends on other load.
Linux only (memory is read from /proc).
"""

import ctypes
import gc
import json
import math
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Idle OpenMP threads of one competitor shall not spin on into the CPU time of the next; read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from diffmix.kernels.allocation import release

RESULTS = Path(__file__).with_name("results")
PAGE = Path(__file__).with_name("RESULTS.md")
Cell = str | float | int | None


@dataclass(frozen=True)
class Timing:
    """Milliseconds of each call and the peak of resident memory above its level at entry, in MiB."""

    wall_ms: list[float]
    cpu_ms: list[float]
    peak_mib: float

    @property
    def cpu(self) -> float:
        """Median CPU time."""
        return statistics.median(self.cpu_ms)

    def medians(self) -> list[Cell]:
        """Median wall and CPU time, and peak memory."""
        return [statistics.median(self.wall_ms), statistics.median(self.cpu_ms), self.peak_mib]

    def minima(self) -> list[Cell]:
        """Smallest wall and CPU time."""
        return [min(self.wall_ms), min(self.cpu_ms)]


def _status_mib(field: str) -> float:
    """A line of /proc/self/status in MiB."""
    text = Path("/proc/self/status").read_text()
    return float(text.split(f"{field}:")[1].split()[0]) / 1024


def _settle() -> None:
    """Give freed memory back and reset the high-water mark, so that the next peak is of the next call only."""
    gc.collect()
    release()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, or clearing fresh pages would be up to half of the peers' time (Linux)."""
    library = ctypes.CDLL(None)
    for option, value in ((-3, 1 << 30), (-1, -1)):  # M_MMAP_THRESHOLD: blocks up to 1 GiB; M_TRIM_THRESHOLD: never
        if not library.mallopt(option, value):
            raise OSError(f"mallopt({option}, {value}) failed")


@dataclass
class Peak:
    """High-water mark of resident memory in MiB, known at the end."""

    resident: float = 0.0


@contextmanager
def peak_mib() -> Iterator[Peak]:
    """The most memory that is resident, all together, inside the ``with`` block."""
    found = Peak()
    _settle()
    yield found
    found.resident = _status_mib("VmHWM")


TURN_S = 0.5
"""The least wall time of a turn, s: short calls are repeated, as in ``timeit``, and one that is longer is a turn."""


def in_turns(runs: Mapping[str, Callable[[], Any]], turns: int = 5) -> dict[str, Timing]:
    """Time every call of ``turns`` turns of each callable, round robin, after two that compile and measure memory."""
    found: dict[str, Timing] = {}
    for name, run in runs.items():
        run()
        _settle()
        entry = _status_mib("VmRSS")
        run()
        found[name] = Timing([], [], _status_mib("VmHWM") - entry)
    for _ in range(turns):
        for name, run in runs.items():
            gc.collect()
            end = time.perf_counter() + TURN_S
            while (wall := time.perf_counter()) < end:
                cpu = time.process_time()
                run()
                found[name].cpu_ms.append(1e3 * (time.process_time() - cpu))
                found[name].wall_ms.append(1e3 * (time.perf_counter() - wall))
    return found


def decibels(error: float, reference: float = 1.0) -> float | str:
    """20 log10(error / reference), or ``equal`` where there is no error at all."""
    return 20 * math.log10(error / reference) if error > 0 else "equal"


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def machine() -> dict[str, Any]:
    """What the figures depend on, without anything that names the machine."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load_average_1_min": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
    }


def commit() -> str:
    """The commit that was measured, with a plus if code outside benchmarks/ had been changed since."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=RESULTS.parent.parent, capture_output=True, text=True)
        return done.stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--", "diffmix", "conf") else "")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], text: str = "") -> dict[str, Any]:
    """One table of a result."""
    return {"title": title, "text": text, "columns": list(columns), "rows": [list(row) for row in rows]}


def publish(
    name: str,
    title: str,
    tables: Sequence[dict[str, Any]],
    notes: Sequence[str],
    packages: Sequence[str],
    seed: int,
    command: str = "",
) -> None:
    """Write ``results/<name>.json`` and make RESULTS.md anew from all results.

    ``command`` is what was run, unless the module of that name was.
    """
    result = {
        "title": title,
        "command": command or f"python -m benchmarks.{name}",
        "seed": seed,
        "commit": commit(),
        "machine": machine(),
        "versions": {p: version(p) for p in ("torch", *packages)},
        "tables": list(tables),
        "notes": list(notes),
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    write_page()
    print(f"wrote benchmarks/results/{name}.json and benchmarks/RESULTS.md")


def shown(cell: Cell) -> str:
    """A number with three significant digits, as a person would write it."""
    if cell is None:
        return "–"
    if isinstance(cell, str | int):
        return str(cell)
    if cell and abs(cell) < 1e-3:
        return f"{cell:.1e}"
    digits = max(0, 2 - math.floor(math.log10(abs(cell)))) if cell else 0
    return f"{cell:.{digits}f}".replace("-", "−")


def markdown(result: Mapping[str, Any]) -> str:
    """One result as a section of RESULTS.md."""
    where = result["machine"]
    versions = ", ".join(f"{package} {number}" for package, number in result["versions"].items())
    device = f"{where['cpu']}, {where['cores']} cores" + (f", {where['gpu']}" if where["gpu"] else "")
    lines = [
        f"## {result['title']}",
        "",
        f"`{result['command']}` on {device}, {where['system']}, load average {where['load_average_1_min']}, "
        f"Python {where['python']}, {versions}. Commit {result.get('commit', 'unknown')}, seed {result['seed']}.",
    ]
    for t in result["tables"]:
        lines += ["", f"### {t['title']}", ""]
        lines += [t["text"], ""] if t["text"] else []
        lines += ["| " + " | ".join(t["columns"]) + " |", "|---" + "|---:" * (len(t["columns"]) - 1) + "|"]
        lines += ["| " + " | ".join(map(shown, row)) + " |" for row in t["rows"]]
    return "\n".join([*lines, "", *(f"- {note}" for note in result["notes"])]).rstrip()


def write_page() -> None:
    """RESULTS.md from every JSON file in results/."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    head = "# Results\n\nMade by the benchmarks from `results/*.json`; do not edit. README.md says how to run them."
    PAGE.write_text("\n\n".join([head, *map(markdown, found)]) + "\n", encoding="utf-8")
