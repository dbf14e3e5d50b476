"""A finished recording, which masters and transfers are made of, as a song of one track."""

import os
from pathlib import Path
from typing import Any

from diffmix.data.audio import check_sample_rate, from_array, read
from diffmix.data.multitrack import Multitrack, Track
from diffmix.errors import AudioError

NAME = "mix"
"""What that track is called in settings."""


def programme(given: Any, sample_rate: int | None, what: str) -> Multitrack:
    """A recording as a song of one track, `NAME`, at its own rate; both channels of a mono one are equal."""
    if isinstance(given, str | os.PathLike):
        file = Path(given)
        x, rate = read(file)
        return Multitrack(file.stem, rate, (Track(NAME, x.expand(2, -1), None, (str(file),) * (3 - len(x))),))
    if sample_rate is None:
        raise AudioError(f"{what} as an array needs sample_rate=..., the rate in Hz that it was recorded at")
    x = from_array(given, what)
    rate = check_sample_rate(sample_rate, what)
    return Multitrack(what.removeprefix("the "), rate, (Track(NAME, x.expand(2, -1)),))
