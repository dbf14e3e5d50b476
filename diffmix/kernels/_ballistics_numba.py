# mypy: disable-error-code="call-arg, var-annotated"
# (numba calls intrinsics without their first parameter and infers what is not annotated)
"""Compiled loops of the level smoother, `ROWS` rows side by side in the lanes of vectors, and of the largest sample."""

import numpy as np

from diffmix.kernels._compile import copy, inner, kernel
from diffmix.kernels._dynamics_numba import MANY, group_of, keep, lanes_of
from diffmix.kernels._rows import load_rows, store_rows, transpose
from diffmix.kernels._simd import cast, load, load_tuple, select, splat, store, store_tuple  # fmt: skip
from diffmix.kernels._simd import maximum as larger
from diffmix.kernels._simd import minimum as smaller

ROWS = len(MANY)
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
def _distribute(g, level, v, kind, share, out):
    """The adjoint of `_measure` for the samples v of one channel, gradients g of the level to ``out``.

    A peak's goes to the first channel that has it.
    """
    zero = v.dtype.type(0)
    if kind == LEVEL:
        copy(g, out)
    elif kind == PEAK:
        for i in range(len(v)):  # factors, not branches: half of the signs would be guessed wrong
            sign = (1.0 if v[i] > zero else 0.0) - (1.0 if v[i] < zero else 0.0)
            found = 1.0 if abs(v[i]) == level[i] else 0.0
            out[i] = g[i] * (sign * found)
            g[i] *= 1.0 - found
    else:
        for i in range(len(v)):
            out[i] = g[i] * share * v[i]


@kernel
def smooth(x, c, states, y, length, first, last, kind):
    """Rows [first, last) of x (R, I, T) into y (R, 1, T); states (R, tiles + 1, 1) hold the smoothed level.

    ``c`` (R, F, 2): memories k of the attack and the release; r is the level,

        e <- r + k (e - r),  k = attack if r > e else release
    """
    samples, moving = x.shape[2], c.shape[1] > 1
    step = ROWS if moving else 0
    levels, k = np.zeros(ROWS * length, x.dtype), np.zeros((2, length * ROWS), x.dtype)
    block = np.empty(ROWS * ROWS, x.dtype)
    for group in range(first, last, ROWS):
        rows, used = group_of(group, last, MANY), min(ROWS, last - group)
        inner = (rows - group) * length
        e = lanes_of(states[:, 0, 0], rows, MANY)
        for t in range(states.shape[1] - 1):
            start = t * length
            count = min(length, samples - start)
            if moving or t == 0:
                _memories(c, rows, start, count, k)
            for lane in range(used):
                _measure(x, rows[lane], start, kind, levels[lane * length : lane * length + count])
            for i in range(0, count, ROWS):
                store_tuple(block, 0, transpose(load_rows(levels, inner, i, e)))
                for j in range(min(ROWS, count - i)):
                    r, at = load(block, j * ROWS, ROWS), (i + j) * step
                    change = e - r
                    rising, falling = r + load(k[0], at, ROWS) * change, r + load(k[1], at, ROWS) * change
                    e = select(r > e, rising, falling)
                    store(block, j * ROWS, e)
                store_rows(levels, inner, i, transpose(load_tuple(block, 0, e, e)))
            for lane in range(used):
                copy(levels[lane * length : lane * length + count], y[rows[lane], 0, start : start + count])
            keep(e, states[:, t + 1, 0], rows)


@inner
def _memories(c, rows, start, count, k):
    """Memories of every lane's row, ``k[p, sample, lane]``; the first only where they are constant."""
    for p in range(2):
        for i in range(count if c.shape[1] > 1 else 1):
            for lane in range(len(rows)):
                k[p, i * ROWS + lane] = c[rows[lane], start + i if c.shape[1] > 1 else 0, p]


@kernel
def smooth_backward(gy, x, c, states, gx, gc, length, first, last, kind, adds):
    """Adjoint of rows [first, last), added to gx if ``adds``: each sample keeps the branch it took in the forward.

    With r the level,

    w_n = gy_n + k_{n+1} w_{n+1},  gr_n = (1 - k_n) w_n,  d/dk = sum w_n (e_{n-1} - r_n) over the samples of its branch
    """
    samples, moving, real, f64 = x.shape[2], c.shape[1] > 1, x.dtype.type, np.float64
    step = ROWS if moving else 0
    levels, g = np.zeros(ROWS * length, x.dtype), np.zeros(ROWS * length, x.dtype)
    before, part = np.empty(length * ROWS, x.dtype), np.empty(length, x.dtype)
    found, share = np.empty(length * ROWS, x.dtype), real(2 / x.shape[1])
    k, exact = np.zeros((2, length * ROWS), x.dtype), np.zeros((2, length * ROWS))
    sums, block = np.zeros((2, length * ROWS)), np.empty(ROWS * ROWS, x.dtype)
    for group in range(first, last, ROWS):
        rows, used = group_of(group, last, MANY), min(ROWS, last - group)
        inner = (rows - group) * length
        w = splat(0.0, ROWS)
        sums[:, :ROWS] = 0
        for t in range(states.shape[1] - 2, -1, -1):
            start = t * length
            count = min(length, samples - start)
            if moving or t == states.shape[1] - 2:
                _memories(c, rows, start, count, exact)
                for p in range(2):
                    for i in range(count * ROWS if moving else ROWS):
                        k[p, i] = exact[p, i]
            for lane in range(used):
                own = lane * length
                _measure(x, rows[lane], start, kind, levels[own : own + count])
                copy(gy[rows[lane], 0, start : start + count], g[own : own + count])
            e = lanes_of(states[:, t, 0], rows, MANY)
            for i in range(0, count, ROWS):
                store_tuple(found, i * ROWS, transpose(load_rows(levels, inner, i, e)))
                for j in range(i, i + min(ROWS, count - i)):
                    r = load(found, j * ROWS, ROWS)
                    store(before, j * ROWS, e)
                    change = e - r
                    rising, falling = (
                        r + load(k[0], j * step, ROWS) * change,
                        r + load(k[1], j * step, ROWS) * change,
                    )
                    e = select(r > e, rising, falling)
            zero = splat(real(0), ROWS)
            for i in range(count - 1 - (count - 1) % ROWS, -1, -ROWS):
                store_tuple(block, 0, transpose(load_rows(g, inner, i, e)))
                upwards = downwards = zero  # over a block, in which float32 is enough
                for j in range(min(ROWS, count - i) - 1, -1, -1):
                    at = (i + j) * step
                    change = load(before, (i + j) * ROWS, ROWS) - load(found, (i + j) * ROWS, ROWS)
                    w = w + cast(load(block, j * ROWS, ROWS), f64)
                    adjoint = cast(w, real)
                    upwards = upwards + adjoint * smaller(change, zero)  # negative where the level rises
                    downwards = downwards + adjoint * larger(change, zero)
                    kept = w * select(cast(change, f64) < 0.0, load(exact[0], at, ROWS), load(exact[1], at, ROWS))
                    store(block, j * ROWS, cast(w - kept, real))
                    w = kept
                    if moving:
                        store(sums[0], at, cast(upwards, f64))
                        store(sums[1], at, cast(downwards, f64))
                        upwards = downwards = zero
                if not moving:
                    store(sums[0], 0, load(sums[0], 0, ROWS) + cast(upwards, f64))
                    store(sums[1], 0, load(sums[1], 0, ROWS) + cast(downwards, f64))
                store_rows(g, inner, i, transpose(load_tuple(block, 0, e, e)))
            for lane in range(used):
                own = lane * length
                for channel in range(x.shape[1]):
                    heard = x[rows[lane], channel, start : start + count]
                    target = gx[rows[lane], channel, start : start + count]
                    _distribute(g[own : own + count], levels[own : own + count], heard, kind, share, part[:count])
                    for i in range(count):
                        target[i] = target[i] + part[i] if adds else part[i]
                if moving:
                    for i in range(count):
                        for p in range(2):
                            gc[rows[lane], start + i, p] = sums[p, i * ROWS + lane]
        if not moving:
            for lane in range(used):
                for p in range(2):
                    gc[rows[lane], 0, p] = sums[p, lane]


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
