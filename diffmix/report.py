"""The report of a mix: what was measured, and one page and one picture that show it.

The page is one file that works offline; it holds its charts as inline SVG and a few seconds of sound.
"""

import base64
import io
import json
import math
import wave
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from diffmix import plots
from diffmix.data.audio import FULL_SCALE
from diffmix.data.fullness import loudest
from diffmix.errors import OutputError
from diffmix.explain import explained, hertz, master_bypass, ordered_changes
from diffmix.kernels.loudness import HEARD_LUFS, LoudnessMeter, integrated_loudness, true_peak_db
from diffmix.playback import Player
from diffmix.processors import Gain
from diffmix.types import Path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from diffmix.data.multitrack import Multitrack
    from diffmix.mix import Mix

_SOUND_BYTES = 1_100_000
"""Size of each of the two excerpts in the page."""

_PIECE_S = 60
"""Seconds that are measured at a time, since an hour has no room for copies."""


def unmixed(multitrack: "Multitrack", start: int = 0, stop: int | None = None) -> np.ndarray:
    """The plain sum of the tracks, (2, n) float32, from sample ``start`` to ``stop``: faders at 0 dB, mono tracks at
    -3 dB on both sides."""
    stop = multitrack.length if stop is None else min(stop, multitrack.length)
    total = np.zeros((2, stop - start), np.float32)
    for track in multitrack.tracks:
        mono = track.audio.shape[0] == 1
        total += track.audio[:, start:stop].numpy() * np.float32(math.sqrt(0.5) if mono else 1.0)
    return total


def measure(mix: "Mix") -> dict[str, Any]:
    """Everything the report shows, as plain data that JSON can hold.

    ``mix`` and ``unmixed``: loudness_lufs (ITU-R BS.1770, -70 for silence) and true_peak_db; ``spectrum``: third
    octaves in dB of the total; ``master``: curves of its filters and dynamics, gain_db (None without a Gain);
    ``buses``: their knobs; ``returns``: their loudness_lufs and peak_db in front of the master; ``sends``: the
    bus that each goes to.

    ``tracks`` by name: loudness_before_lufs (of the stem), loudness_after_lufs (behind fader and pan, in front of the
    master), group, fader_db, pan from -1 to 1 (for a stereo track its balance), width (None for a mono track), a level
    for each send (``send_db``), and the curves: ``eq`` of all its filters together, ``compressor`` of its dynamics in
    series, with their knobs and what they do in words, None where it has none. ``groups`` likewise, with the names of
    their tracks.
    What `diffmix.explain.explained` found stands beside: crest_db, dominant_hz, masked, done, why, bypass; and
    peak_after_db and warnings, the notes about the track. ``style`` in words; ``notes``.
    """
    before = unmixed(mix.multitrack)
    rate = mix.sample_rate
    settings = mix.console.check(mix.settings)
    player = Player(mix.console, mix.multitrack, mix.muted)
    names = [track.name for track in mix.multitrack.tracks]
    levels = dict(zip(names, mix.levels, strict=False))
    of_returns = dict(zip(mix.console.buses, mix.levels[len(names) :], strict=True))
    centres, mix_db = plots.third_octaves(mix.audio, rate)
    return {
        "name": mix.multitrack.name,
        "style": mix.style,
        "sample_rate": rate,
        "seconds": mix.audio.shape[-1] / rate,
        "mix": _level(mix.audio, rate),
        "unmixed": _level(before, rate),
        "spectrum": {
            "frequency_hz": centres.tolist(),
            "mix_db": mix_db.tolist(),
            "unmixed_db": plots.third_octaves(before, rate)[1].tolist(),
        },
        "master": {
            **_curves_of(mix, mix.console.master, settings["master"]),
            "gain_db": _gain_db(mix, settings),
            "bypass": master_bypass(player, settings),
        },
        "buses": {name: settings["buses"][name] for name in mix.console.buses},
        "sends": dict(mix.console.layout["sends"]),
        "returns": {name: {"loudness_lufs": lufs, "peak_db": peak} for name, (lufs, peak) in of_returns.items()},
        "tracks": _tracks(mix, player, settings["tracks"], levels),
        "groups": _groups(mix, settings["buses"]),
        "notes": [*mix.notes, *further_notes(mix)],
    }


def _loudness(audio: np.ndarray | torch.Tensor, sample_rate: int) -> float:
    return float(integrated_loudness(torch.as_tensor(audio)[None], sample_rate))


def _level(audio: np.ndarray, sample_rate: int) -> dict[str, float]:
    peak = float(true_peak_db(torch.from_numpy(audio)[None], sample_rate))
    return {"loudness_lufs": _loudness(audio, sample_rate), "true_peak_db": peak}


def further_notes(mix: "Mix") -> list[str]:
    """What a person should know of a result as it is now: who is muted, what its file is, why it is no preset."""
    muted = [f"Muted: {', '.join(mix.muted)}."] if mix.muted else []
    return muted + _over(mix) + ([f"No preset: {mix.unplayable}"] if mix.unplayable else [])


def _over(mix: "Mix") -> list[str]:
    if (peak := float(np.abs(mix.audio).max(initial=0))) <= FULL_SCALE:
        return []
    above = f"{20 * math.log10(peak):+.1f} dBFS"
    return [f"The highest sample is at {above}: the file is in floating point; turn it down before it is played."]


def _gain_db(mix: "Mix", settings: Mapping[str, Any]) -> float | None:
    """What the master's gains add, None without one."""
    gains = [name for name, effect in mix.console.master.items() if isinstance(effect, Gain)]
    return sum(settings["master"][name]["gain_db"] for name in gains) if gains else None


def _tracks(
    mix: "Mix", player: Player, settings: Mapping[str, Any], levels: Mapping[str, tuple[float, float]]
) -> dict[str, dict[str, Any]]:
    about = explained(player, mix.settings, {name: lufs for name, (lufs, _) in levels.items()}, mix.wished)
    found = {}
    for track in mix.multitrack.tracks:
        knobs, mono = settings[track.name], track.audio.shape[0] == 1
        found[track.name] = {
            "role": track.role,
            "channels": track.audio.shape[0],
            "group": mix.console.group_of(track.name),
            "loudness_before_lufs": mix.multitrack.loudness_lufs[track.name],
            "loudness_after_lufs": levels[track.name][0],
            "peak_after_db": levels[track.name][1],
            **about[track.name],
            "warnings": [n.removeprefix(f"{track.name}: ") for n in mix.notes if n.startswith(f"{track.name}: ")],
            "fader_db": knobs["fader"]["gain_db"],
            "pan": knobs["pan"]["pan"] if mono else knobs["image"]["balance"],
            "width": None if mono else knobs["image"]["width"],
            **{f"{send}_db": knobs[send]["gain_db"] for send in mix.console.sends},
            **_curves_of(mix, mix.console.strip, knobs),
        }
    return found


def _groups(mix: "Mix", settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found = {}
    names = [track.name for track in mix.multitrack.tracks]
    for group, stages in mix.console.groups.items():
        knobs = settings[group]
        found[group] = {
            "tracks": [name for name in names if mix.console.group_of(name) == group],
            "fader_db": knobs["fader"]["gain_db"],
            "pan": knobs["image"]["balance"],
            "width": knobs["image"]["width"],
            **{f"{send}_db": knobs[send]["gain_db"] for send in mix.console.sends},
            **_curves_of(mix, stages, knobs),
        }
    return found


def _curves_of(mix: "Mix", stages: Mapping[str, Any], knobs: Mapping[str, Any]) -> dict[str, Any]:
    """The curves of a strip's filters together and of its dynamics, with the knobs of these."""
    filters, dynamics = plots.curved(stages, knobs)
    hz = plots.frequencies(mix.sample_rate)
    eq = {"frequency_hz": hz.tolist(), "gain_db": plots.response_db(filters, hz).tolist()} if filters else None
    names = [name for name, effect in stages.items() if any(effect is e for e, _ in dynamics)]
    compressor = None
    if dynamics:
        several = len(dynamics) > 1
        texts = [plots.dynamics_text(values) for _, values in dynamics]
        compressor = {
            **{f"{name}.{k}" if several else k: v for name in names for k, v in knobs[name].items()},
            "gain_db": (plots.curve_db(dynamics) - plots.LEVEL_DB).tolist(),
            "title": "Compressor" if not several and "Compressor" in type(dynamics[0][0]).__name__ else "Dynamics",
            "text": ", ".join(text for text in texts if text != "off") or "off",
        }
    return {"eq": eq, "compressor": compressor}


def write_report(mix: "Mix", folder: Path) -> dict[str, Any]:
    """Write ``report.html``, ``report.png`` and ``report.json`` into an existing folder; returns what `measure` found.

    Raises OutputError if a file cannot be written.
    """
    measured = mix.report
    write_pages(folder, measured, page(mix, measured), plots.overview)
    return measured


def write_pages(
    folder: Path, measured: Mapping[str, Any], html: str, picture: Callable[[Mapping[str, Any]], Any]
) -> None:
    """Write report.html, report.json with what was measured, and report.png, a figure of it. Raises OutputError."""
    drawn = io.BytesIO()
    with plots.style():
        picture(measured).savefig(drawn, format="png", dpi=110)
    files = {
        "report.html": html.encode(),
        "report.png": drawn.getvalue(),
        "report.json": (json.dumps(measured, indent=1, ensure_ascii=False) + "\n").encode(),
    }
    for name, data in files.items():
        try:
            FilePath(folder, name).write_bytes(data)
        except OSError as error:
            raise OutputError(f"{FilePath(folder, name)} cannot be written: {error.strerror}.") from None


def page(mix: "Mix", measured: Mapping[str, Any]) -> str:
    """The report as one HTML text."""
    name = escape(measured["name"])
    filters, dynamics = plots.curved(mix.console.master, mix.console.check(mix.settings)["master"])
    squeezed = measured["master"]["compressor"]
    first, *others = charts(
        plots.spectrum(measured["spectrum"]),
        plots.eq_curve(filters, "Master equaliser") if filters else None,
        plots.compressor_curve(dynamics, f"Master {squeezed['title'].lower()}") if dynamics else None,
    )
    loudness = cards(plots.LEVELS, measured["mix"], measured["unmixed"], "unmixed")
    up = plots.ROW_DB
    strips = plots.rows(measured)
    eq = any(strip["eq"] for _, strip in strips)
    squeeze = next((strip["compressor"]["title"] for _, strip in strips if strip["compressor"]), "")
    legend = f" Equaliser: ±{up:g} dB from 20 Hz to\n20 kHz." if eq else ""
    legend += f" {squeeze}: gain change for inputs from −60 to 0 dB, down to −{2 * up:g} dB." if squeeze else ""
    gain_db = measured["master"]["gain_db"]
    adds = "" if gain_db is None else f", whose gain adds {plots.number(gain_db)} dB"
    legend += f" Levels after are those in front of the master{adds}."
    heads = ("<th>Equaliser" if eq else "") + (f"\n<th>{squeeze}" if squeeze else "") + "<th>Pan"
    heads += "".join(f'<th class="n">{escape(_capital(bus))} send' for bus in measured["sends"].values())
    rows = "".join(_row(track, values, eq, bool(squeeze), measured["sends"]) for track, values in strips)
    notes = "".join(f"<li>{escape(note)}</li>" for note in measured["notes"])
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name} – mix report</title>
<style>{STYLESHEET}</style>
<main>
<header><h1>{name}</h1><p>{plots.facts(measured)}</p></header>
<section class="cards">{loudness}{listen(mix, "Unmixed, as loud as the mix", "Mix")}</section>
<section class="charts">{first}
{"".join(others)}</section>
<p class="quiet">{escape(_others(measured))}</p>
<section><h2>Tracks</h2>
<p class="quiet"><i class="before"></i> before <i class="after"></i> after &ensp;{legend}</p>
<div class="scroll"><table>
<thead><tr><th>Track<th>Level, −60 to 0 LUFS<th class="n">LUFS before<th class="n">after{heads}</thead>
<tbody>{rows}</tbody></table></div></section>
{f"<section><h2>Notes</h2><ul>{notes}</ul></section>" if notes else ""}
<section><h2>What was done, and why</h2>
<p class="quiet">Leaving a processor out would change the sum of all tracks, in front of the master, by so much.</p>
{_reasons(measured)}</section>
<section><details><summary>All settings</summary><pre>{escape(mix.settings.table())}</pre></details></section>
</main></html>
"""


def _reasons(measured: Mapping[str, Any]) -> str:
    """What was measured, done and why, track by track, to be opened."""

    def block(title: str, rows: Sequence[tuple[str, Sequence[str]]]) -> str:
        lines = "".join(f"<dt>{head}<dd>{'<br>'.join(map(escape, texts))}" for head, texts in rows if texts)
        return f"<details><summary>{escape(title)}</summary><dl>{lines}</dl></details>"

    found = []
    for name, track in measured["tracks"].items():
        if plots.silent(track):
            continue
        facts = [
            f"{plots.number(track['loudness_before_lufs'])} LUFS, peaks {plots.number(track['crest_db'])} dB above"
        ]
        facts[0] += f" the mean, most of it around {hertz(track['dominant_hz'])}"
        by = ", ".join(f"{other} ({100 * share:.0f} %)" for other, share in track["masked"]["by"].items())
        if by:
            facts.append(f"in the mix {100 * track['masked']['share']:.0f} % of it is covered, most by {by}")
        rows = (
            ("Measured", facts),
            ("Done", track["done"]),
            ("Why", track["why"]),
            ("Without", ordered_changes(track["bypass"])),
            ("Warnings", track["warnings"]),
        )
        found.append(block(name + (" ⚠" if track["warnings"] else ""), rows))
    if changes := ordered_changes(measured["master"]["bypass"]):
        found.append(block("Master", [("Without", changes)]))
    return "\n".join(found)


def cards(numbers: plots.Lines, now: Mapping[str, Any], before: Mapping[str, Any], called: str) -> str:
    """Numbers as they are now, large, and as they were before, which is ``called`` so."""
    return "".join(
        f"<div><small>{label}</small><b>{plots.number(now[key])}</b> {unit}"
        f"<small>{called} {plots.number(before[key])} {unit}</small></div>"
        for label, key, unit in numbers
    )


def charts(spectrum: "Figure", filters: "Figure | None", dynamics: "Figure | None") -> list[str]:
    """The figures of a page's first row that there are, each as wide as its share."""
    shares = ((spectrum, 6.4), (filters, 4), (dynamics, 2.6))
    return [f'<figure style="flex-grow:{share:g}">{svg(figure)}</figure>' for figure, share in shares if figure]


def _others(measured: Mapping[str, Any]) -> str:
    """The master's gain and the buses in words."""

    def knobs(values: Mapping[str, float]) -> str:
        return ", ".join(
            f"{knob.replace('_', ' ')} {value:.{2 if abs(value) < 10 else 0}f}" for knob, value in values.items()
        )

    gain_db = measured["master"]["gain_db"]
    text = [] if gain_db is None else [f"Master gain {plots.number(gain_db)} dB."]
    for bus, stages in measured["buses"].items():
        if len(stages) == 1:
            about = knobs(next(iter(stages.values())))
        else:
            about = "; ".join(f"{stage} {knobs(values)}" for stage, values in stages.items()) or "no effects"
        heard = measured["returns"][bus]["loudness_lufs"]
        level = "silent" if heard <= HEARD_LUFS else f"returning at {plots.number(heard)} LUFS"
        text.append(f"{_capital(bus)} bus: {about}, {level}.")
    return " ".join(text)


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]


def _row(name: str, track: Mapping[str, Any], eq: bool, dynamics: bool, sends: Mapping[str, str]) -> str:
    """A track or group as a row of the table, with the columns that the console gives reason for."""
    if "tracks" in track:
        start = (
            f"<tr><th>{escape(name)}<small>group of {escape(', '.join(track['tracks'])) or 'no track'}</small>"
            f"<td>fader {plots.number(track['fader_db'])} dB<td><td>"
        )
    else:
        start = _level_cells(name, track)
    cells = ""
    if eq:
        cells += f"<td>{_curve(track['eq']['gain_db'][::2], plots.ROW_DB, plots.ROW_DB) if track['eq'] else ''}"
    if dynamics and (squeeze := track["compressor"]):
        cells += f"<td>{_curve(squeeze['gain_db'][::2], 0, 2 * plots.ROW_DB)}<small>{escape(squeeze['text'])}</small>"
    elif dynamics:
        cells += "<td>"
    levels = "".join(f'<td class="n">{plots.send_text(track[f"{send}_db"])}' for send in sends)
    return f"{start}{cells}<td>{_pan(track)}{levels}"


def _level_cells(name: str, track: Mapping[str, Any]) -> str:
    before, after = (track[f"loudness_{when}_lufs"] for when in ("before", "after"))
    x1, x2 = (118 * min(max(level / 60 + 1, 0), 1) + 6 for level in (before, after))
    level = (
        f'<svg width="130" height="20"><path class="axis" d="M6 10H124"/><path class="span" d="M{x1:.1f} 10H{x2:.1f}"/>'
        f'<circle class="before" cx="{x1:.1f}" cy="10" r="4"/><circle class="after" cx="{x2:.1f}" cy="10" r="5"/></svg>'
    )
    about = "stereo" if track["channels"] == 2 else "mono"
    about += f", {track['role'].replace('_', ' ')}" if track["role"] else ""
    return (
        f"<tr><th>{escape(name)}<small>{escape(about)}</small><td>{'silent' if plots.silent(track) else level}"
        f'<td class="n">{plots.number(before)}<td class="n">{plots.number(after)}'
    )


def _curve(gain_db: Sequence[float], above_db: float, below_db: float) -> str:
    """A small chart of a curve between two limits, with a line at 0 dB."""
    width, height = 120, 34
    scale = (height - 4) / (above_db + below_db)
    points = [
        f"{width * i / (len(gain_db) - 1):.1f} {2 + (above_db - min(max(db, -below_db), above_db)) * scale:.1f}"
        for i, db in enumerate(gain_db)
    ]
    zero = 2 + above_db * scale
    line = "L".join(points)
    return (
        f'<svg width="{width}" height="{height}"><path class="axis" d="M0 {zero:.1f}H{width}"/>'
        f'<path class="area" d="M0 {zero:.1f}L{line}L{width} {zero:.1f}Z"/><path class="curve" d="M{line}"/></svg>'
    )


def _pan(track: Mapping[str, Any]) -> str:
    left, right = plots.image(track["pan"], track["width"])
    x1, x2 = 45 + 38 * left, 45 + 38 * right
    mark = (
        f'<path class="image" d="M{x1:.1f} 10H{x2:.1f}"/>'
        if x1 < x2
        else f'<circle class="after" cx="{x1:.1f}" cy="10" r="5"/>'
    )
    text = "C" if abs(track["pan"]) < 0.005 else f"{'L' if track['pan'] < 0 else 'R'}{abs(100 * track['pan']):.0f}"
    if track["width"] is not None:
        text += f", width {100 * track['width']:.0f} %"
    return f'<svg width="90" height="20"><path class="axis" d="M7 10H83M45 4V16"/>{mark}</svg><small>{text}</small>'


def svg(figure: "Figure") -> str:
    """A figure as inline SVG whose ink follows the page's colours."""
    text = io.StringIO()
    with plots.style():
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    for colour, variable in ((plots.INK, "ink"), (plots.MUTED, "muted"), (plots.GRID, "line"), (plots.AFTER, "after")):
        svg = svg.replace(colour, f"var(--{variable})")
    return svg


def listen(mix: "Mix", before_label: str, label: str) -> str:
    """The same seconds of the unmixed sum, brought to the mix's loudness, and of the mix: the loudest ones."""
    rate, length = mix.sample_rate, mix.audio.shape[-1]
    frames = min(length, _SOUND_BYTES // 4)
    start, _ = loudest(torch.from_numpy(mix.audio), frames / rate, rate)
    meter = LoudnessMeter(rate)
    for n in range(0, length, _PIECE_S * rate):
        meter.add(torch.from_numpy(unmixed(mix.multitrack, n, n + _PIECE_S * rate))[None])
    match_db = _loudness(mix.audio, rate) - float(meter.loudness())
    before = unmixed(mix.multitrack, start, start + frames)
    sounds = {before_label: before * 10 ** (match_db / 20), label: mix.audio[:, start : start + frames]}
    where = f"{frames / rate:.0f} s" + (f" from {plots.clock(start // rate)}" if frames < length else "")
    players = (
        f"<div><small>{title}, {where}</small>"
        f'<audio controls src="data:audio/wav;base64,{_wav(x, rate)}"></audio></div>'
        for title, x in sounds.items()
    )
    return f'<section class="pair">{"".join(players)}</section>'


def _wav(audio: np.ndarray, sample_rate: int) -> str:
    """Audio (2, T) as a 16-bit WAV file in base64, turned down if it would clip."""
    scale = 32767 / max(1.0, float(abs(audio).max(initial=0)))
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes((audio.T * scale).round().astype("<i2").tobytes())
    return base64.b64encode(data.getvalue()).decode()


STYLESHEET = """
:root{--paper:#fff;--card:#f7f8fa;--ink:#1f2933;--muted:#6b7785;--line:#e3e7ec;--before:#9aa5b1;--after:#2463d6;
--gain:#d9662b;color-scheme:light dark}
@media(prefers-color-scheme:dark){:root{--paper:#14181d;--card:#1c2229;--ink:#e6eaef;--muted:#93a0ae;--line:#303943;
--before:#8592a0;--after:#6ea0ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.45 system-ui,sans-serif}
main{max-width:1180px;margin:0 auto;padding:32px 24px 64px;overflow-wrap:anywhere}
h1{font-size:28px;margin:0}h2{font-size:18px;margin:36px 0 8px}
header p,.quiet{color:var(--muted);margin:2px 0 18px}.charts+.quiet{margin-top:12px}
small{display:block;color:var(--muted);font-size:12.5px;font-weight:400}
.cards,.charts,.pair{display:flex;flex-wrap:wrap;gap:14px}
.cards>div,.pair>div,figure{background:var(--card);border:1px solid var(--line);border-radius:10px}
.cards>div,.pair>div,figure{padding:12px 16px;margin:0}
.cards b{font-size:28px;font-variant-numeric:tabular-nums}
.pair{flex:1 1 534px}.pair>div{flex:1 1 225px}audio{width:100%;height:36px;margin-top:8px}
.charts{margin-top:14px}figure{flex:1 1 0;min-width:230px;padding:8px}
figure svg{width:100%;height:auto;max-height:270px;display:block}
@media(max-width:1000px){.scroll{overflow-x:auto}figure:first-child{flex-basis:100%}}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:5px 14px 5px 0;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap}
tbody th{font-weight:600;white-space:normal;overflow-wrap:break-word;min-width:120px;max-width:240px}
thead th{color:var(--muted);font-size:12.5px;font-weight:500;background:var(--paper);position:sticky;top:0}
.n{text-align:right}td svg{display:block}
.axis{stroke:var(--line);stroke-width:1.5}.span{stroke:var(--before);stroke-width:2}circle.before{fill:var(--before)}
circle.after{fill:var(--after)}.image{stroke:var(--after);stroke-width:6;stroke-linecap:round;opacity:.6}
.curve{fill:none;stroke:var(--gain);stroke-width:1.8}.area{fill:var(--gain);opacity:.18}
.quiet i{display:inline-block;width:10px;height:10px;border-radius:50%;margin-left:8px}
i.before{background:var(--before)}i.after{background:var(--after)}
pre{font:12.5px/1.5 ui-monospace,monospace;white-space:pre-wrap;color:var(--muted)}
summary{cursor:pointer}
dl{margin:4px 0 14px 18px;display:grid;grid-template-columns:90px 1fr;gap:4px 12px}dt{color:var(--muted)}dd{margin:0}
"""
