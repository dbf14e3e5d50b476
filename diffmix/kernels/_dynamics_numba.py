# mypy: disable-error-code="call-arg, var-annotated"
# (numba calls intrinsics without their first parameter and infers what is not annotated)
"""Compiled loops of the compressor and the gate: detector, static curve and their exact adjoint.

With the coefficients threshold (amplitude), exponent and the memories attack and release, each sample x does

    e <- r + k (e - r),  k = attack if r > e else release;    y = x (e/threshold)^exponent if e acts, else x.

In the compressor r = |x|, and levels act that are not below the threshold. In the gate those act that are not above it,
and r = sqrt m with a fifth coefficient, the memory s of m <- x^2 if x^2 > m else x^2 + s (m - x^2). The states are e,
and for the gate m.

The detector runs through time with rows side by side in the lanes of vectors. The curve, which has no memory, takes
`WIDTH` neighbours of one row, so that it is skipped where a row is idle. Arrays of a tile come in two layouts:
``[sample, lane]`` for the detector and ``[lane, sample]`` for the curve. A tile fits the second cache.
"""

import numpy as np

from diffmix.kernels._compile import inner, kernel
from diffmix.kernels._powf import LARGEST, SMALLEST, WIDTH, exp2, log2, scale_by_powers
from diffmix.kernels._rows import add_rows, aligned, load_rows, store_rows, transpose
from diffmix.kernels._simd import (  # fmt: skip
    absolute,
    cast,
    every,
    fma,
    lanes,
    load,
    load_tuple,
    maximum,
    minimum,
    prefetch,
    root,
    select,
    splat,
    store,
    store_tuple,
)

# Tuples as long as rows lie side by side, which tell vectors so; most of sixteen lanes would repeat a few rows
FEW, MANY = (0,) * min(lanes(4), 8), (0,) * lanes(4)
CURVE = 2  # the first coefficients are the curve's, the others the detector's


@inner
def group_of(first, last, side_by_side):
    """The rows from ``first`` on that lie side by side; the last one stands in for those there are not."""
    rows = np.empty(len(side_by_side), np.int64)
    for lane in range(len(rows)):
        rows[lane] = min(first + lane, last - 1)
    return rows


@inner
def lanes_of(states, rows, side_by_side):
    """One state of each of ``rows``, one per lane."""
    found = np.empty(len(rows), states.dtype)
    for lane in range(len(rows)):
        found[lane] = states[rows[lane]]
    return load(found, 0, side_by_side)


@inner
def keep(values, states, rows):
    """What `lanes_of` finds, written."""
    kept = np.empty(len(rows), states.dtype)
    store(kept, 0, values)
    for lane in range(len(rows)):
        states[rows[lane]] = kept[lane]


@inner
def spread(c, rows, start, count, out, length):
    """The coefficients of every lane's row, for ``count`` samples: of the curve as ``out[p, lane, sample]``, of
    the detector as ``out[p, sample, lane]``. Beyond the last sample it is repeated.
    """
    _, frames, number = c.shape
    size = len(out) // 5
    for p in range(number):
        by_lane, by_sample = (length, 1) if p < CURVE else (1, len(rows))
        for lane in range(len(rows)):
            for i in range(count):
                value = c[rows[lane], min(start + i, frames - 1), p]
                out[p * size + lane * by_lane + i * by_sample] = value


@inner
def collect(out, rows, used, start, count, length, gc):
    """Adjoint of `spread` for the first ``used`` lanes; leaves zeros."""
    last, size = gc.shape[1] - 1, len(out) // 5
    for p in range(gc.shape[2]):
        by_lane, by_sample = (length, 1) if p < CURVE else (1, len(rows))
        for lane in range(used):
            for i in range(count):
                gc[rows[lane], min(start + i, last), p] += out[p * size + lane * by_lane + i * by_sample]
    for i in range(len(out)):
        out[i] = 0


@inner
def detect(x, offsets, start, count, gate, step, k, e, m, tile, envelope, squares, level, inner):
    """Levels of ``count`` samples from ``start`` on, by sample to ``envelope`` and by lane to ``level``; returns e, m.

    ``envelope`` and ``squares``, of the gate, get what they were before as their first. ``tile`` gets the samples.

    Each sample waits for the one before, about ten cycles. Transposing blocks in the same loop fills these.
    """
    W, size = len(offsets), len(k) // 5
    attack, release, smooth = 2 * size, 3 * size, 4 * size
    store(envelope, 0, e)
    store(squares, 0, m)
    for i in range(0, count, W):
        part = min(W, count - i)
        if part == W:
            store_tuple(tile, i * W, transpose(load_rows(x, offsets, start + i, e)))
        else:
            for lane in range(len(offsets)):
                for j in range(part):
                    tile[(i + j) * W + lane] = x[offsets[lane] + start + i + j]
        for j in range(i, i + part):
            v = load(tile, j * W, e)
            r = absolute(v)
            if gate:
                q = v * v
                m = select(q > m, q, q + load(k, smooth + j * step, e) * (m - q))
                store(squares, (j + 1) * W, m)
                r = root(m)
            change = e - r
            rising, falling = (
                r + load(k, attack + j * step, e) * change,
                r + load(k, release + j * step, e) * change,
            )
            e = select(r > e, rising, falling)
            store(envelope, (j + 1) * W, e)
        store_rows(level, inner, i, transpose(load_tuple(envelope, (i + 1) * W, e, e)))
    return e, m


@inner
def detect_backward(
    tile, start, count, gate, moving, k, envelope, squares, level, inner, w, w_squares, sums, gx, offsets
):
    """From the gradient of each level to that of x, added to gx; returns w and that of m before the tile.

    What is before, in and after is as `detect` left it, but ``level``, which has the gradients. ``sums`` are added to.
    """
    f64, real, zero = np.float64, tile.dtype.type, splat(tile.dtype.type(0), w)
    W, size = len(offsets), len(k) // 5
    step = W if moving else 0
    attack, release, smooth = 2 * size, 3 * size, 4 * size
    pushed = np.empty(W * W, tile.dtype)
    kept = splat(1.0, w)
    upwards = downwards = zero  # over `WIDTH` samples, in which float32 is enough
    for i in range(count - 1 - (count - 1) % W, -1, -W):
        part = min(W, count - i)
        store_tuple(pushed, 0, transpose(load_rows(level, inner, i, zero)))
        for j in range(part - 1, -1, -1):
            at, n = (i + j) * W, (i + j) * step
            v, before, after = load(tile, at, w), load(envelope, at, w), load(squares, at + W, w)
            r = absolute(v)
            if gate:
                r = root(after)
            w = fma(w, kept, cast(load(pushed, j * W, w), f64))
            change, adjoint = before - r, cast(w, real)
            upwards = upwards + adjoint * minimum(change, zero)  # negative where the level rises
            downwards = downwards + adjoint * maximum(change, zero)
            memory = select(change < zero, load(k, attack + n, w), load(k, release + n, w))
            kept = cast(memory, f64)
            to_level = adjoint * (real(1) - memory)
            if gate:
                w_squares = w_squares + cast(select(r > zero, real(0.5) * to_level / r, zero), f64)
                before = select(v * v > load(squares, at, w), zero, load(k, smooth + n, w))
                to_level = cast(w_squares, real) * (real(1) - before) * (v + v)
                w_squares = w_squares * cast(before, f64)
            else:
                to_level = select(v > zero, to_level, select(v < zero, -to_level, zero))
            store(pushed, j * W, to_level)
            if moving:
                store(sums, attack + n, load(sums, attack + n, w) + cast(upwards, f64))
                store(sums, release + n, load(sums, release + n, w) + cast(downwards, f64))
                upwards = downwards = zero
        if not moving and i % WIDTH == 0:
            store(sums, attack, load(sums, attack, w) + cast(upwards, f64))
            store(sums, release, load(sums, release, w) + cast(downwards, f64))
            upwards = downwards = zero
        if part == W:
            add_rows(gx, offsets, start + i, transpose(load_tuple(pushed, 0, zero, zero)))
        else:
            for lane in range(len(offsets)):
                if lane == 0 or offsets[lane] != offsets[lane - 1]:
                    for j in range(part):
                        gx[offsets[lane] + start + i + j] += pushed[j * W + lane]
    return w * kept, w_squares


@inner
def padded(source, at, count, target):
    """``count`` numbers and zeros to the end of the last vector."""
    store(target, count - count % WIDTH, splat(target.dtype.type(0), WIDTH))
    for i in range(count):
        target[i] = source[at + i]


@inner
def curve(x, y, at, count, gate, along, level, k, own, which, logs, fast):
    """``y[at + i]`` from ``x[at + i]`` and ``level[own + i]``, in whole vectors; leaves no levels.

    Coefficients advance with the samples if ``along`` is 1. ``which`` gets the vectors with samples that act.
    """
    zero, one, exponent, number = x.dtype.type(0), x.dtype.type(1), len(k) // 5, 0
    limit = load(k, own, WIDTH)
    inverse, lowest = one / limit, limit * zero + one
    highest = lowest
    for i in range(0, count, WIDTH):
        v, e = load(x, at + i, WIDTH), load(level, own + i, WIDTH)
        if along:
            limit = load(k, own + i, WIDTH)
            inverse = one / limit
        idle = e < limit
        if gate:
            idle = (e > limit) | ((v == zero) & (e >= zero))  # silence stays so
        base = select(idle, one, e * inverse)
        lowest, highest = select(base >= lowest, lowest, base), select(base <= highest, highest, base)  # keeps NaN
        store(level, own + i, base)
        store(y, at + i, v)
        prefetch(x, at + i + count)  # the next tile: the processor does not expect eight rows in turns
        prefetch(y, at + i + count)
        which[number] = i
        number += not every(idle)
    usual = every((lowest >= SMALLEST) & (highest <= LARGEST))
    scale_by_powers(y, at, level, own, k, exponent + own, along, which, number, logs, fast and usual)


@inner
def curve_backward(gy, x, g, at, count, gate, along, level, k, own, which, sums):
    """From the gradient gy to that of x at a fixed gain, to g, and to that of the levels, in their place."""
    f64, zero, one = np.float64, x.dtype.type(0), x.dtype.type(1)
    exponent, number = len(k) // 5, 0
    limit, slope = load(k, own, WIDTH), load(k, exponent + own, WIDTH)
    inverse = one / limit
    for i in range(0, count, WIDTH):
        e = load(level, own + i, WIDTH)
        if along:
            limit = load(k, own + i, WIDTH)
        idle = e < limit
        if gate:
            idle = e > limit
        store(level, own + i, select(idle, zero, maximum(e, SMALLEST)))
        store(g, at + i, load(gy, at + i, WIDTH))
        prefetch(x, at + i - count)  # the tile before, which is next
        prefetch(gy, at + i - count)
        prefetch(g, at + i - count)
        which[number] = i
        number += not every(idle)
    total = weighted = limit * zero  # over a row of the tile, in which float32 is enough
    for n in range(number):
        i = which[n]
        if along:
            limit, slope = load(k, own + i, WIDTH), load(k, exponent + own + i, WIDTH)
            inverse = one / limit
        e, direct = load(level, own + i, WIDTH), load(gy, at + i, WIDTH)
        acts = e > zero
        e = select(acts, e, limit)
        ratio = log2(maximum(e * inverse, SMALLEST))
        gained = direct * exp2(slope * ratio)
        through = select(acts, gained * load(x, at + i, WIDTH), zero)
        store(g, at + i, select(acts, gained, direct))
        store(level, own + i, through * slope / e)
        total, weighted = total + through, weighted + through * ratio
        if along:
            store(sums, own + i, load(sums, own + i, WIDTH) - cast(total * slope * inverse, f64))
            store(
                sums,
                exponent + own + i,
                load(sums, exponent + own + i, WIDTH) + cast(weighted, f64) * 0.6931471805599453,
            )
            total = weighted = limit * zero
    if not along:
        store(sums, own, load(sums, own, WIDTH) - cast(total * slope * inverse, f64))
        store(sums, exponent + own, load(sums, exponent + own, WIDTH) + cast(weighted, f64) * 0.6931471805599453)


def room(length, dtype, side_by_side):
    """For work on a tile: coefficients, four arrays of all lanes' samples, and of one lane three and which of them."""
    size = (length + WIDTH) * len(side_by_side)
    one = aligned(3 * length, dtype).reshape(3, length), np.empty(length, np.int64)
    return zeros(5 * size, dtype), zeros(4 * size, dtype).reshape(4, size), *one


def zeros(count, dtype):
    found = aligned(count, dtype)
    found.fill(0)
    return found


def forward(x, c, states, y, length, first, last, fast):
    """Rows [first, last) of x (R, 1, T) into y, with c (R, F, 4) for the compressor, (R, F, 5) for the gate."""
    side_by_side = FEW if last - first <= len(FEW) else MANY
    work = *room(length, x.dtype, side_by_side), aligned(length, np.float64)
    _forward(x, c, states, y, length, first, last, fast, side_by_side, *work)


def backward(gy, x, c, states, gx, gc, length, first, last):
    """Adjoint of rows [first, last), which is added to gc."""
    side_by_side = FEW if last - first <= len(FEW) else MANY
    k, *work = room(length, x.dtype, side_by_side)
    _backward(gy, x, c, states, gx, gc, length, first, last, side_by_side, k, *work, zeros(len(k), np.float64))


@kernel
def _forward(x, c, states, y, length, first, last, fast, side_by_side, k, work, ends, which, logs):
    samples, moving, gate = x.shape[2], c.shape[1] > 1, c.shape[2] == 5
    W = len(side_by_side)
    step, along = W if moving else 0, int(moving)
    audio, out = x.reshape(-1), y.reshape(-1)
    tile, envelope, squares, level = work[0], work[1], work[2], work[3]
    for group in range(first, last, W):
        rows = group_of(group, last, side_by_side)
        offsets, inner = rows * samples, (rows - group) * length
        e, m = lanes_of(states[:, 0, 0], rows, side_by_side), lanes_of(states[:, 0, -1], rows, side_by_side)
        for t in range(states.shape[1] - 1):
            start = t * length
            count = min(length, samples - start)
            if moving or t == 0:
                spread(c, rows, start, count + -count % WIDTH if moving else WIDTH, k, length)
            e, m = detect(audio, offsets, start, count, gate, step, k, e, m, tile, envelope, squares, level, inner)
            for row in range(group, min(group + W, last)):
                at, own = row * samples + start, (row - group) * length
                source, target, place = audio, out, at
                if count % WIDTH:  # the end of the row
                    padded(audio, at, count, ends[0])
                    source, target, place = ends[0], ends[1], 0
                curve(source, target, place, count, gate, along, level, k, own, which, logs, fast)
                if count % WIDTH:
                    for i in range(count):
                        out[at + i] = ends[1, i]
            keep(m, states[:, t + 1, -1], rows)
            keep(e, states[:, t + 1, 0], rows)


@kernel
def _backward(gy, x, c, states, gx, gc, length, first, last, side_by_side, k, work, ends, which, sums):
    """Tiles from the last; each recomputes its levels from the saved state.

    Each sample keeps the branch it took in the forward, which is exact wherever the output is differentiable. With the
    gain g = (e/threshold)^exponent of a sample that acts, its envelope receives gy x g exponent/e; the adjoint w of the
    envelope runs backwards, w_n = k_{n+1} w_{n+1} + that, and

        r gets (1 - k_n) w_n,     d/dk = sum w_n (e_{n-1} - r_n)  over the samples of its branch.

    The gate passes what r gets through the root and, by the same rule, through m.
    """
    samples, moving, gate = x.shape[2], c.shape[1] > 1, c.shape[2] == 5
    W = len(side_by_side)
    step, along = W if moving else 0, int(moving)
    audio, outer, to = x.reshape(-1), gy.reshape(-1), gx.reshape(-1)
    tile, envelope, squares, level = work[0], work[1], work[2], work[3]
    for group in range(first, last, W):
        rows, used = group_of(group, last, side_by_side), min(W, last - group)
        offsets, inner = rows * samples, (rows - group) * length
        w = w_squares = splat(0.0, side_by_side)
        for t in range(states.shape[1] - 2, -1, -1):
            start = t * length
            count = min(length, samples - start)
            some = count + -count % WIDTH if moving else WIDTH
            if moving or t == states.shape[1] - 2:
                spread(c, rows, start, some, k, length)
            e, m = lanes_of(states[:, t, 0], rows, side_by_side), lanes_of(states[:, t, -1], rows, side_by_side)
            detect(audio, offsets, start, count, gate, step, k, e, m, tile, envelope, squares, level, inner)
            for row in range(group, group + used):
                at, own = row * samples + start, (row - group) * length
                given, source, target, place = outer, audio, to, at
                if count % WIDTH:  # the end of the row
                    padded(outer, at, count, ends[0])
                    padded(audio, at, count, ends[1])
                    given, source, target, place = ends[0], ends[1], ends[2], 0
                curve_backward(given, source, target, place, count, gate, along, level, k, own, which, sums)
                if count % WIDTH:
                    for i in range(count):
                        to[at + i] = ends[2, i]
            w, w_squares = detect_backward(
                tile, start, count, gate, moving, k, envelope, squares, level, inner, w, w_squares, sums, to, offsets
            )
            if moving or t == 0:
                collect(sums, rows, used, start, some, length, gc)
