"""Second microphones of a drum, told by their sound: the kick from outside, the snare from below."""

from collections.abc import Mapping, Sequence
from itertools import combinations

from torch import Tensor

from diffmix.data.alignment import lag
from diffmix.data.knowledge.hearing import HZ, Heard, level_db

SECONDS = 10.0
"""So much of the recordings is compared."""

_MOST_LATE_S = 0.015
_MOST_COMPARED = 8

CLOSE = {"kick": 0.4, "snare": 0.15}
"""Drums with second microphones, and the least correlation of both: the snare's wires have a sound of their own."""

_DULLER_DB, _THINNER_DB = 2.0, 1.0
_SUB_DB = -28.0  # above 500 Hz, of the whole: what has less is a sub microphone, which is no second one


def second_microphones(heard: Sequence[Heard], audio: Mapping[str, Tensor], sample_rate: float) -> set[str]:
    """The names of tracks that a second microphone recorded, beside another of the same strokes.

    ``audio`` (1, T) or (2, T) by track, of which mono ones are compared. The kick's second microphone is duller, above
    2 kHz, than that in front of the beater; the snare's is thinner, between 150 and 500 Hz, than that above.
    """
    found = set()
    for role, least in CLOSE.items():
        close = [h for h in heard if h.role == role and not h.stereo][:_MOST_COMPARED]
        for one, other in combinations(close, 2):
            if (second := _second(role, one, other)) is None:
                continue
            x, y = (audio[h.name][:, : round(SECONDS * sample_rate)] for h in (one, other))
            if lag(x, y, round(_MOST_LATE_S * sample_rate)).agreement > least:
                found.add(second.name)
    return found


def _second(role: str, one: Heard, other: Heard) -> Heard | None:
    """Which of the two would be the second, if they were of one drum; none if it is not clear."""
    band = HZ > 2000 if role == "kick" else (HZ > 150) & (HZ < 500)
    first, second = sorted((one, other), key=lambda h: level_db(h.spectrum_db[band]), reverse=True)
    least_db = _DULLER_DB if role == "kick" else _THINNER_DB
    if level_db(first.spectrum_db[band]) - level_db(second.spectrum_db[band]) < least_db:
        return None
    return None if role == "kick" and level_db(second.spectrum_db[HZ > 500]) < _SUB_DB else second
