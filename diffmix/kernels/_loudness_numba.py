# mypy: disable-error-code="call-arg, var-annotated"
# (numba calls intrinsics without their first parameter and infers what is not annotated)
"""Compiled loops of the meters: what is only measured is never stored.

The weighted signal and the one between the samples would be ten times as large as what is read, and memory costs more
time than the arithmetic.
"""

import numpy as np

from diffmix.kernels._compile import inner, kernel
from diffmix.kernels._rows import load_rows, read_tile, transpose
from diffmix.kernels._simd import absolute, cast, every, lanes, load, maximum, splat, store, store_tuple

ROWS = lanes(4)
_SETTLED = 1e-150  # what is left of a signal long gone; numbers that are smaller still would be slow
_TAPS = 12
_BLOCK = 128


@inner
def _settled(states):
    """Zero what nobody hears any more."""
    for k in range(states.size):
        if abs(states[k]) < _SETTLED:
            states[k] = 0


@kernel
def energies(x, c, states, edges, energy, peaks, first, last):
    """Weigh rows [first, last) of x (R, T), float32 or float64, in float64, side by side in the lanes of vectors.

    c: the coefficients (10,) of two sections, ``b0 b1 b2 a1 a2`` each; states (R, 4): s1 and s2 of each, found before
    the signal and left behind it. edges (E,), ascending, none beyond T: energy (R, E) is the sum of squares in front of
    each, from the one before on. peaks (R,), float64, become the largest magnitudes of x, if they are larger.
    """
    b0, b1, b2, a1, a2 = c[0], c[1], c[2], c[3], c[4]
    d0, d1, d2, e1, e2 = c[5], c[6], c[7], c[8], c[9]
    rows, offsets = np.empty(ROWS, np.int64), np.empty(ROWS, np.int64)
    saved, tile, sums = np.empty(4 * ROWS), np.empty(ROWS * ROWS, x.dtype), np.zeros(ROWS)
    silence = splat(x.dtype.type(0), ROWS)
    for row in range(first, last, ROWS):
        for lane in range(ROWS):
            rows[lane] = min(row + lane, last - 1)
            offsets[lane] = rows[lane] * x.shape[1]
            for k in range(4):
                saved[k * ROWS + lane] = states[rows[lane], k]
        at, highest = 0, silence
        for n in range(edges.size):
            _settled(saved)
            s1, s2 = load(saved, 0, ROWS), load(saved, ROWS, ROWS)
            r1, r2 = load(saved, 2 * ROWS, ROWS), load(saved, 3 * ROWS, ROWS)
            total = splat(0.0, ROWS)
            while at < edges[n]:
                part = min(ROWS, edges[n] - at)
                if part == ROWS:
                    store_tuple(tile, 0, transpose(load_rows(x, offsets, at, ROWS)))
                else:
                    read_tile(x, offsets, at, part, tile, silence)
                for i in range(part):
                    u = load(tile, i * ROWS, ROWS)
                    highest = maximum(absolute(u), highest)
                    v = cast(u, np.float64)
                    o = b0 * v + s1
                    s1, s2 = (b1 * v - a1 * o) + s2, b2 * v - a2 * o
                    w = d0 * o + r1
                    r1, r2 = (d1 * o - e1 * w) + r2, d2 * o - e2 * w
                    total = total + w * w
                at += part
            store_tuple(saved, 0, (s1, s2, r1, r2))
            store(sums, 0, total)
            for lane in range(ROWS):
                energy[rows[lane], n] = sums[lane]
        store(tile, 0, highest)
        for lane in range(ROWS):
            heard = np.float64(tile[lane]) if sums[lane] == sums[lane] else np.nan
            peaks[rows[lane]] = max(peaks[rows[lane]], heard) if heard == heard else heard
            for k in range(4):
                states[rows[lane], k] = saved[k * ROWS + lane]


@inner
def _highest(signal, taps, line, start, like):
    """Peak (lanes) of ``signal`` through all filters, from sample ``start`` on; ``line`` is room for what they hear."""
    W = ROWS
    before, stop = _TAPS - 1, min(line.size, signal.size - start + _TAPS - 1)
    for n in range(min(max(0, before - start), line.size)):
        line[n] = 0
    for n in range(max(0, before - start), stop):
        line[n] = signal[start - before + n]
    for n in range(stop, line.size):
        line[n] = 0
    highest = like
    for n in range(0, _BLOCK, W):
        a, b, c, d = like, like, like, like
        for k in range(_TAPS):
            v = load(line, n + k, W)
            a, b = a + taps[0, k] * v, b + taps[1, k] * v
            c, d = c + taps[2, k] * v, d + taps[3, k] * v
        a, b = maximum(absolute(a), absolute(b)), maximum(absolute(c), absolute(d))
        highest = maximum(maximum(a, b), highest)
    return highest


@kernel
def true_peaks(x, taps, peaks, first, last):
    """peaks (R,) of rows [first, last) of x (R, T) and of their signals through filters with taps (4, 12).

    No output exceeds the largest sample that its filter hears by more than the sum of its taps' magnitudes: where that
    is no new peak, which is nearly everywhere in music, nothing is computed. All arrays are of x's type.
    """
    samples = x.shape[1]
    blocks = (samples + _TAPS - 2) // _BLOCK + 1
    line, largest, found = np.empty(_BLOCK + _TAPS - 1, x.dtype), np.empty(blocks, x.dtype), np.empty(ROWS, x.dtype)
    silence, zero = splat(x.dtype.type(0), ROWS), x.dtype.type(0)
    most = zero
    for p in range(4):
        gain = zero
        for k in range(_TAPS):
            gain += abs(taps[p, k])
        most = max(most, gain)
    most *= x.dtype.type(1.0001)  # for rounding
    for row in range(first, last):
        peak, sound = zero, silence == silence
        for block in range(blocks):
            start, stop = block * _BLOCK, min((block + 1) * _BLOCK, samples)
            highest, whole = silence, start + (stop - start) // ROWS * ROWS
            for n in range(start, whole, ROWS):
                v = load(x, row * samples + n, ROWS)
                highest, sound = maximum(absolute(v), highest), sound & (v == v)
            store(found, 0, highest)
            for n in range(whole, stop):
                found[n - whole] = max(found[n - whole], abs(x[row, n]))
                sound = sound & (splat(x[row, n], ROWS) == x[row, n])
            largest[block] = found.max()
            peak = max(peak, largest[block])
        for block in range(blocks):
            if most * max(largest[block], largest[max(0, block - 1)]) > peak:
                store(found, 0, _highest(x[row], taps, line, block * _BLOCK, silence))
                peak = max(peak, found.max())
        peaks[row] = peak if every(sound) else np.nan
