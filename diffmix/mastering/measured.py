"""A recording in numbers, and what of it counts."""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from diffmix.data import fullness
from diffmix.data.knowledge.spectrum import THIRD_OCTAVES_HZ, Curve, long_term_spectrum_db
from diffmix.kernels.loudness import integrated_loudness, true_peak_db
from diffmix.metrics import crest_db, loudness_range

EXCERPT_S = 20.0
"""The loudest seconds, in which dynamics are judged."""

CENTRES_HZ = np.array(THIRD_OCTAVES_HZ)


class Measured(NamedTuple):
    """A recording in numbers: loudness (BS.1770), peak over loudness, crest, loudness range (Tech 3342), spectrum."""

    loudness_lufs: float
    true_peak_db: float
    plr_db: float
    crest_db: float
    range_lu: float
    spectrum_db: Curve

    @classmethod
    def of(cls, x: Tensor, sample_rate: float) -> "Measured":
        """Measure audio (C, T)."""
        loudness = float(integrated_loudness(x[None], sample_rate))
        peak = float(true_peak_db(x[None], sample_rate))
        range_lu, crest = float(loudness_range(x[None], sample_rate)), float(crest_db(x[None]))
        return cls(loudness, peak, peak - loudness, crest, range_lu, long_term_spectrum_db(x, sample_rate))


def reach(rate: float) -> Curve:
    """How much each third octave counts, (28,): the ends less, what lies above half the rate nothing."""
    weight = np.interp(np.log(CENTRES_HZ), np.log([30, 63, 10_000, 16_000]), [0.3, 1, 1, 0.4])
    found: Curve = np.where(0.45 * rate <= CENTRES_HZ * 10**0.05, 0.0, weight)
    return found


def loudest(x: Tensor, rate: int) -> Tensor:
    """The loudest `EXCERPT_S` seconds of audio (C, T), in whole seconds."""
    start, stop = fullness.loudest(x, EXCERPT_S, rate)
    return x[:, start:stop]
