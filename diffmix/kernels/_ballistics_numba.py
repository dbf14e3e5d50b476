"""Compiled loops of the level smoother and of the sliding maximum, one row at a time."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def smooth(x, c, states, y, length, first, last):
    """Rows [first, last) of x (R, 1, T) into y; states (R, tiles + 1, 1) hold the smoothed level.

    ``c`` (R, F, 2): memories k of the attack and the release:

        e <- r + k (e - r),  k = attack if r > e else release
    """
    samples, real, moving = x.shape[2], x.dtype.type, c.shape[1] > 1
    for row in range(first, last):
        attack, release = real(c[row, 0, 0]), real(c[row, 0, 1])
        e = states[row, 0, 0]
        for i in range(samples):
            if moving:
                attack, release = real(c[row, i, 0]), real(c[row, i, 1])
            if i % length == 0:
                states[row, i // length, 0] = e
            r = x[row, 0, i]
            change = e - r
            rising, falling = r + attack * change, r + release * change
            e = rising if r > e else falling
            y[row, 0, i] = e
        states[row, -1, 0] = e


@njit(nogil=True, cache=True)
def smooth_backward(gy, x, c, states, gx, gc, length, first, last):
    """Adjoint of rows [first, last): each sample keeps the branch it took in the forward.

    w_n = gy_n + k_{n+1} w_{n+1},  gx_n = (1 - k_n) w_n,  d/dk = sum w_n (e_{n-1} - r_n) over the samples of its branch
    """
    samples, real, moving = x.shape[2], x.dtype.type, c.shape[1] > 1
    before = np.empty(length, x.dtype)
    for row in range(first, last):
        w = by_attack = by_release = 0.0
        attack, release = c[row, 0, 0], c[row, 0, 1]
        for tile in range(states.shape[1] - 2, -1, -1):
            start = tile * length
            count = min(length, samples - start)
            e = states[row, tile, 0]
            for i in range(count):
                before[i] = e
                if moving:
                    attack, release = c[row, start + i, 0], c[row, start + i, 1]
                r = x[row, 0, start + i]
                e = r + (real(attack) if r > e else real(release)) * (e - r)
            for i in range(count - 1, -1, -1):
                if moving:
                    attack, release = c[row, start + i, 0], c[row, start + i, 1]
                r = x[row, 0, start + i]
                rising = r > before[i]
                w += np.float64(gy[row, 0, start + i])
                change = w * (np.float64(before[i]) - np.float64(r))
                kept = w * (attack if rising else release)
                gx[row, 0, start + i] = w - kept
                w = kept
                if moving:
                    gc[row, start + i, 0] = change if rising else 0.0
                    gc[row, start + i, 1] = 0.0 if rising else change
                else:
                    by_attack += change if rising else 0.0
                    by_release += 0.0 if rising else change
        if not moving:
            gc[row, 0, 0], gc[row, 0, 1] = by_attack, by_release


@njit(nogil=True, cache=True)
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


@njit(nogil=True, cache=True)
def maximum(x, c, states, y, _, first, last, length):
    """The largest of the last ``length`` samples, rows [first, last) of x (R, 1, T) into y.

    states (R, 2, length - 1) hold the samples before the first one and those before the next.
    """
    samples = x.shape[2]
    found = np.empty(samples, np.int64)
    for row in range(first, last):
        line = np.concatenate((states[row, 0], x[row, 0]))
        _largest(line, length, found)
        y[row, 0] = line[found]
        states[row, 1] = line[samples:]


@njit(nogil=True, cache=True)
def maximum_backward(gy, x, c, states, gx, gc, _, first, last, length):
    """Each gradient goes to the sample that was the largest, if it is not one of the state."""
    samples = x.shape[2]
    found = np.empty(samples, np.int64)
    for row in range(first, last):
        _largest(np.concatenate((states[row, 0], x[row, 0])), length, found)
        gx[row] = 0
        for n in range(samples):
            at = found[n] - (length - 1)
            if at >= 0:
                gx[row, 0, at] += gy[row, 0, n]
