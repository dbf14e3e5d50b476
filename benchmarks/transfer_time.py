"""Time and memory of style transfer: a song of three minutes, and one step of a search beside dasp-pytorch."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import Cell, in_turns, table
from diffmix.data import audio
from diffmix.data.styles import family
from diffmix.data.synthetic import VALIDATION_SEED, generate_song

RATE = 44_100
TIMED = """
import json, sys, time
wall, cpu = time.perf_counter(), time.process_time()
import diffmix
made = diffmix.transfer(sys.argv[1], sys.argv[2], quality=sys.argv[3], gate=10.0)
done = time.perf_counter() - wall
with open("/proc/self/status") as status:  # ru_maxrss begins with what the parent had at most
    peak = int(status.read().split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps([done, time.process_time() - cpu, peak, made.belief.acted]))
"""


def tables() -> list[dict[str, object]]:
    """Both tables."""
    return [_whole_songs(), _one_step()]


def _whole_songs() -> dict[str, object]:
    rows: list[list[Cell]] = []
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for n in range(2):
            song = generate_song(VALIDATION_SEED + 900_000 + n, 180.0, RATE, tracks=(8, 8))
            y = torch.stack([t.audio.expand(2, -1) for t in song.tracks]).sum(0)
            paths.append(Path(folder) / f"{n}.wav")
            audio.write_wav(paths[-1], 0.7 * y / y.abs().max(), RATE)
        rng = np.random.default_rng(0)
        treated = family("broadcast", rng).render(audio.read(paths[0])[0][None], RATE, rng)[0]
        audio.write_wav(Path(folder) / "treated.wav", treated.float(), RATE)
        for what, other in (("another song", paths[1]), ("the same, treated", Path(folder) / "treated.wav")):
            for quality in ("fast", "balanced", "best"):
                command = [sys.executable, "-c", TIMED, str(paths[0]), str(other), quality]
                told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
                wall, cpu, peak, acted = json.loads(told)
                rows.append([what, quality, wall, cpu, peak, "yes" if acted else "no"])
    text = (
        "From two stereo files of 3 minutes at 44.1 kHz until the result is there, a process of its own with imports; "
        "the gate is wide open, so that it acts if anything is better than nothing."
    )
    columns = ["reference", "quality", "wall, s", "CPU, s", "peak, MiB", "acted"]
    return table("T8, a song of three minutes", columns, rows, text)


def _one_step() -> dict[str, object]:
    """Forward and backward of six bands and a compressor."""
    from benchmarks.peers import dasp
    from diffmix.processors import Chain, Compressor, ParametricEQ

    x = 0.1 * torch.randn(8, 1, 65_536, generator=torch.Generator().manual_seed(0))
    effects = Chain(eq=ParametricEQ(RATE), comp=Compressor(RATE))
    u = torch.full((8, effects.spec.size), 0.5)
    low = (200.0, 500.0, 1000.0, 2000.0, 5000.0, 9000.0)

    def ours() -> None:
        knobs = u.clone().requires_grad_()
        effects(x, knobs).square().mean().backward()

    def theirs() -> None:
        gains = [torch.full((8,), 1.0, requires_grad=True) for _ in low]
        bands: list[Tensor] = []
        for gain, hz in zip(gains, low, strict=True):
            bands += [gain, torch.full((8,), hz, requires_grad=True), torch.full((8,), 0.7, requires_grad=True)]
        y = dasp.parametric_eq(x, RATE, *bands)
        knobs = [torch.full((8,), v, requires_grad=True) for v in (-20.0, 3.0, 10.0, 100.0, 1.0, 0.0)]
        dasp.compressor(y, RATE, *knobs).square().mean().backward()

    times = in_turns({"diffmix": ours, "dasp-pytorch": theirs}, turns=5)
    rows: list[list[Cell]] = [[name, *time.medians()] for name, time in times.items()]
    text = "Six bands and a compressor, forward and backward, 8 x 1 x 65536 samples at 44.1 kHz."
    return table("T8, one step of a search", ["chain", "wall, ms", "CPU, ms", "peak, MiB"], rows, text)
