"""Who is in the session: how many tracks, which parts of the genre, which doubles, layers and stacks."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
from scipy.special import ndtr, ndtri

from diffmix.data.genres import GENRES, PARTS, SHARES, Part
from diffmix.data.synthesis import Random

USUAL_TRACKS = 22
"""Median of unrestricted session sizes, which spread by a factor of 2 (one standard deviation) around it."""

_DOUBLED = 0.5  # share of the further guitars, voices... that repeat another track of the song


def size(tracks: tuple[int, int], rng: Random) -> int:
    """Draw a session's number of tracks: log-normal, as real sessions are, cut to `tracks` = (least, most)."""
    low, high = np.log2((tracks[0] - 0.5) / USUAL_TRACKS), np.log2((tracks[1] + 0.5) / USUAL_TRACKS)
    drawn = ndtri(ndtr(low) + rng.random() * (ndtr(high) - ndtr(low)))
    return int(np.clip(round(USUAL_TRACKS * 2**drawn), *tracks))


def cast(genre: str, count: int, rng: Random) -> list[Part]:
    """The tracks of a session: the genre's parts by their chances, then doubles and further ones up to `count`."""
    core = [PARTS[name] for name in GENRES[genre].parts]
    turn = {part.name: rng.random() / part.chance for part in core}
    chosen = sorted(core, key=lambda part: turn[part.name])[:count]
    if count > len(chosen) * 0.7:  # a large session leaves out some of the usual parts too
        chosen = [part for part in chosen if turn[part.name] < 1.6]
    chosen.sort(key=core.index)
    kit = {part.kind for part in core if part.kind in ("band", "box")} | {"sample"}
    roles, shares = list(SHARES), np.array(list(SHARES.values()))
    while len(chosen) < count:
        role = roles[int(rng.choice(len(roles), p=shares / shares.sum()))]
        chosen += _another(role, chosen, kit, rng)
    return chosen


def _another(role: str, chosen: list[Part], kit: set[str], rng: Random) -> list[Part]:
    """One more track of a role, if the session can have one."""
    names = {part.name for part in chosen}
    doubled = [p for p in chosen if p.role == role and p.style != "drums" and not p.double]
    if doubled and rng.random() < _DOUBLED:
        model = doubled[int(rng.integers(len(doubled)))]
        return [_numbered(model, chosen)._replace(double=model.name)]
    parts = [p for p in PARTS.values() if p.role == role and (p.style != "drums" or p.kind in kit)]
    new = [p for p in parts if p.name not in names and not p.double]
    if new:
        return [new[int(rng.integers(len(new)))]]
    parts = [p for p in parts if p.kind not in ("band", "box")]  # a drum has no second inner microphone
    return [_numbered(parts[int(rng.integers(len(parts)))], chosen)] if parts else []


def _numbered(part: Part, chosen: list[Part]) -> Part:
    """A part like this one under the next free number; the more there are, the more often each rests."""
    base = re.sub(r"_\d+$", "", part.name)
    taken = Counter(re.sub(r"_\d+$", "", p.name) for p in chosen)[base]
    number = taken + 1
    while f"{base}_{number}" in {p.name for p in chosen}:
        number += 1
    return part._replace(name=f"{base}_{number}", energy=min(part.energy + 0.05 * taken, 0.9), double="")
