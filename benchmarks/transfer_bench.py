"""What the tasks of the benchmark of style transfer share: recordings, systems, and trials judged by a truth."""

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

from benchmarks.transfer_content import RATE, Recording, Trial, content
from benchmarks.transfer_pesq import Pesq
from benchmarks.transfer_scores import Row, Rows
from benchmarks.transfer_search import evolution, gradient_search
from benchmarks.transfer_systems import DeepAFx, Nearest, Product, System, baselines, oracle, ours
from diffmix.metrics import style_errors
from diffmix.progress import progress

SLOW = 6
"""Systems that search are tried on one trial of six."""

SELDOM = ("random preset", "rule-based (ST-ITO)", "matchering 2.0")
"""Systems that are tried on one trial of two; the ratio to the input is that of the same trials."""

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
    pesq: Path | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Other processes make their systems themselves."""
        return {name: value for name, value in self.__dict__.items() if name not in ("quick", "slow", "listener")}

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

    @cached_property
    def listener(self) -> Pesq | None:
        """What judges speech by PESQ, where a program for it is given."""
        return Pesq(self.pesq) if self.pesq else None

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
        outputs.append(like(y, trial.x))
    errors = style_errors(torch.stack(outputs), trial.truth.expand(len(outputs), -1, -1), RATE)
    listener = _here[0].listener if trial.group == "speech" else None
    heard = listener(torch.stack(outputs), trial.truth, RATE) if listener else None
    about = {"trial": trial.name, "group": trial.group, "fold": trial.fold, "kind": trial.style.kind}
    about |= {"style": trial.style.name, "song": trial.song, "domain": "speech" if trial.group == "speech" else "music"}
    return [
        {**about, "system": system, "cpu_s": times[n], "expected": expected[n]}
        | {key: float(value[n]) for key, value in errors.items()}
        | ({"pesq": heard[n]} if heard else {})
        for n, system in enumerate(names)
    ]


def like(y: Tensor, x: Tensor) -> Tensor:
    """An output of the input's channels and length."""
    if len(y) != len(x):
        y = y.mean(0, keepdim=True) if len(x) == 1 else y.expand(len(x), -1)
    return torch.nn.functional.pad(y, (0, x.shape[-1] - y.shape[-1]))[:, : x.shape[-1]]
