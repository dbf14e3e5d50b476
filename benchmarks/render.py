"""Rendering graphs: grafx-prune's console and our own beside grafx, pruning trials, an hour of audio, random graphs.

Backward gives gradients to the audio and to every knob. Needs ``pip install -e .[bench]``.
"""

import argparse
import math
import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Literal

import numba
import torch
from torch import Tensor

from benchmarks.common import Cell, decibels, in_turns, peak_mib, publish, table
from benchmarks.console import audio as bursts
from benchmarks.console import both, columns, forward
from benchmarks.full_console import KINDS, SAMPLE_RATE, SAMPLES, full_graph, grafx_full, ours_full, pairs
from benchmarks.peers import SAMPLE_RATE as DESK_RATE
from benchmarks.peers import TRACKS, Rendering, compressor_values, eq_values, grafx_console
from diffmix.console import Console
from diffmix.graph import Graph, Renderer, Session, random_graph, streamed
from diffmix.graph.grammar import Grammar
from diffmix.graph.node import BUILT_IN
from diffmix.graph.run import Sources
from diffmix.processors import ParametricEQ
from diffmix.settings import Settings

DESK_SECONDS = 10.0
CHUNK = 1 << 17
"""Samples per chunk of the hour."""


def full_audio(tracks: int, seed: int) -> Tensor:
    """Noise in bursts, (N, 2, T)."""
    return bursts(2, SAMPLES / DESK_RATE + 1e-6, torch.Generator().manual_seed(seed), tracks)


def desk_graph(tracks: int, seed: int) -> Graph:
    """Our default console with stereo tracks, turned as the one of `benchmarks.console`."""
    generator = torch.Generator().manual_seed(seed)
    names = [f"track {n + 1}" for n in range(tracks)]
    eq, compressor = eq_values(tracks + 1, generator), compressor_values(tracks + 1, generator)

    def strip(n: int) -> dict[str, dict[str, float]]:
        params = ParametricEQ.declared
        bands = {k: min(max(v[n].item(), params[k].low), params[k].high) for k, v in eq.items()}
        return {"eq": bands, "compressor": {k: v[n].item() for k, v in compressor.items()}}

    settings = Settings(
        tracks={name: {**strip(n), "send": {"gain_db": -12.0}} for n, name in enumerate(names)},
        master=strip(tracks),
    )
    return Console(DESK_RATE).to_graph(dict.fromkeys(names, 2), settings)


def ours_desk(x: Tensor, seed: int) -> Rendering:
    """The default console on tracks x (N, 2, T), every knob by a tensor."""
    graph = desk_graph(len(x), seed)
    renderer = Renderer(graph, DESK_RATE)
    knobs = grouped(graph)
    tracks = x[None].requires_grad_()
    sources: Sources = {graph.sources: tracks}
    return lambda: (renderer.render(sources, knobs)["out"], [tracks, *knobs.values()])


def grouped(graph: Graph) -> dict[str | tuple[str, ...], Tensor]:
    """The knobs of a desk as a few tensors (1, n), of all tracks together."""
    owners: dict[tuple[str, str], list[str]] = {}
    for node in graph:
        strip, _, stage = node.name.partition(".")
        for knob in node.params:
            owners.setdefault((stage if strip in graph.sources else node.name, knob), []).append(node.name)
    found: dict[str | tuple[str, ...], Tensor] = {
        tuple(f"{name}.{knob}" for name in nodes): torch.tensor([[graph[n].setting(knob) for n in nodes]])
        for (_, knob), nodes in owners.items()
    }
    sends = [edge for edge in graph.edges if edge.gain_db is not None]
    found[tuple(f"{e.name}.gain_db" for e in sends)] = torch.tensor([[e.gain_db for e in sends]])
    return {keys: value.requires_grad_() for keys, value in found.items()}


def consoles(renderings: Mapping[str, Rendering], turns: int) -> list[list[Cell]]:
    """A row per rendering: medians forward and with backward, then CPU and memory relative to the first one."""
    once = in_turns({name: forward(r) for name, r in renderings.items()}, turns)
    twice = in_turns({name: both(r) for name, r in renderings.items()}, turns)
    first = next(iter(renderings))
    rows: list[list[Cell]] = []
    for name in renderings:
        row: list[Cell] = [name]
        for times in (once, twice):
            row += [times[name].cpu, times[name].peak_mib]
        for times in (once, twice):
            row += [times[name].cpu / times[first].cpu, times[name].peak_mib / times[first].peak_mib]
        rows.append(row)
        print(*row)
    return rows


def growth(sizes: Sequence[int], turns: int, seed: int) -> list[list[Cell]]:
    """A row per number of tracks: steps, and CPU time with backward per track, of both consoles."""
    rows: list[list[Cell]] = []
    for tracks in sizes:
        row: list[Cell] = [tracks]
        x = full_audio(tracks, seed)
        for graph, run in (
            (full_graph(tracks, tracks // 4, seed), ours_full(x, tracks // 4, seed)),
            (desk_graph(tracks, seed), ours_desk(x, seed)),
        ):
            times = in_turns({"forward": forward(run), "both": both(run)}, turns)
            row += [len(graph), Renderer(graph, SAMPLE_RATE).plan.count]
            row += [cell for t in times.values() for cell in (t.cpu, t.peak_mib)]
        rows.append(row)
        print(*row)
    return rows


def trials(name: str, graph: Graph, sources: Tensor, rate: float, sample: int, seed: int) -> list[list[Cell]]:
    """Rows by kind of node: CPU time of a full render beside one without a node, by a session; and whether both agree.

    The removals are a seeded sample of all nodes that are effects; the last row is their mean.
    """
    given: Sources = {graph.sources: sources}
    renderer, session = Renderer(graph, rate), Session(graph, given, rate)
    effects = [node.name for node in graph if node.kind not in BUILT_IN]
    chosen = sorted(random.Random(seed).sample(effects, min(sample, len(effects))), key=effects.index)
    spent: dict[str, list[float]] = {}
    full_ms: list[float] = []
    differing = 0
    for number, node in enumerate(chosen):
        edited = graph.without(node)
        cost = math.inf
        for _ in range(2):  # the first one asks the system for memory that the second one has
            before = time.process_time()
            found = session.render(edited)["out"]
            cost = min(cost, 1e3 * (time.process_time() - before))
        strip, _, stage = node.partition(".")
        spent.setdefault(f"{'track' if strip in graph.sources else strip.split()[0]}: {stage}", []).append(cost)
        if number % max(len(chosen) // 6, 1) == 0:
            with torch.no_grad():
                differing += not torch.equal(found, Renderer(edited, rate).render(given)["out"])
                before = time.process_time()
                renderer.render(given)
                full_ms.append(1e3 * (time.process_time() - before))
    full = statistics.median(full_ms)
    rows: list[list[Cell]] = []
    for kind, costs in spent.items():
        mean = statistics.mean(costs)
        rows.append([name, kind, len(costs), full, mean, full / mean, ""])
    costs = [cost for each in spent.values() for cost in each]
    mean = statistics.mean(costs)
    rows.append([name, "all", len(costs), full, mean, full / mean, f"{differing} of {len(full_ms)} differ"])
    print(*rows[-1])
    return rows


def hour(minutes: float, tracks: int, chunk: int, seed: int) -> list[Cell]:
    """One row: an hour of stereo tracks through the default console in chunks; CPU and wall time, resident memory."""
    graph = desk_graph(tracks, seed)
    renderer = Renderer(graph, DESK_RATE)
    loop = bursts(2, 4 * chunk / DESK_RATE, torch.Generator().manual_seed(seed), tracks)[None]  # the tape, in a circle

    def pieces() -> Iterator[Sources]:
        for start in count(0, chunk):
            at = start % (loop.shape[-1] - chunk)
            yield {graph.sources: loop[..., at : at + chunk]}

    blocks = math.ceil(60 * minutes * DESK_RATE / chunk)
    for _ in streamed(renderer, islice(pieces(), 2)):  # compiles
        pass
    with peak_mib() as peak:
        wall, cpu, marks = time.perf_counter(), time.process_time(), []
        energy = 0.0
        for y in streamed(renderer, islice(pieces(), blocks)):
            energy += y["out"].square().sum().item()
            marks.append(time.process_time())
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert math.isfinite(energy)
    quarter = len(marks) // 4
    drift = (marks[-1] - marks[-1 - quarter]) / (marks[quarter] - marks[0]) if quarter else None
    seconds = blocks * chunk / DESK_RATE
    return [seconds / 60, tracks, chunk, cpu, wall, seconds / cpu, seconds / wall, peak.resident, drift]


def random_graphs(number: int, seed: int) -> list[list[Cell]]:
    """Rows: the largest error of random graphs against a renderer that takes node after node in float64."""
    from tests.graph.naive import naive, relative_db

    cases: dict[str, tuple[Literal["float32", "float64"], torch.dtype]] = {
        "float64, audio too": ("float64", torch.float64),
        "float64, audio between effects float32": ("float64", torch.float32),
        "Pedalboard's float32": ("float32", torch.float32),
    }
    found: dict[str, list[float]] = {name: [] for name in cases}
    sizes = []
    for n in range(seed, seed + number):
        graph = random_graph(n, Grammar(nodes=(2, 60)))
        generator = torch.Generator().manual_seed(n)
        x = {s: 0.2 * torch.randn(1, graph[s].option("channels"), 4000, generator=generator) for s in graph.sources}
        sizes.append(len(graph))
        expected = naive(graph, x, DESK_RATE)["out"]
        for name, (precision, dtype) in cases.items():
            sources: Sources = {s: audio.to(dtype) for s, audio in x.items()}
            with torch.no_grad():
                y = Renderer(graph, DESK_RATE, precision).render(sources)["out"]
            found[name].append(relative_db(y, expected))
    nodes = f"{min(sizes)}–{max(sizes)}"
    return [[name, number, nodes, max(errors), statistics.median(errors)] for name, errors in found.items()]


def launches(renderings: Mapping[str, Rendering]) -> list[list[Cell]]:
    """Rows: kernels that one pass launches on the GPU."""
    rows: list[list[Cell]] = []
    for name, rendering in renderings.items():
        row: list[Cell] = [name]
        for run in (forward(rendering), both(rendering)):
            run()
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
                run()
                torch.cuda.synchronize()
            row.append(sum(e.count for e in profile.key_averages() if "LaunchKernel" in e.key))
        rows.append(row)
    return rows


def correspondence(seed: int) -> list[list[Cell]]:
    """A row per stage of the full console: our effect, grafx's, and their largest difference."""
    x = full_audio(1, seed)
    rows: list[list[Cell]] = []
    for stage, (ours, theirs, y, z) in pairs(x, seed).items():
        difference = "not alike" if y is None or z is None else decibels(_peak(y - z), _peak(y))
        rows.append([stage, ours, theirs, difference])
    return rows


def _peak(x: Tensor) -> float:
    return x.abs().max().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="one turn of everything, one minute of audio")
    a = parser.parse_args()
    turns, minutes = (1, 1.0) if a.quick else (a.turns, a.minutes)
    sample, number = (12, 5) if a.quick else (60, 40)
    numba.set_num_threads(min(2, numba.get_num_threads()))
    torch.set_num_threads(2)  # after numba's first call, which sets the count of OpenMP, and so of torch, itself
    streaming = hour(minutes, 32, CHUNK, a.seed)
    print(*streaming)
    torch.set_num_threads(1)
    x = full_audio(16, a.seed)
    full = {
        "diffmix": ours_full(x, 4, a.seed),
        "grafx, processors that both have": grafx_full(x, 4, a.seed),
        "grafx, its own processors": grafx_full(x, 4, a.seed, own=True),
    }
    desk = bursts(2, DESK_SECONDS, torch.Generator().manual_seed(a.seed), TRACKS)
    own = {"diffmix": ours_desk(desk.clone(), a.seed), "grafx": grafx_console(desk, a.seed)}
    measured = consoles(full, turns), consoles(own, turns)
    grown = growth((8, 16, 64), min(turns, 2), a.seed)
    pruned = trials("grafx-prune's", full_graph(16, 4, a.seed), x[None], SAMPLE_RATE, sample, a.seed)
    pruned += trials("our default", desk_graph(TRACKS, a.seed), desk[None], DESK_RATE, sample, a.seed)
    with torch.no_grad():
        shipped = forward(grafx_full(x, 4, a.seed, own=True, exact=False))()
        mended = forward(full["grafx, its own processors"])()
        wrong = decibels(_peak(shipped - mended), _peak(mended))
    passes, figures = ("forward", "with backward"), ("CPU ms", "peak MiB")
    ratios = columns(passes, ("CPU × diffmix", "memory × diffmix"))
    size = f"{SAMPLES} samples at {SAMPLE_RATE} Hz, stereo"
    median = (
        f"one thread; median over {turns} turns of half a second or one call, after a warm-up. "
        "Memory is the peak above the level at entry."
    )
    tables = [
        table(
            "grafx-prune's full console",
            ["renderer", *columns(passes, figures), *ratios],
            measured[0],
            f"16 tracks, 4 groups, {20 * len(KINDS)} processors; {size}; {median}",
        ),
        table(
            "Our default console",
            ["renderer", *columns(passes, figures), *ratios],
            measured[1],
            f"{TRACKS} stereo tracks × {DESK_SECONDS:g} s at {DESK_RATE} Hz; {median}",
        ),
        table(
            "Which processors correspond",
            ["stage", "diffmix", "grafx", "largest difference, dB of the peak"],
            correspondence(a.seed),
            "Ours in float64, at the same settings, on one stereo track.",
        ),
        table(
            "More tracks",
            ["tracks", *columns(("full console", "default console"), ("nodes", "steps", *columns(passes, figures)))],
            grown,
            f"Our renderer; one group to four tracks; {size}.",
        ),
        table(
            "One pruning trial",
            ["console", "removed", "trials", "full render, CPU ms", "trial, CPU ms", "ratio", "beside a full render"],
            pruned,
            f"A node is removed and the output made by a `Session`; a seeded sample of {sample}, the faster of two.",
        ),
        table(
            "An hour of audio in chunks",
            [
                *("minutes", "stereo tracks", "chunk", "CPU s", "wall s", "× real time by CPU", "× real time"),
                *("resident MiB", "CPU of the last quarter / the first"),
            ],
            [streaming],
            f"The default console through `streamed` at {DESK_RATE} Hz, two threads; everything that is resident.",
        ),
        table(
            "Random graphs",
            ["precision", "graphs", "nodes", "largest error, dB", "median error, dB"],
            random_graphs(number, a.seed),
            "Energy of the difference from a renderer of node after node in float64, beside that of its output. "
            "Distortion, gates and feedback enlarge the last bits of float32.",
        ),
    ]
    if torch.cuda.is_available():
        on_gpu = {name: ours_full(x.cuda(), 4, a.seed) for name in ("diffmix",)}
        tables.append(table("Launches", ["renderer", *passes], launches(on_gpu)))
    notes = [
        "grafx 0.6.0 by its `beam` schedule (16 steps, as its `fixed` one). Its convolution by FFT is swapped for one "
        f"of the right and of a fast length; as shipped it differs by {wrong:.3g} dB of the peak from that.",
        "Delay and noise reverb of the row `processors that both have` are wrapped in grafx's `DryWet`, as ours have a "
        "mix; its delay has one uncoloured tap of at most 16 384 samples, ours a feedback besides. The reverbs have "
        "impulse responses of one length: shaped per octave here, per STFT bin there.",
        "grafx's gate and compressor take the logarithm of the energy plus 1e-5, a floor at −50 dB: what differs.",
        "`its own processors` are those of grafx-prune: zero-phase FIR equaliser of 1024 bins, delay of 40 coloured "
        "taps, STFT-masked noise reverb; without dry/wet and regularisers.",
    ]
    packages = ("grafx", "torchaudio", "torchcomp", "numba", "numpy")
    publish("render", "Rendering graphs", tables, notes, packages, a.seed)


if __name__ == "__main__":
    main()
