"""The effects of the tracks: what each recording needs to become what its role asks for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffmix.data.knowledge.classes import BAND_Q, BANDS, MASTER_HZ, MIX_DB, Usual
from diffmix.data.knowledge.hearing import HZ, Heard, level_db, weighted_db
from diffmix.data.knowledge.spectrum import Curve, drawn, equaliser_db, fit_equaliser, highpass_db, smoothed
from diffmix.data.knowledge.style import Style

Noise = Mapping[str, NDArray[np.float64]]
"""An engineer's departures from the usual, standard normal, by what they are about."""

Knobs = dict[str, dict[str, float]]

TILT = drawn((60, -0.5), (200, -0.4), (1000, 0.0), (5000, 0.4), (12000, 0.5))
"""1 dB of the top against the bottom."""

_ROOM_FOR_VOCAL = drawn((1000, 0), (2000, 0.9), (2800, 1), (4000, 0.9), (7000, 0))
_DETECTOR_DB = 3.0  # a compressor's detector, which averages, stays this far below the peaks
_MOST_REDUCTION_DB = 8.0


@dataclass(frozen=True)
class Part:
    """A track with the departures of its own and those that it shares with its role."""

    heard: Heard
    own: Noise
    role: Noise


@dataclass(frozen=True)
class Strip:
    """Knobs of the effects and the send; the EQ's curve, and the spectrum behind it, relative to the raw sum."""

    knobs: Knobs
    eq_curve_db: Curve
    spectrum_db: Curve


def strips(parts: Sequence[Part], style: Style, song: Noise, sample_rate: int) -> list[Strip]:
    """The strips of a song's tracks, which make room for each other."""
    if not parts:
        return []
    usual = [p.heard.usual for p in parts]
    raw = np.stack([p.heard.spectrum_db for p in parts])

    def own(what: str) -> NDArray[np.float64]:
        return np.stack([p.own[what] for p in parts])

    def role(what: str) -> NDArray[np.float64]:
        return np.stack([p.role[what] for p in parts])

    cutoffs = np.array([u.highpass_hz for u in usual]) * 2 ** (0.15 * role("highpass") + 0.2 * own("highpass"))
    lowest = np.array([_lowest_hz(spectrum) for spectrum in raw])
    cutoffs = np.clip(np.minimum(cutoffs, 0.9 * lowest), 15, 450)
    passed = raw + highpass_db(cutoffs, sample_rate)

    audible = np.clip((raw - raw.max(1, keepdims=True) + 50) / 25, 0.05, 1)
    missing = np.stack([u.target_db for u in usual]) - passed
    missing -= (missing * audible**2).sum(1, keepdims=True) / (audible**2).sum(1, keepdims=True)
    amount = np.clip(0.55 + 0.06 * song["amount"] + 0.06 * own("amount"), 0.25, 0.85)[:, None]
    wanted = amount * smoothed(np.clip(missing, -14, 14) * audible)
    wanted += np.stack([u.taste_db for u in usual]) + _carved([p.heard for p in parts], style)
    wanted = np.clip(wanted + 0.5 * style.bright_db * TILT, -9, 9)
    hz = np.array([u.hz for u in usual]) * 2 ** (0.12 * own("hz"))
    q = np.array(BAND_Q) * 2 ** (0.15 * own("q"))
    gains = fit_equaliser(wanted, audible, hz, q, sample_rate) + 0.4 * role("gain") + 0.55 * own("gain")
    gains = np.clip(gains, -12, 12)
    curves = equaliser_db(hz, gains, q, sample_rate)
    after = passed + curves

    found = []
    for n, (part, u) in enumerate(zip(parts, usual, strict=True)):
        knobs = {
            "highpass": {"cutoff_frequency_hz": float(cutoffs[n])},
            "eq": _equaliser(hz[n], gains[n], q[n]),
            "compressor": _compressor(part, u, style, level_db(after[n]) - level_db(raw[n])),
            "send": {"gain_db": _send(part, u, style, song)},
        }
        found.append(Strip(knobs, curves[n], after[n]))
    return found


def _lowest_hz(spectrum_db: Curve) -> float:
    """Where a hundredth of the energy lies below."""
    part = np.cumsum(10 ** (spectrum_db / 10))
    return float(HZ[int(np.searchsorted(part, 0.01 * part[-1]))])


def _carved(heard: Sequence[Heard], style: Style) -> Curve:
    """Room that tracks make for others (N, 28): accompaniment for a lead vocal, kick and bass for each other."""
    found = np.zeros((len(heard), len(HZ)))
    vocal_db = 2.5 + 0.25 * style.vocal_db if any(h.role == "lead_vocal" for h in heard) else 0.0
    bottom_hz = {role: _strongest_hz(heard, role) for role in ("kick", "bass")}
    other = {"kick": "bass", "bass": "kick"}
    for row, h in zip(found, heard, strict=True):
        band_db = level_db(h.spectrum_db + 10 * np.log10(_ROOM_FOR_VOCAL + 1e-9))
        row -= h.usual.yields * vocal_db * np.clip(1 + band_db / 25, 0, 1) * _ROOM_FOR_VOCAL
        if h.role in other and bottom_hz[h.role] and (centre := bottom_hz[other[h.role]]):
            apart = abs(np.log2(centre / bottom_hz[h.role]))
            depth = (2.5 if h.role == "bass" else 1.5) * min(apart / 0.5, 1)  # in one place nothing helps
            row -= depth * np.exp(-((np.log2(HZ / centre) / 0.4) ** 2))
    return found


def _strongest_hz(heard: Sequence[Heard], role: str) -> float:
    """The third octave from 40 to 125 Hz in which a role is the strongest; 0 if nobody plays it."""
    power = sum((10 ** (h.spectrum_db / 10) for h in heard if h.role == role), np.zeros(len(HZ)))
    inside = (HZ > 38) & (HZ < 130)
    return float(HZ[inside][np.argmax(power[inside])]) if power.any() else 0.0


def _equaliser(hz: Iterable[float], gains_db: Iterable[float], q: Iterable[float]) -> dict[str, float]:
    knobs = {}
    for band, f, g, w in zip(BANDS, hz, gains_db, q, strict=True):
        knobs[f"{band}_cutoff_frequency_hz"], knobs[f"{band}_gain_db"], knobs[f"{band}_q"] = (
            float(f),
            float(g),
            float(w),
        )
    return knobs


def _compressor(part: Part, usual: Usual, style: Style, change_db: float) -> dict[str, float]:
    """More for recordings that jump about more; the threshold lies below their peaks as the EQ leaves them."""
    ratio = 1 + (usual.ratio - 1) * 2 ** (0.4 * style.dense + 0.2 * part.own["ratio"])
    needed = usual.reduction_db + 0.35 * (part.heard.crest_db - usual.crest_db)
    reduction = float(np.clip(needed * 2**style.dense + 0.7 * part.own["reduction"], 0, _MOST_REDUCTION_DB))
    peak_db = part.heard.peak_db + change_db - _DETECTOR_DB
    return {
        "threshold_db": float(np.clip(peak_db - reduction / (1 - 1 / ratio), -60, 0)),
        "ratio": float(np.clip(ratio, 1, 10)),
        "attack_ms": float(np.clip(usual.attack_ms * 2 ** (0.3 * part.own["attack"]), 0.5, 100)),
        "release_ms": float(np.clip(usual.release_ms * 2 ** (0.3 * part.own["release"]), 30, 800)),
    }


def _send(part: Part, usual: Usual, style: Style, song: Noise) -> float:
    departure = song["send"] + 1.2 * part.role["send"] + part.own["send"]
    return float(np.clip(usual.send_db + style.reverb_db + departure, -60, 0))


def like_a_mix(tracks: int) -> float:
    """How much so many tracks are to sound like a full mix: one not at all, two by half, more altogether.

    A voice alone has neither the bottom nor the top of a band; its own strip makes of it what its role asks for.
    """
    return min(max(tracks - 1, 0) / 2, 1.0)


def master(mix_db: Curve | None, style: Style, song: Noise, sample_rate: int, tracks: int) -> Knobs:
    """Effects of so many tracks together, whose spectrum (28,) is expected to be ``mix_db``; None of silence."""
    wanted = 0.5 * style.bright_db * TILT
    if mix_db is not None:
        inside = (HZ > 45) & (HZ < 13000)
        missing = MIX_DB + wanted - mix_db
        missing = np.clip(missing - missing[inside].mean(), -8, 8) * inside
        wanted = wanted + like_a_mix(tracks) * np.clip(0.5 * smoothed(missing, 1.5), -4, 4)
    hz, q = np.array([MASTER_HZ]), np.array([BAND_Q])
    gains = fit_equaliser(wanted[None], np.ones((1, len(HZ))), hz, q, sample_rate)[0]
    return {
        "eq": _equaliser(MASTER_HZ, np.clip(gains + 0.3 * song["gain"], -6, 6), BAND_Q),
        "compressor": {
            "threshold_db": float(-13 - 3 * style.dense + 1.2 * song["reduction"]),
            "ratio": float(1 + 0.6 * 2 ** (0.6 * style.dense + 0.2 * song["ratio"])),
            "attack_ms": float(30 * 2 ** (0.25 * song["attack"])),
            "release_ms": float(200 * 2 ** (0.25 * song["release"])),
        },
        "limiter": {"ceiling_db": -1.0, "release_ms": 100.0, "lookahead_ms": 5.0},
    }


def sum_db(spectra_db: Sequence[Curve], levels_lu: Sequence[float], sample_rate: int) -> Curve | None:
    """Spectrum (28,) of tracks of these spectra that are this loud together; None of no tracks."""
    if not spectra_db:
        return None
    levelled = [level - weighted_db(s, sample_rate) + s for s, level in zip(spectra_db, levels_lu, strict=True)]
    found: Curve = 10 * np.log10(np.maximum((10 ** (np.stack(levelled) / 10)).sum(0), 1e-9))
    return found
