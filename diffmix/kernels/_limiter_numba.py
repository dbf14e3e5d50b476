"""Compiled loops of the true-peak measurement."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, inline="always")
def _summit(a, b, v):
    """The height of the parabola through |a|, |b|, |v| where its summit is nearer to b than to its neighbours, or |b|.

    Returns it and the summit's r = slope / curvature at b, zero in the second case.
    """
    slope, curvature = (v - a) / 2, (a - b) + (v - b)
    if b * curvature < 0 and abs(slope) <= abs(curvature) / 2:
        r = slope / curvature
        return abs(b) + abs(r * slope) / 2, r
    return abs(b), b - b


@njit(nogil=True, cache=True)
def forward(x, c, states, y, _, first, last, factor):
    """The largest summit of each sample's ``factor`` phases: x (R, C factor, T) to y (R, 1, T).

    states (R, 2, 2 C) hold the last two phases of each channel, as a summit is known when the next phase is.
    """
    channels, samples = x.shape[1] // factor, x.shape[2]
    for row in range(first, last):
        y[row] = 0
        for channel in range(channels):
            a, b = states[row, 0, 2 * channel], states[row, 0, 2 * channel + 1]
            for n in range(samples):
                largest = y[row, 0, n]
                for p in range(factor):
                    v = x[row, channel * factor + p, n]
                    largest = max(largest, _summit(a, b, v)[0])
                    a, b = b, v
                y[row, 0, n] = largest
            states[row, 1, 2 * channel], states[row, 1, 2 * channel + 1] = a, b


@njit(nogil=True, cache=True)
def backward(gy, x, c, states, gx, gc, _, first, last, factor):
    """Each gradient goes to the three phases of the summit that was the largest:

    b - slope^2 / (2 curvature)  has the derivatives  (r + r^2)/2, 1 - r^2, (r^2 - r)/2  to a, b, v.
    """
    channels, samples = x.shape[1] // factor, x.shape[2]
    largest, ratio = np.empty(samples, x.dtype), np.empty(samples, x.dtype)
    which = np.empty(samples, np.int64)
    for row in range(first, last):
        gx[row] = 0
        largest[:] = 0
        which[:] = -1
        for channel in range(channels):
            a, b = states[row, 0, 2 * channel], states[row, 0, 2 * channel + 1]
            for n in range(samples):
                for p in range(factor):
                    v = x[row, channel * factor + p, n]
                    height, r = _summit(a, b, v)
                    if height > largest[n]:
                        largest[n], ratio[n], which[n] = height, r, channel * factor + p
                    a, b = b, v
        for n in range(samples):
            if which[n] >= 0:
                channel, p = which[n] // factor, which[n] % factor
                r = np.float64(ratio[n])
                at = n * factor + p  # of v among the channel's phases
                b = _phase(x, states, row, channel, factor, at - 1)
                g = np.float64(gy[row, 0, n]) * (1.0 if b > 0 else -1.0)
                _add(gx, row, channel, factor, at, g * (r * r - r) / 2)
                _add(gx, row, channel, factor, at - 1, g * (1 - r * r))
                _add(gx, row, channel, factor, at - 2, g * (r * r + r) / 2)


@njit(nogil=True, cache=True, inline="always")
def _phase(x, states, row, channel, factor, at):
    if at < 0:
        return states[row, 0, 2 * channel + 2 + at]
    return x[row, channel * factor + at % factor, at // factor]


@njit(nogil=True, cache=True, inline="always")
def _add(gx, row, channel, factor, at, value):
    if at >= 0:
        gx[row, channel * factor + at % factor, at // factor] += value
