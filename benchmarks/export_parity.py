"""How closely our effects follow Pedalboard: every effect, and a whole console through its exported preset.

Random settings x sample rates x mono and stereo x signals (noise, impulse, sweep, recordings). Pedalboard gets the
plugins that an export would write, so a wrong name, unit or order shows as a difference too.
"""

import argparse
import math
import statistics
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
from diffmix.processors import ParametricEQ, Processor
from diffmix.processors.base import REGISTRY
from diffmix.types import Ranges

SAMPLE_RATES = (22050, 44100, 48000, 96000)
SECONDS = 1.0
_EQ: dict[str, tuple[float, float]] = {
    **{f"{band}_gain_db": (-6, 6) for band in ParametricEQ.BANDS},
    **{f"{band}_q": (0.5, 2) for band in ParametricEQ.BANDS},
}
_COMPRESSOR = {"threshold_db": (-40, -10), "ratio": (1, 6), "attack_ms": (1, 50), "release_ms": (50, 500)}
USUAL: dict[str, Ranges] = {
    "eq": _EQ,
    "compressor": _COMPRESSOR,
    "fader": {"gain_db": (-12, 0)},
    "send": {"gain_db": (-30, -6)},
    "master.eq": _EQ,
    "master.compressor": _COMPRESSOR,
    "master.gain": {"gain_db": (-6, 6)},
}
"""Where knobs mostly stand."""
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
        if not kind(SAMPLE_RATES[0]).plugins({name: p.default for name, p in kind.declared.items()}):
            continue  # mixes channels only, which Pedalboard cannot: a preset holds its matrix
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
    """One row per sample rate and choice of knobs: the example session beside its preset in Pedalboard."""
    rows: list[list[Cell]] = []
    for sample_rate in (44100, 48000):
        stems = example_stems(sample_rate)
        mono = {name: audio for name, audio in stems.items() if audio.shape[0] == 1}
        stereo = {name: audio for name, audio in stems.items() if audio.shape[0] == 2}
        names, channels = [*mono, *stereo], {name: audio.shape[0] for name, audio in stems.items()}
        tracks = tuple(torch.stack(list(part.values()))[None] for part in (mono, stereo) if part)
        for knobs, ranges in (("usual", USUAL), ("anywhere", {})):
            desk = Console(sample_rate, ranges)
            errors, relative = [], []
            for _ in range(settings):
                controls = desk.trimmed(desk.sample(1, len(names), generator), track_loudness(tracks, sample_rate))
                chosen = desk.settings(controls, names, [channels[n] for n in names])
                sources = {n: ([f"{n}.wav"], channels[n]) for n in names}
                preset = build(desk.nodes(chosen, channels), sample_rate, sources)
                theirs = to_pedalboard(preset).render({n: stems[n].numpy() for n in names})
                with torch.no_grad():
                    ours = desk.mix(tracks, desk.numbers(chosen))[0].numpy()
                errors.append(float(np.abs(ours - theirs).max()))
                relative.append(errors[-1] / float(np.abs(theirs).max()))
            equal = sum(e == 0 for e in errors)
            session = f"{len(names)} tracks, {sample_rate} Hz, knobs {knobs}"
            rows.append([session, settings, equal, decibels(statistics.median(relative)), decibels(max(relative))])
            print(*rows[-1])
    return rows


NOTE = (
    "Where effects are equal and a console is not, its sums round elsewhere; Pedalboard's float32 filters, at low "
    "frequencies and high Q, turn that last bit into rounding noise of their own."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", type=int, default=4, help="random settings per case")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    def seeded(measure: Callable[[int, torch.Generator], list[list[Cell]]]) -> list[list[Cell]]:
        return measure(arguments.settings, torch.Generator().manual_seed(arguments.seed))

    single, whole = seeded(effects), seeded(consoles)
    tables = [
        table(
            "Effects",
            ["effect", "cases", "equal to the last bit", "largest difference", "dB of full scale"],
            single,
            f"{arguments.settings} random settings over the whole ranges × {', '.join(map(str, SAMPLE_RATES))} Hz × "
            "mono, stereo × noise, impulse, sweep, recording; 1 s each. Frequencies below 0.49 of the sample rate.",
        ),
        table(
            "Console",
            ["session", "settings", "equal to the last bit", "median, dB of the peak", "worst, dB of the peak"],
            whole,
            "The example session, half of its stems folded to mono, beside the exported preset in Pedalboard: largest "
            "difference over the peak, for random knobs within usual ranges and anywhere.",
        ),
    ]
    packages = ("pedalboard", "numpy", "numba")
    notes = [] if all(row[-1] == "equal" for row in whole) else [NOTE]
    publish("export_parity", "Same sound as Pedalboard", tables, notes, packages, arguments.seed)


if __name__ == "__main__":
    main()
