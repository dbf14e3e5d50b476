"""What many trials say: ratios to the input's error, harm, and how sure that is with songs drawn anew."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import Cell

Row = dict[str, Any]
"""One system on one trial: ``trial`` (its name), ``system``, ``group``, ``kind``, ``song``, ``fold`` and errors."""

HARM, BETTER = 1.05, 0.95
"""Ratios to the input's error from which on a result counts as worse, and up to which as better."""

INPUT = "input"


class Rows:
    """Rows by trial and system, kept in a file of lines, so that a system can be added without the others."""

    def __init__(self, path: Path | None = None) -> None:
        """Read what ``path`` holds; None keeps nothing."""
        self.path, self.rows = path, {}
        if path and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                self.rows[row["trial"], row["system"]] = row

    rows: dict[tuple[str, str], Row]

    def missing(self, trial: str, systems: Iterable[str]) -> list[str]:
        """The systems that have no row of this trial."""
        return [name for name in systems if (trial, name) not in self.rows]

    def add(self, row: Row) -> None:
        """Keep a row."""
        self.rows[row["trial"], row["system"]] = row
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def of(self, trials: Sequence[str]) -> list[Row]:
        """All rows of these trials."""
        wanted = set(trials)
        return [row for (trial, _), row in self.rows.items() if trial in wanted]


def systems(rows: Sequence[Row]) -> list[str]:
    """Names of the systems, in the order in which they came."""
    return list(dict.fromkeys(row["system"] for row in rows))


def paired(rows: Sequence[Row], system: str, key: str = "msd") -> tuple[NDArray[Any], NDArray[Any], list[str]]:
    """Errors of a system and of the input on the same trials, (N,) each, and the songs."""
    base = {row["trial"]: row for row in rows if row["system"] == INPUT}
    mine = [row for row in rows if row["system"] == system and row["trial"] in base]
    theirs = [base[row["trial"]] for row in mine]
    return np.array([r[key] for r in mine]), np.array([r[key] for r in theirs]), [r["song"] for r in mine]


def interval(
    mine: NDArray[Any], theirs: NDArray[Any], songs: Sequence[str], draws: int = 1000
) -> dict[str, tuple[float, float]]:
    """95 % intervals of the ratio of means and of the share of harm, by drawing songs, not trials, with return."""
    order = sorted(set(songs))
    index = np.array([order.index(song) for song in songs])
    sums = np.stack(
        [np.bincount(index, w, len(order)) for w in (mine, theirs, mine > HARM * theirs, np.ones(len(mine)))]
    )
    drawn = np.random.default_rng(0).integers(len(order), size=(draws, len(order)))
    a, b, harm, count = sums[:, drawn].sum(2)
    ratio, share = np.percentile(a / b, (2.5, 97.5)), np.percentile(harm / count, (2.5, 97.5))
    return {"ratio": (float(ratio[0]), float(ratio[1])), "harm": (float(share[0]), float(share[1]))}


def ratio_of_means(rows: Sequence[Row], system: str, key: str = "msd") -> float:
    """Mean error over that of the input on the same trials."""
    mine, theirs, _ = paired(rows, system, key)
    return float(mine.mean() / theirs.mean())


def harm_rate(rows: Sequence[Row], system: str, key: str = "msd") -> float:
    """Share of the trials that are worse than the input by 5 %."""
    mine, theirs, _ = paired(rows, system, key)
    return float((mine > HARM * theirs).mean())


def percent(share: float) -> str:
    """A share as a person writes it."""
    return f"{100 * share:.0f} %"


COLUMNS = ("MSD", "ratio", "95 % from", "to", "median ratio", "P95 ratio", "harm", "95 % to", "better", "wins")
MORE = {
    "log-MSD, dB": "log_msd_db",
    "STFT": "stft",
    "SCE, Hz": "sce_hz",
    "RMS, dB": "rms_db",
    "LUFS": "lufs",
    "MLDR": "mldr",
}


def main_columns(rows: Sequence[Row]) -> list[str]:
    """Of `main_rows`; where speech was judged by PESQ, its mean and of how many trials."""
    return ["system", "trials", *COLUMNS, *MORE, *(("PESQ", "of") if _heard(rows) else ())]


def _heard(rows: Sequence[Row]) -> bool:
    return any(row.get("pesq") is not None for row in rows)


def main_rows(rows: Sequence[Row]) -> list[list[Cell]]:
    """Every system: mean MSD, its ratio to the input's with an interval, harm, and the other errors' means."""
    found: list[list[Cell]] = []
    for name in systems(rows):
        mine, theirs, songs = paired(rows, name)
        if not len(mine):
            continue
        each, sure = mine / np.maximum(theirs, 1e-9), interval(mine, theirs, songs)
        cells: list[Cell] = [name, len(mine), float(mine.mean()), float(mine.mean() / theirs.mean()), *sure["ratio"]]
        cells += [float(np.median(each)), float(np.percentile(each, 95))]
        harm, high = percent((each > HARM).mean()), percent(sure["harm"][1])
        cells += [harm, high, percent((each < BETTER).mean()), percent((each < 1).mean())]
        cells += [float(np.mean(paired(rows, name, key)[0])) for key in MORE.values()]
        if _heard(rows):
            scores = [row["pesq"] for row in rows if row["system"] == name and row.get("pesq") is not None]
            cells += [float(np.mean(scores)) if scores else None, len(scores)]
        found.append(cells)
    return found


def by(rows: Sequence[Row], key: str) -> tuple[list[str], list[list[Cell]]]:
    """Ratio of means and harm, ``"0.65 / 7 %"``, of every system (rows) for every value of a field (columns)."""
    values = sorted({str(row[key]) for row in rows})
    table: list[list[Cell]] = []
    for name in systems(rows):
        cells: list[Cell] = [name]
        for value in values:
            part = [row for row in rows if str(row[key]) == value]
            known = any(row["system"] == name for row in part)
            cells.append(f"{ratio_of_means(part, name):.2f} / {percent(harm_rate(part, name))}" if known else None)
        table.append(cells)
    return values, table


def frontier(rows: Sequence[Row], system: str, gates: Sequence[float]) -> list[tuple[float, float, float, float]]:
    """(gate, ratio of means, harm, share acted on) if ``system`` had acted where less than the gate was expected."""
    base = {row["trial"]: row["msd"] for row in rows if row["system"] == INPUT}
    mine = [row for row in rows if row["system"] == system and row.get("expected") is not None]
    theirs = np.array([base[row["trial"]] for row in mine])
    own, expected = np.array([row["msd"] for row in mine]), np.array([row["expected"] for row in mine])
    found = []
    for gate in gates:
        acts = expected < gate
        kept = np.where(acts, own, theirs)
        found.append((gate, kept.mean() / theirs.mean(), float((kept > HARM * theirs).mean()), float(acts.mean())))
    return found
