"""Which songs are for training, validation and tests, where a data set does not say: their names decide."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence

from diffmix.data.songs import Place

SPLITS = ("train", "valid", "test")
TRAIN, VALID = 0.8, 0.1


def share(name: str) -> float:
    """A number in [0, 1) that a name alone decides, letter case and Unicode form aside."""
    plain = unicodedata.normalize("NFC", name).casefold().encode()
    return int.from_bytes(hashlib.sha256(plain).digest()[:8], "big") / 2**64


def divided(places: Sequence[Place]) -> list[Place]:
    """The songs, each with a split: that of the data set, else one by the `share` of its group, or of its name.

    Songs that are added later do not move the others; only where validation or tests had nothing, the training group of
    the largest share goes there.
    """
    free = {_group(place): share(_group(place)) for place in places if place.split is None}
    chosen = {g: "train" if s < TRAIN else "valid" if s < TRAIN + VALID else "test" for g, s in free.items()}
    for wanted in ("valid", "test") if len(free) == len({_group(place) for place in places}) else ():
        train = [group for group, split in chosen.items() if split == "train"]
        if wanted not in chosen.values() and len(train) > 1:
            chosen[max(train, key=free.__getitem__)] = wanted
    return [p if p.split else p._replace(split=chosen[_group(p)]) for p in places]


def _group(place: Place) -> str:
    return place.group or place.name
