# mypy: disable-error-code="call-arg, var-annotated"
# (numba calls intrinsics without their first parameter and infers what is not annotated)
"""Compiled loops of the compressor and the gate: detector, static curve and their exact adjoint.

With the coefficients threshold (amplitude), exponent and the memories attack and release, each sample x does

    e <- r + k (e - r),  k = attack if r > e else release;    y = x (e/threshold)^exponent if e acts, else x.

In the compressor r = |x|, and levels act that are not below the threshold. In the gate those act that are not above it,
and r = sqrt m with a fifth coefficient, the memory s of m <- x^2 if x^2 > m else x^2 + s (m - x^2). The states are e,
and for the gate m.

The detector runs through time with `ROWS` rows side by side in the lanes of vectors. The curve, which has no memory,
takes as many neighbours of one row, so that it is skipped where a row is idle. Arrays of a tile come in two layouts:
``[sample, lane]`` for the detector and ``[lane, sample]`` for the curve.
"""

import numpy as np
from numba import njit

from diffmix.kernels._powf import SMALLEST, exp2, log2, power
from diffmix.kernels._simd import (
    absolute,
    cast,
    every,
    lanes,
    load,
    maximum,
    read_tile,
    root,
    select,
    splat,
    store,
    write_tile,
)  # fmt: skip

ROWS = lanes(4)  # side by side
CURVE = 2  # the first coefficients are the curve's, the others the detector's


@njit(nogil=True)
def group_of(first, last):
    """The rows from ``first`` on that lie side by side; the last one stands in for those there are not."""
    rows = np.empty(ROWS, np.int64)
    for lane in range(ROWS):
        rows[lane] = min(first + lane, last - 1)
    return rows


@njit(nogil=True)
def lanes_of(states, k, t, rows):
    """State k before tile t of ``rows``, one per lane."""
    found = np.empty(ROWS, states.dtype)
    for lane in range(ROWS):
        found[lane] = states[rows[lane], t, k]
    return load(found, 0, ROWS)


@njit(nogil=True)
def keep(values, states, k, t, rows):
    """What `lanes_of` finds, written."""
    kept = np.empty(ROWS, states.dtype)
    store(kept, 0, values)
    for lane in range(ROWS):
        states[rows[lane], t, k] = kept[lane]


@njit(nogil=True)
def spread(c, rows, start, count, out, length):
    """The coefficients of every lane's row, for ``count`` samples: of the curve as ``out[p, lane, sample]``, of
    the detector as ``out[p, sample, lane]``. Beyond the last sample and coefficient these are repeated.
    """
    _, frames, number = c.shape
    for p in range(len(out)):
        by_lane, by_sample = (length, 1) if p < CURVE else (1, ROWS)
        for lane in range(ROWS):
            for i in range(count):
                value = c[rows[lane], min(start + i, frames - 1), min(p, number - 1)]
                out[p, lane * by_lane + i * by_sample] = value


@njit(nogil=True)
def collect(out, rows, used, start, count, length, gc):
    """Adjoint of `spread` for the first ``used`` lanes; leaves zeros."""
    last = gc.shape[1] - 1
    for p in range(len(out)):
        by_lane, by_sample = (length, 1) if p < CURVE else (1, ROWS)
        for lane in range(used):
            for i in range(count):
                gc[rows[lane], min(start + i, last), p] += out[p, lane * by_lane + i * by_sample]
    out[:] = 0


@njit(nogil=True)
def padded(source, at, count, target):
    """``count`` numbers, less than `ROWS`, and zeros after them."""
    store(target, 0, splat(target.dtype.type(0), ROWS))
    for i in range(count):
        target[i] = source[at + i]


@njit(nogil=True)
def detect(x, count, gate, step, k, e, m, envelope, squares):
    """Levels of a tile x, which may be the envelope's; returns e and m after it."""
    attack, release, smooth = k[2], k[3], k[4]
    for i in range(count):
        v = load(x, i * ROWS, ROWS)
        r = absolute(v)
        if gate:
            q = v * v
            m = select(q > m, q, q + load(smooth, i * step, ROWS) * (m - q))
            store(squares, i * ROWS, m)
            r = root(m)
        change = e - r
        rising, falling = r + load(attack, i * step, ROWS) * change, r + load(release, i * step, ROWS) * change
        e = select(r > e, rising, falling)
        store(envelope, i * ROWS, e)
    return e, m


@njit(nogil=True)
def detect_backward(x, count, gate, step, k, envelope, squares, pushed, w, w_squares, sums):
    """From the gradient of each level to that of x, in place of ``pushed``; returns w and that of m before the tile.

    ``envelope`` and ``squares`` start one sample early. ``sums`` are added to.
    """
    f64, real, one = np.float64, x.dtype.type, splat(x.dtype.type(1), ROWS)
    attack, release, smooth, by_attack, by_release = k[2], k[3], k[4], sums[2], sums[3]
    for i in range(count - 1, -1, -1):
        at, j = i * ROWS, i * step
        v, before, after = load(x, at, ROWS), load(envelope, at, ROWS), load(squares, at + ROWS, ROWS)
        r, sign = absolute(v), select(v > real(0), one, select(v < real(0), -one, real(0)))
        if gate:
            r = root(after)
        rising = r > before
        w = w + cast(load(pushed, at, ROWS), f64)
        change = w * (cast(before, f64) - cast(r, f64))
        upwards = select(rising, change, 0.0)
        store(by_attack, j, load(by_attack, j, ROWS) + upwards)
        store(by_release, j, load(by_release, j, ROWS) + (change - upwards))
        kept = w * cast(select(rising, load(attack, j, ROWS), load(release, j, ROWS)), f64)
        to_level = w - kept
        w = kept
        if gate:
            w_squares = w_squares + select(r > real(0), 0.5 * to_level / cast(r, f64), 0.0)
            kept = w_squares * cast(load(smooth, j, ROWS), f64)
            kept = select(v * v > load(squares, at, ROWS), 0.0, kept)
            to_level, sign = w_squares - kept, v + v
            w_squares = kept
        store(pushed, at, cast(to_level, real) * sign)
    return w, w_squares


@njit(nogil=True)
def curve(x, y, at, begin, end, gate, along, level, k, own, fast):
    """Samples [begin, end) of a tile: ``y[at + i]`` from ``x[at + i]`` and ``level[own + i]``, in whole vectors.

    Coefficients advance with the samples if ``along`` is 1.
    """
    one, threshold, exponent = x.dtype.type(1), k[0], k[1]
    for i in range(begin, end, ROWS):
        v, e = load(x, at + i, ROWS), load(level, own + i, ROWS)
        limit = load(threshold, own + i * along, ROWS)
        idle = e < limit
        if gate:
            idle = e > limit
        if not every(idle):
            v = select(idle, v, v * power(e * (one / limit), load(exponent, own + i * along, ROWS), fast))
        store(y, at + i, v)


@njit(nogil=True)
def curve_backward(gy, x, at, begin, end, gate, along, level, k, g, own, sums):
    """From the gradient gy to that of x at a fixed gain, to g, and to that of the levels, in their place."""
    f64, zero, one = np.float64, x.dtype.type(0), x.dtype.type(1)
    threshold, exponent, by_threshold, by_exponent = k[0], k[1], sums[0], sums[1]
    for i in range(begin, end, ROWS):
        e, j, direct = load(level, own + i, ROWS), own + i * along, load(gy, at + i, ROWS)
        limit = load(threshold, j, ROWS)
        idle = e < limit
        if gate:
            idle = e > limit
        pushed = e * zero
        if not every(idle):
            slope, inverse = load(exponent, j, ROWS), one / limit
            acting = maximum(select(idle, limit, e), SMALLEST)
            ratio = log2(maximum(acting * inverse, SMALLEST))
            gained = direct * exp2(slope * ratio)
            through = select(idle, zero, gained * load(x, at + i, ROWS))
            direct = select(idle, direct, gained)
            pushed = through * slope / acting
            store(by_threshold, j, load(by_threshold, j, ROWS) - cast(through * slope * inverse, f64))
            store(by_exponent, j, load(by_exponent, j, ROWS) + cast(through * ratio, f64) * 0.6931471805599453)
        store(g, own + i, direct)
        store(level, own + i, pushed)


@njit(nogil=True, cache=True)
def forward(x, c, states, y, length, first, last, fast):
    """Rows [first, last) of x (R, 1, T) into y, with c (R, F, 4) for the compressor, (R, F, 5) for the gate."""
    samples, moving, gate = x.shape[2], c.shape[1] > 1, c.shape[2] == 5
    step, along, size = ROWS if moving else 0, int(moving), (length + ROWS) * ROWS
    audio, out, inner = x.reshape(-1), y.reshape(-1), group_of(0, ROWS) * length
    k, work, end = np.zeros((5, size), x.dtype), np.zeros((3, size), x.dtype), np.zeros(ROWS, x.dtype)
    tile, squares, level = work[0], work[1], work[2]
    for group in range(first, last, ROWS):
        rows = group_of(group, last)
        e, m = lanes_of(states, 0, 0, rows), lanes_of(states, -1, 0, rows)
        for t in range(states.shape[1] - 1):
            start = t * length
            count = min(length, samples - start)
            if moving or t == 0:
                spread(c, rows, start, count + -count % ROWS if moving else ROWS, k, length)
            read_tile(x, rows * samples, start, count, tile, e)
            e, m = detect(tile, count, gate, step, k, e, m, tile, squares)
            write_tile(tile, level, inner, 0, count, e)
            for row in range(group, min(group + ROWS, last)):
                at, own, whole = row * samples + start, (row - group) * length, count - count % ROWS
                curve(audio, out, at, 0, whole, gate, along, level, k, own, fast)
                if whole < count:  # the end of the row
                    padded(audio, at + whole, count - whole, end)
                    curve(end, end, -whole, whole, count, gate, along, level, k, own, fast)
                    for i in range(whole, count):
                        out[at + i] = end[i - whole]
            keep(m, states, -1, t + 1, rows)
            keep(e, states, 0, t + 1, rows)


@njit(nogil=True, cache=True)
def backward(gy, x, c, states, gx, gc, length, first, last):
    """Adjoint of rows [first, last), tiles from the last; each recomputes its levels from the saved state.

    Each sample keeps the branch it took in the forward, which is exact wherever the output is differentiable. With the
    gain g = (e/threshold)^exponent of a sample that acts, its envelope receives gy x g exponent/e; the adjoint w of the
    envelope runs backwards, w_n = k_{n+1} w_{n+1} + that, and

        r gets (1 - k_n) w_n,     d/dk = sum w_n (e_{n-1} - r_n)  over the samples of its branch.

    The gate passes what r gets through the root and, by the same rule, through m.
    """
    samples, moving, gate = x.shape[2], c.shape[1] > 1, c.shape[2] == 5
    step, along, size = ROWS if moving else 0, int(moving), (length + ROWS) * ROWS
    audio, outer, inner = x.reshape(-1), gy.reshape(-1), group_of(0, ROWS) * length
    k, work, ends = np.zeros((5, size), x.dtype), np.zeros((6, size), x.dtype), np.zeros((2, ROWS), x.dtype)
    tile, squares, envelope, level, g, pushed = work[0], work[1], work[2], work[3], work[4], work[5]
    sums = np.zeros((4, size))
    for group in range(first, last, ROWS):
        rows, used = group_of(group, last), min(ROWS, last - group)
        w = w_squares = splat(0.0, ROWS)
        for t in range(states.shape[1] - 2, -1, -1):
            start = t * length
            count = min(length, samples - start)
            some = count + -count % ROWS if moving else ROWS
            if moving or t == states.shape[1] - 2:
                spread(c, rows, start, some, k, length)
            e, m = lanes_of(states, 0, t, rows), lanes_of(states, -1, t, rows)
            store(envelope, 0, e)
            store(squares, 0, m)
            read_tile(x, rows * samples, start, count, tile, e)
            detect(tile, count, gate, step, k, e, m, envelope[ROWS:], squares[ROWS:])
            write_tile(envelope[ROWS:], level, inner, 0, count, e)
            for row in range(group, group + used):
                at, own, whole = row * samples + start, (row - group) * length, count - count % ROWS
                curve_backward(outer, audio, at, 0, whole, gate, along, level, k, g, own, sums)
                if whole < count:  # the end of the row
                    padded(outer, at + whole, count - whole, ends[0])
                    padded(audio, at + whole, count - whole, ends[1])
                    curve_backward(ends[0], ends[1], -whole, whole, count, gate, along, level, k, g, own, sums)
            read_tile(level, inner, 0, count, pushed, e)
            w, w_squares = detect_backward(tile, count, gate, step, k, envelope, squares, pushed, w, w_squares, sums)
            write_tile(pushed, level, inner, 0, count, e)
            for row in range(group, group + used):
                own = (row - group) * length
                for i in range(count):
                    gx[row, 0, start + i] = g[own + i] + level[own + i]
            if moving or t == 0:
                collect(sums, rows, used, start, some, length, gc)
