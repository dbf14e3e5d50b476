"""Pictures of a mix: curves of its effects, its strips, its spectrum. Each function returns a matplotlib Figure.

Figures are made without pyplot: no window, no global state; show them in a notebook or call ``savefig``.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from diffmix.lettering import families, lettered
from diffmix.processors import Gain, Processor
from diffmix.types import Numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

INK, MUTED, GRID, PAPER = "#1f2933", "#6b7785", "#e3e7ec", "#ffffff"
BEFORE, AFTER, GAIN = "#9aa5b1", "#2463d6", "#d9662b"
"""Colours: text, quiet text, lines, background; unmixed, mixed, gain changes."""

LEVEL_DB = np.linspace(-60.0, 0.0, 61)
"""Input levels of a compressor's curve, in dB."""

ROW_DB = 12.0
"""Gain changes that a row of a table of curves shows, up and down."""

Lines = Sequence[tuple[str, str, str]]
"""Numbers of a report: the label of each, its key among what was measured, its unit."""

LEVELS: Lines = (("Loudness", "loudness_lufs", "LUFS"), ("True peak", "true_peak_db", "dBTP"))

_STYLE = {
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "savefig.facecolor": "auto",
    "svg.fonttype": "none",
    "svg.hashsalt": "diffmix",
}


@contextmanager
def style() -> Iterator[None]:
    """The look of all figures; also needed around ``savefig``, which draws."""
    from matplotlib import rc_context

    with rc_context(cast(Any, {**_STYLE, "font.family": families()})), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a bold font, which holds less
        yield


def blank(width: float, height: float) -> "Figure":
    """An empty figure, inches."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))


def frequencies(sample_rate: float, count: int = 160) -> np.ndarray:
    """Frequencies (count,) in Hz, evenly spaced in octaves from 20 Hz to 20 kHz or just below half the rate."""
    return np.geomspace(20.0, min(20_000.0, 0.49 * sample_rate), count)


def response_db(filters: Sequence[tuple[Processor, Numbers]], frequency_hz: np.ndarray) -> np.ndarray:
    """Magnitude in dB (F,) of filters in series, each with its values."""
    hz = torch.from_numpy(np.asarray(frequency_hz, np.float64))
    return np.sum([cast(Any, effect).response_db(hz, values).numpy() for effect, values in filters], axis=0)


def curve_db(dynamics: Sequence[tuple[Processor, Numbers]], level_db: np.ndarray = LEVEL_DB) -> np.ndarray:
    """Output levels in dB, same shape, of dynamics in series, each with its values, at steady input levels in dB."""
    level = torch.from_numpy(level_db)
    for effect, values in dynamics:
        level = cast(Any, effect).curve_db(level, values)
    return level.numpy()


def curved(
    stages: Mapping[str, Processor], knobs: Mapping[str, Numbers]
) -> tuple[list[tuple[Processor, Numbers]], list[tuple[Processor, Numbers]]]:
    """The filters and the dynamics among the effects of a strip, each with its values: what has a curve to show."""
    pairs = [(effect, knobs.get(name, {})) for name, effect in stages.items()]
    filters = [(e, v) for e, v in pairs if hasattr(e, "response_db") and not isinstance(e, Gain)]
    return filters, [(e, v) for e, v in pairs if hasattr(e, "curve_db")]


def eq_curve(filters: Sequence[tuple[Processor, Numbers]], title: str = "Equaliser") -> "Figure":
    """Magnitude response of filters in series, for example ``[(eq, settings["master"]["eq"])]``."""
    with style():
        figure = blank(4.0, 2.6)
        hz = frequencies(filters[0][0].sample_rate)
        _eq(figure.add_subplot(), hz, response_db(filters, hz), title)
    return figure


def _eq(axes: "Axes", hz: np.ndarray, db: np.ndarray, title: str) -> None:
    axes.axhline(0, color=BEFORE, linewidth=1)
    axes.fill_between(hz, 0, db, color=GAIN, alpha=0.15, linewidth=0)
    axes.plot(hz, db, color=GAIN)
    reach = max(6.0, 3 * math.ceil((float(abs(db[hz > 40]).max()) + 1) / 3))
    axes.set(ylim=(-reach, reach), ylabel="dB", title=title)
    octaves(axes, hz, every=2)


def compressor_curve(dynamics: Sequence[tuple[Processor, Numbers]], title: str = "Compressor") -> "Figure":
    """Output level over input level, both steady, in dB, of dynamics in series, as for `eq_curve`."""
    with style():
        figure = blank(2.6, 2.6)
        _compressor(figure.add_subplot(), curve_db(dynamics), title)
    return figure


def _compressor(axes: "Axes", out_db: np.ndarray, title: str) -> None:
    axes.plot(LEVEL_DB, LEVEL_DB, color=BEFORE, linewidth=1)
    axes.fill_between(LEVEL_DB, out_db, LEVEL_DB, color=GAIN, alpha=0.15, linewidth=0)
    axes.plot(LEVEL_DB, out_db, color=GAIN)
    ticks = [-60, -40, -20, 0]
    axes.set(xlim=(-60, 0), ylim=(-60, 0), xticks=ticks, yticks=ticks, xlabel="dB in", ylabel="dB out", title=title)


def third_octaves(audio: np.ndarray, sample_rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Levels in third-octave bands, in dB below the total: (centres in Hz (K,), levels (K,)).

    ``audio`` is (C, T). Mean power spectrum over channels and half-overlapping Hann windows of about 0.7 s (P. Welch,
    1967), integrated between the band edges 10^((n -+ 1/2) / 10) (IEC 61260-1), 25 Hz to 20 kHz or half the rate.
    """
    size = 2 ** math.ceil(math.log2(0.5 * sample_rate))
    short = size - audio.shape[1]
    x = np.pad(audio, ((0, 0), (0, short))) if short > 0 else audio
    window = np.hanning(size).astype(np.float32)
    power = np.zeros(size // 2 + 1)
    for start in range(0, x.shape[1] - size + 1, size // 2):
        power += (abs(np.fft.rfft(x[:, start : start + size] * window)) ** 2).sum(0)
    decades = np.arange(14, 44) / 10
    decades = decades[10 ** (decades + 0.05) < sample_rate / 2]
    edges = 10 ** np.append(decades - 0.05, decades[-1] + 0.05)
    band = np.diff(np.interp(edges, np.arange(power.size + 1) * sample_rate / size, np.append(0, np.cumsum(power))))
    return 10**decades, 10 * np.log10(np.maximum(band / max(band.sum(), 1e-30), 1e-9))


def spectrum(bands: Mapping[str, Sequence[float]]) -> "Figure":
    """Third-octave spectrum of the mix over that of the unmixed sum; ``bands`` as in `diffmix.report.measure`."""
    with style():
        figure = blank(6.4, 2.6)
        _spectrum(figure.add_subplot(), bands)
    return figure


def _spectrum(axes: "Axes", bands: Mapping[str, Sequence[float]]) -> None:
    hz, mix_db, unmixed_db = (np.array(bands[key]) for key in ("frequency_hz", "mix_db", "unmixed_db"))
    axes.plot(hz, unmixed_db, color=BEFORE, label="unmixed")
    axes.plot(hz, mix_db, color=AFTER, label="mix")
    top = max(-50, 5 * math.ceil(max(mix_db.max(), unmixed_db.max()) / 5))  # silence is below
    bottom = max(-60.0, 5 * math.floor(min(mix_db.min(), unmixed_db.min()) / 5))
    axes.set(ylim=(bottom, top), ylabel="dB of the total", title="Spectrum in third octaves")
    legend(axes, 2)
    octaves(axes, hz)


def legend(axes: "Axes", count: int) -> None:
    """What ``count`` lines are, beside the title, where no line runs."""
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.01, 1),
        borderaxespad=0,
        ncols=count,
        columnspacing=1,
        handlelength=1,
        handletextpad=0.5,
    )


def octaves(axes: "Axes", hz: np.ndarray, every: int = 1) -> None:
    """A logarithmic frequency axis with the numbers people know, one per ``every`` octaves, none in the corner."""
    from matplotlib.ticker import NullLocator

    ticks = {31.5: "31", 63: "63", 125: "125", 250: "250", 500: "500", 1e3: "1k", 2e3: "2k", 4e3: "4k", 8e3: "8k"}
    shown = {
        f: text for f, text in list((ticks | {16e3: "16k"}).items())[every // 2 :: every] if 1.1 * hz[0] < f < hz[-1]
    }
    axes.set_xscale("log")
    axes.set_xlim(hz[0], hz[-1])
    axes.set_xticks(list(shown), list(shown.values()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("Hz")


def levels(tracks: Mapping[str, Mapping[str, Any]]) -> "Figure":
    """Loudness of each track before and after; ``tracks`` as in `diffmix.report.measure`."""
    with style():
        figure = blank(6.4, 0.9 + 0.24 * len(tracks))
        axes = figure.add_subplot()
        _rows(axes, len(tracks), list(tracks))
        _levels(axes, list(tracks.values()))
    return figure


def pan_map(tracks: Mapping[str, Mapping[str, Any]]) -> "Figure":
    """Where each track sits between left and right; a stereo track as a bar of its width."""
    with style():
        figure = blank(6.4, 0.9 + 0.24 * len(tracks))
        axes = figure.add_subplot()
        _rows(axes, len(tracks), list(tracks))
        _pans(axes, list(tracks.values()))
    return figure


def _rows(axes: "Axes", count: int, names: Sequence[str] = (), first: int = 1) -> None:
    """One row per track, the first on top, named if names are given; the ``first`` has this number."""
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_yticks(range(len(names)), [lettered(name, n + first) for n, name in enumerate(names)], color=INK)
    axes.grid(axis="y", visible=False)
    axes.hlines(range(count), 0, 1, transform=axes.get_yaxis_transform(), color=GRID, linewidth=0.8, zorder=0.5)
    axes.spines["left"].set_visible(False)


def _levels(axes: "Axes", tracks: Sequence[Mapping[str, Any]]) -> None:
    groups = [row for row, track in enumerate(tracks) if "tracks" in track]
    heard = [(row, track) for row, track in enumerate(tracks) if row not in groups and not silent(track)]
    rows = np.array([row for row, _ in heard])
    before, after = (np.array([track[f"loudness_{when}_lufs"] for _, track in heard]) for when in ("before", "after"))
    low = 10 * math.floor(min([*before, *after, -30.0]) / 10)
    high = 10 * math.ceil(max([*before, *after, 0.0]) / 10)
    axes.hlines(rows, before, after, color=BEFORE, linewidth=1.2)
    axes.scatter(before, rows, s=22, color=BEFORE, zorder=2.5, label="before")
    axes.scatter(after, rows, s=26, color=AFTER, zorder=2.6, label="after")
    for row, track in enumerate(tracks):
        if row in groups:
            axes.text(low, row, group_text(track), color=MUTED, va="center")
        elif silent(track):
            axes.text(low, row, "silent", color=MUTED, va="center")
    axes.set(xlim=(low - 1, high), xlabel="LUFS", title="Level")
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.02, 1), borderaxespad=0, columnspacing=0.8, ncols=2, handletextpad=0
    )


def silent(track: Mapping[str, Any]) -> bool:
    """Whether a track cannot be heard, before or after."""
    return min(track["loudness_before_lufs"], track["loudness_after_lufs"]) <= -69.5


def group_text(group: Mapping[str, Any]) -> str:
    """What goes through a group, in a few characters."""
    count = len(group["tracks"])
    return f"group of {count} track{'s'[: count != 1]}, fader {number(group['fader_db'])} dB"


def _pans(axes: "Axes", tracks: Sequence[Mapping[str, Any]]) -> None:
    for row, track in enumerate(tracks):
        left, right = image(track["pan"], track["width"])
        if left < right:
            axes.plot([left, right], [row, row], color=AFTER, linewidth=4, alpha=0.55)
        else:
            axes.scatter(left, row, s=26, color=AFTER, zorder=2.5)
    axes.axvline(0, color=BEFORE, linewidth=1)
    axes.set(xlim=(-1.08, 1.08), title="Pan")
    axes.set_xticks([-1, 0, 1], ["L", "C", "R"])


def image(pan: float, width: float | None) -> tuple[float, float]:
    """Where a track begins and ends between -1 (left) and 1 (right); a mono track, whose width is None, is a point.

    Balance turns the far side down, so a stereo image shrinks towards the near one.
    """
    if width is None:
        return pan, pan
    reach = min(1.0, width)
    return reach * (2 * max(0.0, pan) - 1), reach * (1 + 2 * min(0.0, pan))


def _curves(axes: "Axes", x: np.ndarray, curves: Sequence[np.ndarray | None], reach_db: float) -> None:
    """One gain curve per row, a row being two ``reach_db`` high; None leaves it empty."""
    for row, curve in enumerate(curves):
        if curve is None:
            continue
        y = row - np.clip(curve, -reach_db, reach_db) / (2 * reach_db) * 0.94
        axes.fill_between(x, row, y, color=GAIN, alpha=0.2, linewidth=0)
        axes.plot(x, y, color=GAIN, linewidth=1.3)
    axes.set_xlim(x[0], x[-1])


def dynamics_text(values: Numbers) -> str:
    """What a compressor, expander, gate or compander does, in a few characters."""
    does = []
    threshold = values["threshold_db"]
    if "range_db" in values:  # what is below the threshold is turned down
        much = f"{values['ratio']:.1f}:1" if "ratio" in values else f"{number(-values['range_db'])} dB"
        if min(values["range_db"], values.get("ratio", 2) - 1) >= 0.005:
            does.append(f"{much} below {number(threshold, 0)} dB")
    elif values["ratio"] >= 1.005 and threshold < -0.05:
        does.append(f"{values['ratio']:.1f}:1 above {number(threshold, 0)} dB")
    if values.get("expander_ratio", 1) >= 1.005:
        does.append(f"{values['expander_ratio']:.1f}:1 below {number(values['expander_threshold_db'], 0)} dB")
    return ", ".join(does) or "off"


def number(value: float, digits: int = 1) -> str:
    """A number with a fixed count of decimals and a real minus sign."""
    return f"{value:.{digits}f}".replace("-", "−")


def overview(measured: Mapping[str, Any]) -> "Figure":
    """The whole mix in one picture, from `diffmix.report.measure`: numbers, spectrum, master, one row per track.

    More than 20 tracks are laid out in two columns.
    """
    strips, master = rows(measured), measured["master"]
    columns = 1 if len(strips) <= 20 else 2
    per_column = math.ceil(len(strips) / columns)
    rows_height = 1.1 + 0.34 * per_column
    with style():
        figure = blank(12.0 * columns, 3.2 + rows_height)
        top, bottom = cast(Any, figure.subfigures)(2, 1, height_ratios=[3.2, rows_height])
        numbers, picture = top.subfigures(1, 2, width_ratios=[2.7, 12 * columns - 2.7])
        _numbers(numbers, measured)
        eq, squeeze = master["eq"], master["compressor"]
        charts = iter(picture.subplots(1, 3, width_ratios=[5, 2.7, 2]))
        _spectrum(next(charts), measured["spectrum"])
        if eq:
            _eq(next(charts), np.array(eq["frequency_hz"]), np.array(eq["gain_db"]), "Master equaliser")
        if squeeze:
            _compressor(next(charts), LEVEL_DB + squeeze["gain_db"], f"Master {squeeze['title'].lower()}")
        for unused in charts:
            unused.set_axis_off()
        for i, column in enumerate(bottom.subfigures(1, columns, squeeze=False)[0]):
            _strips(
                column, strips[i * per_column : (i + 1) * per_column], per_column, measured["sends"], i * per_column
            )
    return figure


def rows(measured: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The strips that get a row: tracks, then groups, each with its name."""
    return [*measured["tracks"].items(), *measured["groups"].items()]


def _numbers(panel: "SubFigure", measured: Mapping[str, Any]) -> None:
    panel.text(0.06, 0.89, lettered(measured["name"], longest=20), size=14, weight="bold", va="center")
    panel.text(0.06, 0.79, facts(measured), color=MUTED, va="center")
    for y, (label, key, unit) in zip((0.6, 0.32), LEVELS, strict=True):
        panel.text(0.06, y, label, color=MUTED, va="center")
        panel.text(0.06, y - 0.09, f"{number(measured['mix'][key])} {unit}", size=16, weight="bold", va="center")
        panel.text(0.06, y - 0.175, f"unmixed {number(measured['unmixed'][key])}", color=MUTED, va="center")


def facts(measured: Mapping[str, Any]) -> str:
    """How many tracks, how long, at which rate."""
    count, long = len(measured["tracks"]), clock(measured["seconds"])
    return f"{count} track{'s'[: count > 1]} · {long} · {measured['sample_rate'] / 1000:g} kHz"


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, 3:05."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _strips(
    panel: "SubFigure", named: Sequence[tuple[str, Mapping[str, Any]]], rows: int, sends: Mapping[str, str], before: int
) -> None:
    if not named:
        return
    strips = [strip for _, strip in named]
    filtered = next((strip["eq"] for strip in strips if strip["eq"]), None)
    squeezed = next((strip["compressor"] for strip in strips if strip["compressor"]), None)
    longest = max((len(strip["compressor"]["text"]) for strip in strips if strip["compressor"]), default=0)
    room = [2.0 if longest < 25 else 3.2] if squeezed else []
    widths = [3, 1.4, *([3] if filtered else []), *room, *[1.1] * len(sends)]
    level, pan, *others = panel.subplots(1, len(widths), width_ratios=widths)
    _rows(level, rows, [name for name, _ in named], before + 1)
    for axes in (pan, *others):
        _rows(axes, rows)
    _levels(level, strips)
    _pans(pan, strips)
    rest = iter(others)
    if filtered:
        eq, hz = next(rest), np.array(filtered["frequency_hz"])
        octaves(eq, hz, every=2)
        _curves(eq, hz, [_gains(strip["eq"]) for strip in strips], ROW_DB)
        eq.set_title(f"Equaliser, ±{ROW_DB:g} dB per row")
    if squeezed:
        compressor = next(rest)
        _curves(compressor, LEVEL_DB, [_gains(strip["compressor"]) for strip in strips], 2 * ROW_DB)
        compressor.set(xticks=[-60, -40, -20, 0], xlabel="dB in", title=squeezed["title"])
        for row, strip in enumerate(strips):
            if strip["compressor"]:
                text = strip["compressor"]["text"]
                compressor.text(-59, row - 0.24, text, size=7, color=MUTED, va="center", clip_on=True)
    for axes, (name, bus) in zip(rest, sends.items(), strict=True):
        for row, strip in enumerate(strips):
            axes.text(0, row, send_text(strip[f"{name}_db"]), va="center")
        axes.set(xlim=(0, 1), xticks=[], title="Send" if len(sends) == 1 else lettered(f"To {bus}", longest=12))
        axes.grid(False)


def _gains(curve: Mapping[str, Any] | None) -> np.ndarray | None:
    return np.array(curve["gain_db"]) if curve else None


def send_text(gain_db: float) -> str:
    """A send level in a few characters; the lowest position of the knob counts as closed."""
    return "off" if gain_db <= -59.95 else f"{number(gain_db)} dB"
