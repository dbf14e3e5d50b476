"""Finding the graph of a mix: what is kept and how it is set, beside grafx-prune's ways, where the truth is known.

The truth is the console of ``conf/console/estimate.yaml`` with a random quarter to a third of its effects and sends.
"""

import argparse
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from statistics import mean

import numba
import numpy as np
import torch
from torch import Tensor

from benchmarks.common import Cell, publish, table
from diffmix.console import Console, shipped
from diffmix.data.fullness import moments
from diffmix.data.synthetic import generate_song
from diffmix.graph import Graph, Node, Renderer, Session
from diffmix.graph.fitting import Excerpts, fit_anew, fit_graph
from diffmix.graph.inaudible import difference_from
from diffmix.graph.pruning import ROUNDS, candidates, effects, prune_graph, without
from diffmix.graph.run import Sources
from diffmix.processors import ParametricEQ
from diffmix.progress import progress

SAMPLE_RATE = 22_050
SECONDS, PIECE_S, WARM_UP_S = 8.0, 2.5, 0.5
TRACKS = 5
AUDIBLE_DB = 0.3
"""What changes the mix by less, when it is taken out of the truth, need not be found."""

LEVELS = ("fader", "pan", "gain")
"""Stages that every truth has: their names do not count, for a gain moves along a strip, or to the master."""

# ------------------------------------------------------------------ truths


@dataclass(frozen=True)
class Case:
    """A mix whose graph is known.

    ``whole`` is where is looked, ``heard`` the excerpts; ``truth`` holds what made the mix, ``used`` its effects and
    sends as `uses` names them, and ``silent`` those of them that nobody hears.
    """

    whole: Graph
    truth: Graph
    heard: Excerpts
    used: frozenset[str]
    silent: frozenset[str]


def case(seed: int) -> Case:
    """A song and a truth, drawn."""
    rng = np.random.default_rng([7, seed])
    song = generate_song(seed, SECONDS, SAMPLE_RATE, tracks=(TRACKS, TRACKS))
    tracks: Sources = {t.name: t.audio[None] for t in song.tracks}
    whole = Console.from_layout(shipped("estimate"), SAMPLE_RATE).to_graph({t.name: len(t.audio) for t in song.tracks})
    pool = sorted(uses(whole))
    used = set(rng.choice(pool, round(len(pool) * rng.uniform(0.25, 0.35)), replace=False).tolist())
    truth = whole
    for name in effects(whole):
        if (use := _use(truth, name)) is not None and use not in used:
            truth = without(truth, name) or truth
    # what is behind is set when it is known how loud that is which arrives
    for name in (*(n for n in truth.check().order if not n.startswith("master.")), "master.compressor", "master.gain"):
        if name in truth and truth[name].params:
            arriving = Session(truth, tracks, SAMPLE_RATE).signal(truth.into(name)[0].source.node)
            truth = truth.turned(name, **drawn(truth[name], arriving, rng))
    if "master.eq" in truth:
        truth = truth.turned("master.eq", **drawn(truth["master.eq"], torch.zeros(1), rng))
    for edge in truth.edges:
        if edge.gain_db is not None:
            truth = truth.turned(edge.name, gain_db=rng.uniform(-14, -4))
    with torch.no_grad():
        (mix,) = Renderer(truth, SAMPLE_RATE).render(tracks).values()
    length, warm_up = round(PIECE_S * SAMPLE_RATE), round(WARM_UP_S * SAMPLE_RATE)
    heard = Excerpts.of(tracks, mix, SAMPLE_RATE, moments(song, length, 2), length, warm_up)
    session, away = Session(truth, heard.sources, SAMPLE_RATE), Distance(heard)
    gone = {_use(truth, name): away(session, less) for name in effects(truth) if (less := without(truth, name))}
    silent = {use for use in used if gone.get(use, 0.0) < AUDIBLE_DB}
    return Case(whole, truth, heard, frozenset(used), frozenset(silent))


def drawn(node: Node, arriving: Tensor, rng: np.random.Generator) -> dict[str, float]:
    """Settings that one hears of an effect, for what arrives at it."""
    peak_db = float(20 * arriving.abs().max().clamp_min(1e-3).log10())
    u = rng.uniform
    if node.kind == "ParametricEQ":
        bands = [knob for knob in node.params if knob.endswith("gain_db")]
        return {band: float(u(4, 10) * rng.choice((-1, 1))) for band in rng.choice(bands, 2, replace=False)}
    if node.kind == "Compressor":
        times = {"attack_ms": u(2, 30), "release_ms": u(60, 300)}
        return {"threshold_db": max(peak_db - u(10, 20), -60.0), "ratio": u(3, 6), **times}
    if node.kind == "Expander":
        times = {"attack_ms": u(0.5, 5), "release_ms": u(50, 200)}
        return {"threshold_db": max(peak_db - u(15, 25), -80.0), "ratio": u(2, 4), **times}
    if node.kind == "Gain":
        return {"gain_db": u(-10, 2)}
    if node.kind == "Reverb":
        return {"room_size": u(0.3, 0.9), "damping": u(0.2, 0.8)}
    if node.kind == "Delay":
        return {"delay_seconds": u(0.1, 0.6), "feedback": u(0, 0.5)}
    width = 0.8 if node.kind == "Panner" else 0.4
    return {knob: u(-width, width) for knob in node.params if knob in ("pan", "balance")}


def uses(graph: Graph) -> frozenset[str]:
    """The effects and sends of a graph that count, sends as ``track > bus`` wherever in the strip they begin."""
    return frozenset(use for name in effects(graph) if (use := _use(graph, name)) is not None)


def _use(graph: Graph, name: str) -> str | None:
    """What an effect or a send is called; None for levels, and for what belongs to the sends into it."""
    if name in graph:
        strip, _, stage = name.partition(".")
        return None if stage in LEVELS or strip in ("reverb", "delay") else name
    begin, _, end = name.partition(">")
    return f"{begin.partition('.')[0].partition(':')[0]} > {end.partition('.')[0].partition(':')[0]}"


# ------------------------------------------------------------------ ways to take out what is not needed


class Distance:
    """How far what a graph makes of excerpts is from their target, in dB, and how often that was asked."""

    def __init__(self, heard: Excerpts) -> None:
        self.heard = heard
        self.difference = difference_from(heard.target[..., heard.warm_up :])
        self.asked = 0

    def __call__(self, session: Session | None, graph: Graph) -> float:
        """By a session, or without one, all of it rendered."""
        self.asked += 1
        if session is None:
            sources = {name: x for name, x in self.heard.sources.items() if name in graph}
            with torch.no_grad():
                y = Renderer(graph, self.heard.sample_rate).render(sources)
        else:
            y = session.render(graph)
        return self.difference(y[graph.outputs[0]][..., self.heard.warm_up :])


@dataclass(frozen=True)
class Found:
    """What a way led to."""

    graph: Graph
    trials: int = 0


Way = Callable[[Graph, Excerpts, int], Found]


def ours(within_db: float) -> Way:
    """As `diffmix.estimate_graph`."""

    def way(fitted: Graph, heard: Excerpts, refit: int) -> Found:
        found = prune_graph(fitted, heard, within_db=within_db, refit=refit)
        return Found(found.graph, found.trials)

    return way


def brute_force(within_db: float, seed: int, session: bool = True) -> Way:
    """grafx-prune's: rounds in which each is tried once in random order, and stays out where that is near enough."""

    def way(fitted: Graph, heard: Excerpts, refit: int) -> Found:
        shuffled, away = random.Random(seed), Distance(heard)
        graph = fitted
        editing = Session(graph, heard.sources, heard.sample_rate) if session else None
        best = away(editing, graph)
        for _ in range(ROUNDS):
            names = candidates(graph)
            shuffled.shuffle(names)
            for name in names:
                less = without(graph, name)
                if less is not None and away(editing, less) <= best + within_db:
                    graph = less
                    if editing:
                        editing.keep(graph)
            graph = fit_graph(graph, heard, steps=refit, learning_rate=0.05)
            if editing:
                editing.keep(graph)
            best = min(best, away(editing, graph))
        return Found(graph, away.asked)

    return way


WAYS: dict[str, Way] = {
    "everything": lambda fitted, heard, refit: Found(fitted),
    **{f"diffmix, within {db:g} dB": ours(db) for db in (0.05, 0.1, 0.3)},
    **{f"brute force, within 0.1 dB, order {seed}": brute_force(0.1, seed) for seed in (1, 2)},
    "the same order 1, all rendered": brute_force(0.1, 1, session=False),
}

# ------------------------------------------------------------------ judged


def knob_errors(found: Graph, case: Case) -> dict[str, list[float]]:
    """How far knobs of what was found, and one hears, are from the truth's."""
    errors: dict[str, list[float]] = {}

    def add(what: str, error: float) -> None:
        errors.setdefault(what, []).append(abs(error))

    truth = case.truth
    for name in (case.used - case.silent) & uses(found):
        if " > " in name:
            mine, theirs = (next(e for e in effects(g) if _use(g, e) == name) for g in (found, truth))
            add("send, dB", _gain_db(found, mine) - _gain_db(truth, theirs))
        elif truth[name].kind == "Compressor":
            add("threshold, dB", found[name].setting("threshold_db") - truth[name].setting("threshold_db"))
            add("ratio, octaves", float(np.log2(found[name].setting("ratio") / truth[name].setting("ratio"))))
        elif truth[name].kind == "ParametricEQ":
            difference = _response_db(found[name]) - _response_db(truth[name])
            add("EQ, dB rms", float((difference - difference.mean()).square().mean().sqrt()))
    if "reverb.reverb" in found and "reverb.reverb" in truth:
        add("room size", found["reverb.reverb"].setting("room_size") - truth["reverb.reverb"].setting("room_size"))
    return errors


def _gain_db(graph: Graph, name: str) -> float:
    return next(e.gain_db for e in graph.edges if e.name == name) or 0.0


def _response_db(node: Node) -> Tensor:
    """What an equaliser does from 50 Hz to 8 kHz."""
    hz = torch.logspace(np.log10(50), np.log10(8000), 80, dtype=torch.float64)
    return ParametricEQ(SAMPLE_RATE).response_db(hz, dict(node.settings))


KNOBS = ("threshold, dB", "ratio, octaves", "EQ, dB rms", "send, dB", "room size")


def judged(found: Found, case: Case, cpu_s: float) -> dict[str, float]:
    """The figures of a row, on one song."""
    kept = uses(found.graph)
    hits, wanted = len(kept & (case.used - case.silent)), len(case.used - case.silent)
    wrong = len(kept - case.used)
    session = Session(found.graph, case.heard.sources, SAMPLE_RATE)
    return {
        "away": Distance(case.heard)(session, found.graph),
        "removed": 1 - len(effects(found.graph)) / len(effects(case.whole)),
        "hits": hits,
        "wrong": wrong,
        "wanted": wanted,
        "trials": found.trials,
        "cpu": cpu_s,
    }


def songs(seeds: Sequence[int], ways: dict[str, Way], steps: int) -> tuple[list[list[Cell]], list[str]]:
    """A row for each way, all songs together, and what is to be said of them."""
    rows: dict[str, list[dict[str, float]]] = {}
    errors: dict[str, dict[str, list[float]]] = {}
    alike: list[float] = []
    silent = used = plain = 0.0
    with progress("Songs", len(seeds) * (len(ways) + 2)) as advance:
        for n, seed in enumerate(seeds):
            made = case(seed)
            silent, used = silent + len(made.silent), used + len(made.used)
            plain += Distance(made.heard)(None, made.whole) / len(seeds)
            kept: dict[str, frozenset[str]] = {}

            def add(
                name: str, run: Callable[[], Found], shared_s: float = 0.0, made: Case = made, kept: dict = kept
            ) -> Found:
                before = time.process_time()
                found = run()
                cpu_s = time.process_time() - before
                rows.setdefault(name, []).append(judged(found, made, cpu_s + shared_s))
                for knob, many in knob_errors(found.graph, made).items():
                    errors.setdefault(name, {}).setdefault(knob, []).extend(many)
                kept[name] = uses(found.graph)
                return found

            def fitted(graph: Graph, made: Case = made) -> Graph:
                return fit_anew(graph, made.heard, steps=steps)

            advance(n * (len(ways) + 2), f"song {seed}: fitting")
            before = time.process_time()
            whole = fitted(made.whole)
            shared_s = time.process_time() - before
            for m, (name, way) in enumerate(ways.items()):
                add(name, partial(way, whole, made.heard, max(1, steps // 4)), shared_s)
                advance(n * (len(ways) + 2) + m + 1, f"song {seed}: {name}")
            neutral = neutralised(made.truth)
            add("the truth's graph, fitted", partial(_alone, fitted, neutral))
            advance((n + 1) * (len(ways) + 2), f"song {seed}")
            drawn_sets = [kept[name] for name in kept if name.startswith("brute force")]
            alike += [len(a & b) / max(1, len(a | b)) for a, b in pairwise(drawn_sets)]
    cells = [[name, *summary(many, errors.get(name, {}))] for name, many in rows.items()]
    notes = [
        f"{len(seeds)} songs; the tracks just added are {plain:.3g} dB away. {used:.0f} effects and sends that count "
        f"were on, {silent:.0f} of them change the mix by less than {AUDIBLE_DB} dB: found or not, they do not count.",
        f"Two orders of the brute force keep sets that have {mean(alike or [1]):.2f} of their union in common "
        "(Jaccard); ours has no order to draw.",
    ]
    return cells, notes


def _alone(fitted: Callable[[Graph], Graph], graph: Graph) -> Found:
    return Found(fitted(graph))


def neutralised(graph: Graph) -> Graph:
    """The graph with every effect at its defaults and every cable turned down."""
    for node in graph:
        if node.values:
            graph = graph.replaced(node.name, values={})
    for edge in graph.edges:
        if edge.gain_db is not None:
            graph = graph.turned(edge.name, gain_db=-60.0)
    return graph


def summary(many: Sequence[dict[str, float]], errors: dict[str, list[float]]) -> list[Cell]:
    """The cells of a row: counts of all songs together, means of the rest, medians of knobs."""
    total = {key: sum(one[key] for one in many) for key in many[0]}
    precision = total["hits"] / max(1, total["hits"] + total["wrong"])
    recall = total["hits"] / max(1, total["wanted"])
    f1 = 2 * precision * recall / max(1e-9, precision + recall)
    n = len(many)
    cells: list[Cell] = [total["away"] / n, total["removed"] / n, precision, recall, f1]
    cells += [float(np.median(errors[knob])) if knob in errors else None for knob in KNOBS]
    return [*cells, round(total["trials"] / n), total["cpu"] / n]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=80, help="of the first fit; each further one takes a quarter")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="ways whose names hold this, and no results are written")
    a = parser.parse_args()
    numba.set_num_threads(1)
    torch.set_num_threads(1)
    seeds = [1000 + 100 * a.seed + n for n in range(a.songs)]
    ways = {name: way for name, way in WAYS.items() if a.only in name}
    rows, notes = songs(seeds, ways, a.steps)
    columns = ["way", "away, dB", "removed", "precision", "recall", "F1", *KNOBS, "renders tried", "CPU s"]
    if a.only:
        print(*columns, sep=" | ")
        for row in rows:
            print(*row, sep=" | ")
        print(*notes, sep="\n")
        return
    text = (
        f"{TRACKS} generated tracks at {SAMPLE_RATE} Hz, two excerpts of {PIECE_S} s; the first fit has {a.steps} "
        f"steps of Adam, each after a round {a.steps // 4}. All ways begin with the same fitted graph, hear the same "
        "distance (`diffmix.graph.inaudible.difference_db`) and are counted with that fit. Knobs: medians of the "
        "absolute error where the effect was found; an equaliser's response but for its mean, which a gain can make."
    )
    notes += [
        "Precision and recall are of gates, equalisers, compressors and sends, all songs together. Faders and pans are "
        "in every truth and a gain may move along a strip or to the master: they do not count. A send is one of its "
        "track, wherever in the strip it begins.",
        "grafx-prune's brute force tries what is left once a round in random order; its allowance is on another "
        "distance and its rounds are longer. Its dry/wet search, and so its hybrid, needs a weight at each effect "
        "while the whole is fitted, from which another graph comes: left out.",
    ]
    tables = [table("What is kept", columns, rows, text)]
    command = f"python -m benchmarks.pruning --songs {a.songs} --steps {a.steps}"
    publish("pruning", "Finding the graph of a mix", tables, notes, ("numba",), a.seed, command)


if __name__ == "__main__":
    main()
