"""The report of a transfer: one page and one picture, before and after, and what was thought."""

from collections.abc import Mapping
from html import escape
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from diffmix import plots
from diffmix.data.audio import WavWriter
from diffmix.report import STYLESHEET, listen, svg, write_pages
from diffmix.types import Path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from diffmix.transferring.result import Transfer

NUMBERS = (
    ("Loudness", "loudness_lufs", "LUFS"),
    ("True peak", "true_peak_db", "dBTP"),
    ("Peak over loudness", "plr_db", "dB"),
    ("Loudness range", "range_lu", "LU"),
    ("Side over middle", "width_db", "dB"),
)
ROUTES = {
    "different-source": "another recording",
    "same-source": "the same performance",
    "style": "a saved style",
    "text": "words",
}


def spectrum(measured: Mapping[str, Any]) -> "Figure":
    """Third octaves before and after; ``measured`` as in a transfer's report."""
    with plots.style():
        figure = plots.blank(7.6, 3.2)
        axes = figure.add_subplot()
        hz = np.array(measured["frequency_hz"])
        hz = hz[hz < 0.45 * measured["sample_rate"]]
        before, after = (np.array(measured[key]["spectrum_db"])[: len(hz)] for key in ("before", "after"))
        axes.plot(hz, before, color=plots.BEFORE, label="before")
        axes.plot(hz, after, color=plots.AFTER, label="after")
        bottom = max(-60.0, 5 * np.floor(min(before.min(), after.min()) / 5))
        axes.set(ylim=(bottom, 0), ylabel="dB of the total", title="Spectrum in third octaves")
        axes.legend(loc="lower center", ncols=2)
        plots.octaves(axes, hz)
    return figure


def picture(made: "Transfer") -> "Figure":
    """Spectra before and after."""
    return spectrum(made.report)


def summary(measured: Mapping[str, Any]) -> str:
    """The report as some lines of text."""
    lines = [facts(measured), *measured["moves"], f"{'':<20}{'before':>8}{'after':>8}"]
    lines += [
        f"{label:<20}" + "".join(f"{measured[when][key]:>8.1f}" for when in ("before", "after")) + f" {unit}"
        for label, key, unit in NUMBERS
    ]
    return "\n".join([*lines, belief(measured), *(f"note: {note}" for note in measured["notes"])])


def facts(measured: Mapping[str, Any]) -> str:
    """Length, rate and reference in words."""
    minutes, seconds = divmod(round(measured["seconds"]), 60)
    names = measured["style"]
    length = f"{minutes}:{seconds:02d}, {measured['sample_rate'] / 1000:g} kHz"
    return f"{length}, like {names}, heard as {ROUTES[measured['route']]}"


def belief(measured: Mapping[str, Any]) -> str:
    """What is expected, in a sentence."""
    if measured["route"] == "text":
        return f"The embedding takes it to be {100 * measured['expected_gain']:.0f} % nearer to the words."
    if measured["route"] == "style":
        return "The treatment of the style was done again; what it gains here was not judged."
    if not measured["acted"]:
        return "Nothing was done to tone, dynamics, drive, width and space."
    return (
        f"Expected to come {100 * measured['expected_gain']:.0f} % nearer to the reference's style; "
        f"chance that it is further away: {100 * measured['chance_of_harm']:.0f} %."
    )


def page(made: "Transfer", measured: Mapping[str, Any]) -> str:
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
    moves = "".join(f"<li>{escape(text)}</li>" for text in measured["moves"])
    aspects = "".join(
        f'<tr><th>{aspect}<td class="n">{100 * found["amount"]:.0f} %<td class="n">{_percent(found["confidence"])}'
        for aspect, found in measured["aspects"].items()
    )
    bypass = "".join(
        f'<tr><th>{stage}<td class="n">{levels["loudness_db"]:+.1f}<td class="n">{levels["true_peak_db"]:+.1f}'
        f'<td class="n">{levels["crest_db"]:+.1f}<td class="n">{levels["width_db"]:+.1f}'
        for stage, levels in measured["bypass"].items()
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in measured["notes"])
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name} – transfer report</title>
<style>{STYLESHEET}</style>
<main>
<header><h1>{name}</h1><p>{escape(facts(measured))}</p></header>
<section class="cards">{cards}{listen(made, "Before, as loud as after", "After")}</section>
<section class="charts">{"".join(charts)}</section>
<section><h2>What was done</h2><ul>{moves}</ul><p class="quiet">{escape(belief(measured))}</p></section>
<section><h2>Aspects</h2>
<p class="quiet">How much of what was heard is done, and how sure it is that it goes this way.</p>
<table><thead><tr><th>Aspect<th class="n">Amount<th class="n">Sure</thead><tbody>{aspects}</tbody></table></section>
<section><h2>Without a stage</h2>
<p class="quiet">What changes in the loudest seconds when a stage is left out.</p>
<table><thead><tr><th>Stage<th class="n">Loudness, LU<th class="n">True peak, dB<th class="n">Crest, dB
<th class="n">Width, dB</thead><tbody>{bypass}</tbody></table></section>
{f"<section><h2>Notes</h2><ul>{notes}</ul></section>" if notes else ""}
<section><details><summary>All settings</summary><pre>{escape(made.settings.table())}</pre></details></section>
</main></html>
"""


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def write(made: "Transfer", folder: Path) -> None:
    """Write report.html, report.png, report.json, before.wav and style.json into a folder. Raises OutputError."""
    measured = made.report
    write_pages(folder, measured, page(made, measured), spectrum)
    gain = 10 ** ((measured["after"]["loudness_lufs"] - measured["before"]["loudness_lufs"]) / 20)
    loudest = gain * float(made.source.abs().max())
    before = WavWriter(FilePath(folder, "before.wav"), made.sample_rate, 2, loudest)
    for start in range(0, made.source.shape[-1], 1 << 20):
        before.write(torch.as_tensor(gain * made.source[:, start : start + (1 << 20)]))
    before.close()
    if made.style.references:
        made.style.save(FilePath(folder, "style.json"))
