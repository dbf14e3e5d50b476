r"""Levels and what to do about them: the parts that compressors, gates and limiters are made of.

A level is smoothed by a one-pole filter with two memories, that of the attack where the level rises above what is
remembered and that of the release elsewhere,

$$e_n = r_n + k\,(e_{n-1} - r_n), \qquad k = k_{attack} \text{ if } r_n > e_{n-1} \text{ else } k_{release},
\qquad k = \exp\left(-\frac{1000}{sample\_rate \cdot time\_ms}\right)$$

so that after ``attack_ms`` a step has been followed to 63 %. (Pedalboard and JUCE have 2 pi in the exponent: their
time is 2 pi times this one's for the same sound.) A static curve turns the level into a gain, both in dB. The forms are
those of D. Giannoulis, M. Massberg and J. D. Reiss, "Digital dynamic range compressor design", J. Audio Eng. Soc.
60(6), 2012.
"""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from diffmix.errors import AudioError
from diffmix.kernels import stream
from diffmix.kernels._arithmetic import aligned, evaluate, formula
from diffmix.kernels._operator import Loops, recursion, rows, run

FLOOR_DB = -140.0
"""The lowest level that is measured; what is quieter has no gradient."""
_LEVEL, _PEAK, _POWER = 0, 1, 2  # as the compiled loops number them
TILE = 512
"""Samples between two levels that are saved for the backward."""
ROWS = 8
"""Levels that are smoothed side by side, where a vector has no room for more."""
HARDEST_DB = 1e-6
"""Width of a knee of 0 dB: no float tells it from a corner."""


def memory(time_ms: Tensor, sample_rate: float) -> Tensor:
    """What a smoother keeps from one sample to the next, exp(-1000 / (sample_rate time_ms)).

    Below 0.001 ms it is zero: the level is followed at once, with zero gradient to the time.

    Shape: any, float64.
    """
    return evaluate("_memory", (time_ms,), sample_rate, False)[..., 0]


def ballistics(level: Tensor, attack: Tensor, release: Tensor) -> Tensor:
    """Smooth a level by one memory where it rises and another where it falls, from zero.

    Args:
        level: (B, C, T), each channel on its own; amplitudes, powers or decibels.
        attack: memory k of rising levels in [0, 1), see `memory`: (B,), or (B, T) if it changes each sample.
        release: memory k of falling levels, as above.

    Returns:
        (B, C, T) of the level's dtype. Gradients are exact for the branches taken.
    """
    return run(_smooth, *rows(level, _together(attack, release)), memory=1, options=[_LEVEL]).view(level.shape)


def detected(x: Tensor, attack: Tensor, release: Tensor, power: bool = False, link: bool = True) -> Tensor:
    """The smoothed level of a signal: `ballistics` of |x|, or of x^2, neither of which hears polarity.

    Args:
        x: audio (B, C, T).
        attack: memory k of rising levels, (B,) or (B, T); see `memory`.
        release: memory k of falling levels, as above.
        power: of x^2 in place of |x|.
        link: one level for all channels, that of the loudest, or their mean power; otherwise one each.

    Returns:
        Amplitude or power (B, 1, T), or (B, C, T) without link, of x's dtype.
    """
    both = _together(attack, release)
    signals, c = (x, both if both.ndim == 3 else both[:, None]) if link else rows(x, both)
    y = run(_smooth, signals, c, memory=1, outputs=1, options=[_POWER if power else _PEAK])
    return y.view(x.shape[0], 1 if link else x.shape[1], x.shape[-1])


def sliding_maximum(level: Tensor, length: int) -> Tensor:
    """The largest of the last ``length`` samples, each channel on its own; before the first one all are zero.

    Shape: level (B, C, T), not negative, gives (B, C, T). The gradient goes to the sample that is the largest, the
    last of equal ones. Raises AudioError for a length of less than 1.
    """
    if length == 1:
        return level
    if length < 1:
        raise AudioError(f"the largest of the last {length} samples is asked for, allowed are 1 or more")
    x = level.reshape(level.shape[0] * level.shape[1], 1, level.shape[-1])
    nothing = x.new_zeros(x.shape[0], 1, 1, dtype=torch.float64)
    return run(_maximum, x, nothing, memory=length - 1, options=[length]).view(level.shape)


def delayed(x: Tensor, samples: int) -> Tensor:
    """The signal x (B, C, T) ``samples`` later, zeros or the state in front. Raises AudioError for fewer than 0."""
    if samples == 0:
        return x
    if samples < 0:
        raise AudioError(f"a delay is {samples} samples, allowed are 0 or more")
    line = torch.cat([stream.memory((*x.shape[:-1], samples), x), x], -1)
    stream.keep(line[..., x.shape[-1] :])
    return line[..., : x.shape[-1]]


def held(setting: Tensor, samples: int) -> Tensor:
    """A setting (B,), or one per sample (B, T) with ``samples`` more, all equal to the last one."""
    return setting if setting.ndim == 1 else torch.cat([setting, setting[:, -1:].expand(-1, samples)], -1)


def level_db(amplitude: Tensor) -> Tensor:
    """Level of an amplitude in dB, at least `FLOOR_DB`, where the gradient is zero; any shape."""
    return (20 / math.log(10)) * torch.log(amplitude.clamp_min(10 ** (FLOOR_DB / 20)))


def power_db(power: Tensor) -> Tensor:
    """Level of a mean square in dB, at least `FLOOR_DB`, where the gradient is zero; any shape."""
    return (10 / math.log(10)) * torch.log(power.clamp_min(10 ** (FLOOR_DB / 10)))


def knee(over_db: Tensor, knee_db: Tensor) -> Tensor:
    """``max(over_db, 0)`` with its corner rounded by a parabola over ``knee_db``, centred on it; >= 0.

    Finite in value and gradient for every width, also 0. Shape: both broadcast together.
    """
    width = knee_db.clamp_min(HARDEST_DB)
    size = over_db.abs()
    inside = (0.5 - size / width).clamp_min(0)
    # the corner and what rounds it; (over + |over|)/2 has the slope 1/2 in the corner, where the parabola's is 0
    return (over_db + size) / 2 + width * (inside * inside / 2)


def gain_computer(level_db: Tensor, threshold_db: Tensor, ratio: Tensor, knee_db: Tensor) -> Tensor:
    """Gain in dB of downward compression: above the threshold the level rises by 1 dB for every ``ratio`` dB.

    Args:
        level_db: of the signal.
        threshold_db: middle of the knee.
        ratio: input dB per output dB, at least 1.
        knee_db: width of the transition in dB, 0 for a corner.

    Returns:
        Gain in dB, at most 0; all shapes broadcast together.
    """
    return (1 / ratio - 1) * knee(level_db - threshold_db, knee_db)


def expansion_db(level_db: Tensor, threshold_db: Tensor, ratio: Tensor, knee_db: Tensor, range_db: Tensor) -> Tensor:
    """Gain in dB of downward expansion: below the threshold the level falls by ``ratio`` dB for every dB.

    ``range_db`` is the most that is taken away, 0 dB or more; the others are as in `gain_computer`.
    """
    return torch.maximum((1 - ratio) * knee(threshold_db - level_db, knee_db), -range_db)


def gate_db(level_db: Tensor, threshold_db: Tensor, knee_db: Tensor, range_db: Tensor) -> Tensor:
    """Gain in dB of a gate: 0 above the threshold, -range_db below it, 3 u^2 - 2 u^3 between over ``knee_db``.

    A knee of 0 dB is a step, which has no gradient to the threshold. All shapes broadcast together.
    """
    open_ = ((level_db - threshold_db) / knee_db.clamp_min(HARDEST_DB) + 0.5).clamp(0, 1)
    return -range_db * (1 - open_ * open_ * (3 - 2 * open_))


def _together(attack: Tensor, release: Tensor) -> Tensor:
    """Memories (B,) or (B, T) as (B, 2), or (B, T, 2) if one of them moves."""
    for name, k in (("attack", attack), ("release", release)):
        if k.ndim not in (1, 2):
            raise AudioError(f"{name} is {tuple(k.shape)}; allowed are (B,), or (B, T) where it changes each sample")
    return torch.stack(aligned(attack, release), -1)


@formula
def _memory(m: Any, time_ms: Any, sample_rate: float) -> tuple[Any, ...]:
    return (m.decay(-1000 / sample_rate, m.clip(time_ms, 1e-3, math.inf)) * (time_ms >= 1e-3),)


def _smooth_loops(_: int) -> Loops:
    from diffmix.kernels._ballistics_numba import smooth, smooth_backward

    return smooth, partial(smooth_backward, adds=False)


def _maximum_loops(_: int) -> Loops:
    from diffmix.kernels._ballistics_numba import maximum, maximum_backward

    return maximum, maximum_backward


_smooth = recursion("ballistics", _smooth_loops, TILE, ROWS)
_maximum = recursion("sliding_maximum", _maximum_loops)
