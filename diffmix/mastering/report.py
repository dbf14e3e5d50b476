"""The report of a master: one page and one picture, before, after and target."""

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from diffmix import plots
from diffmix.report import STYLESHEET, listen, svg, write_pages
from diffmix.types import Path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from diffmix.mastering.result import Master

TITLES = {"eq": "Equaliser", "dynamics": "Dynamics", "limiter": "Level"}
NUMBERS = (
    ("Loudness", "loudness_lufs", "LUFS"),
    ("True peak", "true_peak_db", "dBTP"),
    ("Peak over loudness", "plr_db", "dB"),
    ("Loudness range", "range_lu", "LU"),
)


def spectrum(measured: Mapping[str, Any]) -> "Figure":
    """Third octaves of a master before and after, over the target with its spread; ``measured`` as in its report."""
    with plots.style():
        figure = plots.blank(7.6, 3.2)
        axes = figure.add_subplot()
        hz = np.array(measured["frequency_hz"])
        hz = hz[hz < 0.45 * measured["sample_rate"]]
        before, after = (np.array(measured[key]["spectrum_db"])[: len(hz)] for key in ("before", "after"))
        if measured["target"]["curve_db"] is not None:
            curve, spread = (np.array(measured["target"][key])[: len(hz)] for key in ("curve_db", "spread_db"))
            axes.fill_between(hz, curve - spread, curve + spread, color=plots.GAIN, alpha=0.15, linewidth=0)
            axes.plot(hz, curve, color=plots.GAIN, linewidth=1, label="target")
        axes.plot(hz, before, color=plots.BEFORE, label="before")
        axes.plot(hz, after, color=plots.AFTER, label="after")
        bottom = max(-60.0, 5 * np.floor(min(before.min(), after.min()) / 5))
        axes.set(ylim=(bottom, 0), ylabel="dB of the total", title="Spectrum in third octaves")
        axes.legend(loc="lower center", ncols=3)
        plots.octaves(axes, hz)
    return figure


def page(made: "Master", measured: Mapping[str, Any]) -> str:
    """The report as one HTML text that works offline."""
    name = escape(measured["name"])
    filters, dynamics = plots.curved(made.console.master, made.settings["master"])
    charts = [f'<figure style="flex-grow:6.4">{svg(spectrum(measured))}</figure>']
    if filters:
        charts.append(f'<figure style="flex-grow:4">{svg(plots.eq_curve(filters))}</figure>')
    if dynamics:
        charts.append(f'<figure style="flex-grow:2.6">{svg(plots.compressor_curve(dynamics))}</figure>')
    cards = "".join(
        f"<div><small>{label}</small><b>{plots.number(measured['after'][key])}</b> {unit}"
        f"<small>before {plots.number(measured['before'][key])} {unit}</small></div>"
        for label, key, unit in NUMBERS
    )
    reasons = "".join(f"<li><b>{TITLES[k]}</b> {escape(text)}</li>" for k, text in measured["reasons"].items())
    bypass = "".join(
        f'<tr><th>{stage}<td class="n">{levels["loudness_db"]:+.1f}<td class="n">{levels["true_peak_db"]:+.1f}'
        f'<td class="n">{levels["crest_db"]:+.1f}'
        for stage, levels in measured["bypass"].items()
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in measured["notes"])
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name} – master report</title>
<style>{STYLESHEET}</style>
<main>
<header><h1>{name}</h1><p>{escape(facts(measured))}</p></header>
<section class="cards">{cards}{listen(made, "Before, as loud as the master", "Master")}</section>
<section class="charts">{"".join(charts)}</section>
{f"<section><h2>What was done, and why</h2><ul>{reasons}</ul></section>" if reasons else ""}
<section><h2>Without a stage</h2>
<p class="quiet">What changes in the loudest seconds when a stage is left out.</p>
<table><thead><tr><th>Stage<th class="n">Loudness, LU<th class="n">True peak, dB<th class="n">Crest, dB</thead>
<tbody>{bypass}</tbody></table></section>
{f"<section><h2>Notes</h2><ul>{notes}</ul></section>" if notes else ""}
<section><details><summary>All settings</summary><pre>{escape(made.settings.table())}</pre></details></section>
</main></html>
"""


def summary(measured: Mapping[str, Any]) -> str:
    """The report as a few lines of text."""
    lines = [facts(measured), f"{'':<20}{'before':>8}{'after':>8}"]
    lines += [
        f"{label:<20}" + "".join(f"{measured[when][key]:>8.1f}" for when in ("before", "after")) + f" {unit}"
        for label, key, unit in NUMBERS
    ]
    lines += [f"{TITLES[stage]}: {text}" for stage, text in measured["reasons"].items()]
    return "\n".join([*lines, *(f"note: {note}" for note in measured["notes"])])


def facts(measured: Mapping[str, Any]) -> str:
    """Length, rate and target in words."""
    minutes, seconds = divmod(round(measured["seconds"]), 60)
    target = measured["target"]["name"]
    return f"{minutes}:{seconds:02d}, {measured['sample_rate'] / 1000:g} kHz" + (f", target {target}" if target else "")


def write(made: "Master", folder: Path) -> None:
    """Write report.html, report.png and report.json into an existing folder. Raises OutputError."""
    measured = made.report
    write_pages(folder, measured, page(made, measured), spectrum)
