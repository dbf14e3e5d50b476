"""Sensible mixes to learn from: console settings drawn around what engineers do with each instrument.

A song first draws a style (how far the vocal stands out, how wide, how bright, how wet), then every track its own
departure from its role's usual treatment. The numbers are ours, after common engineering practice (for example
B. De Man and J. D. Reiss, "A knowledge-engineered autonomous mixing system", AES 135, 2013).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffmix.settings import Settings


@dataclass(frozen=True, slots=True)
class Treatment:
    """The usual treatment of a role; levels in dB, ``eq`` as band: (Hz, dB), compressor as threshold dB and ratio."""

    level: float
    pan: float
    highpass: float
    send: float
    eq: dict[str, tuple[float, float]]
    compressor: tuple[float, float]
    attack_ms: float = 10.0


_BODY = {"low_shelf": (110.0, -3.0), "peak1": (300.0, -2.0)}
TREATMENTS: dict[str | None, Treatment] = {
    "lead_vocal": Treatment(
        0, 0, 90, -15, {"peak1": (250, -3), "peak3": (3000, 3), "high_shelf": (9000, 3)}, (-24, 3.5), 8
    ),
    "backing_vocal": Treatment(
        -9, 0.55, 150, -11, {"low_shelf": (180, -4), "peak1": (300, -3), "high_shelf": (9000, 2)}, (-26, 4), 6
    ),
    "kick": Treatment(-2, 0, 30, -45, {"low_shelf": (65, 3), "peak2": (380, -5), "peak4": (4000, 4)}, (-16, 3), 20),
    "snare": Treatment(-3, 0, 80, -18, {"peak1": (200, 2), "peak2": (700, -3), "peak4": (5000, 3)}, (-16, 3), 15),
    "hihat": Treatment(-15, 0.35, 300, -28, {"low_shelf": (300, -6), "high_shelf": (9000, 1)}, (-18, 1.5)),
    "tom": Treatment(-7, 0.45, 60, -20, {"peak2": (450, -4), "peak4": (4000, 3)}, (-16, 3), 20),
    "cymbal": Treatment(-14, 0.4, 250, -26, {"low_shelf": (300, -6)}, (-18, 1.5)),
    "overhead": Treatment(-11, 0, 150, -26, {"low_shelf": (200, -4), "high_shelf": (9000, 2)}, (-20, 2), 15),
    "room": Treatment(-14, 0, 60, -30, {"peak2": (400, -3)}, (-28, 4), 5),
    "percussion": Treatment(-12, 0.55, 150, -20, {"high_shelf": (8000, 1.5)}, (-18, 2)),
    "drums": Treatment(-3, 0, 30, -28, {"peak2": (400, -2), "high_shelf": (8000, 2)}, (-18, 2), 20),
    "bass": Treatment(
        -2.5, 0, 35, -45, {"peak1": (200, -2), "peak2": (800, 2), "high_shelf": (6000, -3)}, (-25, 4), 25
    ),
    "guitar": Treatment(-8, 0.6, 100, -19, {**_BODY, "peak3": (2500, 1.5)}, (-22, 2), 15),
    "piano": Treatment(-7, 0.3, 80, -17, {**_BODY, "peak4": (5000, 1.5)}, (-22, 2), 20),
    "keys": Treatment(-9, 0.4, 100, -17, {**_BODY, "high_shelf": (8000, 1)}, (-22, 2), 20),
    "synth": Treatment(-9, 0.35, 110, -18, {**_BODY, "peak2": (600, -1)}, (-20, 1.8), 15),
    "strings": Treatment(-11, 0.4, 130, -13, {"low_shelf": (180, -4), "high_shelf": (8000, 1.5)}, (-20, 1.5), 30),
    "brass": Treatment(-8, 0.4, 120, -15, {"low_shelf": (160, -3), "peak3": (2500, 1)}, (-20, 2.5), 12),
    "woodwind": Treatment(-8, 0.3, 140, -14, {"low_shelf": (160, -3), "peak3": (2500, 1)}, (-22, 2.5), 12),
    "fx": Treatment(-13, 0.3, 120, -14, {"low_shelf": (150, -4)}, (-18, 1.5)),
    None: Treatment(-9, 0.3, 90, -18, {"low_shelf": (120, -2)}, (-20, 2)),
}


def sample_mix(
    names: Sequence[str], roles: Sequence[str | None], stereo: Sequence[bool], seed: Sequence[int]
) -> Settings:
    """Settings of a sensible mix of these tracks, without trims; equal arguments give equal settings.

    ``seed`` is a list of integers, for example (dataset seed, example number).
    """
    rng = np.random.default_rng(np.random.SeedSequence(list(seed)))
    vocal, width, bright, wet = rng.normal([0.0, 1.0, 0.0, -1.0], [1.2, 0.12, 0.8, 2.0])
    count = {role: sum(r == role for r in roles) for role in set(roles)}
    side, lean = rng.choice([-1.0, 1.0]), 0.0
    tracks = {}
    for n in rng.permutation(len(names)):
        role, usual = roles[n], TREATMENTS[roles[n]]
        shared = -8 * np.log10(count[role])  # two guitars together are as loud as one would be, almost
        level = usual.level + shared + (vocal if role == "lead_vocal" else 0) + rng.normal(0, 1.0)
        amount = float(np.clip(usual.pan * width + rng.normal(0, 0.07), 0, 0.9)) if usual.pan > 0.2 else 0.0
        side = side if lean == 0 else -np.sign(lean)
        position = amount * side
        if not stereo[n]:
            lean += position * 10 ** (level / 20)
        eq = {}
        for band, (hz, db) in usual.eq.items():
            eq[f"{band}_cutoff_frequency_hz"] = hz * 2 ** rng.normal(0, 0.15)
            eq[f"{band}_gain_db"] = db + rng.normal(0, 0.7) + (bright if band == "high_shelf" else 0)
        threshold, ratio = usual.compressor
        tracks[names[n]] = {
            "highpass": {"cutoff_frequency_hz": usual.highpass * 2 ** rng.normal(0, 0.2)},
            "eq": eq,
            "compressor": {
                "threshold_db": threshold + rng.normal(0, 1.5),
                "ratio": max(1.0, ratio * 2 ** rng.normal(0, 0.2)),
                "attack_ms": usual.attack_ms * 2 ** rng.normal(0, 0.3),
                "release_ms": 150 * 2 ** rng.normal(0, 0.4),
            },
            "fader": {"gain_db": level},
            "pan": {"pan": position},
            "image": {"balance": 0.0, "width": float(np.clip(width * rng.normal(1, 0.08), 0.3, 1.7))},
            "send": {"gain_db": float(np.clip(usual.send + wet + rng.normal(0, 1.5), -60, 0))},
        }
    bus = {
        "room_size": float(np.clip(rng.normal(0.55, 0.12), 0.2, 0.9)),
        "damping": float(np.clip(rng.normal(0.5, 0.12), 0.1, 0.9)),
        "wet_level": 0.33,
        "dry_level": 0.0,
        "width": 1.0,
    }
    master = {
        "eq": {
            "low_shelf_gain_db": rng.normal(0.5, 0.5),
            "peak2_gain_db": rng.normal(-0.7, 0.5),
            "high_shelf_gain_db": rng.normal(1, 0.5) + 0.5 * bright,
        },
        "compressor": {
            "threshold_db": rng.normal(-16, 1.5),
            "ratio": 1.6 * 2 ** rng.normal(0, 0.15),
            "attack_ms": 30.0,
            "release_ms": 200.0,
        },
    }
    return Settings(tracks={name: tracks[name] for name in names}, buses={"reverb": {"reverb": bus}}, master=master)
