"""Pictures of single effects, measured from their output: any effect has one, whatever it does inside.

`portrait` chooses what shows an effect best; the functions behind it are there to choose otherwise.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from diffmix.plots import AFTER, BEFORE, GAIN, LEVEL_DB, blank, frequencies, octaves, style
from diffmix.processors import Processor
from diffmix.types import Numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FLOOR_DB = -100.0
TONE_HZ = 4000.0
"""What dynamics get to hear: high enough for a de-esser."""


def play(effect: Processor, values: Numbers, x: np.ndarray) -> np.ndarray:
    """Audio (C, T) through an effect in float64, (C', T), outlets one after the other.

    Other inlets get the input, control inlets a sine of 1 Hz.
    """
    inlets = effect.inlets
    audio = torch.from_numpy(np.asarray(x, np.float64))[None]
    sine = torch.sin(2 * torch.pi / effect.sample_rate * torch.arange(audio.shape[-1]).double()).expand_as(audio)
    signals = {
        p.name: (sine if p.kind == "control" else audio)[:, : p.channels or audio.shape[1]]
        for p in inlets[1:]
        if p.kind == "control" or not p.optional
    }
    numbers = {name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()}
    with torch.no_grad():
        y = effect.process(audio[:, : inlets[0].channels or audio.shape[1]], **signals, **numbers)
    parts: tuple[Tensor, ...] = y if isinstance(y, tuple) else (y,)
    return torch.cat(parts, 1)[0].numpy()


def _impulse(effect: Processor, seconds: float, height: float) -> np.ndarray:
    x = np.zeros((2, int(seconds * effect.sample_rate)))
    x[:, 0] = height
    return x


def _db(x: np.ndarray) -> np.ndarray:
    return 20 * np.log10(np.maximum(np.abs(x), 10 ** (FLOOR_DB / 20)))


def response(axes: "Axes", effect: Processor, values: Numbers) -> None:
    """Magnitude response to a small impulse, one line per outlet."""
    y = play(effect, values, _impulse(effect, 4.0, 1e-3)) * 1e3
    hz = frequencies(effect.sample_rate, 400)
    each = len(y) // len(effect.outlets)
    for channel, port in zip(y[::each], effect.outlets, strict=True):
        spectrum = np.fft.rfft(channel)
        db = np.interp(hz, np.fft.rfftfreq(len(channel), 1 / effect.sample_rate), _db(spectrum))
        axes.plot(hz, db, label=port.name)
    axes.set(ylabel="dB", title="Response", ylim=(max(axes.get_ylim()[0], -60), max(6.0, axes.get_ylim()[1])))
    if len(effect.outlets) > 1:
        axes.legend()
    octaves(axes, hz, every=2)


def levels(axes: "Axes", effect: Processor, values: Numbers) -> None:
    """Level of a steady tone, out over in."""
    t = np.arange(int(1.5 * effect.sample_rate)) / effect.sample_rate
    tone = np.tile(np.sin(2 * np.pi * TONE_HZ * t), (2, 1))
    last = slice(-int(0.1 * effect.sample_rate), None)
    out_db = [_db(np.abs(play(effect, values, tone * 10 ** (db / 20))[0, last]).max()) for db in LEVEL_DB[::4]]
    axes.plot(LEVEL_DB, LEVEL_DB, color=BEFORE, linewidth=1)
    axes.plot(LEVEL_DB[::4], out_db, color=GAIN)
    ticks = [-60, -40, -20, 0]
    axes.set(xlim=(-60, 0), ylim=(-80, 6), xticks=ticks, xlabel="dB in", ylabel="dB out", title="Steady level")


def steps(axes: "Axes", effect: Processor, values: Numbers) -> None:
    """Gain over time for a tone that becomes loud and soft again."""
    seconds = np.arange(int(1.2 * effect.sample_rate)) / effect.sample_rate
    level = np.where((seconds > 0.3) & (seconds < 0.7), 10 ** (-6 / 20), 10 ** (-36 / 20))
    tone = np.tile(level * np.sin(2 * np.pi * TONE_HZ * seconds), (2, 1))
    y = play(effect, values, tone)[0]
    block = int(effect.sample_rate / 200)
    count = len(y) // block * block

    def peaks(x: np.ndarray) -> np.ndarray:
        return np.abs(x[:count]).reshape(-1, block).max(1)

    at = (np.arange(count // block) + 0.5) * block / effect.sample_rate
    axes.plot(at, _db(peaks(tone[0])), color=BEFORE, linewidth=1, label="in")
    axes.plot(at, _db(peaks(y)), color=GAIN, label="out")
    axes.set(ylim=(-80, 6), xlabel="s", ylabel="dB", title="Loud and soft")


def transfer(axes: "Axes", effect: Processor, values: Numbers) -> None:
    """Output over input, sample by sample, for a slow ramp."""
    ramp = np.linspace(-1, 1, 4001)
    there = np.concatenate([np.linspace(0, -1, 2001)[:-1], ramp])
    y = play(effect, values, np.tile(there, (2, 1)))[0, -len(ramp) :]
    axes.plot(ramp, ramp, color=BEFORE, linewidth=1)
    axes.plot(ramp, y, color=GAIN)
    axes.set(xlabel="in", ylabel="out", title="Transfer")


def harmonics(axes: "Axes", effect: Processor, values: Numbers) -> None:
    """Spectrum of a 1 kHz tone at full scale."""
    count = int(effect.sample_rate)
    tone = np.sin(2 * np.pi * 1000 * np.arange(2 * count) / effect.sample_rate)
    y = play(effect, values, np.tile(tone, (2, 1)))[0, -count:]
    hz = np.fft.rfftfreq(count, 1 / effect.sample_rate)
    db = _db(np.fft.rfft(y * np.hanning(count)) * 4 / count)
    at = np.arange(1, int(effect.sample_rate / 2 / 1000)) * 1000
    axes.vlines(at, FLOOR_DB, np.interp(at, hz, db), color=GAIN)
    axes.set(ylim=(FLOOR_DB, 6), xlabel="Hz", ylabel="dB", title="1 kHz tone")


def decay(axes: "Axes", effect: Processor, values: Numbers) -> None:
    """Energy that is still to come after an impulse, in dB of all (M. R. Schroeder, 1965)."""
    y = play(effect, values, _impulse(effect, 3.0, 1.0))
    left = np.cumsum((y**2).sum(0)[::-1])[::-1]
    seconds = np.arange(len(left)) / effect.sample_rate
    axes.plot(seconds, 10 * np.log10(np.maximum(left / max(left[0], 1e-30), 1e-8)), color=AFTER)
    axes.set(ylim=(-80, 3), xlabel="s", ylabel="dB", title="Decay")


def echoes(axes: "Axes", effect: Processor, values: Numbers) -> None:
    """Response to an impulse over time, left up and right down."""
    y = play(effect, values, _impulse(effect, 2.0, 1.0))
    seconds = np.arange(y.shape[1]) / effect.sample_rate
    for channel, sign, colour in zip(y, (1, -1), (AFTER, GAIN), strict=False):
        heard = np.abs(channel) > 1e-3
        axes.vlines(seconds[heard], 0, sign * np.abs(channel[heard]), color=colour, linewidth=1)
    axes.set(xlim=(0, 2), xlabel="s", title="Echoes: left up, right down")


def voices(axes: "Axes", effect: Processor, values: Numbers) -> None:
    """When an impulse is heard, for impulses throughout two seconds: a voice that moves is a curve."""
    count, bins, size = 100, 120, max(1, round(effect.sample_rate / 4000))  # bins of a quarter of a millisecond
    starts = np.arange(count) * int(effect.sample_rate) // (count // 2)
    impulses = np.zeros((count, starts[-1] + bins * size))  # one in each channel: all move alike
    impulses[np.arange(count), starts] = 1
    y = np.abs(play(effect, values, impulses))
    heard = np.stack([channel[start : start + bins * size] for channel, start in zip(y, starts, strict=True)])
    power = _db(heard.reshape(count, bins, size).max(2)).T
    after_ms = np.arange(bins) * size / effect.sample_rate * 1000
    seconds = starts / effect.sample_rate
    axes.pcolormesh(seconds, after_ms, power, vmin=-40, vmax=0, shading="auto", rasterized=True, cmap="magma")
    axes.set(xlabel="s", ylabel="ms later", title="Impulses")


def _spectrogram(axes: "Axes", effect: Processor, values: Numbers, x: np.ndarray) -> None:
    y = play(effect, values, np.tile(x, (2, 1)))[0]
    size = 2048
    frames = np.lib.stride_tricks.sliding_window_view(y, size)[:: size // 4] * np.hanning(size)
    power = _db(np.fft.rfft(frames).T / size)
    hz = np.fft.rfftfreq(size, 1 / effect.sample_rate)
    seconds = np.arange(power.shape[1]) * size / 4 / effect.sample_rate
    axes.pcolormesh(seconds, hz[1:], power[1:], vmin=-70, vmax=-30, shading="auto", rasterized=True, cmap="magma")
    axes.set(yscale="log", ylim=(60, min(18000, hz[-1])), xlabel="s", ylabel="Hz")


def spectrogram(axes: "Axes", effect: Processor, values: Numbers) -> None:
    """Noise through the effect over two seconds."""
    noise = 0.25 * np.random.default_rng(0).standard_normal(int(2 * effect.sample_rate))
    _spectrogram(axes, effect, values, noise)
    axes.set_title("Noise")


def sweep(axes: "Axes", effect: Processor, values: Numbers) -> None:
    """A sine that rises from 60 Hz to 18 kHz through the effect, over two seconds."""
    seconds = np.arange(int(2 * effect.sample_rate)) / effect.sample_rate
    rise = math.log(min(18000, 0.45 * effect.sample_rate) / 60) / 2
    _spectrogram(axes, effect, values, 0.5 * np.sin(2 * np.pi * 60 / rise * np.expm1(rise * seconds)))
    axes.set_title("Sweep")


def waveform(axes: "Axes", effect: Processor, values: Numbers) -> None:
    """What a control generator gives in two seconds, for a burst where it listens to audio."""
    seconds = np.arange(int(2 * effect.sample_rate)) / effect.sample_rate
    burst = np.where((seconds > 0.3) & (seconds < 0.9), np.sin(2 * np.pi * 200 * seconds), 0)
    for channel in play(effect, values, np.tile(burst, (2, 1))):
        axes.plot(seconds, channel)
    axes.set(xlabel="s", title="Control")


def sides(axes: "Axes", effect: Processor, values: Numbers) -> None:
    """Gain of the left and the right over the range of the first parameter, for sound on the left alone."""
    name, p = next(iter(effect.spec))
    at = np.linspace(p.low, p.high, 61)
    x = np.zeros((2, 8))
    x[0] = 1
    gains = np.array([play(effect, {**values, name: v}, x)[:, -1] for v in at])
    for gain, side in zip(gains.T, ("left", "right"), strict=False):
        axes.plot(at, gain, label=side)
    axes.set(xlabel=name, title="Sound on the left")
    axes.legend()


Picture = Callable[["Axes", Processor, Numbers], None]

PICTURES: dict[str, tuple[Picture, ...]] = {
    "eq": (response,),
    "filters": (response,),
    "ladder": (response, harmonics),
    "dynamics": (levels, steps),
    "desk_dynamics": (levels, steps),
    "compander": (levels, steps),
    "multiband": (levels, steps),
    "mastering": (levels, steps),
    "distortion": (transfer, harmonics),
    "gain": (transfer,),
    "reverb": (decay,),
    "convolution": (response,),
    "delay": (echoes,),
    "modulation": (spectrogram,),
    "Chorus": (voices,),
    "ModulatedChorus": (voices,),
    "Vibrato": (voices,),
    "control": (waveform,),
    "stereo": (sides,),
    "builtin": (sweep,),
}
"""What shows the effects of each module best, and those of its effects that something else shows better."""


def pictures(kind: type[Processor]) -> tuple[Picture, ...]:
    """What shows an effect best; nothing for effects with nothing to turn, and for those of other packages."""
    family = PICTURES.get(kind.__module__.rsplit(".", 1)[-1], ())
    return PICTURES.get(kind.__name__, family) if kind.declared else ()


def portrait(effect: Processor, values: Numbers) -> "Figure":
    """The pictures that show an effect best, at these physical values.

    Raises ValueError for an effect that none is known for; the functions of this module draw on any.
    """
    chosen = pictures(type(effect))
    if not chosen:
        raise ValueError(f"no picture is known for {type(effect).__name__}; draw one with the functions of {__name__}")
    with style():
        figure = blank(3.6 * len(chosen), 2.6)
        for axes, draw in zip(np.atleast_1d(figure.subplots(1, len(chosen))), chosen, strict=True):
            draw(axes, effect, values)
    return figure
