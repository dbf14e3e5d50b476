"""What is usual for each role: the table that `engineer` departs from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from diffmix.data.knowledge.spectrum import Curve, drawn

BANDS = ("low_shelf", "peak1", "peak2", "peak3", "peak4", "high_shelf")
BAND_Q = (0.7, 0.9, 0.9, 0.9, 0.9, 0.7)

_LOW = (60.0, 120.0, 350.0, 1000.0, 3500.0, 7500.0)
_DRUM = (110.0, 210.0, 600.0, 1800.0, 5000.0, 9500.0)
_METAL = (250.0, 450.0, 1100.0, 3200.0, 7000.0, 11000.0)
_VOICE = (120.0, 250.0, 600.0, 1600.0, 3300.0, 9000.0)
_BODY = (110.0, 240.0, 600.0, 1500.0, 3300.0, 8500.0)


@dataclass(frozen=True)
class Usual:
    """The usual treatment of a role.

    ``level_lu``: loudness in the mix of all its tracks, relative to the mix; ``spread_lu``: how far engineers differ.
    ``pan``, ``pair``: range of the amount, 0..1, of a single track and of two that belong together; (0, 0) is centre.
    ``target_db``: third-octave spectrum that it should have in a mix; ``taste_db``: liked on top of what is there.
    ``hz``: cutoffs of the EQ's six bands. ``reduction_db``: gain reduction at the peaks for the crest factor
    ``crest_db``. ``yields``: how much it makes room for a lead vocal, 0 not at all. ``send_db``: to the reverb.
    """

    level_lu: float
    spread_lu: float
    highpass_hz: float
    hz: tuple[float, ...]
    target_db: Curve = field(repr=False)
    taste_db: Curve = field(repr=False)
    pan: tuple[float, float] = (0.0, 0.0)
    pair: tuple[float, float] = (0.0, 0.0)
    ratio: float = 2.0
    reduction_db: float = 2.0
    crest_db: float = 12.0
    attack_ms: float = 6.0
    release_ms: float = 150.0
    send_db: float = -16.0
    yields: float = 0.0


_LOGARITHMIC = ("highpass_hz", "hz", "ratio", "attack_ms", "release_ms")

USUAL: dict[str | None, Usual] = {
    "lead_vocal": Usual(
        -3.5, 0.8, 85, _VOICE,
        drawn((50, -48), (80, -30), (125, -17), (200, -9), (315, -8), (500, -7.5), (800, -10), (1250, -13), (2000, -15),
              (3150, -16), (5000, -19), (8000, -21), (12500, -26), (16000, -31)),
        drawn((150, 0), (250, -1), (600, -0.5), (1600, 0.5), (3300, 1.5), (10000, 1.5)),
        ratio=3.5, reduction_db=4.5, crest_db=11.5, attack_ms=4, release_ms=120, send_db=-9,
    ),
    "backing_vocal": Usual(
        -12, 1.2, 150, _VOICE,
        drawn((50, -52), (80, -38), (125, -24), (200, -12), (315, -9), (500, -8), (800, -9), (1250, -11.5), (2000, -13),
              (3150, -14), (5000, -17), (8000, -19), (12500, -24), (16000, -29)),
        drawn((125, -2), (300, -2), (800, 0), (5000, 1), (10000, 2)),
        (0.3, 0.8), (0.6, 1.0), ratio=4, reduction_db=4.5, crest_db=10, attack_ms=3, release_ms=140, send_db=-5,
        yields=0.5,
    ),
    "kick": Usual(
        -7.5, 0.9, 30, _LOW,
        drawn((31.5, -14), (50, -4.5), (63, -4), (80, -6), (125, -13), (200, -19), (400, -26), (800, -28), (1600, -27),
              (3150, -26), (5000, -29), (8000, -34), (16000, -44)),
        drawn((50, 1.5), (100, 0), (350, -2.5), (1000, 0), (3500, 2), (8000, 0)),
        ratio=3.5, reduction_db=4, crest_db=10, attack_ms=5, release_ms=120, send_db=-38,
    ),
    "snare": Usual(
        -8, 0.9, 80, _DRUM,
        drawn((63, -36), (100, -22), (160, -11), (200, -8), (315, -11), (630, -13), (1250, -14), (2500, -13.5),
              (5000, -13), (8000, -14.5), (12500, -18), (16000, -22)),
        drawn((120, 0), (210, 1), (600, -2), (1800, 0), (5000, 2), (12000, 1)),
        ratio=3.5, reduction_db=4, crest_db=16, attack_ms=3, release_ms=110, send_db=-11,
    ),
    "hihat": Usual(
        -21, 1.4, 280, _METAL,
        drawn((100, -46), (250, -36), (500, -28), (1000, -22), (2000, -17), (4000, -12), (8000, -7), (12500, -8),
              (16000, -11)),
        drawn((250, -3), (600, -1), (3200, -0.5), (9000, 1)),
        (0.3, 0.7), (0.4, 0.8), ratio=1.6, reduction_db=1.5, crest_db=20, attack_ms=4, release_ms=80, send_db=-22,
    ),
    "tom": Usual(
        -14, 1.3, 55, (80.0, 140.0, 450.0, 1300.0, 4200.0, 8500.0),
        drawn((40, -26), (63, -13), (80, -8), (125, -5), (200, -9), (400, -18), (800, -22), (2000, -22), (4000, -22),
              (8000, -29), (16000, -40)),
        drawn((80, 1), (140, 0.5), (450, -3), (1500, 0), (4500, 2), (9000, 0)),
        (0.25, 0.7), (0.45, 0.85), ratio=3, reduction_db=4, crest_db=15, attack_ms=5, release_ms=140, send_db=-13,
    ),
    "cymbal": Usual(
        -18, 1.4, 250, _METAL,
        drawn((100, -42), (250, -30), (500, -22), (1000, -18), (2000, -15), (4000, -11), (8000, -8), (12500, -10),
              (16000, -13)),
        drawn((250, -3), (600, -1), (3200, -0.5), (9000, 0.5)),
        (0.4, 0.85), (0.5, 0.95), ratio=1.6, reduction_db=1.5, crest_db=18, attack_ms=5, release_ms=150, send_db=-20,
    ),
    "overhead": Usual(
        -13.5, 1.2, 130, _METAL,
        drawn((50, -26), (80, -19), (125, -16), (200, -13), (400, -15), (800, -15.5), (1600, -14.5), (3150, -12.5),
              (6300, -10.5), (10000, -11), (16000, -15)),
        drawn((200, -1.5), (450, -1.5), (3200, 0), (10000, 1.5)),
        (0.3, 0.6), (0.75, 1.0), ratio=2, reduction_db=2, crest_db=16.5, attack_ms=5, release_ms=120, send_db=-22,
    ),
    "room": Usual(
        -19, 1.8, 60, _BODY,
        drawn((40, -17), (63, -11), (100, -10), (200, -10), (400, -11), (800, -12.5), (1600, -14), (3150, -15.5),
              (6300, -18), (10000, -22), (16000, -30)),
        drawn((100, 0), (350, -2), (1500, 0), (8000, 0.5)),
        (0.0, 0.3), (0.7, 1.0), ratio=4, reduction_db=6, crest_db=14, attack_ms=2, release_ms=100, send_db=-32,
    ),
    "percussion": Usual(
        -18, 1.5, 140, _DRUM,
        drawn((80, -30), (160, -17), (315, -13), (630, -13), (1250, -14), (2500, -13.5), (5000, -11.5), (8000, -11),
              (12500, -14), (16000, -18)),
        drawn((150, -2), (400, -1), (2000, 0), (8000, 1.5)),
        (0.45, 0.95), (0.55, 1.0), ratio=2, reduction_db=2, crest_db=18, attack_ms=4, release_ms=100, send_db=-15,
    ),
    "drums": Usual(
        -5.5, 1.0, 30, _DRUM,
        drawn((31.5, -20), (50, -9), (63, -8), (100, -9), (200, -13), (400, -17), (800, -18), (1600, -17.5),
              (3150, -16.5), (6300, -15.5), (10000, -16.5), (16000, -21)),
        drawn((60, 1), (400, -1.5), (2000, 0), (9000, 1.5)),
        (0.0, 0.0), (0.4, 0.7), ratio=2.2, reduction_db=3, crest_db=15, attack_ms=6, release_ms=120, send_db=-25,
    ),
    "bass": Usual(
        -7, 0.9, 32, _LOW,
        drawn((31.5, -16), (50, -6.5), (63, -5), (80, -5), (100, -6), (160, -9.5), (250, -13.5), (400, -18), (800, -23),
              (1600, -28), (3150, -34), (6300, -42), (16000, -58)),
        drawn((60, 0.5), (200, -1.5), (350, -1), (900, 1), (2500, 0.5), (6000, -2)),
        ratio=4, reduction_db=5, crest_db=9.5, attack_ms=12, release_ms=180, send_db=-45,
    ),
    "guitar": Usual(
        -10, 1.2, 95, _BODY,
        drawn((63, -34), (100, -18), (160, -10.5), (250, -9), (400, -9), (800, -10), (1600, -11.5), (2500, -13),
              (4000, -16), (6300, -20), (10000, -27), (16000, -40)),
        drawn((110, -2), (250, -1.5), (600, 0), (2200, 1), (5000, 0.5), (10000, 0)),
        (0.4, 0.9), (0.7, 1.0), ratio=2.2, reduction_db=2, crest_db=12, attack_ms=6, send_db=-16, yields=1.0,
    ),
    "piano": Usual(
        -11, 1.2, 75, _BODY,
        drawn((50, -30), (80, -18), (125, -11.5), (200, -8.5), (315, -8), (500, -9), (800, -11), (1250, -13.5),
              (2000, -17), (3150, -21), (5000, -26), (8000, -33), (16000, -48)),
        drawn((100, -2), (300, -2), (800, 0), (3300, 1), (8000, 1.5)),
        (0.25, 0.75), (0.6, 1.0), ratio=2, reduction_db=2, crest_db=13.5, attack_ms=7, send_db=-13, yields=1.0,
    ),
    "keys": Usual(
        -13, 1.3, 90, _BODY,
        drawn((50, -32), (80, -20), (125, -12.5), (200, -8.5), (315, -8), (500, -8.5), (800, -10.5), (1250, -13),
              (2000, -16), (3150, -19.5), (5000, -24), (8000, -31), (16000, -46)),
        drawn((110, -2), (300, -1.5), (1000, 0), (3300, 0.5), (8000, 1)),
        (0.3, 0.85), (0.6, 1.0), ratio=2, reduction_db=2, crest_db=11.5, attack_ms=8, send_db=-13, yields=1.0,
    ),
    "synth": Usual(
        -12.5, 1.5, 105, _BODY,
        drawn((50, -32), (80, -20), (125, -13), (200, -10), (315, -9.5), (500, -9.5), (800, -10.5), (1250, -11.5),
              (2000, -13), (3150, -15), (5000, -18), (8000, -22), (12500, -28), (16000, -33)),
        drawn((110, -2), (250, -1.5), (600, -0.5), (2000, 0.5), (8500, 1)),
        (0.3, 0.85), (0.6, 1.0), ratio=1.8, reduction_db=1.5, crest_db=11.5, attack_ms=6, send_db=-13, yields=1.0,
    ),
    "strings": Usual(
        -15, 1.3, 120, _BODY,
        drawn((63, -36), (100, -24), (160, -14), (250, -9.5), (400, -8), (800, -9), (1250, -11), (2000, -13),
              (3150, -15), (5000, -19), (8000, -24), (16000, -38)),
        drawn((125, -2), (300, -1), (1000, 0), (3000, 0), (8500, 1.5)),
        (0.4, 0.9), (0.6, 1.0), ratio=1.6, reduction_db=1.5, crest_db=12, attack_ms=12, release_ms=250, send_db=-7,
        yields=0.8,
    ),
    "brass": Usual(
        -12.5, 1.3, 110, _BODY,
        drawn((63, -36), (100, -24), (160, -14), (250, -9.5), (400, -8), (800, -8.5), (1250, -10), (2000, -12.5),
              (3150, -16), (5000, -21), (8000, -28), (16000, -44)),
        drawn((125, -2), (300, -1), (1000, 0), (2500, 0.5), (8500, 0.5)),
        (0.4, 0.9), (0.6, 1.0), ratio=2.5, reduction_db=3, crest_db=12, attack_ms=5, send_db=-10, yields=0.8,
    ),
    "woodwind": Usual(
        -12, 1.3, 130, _BODY,
        drawn((80, -36), (125, -24), (200, -14), (315, -9), (500, -7.5), (800, -8), (1250, -10.5), (2000, -14),
              (3150, -18), (5000, -22), (8000, -28), (16000, -42)),
        drawn((150, -1.5), (300, -1), (1000, 0), (2500, 1), (8500, 1)),
        (0.2, 0.7), (0.5, 0.9), ratio=2.5, reduction_db=3, crest_db=9, attack_ms=5, send_db=-8, yields=0.6,
    ),
    "fx": Usual(
        -17, 2.0, 110, _BODY,
        drawn((50, -26), (100, -17), (200, -13), (400, -12), (800, -12), (1600, -12.5), (3150, -13), (6300, -14),
              (10000, -16), (16000, -21)),
        drawn((120, -2), (400, -1), (2000, 0), (8500, 0)),
        (0.0, 0.7), (0.5, 1.0), ratio=1.5, reduction_db=1, crest_db=13, attack_ms=6, send_db=-8, yields=0.8,
    ),
    None: Usual(
        -12.5, 1.6, 80, _BODY,
        drawn((50, -26), (80, -17), (125, -13), (200, -10), (400, -9.5), (800, -10.5), (1250, -12), (2000, -13.5),
              (3150, -15.5), (5000, -18.5), (8000, -22), (16000, -32)),
        drawn((110, -1.5), (300, -1), (1000, 0), (3300, 0.5), (8500, 0.5)),
        (0.2, 0.8), (0.5, 1.0), ratio=2, reduction_db=2, crest_db=12, send_db=-15, yields=0.7,
    ),
}  # fmt: skip
"""By role; None is any other."""

MIX_DB = drawn(
    (31.5, -17), (50, -10.5), (63, -10), (100, -10.5), (160, -12), (250, -13), (500, -14.5), (1000, -16), (2000, -17.5),
    (4000, -19), (8000, -21.5), (12500, -25), (16000, -29),
)  # fmt: skip
"""Spectrum of a finished popular song, close to -4.5 dB per octave above 100 Hz but for the presence."""

MASTER_HZ = (90.0, 200.0, 500.0, 1500.0, 4000.0, 9000.0)


def expected(chances: Mapping[str | None, float]) -> Usual:
    """The usual treatment, expected over the chances of roles: frequencies, ratio and times by their logarithms."""
    if len(chances) == 1:
        return USUAL[next(iter(chances))]

    def mean(what: str, logarithmic: bool = False) -> Any:
        values = np.array([getattr(USUAL[role], what) for role in chances])
        found = np.average(np.log(values) if logarithmic else values, axis=0, weights=list(chances.values()))
        return np.exp(found) if logarithmic else found

    return Usual(**{f.name: mean(f.name, f.name in _LOGARITHMIC) for f in fields(Usual)})
