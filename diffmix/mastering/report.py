"""The report of a master: one page and one picture, before, after and target."""

from collections.abc import Mapping
from html import escape
from typing import Any

from diffmix.mastering.page import NUMBERS, length, lines, page, spectrum
from diffmix.mix import Mix
from diffmix.report import write_pages
from diffmix.types import Path

TITLES = {"eq": "Equaliser", "dynamics": "Dynamics", "limiter": "Level"}


def summary(measured: Mapping[str, Any]) -> str:
    """The report as a few lines of text."""
    reasons = [f"{TITLES[stage]}: {text}" for stage, text in measured["reasons"].items()]
    notes = [f"note: {note}" for note in measured["notes"]]
    return "\n".join([facts(measured), *lines(measured, NUMBERS), *reasons, *notes])


def facts(measured: Mapping[str, Any]) -> str:
    """Length, rate and target in words."""
    target = measured["target"]["name"]
    return length(measured) + (f", target {target}" if target else "")


def write(made: Mix, folder: Path) -> None:
    """Write report.html, report.png and report.json into an existing folder. Raises OutputError."""
    measured = made.report
    reasons = "".join(f"<li><b>{TITLES[k]}</b> {escape(text)}</li>" for k, text in measured["reasons"].items())
    sections = f"<section><h2>What was done, and why</h2><ul>{reasons}</ul></section>" if reasons else ""
    write_pages(folder, measured, page(made, measured, "master", facts(measured), sections), spectrum)
