"""Where tracks begin in their song, by the time stamps that recorders and DAWs leave in Broadcast Wave files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from diffmix.data import audio

if TYPE_CHECKING:
    from diffmix.data.multitrack import Source

_SAME_S = 0.001  # stamps that differ by less say the same
_LONGEST_SPAN_S = 3600.0  # stamps further apart are of different days, or takes, not of places in one song


def apart_s(files: Sequence[Path], sample_rate: int) -> float:
    """How far apart files of one rate begin by their time stamps, in seconds; 0 if these say the same, or nothing."""
    stamps = [stamp for file in files if (stamp := audio.time_stamp(file)) is not None]
    span_s = (max(stamps, default=0) - min(stamps, default=0)) / sample_rate
    return span_s if span_s >= _SAME_S else 0.0


def placed(sources: list[Source], notes: list[str]) -> list[Source]:
    """The tracks where the time stamps of their files say, if these say it of one song; notes tell."""
    stamps = [audio.time_stamp(source.files[0]) for source in sources]
    clock = {s.name: stamp / s.sample_rate for s, stamp in zip(sources, stamps, strict=True) if stamp is not None}
    first = min(clock.values(), default=0.0)
    if max(clock.values(), default=0.0) - first < _SAME_S:
        return sources
    span_s = max(clock.values()) - first
    moved = [replace(s, start_s=round(clock.get(s.name, first) - first, 9)) for s in sources]
    ordered = sorted(moved, key=lambda s: s.start_s)
    ends = accumulate((s.end_s for s in ordered[:-1]), max)
    without = [s.label for s in sources if s.name not in clock]
    why = ""
    if without:
        why = f"{', '.join(without)} {'has' if len(without) == 1 else 'have'} none"
    elif span_s > _LONGEST_SPAN_S:
        why = f"they are {span_s / 3600:.1f} hours apart"
    elif any(after.start_s > end_s for after, end_s in zip(ordered[1:], ends, strict=True)):
        why = "with a gap in which nothing plays"
    if why:
        notes.append(f"the files have time stamps that differ, but {why}: all tracks begin together")
        return sources
    later = [f"{s.label} at {s.start_s:.3f} s" for s in ordered if s.start_s >= _SAME_S]
    notes.append(f"placed by the time stamps in the files: {', '.join(later)}")
    return moved
