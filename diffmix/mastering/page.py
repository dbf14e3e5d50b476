"""What reports of one recording before and after have in common: those of masters and those of transfers."""

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from diffmix import plots
from diffmix.mix import Mix
from diffmix.report import STYLESHEET, cards, charts, listen

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUMBERS: plots.Lines = (
    *plots.LEVELS,
    ("Peak over loudness", "plr_db", "dB"),
    ("Loudness range", "range_lu", "LU"),
)
"""What is measured before and after."""

BYPASS = {
    "loudness_db": "Loudness, LU",
    "true_peak_db": "True peak, dB",
    "crest_db": "Crest, dB",
    "width_db": "Width, dB",
}
"""What changes when a stage is left out."""


def spectrum(measured: Mapping[str, Any]) -> "Figure":
    """Third octaves before and after, over the target with its spread if the report ``measured`` has one."""
    with plots.style():
        figure = plots.blank(7.6, 3.2)
        axes = figure.add_subplot()
        hz = np.array(measured["frequency_hz"])
        hz = hz[hz < 0.45 * measured["sample_rate"]]
        before, after = (np.array(measured[key]["spectrum_db"])[: len(hz)] for key in ("before", "after"))
        if measured.get("target", {}).get("curve_db") is not None:
            curve, spread = (np.array(measured["target"][key])[: len(hz)] for key in ("curve_db", "spread_db"))
            axes.fill_between(hz, curve - spread, curve + spread, color=plots.GAIN, alpha=0.15, linewidth=0)
            axes.plot(hz, curve, color=plots.GAIN, linewidth=1, label="target")
        axes.plot(hz, before, color=plots.BEFORE, label="before")
        axes.plot(hz, after, color=plots.AFTER, label="after")
        bottom = max(-60.0, 5 * np.floor(min(before.min(), after.min()) / 5))
        axes.set(ylim=(bottom, 0), ylabel="dB of the total", title="Spectrum in third octaves")
        plots.legend(axes, 3)
        plots.octaves(axes, hz)
    return figure


def length(measured: Mapping[str, Any]) -> str:
    """How long the recording is, and its rate."""
    return f"{plots.clock(measured['seconds'])}, {measured['sample_rate'] / 1000:g} kHz"


def lines(measured: Mapping[str, Any], numbers: plots.Lines) -> list[str]:
    """Numbers before and after as lines of text."""
    rows = [
        f"{label:<20}" + "".join(f"{measured[when][key]:>8.1f}" for when in ("before", "after")) + f" {unit}"
        for label, key, unit in numbers
    ]
    return [f"{'':<20}{'before':>8}{'after':>8}", *rows]


def page(
    made: Mix,
    measured: Mapping[str, Any],
    kind: str,
    facts: str,
    sections: str,
    numbers: plots.Lines = NUMBERS,
) -> str:
    """A report as one HTML text that works offline: ``sections`` stand between the charts and what leaving out does.

    ``kind`` is what a result is called, ``facts`` the line below its name.
    """
    name = escape(measured["name"])
    filters, dynamics = plots.curved(made.console.master, made.settings["master"])
    pictures = charts(
        spectrum(measured),
        plots.eq_curve(filters) if filters else None,
        plots.compressor_curve(dynamics) if dynamics else None,
    )
    levels = cards(numbers, measured["after"], measured["before"], "before")
    heads = "".join(f'<th class="n">{label}' for label in BYPASS.values())
    bypass = "".join(
        f"<tr><th>{stage}" + "".join(f'<td class="n">{changes[key]:+z.1f}' for key in BYPASS)
        for stage, changes in measured["bypass"].items()
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in measured["notes"])
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name} – {kind} report</title>
<style>{STYLESHEET}</style>
<main>
<header><h1>{name}</h1><p>{escape(facts)}</p></header>
<section class="cards">{levels}{listen(made, "Before, as loud as after", "After")}</section>
<section class="charts">{"".join(pictures)}</section>
{sections}
<section><h2>Without a stage</h2>
<p class="quiet">What changes in the loudest seconds when a stage is left out.</p>
<table><thead><tr><th>Stage{heads}</thead><tbody>{bypass}</tbody></table></section>
{f"<section><h2>Notes</h2><ul>{notes}</ul></section>" if notes else ""}
<section><details><summary>All settings</summary><pre>{escape(made.settings.table())}</pre></details></section>
</main></html>
"""
