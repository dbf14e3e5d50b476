"""Random equalisers, compressors, expanders, pitch and tempo: how DeepAFx-ST makes two styles of one recording.

The numbers are those of the published code (C. J. Steinmetz, N. J. Bryan and J. D. Reiss, J. Audio Eng. Soc. 70(9),
2022); what SoX does there, effects of our own do here: cookbook filters, whose shelves have SoX's slope of 1/2, and
dynamics that follow the amplitude with the time constants of SoX's compand.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from diffmix.data.stretch import pitched
from diffmix.kernels import biquad
from diffmix.kernels.iir import sos_cascade
from diffmix.metrics.style import at_peak
from diffmix.processors import Expander, KneeCompressor

PEAKS_HZ = ((200.0, 2000.0), (800.0, 4000.0), (2000.0, 8000.0), (4000.0, math.inf))
LOW_SHELF_HZ, HIGH_SHELF_HZ = (20.0, 200.0), 4000.0
HIGHEST = 0.45
"""Of the sample rate: where the highest bands end."""

MOST_DB = 24.0
FADE_S = 0.05


def equalised(x: Tensor, sample_rate: float, rng: np.random.Generator, legacy: bool = False) -> Tensor:
    """Audio x (C, T) through up to four peaks and two shelves, each there with a chance of 0.8.

    A peak of up to ±48 dB is left out where it would bring the sum of all gains beyond 24 dB; with ``legacy`` what was
    left out counts on in the sum, as in the published code. Bands that lie above the sample rate's reach are left out.
    """
    top = HIGHEST * sample_rate
    peaks, total = [], 0.0
    for low, high in PEAKS_HZ:
        if rng.random() >= 0.8:
            continue
        q, gain_db = rng.uniform(0.1, 10.1), rng.choice((-1, 1)) * rng.uniform(0, 2 * MOST_DB)
        kept = abs(total + gain_db) < MOST_DB
        total += gain_db if kept or legacy else 0.0
        if kept and low < top:
            peaks.append((rng.uniform(low, min(high, top)), gain_db, q))
    sections = [_sections(biquad.peak, peaks, sample_rate)] if peaks else []
    for design, (low, high) in ((biquad.low_shelf, LOW_SHELF_HZ), (biquad.high_shelf, (HIGH_SHELF_HZ, top))):
        if rng.random() < 0.8 and low < high:
            gain_db = rng.choice((-1, 1)) * rng.uniform(0, MOST_DB)
            shelf = rng.uniform(low, high), gain_db, _q_of_shelf(gain_db)
            sections.append(_sections(design, [shelf], sample_rate))
    return sos_cascade(x.double()[None], torch.cat(sections)[None])[0].to(x.dtype) if sections else x


def compressed(x: Tensor, sample_rate: float, rng: np.random.Generator) -> Tensor:
    """Audio x (C, T) through a compressor: threshold -12 to -64 dB, ratio 1 to 11, knee up to 12 dB."""
    attack_ms = rng.uniform(0.5, 50.5)
    settings = {
        "attack_ms": attack_ms,
        "release_ms": attack_ms + rng.uniform(0, 200),
        "knee_db": rng.uniform(0, 12),
        "threshold_db": rng.uniform(-64, -12),
        "ratio": rng.uniform(1, 11),
        "makeup_db": rng.uniform(0, 6),
    }
    return KneeCompressor(sample_rate).process(x[None], **_values(settings))[0]


def expanded(x: Tensor, sample_rate: float, rng: np.random.Generator) -> Tensor:
    """Audio x (C, T) through an expander: threshold -10 to -30 dB, ratio 1 to 5, make-up of up to 6 dB."""
    attack_ms = rng.uniform(1, 51)
    settings = {
        "attack_ms": attack_ms,
        "release_ms": attack_ms + rng.uniform(0, 200),
        "knee_db": 0.0,
        "threshold_db": rng.uniform(-30, -10),
        "ratio": rng.uniform(1, 5),
        "range_db": 120.0,
    }
    makeup = 10 ** (rng.uniform(0, 6) / 20)
    return makeup * Expander(sample_rate).process(x[None], **_values(settings))[0]


class Moved:
    """A pitch shift of up to ±200 cents and a tempo of 0.8 to 1.2, with a chance of one half."""

    def __init__(self, rng: np.random.Generator) -> None:
        moves = rng.random() < 0.5
        self.cents, self.tempo = (rng.uniform(-200, 200), rng.uniform(0.8, 1.2)) if moves else (0.0, 1.0)

    def needed(self, length: int) -> int:
        """How many samples become ``length``."""
        return length if self.tempo == 1 else math.ceil(length * self.tempo) + 16

    def __call__(self, x: Tensor, length: int, sample_rate: float) -> Tensor:
        """Audio x (C, `needed`) to (C, length)."""
        return x if self.tempo == 1 else pitched(x, self.cents, self.tempo, sample_rate)[:, :length]


def two_styles(x: Tensor, sample_rate: float, rng: np.random.Generator, legacy: bool = False) -> tuple[Tensor, Tensor]:
    """A recording x (C, T) in two styles, the input and the target, both at a peak of -12 dBFS with faded ends.

    The input is equalised with a chance of 0.75 and expanded with one of 0.1, the target equalised otherwise with one
    of 0.75 and compressed with one of 0.75. ``legacy`` keeps what is a slip in the published code: the target comes
    to its compressor as loud as the equaliser left it, and fades are as long as at 22.05 kHz.
    """
    given = _at_peak(x)
    source = _at_peak(equalised(given, sample_rate, rng, legacy)) if rng.random() < 0.75 else given
    if rng.random() < 0.1:
        source = expanded(source, sample_rate, rng)
    target = equalised(given, sample_rate, rng, legacy) if rng.random() < 0.75 else given
    if rng.random() < 0.75:
        target = compressed(target if legacy else _at_peak(target), sample_rate, rng)
    fade = round(FADE_S * (22050 if legacy else sample_rate))
    return _at_peak(faded(source, fade)), _at_peak(faded(target, fade))


def faded(x: Tensor, samples: int) -> Tensor:
    """Audio x (C, T) with straight fades at both ends."""
    ramp = torch.linspace(0, 1, samples)
    y = x.clone()
    y[:, :samples] *= ramp[: x.shape[-1]]
    y[:, -samples:] *= ramp.flip(0)[-x.shape[-1] :]
    return y


def _q_of_shelf(gain_db: float, slope: float = 0.5) -> float:
    """The cookbook's Q of a shelf with this slope."""
    a = 10 ** (gain_db / 40)
    return float(((a + 1 / a) * (1 / slope - 1) + 2) ** -0.5)


def _at_peak(x: Tensor) -> Tensor:
    return at_peak(x[None])[0]


def _sections(design: Callable[..., Tensor], rows: Sequence[Sequence[float]], sample_rate: float) -> Tensor:
    """Sections (K, 5) of filters that each have a row of frequency, gain and Q."""
    return design(*torch.tensor(rows, dtype=torch.float64).unbind(1), sample_rate)


def _values(settings: Mapping[str, float]) -> dict[str, Tensor]:
    return {name: torch.tensor([value]) for name, value in settings.items()}
