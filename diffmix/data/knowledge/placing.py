"""Who stands where between the loudspeakers: pairs face each other, and the song leans to neither side."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import numpy as np

from diffmix.data.knowledge.spectrum import Curve

MOST_LEAN = 0.09
"""Energy-weighted imbalance (R - L) / (R + L) that a mix may have before single tracks move in."""

_SIMILAR_DB = 4.0  # mean difference of two spectra of one role that can be a pair
_NUMBERED = re.compile(r"[\W_]*(\d+|l|r|left|right|dt|dbl|double|copy|[a-d])?[\W_]*$", re.IGNORECASE)


@dataclass(frozen=True)
class Seat:
    """A track to be placed: its share of the mix's energy, ranges of its pan's amount alone and in a pair, its pan."""

    name: str
    role: str
    spectrum_db: Curve
    energy: float
    single: tuple[float, float]
    double: tuple[float, float]
    stereo: bool
    pan: float = 0.0

    @property
    def movable(self) -> bool:
        """Whether it may stand anywhere but in the centre."""
        return not self.stereo and max(self.single + self.double) > 0


def groups(seats: Iterable[Seat]) -> list[list[Seat]]:
    """The movable ones as pairs, by name or by sound within a role, and single ones, in a fixed order."""
    units, left = [], sorted((s for s in seats if s.movable), key=lambda s: (s.role, s.name))
    stems: dict[str, set[str]] = defaultdict(set)
    for seat in left:
        stems[_stem(seat)].add(seat.role)
    alike = {stem for stem, roles in stems.items() if len(roles) == 1}  # "Audio 3" and "Audio 7" say nothing
    while left:
        first = left.pop(0)
        others = [s for s in left if s.role == first.role]
        partner = min(others, key=lambda s: _difference(first, s, alike), default=None)
        if partner is not None and _difference(first, partner, alike) < _SIMILAR_DB:
            left.remove(partner)
            units.append([first, partner])
        else:
            units.append([first])
    return units


def placed(seats: Iterable[Seat], width: float, rng: np.random.Generator | None) -> dict[str, float]:
    """The pan of every seat by name, -1 to 1, whatever the order of the seats.

    Without a generator amounts are the middles of their ranges and sides alternate.
    """
    seats = sorted(seats, key=lambda s: s.name)
    found = {s.name: s for s in seats}
    units: list[tuple[list[Seat], float]] = []
    for unit in groups(seats):
        before = sum(len(u) == len(unit) and u[0].role == unit[0].role for u, _ in units)
        low, high = unit[0].double if len(unit) == 2 else unit[0].single
        amount = (low + (high - low) * (0.5 if rng is None else rng.uniform())) * 0.8**before * (1 + 0.5 * width)
        units.append((unit, min(amount, 1.0)))
    lean, total, side = 0.0, sum(s.energy for s in seats) or 1.0, 1.0
    # the heaviest single ones first, so that the light ones can make up for them
    for unit, amount in sorted(units, key=lambda u: -(len(u[0]) == 1) * _leaning(u[1]) * u[0][0].energy):
        side = -side if rng is None else float(rng.choice([-1.0, 1.0]))
        step = sum(sign * s.energy for sign, s in zip((1, -1), unit, strict=False)) * _leaning(amount) / total
        if abs(lean + side * step) > max(MOST_LEAN, abs(lean - side * step)):
            side = -side
        lean += side * step
        for sign, seat in zip((1, -1), unit, strict=False):
            found[seat.name] = replace(seat, pan=side * sign * amount)
    return {name: s.pan for name, s in _upright(found, {u[0].name for u, _ in units if len(u) == 1}).items()}


def _stem(seat: Seat) -> str:
    """The name but for a number or a side at its end."""
    return _NUMBERED.sub("", seat.name)


def _difference(a: Seat, b: Seat, alike: Collection[str]) -> float:
    """Mean difference of the spectra in dB where they matter; half of it for names of one of the stems ``alike``."""
    heard = np.maximum(a.spectrum_db, b.spectrum_db) > -40
    difference = float(np.abs(a.spectrum_db - b.spectrum_db)[heard].mean()) if heard.any() else 0.0
    return difference * (0.5 if _stem(a) == _stem(b) and _stem(a) in alike else 1.0)


def _leaning(pan: float) -> float:
    """(R - L) / (R + L) in energy of constant-power panning."""
    return float(np.sin(pan * np.pi / 2))


def _lean(seats: Iterable[Seat]) -> float:
    seats = list(seats)
    return sum(s.energy * _leaning(s.pan) for s in seats) / (sum(s.energy for s in seats) or 1.0)


def _upright(found: dict[str, Seat], single: set[str]) -> dict[str, Seat]:
    """Single tracks of the heavier side moved in as far as is needed."""
    if abs(lean := _lean(found.values())) <= MOST_LEAN:
        return found

    def moved(part: float) -> dict[str, Seat]:
        return {n: replace(s, pan=s.pan * part) if n in single and s.pan * lean > 0 else s for n, s in found.items()}

    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (low, middle) if abs(_lean(moved(middle).values())) > MOST_LEAN else (middle, high)
    return moved(low)
