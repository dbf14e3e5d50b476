"""Compiled loops of the level smoother and of the sliding maximum, one row at a time."""

import numpy as np

from diffmix.kernels._compile import copy, inner, kernel

LEVEL, PEAK, POWER = 0, 1, 2  # what is smoothed: one signal as it is; the largest |x|, or mean x^2, of all channels


@inner
def _measure(x, row, start, kind, level):
    """What is smoothed of the samples from ``start`` on, as many as ``level`` has."""
    count, share = level.size, x.dtype.type(1 / x.shape[1])
    if kind == LEVEL:
        copy(x[row, 0, start : start + count], level)
    else:
        level[:] = 0
        for channel in range(x.shape[1]):
            v = x[row, channel, start : start + count]
            if kind == PEAK:
                for i in range(count):
                    level[i] = max(level[i], abs(v[i]))
            else:
                for i in range(count):
                    level[i] += share * (v[i] * v[i])


@inner
def _distribute(g, level, x, row, start, kind, gx):
    """The adjoint of `_measure`, gradients g of the level to gx: a peak's goes to the first channel that has it."""
    count, zero, share = level.size, x.dtype.type(0), 2.0 / x.shape[1]
    for channel in range(x.shape[1]):
        v, out = x[row, channel, start : start + count], gx[row, channel, start : start + count]
        if kind == LEVEL:
            copy(g, out)
        elif kind == PEAK:
            for i in range(count):  # factors, not branches: half of the signs would be guessed wrong
                sign = (1.0 if v[i] > zero else 0.0) - (1.0 if v[i] < zero else 0.0)
                found = 1.0 if abs(v[i]) == level[i] else 0.0
                out[i] = g[i] * (sign * found)
                g[i] *= 1.0 - found
        else:
            for i in range(count):
                out[i] = g[i] * share * v[i]


@kernel
def smooth(x, c, states, y, length, first, last, kind):
    """Rows [first, last) of x (R, I, T) into y (R, 1, T); states (R, tiles + 1, 1) hold the smoothed level.

    ``c`` (R, F, 2): memories k of the attack and the release; r is the level,

        e <- r + k (e - r),  k = attack if r > e else release
    """
    samples, real, moving = x.shape[2], x.dtype.type, c.shape[1] > 1
    levels = np.empty(length, x.dtype)
    for row in range(first, last):
        attack, release = real(c[row, 0, 0]), real(c[row, 0, 1])
        e = states[row, 0, 0]
        for start in range(0, samples, length):
            states[row, start // length, 0] = e
            count = min(length, samples - start)
            _measure(x, row, start, kind, levels[:count])
            for i in range(count):
                if moving:
                    attack, release = real(c[row, start + i, 0]), real(c[row, start + i, 1])
                r = levels[i]
                change = e - r
                rising, falling = r + attack * change, r + release * change
                e = rising if r > e else falling
                y[row, 0, start + i] = e
        states[row, -1, 0] = e


@kernel
def smooth_backward(gy, x, c, states, gx, gc, length, first, last, kind):
    """Adjoint of rows [first, last): each sample keeps the branch it took in the forward. With r the level,

    w_n = gy_n + k_{n+1} w_{n+1},  gr_n = (1 - k_n) w_n,  d/dk = sum w_n (e_{n-1} - r_n) over the samples of its branch
    """
    samples, real, moving = x.shape[2], x.dtype.type, c.shape[1] > 1
    before, levels, g = np.empty(length, x.dtype), np.empty(length, x.dtype), np.empty(length, np.float64)
    for row in range(first, last):
        w = by_attack = by_release = 0.0
        attack, release = c[row, 0, 0], c[row, 0, 1]
        single_attack, single_release = real(attack), real(release)
        for tile in range(states.shape[1] - 2, -1, -1):
            start = tile * length
            count = min(length, samples - start)
            _measure(x, row, start, kind, levels[:count])
            e = states[row, tile, 0]
            for i in range(count):
                before[i] = e
                if moving:
                    single_attack, single_release = real(c[row, start + i, 0]), real(c[row, start + i, 1])
                r = levels[i]
                change = e - r
                rising, falling = r + single_attack * change, r + single_release * change
                e = rising if r > e else falling
            for i in range(count - 1, -1, -1):
                if moving:
                    attack, release = c[row, start + i, 0], c[row, start + i, 1]
                r = levels[i]
                rises = r > before[i]
                w += np.float64(gy[row, 0, start + i])
                fall = w * (np.float64(before[i]) - np.float64(r))
                kept = w * (attack if rises else release)
                g[i] = w - kept
                w = kept
                if moving:
                    gc[row, start + i, 0] = fall if rises else 0.0
                    gc[row, start + i, 1] = 0.0 if rises else fall
                else:
                    by_attack += fall if rises else 0.0
                    by_release += 0.0 if rises else fall
            _distribute(g, levels[:count], x, row, start, kind, gx)
        if not moving:
            gc[row, 0, 0], gc[row, 0, 1] = by_attack, by_release


@inner
def _line(before, x, line):
    copy(before, line[: len(before)])
    copy(x, line[len(before) :])


@inner
def _largest(line, length, found):
    """found[n]: where in ``line`` the largest of the samples n to n + length - 1 is, the last of equal ones.

    A ring queues those that may yet be the largest: each is larger than all behind it (D. Lemire, "Streaming
    maximum-minimum filter using no more than three comparisons per element", 2006).
    """
    ring = np.empty(length, np.int64)
    head = count = 0
    for n in range(line.size):
        if count > 0 and ring[head] <= n - length:
            head, count = (head + 1) % length, count - 1
        while count > 0 and line[ring[(head + count - 1) % length]] <= line[n]:
            count -= 1
        ring[(head + count) % length] = n
        count += 1
        if n >= length - 1:
            found[n - length + 1] = ring[head]


@kernel
def maximum(x, c, states, y, _, first, last, length):
    """The largest of the last ``length`` samples, rows [first, last) of x (R, 1, T) into y.

    states (R, 2, length - 1) hold the samples before the first one and those before the next.
    """
    samples = x.shape[2]
    found, line = np.empty(samples, np.int64), np.empty(length - 1 + samples, x.dtype)
    for row in range(first, last):
        _line(states[row, 0], x[row, 0], line)
        _largest(line, length, found)
        for n in range(samples):
            y[row, 0, n] = line[found[n]]
        copy(line[samples:], states[row, 1])


@kernel
def maximum_backward(gy, x, c, states, gx, gc, _, first, last, length):
    """Each gradient goes to the sample that was the largest, if it is not one of the state."""
    samples = x.shape[2]
    found, line = np.empty(samples, np.int64), np.empty(length - 1 + samples, x.dtype)
    for row in range(first, last):
        _line(states[row, 0], x[row, 0], line)
        _largest(line, length, found)
        gx[row] = 0
        for n in range(samples):
            at = found[n] - (length - 1)
            if at >= 0:
                gx[row, 0, at] += gy[row, 0, n]
