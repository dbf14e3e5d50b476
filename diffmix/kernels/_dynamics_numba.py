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

from diffmix.kernels._powf import SMALLEST, every, exp2, log2, power
from diffmix.kernels._simd import (
    absolute,
    cast,
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
def spread(c, p, rows, start, count, out, by_lane, by_sample):
    """Coefficient p of every lane's row, for ``count`` samples, to ``out[lane by_lane + sample by_sample]``."""
    last = c.shape[1] - 1
    for lane in range(ROWS):
        for i in range(count):
            out[lane * by_lane + i * by_sample] = c[rows[lane], min(start + i, last), p]


@njit(nogil=True)
def collect(out, gc, p, rows, used, start, count, by_lane, by_sample):
    """Adjoint of `spread` for the first ``used`` lanes; leaves zeros."""
    last = gc.shape[1] - 1
    for lane in range(ROWS):
        for i in range(count):
            if lane < used:
                gc[rows[lane], min(start + i, last), p] += out[lane * by_lane + i * by_sample]
            out[lane * by_lane + i * by_sample] = 0


@njit(nogil=True)
def copy(source, at, count, target, to):
    """``count`` numbers, and zeros up to the next multiple of `ROWS`."""
    for i in range(count):
        target[to + i] = source[at + i]
    for i in range(count, count + -count % ROWS):
        target[to + i] = 0


@njit(nogil=True)
def detect(x, count, gate, step, memories, e, m, envelope, squares):
    """Levels of a tile x, which may be the envelope's; returns e and m after it."""
    attack, release, smooth = memories
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
def detect_backward(x, count, gate, step, memories, envelope, squares, pushed, w, w_squares, by_attack, by_release):
    """From the gradient of each level to that of x, in place of ``pushed``; returns w and that of m before the tile.

    ``envelope`` and ``squares`` start one sample early. ``by_attack`` and ``by_release`` are added to.
    """
    f64, real = np.float64, x.dtype.type
    attack, release, smooth = memories
    for i in range(count - 1, -1, -1):
        at, k = i * ROWS, i * step
        v, before, after = load(x, at, ROWS), load(envelope, at, ROWS), load(squares, at + ROWS, ROWS)
        r = absolute(v)
        if gate:
            r = root(after)
        rising = r > before
        w = w + cast(load(pushed, at, ROWS), f64)
        change = w * (cast(before, f64) - cast(r, f64))
        store(by_attack, k, load(by_attack, k, ROWS) + select(rising, change, 0.0))
        store(by_release, k, load(by_release, k, ROWS) + select(rising, 0.0, change))
        kept = w * cast(select(rising, load(attack, k, ROWS), load(release, k, ROWS)), f64)
        to_level = w - kept
        w = kept
        if gate:
            w_squares = w_squares + select(r > real(0), 0.5 * to_level / cast(r, f64), 0.0)
            kept = w_squares * cast(load(smooth, k, ROWS), f64)
            kept = select(v * v > load(squares, at, ROWS), 0.0, kept)
            to_level = 2.0 * cast(v, f64) * (w_squares - kept)
            w_squares = kept
        else:
            to_level = select(v > real(0), to_level, select(v < real(0), -to_level, 0.0))
        store(pushed, at, cast(to_level, real))
    return w, w_squares


@njit(nogil=True)
def curve(x, count, gate, along, level, threshold, exponent, at, fast):
    """Apply the gain of the levels from ``level[at]`` on to x in place; coefficients advance if ``along`` is 1."""
    one = x.dtype.type(1)
    for i in range(0, count, ROWS):
        v, e = load(x, i, ROWS), load(level, at + i, ROWS)
        limit = load(threshold, at + i * along, ROWS)
        idle = e < limit
        if gate:
            idle = e > limit
        if not every(idle):
            acted = v * power(e * (one / limit), load(exponent, at + i * along, ROWS), fast)
            store(x, i, select(idle, v, acted))


@njit(nogil=True)
def curve_backward(x, g, count, gate, along, level, threshold, exponent, at, by_threshold, by_exponent):
    """From the gradient ``g[at:]`` of the output to that of x at a fixed gain, and to that of the level, in place."""
    f64, zero, one = np.float64, x.dtype.type(0), x.dtype.type(1)
    for i in range(0, count, ROWS):
        e, k = load(level, at + i, ROWS), at + i * along
        limit = load(threshold, k, ROWS)
        idle = e < limit
        if gate:
            idle = e > limit
        pushed = e * zero
        if not every(idle):
            slope, inverse = load(exponent, k, ROWS), one / limit
            acting = maximum(select(idle, limit, e), SMALLEST)
            ratio = log2(maximum(acting * inverse, SMALLEST))
            direct = load(g, at + i, ROWS)
            gained = direct * exp2(slope * ratio)
            store(g, at + i, select(idle, direct, gained))
            through = select(idle, zero, gained * load(x, i, ROWS))
            pushed = through * slope / acting
            store(by_threshold, k, load(by_threshold, k, ROWS) - cast(through * slope * inverse, f64))
            store(by_exponent, k, load(by_exponent, k, ROWS) + cast(through * ratio, f64) * 0.6931471805599453)
        store(level, at + i, pushed)


@njit(nogil=True, cache=True)
def forward(x, c, states, y, length, first, last, fast):
    """Rows [first, last) of x (R, 1, T) into y, with c (R, F, 4) for the compressor, (R, F, 5) for the gate."""
    samples, moving, gate = x.shape[2], c.shape[1] > 1, c.shape[2] == 5
    step, along, audio = ROWS if moving else 0, int(moving), x.reshape(-1)
    work = np.zeros((9, (length + ROWS) * ROWS), x.dtype)
    tile, squares, level, attack, release, smooth = work[0], work[1], work[2], work[3], work[4], work[5]
    threshold, exponent, signal = work[6], work[7], work[8]
    memories, inner = (attack, release, smooth), np.arange(ROWS) * length
    for group in range(first, last, ROWS):
        rows = np.minimum(np.arange(group, group + ROWS), last - 1)
        e, m = lanes_of(states, 0, 0, rows), lanes_of(states, -1, 0, rows)
        for t in range(states.shape[1] - 1):
            start = t * length
            count = min(length, samples - start)
            if moving or t == 0:
                some = count + -count % ROWS if moving else ROWS
                spread(c, 0, rows, start, some, threshold, length, 1)
                spread(c, 1, rows, start, some, exponent, length, 1)
                spread(c, 2, rows, start, some, attack, 1, ROWS)
                spread(c, 3, rows, start, some, release, 1, ROWS)
                spread(c, -1, rows, start, some, smooth, 1, ROWS)
            read_tile(x, rows * samples, start, count, tile, e)
            e, m = detect(tile, count, gate, step, memories, e, m, tile, squares)
            write_tile(tile, level, inner, 0, count, e)
            for row in range(group, min(group + ROWS, last)):
                copy(audio, row * samples + start, count, signal, 0)
                curve(signal, count, gate, along, level, threshold, exponent, (row - group) * length, fast)
                for i in range(count):
                    y[row, 0, start + i] = signal[i]
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
    step, along, audio, outer = ROWS if moving else 0, int(moving), x.reshape(-1), gy.reshape(-1)
    size = (length + ROWS) * ROWS
    work = np.zeros((12, size), x.dtype)
    tile, squares, envelope, attack, release, smooth = work[0], work[1], work[2], work[3], work[4], work[5]
    threshold, exponent, level, signal, g, pushed = work[6], work[7], work[8], work[9], work[10], work[11]
    sums, inner, memories = np.zeros((4, size)), np.arange(ROWS) * length, (attack, release, smooth)
    for group in range(first, last, ROWS):
        rows, used = np.minimum(np.arange(group, group + ROWS), last - 1), min(ROWS, last - group)
        w = w_squares = splat(0.0, ROWS)
        for t in range(states.shape[1] - 2, -1, -1):
            start = t * length
            count = min(length, samples - start)
            some = count + -count % ROWS if moving else ROWS
            if moving or t == states.shape[1] - 2:
                spread(c, 0, rows, start, some, threshold, length, 1)
                spread(c, 1, rows, start, some, exponent, length, 1)
                spread(c, 2, rows, start, some, attack, 1, ROWS)
                spread(c, 3, rows, start, some, release, 1, ROWS)
                spread(c, -1, rows, start, some, smooth, 1, ROWS)
            e, m = lanes_of(states, 0, t, rows), lanes_of(states, -1, t, rows)
            store(envelope, 0, e)
            store(squares, 0, m)
            read_tile(x, rows * samples, start, count, tile, e)
            detect(tile, count, gate, step, memories, e, m, envelope[ROWS:], squares[ROWS:])
            write_tile(envelope[ROWS:], level, inner, 0, count, e)
            for row in range(group, group + used):
                at = (row - group) * length
                copy(audio, row * samples + start, count, signal, 0)
                copy(outer, row * samples + start, count, g, at)
                curve_backward(signal, g, count, gate, along, level, threshold, exponent, at, sums[0], sums[1])
            read_tile(level, inner, 0, count, pushed, e)
            w, w_squares = detect_backward(
                tile, count, gate, step, memories, envelope, squares, pushed, w, w_squares, sums[2], sums[3]
            )
            write_tile(pushed, level, inner, 0, count, e)
            for row in range(group, group + used):
                at = (row - group) * length
                for i in range(count):
                    gx[row, 0, start + i] = g[at + i] + level[at + i]
            if moving or t == 0:
                collect(sums[0], gc, 0, rows, used, start, some, length, 1)
                collect(sums[1], gc, 1, rows, used, start, some, length, 1)
                collect(sums[2], gc, 2, rows, used, start, some, 1, ROWS)
                collect(sums[3], gc, 3, rows, used, start, some, 1, ROWS)
