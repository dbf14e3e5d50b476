"""How closely our effects follow Pedalboard: every effect, and a whole console through its exported preset.

Random settings x sample rates x mono and stereo x signals (noise, impulse, sweep, recordings). Pedalboard gets the
plugins that an export would write, so a wrong name, unit or order shows as a difference too.
"""

import argparse
import math
import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pedalboard
import torch
from torch import Tensor

from benchmarks.common import Cell, decibels, publish, table
from diffmix.console import Console, track_loudness
from diffmix.data.audio import read, resample
from diffmix.errors import PresetError
from diffmix.export import preset_of, standalone, to_pedalboard
from diffmix.export.preset import entry
from diffmix.kernels.ladder import MODES
from diffmix.processors import REGISTRY, Convolution, LadderFilter, ParametricEQ, Processor
from diffmix.types import Ranges, Values

SAMPLE_RATES = (44100, 48000, 96000)
SECONDS = 0.5
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
    """(name, audio (C, T)) of noise, an impulse, a sweep, drum-like hits and excerpts of two recordings."""
    length = int(SECONDS * sample_rate)
    t = torch.arange(length, dtype=torch.float64) / sample_rate
    impulse = torch.zeros(length)
    impulse[0] = 1.0
    noise = torch.randn(channels, length, generator=generator)
    hits = torch.exp(-(t % 0.125) / 0.02) + 0.5 * torch.exp(-(t % 0.1875) / 0.1) * torch.sin(2 * math.pi * 60 * t)
    yield "noise", 0.25 * noise
    yield "impulse", impulse.expand(channels, length)
    yield (
        "sweep",
        (0.5 * torch.sin(2 * math.pi * 20 * SECONDS / 6.9 * torch.expm1(6.9 * t / SECONDS)))
        .float()
        .expand(channels, length),
    )
    yield "hits", 0.4 * noise * hits.float()
    for path in sorted(EXAMPLE.glob("*.flac"))[:2]:
        audio, rate = read(path)
        audio = audio[:, rate : rate + int(SECONDS * rate) + 1]
        stereo = resample(audio.mean(0, keepdim=True) if channels == 1 else audio.expand(2, -1), rate, sample_rate)
        yield path.stem, stereo[:, :length].contiguous()


def variants(kind: type[Processor], sample_rate: int, generator: torch.Generator) -> list[Processor]:
    """An effect in every choice it has, at frequencies at which Pedalboard's first-order filters are stable."""
    top = 0.49 * sample_rate
    ranges = {name: (p.low, min(p.high, top)) for name, p in kind.declared.items() if p.unit == "Hz"}
    if kind is LadderFilter:
        return [LadderFilter(sample_rate, ranges, mode=mode) for mode in MODES]
    if kind is Convolution:
        fade = torch.logspace(0, -3, sample_rate // 10)
        rooms = torch.randn(3, 2, len(fade), generator=generator) * fade
        return [Convolution(sample_rate, ranges, impulse_response=room) for room in rooms]
    return [kind(sample_rate, ranges)]


def differences(effect: Processor, values: Values, x: Tensor) -> list[float]:
    """Largest absolute difference to the Pedalboard plugins that an effect exports to, per item of values (S,)."""
    count = len(next(iter(values.values()), torch.zeros(1)))
    with torch.no_grad():
        ours = effect.process(x.expand(count, -1, -1), **values).numpy()
    found = []
    for i, y in enumerate(ours):
        try:
            exported = effect.plugins({name: v[i].item() for name, v in values.items()})
        except PresetError:
            continue  # a setting that Pedalboard cannot express, and that is refused
        board = pedalboard.Pedalboard([standalone.live(entry(*plugin), effect.sample_rate) for plugin in exported])
        found.append(float(np.abs(y - board(x.numpy(), effect.sample_rate)).max()))
    return found


def exports(kind: type[Processor]) -> bool:
    """True if an effect becomes Pedalboard plugins, and is not one of those that call Pedalboard themselves."""
    if kind.uncarried or not kind.__module__.startswith("diffmix.processors."):
        return False
    try:
        return bool(kind(SAMPLE_RATES[0]).plugins({name: p.default for name, p in kind.declared.items()}))
    except PresetError:
        return False


def effects(settings: int, generator: torch.Generator) -> list[list[Cell]]:
    """One row per effect: cases, how many are equal to the last bit, largest difference, in dB of full scale."""
    rows: list[list[Cell]] = []
    for name, kind in sorted(REGISTRY.items()):
        if not exports(kind):
            continue
        found = []
        for sample_rate in SAMPLE_RATES:
            choices = variants(kind, sample_rate, generator)
            each = -(-settings // len(choices))
            for channels in (1, 2):
                for _, x in signals(sample_rate, channels, generator):
                    for effect in choices:
                        values = effect.spec.denormalize(effect.spec.sample(each, generator))
                        found += differences(effect, values, x)
        if found:
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
                preset = preset_of(desk.to_graph(channels, chosen), sample_rate, sources)
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
    parser.add_argument("--settings", type=int, default=50, help="random settings per case of an effect")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    single = effects(arguments.settings, torch.Generator().manual_seed(arguments.seed))
    whole = consoles(4, torch.Generator().manual_seed(arguments.seed))
    tables = [
        table(
            "Effects",
            ["effect", "cases", "equal to the last bit", "largest difference", "dB of full scale"],
            single,
            f"{arguments.settings} random settings over the whole ranges × {', '.join(map(str, SAMPLE_RATES))} Hz × "
            f"mono, stereo × noise, impulse, sweep, hits, two recordings; {SECONDS:g} s each. Frequencies below "
            "0.49 of the sample rate.",
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
