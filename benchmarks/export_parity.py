"""How closely our effects follow Pedalboard: every effect, and a whole console through its exported preset.

Random settings x sample rates x mono and stereo x signals (noise, impulse, sweep, recordings). Pedalboard gets the
plugins that an export would write, so a wrong name, unit or order shows as a difference too.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pedalboard
import torch
from torch import Tensor

from benchmarks.common import Cell, decibels, publish, table
from diffmix.console import Console, track_loudness
from diffmix.data.audio import read, resample
from diffmix.export import build, to_pedalboard
from diffmix.processors import Processor
from diffmix.processors.base import REGISTRY

SAMPLE_RATES = (22050, 44100, 48000, 96000)
SECONDS = 1.0
EXAMPLE = Path(__file__).resolve().parent.parent / "recipes" / "automix" / "example"


def signals(sample_rate: int, channels: int, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    """(name, audio (1, C, T)) of noise, an impulse, a sweep and an excerpt of a recording."""
    length = int(SECONDS * sample_rate)
    t = torch.arange(length, dtype=torch.float64) / sample_rate
    sweep = 0.5 * torch.sin(2 * math.pi * 20 * SECONDS / 6.9 * torch.expm1(6.9 * t / SECONDS))
    impulse = torch.zeros(length)
    impulse[0] = 1.0
    yield "noise", 0.25 * torch.randn(1, channels, length, generator=generator)
    yield "impulse", impulse.expand(1, channels, length).contiguous()
    yield "sweep", sweep.float().expand(1, channels, length).contiguous()
    path = sorted(EXAMPLE.glob("*.flac"))[0]
    audio, rate = read(path)
    audio = audio[:, : int(SECONDS * rate)]
    yield "recording", resample(audio.mean(0).expand(channels, -1), rate, sample_rate)[None].contiguous()


def difference(effect: Processor, values: Mapping[str, float], x: Tensor) -> float:
    """Largest absolute difference between an effect and the Pedalboard plugins it exports to."""
    board = pedalboard.Pedalboard([getattr(pedalboard, n)(**arguments) for n, arguments in effect.plugins(values)])
    theirs = board(x[0].numpy(), effect.sample_rate, reset=True)
    with torch.no_grad():
        ours = effect.process(x, **{name: torch.tensor([value]) for name, value in values.items()})[0]
    return float(np.abs(ours.numpy() - theirs).max())


def effects(settings: int, generator: torch.Generator) -> list[list[Cell]]:
    """One row per effect: cases, how many are equal to the last bit, largest difference, in dB of full scale."""
    rows: list[list[Cell]] = []
    for name, kind in sorted(REGISTRY.items()):
        if not kind.pedalboard:
            continue
        found = []
        for sample_rate in SAMPLE_RATES:
            top = 0.49 * sample_rate  # Pedalboard's first-order filters are unstable above
            ranges = {name: (p.low, min(p.high, top)) for name, p in kind.declared.items() if p.unit == "Hz"}
            effect = kind(sample_rate, ranges)
            for channels in (1, 2):
                for _, x in signals(sample_rate, channels, generator):
                    for u in effect.spec.sample(settings, generator):
                        values = {n: v.item() for n, v in effect.spec.denormalize(u).items()}
                        found.append(difference(effect, values, x))
        rows.append([name, len(found), sum(d == 0 for d in found), max(found), decibels(max(found))])
        print(*rows[-1])
    return rows


def example_stems(sample_rate: int) -> dict[str, Tensor]:
    """The stems of the example session, (C, T) each at a sample rate, every second one folded to mono."""
    stems = {}
    for n, path in enumerate(sorted(EXAMPLE.glob("*.flac"))):
        audio, rate = read(path)
        stems[path.stem] = resample(audio if n % 2 else audio.mean(0, keepdim=True), rate, sample_rate)
    shortest = min(audio.shape[1] for audio in stems.values())
    return {name: audio[:, :shortest] for name, audio in stems.items()}


def consoles(settings: int, generator: torch.Generator) -> list[list[Cell]]:
    """One row per sample rate: the example session on a console beside its preset in Pedalboard."""
    rows: list[list[Cell]] = []
    for sample_rate in (44100, 48000):
        stems = example_stems(sample_rate)
        mono = {name: audio for name, audio in stems.items() if audio.shape[0] == 1}
        stereo = {name: audio for name, audio in stems.items() if audio.shape[0] == 2}
        names, channels = [*mono, *stereo], {name: audio.shape[0] for name, audio in stems.items()}
        tracks = tuple(torch.stack(list(part.values()))[None] for part in (mono, stereo) if part)
        desk = Console(sample_rate)
        errors, peaks = [], []
        for _ in range(settings):
            controls = desk.trimmed(desk.sample(1, len(names), generator), track_loudness(tracks, sample_rate))
            chosen = desk.settings(controls, names, [channels[n] for n in names])
            preset = build(desk.nodes(chosen, channels), sample_rate, {n: [f"{n}.wav"] for n in names})
            theirs = to_pedalboard(preset).render({n: stems[n].numpy() for n in names})
            with torch.no_grad():
                ours = desk.mix(tracks, desk.numbers(chosen))[0].numpy()
            errors.append(float(np.abs(ours - theirs).max()))
            peaks.append(float(np.abs(theirs).max()))
        relative = max(e / p for e, p in zip(errors, peaks, strict=True))
        rows.append([f"{sample_rate} Hz, {len(names)} tracks", settings, max(errors), max(peaks), decibels(relative)])
        print(*rows[-1])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", type=int, default=4, help="random settings per case")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    def seeded(measure: Callable[[int, torch.Generator], list[list[Cell]]]) -> list[list[Cell]]:
        return measure(arguments.settings, torch.Generator().manual_seed(arguments.seed))

    tables = [
        table(
            "Effects",
            ["effect", "cases", "equal to the last bit", "largest difference", "dB of full scale"],
            seeded(effects),
            f"{arguments.settings} random settings over the whole ranges × {', '.join(map(str, SAMPLE_RATES))} Hz × "
            "mono, stereo × noise, impulse, sweep, recording; 1 s each. Frequencies below 0.49 of the sample rate.",
        ),
        table(
            "Console",
            ["session", "settings", "largest difference", "peak of the mix", "dB of the peak"],
            seeded(consoles),
            "The example session, half of its stems folded to mono, on a console with every knob at random, beside the "
            "exported preset in Pedalboard.",
        ),
    ]
    packages = ("pedalboard", "numpy", "numba")
    publish("export_parity", "Same sound as Pedalboard", tables, [], packages, arguments.seed)


if __name__ == "__main__":
    main()
