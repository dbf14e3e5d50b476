"""Decibels and linear gain, by Pedalboard's rule.

A level in dB is turned into a gain by float32 arithmetic, ``powf(10, 0.05 * dB)``, and -100 dB or less is silence.
The last bit of a gain decides whether a rendered mix equals an exported one, hence the care taken here.
"""

import math

import numpy as np
import torch
from torch import Tensor

from diffmix.kernels.backend import compiled

SILENCE_DB = -100.0
"""At this level and below the gain is exactly zero."""


@torch.library.custom_op("diffmix::db_to_gain", mutates_args=())
def _db_to_gain_twin(db: Tensor) -> Tensor:
    # NumPy *scalars* call the C library's powf, as Pedalboard does; array powers are vectorised and differ in the
    # last bit. There is one value per knob, never one per sample, so a Python loop is fast enough.
    ten, twentieth = np.float32(10.0), np.float32(0.05)
    levels = db.detach().reshape(-1).numpy()
    gains = [ten ** (twentieth * v) if not v <= SILENCE_DB else np.float32(0.0) for v in levels]
    return torch.from_numpy(np.array(gains, dtype=np.float32)).reshape(db.shape)


@_db_to_gain_twin.register_fake
def _(db: Tensor) -> Tensor:
    return torch.empty_like(db, memory_format=torch.contiguous_format)


def _save_level(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])


def _db_to_gain_twin_backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:
    (db,) = ctx.saved_tensors  # type: ignore[attr-defined]
    return grad * (math.log(10) / 20 * 10 ** (db.double() / 20)).to(db.dtype)


_db_to_gain_twin.register_autograd(_db_to_gain_twin_backward, setup_context=_save_level)


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
    if db.dtype == torch.float32 and compiled(db):
        return _db_to_gain_twin(db)
    gain = 10 ** (db.double() / 20)
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
        gain_db: gain in dB (B,).

    Returns:
        Audio (B, C, T).
    """
    return x * db_to_gain(gain_db.to(x.dtype))[:, None, None]
