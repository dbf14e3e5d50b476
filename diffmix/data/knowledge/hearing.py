"""What an engineer hears of a recording before touching it."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from diffmix.data.knowledge.classes import USUAL, Usual, expected
from diffmix.data.knowledge.spectrum import (
    THIRD_OCTAVES_HZ,
    Curve,
    active_frames,
    band_powers,
    frame_peaks,
    k_weighting_db,
    relative_db,
)
from diffmix.data.multitrack import Track
from diffmix.kernels.loudness import HEARD_LUFS

WORKING_LUFS = -23.0
"""Where the trim puts a track, so that thresholds mean the same for every recording."""


HZ = np.array(THIRD_OCTAVES_HZ)
_ANY_REGISTER = (None, "synth", "keys", "fx")


@dataclass(frozen=True)
class Heard:
    """What a track is where it sounds, which is the part ``active`` of the time.

    ``spectrum_db`` (28,) is relative to its sum, ``peak_db`` what the peaks reach at the working level, ``crest_db``
    what they reach above the mean power, ``side_db`` the side against the middle, ``lean_db`` the right against the
    left. ``chances``: of keys of `USUAL`, which add up to one; ``usual``: the treatment expected over them.
    """

    name: str
    chances: Mapping[str | None, float]
    usual: Usual
    stereo: bool
    spectrum_db: Curve
    peak_db: float
    crest_db: float
    side_db: float
    lean_db: float
    active: float

    @property
    def role(self) -> str | None:
        """The likeliest key of `USUAL`."""
        return max(self.chances, key=self.chances.__getitem__)


def hear(track: Track, sample_rate: int, likely: Mapping[str, float] | None = None) -> Heard | None:
    """What a track is; None for silence. ``likely``: the chances of its roles, where its own role does not say."""
    x = track.audio
    powers = band_powers(x, sample_rate)
    active = active_frames(powers)
    if not active.any():
        return None
    spectrum = relative_db(powers[active])
    power_db = 10 * np.log10(float(powers[active].sum(1).mean()))
    loudness = power_db + 10 * np.log10(len(x)) + weighted_db(spectrum, sample_rate) - 0.691
    if loudness < HEARD_LUFS:
        return None
    peak_db = 20 * float(frame_peaks(x, sample_rate)[active].clamp_min(1e-9).quantile(0.9).log10())
    side_db, lean_db = sides(x)
    roles: Mapping[str, float] | Mapping[str | None, float] = likely or {track.role: 1.0}
    chances: dict[str | None, float] = defaultdict(float)
    for role, chance in roles.items():
        chances[_played(role, spectrum)] += chance
    return Heard(
        track.name,
        chances,
        expected(chances),
        len(x) == 2,
        spectrum,
        peak_db=peak_db + WORKING_LUFS - loudness,
        crest_db=peak_db - power_db,
        side_db=side_db,
        lean_db=lean_db,
        active=float(active.double().mean()),
    )


def _played(role: str | None, spectrum_db: Curve) -> str | None:
    """The key of `USUAL` for a role: a synth, or anything of no role, that is mostly bottom plays the bass."""
    known = role if role in USUAL else None
    return "bass" if known in _ANY_REGISTER and level_db(spectrum_db[HZ < 120]) > -3 else known


def level_db(spectrum_db: Curve) -> float:
    """Level of all bands together."""
    return float(10 * np.log10((10 ** (spectrum_db / 10)).sum()))


def weighted_db(spectrum_db: Curve, sample_rate: float) -> float:
    """The same as loudness weighs it."""
    return level_db(spectrum_db + k_weighting_db(sample_rate))


def sides(x: Tensor) -> tuple[float, float]:
    """Level of the side against the middle, and of the right against the left, in dB; of mono audio -60 and 0."""
    if len(x) == 1:
        return -60.0, 0.0
    middle, side = (x[0] + x[1]).square().mean(), (x[0] - x[1]).square().mean()
    left, right = x.square().mean(1).clamp_min(1e-12)
    side_db = 10 * float((side / middle.clamp_min(1e-12)).clamp(1e-6, 1e3).log10())
    return side_db, float(10 * (right / left).log10())
