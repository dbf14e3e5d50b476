"""Single effects beside other packages and beside Pedalboard: CPU time, memory and error in one run, on one thread.

``pip install -e .[bench]`` brings the peers that agree on versions; others join with ``pip install --no-deps
difffx-pytorch==0.0.5 torchfx==0.8.0 faustax==0.0.1``, the last with jax and flax. What is not there is named.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numba
import numpy as np
import torch
from torch import Tensor

from benchmarks.common import Cell, decibels, in_turns, keep_freed_memory, publish, table
from benchmarks.kernel_peers import (
    Competitor,
    Gradients,
    available,
    compressors,
    equalizers,
    ours,
    pedalboards,
    reverbs,
    through_torchaudio,
)
from benchmarks.peers import SAMPLE_RATE, Values, compressor_values, eq_values
from diffmix.processors import REGISTRY, Compressor, Convolution, ParametricEQ, Processor, Reverb

Makers = Mapping[str, Callable[[], Competitor]]


def noise(items: int, seconds: float, generator: torch.Generator, channels: int = 2) -> Tensor:
    """Noise in bursts (B, C, T), so that compressors work."""
    length = int(seconds * SAMPLE_RATE)
    x = torch.randn(items, channels, length, generator=generator)
    return 0.2 * x * (0.5 + 0.5 * torch.cos(2 * math.pi * 2 / SAMPLE_RATE * torch.arange(length))) ** 2


def drawn(kind: type[Processor], items: int, generator: torch.Generator) -> Values:
    """Random settings from the middle of an effect's ranges."""
    effect = kind(SAMPLE_RATE)
    return effect.spec.denormalize(0.25 + 0.5 * effect.spec.sample(items, generator))


def timed(makers: Makers, turns: int) -> tuple[dict[str, list[Cell]], dict[str, Competitor], list[str]]:
    """Per competitor: CPU ms forward and with backward, of the fastest call of either, peak MiB of each."""
    found, missing = available(makers)
    once = in_turns({n: c.forward for n, c in found.items()}, turns)
    twice = in_turns({n: c.both for n, c in found.items() if c.both}, turns)
    rows: dict[str, list[Cell]] = {}
    for name in found:
        passes = once[name], twice.get(name)
        rows[name] = [t and t.cpu for t in passes] + [t and min(t.cpu_ms) for t in passes]
        rows[name] += [t and t.peak_mib for t in passes]
        print(name, *rows[name])
    return rows, found, missing


def beside(
    title: str, text: str, makers: Makers, turns: int, exact: tuple[np.ndarray, Gradients] | None
) -> tuple[dict[str, object], list[str]]:
    """A table of competitors; errors against ``exact`` output and gradients of the first item, if given."""
    rows, found, missing = timed(makers, turns)
    first = next(iter(rows.values()))
    columns = [
        "effect",
        "forward",
        "with backward",
        "fastest forward",
        "fastest with backward",
        "MiB forward",
        "MiB with backward",
        "× ours forward",
        "× ours both",
        "× ours both, fastest",
    ]
    if exact:
        columns += ["error, dB of peak", "gradient error"]
    body: list[list[Cell]] = []
    for name, row in rows.items():
        ratios = [
            a / b if isinstance(a, float) and isinstance(b, float) else None for a, b in zip(row, first, strict=True)
        ]
        cells: list[Cell] = [name, *row, *ratios[:2], ratios[3]]
        if exact:
            y, gradients = exact
            cells.append(decibels(float(np.abs(found[name].forward()[0] - y[0]).max()), float(np.abs(y[0]).max())))
            both = found[name].both
            cells.append(worst(both(), gradients) if both else None)
        body.append(cells)
    return table(title, columns, body, text), missing


def worst(found: Gradients, exact: Gradients) -> float:
    """The largest relative error of a gradient of the first item, over the input and all settings."""
    pairs = ((found[n][0], g[0]) for n, g in exact.items() if n in found)
    return float(max(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs))


def exact_eq(x: Tensor, values: Values, w: Tensor) -> tuple[np.ndarray, Gradients]:
    """The EQ and its gradients by torchaudio's filter in float64, which is not ours."""
    tensors = {n: v.double().requires_grad_() for n, v in {"x": x, **values}.items()}
    y = through_torchaudio(tensors["x"], {n: v for n, v in tensors.items() if n != "x"})
    found = torch.autograd.grad((y * w).sum(), list(tensors.values()))
    return y.detach().numpy(), {n: g.numpy() for n, g in zip(tensors, found, strict=True)}


def twins(seconds: float, turns: int, generator: torch.Generator) -> list[list[Cell]]:
    """One row per twin: forward, Pedalboard's forward, forward and backward; one stereo signal."""
    x, w = noise(1, seconds, generator), torch.randn(1, 2, int(seconds * SAMPLE_RATE), generator=generator)
    rows: list[list[Cell]] = []
    for name, kind in sorted(REGISTRY.items()):
        if not kind.pedalboard:
            continue
        effect = kind(SAMPLE_RATE)
        if isinstance(effect, Convolution):  # a second of a room
            room = torch.randn(2, SAMPLE_RATE, generator=generator) * torch.logspace(0, -3, SAMPLE_RATE)
            effect = Convolution(SAMPLE_RATE, impulse_response=room)
        values = drawn(kind, 1, generator)
        pair = {"ours": ours(effect, x, values, w), "theirs": pedalboards(effect, x, values)}
        once = in_turns({n: c.forward for n, c in pair.items()}, turns)
        both = in_turns({"ours": pair["ours"].both}, turns)["ours"] if pair["ours"].both else None
        a, b = min(once["ours"].cpu_ms), min(once["theirs"].cpu_ms)
        rows.append([name, a, b, b / a, min(both.cpu_ms) if both else None])
        print(*rows[-1])
    return rows


def lengths(generator: torch.Generator) -> list[list[Cell]]:
    """One row per effect and length: forward and backward, per second of mono audio."""
    rows: list[list[Cell]] = []
    for kind in (ParametricEQ, Compressor, Reverb):
        values = drawn(kind, 1, generator)
        for seconds in (1, 10, 60, 600):
            x = noise(1, seconds, generator, 1)
            run = ours(kind(SAMPLE_RATE), x, values, torch.ones(())).both
            assert run is not None
            timing = in_turns({"ours": run}, 2)["ours"]
            rows.append([kind.__name__, seconds, timing.cpu / seconds, timing.peak_mib / seconds])
            print(*rows[-1])
    return rows


_FIRST = """
import sys, time, torch
import diffmix.processors as p
kind = getattr(p, sys.argv[1])
effect = kind(44100)
x, u = torch.randn(1, 2, 4096).requires_grad_(), effect.spec.default()[None].requires_grad_()
begin = time.process_time()
effect(x, u).square().sum().backward()
first = time.process_time()
effect(x, u).square().sum().backward()
print(first - begin - (time.process_time() - first))
"""


def compilation() -> list[list[Cell]]:
    """One row per twin: seconds of a process's first call, with nothing cached and with another process's cache."""
    rows: list[list[Cell]] = []
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": folder, "OMP_NUM_THREADS": "1"}
        names = sorted(n for n, kind in REGISTRY.items() if kind.pedalboard)
        for name in names:
            seconds = [
                float(
                    subprocess.run(
                        [sys.executable, "-c", _FIRST, name],
                        env=environment,
                        capture_output=True,
                        text=True,
                        check=True,
                    ).stdout
                )
                for _ in range(2)
            ]
            rows.append([name, *seconds])
            print(*rows[-1])
    totals = [sum(row[i] for row in rows if isinstance(row[i], float)) for i in (1, 2)]  # type: ignore[misc]
    return [*rows, ["all", *totals]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    keep_freed_memory()
    numba.set_num_threads(1)
    torch.set_num_threads(1)  # after numba's first call, which sets the count of OpenMP, and so of torch, itself
    generator = torch.Generator().manual_seed(a.seed)
    tables, notes = [], []
    for items in (1, 8):
        x = noise(items, a.seconds, generator)
        w = torch.randn(x.shape, generator=generator)
        size = f"{items} stereo signal{'s' if items > 1 else ''} × {a.seconds:g} s"
        text = f"{size}, CPU ms, median over {a.turns} turns of half a second or one call."
        eq = eq_values(items, generator)
        groups: Sequence[tuple[str, Makers, tuple[np.ndarray, Gradients] | None]] = (
            ("Six-band EQ", equalizers(ParametricEQ(SAMPLE_RATE), x, eq, w), exact_eq(x, eq, w)),
            ("Compressor", compressors(Compressor(SAMPLE_RATE), x, compressor_values(items, generator), w), None),
            ("Reverb", reverbs(Reverb(SAMPLE_RATE), x, drawn(Reverb, items, generator), w), None),
        )
        for title, makers, exact in groups:
            found, missing = beside(f"{title}, {items} stereo", text, makers, a.turns, exact)
            tables.append(found)
            notes += [note for note in missing if note not in notes]
    tables += [
        table(
            "Twins beside Pedalboard's C++",
            ["effect", "ours", "Pedalboard", "Pedalboard / ours", "ours with backward"],
            twins(a.seconds, a.turns, generator),
            f"One stereo signal × {a.seconds:g} s, random settings; CPU ms, fastest call of {a.turns} turns.",
        ),
        table(
            "Cost of length",
            ["effect", "seconds of audio", "CPU ms per second", "peak MiB per second"],
            lengths(generator),
            "Forward and backward of one mono signal.",
        ),
        table(
            "First call",
            ["effect", "nothing cached, s", "cached by another process, s"],
            compilation(),
            "Forward and backward of the first call in a process over those of the second, CPU s.",
        ),
    ]
    notes += [
        "The C library keeps freed memory (mallopt), the peers' best setting, or much of the time would be that of "
        "clearing fresh pages.",
        "The error of an EQ is against the same recursion in float64 by torchaudio, its gradient error the largest "
        "relative one over the input and all 18 settings; both of the first item.",
        "Packages without a filter design (torchaudio, torchlpc, fluxion-dsp, faustax.ops) get sections designed in "
        "float32 torch, gradients included. fluxion-dsp takes one channel a call.",
        "difffx-pytorch 0.0.5 filters every item of a batch with the first item's coefficients; its compressor listens "
        "to the signed mean of the channels. torchcomp and faustax.dynamics smooth the gain, grafx the energy, "
        "difffx-pytorch the gain in dB: none is Pedalboard's recursion, but each is a true attack/release one, except "
        "dasp-pytorch's, which has one time constant.",
        "dasp-pytorch's reverb convolves directly with 65 536 taps (minutes for this input); it is swapped for the "
        "same convolution by FFT.",
    ]
    packages = ("pedalboard", "scipy", "torchaudio", "dasp-pytorch", "grafx", "torchcomp", "torchlpc", "numba")
    publish("kernels", "Single effects beside their peers", tables, notes, packages, a.seed)


if __name__ == "__main__":
    main()
