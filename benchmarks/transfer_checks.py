"""T3 to T6: styles without a truth, knobs recovered, references without a style, and the same again."""

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import Cell, table
from benchmarks.transfer_bench import Bench, Table, like
from benchmarks.transfer_content import RATE, cross_trials, folds, halves, piece
from benchmarks.transfer_scores import percent
from benchmarks.transfer_search import gradient_search
from benchmarks.transfer_styles import FAMILIES, at_peak, draw, family
from benchmarks.transfer_systems import Product, System
from diffmix.metrics import erb_levels_db, style_errors, unaligned_errors
from diffmix.progress import progress

UNTOUCHED_DB, UNTOUCHED_LU = 0.5, 0.2

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
                made = like(system(wet, reference, RATE, np.random.default_rng(n)), wet)[None]
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
                y = like(system(signals[0], signals[1], RATE, np.random.default_rng(n)), signals[0])
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
        found["diffmix.transfer, same-source, bold"] = Product(bench.models[fold], mode="same-source", gate="bold")
    return found | {"search: statistics, Adam": gradient_search}


def response_error_db(x: Tensor, y: Tensor, truth: Tensor) -> float:
    """Mean difference in dB of what two outputs did to the long-term spectrum of x, but for a common gain."""
    levels = erb_levels_db(torch.stack([x, y, truth]), RATE)
    heard = levels[0] > levels[0].max() - 60
    change = (levels[1] - levels[2])[heard]
    return float((change - change.median()).abs().mean())


# ------------------------------------------------------------------ T5, T6: what should not happen


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
                    y = like(system(trial.x, reference, RATE, np.random.default_rng(n)), trial.x)
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
                once = like(system(trial.x, trial.reference, RATE, np.random.default_rng(n)), trial.x)
                again = like(system(once, trial.reference, RATE, np.random.default_rng(n)), trial.x)
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
