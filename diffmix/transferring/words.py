"""What was done, as a musician would say it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from diffmix.processors import HighpassFilter, ParametricEQ

if TYPE_CHECKING:
    from diffmix.transferring.result import Transfer

BANDS = {
    "sub": (25.0, 60.0),
    "bass": (60.0, 150.0),
    "low mids": (150.0, 400.0),
    "mids": (400.0, 1200.0),
    "presence": (1200.0, 5000.0),
    "brilliance": (5000.0, 10_000.0),
    "air": (10_000.0, 16_000.0),
}
"""Names of regions of the spectrum, Hz."""

HEARD_DB = 0.7
"""Changes of a region below this are not worth a word."""


def moves(made: "Transfer", measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for each thing that was done, in the order of the chain; one that says so if nothing was."""
    knobs = made.settings["master"]
    before, after = measured["before"], measured["after"]
    found = []
    if text := _tone(made):
        found.append(text)
    if "compressor" in knobs and knobs["compressor"]["ratio"] > 1:
        c = knobs["compressor"]
        denser = after["plr_db"] < before["plr_db"]  # an equaliser in front may let peaks stand out more
        found.append(
            f"{'Denser' if denser else 'Compressed'}: "
            f"{c['ratio']:.1f}:1 above {c['threshold_db']:.0f} dB, attack {c['attack_ms']:.0f} ms, release "
            f"{c['release_ms']:.0f} ms; peaks stood {before['plr_db']:.1f} dB over loudness and stand "
            f"{after['plr_db']:.1f} dB over it."
        )
    if "saturation" in knobs:
        found.append(f"Dirtier: driven into tanh by {knobs['saturation']['drive_db']:+.1f} dB.")
    if "imager" in knobs and knobs["imager"]["width"] != 1:
        width = knobs["imager"]["width"]
        found.append(f"{'Wider' if width > 1 else 'Narrower'}: the side times {width:.2f}.")
    if "reverb" in knobs:
        found.append(f"A room: its tail at {knobs['reverb']['wet_level']:.3f} of full level.")
    change = after["loudness_lufs"] - before["loudness_lufs"]
    if abs(change) >= 0.1:
        found.append(
            f"{'Louder' if change > 0 else 'Quieter'}: {before['loudness_lufs']:.1f} LUFS became "
            f"{after['loudness_lufs']:.1f}, true peak {after['true_peak_db']:.1f} dBTP."
        )
    if not found and torch.equal(torch.from_numpy(made.audio), made.source):
        return ["Nothing: the recording is as it came."]
    return found or [f"Next to nothing: no region of the spectrum was moved by {HEARD_DB} dB."]


def _tone(made: "Transfer") -> str:
    """Which regions were raised and lowered beside the rest."""
    knobs, total = made.settings["master"], None
    for stage, kind in (("highpass", HighpassFilter), ("eq", ParametricEQ)):
        effect = made.console.master.get(stage)
        if isinstance(effect, kind):
            hz = torch.logspace(1.4, 4.2, 200, dtype=torch.float64).clamp_max(0.45 * made.sample_rate)
            response = effect.response_db(hz, knobs[stage])
            total = response if total is None else total + response
    if total is None:
        return ""
    heard = hz < 0.45 * made.sample_rate
    level = total[heard & (hz > 60)].median()
    regions = []
    for name, (low, high) in BANDS.items():
        inside = heard & (hz >= low) & (hz < high)
        if inside.any() and abs(mean := float((total[inside] - level).mean())) >= HEARD_DB:
            regions.append((mean, f"{name} {mean:+.1f} dB"))
    if not regions:
        return ""
    bright = sum(mean for mean, text in regions if text.startswith(("presence", "brilliance", "air")))
    low = sum(mean for mean, text in regions if text.startswith(("sub", "bass", "low")))
    tilt = "Brighter" if bright - low > 2 else "Warmer" if low - bright > 2 else "Another balance"
    return f"{tilt}: {', '.join(text for _, text in regions)}."
