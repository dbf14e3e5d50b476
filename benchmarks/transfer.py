"""Style transfer: from one recording to another, beside everything it has to be better than, with a known truth.

    python -m benchmarks.transfer [--real FOLDER] [--tasks T1 T2 ...] [--trials 60] [--models A B] [--matchering PYTHON]

Tasks: T1 same recording, T2 another recording, T3 styles to styles without a truth, T4 knobs recovered, T5 a reference
without a style, T6 twice, T7 what features tell, T8 time, extras: styles beyond two effects. Seeded; no data set and no
network are needed. With --keep rows are kept in a folder: systems can be added, and an interrupted run goes on where it
was. One core unless --workers says more.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import transfer_checks, transfer_features, transfer_time, transfer_truth
from benchmarks.common import publish
from benchmarks.transfer_bench import Bench, Table
from benchmarks.transfer_content import LENGTH, RATE

SEED = 2026


def features(bench: Bench) -> list[Table]:
    """T7."""
    return transfer_features.tables(bench.found, bench.trials, bench.seed, bench.embeddings)


def times(bench: Bench) -> list[Table]:
    """T8."""
    return transfer_time.tables()


TASKS: dict[str, tuple[str, Callable[[Bench], list[Table]]]] = {
    "T1": ("the same recording", transfer_truth.same_recording),
    "T2": ("another recording", transfer_truth.other_recording),
    "T3": ("styles to styles", transfer_checks.style_case_study),
    "T4": ("knobs recovered", transfer_checks.knobs_recovered),
    "T5": ("a reference without a style", transfer_checks.identity),
    "T6": ("twice", transfer_checks.twice),
    "T7": ("what features tell", features),
    "T8": ("time and memory", times),
    "extras": ("styles that an equaliser and a compressor cannot make", transfer_truth.extra_styles),
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
    parser.add_argument("--pesq", type=Path, help="a Python that has pesq installed, for speech in T1, T2 and extras")
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
        a.pesq,
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
