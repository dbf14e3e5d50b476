"""Style transfer: from one recording to another, beside everything it has to be better than, with a known truth.

    python -m benchmarks.transfer [--real FOLDER] [--tasks T1 T2 ...] [--trials 60] [--models A B] [--matchering PYTHON]

Tasks: T1 same recording, T2 another recording, T3 styles to styles without a truth, T4 knobs recovered, T5 a reference
without a style, T6 twice, T7 what features tell, T8 time. Seeded; no data set and no network are needed. With --keep
rows are kept in a folder: systems can be added, and an interrupted run goes on where it was. One core unless
--workers says more.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import transfer_features, transfer_time
from benchmarks.common import RESULTS, Cell, publish, table
from benchmarks.transfer_content import (
    LENGTH,
    RATE,
    Recording,
    Trial,
    content,
    cross_trials,
    folds,
    halves,
    piece,
    pools,
    same_trials,
)
from benchmarks.transfer_scores import Row, Rows, by, frontier, main_columns, main_rows, percent, systems
from benchmarks.transfer_search import evolution, gradient_search
from benchmarks.transfer_styles import FAMILIES, at_peak, draw, family
from benchmarks.transfer_systems import DeepAFx, Nearest, Product, System, baselines, oracle, ours
from diffmix.metrics import erb_levels_db, style_errors, unaligned_errors
from diffmix.progress import progress

SEED = 2026
SLOW = 6
"""Systems that search are tried on one trial of six."""

SELDOM = ("random preset", "rule-based (ST-ITO)", "matchering 2.0")
"""Systems that are tried on one trial of two; the ratio to the input is that of the same trials."""

TAUS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4, 0.35, 0.3)
Table = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """What all tasks share: recordings, trials a class, seeds and the systems."""

    folder: Path | None
    trials: int
    seed: int
    models: Mapping[str, Path | None]
    matchering: Path | None
    keep: Path | None
    only: Sequence[str]
    ad: Path | None
    product: bool
    workers: int = 1
    embeddings: Mapping[str, Path] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        """Other processes make their systems themselves."""
        return {name: value for name, value in self.__dict__.items() if name not in ("quick", "slow")}

    @property
    def found(self) -> tuple[Recording, ...]:
        """The recordings."""
        return content(self.folder)

    @cached_property
    def quick(self) -> dict[str, dict[str, System]]:
        """By fold, all systems that take less than a second or two."""
        plain = baselines(self.matchering) | self.deepafx
        return {
            fold: {**plain, "nearest preset (MFCC)": Nearest(self.found, fold), **self.ours(fold)}
            for fold in ("A", "B")
        }

    def ours(self, fold: str) -> dict[str, System]:
        """Ours with the model that has not heard the fold's songs; none where no model is given."""
        if fold not in self.models:
            return {}
        model = self.models[fold]
        return ours(model) | ({"diffmix.transfer": Product(model)} if self.product else {})

    @property
    def deepafx(self) -> dict[str, System]:
        """Our DeepAFx-ST, where a trained one is given."""
        return {"DeepAFx-ST (AD, ours)": DeepAFx(self.ad)} if self.ad else {}

    @cached_property
    def slow(self) -> dict[str, System]:
        """Systems that search."""
        return {"search: statistics, Adam": gradient_search, "search: MFCC, CMA-ES": evolution}

    def systems(self, trial: Trial) -> dict[str, System]:
        """All that may be tried on a trial, by name."""
        found = {**self.quick[trial.fold], **self.slow}
        if self.product and trial.song == trial.reference_song and trial.fold in self.models:
            found["diffmix.transfer, same-source"] = Product(self.models[trial.fold], mode="same-source")
        return found if trial.style.extras else {**found, "the truth's curves": oracle(trial.style)}

    def tried(self, trial: Trial) -> list[str]:
        """Names of the systems that are: some are tried now and then. Folds alternate, so that pairs of trials do."""
        names = self.wanted(self.systems(trial))
        pair = trial.number // 2
        left_out = {*(SELDOM if pair % 2 else ()), *(self.slow if pair % SLOW else ())}
        return [name for name in names if name not in left_out]

    def mapped(self, work: Callable[[Any], Any], jobs: Iterator[Any]) -> Iterator[Any]:
        """Results of jobs in turn, by as many processes as were asked for."""
        if self.workers == 1:
            _begin(self)
            yield from map(work, jobs)
            return
        with ProcessPoolExecutor(self.workers, get_context("spawn"), _begin, (self,)) as pool:
            ahead = []
            for job in jobs:
                ahead.append(pool.submit(work, job))
                if len(ahead) >= 3 * self.workers:
                    yield ahead.pop(0).result()
            yield from (future.result() for future in ahead)

    def wanted(self, names: Mapping[str, System]) -> dict[str, System]:
        """Those that were asked for, and the input."""
        return {n: s for n, s in names.items() if not self.only or n == "input" or any(o in n for o in self.only)}

    def rows(self, task: str) -> Rows:
        """Rows of a task that were kept before."""
        kind = "real" if self.folder else "generated"
        return Rows(self.keep / f"{task}-{kind}-{self.seed}.jsonl" if self.keep else None)


def judged(bench: Bench, task: str, trials: Iterator[Trial], count: int) -> list[Row]:
    """Every system on every trial against the truth."""
    rows, names = bench.rows(task), []

    def jobs() -> Iterator[tuple[Trial, list[str]]]:
        for trial in trials:
            names.append(trial.name)
            if missing := rows.missing(trial.name, bench.tried(trial)):
                yield trial, missing

    with progress(task, count) as advance:
        for found in bench.mapped(_scored, jobs()):
            for row in found:
                rows.add(row)
            advance(len(names), found[0]["trial"])
    return rows.of(names)


_here: list[Bench] = []  # the one of this process


def _begin(bench: Bench) -> None:
    torch.set_num_threads(1)
    _here[:] = [bench]


def _scored(job: tuple[Trial, list[str]]) -> list[Row]:
    trial, names = job
    outputs, times, expected = [], [], []
    systems_of = _here[0].systems(trial)
    for n, name in enumerate(names):
        rng = np.random.default_rng([trial.number, n])
        begun = time.process_time()
        y = systems_of[name](trial.x, trial.reference, RATE, rng)
        times.append(time.process_time() - begun)
        expected.append(getattr(systems_of[name], "expected", None))
        outputs.append(_like(y, trial.x))
    errors = style_errors(torch.stack(outputs), trial.truth.expand(len(outputs), -1, -1), RATE)
    about = {"trial": trial.name, "group": trial.group, "fold": trial.fold, "kind": trial.style.kind}
    about |= {"style": trial.style.name, "song": trial.song, "domain": "speech" if trial.group == "speech" else "music"}
    return [
        {**about, "system": system, "cpu_s": times[n], "expected": expected[n]}
        | {key: float(value[n]) for key, value in errors.items()}
        for n, system in enumerate(names)
    ]


def _like(y: Tensor, x: Tensor) -> Tensor:
    """An output of the input's channels and length."""
    if len(y) != len(x):
        y = y.mean(0, keepdim=True) if len(x) == 1 else y.expand(len(x), -1)
    return torch.nn.functional.pad(y, (0, x.shape[-1] - y.shape[-1]))[:, : x.shape[-1]]


# ------------------------------------------------------------------ T1, T2: with a truth


ERRORS = (
    "Errors against the truth, both at a peak of −12 dBFS, as DeepAFx-ST defines them, but RMS in 20 log10: MSD 128 "
    "mel bands of windows of 65536, log-MSD its logarithmic half in dB, STFT six resolutions, SCE spectral centroid, "
    "MLDR dynamics. `ratio`: mean MSD over the input's, its interval by a bootstrap over songs. `harm`: share of "
    "trials worse than the input by 5 %; `better`: better by 5 %; `wins`: better at all; `median` and `P95 ratio` are "
    "over trials. `trials` differ where a system is slow."
)


def same_recording(bench: Bench) -> list[Table]:
    """T1."""
    rows = judged(bench, "T1", same_trials(bench.found, bench.trials, bench.seed), 2 * bench.trials)
    tables = []
    for domain in ("speech", "music"):
        part = [row for row in rows if row["domain"] == domain]
        if part:
            text = f"The first half in the style of the second, published families. {ERRORS}"
            tables.append(table(f"T1, the same recording: {domain}", main_columns(), main_rows(part), text))
    return tables


def other_recording(bench: Bench) -> list[Table]:
    """T2, and the gate's frontier."""
    rows = judged(
        bench, "T2", cross_trials(bench.found, bench.trials, bench.seed), bench.trials * len(pools(bench.found))
    )
    tables = []
    for domain in ("speech", "music"):
        part = [row for row in rows if row["domain"] == domain]
        if not part:
            continue
        songs = len({row["song"] for row in part})
        text = f"The reference is another song, of one fold; {songs} songs as input. {ERRORS}"
        tables.append(table(f"T2, another recording: {domain}", main_columns(), main_rows(part), text))
    values, cells = _split(rows)
    tables.append(table("T2, by kind of style and by class: ratio of means / harm", ["system", *values], cells))
    tables += _frontier_tables(rows)
    return tables


def _split(rows: Sequence[Row]) -> tuple[list[str], list[list[Cell]]]:
    kinds = [{**row, "cell": f"{row['domain']}, {row['kind']}"} for row in rows]
    first, left = by(kinds, "cell")
    music = [row for row in rows if row["domain"] == "music"]
    second, right = by(music, "group")
    third, last = by([{**row, "cell": f"fold {row['fold']}"} for row in music], "cell")
    names = systems(rows)
    cells = {str(line[0]): line[1:] for line in left}
    for more, width in ((right, len(second)), (last, len(third))):
        lines = {str(line[0]): line[1:] for line in more}
        for name in names:
            cells[name] = [*cells[name], *lines.get(name, [None] * width)]
    return [*first, *second, *third], [[name, *cells[name]] for name in names]


def _frontier_tables(rows: Sequence[Row]) -> list[Table]:
    name = "diffmix, bold"
    if name not in systems(rows):
        return []
    domains = [d for d in ("music", "speech") if any(row["domain"] == d for row in rows)]
    curves = {d: frontier([row for row in rows if row["domain"] == d], name, TAUS) for d in domains}
    cells: list[list[Cell]] = []
    for n, tau in enumerate(TAUS):
        line: list[Cell] = [f"{tau:.2f}"]
        for d in domains:
            line += [curves[d][n][1], percent(curves[d][n][2]), percent(curves[d][n][3])]
        cells.append(line)
    columns = ["acts below", *(f"{d}, {what}" for d in domains for what in ("ratio", "harm", "acted"))]
    plot_frontier(curves, RESULTS / "transfer_frontier.svg")
    text = (
        "What the same predictions come to if the input is left alone unless the expected ratio is below a limit.\n\n"
        "![harm against the ratio of means](results/transfer_frontier.svg)"
    )
    return [table("T2, the gate's frontier", columns, cells, text)]


def plot_frontier(curves: Mapping[str, Sequence[tuple[float, float, float, float]]], path: Path) -> None:
    """Harm against the ratio of means, one line a domain, gates written at some points."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    for domain, curve in curves.items():
        ratio, harm = [c[1] for c in curve], [100 * c[2] for c in curve]
        axes.plot(harm, ratio, "o-", label=domain)
        for gate, r, h, _ in curve:
            if gate in (1.0, 0.8, 0.6, 0.4):
                axes.annotate(f"{gate:g}", (100 * h, r), textcoords="offset points", xytext=(4, 5), fontsize=8)
    axes.set_xlabel("trials worse than the input by 5 %, %")
    axes.set_ylabel("mean MSD over the input's")
    axes.set_xlim(left=0)
    axes.legend(title="acts where less is expected than")
    figure.tight_layout()
    path.parent.mkdir(exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "diffmix"}):
        figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


# ------------------------------------------------------------------ T3: styles to styles


def style_case_study(bench: Bench) -> list[Table]:
    """T3: recordings in one style, references in another, of other songs; compared with the reference itself."""
    fold, found = folds(bench.found), bench.found
    errors: dict[str, list[dict[str, float]]] = {}
    pairs = [(a, b) for a in FAMILIES for b in FAMILIES]
    count = max(1, bench.trials // 15)
    with progress("T3", len(pairs) * count) as advance:
        for n, (a, b) in enumerate(pairs * count):
            rng = np.random.default_rng([bench.seed, 300, n])
            side = "AB"[n % 2]
            pool = [r for r in found if fold[r.song] == side and r.kind != "speech"]
            x = pool[int(rng.integers(len(pool)))]
            other = [r for r in pool if r.song != x.song and r.kind == x.kind] or [r for r in pool if r.song != x.song]
            y = other[int(rng.integers(len(other)))]
            wet, reference = (
                torch.from_numpy(family(style, rng).render(piece(r.audio, rng), RATE)).float()
                for style, r in ((a, x), (b, y))
            )
            for name, system in bench.wanted(bench.quick[side]).items():
                made = _like(system(wet, reference, RATE, np.random.default_rng(n)), wet)[None]
                told = style_errors(made, reference[None], RATE) | unaligned_errors(made, reference[None], RATE)
                errors.setdefault(name, []).append({key: float(value) for key, value in told.items()})
            advance(n + 1, f"{a} to {b}")
    shown = {"MSD": "msd", "SCE, Hz": "sce_hz", "RMS, dB": "rms_db", "LUFS": "lufs", "spectrum, dB": "erb_db"}
    shown |= {"loudness over time, LU": "loudness_lu", "crest by band, dB": "band_crest_db"}
    rows: list[list[Cell]] = [
        [name, *(float(np.mean([e[key] for e in many])) for key in shown.values())] for name, many in errors.items()
    ]
    text = (
        f"Five published families to five, {count} pairs of songs each, music. There is no truth: errors are against "
        "the reference itself, which is another song, so that less is not always better. The last three do not need "
        "alignment."
    )
    return [table("T3, styles to styles", ["system", *shown], rows, text)]


# ------------------------------------------------------------------ T4: knobs recovered


def knobs_recovered(bench: Bench) -> list[Table]:
    """T4: how far the response of what was done is from that of the truth; the reference is the same recording."""
    found, fold = bench.found, folds(bench.found)
    pool = [r for r in found if r.audio.shape[1] >= 4 * RATE]
    errors: dict[tuple[str, str], list[float]] = {}
    count = max(4, bench.trials // 2)
    with progress("T4", 2 * count) as advance:
        for n in range(2 * count):
            rng = np.random.default_rng([bench.seed, 400, n])
            recording = pool[int(rng.integers(len(pool)))]
            x, rest = halves(recording.audio)
            style, kind = draw("random", rng), ("the same part", "another part")[n % 2]
            truth = style.render(x, RATE)
            reference = truth if n % 2 == 0 else style.render(rest, RATE)
            signals = [torch.from_numpy(a).float() for a in (at_peak(x), reference, truth)]
            for name, system in bench.wanted(self_systems(bench, fold[recording.song])).items():
                y = _like(system(signals[0], signals[1], RATE, np.random.default_rng(n)), signals[0])
                errors.setdefault((kind, name), []).append(response_error_db(signals[0], y, signals[2]))
            advance(n + 1, kind)
    rows: list[list[Cell]] = []
    for name in dict.fromkeys(name for _, name in errors):
        cells: list[Cell] = [name]
        for kind in ("the same part", "another part"):
            many = errors.get((kind, name), [])
            cells += [float(np.median(many)), float(np.percentile(many, 90))] if many else [None, None]
        rows.append(cells)
    text = (
        "Random styles; the reference is the styled recording itself, or the styled other half of it. The response is "
        "the change of level in 40 bands equally wide to the ear, measured from input to output, but for a common "
        "gain; the error is its mean difference from the truth's, in dB."
    )
    columns = ["system", *(f"{kind}, {what}" for kind in ("same part", "other part") for what in ("median", "P90"))]
    return [table("T4, response recovered, dB", columns, rows, text)]


def self_systems(bench: Bench, fold: str) -> dict[str, System]:
    """Quick systems, and those that search, which T4 tries on all trials."""
    found = dict(bench.quick[fold])
    if fold in bench.models and bench.product:
        found["diffmix.transfer, same-source"] = Product(bench.models[fold], mode="same-source")
    return found | {"search: statistics, Adam": gradient_search}


def response_error_db(x: Tensor, y: Tensor, truth: Tensor) -> float:
    """Mean difference in dB of what two outputs did to the long-term spectrum of x, but for a common gain."""
    levels = erb_levels_db(torch.stack([x, y, truth]), RATE)
    heard = levels[0] > levels[0].max() - 60
    change = (levels[1] - levels[2])[heard]
    return float((change - change.median()).abs().mean())


# ------------------------------------------------------------------ T5, T6: what should not happen


UNTOUCHED_DB, UNTOUCHED_LU = 0.5, 0.2


def identity(bench: Bench) -> list[Table]:
    """T5: references that have no style."""
    fold = folds(bench.found)
    changes: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    trials = list(cross_trials(bench.found, max(4, bench.trials // 2), bench.seed + 5, ["random"]))
    with progress("T5", len(trials)) as advance:
        for n, trial in enumerate(trials):
            rng = np.random.default_rng([bench.seed, 500, n])
            pool = [r for r in bench.found if r.song == trial.reference_song]
            other = torch.from_numpy(piece(pool[int(rng.integers(len(pool)))].audio, rng)).float()
            domain = "speech" if trial.group == "speech" else "music"
            for what, reference in (("another song", other), ("the input", trial.x)):
                for name, system in bench.wanted(bench.quick[fold[trial.song]]).items():
                    if name.endswith("preset") or (what == "the input" and "nearest" in name):
                        continue
                    y = _like(system(trial.x, reference, RATE, np.random.default_rng(n)), trial.x)
                    changes.setdefault((name, what, domain), []).append(change(trial.x, y))
            advance(n + 1, trial.group)
    rows: list[list[Cell]] = []
    for name, what, domain in changes:
        db, lu = np.array(changes[name, what, domain]).T
        kept = (db < UNTOUCHED_DB) & (lu < UNTOUCHED_LU)
        cells: list[Cell] = [f"{name}: {what}", domain, len(db), percent(kept.mean()), float(db.mean())]
        rows.append([*cells, float(np.percentile(db, 90)), float(lu.mean())])
    text = (
        "The reference is an unprocessed recording of another song, or the input itself. Untouched: no band of 40 "
        f"changes by {UNTOUCHED_DB} dB (both at one peak), loudness by less than {UNTOUCHED_LU} LU. The other columns "
        "are the largest change of a band, and the change of loudness."
    )
    columns = ["system: reference", "class", "trials", "untouched", "largest change, dB", "its P90", "loudness, LU"]
    return [table("T5, a reference without a style", columns, rows, text)]


def change(x: Tensor, y: Tensor) -> tuple[float, float]:
    """The largest change of a band in dB, and of loudness in LU, of recordings brought to one peak."""
    from diffmix.metrics import at_peak as level
    from diffmix.metrics import loudness_error_lu

    both = level(torch.stack([x, y]))
    levels = erb_levels_db(both, RATE)
    heard = levels[0] > levels[0].max() - 60
    lu = loudness_error_lu(both[:1], both[1:], RATE)
    return float((levels[1] - levels[0])[heard].abs().max()), float(lu)


def twice(bench: Bench) -> list[Table]:
    """T6: the result transferred again."""
    moved: dict[str, list[tuple[float, float]]] = {}
    trials = list(cross_trials(bench.found, max(3, bench.trials // 4), bench.seed + 6, ["family"]))
    with progress("T6", len(trials)) as advance:
        for n, trial in enumerate(trials):
            for name, system in bench.wanted(bench.quick[trial.fold]).items():
                if name == "input" or name.endswith("preset"):
                    continue
                once = _like(system(trial.x, trial.reference, RATE, np.random.default_rng(n)), trial.x)
                again = _like(system(once, trial.reference, RATE, np.random.default_rng(n)), trial.x)
                first, second = (
                    float(style_errors(b[None], a[None], RATE)["log_msd_db"])
                    for a, b in ((trial.x, once), (once, again))
                )
                moved.setdefault(name, []).append((first, second))
            advance(n + 1, trial.group)
    rows: list[list[Cell]] = []
    for name, many in moved.items():
        first, second = np.array(many).T
        acted = first > 0.05
        still = float((second < 0.5).mean())
        share = float(second[acted].mean() / first[acted].mean()) if acted.any() else None
        rows.append(
            [name, len(many), percent(acted.mean()), float(first.mean()), float(second.mean()), share, percent(still)]
        )
    text = "Change of the mel spectrum in dB (log-MSD) by the first and by a second transfer to the same reference."
    columns = ["system", "trials", "acted", "first, dB", "second, dB", "second over first", "second below 0.5 dB"]
    return [table("T6, twice", columns, rows, text)]


# ------------------------------------------------------------------ all of it


def features(bench: Bench) -> list[Table]:
    """T7."""
    return transfer_features.tables(bench.found, bench.trials, bench.seed, bench.embeddings)


def times(bench: Bench) -> list[Table]:
    """T8."""
    return transfer_time.tables()


TASKS: dict[str, tuple[str, Callable[[Bench], list[Table]]]] = {
    "T1": ("the same recording", same_recording),
    "T2": ("another recording", other_recording),
    "T3": ("styles to styles", style_case_study),
    "T4": ("knobs recovered", knobs_recovered),
    "T5": ("a reference without a style", identity),
    "T6": ("twice", twice),
    "T7": ("what features tell", features),
    "T8": ("time and memory", times),
}


def notes(bench: Bench) -> list[str]:
    """What all tasks have in common."""
    songs = len({r.song for r in bench.found})
    kinds = {
        kind: len({r.song for r in bench.found if r.kind == kind})
        for kind in dict.fromkeys(r.kind for r in bench.found)
    }
    what = ", ".join(f"{kind} {number}" for kind, number in sorted(kinds.items()))
    real = (
        f"{len(bench.found)} real recordings of {songs} songs (songs with each class: {what}): stems of two electronic "
        "pop songs by Software-Entwicklungskit (CC0) and their mixes, K. Hobbs \"Let's Go Fishin'\" (CC BY 3.0), K. "
        'MacLeod "Vibe Ace" (CC BY 3.0), instruments, voices and an orchestra of MTG\'s sms-tools (CC BY 4.0), '
        "Vocadito (R. Bittner et al., CC BY 4.0), LibriSpeech (CC BY 4.0), samples of Sonic Pi (CC0; some by "
        "U. Zahn)."
    )
    made = f"{len(bench.found)} recordings of {songs} generated songs, with engines that no training song has: {what}."
    return [
        real if bench.folder else made,
        f"{LENGTH / RATE:.2f} s of mono at {RATE} Hz at a peak of −12 dBFS; what is shorter is repeated. Truth: three "
        "bands (cookbook) and a compressor that smooths the reduction, rendered by code of the benchmark's own. Styles "
        "of T2: 40 % published families, 30 % random, 30 % of a quarter of the decibels.",
        "Two folds with disjoint songs: models and presets for one fold have not heard its songs; input and reference "
        "are of the same fold. Few speakers are all tested by the model that has heard none of them: with two, "
        "intervals over songs say little.",
        "Rule-based, matchering-like and search systems are our own, from published descriptions; matchering 2.0 is "
        "the program itself (S. Grishakov, GPL), run beside. DeepAFx-ST is `recipe=style_transfer` as the benchmark of "
        "its gradient methods trained it, some hundred steps; the paper's took over a million.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = os.environ.get("DIFFMIX_RECORDINGS")
    parser.add_argument("--real", type=Path, default=Path(given) if given else None, help="a folder of recordings")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--trials", type=int, default=60, help="a class")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--models", nargs="*", type=Path, help="weights for fold A and B; else those that ship")
    parser.add_argument(
        "--embeddings", nargs=2, default=(), type=Path, help="encoders of effects for fold A and B, for T7"
    )
    parser.add_argument("--deepafx", type=Path, help="a trained model of recipe=style_transfer")
    parser.add_argument("--matchering", type=Path, help="a Python that has matchering installed")
    parser.add_argument("--keep", type=Path, help="a folder for rows")
    parser.add_argument("--only", nargs="+", default=(), help="systems whose names contain this")
    parser.add_argument("--no-ours", action="store_true", help="baselines only")
    parser.add_argument("--no-product", action="store_true", help="without the whole of diffmix.transfer")
    parser.add_argument("--workers", type=int, default=1, help="processes for T1 and T2")
    parser.add_argument("--dry", action="store_true", help="print tables, publish nothing")
    a = parser.parse_args()
    torch.set_num_threads(1)
    given_models = a.models or [None, None]
    models: dict[str, Path | None] = {} if a.no_ours else dict(zip("AB", given_models, strict=True))
    bench = Bench(
        a.real,
        a.trials,
        a.seed,
        models,
        a.matchering,
        a.keep,
        a.only,
        a.deepafx,
        not a.no_product,
        a.workers,
        dict(zip("AB", a.embeddings, strict=False)),
    )
    for task in a.tasks:
        begun = time.monotonic()
        title, run = TASKS[task]
        made = run(bench)
        if a.dry:
            for one in made:
                print(one["title"], *(one["columns"], *one["rows"]), sep="\n  ")
            continue
        took = f"{time.monotonic() - begun:.0f} s; rows that were kept before are of earlier commits."
        command = f"python -m benchmarks.transfer --tasks {task}" + (" --real FOLDER" if a.real else "")
        publish(
            f"transfer_{task.lower()}", f"Style transfer {task}: {title}", made, [*notes(bench), took],
            ("numba", "numpy", "scipy"), a.seed, command,
        )  # fmt: skip


if __name__ == "__main__":
    main()
