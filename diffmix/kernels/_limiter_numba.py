"""Compiled loops of the true-peak measurement.

A row has C channels of L phases each. A summit is that of the parabola through three neighbours a, b, v whose middle
one is the nearest to it. With slope = (v - a)/2, curvature = a - 2 b + v and r = slope / curvature, it lies r before b
and its height is |b - r slope / 2|.
"""

import numpy as np

from diffmix.kernels._compile import copy, inner, kernel

_BLOCK = 2048  # samples at a time, which stay in the first-level cache


@inner
def _climb(largest, which, before, middle, after, index, half):
    """Raise ``largest`` to the summits around ``middle``, or to its samples, and note ``index`` where that does."""
    zero = half - half
    for n in range(largest.size):
        a, b, v = before[n], middle[n], after[n]
        slope, curvature = half * (v - a), (a - b) + (v - b)
        inside = (b * curvature < zero) & (abs(slope) <= half * abs(curvature))
        height = abs(b) + (abs(half * slope * slope / curvature) if inside else zero)
        higher = height > largest[n]
        largest[n] = height if higher else largest[n]
        which[n] = index if higher else which[n]


@inner
def _phase(x, states, row, channel, factor, n, p):
    """Phase p of a channel at sample n; p may be -1 or -2, and those before the first sample are in the state."""
    if p >= 0:
        return x[row, channel * factor + p, n]
    if n > 0:
        return x[row, (channel + 1) * factor + p, n - 1]
    return states[row, 0, 2 * channel + 2 + p]


@inner
def _survey(x, states, row, factor, largest, which):
    """The highest summit of each sample of a row, and the phase after it."""
    samples = x.shape[2]
    largest[:] = 0
    which[:] = -1
    half = x.dtype.type(0.5)
    line = np.empty((3, _BLOCK), x.dtype)
    for start in range(0, samples, _BLOCK):
        count = min(_BLOCK, samples - start)
        for index in range(x.shape[1]):
            channel, p = index // factor, index % factor
            for k in range(3):  # a, b and v: the phase itself, or of the sample before
                if p - 2 + k >= 0:
                    copy(x[row, index - 2 + k, start : start + count], line[k, :count])
                else:
                    line[k, 0] = _phase(x, states, row, channel, factor, start, p - 2 + k)
                    copy(x[row, index - 2 + k + factor, start : start + count - 1], line[k, 1:count])
            tops, places = largest[start : start + count], which[start : start + count]
            _climb(tops, places, line[0], line[1], line[2], np.int32(index), half)


@kernel
def forward(x, c, states, y, _, first, last, factor):
    """The highest summit of each sample: x (R, C factor, T) to y (R, 1, T).

    states (R, 2, 2 C) hold the last two phases of each channel, as a summit is known when the next phase is.
    """
    which = np.empty(x.shape[2], np.int32)
    for row in range(first, last):
        _survey(x, states, row, factor, y[row, 0], which)
        for channel in range(x.shape[1] // factor):
            for k in range(2):
                states[row, 1, 2 * channel + k] = x[row, (channel + 1) * factor - 2 + k, -1]


@kernel
def backward(gy, x, c, states, gx, gc, _, first, last, factor):
    """Each gradient goes to the three phases of the summit that was the highest.

    The height of a positive one has the derivatives (r + r^2)/2, 1 - r^2 and (r^2 - r)/2 to a, b and v.
    """
    samples = x.shape[2]
    largest, which = np.empty(samples, x.dtype), np.empty(samples, np.int32)
    for row in range(first, last):
        gx[row] = 0
        _survey(x, states, row, factor, largest, which)
        for n in range(samples):
            if which[n] < 0 or gy[row, 0, n] == 0:
                continue
            channel = which[n] // factor
            p = which[n] - channel * factor
            a = np.float64(_phase(x, states, row, channel, factor, n, p - 2))
            b = np.float64(_phase(x, states, row, channel, factor, n, p - 1))
            v = np.float64(_phase(x, states, row, channel, factor, n, p))
            slope, curvature = (v - a) / 2, (a - b) + (v - b)
            inside = b * curvature < 0 and abs(slope) <= abs(curvature) / 2
            r = slope / curvature if inside else 0.0
            g = gy[row, 0, n] if b > 0 else -gy[row, 0, n]
            for k, share in enumerate(((r * r + r) / 2, 1 - r * r, (r * r - r) / 2)):
                if p - 2 + k >= 0:
                    gx[row, which[n] - 2 + k, n] += g * share
                elif n > 0:
                    gx[row, which[n] - 2 + k + factor, n - 1] += g * share
