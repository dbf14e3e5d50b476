# mypy: disable-error-code="call-arg, var-annotated"
# (numba calls intrinsics without their first parameter and infers what is not annotated)
"""Compiled loops of static curves: audio times the gain of a level, and the adjoint.

A level row serves the channels it was measured of. Tile by tile its levels become gains, `WIDTH` samples at a time;
a setting is one number, or one per sample.
"""

import math

import numpy as np

from diffmix.kernels._compile import copy, inner, kernel
from diffmix.kernels._powf import exp2, log2
from diffmix.kernels._simd import absolute, cast, lanes, load, maximum, minimum, select, splat, store, total

WIDTH = lanes(4)
TILE = 1024
COMPRESSION, EXPANSION, GATE = range(3)
_OCTAVE_DB = 20 * math.log10(2)


@inner
def _knee(over, width):
    """What `kernels.ballistics.knee` is, and its derivatives to the excess and to its width."""
    size = absolute(over)
    far = size / width
    inside = maximum(0.5 - far, over * 0)
    half = inside * 0.5
    slope = select(over < 0, inside, 1 - inside)
    return (over + size) * 0.5 + width * (inside * half), slope, (far + half) * inside


@inner
def _curve(kind, level, k, at, hardest):
    """Gain in dB of lanes of a level in dB, and its derivatives to the level and to every setting but the threshold.

    Settings (S, samples) are in the order of `kernels.gain_curve.CURVES`.
    """
    over, none = level - load(k[0], at, WIDTH), level * 0
    width = maximum(load(k[1 if kind == GATE else 2], at, WIDTH), hardest)
    if kind == GATE:
        range_db = load(k[2], at, WIDTH)
        far = over / width
        open_ = minimum(maximum(far + 0.5, none), none + 1)
        shut = open_ * open_ * (3 - 2 * open_) - 1
        slope = range_db * 6 * open_ * (1 - open_) / width
        return range_db * shut, slope, none - slope * far, shut, none
    ratio, last = load(k[1], at, WIDTH), load(k[3], at, WIDTH)
    if kind == COMPRESSION:
        rounded, slope, by_width = _knee(over, width)
        factor = 1 / ratio - 1
        return factor * rounded + last, factor * slope, none - rounded / (ratio * ratio), factor * by_width, none + 1
    rounded, slope, by_width = _knee(none - over, width)
    factor = 1 - ratio
    gain = factor * rounded
    free = gain > none - last
    return (
        select(free, gain, none - last),
        select(free, none - factor * slope, none),
        select(free, none - rounded, none),
        select(free, factor * by_width, none),
        select(free, none, none - 1),
    )


@inner
def _settings(settings, start, count, k):
    """Settings (S, F) of ``count`` samples, ``k[s]``; of one vector where they are constant."""
    moving = settings.shape[1] > 1
    for s in range(len(settings)):
        for i in range(count if moving else WIDTH):
            k[s, i] = settings[s, start + i if moving else 0]


@kernel
def shape(x, level, settings, y, kind, scale, floor, hardest, first, last):
    """Rows [first, last) of x (R, C, T) times the gains that levels (R, T) make, into y; settings (R, S, F).

    A level in dB is ``scale`` times its binary logarithm; below ``floor`` all are alike.
    """
    samples, real, number = x.shape[2], x.dtype.type, settings.shape[1]
    along = int(settings.shape[2] > 1)
    heard, gain = np.ones(TILE, x.dtype), np.empty(TILE, x.dtype)
    k = np.ones((number, TILE), x.dtype)
    for row in range(first, last):
        for start in range(0, samples, TILE):
            count = min(TILE, samples - start)
            if along or start == 0:
                _settings(settings[row], start, count, k)
            copy(level[row, start : start + count], heard[:count])
            for i in range(0, count, WIDTH):
                e = load(heard, i, WIDTH)
                db = log2(maximum(splat(real(floor), WIDTH), e)) * scale + (e - e)  # what is no number stays so
                store(gain, i, exp2(_curve(kind, db, k, i * along, hardest)[0] * (1 / _OCTAVE_DB)))
            for c in range(x.shape[1]):
                source, target = x[row, c, start : start + count], y[row, c, start : start + count]
                for i in range(count):
                    target[i] = source[i] * gain[i]


@kernel
def shape_backward(gy, x, level, settings, gx, to_level, to_settings, kind, scale, floor, hardest, first, last):
    """Adjoint of `shape`; adds to ``to_settings`` (R, S, F), in float64."""
    samples, real, number = x.shape[2], x.dtype.type, settings.shape[1]
    along = int(settings.shape[2] > 1)
    knee = 1 if kind == GATE else 2
    heard, gain, by_gain = np.ones(TILE, x.dtype), np.empty(TILE, x.dtype), np.empty(TILE, x.dtype)
    k, sums = np.ones((number, TILE), x.dtype), np.zeros((4, TILE), x.dtype)
    per_octave, per_db = 1 / _OCTAVE_DB, math.log(2) / _OCTAVE_DB
    zero = splat(real(0), WIDTH)
    for row in range(first, last):
        for start in range(0, samples, TILE):
            count = min(TILE, samples - start)
            if along or start == 0:
                _settings(settings[row], start, count, k)
            copy(level[row, start : start + count], heard[:count])
            store(by_gain, (count - 1) // WIDTH * WIDTH, zero)
            for i in range(count):
                by_gain[i] = gy[row, 0, start + i] * x[row, 0, start + i]
            for c in range(1, x.shape[1]):
                source, given = x[row, c, start : start + count], gy[row, c, start : start + count]
                for i in range(count):
                    by_gain[i] += given[i] * source[i]
            first_sum = second_sum = third_sum = fourth_sum = zero
            for i in range(0, count, WIDTH):
                at = i * along
                e = load(heard, i, WIDTH)
                audible = maximum(splat(real(floor), WIDTH), e)
                db = log2(audible) * scale + (e - e)
                found, slope, second, third, fourth = _curve(kind, db, k, at, hardest)
                amplitude = exp2(found * per_octave)
                store(gain, i, amplitude)
                by_db = load(by_gain, i, WIDTH) * amplitude * per_db
                by_level = by_db * slope
                store(heard, i, select(e < floor, zero, by_level * (scale / math.log(2)) / audible))
                if number == 4:
                    third = select(load(k[knee], at, WIDTH) < hardest, zero, third)
                else:
                    second = select(load(k[knee], at, WIDTH) < hardest, zero, second)
                first_sum, second_sum = first_sum - by_level, second_sum + by_db * second
                third_sum, fourth_sum = third_sum + by_db * third, fourth_sum + by_db * fourth
                if along:
                    store(sums[0], i, first_sum)
                    store(sums[1], i, second_sum)
                    store(sums[2], i, third_sum)
                    store(sums[3], i, fourth_sum)
                    first_sum = second_sum = third_sum = fourth_sum = zero
            if along:
                for s in range(number):
                    for i in range(count):
                        to_settings[row, s, start + i] = sums[s, i]
            else:
                to_settings[row, 0, 0] += total(cast(first_sum, np.float64))
                to_settings[row, 1, 0] += total(cast(second_sum, np.float64))
                to_settings[row, 2, 0] += total(cast(third_sum, np.float64))
                if number == 4:
                    to_settings[row, 3, 0] += total(cast(fourth_sum, np.float64))
            copy(heard[:count], to_level[row, start : start + count])
            for c in range(x.shape[1]):
                given, target = gy[row, c, start : start + count], gx[row, c, start : start + count]
                for i in range(count):
                    target[i] = given[i] * gain[i]
