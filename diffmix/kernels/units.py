"""Decibels and linear gain, by Pedalboard's rule.

A level in dB is turned into a gain by float32 arithmetic, ``powf(10, 0.05 * dB)``, and -100 dB or less is silence.
The last bit of a gain decides whether a rendered mix equals an exported one, hence the care taken here.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffmix.kernels._arithmetic import evaluate, formula, twin_gain
from diffmix.kernels._operator import unwatched
from diffmix.kernels.backend import is_twin

SILENCE_DB = -100.0
"""At this level and below the gain is exactly zero."""


@formula
def _gain(m: Any, db: Any, sample_rate: float) -> tuple[Any, ...]:
    return (m.gain(db),)


def db_to_gain(db: Tensor) -> Tensor:
    """Linear gain of a level, ``g = 10**(db / 20)``, and exactly zero at -100 dB and below.

    The derivative is that of the formula everywhere, ``ln(10) / 20 * 10**(db / 20)``, also below -100 dB: a fader
    that reached silence can come back.

    Args:
        db: level in dB, any shape. In float32 on the CPU the value is Pedalboard's to the last bit; in float64
            and on other devices it is the formula in float64.

    Returns:
        Gain, shape and dtype of ``db``.
    """
    twin = is_twin(db, db)
    if twin and db.dtype == torch.float32 and not torch.compiler.is_compiling() and unwatched((db,)):
        level = db.numpy(force=True)  # the same in fewer steps: they take as long as a loop over seconds of audio
        return torch.from_numpy(np.where(level <= SILENCE_DB, np.float32(0), twin_gain(level)))
    gain = evaluate("_gain", (db,), 0.0, twin)[..., 0]  # the formula needs no sample rate
    return torch.where(db <= SILENCE_DB, gain - gain.detach(), gain).to(db.dtype)


def gain_to_db(gain: Tensor, floor_db: float = -120.0) -> Tensor:
    """Level of a linear gain, ``20 log10 |gain|``, never below ``floor_db`` (where the gradient is zero).

    Args:
        gain: linear gain or amplitude, any shape.
        floor_db: the lowest level returned, in dB.

    Returns:
        Level in dB, shape and dtype of ``gain``.
    """
    return 20 * torch.log10(gain.abs().clamp_min(10 ** (floor_db / 20)))


def gain(x: Tensor, gain_db: Tensor) -> Tensor:
    """Amplify: ``y = db_to_gain(gain_db) * x``, equal to ``pedalboard.Gain`` sample for sample in float32.

    Args:
        x: audio (B, C, T).
        gain_db: gain in dB (B,), or one per sample (B, T).

    Returns:
        Audio (B, C, T).
    """
    return x * per_sample(db_to_gain(gain_db.to(x.dtype)))


def per_sample(value: Tensor) -> Tensor:
    """A value per item (B,) or per sample (B, T) as (B, 1, 1) or (B, 1, T), to meet audio (B, C, T)."""
    return value[:, None, None] if value.ndim == 1 else value[:, None]
