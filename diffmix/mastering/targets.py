"""What a person's target means for a recording."""

import math
import os
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from diffmix.data.knowledge.mastering import GENRES, UNTOUCHED, Target, mixed, nearest
from diffmix.data.multitrack import Multitrack
from diffmix.data.programme import programme
from diffmix.errors import AudioError, SettingsError
from diffmix.kernels.loudness import HEARD_LUFS
from diffmix.mastering.measured import CENTRES_HZ, EXCERPT_S, Measured, reach
from diffmix.params import within


def target_of(target: Any, before: Measured, rate: int) -> Target:
    """What a person's target means for a recording."""
    if isinstance(target, Target):
        return target
    number = _number(target)
    if number is not None:
        within("the target", number, -40, -5, "LUFS")
        return UNTOUCHED._replace(name=f"{number:g} LUFS", loudness_lufs=number)
    if not isinstance(target, str | os.PathLike):
        return _reference(programme(target, rate, "the reference"))
    words = [word for word in map(str.strip, str(target).casefold().split(",")) if word]
    if words == ["auto"] or words == ["streaming"]:
        return mixed(nearest(before.spectrum_db, reach(rate), before.plr_db))
    if words and all(word in GENRES for word in words):
        return mixed({word: 1 / len(set(words)) for word in words})
    file = FilePath(target)
    if not words or (isinstance(target, str) and not file.suffix and not file.exists()):
        raise SettingsError(
            f"no target is called {target!r}; there are auto, streaming, a loudness like -14, the path of a recording, "
            f"and {', '.join(GENRES)}"
        )
    return _reference(programme(target, rate, "the reference"))


def _number(target: Any) -> float | None:
    """A loudness, if the target is one."""
    if isinstance(target, str | int | float):
        try:
            found = float(target)
        except ValueError:
            return None
        return found if math.isfinite(found) else None
    return None


def _reference(song: Multitrack) -> Target:
    """What a recording measures, as a target that allows a little."""
    found = Measured.of(song.tracks[0].audio, song.sample_rate)
    if found.loudness_lufs <= HEARD_LUFS:
        raise AudioError(f"{song.name} is silent: a reference has to be heard")
    span = (found.range_lu - 1, found.range_lu + 1) if song.seconds >= EXCERPT_S else UNTOUCHED.range_lu
    spread = np.full(len(CENTRES_HZ), 1.0)
    plr = found.plr_db - 1, found.plr_db + 1
    loudness = min(max(round(found.loudness_lufs, 1), -40.0), -5.0)
    return Target(song.name, found.spectrum_db, spread, plr, span, loudness)
