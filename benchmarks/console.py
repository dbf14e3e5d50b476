"""A console of 16 tracks x 10 s at 44.1 kHz beside dasp-pytorch and grafx: time, memory and error.

Per track gain, placement, six-band EQ, compressor and reverb send; a reverb bus; EQ and compressor on the master.
Backward gives gradients to the audio and to every parameter. Needs ``pip install -e .[bench]``.
"""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numba
import numpy as np
import scipy.signal
import torch
from torch import Tensor

from benchmarks.common import Cell, decibels, in_turns, keep_freed_memory, publish, table
from benchmarks.peers import (
    SAMPLE_RATE,
    TRACKS,
    ParametricEqualizer,
    Rendering,
    Values,
    compressor_values,
    dasp_compressor,
    dasp_console,
    dasp_eq,
    eq_values,
    grafx_compressor,
    grafx_console,
    grafx_eq,
    grafx_processors,
    leaves,
)
from diffmix.console import Console, DeskValues
from diffmix.processors import Chain, Compressor, ParametricEQ


def audio(channels: int, seconds: float, generator: torch.Generator, tracks: int = TRACKS) -> Tensor:
    """Noise in bursts, (N, C, T), peaks near full scale, so that the compressors work."""
    length = int(seconds * SAMPLE_RATE)
    noise = torch.randn(tracks, channels, length, generator=generator)
    rate_hz = 0.5 + 3 * torch.rand(tracks, 1, 1, generator=generator)
    bursts = (0.5 + 0.5 * torch.cos(2 * math.pi * rate_hz * torch.arange(length) / SAMPLE_RATE)) ** 2
    return 0.2 * noise * bursts


LIKE_PEERS: dict[str, Any] = {
    "strip": {"eq": "ParametricEQ", "compressor": "Compressor"},
    "master": {"eq": "ParametricEQ", "compressor": "Compressor"},
}
"""The layout that the peers' consoles have: the default one without trims, high-passes and the master's gain."""


def ours(x: Tensor, seed: int, dtype: torch.dtype = torch.float32, *, default: bool = False) -> Rendering:
    """This project's console of the peers' layout, or the ``default`` one."""
    generator = torch.Generator().manual_seed(seed)
    desk = Console(SAMPLE_RATE) if default else Console(SAMPLE_RATE, **LIKE_PEERS)
    track = desk.track_spec.denormalize(desk.track_spec.default().expand(1, TRACKS, -1))
    bus = desk.bus_spec.denormalize(desk.bus_spec.default()[None])
    master = desk.master_spec.denormalize(desk.master_spec.default()[None])
    track |= {f"eq.{n}": v[None] for n, v in eq_values(TRACKS, generator).items()}
    track |= {f"compressor.{n}": v[None] for n, v in compressor_values(TRACKS, generator).items()}
    track["send.gain_db"] = torch.full((1, TRACKS), -12.0)
    master |= {f"eq.{n}": v for n, v in eq_values(1, generator).items()}
    master |= {f"compressor.{n}": v for n, v in compressor_values(1, generator).items()}
    values = DeskValues(*(leaves({n: v.to(dtype) for n, v in part.items()}) for part in (track, bus, master)))
    tracks = x.to(dtype)[None].requires_grad_()
    parameters = [v for part in values for v in part.values()]
    return lambda: (desk.mix(tracks, values), [tracks, *parameters])


def strips_alone(x: Tensor, seed: int) -> Rendering:
    """The tracks' equalisers and compressors, (N, C, T), and nothing of the console around them."""
    generator = torch.Generator().manual_seed(seed)
    strip = Chain(eq=ParametricEQ(SAMPLE_RATE), compressor=Compressor(SAMPLE_RATE))
    values = {f"eq.{n}": v for n, v in eq_values(TRACKS, generator).items()}
    values = leaves(values | {f"compressor.{n}": v for n, v in compressor_values(TRACKS, generator).items()})
    tracks = x.clone().requires_grad_()
    return lambda: (strip.process(tracks, **values), [tracks, *values.values()])


def forward(rendering: Rendering) -> Callable[[], Tensor]:
    """The mix, without a graph."""

    def run() -> Tensor:
        with torch.no_grad():
            return rendering()[0]

    return run


def both(rendering: Rendering) -> Callable[[], object]:
    """The mix and the gradients of its energy to the audio and all parameters."""

    def run() -> object:
        y, inputs = rendering()
        return torch.autograd.grad(y.square().sum(), inputs, allow_unused=True)

    return run


def timings(renderings: Mapping[str, Rendering], threads: int, turns: int) -> tuple[list[list[Cell]], list[list[Cell]]]:
    """Rows of medians (forward and with backward: wall, CPU, memory, then CPU beside the first one's) and of minima."""
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    torch.set_num_threads(threads)  # after numba's first call, which sets the count of OpenMP, and so of torch, itself
    once = in_turns({name: forward(r) for name, r in renderings.items()}, turns)
    twice = in_turns({name: both(r) for name, r in renderings.items()}, turns)
    first = next(iter(renderings))
    medians: list[list[Cell]] = []
    for name in renderings:
        ratios = [times[name].cpu / times[first].cpu for times in (once, twice)]
        medians.append([name, threads, *once[name].medians(), *twice[name].medians(), *ratios])
        print(*medians[-1])
    return medians, [[name, threads, *once[name].minima(), *twice[name].minima()] for name in renderings]


def filter_errors(seed: int) -> list[list[Cell]]:
    """One row per competitor: the EQ's largest error against SciPy in float64, at usual and at narrow low bands."""
    generator = torch.Generator().manual_seed(seed)
    x = audio(2, 3, generator)
    usual = eq_values(TRACKS, generator)
    narrow = usual | {"low_shelf_q": torch.full((TRACKS,), 2.0), "peak1_q": torch.full((TRACKS,), 8.0)}
    narrow |= {f"{b}_cutoff_frequency_hz": torch.full((TRACKS,), 40.0) for b in ("low_shelf", "peak1")}
    narrow |= {f"{b}_gain_db": torch.full((TRACKS,), 12.0) for b in ("low_shelf", "peak1")}
    effect = ParametricEQ(SAMPLE_RATE)

    def through_grafx(kind: str, values: Values) -> Tensor:
        peer = ParametricEqualizer(num_filters=6, backend=kind.split(",")[0], flashfftconv=False)
        return peer(x, **grafx_eq(values))

    runs = {
        "diffmix, Pedalboard's float32": lambda v: effect.process(x, **v),
        "diffmix, float64": lambda v: effect.process(x.double(), **{n: t.double() for n, t in v.items()}),
        "dasp-pytorch": lambda v: dasp_eq(x, v),
        **{f"grafx ({kind})": partial(through_grafx, kind) for kind in ("lfilter", "fsm, its default", "ssm")},
    }
    rows: list[list[Cell]] = [[name] for name in runs]
    for values in (usual, narrow):
        sections = effect.sections(False, **{n: v.double() for n, v in values.items()}).numpy()
        with_a0 = np.insert(sections, 3, 1.0, axis=-1)
        exact = np.stack([scipy.signal.sosfilt(s, y) for s, y in zip(with_a0, x.double().numpy(), strict=True)])
        for row, run in zip(rows, runs.values(), strict=True):
            row.append(decibels(float(np.abs(run(values).numpy() - exact).max()), float(np.abs(exact).max())))
    return rows


def steady_levels() -> list[list[Cell]]:
    """One row per competitor: where a compressor settles on full scale held in both channels, -20 dB, 4:1."""
    x = torch.ones(1, 2, 2 * SAMPLE_RATE)
    values = {"threshold_db": -20.0, "ratio": 4.0, "attack_ms": 5.0, "release_ms": 100.0}
    tensors = {n: torch.tensor([v]) for n, v in values.items()}
    peer, mapped = grafx_processors()["compressor"], grafx_compressor(tensors)
    named = {"log_threshold": torch.tensor([[-2 * math.log(10)]]), "log_ratio": torch.tensor([[math.log(4 - 1)]])}
    outputs = {
        "diffmix": Compressor(SAMPLE_RATE).process(x, **tensors),
        "dasp-pytorch": dasp_compressor(x, tensors, torch.tensor([1e-3]), torch.zeros(1)),
        "grafx, threshold and ratio as documented": peer(x, **(mapped | named)),
        "grafx, both put right (as timed above)": peer(x, **mapped),
    }
    return [[name, 20 * math.log10(y[0, 0, SAMPLE_RATE].item()), -15.0] for name, y in outputs.items()]


def rounding_error(x: Tensor, seed: int) -> float | str:
    """Our console in float32 against the same console with ideal float64 arithmetic, in dB of the peak."""
    exact = forward(ours(x, seed, torch.float64))()
    return decibels((forward(ours(x, seed))().double() - exact).abs().max().item(), exact.abs().max().item())


def columns(passes: Sequence[str], figures: Sequence[str]) -> list[str]:
    """Headings: every figure of every pass."""
    return [f"{name}, {figure}" for name in passes for figure in figures]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    keep_freed_memory()
    stereo, mono = (audio(c, a.seconds, torch.Generator().manual_seed(a.seed)) for c in (2, 1))
    renderings = {
        "diffmix, stereo tracks": ours(stereo, a.seed),
        "dasp-pytorch, stereo tracks": dasp_console(stereo, a.seed),
        "grafx, stereo tracks": grafx_console(stereo, a.seed),
        "diffmix's default console, stereo tracks": ours(stereo, a.seed, default=True),
        "diffmix, mono tracks": ours(mono, a.seed),
        "dasp-pytorch, mono tracks": dasp_console(mono, a.seed),
        "diffmix's equalisers and compressors alone, stereo tracks": strips_alone(stereo, a.seed),
    }
    measured = [timings(renderings, threads, a.turns) for threads in (1, 2)]
    with torch.no_grad():
        errors, levels = filter_errors(a.seed), steady_levels()
    wall, cpu, mib, ratio = "wall ms", "CPU ms", "peak MiB", "CPU × diffmix stereo"
    passes = ("forward", "with backward")
    size = f"{TRACKS} tracks × {a.seconds:g} s at {SAMPLE_RATE} Hz"
    tables = [
        table(
            "Time and memory",
            ["console", "threads", *columns(passes, (wall, cpu, mib)), *columns(passes, (ratio,))],
            [row for medians, _ in measured for row in medians],
            f"{size}; median over {a.turns} turns of half a second or one call, after a warm-up. "
            "Memory is the peak above the level at entry.",
        ),
        table(
            "Fastest call",
            ["console", "threads", *columns(passes, (wall, cpu))],
            [row for _, minima in measured for row in minima],
        ),
        table(
            "Error of the six-band EQ",
            ["effect", "usual settings, dB", "40 Hz, narrow, dB"],
            errors,
            "Largest error against SciPy's `sosfilt` in float64, in dB of the output's peak.",
        ),
        table(
            "Where a compressor settles",
            ["effect", "output, dB", "expected, dB"],
            levels,
            "Both channels held at 0 dB, threshold −20 dB, ratio 4.",
        ),
    ]
    notes = [
        f"diffmix in float32 differs from the same console in ideal float64 by {rounding_error(stereo, a.seed):.0f} dB "
        "of the peak.",
        "The C library keeps freed memory here (mallopt), which is the peers' best setting: otherwise they clear fresh "
        "pages at every step. diffmix keeps the memory of its effects' outputs by itself.",
        "All have the same effects, but diffmix's reverb is Freeverb, which is recursive; the others convolve with "
        "shaped noise. diffmix's default console has a trim and a high-pass more per track, and a gain on the master.",
        "dasp-pytorch 0.0.1: its reverb's direct 65 536-tap convolution (minutes for this input) is swapped for the "
        "same one by FFT. Its compressor ignores `release_ms` and takes the sum of the channels as side-chain; its EQ "
        "samples the frequency response, so what rings beyond the buffer wraps round.",
        "The last row of each count of threads is what the tracks' six bands and compressors take by themselves: no "
        "console of these effects is faster.",
        "grafx 0.6.0: EQ by `lfilter` and compressor with ballistics, the settings at which it is right where it can "
        "be: its default FIR convolution stretches time by up to a sample where the padded length is odd, and `ssm` "
        "filters the input again in every band. Its compressor applies a gain computed for energy to the "
        "amplitude, which its ratio here makes good. Its nodes cannot mix mono and stereo.",
    ]
    packages = ("dasp-pytorch", "grafx", "torchaudio", "torchcomp", "numba", "numpy")
    publish("console", "A console beside its peers", tables, notes, packages, a.seed)


if __name__ == "__main__":
    main()
