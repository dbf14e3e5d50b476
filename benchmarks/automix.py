"""Automatic mixing: the shipped mixer beside everything it has to be better than, on generated songs with a truth.

    python -m benchmarks.automix [--real FOLDER] [--songs 50] [--oracle 2]

Seeded; no data set and no network are needed. Held-out songs are played by engines and recorded with flaws that no
training song has; every system is told the recordings only, but for those marked "labels".
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks import mixers
from benchmarks.common import Cell, publish, table
from benchmarks.mixing import System, case, console, judged, mean, portrait, relabelled, score, sound, unlabelled
from benchmarks.mixing_ways import (
    ASKED_COLUMNS,
    SECONDS,
    TRACKS,
    arrived,
    asked,
    asked_table,
    automixer,
    held_out_song,
    in_domain_song,
    invariance_table,
    training_song,
    turned,
)
from diffmix._paths import example_dir
from diffmix.api import MODEL
from diffmix.console import Controls
from diffmix.data import audio
from diffmix.data.degrade import DEGRADATIONS, degrade
from diffmix.data.multitrack import load
from diffmix.data.synthetic import VALIDATION_SEED, generate_song
from diffmix.mix import grouped, ordered

SEED = VALIDATION_SEED + 500_000
"""The first song's; in-domain songs, those of the other tests and those to learn from have seeds of their own."""

US, US_TOLD, EQUAL, RIDGE = "diffmix", "diffmix, labels", "equal loudness, centre", "kernel ridge, 54 features"
Scores = dict[str, dict[str, float]]

COLUMNS = {
    "balance, dB": "balance_error_db",
    "pan, 0..1": "pan_error_01",
    "pan by loudness": "pan_error_weighted_01",
    "SD-MRSTFT": "sd_mrstft",
    "LTAS, dB": "ltas_error_db",
    "width, dB": "width_error_db",
    "crest, dB": "crest_error_db",
    "PLR, dB": "plr_error_db",
    "EQ, dB": "eq_error_db",
    "masking": "masking_error",
    "LUFS": "lufs_error",
}


# ------------------------------------------------------------------ systems and songs


class Rivals(NamedTuple):
    """What every job needs: the systems that learned from the training songs here, and the weights to test."""

    learned: Mapping[str, System]
    model: Path

    @property
    def ours(self) -> System:
        """The mixer under test."""
        return partial(automixer, model=self.model)


def systems(seed: int, rivals: Rivals) -> dict[str, tuple[System, bool]]:
    """Every system by name, and whether it is told labels; ``seed`` is the song's."""
    return {
        "raw sum, centre": (mixers.raw_sum, False),
        "peaks at −12 dBFS": (mixers.peak_sum, False),
        EQUAL: (mixers.equal_loudness, False),
        "equal loudness, left and right": (mixers.equal_alternating, False),
        "random ±12 dB, random pan": (mixers.random_mix, False),
        **{name: (system, False) for name, system in rivals.learned.items()},
        US: (rivals.ours, False),
        US_TOLD: (rivals.ours, True),
        "usual for the role, labels": (mixers.rules, True),
        "another engineer, labels": (mixers.second_engineer(seed), True),
        "the truth ±1 dB, ±0.05": (mixers.nearly_true(seed), True),
    }


# ------------------------------------------------------------------ work, one song at a time


def taught(seed: int) -> mixers.Lesson:
    """A lesson for the systems that learn here."""
    return mixers.lesson(training_song(seed), seed)


def scored(job: tuple[str, int, Rivals]) -> Scores:
    """Scores of every system on one song."""
    kind, seed, rivals = job
    made = case((held_out_song if kind == "held_out" else in_domain_song)(seed), seed)
    return {name: judged(made, *system) for name, system in systems(seed, rivals).items()}


def flawed(job: tuple[int, Rivals]) -> dict[str, Scores]:
    """Scores of some systems on one song with each flaw alone; the engineer hears the same recordings."""
    seed, rivals = job
    clean = generate_song(seed, SECONDS, tracks=(4, 12))
    tried = {EQUAL: mixers.equal_loudness, RIDGE: rivals.learned[RIDGE], US: rivals.ours}
    found = {}
    for flaw in ("none", *DEGRADATIONS):
        song = clean if flaw == "none" else degrade(clean, seed, only=flaw, held_out=True)
        made = case(song, seed)
        found[flaw] = {name: judged(made, system) for name, system in tried.items()}
    return found


def oracle(seed: int, steps: int = 150) -> dict[str, float]:
    """What gradient descent on the knobs makes of equal loudness when it hears the true mix."""
    from diffmix.systems.fit import fit_controls

    made = case(generate_song(seed, SECONDS, engines="held_out", tracks=(4, 8)), seed)
    desk = console(made.song.sample_rate)
    tracks, order = grouped(made.song)
    names = [made.song.tracks[n].name for n in order]
    start = desk.encode(ordered(mixers.equal_alternating(made.song), names))
    target = made.truth.mix[None]
    found: Controls = fit_controls(desk, tracks, target, start, names=names, steps=steps)
    settings = desk.settings(found, names, [len(made.song.tracks[n].audio) for n in order])
    return score(sound(made.song, settings, made.leads), made.truth, made.song.sample_rate)


# ------------------------------------------------------------------ tables


def summary(found: Sequence[Scores]) -> list[list[Cell]]:
    """Means over songs by system, and on which share of them it is better balanced than equal loudness."""
    rows: list[list[Cell]] = []
    for name in found[0]:
        cells: list[Cell] = [name]
        for key in COLUMNS.values():
            cells.append(mean([one[name][key] for one in found]))
        wins = np.mean([one[name]["balance_error_db"] < one[EQUAL]["balance_error_db"] for one in found])
        rows.append([*cells, None if name == EQUAL else f"{100 * wins:.0f} %"])
    return rows


def beside(found: Sequence[Scores], key: str = "balance_error_db", draws: int = 10_000) -> list[list[Cell]]:
    """Our error minus each other system's: mean, its 95 % interval by a paired bootstrap over songs, wins."""
    rng = np.random.default_rng(0)
    rows: list[list[Cell]] = []
    for name in found[0]:
        if name == US:
            continue
        change = np.array([one[US][key] - one[name][key] for one in found])
        means = change[rng.integers(len(change), size=(draws, len(change)))].mean(1)
        low, high = np.percentile(means, (2.5, 97.5))
        rows.append([name, float(change.mean()), float(low), float(high), f"{100 * (change < 0).mean():.0f} %"])
    return rows


def flaws_table(found: Sequence[dict[str, Scores]]) -> list[list[Cell]]:
    """Balance errors by flaw."""
    rows: list[list[Cell]] = []
    for flaw in found[0]:
        kept = flaw in DEGRADATIONS and DEGRADATIONS[flaw].held_out
        errors = [mean([one[flaw][name]["balance_error_db"] for one in found]) for name in found[0][flaw]]
        rows.append([f"{flaw.replace('_', ' ')}{' (held out)' if kept else ''}", *errors])
    return rows


def real_table(folder: Path | None, rivals: Rivals) -> dict[str, Any]:
    """Real stems, of which nobody knows the true mix."""
    folders = sorted(f for f in folder.iterdir() if f.is_dir()) if folder else [Path(example_dir())]
    tried = {
        "raw sum": mixers.raw_sum,
        EQUAL: mixers.equal_loudness,
        RIDGE: rivals.learned[RIDGE],
        US: rivals.ours,
        "usual for the role, labels": mixers.rules,
    }
    rows: list[list[Cell]] = []
    for song in map(load, folders):
        # the middle minute: stems of whole songs rest for long
        first = max(0, (song.length - 60 * song.sample_rate) // 2)
        cut = slice(first, first + 60 * song.sample_rate)
        song = replace(song, tracks=tuple(replace(t, audio=t.audio[:, cut]) for t in song.tracks))
        blind = unlabelled(song, 0)
        for name, system in tried.items():
            settings = system(song) if name.endswith("labels") else relabelled(system(blind), song)
            told = portrait(song, settings)
            rows.append([f"{song.name}: {name}", *(None if np.isnan(v) else v for v in told.values())])
    columns = [
        *("song and system", "LUFS", "50–140 Hz, dB", "140–560 Hz", "0.56–2.8 kHz", "2.8–18 kHz"),
        *("width, dB", "crest, dB", "tracks heard", "lead heard"),
    ]
    text = (
        "The middle minute of each song. Loudness as the system leaves it; the rest at −16 LUFS. Bands are levels "
        "beside the whole. Heard is the share of time and Bark bands in which a track stands above the rest of the mix "
        "less 6 dB, as a mean over the tracks, and for the lead vocal."
    )
    return table("Real stems", columns, rows, text)


TIMED = """
import json, sys, time
wall, cpu = time.perf_counter(), time.process_time()
import diffmix
mix = diffmix.automix(sys.argv[1], model=sys.argv[3])
mixed = time.perf_counter() - wall
mix.save(sys.argv[2])
with open("/proc/self/status") as status:  # ru_maxrss begins with what the parent had at most
    peak = int(status.read().split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps([mixed, time.perf_counter() - wall, time.process_time() - cpu, peak]))
"""


def timed(model: Path) -> list[list[Cell]]:
    """A song of 3 minutes and 24 tracks from its files to a saved mix, in a process of its own."""
    song = generate_song(SEED - 1, 180.0, tracks=(24, 24))
    with tempfile.TemporaryDirectory() as scratch:
        stems = Path(scratch) / "stems"
        stems.mkdir()
        for track in song.tracks:
            audio.write_wav(stems / f"{track.name}.wav", track.audio, song.sample_rate)
        command = [sys.executable, "-c", TIMED, str(stems), str(Path(scratch) / "out"), str(model)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    mixed, wall, cpu, peak = json.loads(done.stdout.splitlines()[-1])
    rows: list[list[Cell]] = [["tracks", len(song.tracks)], ["until the mix is there, s", mixed]]
    return [*rows, ["and saved, s", wall], ["CPU time, s", cpu], ["peak memory, MiB", peak]]


# ------------------------------------------------------------------ all of it


def learned_systems(lessons: Sequence[mixers.Lesson]) -> dict[str, System]:
    """The systems that learn from the training songs here."""
    return {"the mean of all, for every track": mixers.Constant.of(lessons), RIDGE: mixers.KernelRidge.of(lessons)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, help="a folder of songs, each a folder of stems; else the example")
    parser.add_argument("--model", type=Path, default=MODEL, help="weights to test; else those that ship")
    parser.add_argument("--songs", type=int, default=50, help="held-out songs")
    parser.add_argument("--lessons", type=int, default=48, help="songs that the regressions learn from")
    parser.add_argument("--oracle", type=int, default=2, help="songs that gradient descent mixes, minutes each")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    a = parser.parse_args()
    begun = time.monotonic()
    torch.set_num_threads(1)
    context = get_context("spawn")
    with ProcessPoolExecutor(a.workers, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:

        def work(task: Callable[[Any], Any], jobs: Sequence[Any]) -> list[Any]:
            found = list(pool.map(task, jobs))
            print(f"{time.monotonic() - begun:6.0f} s  {task.__name__}, {len(found)} songs", flush=True)
            return found

        rivals = Rivals(learned_systems(work(taught, range(a.lessons))), a.model)
        held_out = work(scored, [("held_out", SEED + n, rivals) for n in range(a.songs)])
        in_domain = work(scored, [("in_domain", SEED + 1000 + n, rivals) for n in range(-(-2 * a.songs // 5))])
        flaws = work(flawed, [(SEED + 2000 + n, rivals) for n in range(min(5, a.songs))])
        turns = work(turned, [(SEED + 3000 + n, a.model) for n in range(min(3, a.songs))])
        ways = work(arrived, [(SEED + 5000 + n, a.model) for n in range(min(20, a.songs))])
        wishes = work(asked, [(SEED + 6000 + n, a.model) for n in range(min(20, a.songs))])
        fitted = work(oracle, [SEED + 4000 + n for n in range(a.oracle)])
    columns = ["system", *COLUMNS, "wins"]
    fit_row: list[Cell] = ["gradient descent", *(mean([one[key] for one in fitted]) for key in COLUMNS.values())]
    of_song = f"{SECONDS:g} s, {TRACKS[0]} to {TRACKS[1]} tracks"
    tables = [
        table(
            f"{len(held_out)} held-out songs",
            columns,
            summary(held_out),
            f"Songs of {of_song}, played by engines and recorded with flaws that training does not have. Mean errors "
            "against the true mix, both at −16 LUFS; less is better. `wins`: share of songs with a better balance than "
            "equal loudness. `LUFS`: difference in loudness before matching. `diffmix.metrics.PANEL` defines them all.",
        ),
        table(f"{len(in_domain)} songs of the kind that training has", columns, summary(in_domain), f"{of_song}."),
        table(
            "Balance on the held-out songs beside each system",
            ["system", "ours minus its, dB", "95 % interval from", "to", "we win"],
            beside(held_out),
            "Paired bootstrap over songs.",
        ),
        table(
            "One flaw at a time",
            ["flaw of every recording", *flaws[0]["none"]],
            flaws_table(flaws),
            f"Balance error in dB, mean of {len(flaws)} songs of 4 to 12 tracks, engines of training.",
        ),
        table(
            "What should not matter",
            ["change", "mean", "largest"],
            invariance_table(turns),
            f"The shipped mixer on {len(turns)} held-out songs.",
        ),
        table(
            "As songs come",
            ["held-out songs", "balance error, dB"],
            [[name, mean([one[name] for one in ways])] for name in ways[0]],
            f"The shipped mixer on {len(ways)} songs of {of_song}; what it makes of the changed song is scored on the "
            "song as it is.",
        ),
        table(
            "As it is asked",
            ASKED_COLUMNS,
            asked_table(wishes),
            f"{len(wishes)} songs of {of_song}, mixed in a style that is drawn. The mixer is told nothing of it, the "
            "style in its six numbers, or hears another song in that style, the reference. Errors against the true "
            "mix, and distances to the reference, whose instruments are others: the nearest is not the best.",
        ),
        *(
            [
                table(
                    "What the console can reach",
                    columns[:-1],
                    [fit_row],
                    f"{len(fitted)} clean songs of 4 to 8 tracks.",
                )
            ]
            if fitted
            else []
        ),
        real_table(a.real, rivals),
        table("Time and memory", ["3 minutes of 24 tracks, one process", "value"], timed(a.model)),
    ]
    notes = [
        "The truth is what one engineer of `diffmix.data.knowledge`, whose style nobody is told, does with the same "
        "recordings and true roles; `another engineer` is the error of a colleague, below which nothing can be told.",
        f"`{RIDGE}` learns loudness and distance from the centre from {a.lessons} songs, half of them clean, of "
        "which `the mean of all` is the mean.",
        "A track's position is measured behind pan and balance; the nearer of the target and its mirror image counts.",
        f"The whole benchmark took {time.monotonic() - begun:.0f} s with {a.workers} processes.",
    ]
    publish("automix", "Automatic mixing", tables, notes, ("numba", "numpy", "scipy"), SEED)


if __name__ == "__main__":
    main()
