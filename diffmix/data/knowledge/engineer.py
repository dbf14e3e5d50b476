"""A mix of any song, as an engineer who knows the instruments would set it up."""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from diffmix.data.knowledge.classes import USUAL
from diffmix.data.knowledge.hearing import HZ, Heard, hear
from diffmix.data.knowledge.microphones import CLOSE, second_microphones
from diffmix.data.knowledge.placing import Seat, groups, placed
from diffmix.data.knowledge.spectrum import Curve
from diffmix.data.knowledge.strips import Knobs, Noise, Part, master, strips, sum_db
from diffmix.data.knowledge.style import Style, sample_style
from diffmix.data.multitrack import Multitrack
from diffmix.data.synthesis import Random, stream
from diffmix.intent import Intent
from diffmix.settings import Settings

UNHEARD_LU = -60.0
"""Loudness intended for silent tracks; it does not count."""

_FAINTER = re.compile(r"bot|btm|under|out|amb|far", re.IGNORECASE)
_FAINTER_LU = 4.0  # second microphones of kick and snare, by these names, are so much quieter

_ONE = ("level", "highpass", "amount", "ratio", "reduction", "attack", "release", "send", "width", "balance", "room")
_ABOUT = {**dict.fromkeys((*_ONE, "damping"), 1), **dict.fromkeys(("hz", "q", "gain"), 6)}
"""What departures are about, and how many numbers it takes to say them."""


class Engineered(NamedTuple):
    """A mix as an engineer intends it, the style it was made in, and each track's EQ curve in dB (28,)."""

    intent: Intent
    style: Style
    eq_curve_db: dict[str, Curve]


def engineer(multitrack: Multitrack, seed: Sequence[int], style: Style | None = None) -> Engineered:
    """A sensible mix of these tracks, for the console ``conf/console/automix.yaml``.

    ``seed`` says which engineer: integers of at least 0. Equal arguments give equal mixes, whatever the order of the
    tracks. Without a ``style`` the engineer has one. Roles are those of the tracks. Silent tracks have no settings
    but the console's defaults, and change nothing for the others.
    """
    key = (len(seed), *seed)
    drawn = sample_style(stream(*key, "style")) if style is None else style
    return _Engineer(key).mix(multitrack, drawn)


def class_mean(
    multitrack: Multitrack, style: Style | None = None, likely: Mapping[str, Mapping[str, float]] | None = None
) -> Intent:
    """What the table of roles says, without any engineer's departures from it.

    ``likely``: by track, the chances of its roles, over which is expected; the others have their own role. Chances that
    change little change little, which the likeliest roles would not.
    """
    return _Engineer(None).mix(multitrack, style or Style(), likely).intent


class _Engineer:
    """Departures from what is usual: by song, by role and by track; without a key there are none."""

    def __init__(self, key: tuple[int, ...] | None) -> None:
        self.key = key

    def rng(self, *key: str) -> Random | None:
        """A generator for one purpose."""
        return None if self.key is None else stream(*self.key, *key)

    def noise(self, *keys: tuple[str, ...], shares: Sequence[float] = (1.0,)) -> Noise:
        """Departures: a weighted sum of those of several keys."""
        counts = list(_ABOUT.values())
        total = np.zeros(sum(counts))
        for key, share in zip(keys, shares, strict=True):
            if (rng := self.rng(*key)) is not None:
                total += share * np.clip(rng.standard_normal(len(total)), -2.5, 2.5)
        parts = np.split(total, np.cumsum(counts)[:-1])
        return {what: part if len(part) > 1 else part[0] for what, part in zip(_ABOUT, parts, strict=True)}

    def mix(
        self, multitrack: Multitrack, style: Style, likely: Mapping[str, Mapping[str, float]] | None = None
    ) -> Engineered:
        """The mix of a song in a style, of tracks that are ``likely`` to be this."""
        rate, song, likely = multitrack.sample_rate, self.noise(("song",)), likely or {}
        tracks = sorted(multitrack.tracks, key=lambda track: track.name)
        heard = [h for t in tracks if (h := hear(t, rate, likely.get(t.name))) is not None]
        leaders = {seat.name: unit[0].name for unit in groups(map(_seat, heard)) for seat in unit}
        roles = {h.role: self.noise(("role", h.role or "")) for h in heard}
        parts = {}
        for h in heard:  # the two of a pair are treated much alike
            keys = ("pair", leaders.get(h.name, h.name)), ("track", h.name)
            parts[h.name] = Part(h, self.noise(*keys, shares=(0.8, 0.6)), roles[h.role])

        levels = _levels(list(parts.values()), style, self._second(multitrack, heard))
        seats = [_seat(h, h.active * 10 ** (levels[h.name] / 10)) for h in heard]
        pans = placed(seats, style.width, self.rng("placing"))
        made = dict(zip(parts, strips(list(parts.values()), style, song, rate), strict=True))
        spectrum = sum_db([made[name].spectrum_db for name in parts], [levels[name] for name in parts], rate)
        names = [track.name for track in multitrack.tracks]
        settings = Settings(
            tracks={n: {**made[n].knobs, **_place(parts[n], pans[n], style)} if n in made else {} for n in names},
            buses={"reverb": {"reverb": _reverb(song)}},
            master=master(spectrum, style, song, rate, len(parts)),
        )
        curves = {n: made[n].eq_curve_db if n in made else np.zeros(len(HZ)) for n in names}
        return Engineered(Intent(settings, {n: levels.get(n, UNHEARD_LU) for n in names}), style, curves)

    def _second(self, multitrack: Multitrack, heard: Sequence[Heard]) -> set[str]:
        """The names of second microphones of kick and snare: as they are called; by sound where no name says it.

        An engineer with departures goes by names alone, since it is what others are taught by.
        """
        named = {h.name: h.role for h in heard if h.role in CLOSE and _FAINTER.search(h.name)}
        unsaid = [h for h in heard if h.role in CLOSE and h.role not in named.values() and self.key is None]
        audio = {track.name: track.audio for track in multitrack.tracks}
        return named.keys() | second_microphones(unsaid, audio, multitrack.sample_rate)


def _levels(parts: Sequence[Part], style: Style, second: Collection[str]) -> dict[str, float]:
    """Loudness in LU relative to the sum, so that the energies add up to 1."""
    count: dict[str | None, float] = defaultdict(float)
    for part in parts:
        for role, chance in part.heard.chances.items():
            count[role] += chance
    wanted: dict[str, float] = defaultdict(float)
    for part in parts:
        h = part.heard
        departure = h.usual.spread_lu * float(0.55 * part.role["level"] + 0.62 * part.own["level"])
        for role, chance in h.chances.items():
            level = _level_lu(role, style, departure) - (_FAINTER_LU if role in CLOSE and h.name in second else 0.0)
            wanted[h.name] += chance * (level - 10 * np.log10(1 + count[role] - chance))
    return _summing_to_one(wanted)


def _level_lu(role: str | None, style: Style, departure: float) -> float:
    """How loud all tracks of a role are in a style, in LU, an engineer's departure included."""
    shift: Mapping[str | None, float] = {
        "lead_vocal": style.vocal_db,
        "backing_vocal": 0.5 * style.vocal_db,
        "bass": style.bass_db,
    }
    return USUAL[role].level_lu + shift.get(role, 0.0) + departure


def _summing_to_one(levels_lu: Mapping[str, float]) -> dict[str, float]:
    total = 10 * np.log10(sum(10 ** (level / 10) for level in levels_lu.values())) if levels_lu else 0.0
    return {name: float(level - total) for name, level in levels_lu.items()}


def _seat(h: Heard, energy: float = 0.0) -> Seat:
    return Seat(h.name, h.role or "", h.spectrum_db, energy, h.usual.pan, h.usual.pair, h.stereo)


def _place(part: Part, pan: float, style: Style) -> Knobs:
    """Pan, or balance and width: a source that leans is set upright, a narrow one widened."""
    h = part.heard
    if not h.stereo:
        return {"pan": {"pan": pan}}
    excess = np.sign(h.lean_db) * max(abs(h.lean_db) - 2, 0)
    balance = -np.sign(excess) * min(2 / np.pi * np.arccos(10 ** (-abs(excess) / 40)), 0.3)
    missing = np.clip(-8 - h.side_db, -8, 8) if h.side_db > -35 else 0.0
    width = 10 ** (0.25 * missing / 20) * (1 + 0.5 * style.width) * 2 ** (0.15 * part.own["width"])
    return {
        "image": {
            "balance": float(np.clip(balance + 0.015 * part.own["balance"], -1, 1)),
            "width": float(np.clip(width, 0, 2)),
        }
    }


def _reverb(song: Noise) -> dict[str, float]:
    return {
        "room_size": float(np.clip(0.55 + 0.12 * song["room"], 0.2, 0.9)),
        "damping": float(np.clip(0.5 + 0.12 * song["damping"], 0.1, 0.9)),
        "wet_level": 0.33,
        "dry_level": 0.0,
        "width": 1.0,
    }
