"""The report of a transfer: one page and one picture, before and after, and what was thought."""

from collections.abc import Mapping
from html import escape
from typing import Any

from diffmix.mastering import page as shared
from diffmix.mix import Mix
from diffmix.report import write_pages
from diffmix.types import Path

NUMBERS = (*shared.NUMBERS, ("Side over middle", "width_db", "dB"))
ROUTES = {
    "different-source": "another recording",
    "same-source": "the same performance",
    "style": "a saved style",
    "text": "words",
}


def summary(measured: Mapping[str, Any]) -> str:
    """The report as some lines of text."""
    numbers, notes = shared.lines(measured, NUMBERS), (f"note: {note}" for note in measured["notes"])
    return "\n".join([facts(measured), *measured["moves"], *numbers, belief(measured), *notes])


def facts(measured: Mapping[str, Any]) -> str:
    """Length, rate and reference in words."""
    return f"{shared.length(measured)}, like {measured['style']}, heard as {ROUTES[measured['route']]}"


def belief(measured: Mapping[str, Any]) -> str:
    """What is expected, in a sentence."""
    if measured["route"] == "text":
        return f"The embedding takes it to be {100 * measured['expected_gain']:.0f} % nearer to the words."
    if measured["route"] == "style" and measured["acted"]:
        return "The treatment of the style was done again; what it gains here was not judged."
    if not measured["acted"]:
        return "Nothing was done to tone, dynamics, drive, width and space."
    if not any(measured["aspects"][name]["amount"] for name in ("tone", "dynamics")):
        return "What other aspects than tone and dynamics gain is not judged."
    return (
        f"Expected to come {100 * measured['expected_gain']:.0f} % nearer to the reference's style; "
        f"chance that it is further away: {100 * measured['chance_of_harm']:.0f} %."
    )


def page(made: Mix, measured: Mapping[str, Any]) -> str:
    """The report as one HTML text that works offline."""
    moves = "".join(f"<li>{escape(text)}</li>" for text in measured["moves"])
    aspects = "".join(
        f'<tr><th>{aspect}<td class="n">{100 * found["amount"]:.0f} %<td class="n">{_percent(found["confidence"])}'
        for aspect, found in measured["aspects"].items()
    )
    sections = f"""<section><h2>What was done</h2><ul>{moves}</ul>
<p class="quiet">{escape(belief(measured))}</p></section>
<section><h2>Aspects</h2>
<p class="quiet">How much of what was heard is done, and how sure it is that it goes this way.</p>
<table><thead><tr><th>Aspect<th class="n">Amount<th class="n">Sure</thead><tbody>{aspects}</tbody></table></section>"""
    return shared.page(made, measured, "transfer", facts(measured), sections, NUMBERS)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def write(made: Mix, folder: Path) -> None:
    """Write report.html, report.png and report.json into an existing folder. Raises OutputError."""
    measured = made.report
    write_pages(folder, measured, page(made, measured), shared.spectrum)
