"""What is never done to a recording, whatever a reference sounds like."""

import math

import torch
from torch import Tensor

from diffmix.estimators.style_features import RATE, at_peak, at_rate
from diffmix.estimators.treatment import EQ_HZ, Treatment

NOTHING_DB, FAINT_DB = -62.0, -48.0
"""Bands so far below the loudest hold nothing to raise, or are as good as silent; between them boosts fade out."""

NOISE_DB, STEADY_DB = -40.0, 6.0
"""Bands below the first whose level changes by less than the second are noise."""

NOISE_BOOST_DB = 3.0


def boosts_allowed_db(pieces: Tensor, sample_rate: float) -> Tensor:
    """The most that each of `EQ_HZ` may be raised, dB (40,), of a recording's pieces (K, C, n).

    Where there is nothing, or steady noise, there is little: raising it would only make noise heard.
    """
    x = at_peak(at_rate(pieces.float(), sample_rate)).mean(1)  # (K, n)
    size = min(2048, 1 << int(math.log2(x.shape[-1])))
    frames = (x.unfold(-1, size, size // 4) * torch.hann_window(size)).flatten(0, 1)
    power = torch.fft.rfft(frames).abs().square()  # (F, bins)
    hz = torch.fft.rfftfreq(size, 1 / RATE)
    middle = torch.tensor(EQ_HZ)
    width = 2 ** (1 / 6)
    near = (hz > middle[:, None] / width) & (hz < middle[:, None] * width)
    near |= (hz - middle[:, None]).abs() <= 0.5 * RATE / size  # narrow bands have a bin too
    level_db = 10 * (power @ near.T.float()).clamp_min(1e-12).log10()  # (F, 40)
    total = power.sum(1)
    heard = total > total.max() * 1e-6
    percent = torch.quantile(level_db[heard], torch.tensor([0.1, 0.9]), dim=0)
    low, high = percent[0], percent[1]
    relative = high - high.max()
    there = ((relative - NOTHING_DB) / (FAINT_DB - NOTHING_DB)).clamp(0, 1)
    most = torch.where(there < 1, 24 * there, math.inf)
    noisy = (relative < NOISE_DB) & (high - low < STEADY_DB)
    return torch.where(noisy, most.clamp_max(NOISE_BOOST_DB), most)


def guarded(treatment: Treatment, pieces: Tensor, sample_rate: float, band_hz: float) -> tuple[Treatment, float]:
    """A treatment without boosts of what is not there, and how many dB the largest of them was cut by.

    Above ``band_hz``, beyond which the reference tells nothing, the response goes on as it is just below: what cut it
    off begins before. A band that holds all of `EQ_HZ` is known whole.
    """
    hz = torch.tensor(EQ_HZ)
    known = hz <= (0.95 * band_hz if band_hz < EQ_HZ[-1] else math.inf)
    eq_db = treatment.eq_db
    if not bool(known.all()):
        last = int(known.sum()) - 1
        eq_db = torch.where(known, eq_db, eq_db[max(last, 0)])
    kept = torch.minimum(eq_db, boosts_allowed_db(pieces, sample_rate).clamp_min(0))
    return treatment._replace(eq_db=kept), float((eq_db - kept).max())
