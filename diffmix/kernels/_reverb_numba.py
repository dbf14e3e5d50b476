# mypy: disable-error-code="call-arg, var-annotated"
# (numba calls intrinsics without their first parameter and infers what is not annotated)
"""Compiled loops of Freeverb and of its exact adjoint.

Every delay line is one straight stretch of memory, so that no index ever wraps. Forward it is ``[history | chunk]``:
sample n of a chunk is read at ``start + n``, where it was put D samples ago, and written at ``end + n`` with end =
start + D; after a chunk its last D samples move to the front. The adjoint runs on reversed time and its lines are
``[chunk | future]``: read at ``end + n``, written at ``start + n``.

Eight samples are one step. All lines are longer than that, so that everything but the damping filters is an operation
on vectors along time. The damping filters are recursive: there the eight combs of a channel are the lanes of a vector,
and a step transposes its eight samples of eight combs, filters, and transposes back. Both channels take their steps
side by side, since each waits for its own filters. Additions and multiplications are rounded as they are written, so
that float32 results are Pedalboard's to the last bit.
"""

import numpy as np
from numba import njit

from diffmix.kernels._simd import cast, fma, load, load_rows, load_tuple, splat, store, store_rows, total, transpose

STEP = COMBS = 8  # samples of a step; lines of a channel that are combs, in front of its allpasses
CHUNK = 4096  # samples between two moves of the lines; a part of the tile
INPUT, HALF = 0.015, 0.5


@njit(inline="always")
def _sum(rows):
    a, b, c, d, e, f, g, h = rows
    return a + b + c + d + e + f + g + h


@njit(inline="always")
def _damped(v, low, s, k):
    """A sample of one comb, or of all: what its damping filter gives and what enters its line, both rounded to 2^-27.

    ``low = (1 - d) v + d low``, and ``s + f low`` enters.
    """
    guard, feedback, damp, keep = k
    low = ((v * keep + low * damp) + guard) - guard
    return low, ((s + low * feedback) + guard) - guard


@njit(inline="always")
def _damped_step(rows, s, low, k):
    """Eight samples of eight combs, rows along time: (state after them, what enters the lines)."""
    a, b, c, d, e, f, g, h = transpose(rows)
    s0, s1, s2, s3, s4, s5, s6, s7 = s
    low, a = _damped(a, low, s0, k)
    low, b = _damped(b, low, s1, k)
    low, c = _damped(c, low, s2, k)
    low, d = _damped(d, low, s3, k)
    low, e = _damped(e, low, s4, k)
    low, f = _damped(f, low, s5, k)
    low, g = _damped(g, low, s6, k)
    low, h = _damped(h, low, s7, k)
    return low, transpose((a, b, c, d, e, f, g, h))


@njit(cache=True, nogil=True)
def _combs(lines, starts, ends, right, s, low, o, n, k):
    """The sums o of n samples of the combs fed with s; ``right``: starts and ends in the other channel, or None."""
    starts2, ends2 = starts, ends
    state = state2 = load(low, 0, COMBS)
    stride = o.shape[1]
    if right is not None:
        starts2, ends2 = right
        state2 = load(low, COMBS, COMBS)
    for i in range(0, n - STEP + 1, STEP):
        inputs = load_tuple(s, i, STEP, 1)
        rows = load_rows(lines, starts, i, STEP)
        store(o, i, _sum(rows))
        if right is not None:
            rows2 = load_rows(lines, starts2, i, STEP)
            store(o, stride + i, _sum(rows2))
        state, entering = _damped_step(rows, inputs, state, k)
        store_rows(lines, ends, i, entering)
        if right is not None:
            state2, entering2 = _damped_step(rows2, inputs, state2, k)
            store_rows(lines, ends2, i, entering2)
    store(low, 0, state)
    if right is not None:
        store(low, COMBS, state2)
    for i in range(n // STEP * STEP, n):  # the last samples, one by one
        for channel in range(len(o)):
            begins, stops = (starts2, ends2) if channel else (starts, ends)
            o[channel, i] = 0
            for j in range(COMBS):
                v, lane = lines[begins[j] + i], channel * COMBS + j
                o[channel, i] += v
                low[lane], lines[stops[j] + i] = _damped(v, low[lane], s[i], k)


@njit(cache=True, nogil=True)
def _allpass(lines, read, write, o, at, n, guard):
    """``v = w[-A]; w = o + v/2; o = v - o`` on ``o[at:at + n]`` in place."""
    half = o.dtype.type(HALF)
    for i in range(0, n, STEP):
        v, u = load(lines, read + i, STEP), load(o, at + i, STEP)
        store(lines, write + i, ((u + v * half) + guard) - guard)
        store(o, at + i, v - u)


@njit(cache=True, nogil=True)
def _allpass_adjoint(lines, read, write, o, at, n):
    """The allpass on reversed time, which is its own adjoint."""
    half = o.dtype.type(HALF)
    for i in range((n - 1) // STEP * STEP, -1, -STEP):
        v, u = load(lines, read + i, STEP), load(o, at + i, STEP)
        store(lines, write + i, u + v * half)
        store(o, at + i, v - u)


@njit(cache=True, nogil=True)
def _source(x, s, n):
    """0.015 times the sum of the channels of x (C, n)."""
    gain = s.dtype.type(INPUT)
    for i in range(n):
        s[i] = ((x[0, i] + x[1, i]) if len(x) == 2 else x[0, i]) * gain


@njit(cache=True, nogil=True)
def _wet(x, lines, starts, ends, s, low, o, n, k):
    """The reverb's own sound o (C, n) of x (C, n)."""
    _source(x, s, n)
    if len(x) == 1:
        _combs(lines, starts[0], ends[0], None, s, low, o, n, k)
    else:
        _combs(lines, starts[0], ends[0], (starts[1], ends[1]), s, low, o, n, k)
    for channel in range(len(x)):
        for j in range(COMBS, starts.shape[1]):
            _allpass(lines, starts[channel, j], ends[channel, j], o, channel * o.shape[1], n, k[0])


@njit(cache=True, nogil=True)
def _mixed(here, there, dry, wet1, wet2, direct, y):
    """``wet1 here + wet2 there + direct dry`` into all of y."""
    here, there, dry = here[: len(y)], there[: len(y)], dry[: len(y)]
    for i in range(len(y)):
        y[i] = (here[i] * wet1 + there[i] * wet2) + dry[i] * direct


@njit(cache=True, nogil=True)
def _move(source, sources, shift, target, targets, delays):
    """Copy one stretch per line, from ``shift`` samples after ``sources``."""
    for c in range(delays.shape[0]):
        for j in range(delays.shape[1]):
            a, b, n = sources[c, j] + shift, targets[c, j], delays[c, j]
            for i in range(0, n - STEP + 1, STEP):
                store(target, b + i, load(source, a + i, STEP))
            for i in range(n // STEP * STEP, n):
                target[b + i] = source[a + i]


@njit(cache=True, nogil=True)
def _layout(delays, length):
    """``(starts, ends, size)`` of lines that lie one after the other, each ``length`` longer than its delay."""
    starts, ends = np.empty_like(delays), np.empty_like(delays)
    at = 0
    for c in range(delays.shape[0]):
        for j in range(delays.shape[1]):
            starts[c, j] = at
            at += delays[c, j]
            ends[c, j] = at
            at += length
    return starts, ends, at


@njit(cache=True, nogil=True)
def _recall(state, low, lines, starts, delays):
    """Fill the lines' histories and the damping filters from a saved state."""
    packed, _, size = _layout(delays, 0)
    _move(state, packed, 0, lines, starts, delays)
    for i in range(len(low)):
        low[i] = state[size + i]


@njit(cache=True, nogil=True)
def _save(state, low, lines, starts, delays):
    """What :func:`_recall` reads."""
    packed, _, size = _layout(delays, 0)
    _move(lines, starts, 0, state, packed, delays)
    for i in range(len(low)):
        state[size + i] = low[i]


@njit(inline="always")
def _constants(c, like):
    """((guard, f, d, 1 - d), w1, w2, g) in the dtype of the audio; Pedalboard's guard rounds what is stored."""
    real = like.dtype.type
    feedback, damp = real(c[0]), real(c[1])
    guard = real(0.1) if like.itemsize == 4 else real(0)
    return (guard, feedback, damp, real(1) - damp), real(c[2]), real(c[3]), real(c[4])


@njit(cache=True, nogil=True)
def forward(x, c, states, y, tile, first, last, delays):
    """Reverberate rows [first, last) of x (R, C, T); ``c`` (R, 1, 5): f, d, w1, w2, g; ``delays`` (C, 12)."""
    channels, samples = x.shape[1:]
    starts, ends, size = _layout(delays, CHUNK + STEP)
    lines, low = np.zeros(size, x.dtype), np.empty(channels * COMBS, x.dtype)
    s, o = np.empty(CHUNK, x.dtype), np.empty((channels, CHUNK), x.dtype)
    for row in range(first, last):
        k, wet1, wet2, direct = _constants(c[row, 0], x)
        _recall(states[row, 0], low, lines, starts, delays)
        for t in range(0, samples, CHUNK):
            n = min(CHUNK, samples - t)
            if t % tile == 0 and t > 0:
                _save(states[row, t // tile], low, lines, starts, delays)
            _wet(x[row, :, t : t + n], lines, starts, ends, s, low, o, n, k)
            for ch in range(channels):
                _mixed(o[ch], o[channels - 1 - ch], x[row, ch, t:], wet1, wet2, direct, y[row, ch, t : t + n])
            _move(lines, starts, n, lines, starts, delays)
        _save(states[row, -1], low, lines, starts, delays)


@njit(inline="always")
def _damped_adjoint(rows, gl, feedback, damp):
    """``gl <- f r + d gl`` through eight samples of eight combs, the last one first: (gl after them, all gl)."""
    a, b, c, d, e, f, g, h = transpose(rows)
    h = fma(h, feedback, gl * damp)
    g = fma(g, feedback, h * damp)
    f = fma(f, feedback, g * damp)
    e = fma(e, feedback, f * damp)
    d = fma(d, feedback, e * damp)
    c = fma(c, feedback, d * damp)
    b = fma(b, feedback, c * damp)
    a = fma(a, feedback, b * damp)
    return a, transpose((a, b, c, d, e, f, g, h))


@njit(inline="always")
def _scaled_and_added(rows, factor, add):
    a, b, c, d, e, f, g, h = rows
    return (
        fma(a, factor, add), fma(b, factor, add), fma(c, factor, add), fma(d, factor, add),
        fma(e, factor, add), fma(f, factor, add), fma(g, factor, add), fma(h, factor, add),
    )  # fmt: skip


@njit(inline="always")
def _products(x, y):
    """The sum of eight products."""
    a, b, c, d, e, f, g, h = x
    p, q, r, s, t, u, v, w = y
    return fma(a, p, fma(b, q, fma(c, r, d * s))) + fma(e, t, fma(f, u, fma(g, v, h * w)))


@njit(cache=True, nogil=True)
def _combs_adjoint(adjoint, lines, starts, ends, go, at, s, gs, gl, lane, n, k, sums):
    """The adjoint of n samples of one channel's combs, backwards.

    With r read from the adjoint lines (what a stored sample will have caused), ``gl = f r + d gl`` is the adjoint of
    the damping filters and ``go + (1 - d) gl`` enters the lines; gs collects r. ``lines`` are the forward ones:
    v is what left them and l = (w - s) / f what the filters gave, where w is what entered. ``s`` starts STEP samples
    early. ``sums`` collects sum gl v and sum gl f l of the sample before.
    """
    feedback, damp, keep = splat(k[1], COMBS), splat(k[2], COMBS), splat(k[3], COMBS)
    state = load(gl, lane, COMBS)
    now = cast(state * 0, np.float64)
    past = now
    for i in range((n - 1) // STEP * STEP, -1, -STEP):
        rows = load_rows(adjoint, ends, i, STEP)
        store(gs, i, load(gs, i, STEP) + _sum(rows))
        state, rows = _damped_adjoint(rows, state, feedback, damp)
        store_rows(adjoint, starts, i, _scaled_and_added(rows, keep, load(go, at + i, STEP)))
        now = now + cast(_products(rows, load_rows(lines, starts, i, STEP)), np.float64)
        of_lines = _products(rows, load_rows(lines, ends, i - 1, STEP))
        past = past + cast(of_lines - _sum(rows) * load(s, STEP - 1 + i, STEP), np.float64)
    store(gl, lane, state)
    sums[0] += total(now)
    sums[1] += total(past)


@njit(cache=True, nogil=True)
def _dot(a, b):
    """The sum of the products of as many samples as a has, in float64."""
    sums = cast(load(a, 0, STEP) * 0, np.float64)
    for i in range(0, len(a) - STEP + 1, STEP):
        sums = sums + cast(load(a, i, STEP), np.float64) * cast(load(b, i, STEP), np.float64)
    result = total(sums)
    for i in range(len(a) // STEP * STEP, len(a)):
        result += np.float64(a[i]) * np.float64(b[i])
    return result


@njit(cache=True, nogil=True)
def backward(gy, x, c, states, gx, gc, tile, first, last, delays):
    """Adjoint of rows [first, last), in the dtype of x; sums in float64.

    Tiles run backwards, each after its forward part is computed again from its state. For a comb, ``l[n] = (1 - d)
    v[n] + d l[n-1]`` and ``s + f l`` enters. With r the adjoint of what enters and ``gl[n] = f r[n] + d gl[n+1]``,

        d/dd = sum gl[n] (l[n-1] - v[n]),
        d/df = sum r l = sum (gl[n] - d gl[n+1]) l[n] / f = (1 - d) / f sum gl v.
    """
    channels, samples = x.shape[1:]
    longest = min(tile, (samples + STEP - 1) // STEP * STEP)
    starts, ends, size = _layout(delays, longest + STEP)
    lines, adjoint, low = np.zeros(size, x.dtype), np.zeros(size, x.dtype), np.empty(channels * COMBS, x.dtype)
    s, gs = np.zeros(STEP + longest, x.dtype), np.empty(longest, x.dtype)
    o, gl, sums = np.zeros((channels, longest), x.dtype), np.zeros(channels * COMBS, x.dtype), np.empty(2)
    zero, gain = x.dtype.type(0), x.dtype.type(INPUT)
    for row in range(first, last):
        k, wet1, wet2, direct = _constants(c[row, 0], x)
        adjoint[:] = zero
        gl[:] = zero
        sums[:] = 0
        for part in range(states.shape[1] - 2, -1, -1):
            t = part * tile
            n = min(tile, samples - t)
            dry, g = x[row, :, t : t + n], gy[row, :, t : t + n]
            _recall(states[row, part], low, lines, starts, delays)
            s[STEP - 1] = lines[ends[0, 0] - 1] - k[1] * low[0]  # since s + f l was the last to enter
            _wet(dry, lines, starts, ends, s[STEP:], low, o, n, k)
            for ch in range(channels):
                gc[row, 0, 2] += _dot(g[ch], o[ch])
                gc[row, 0, 3] += _dot(g[ch], o[channels - 1 - ch])
                gc[row, 0, 4] += _dot(g[ch], dry[ch])
            gs[:] = zero
            for ch in range(channels):
                _mixed(g[ch], g[channels - 1 - ch], g[ch], wet1, wet2, zero, o[ch, :n])
                o[ch, n:] = zero
                for j in range(delays.shape[1] - 1, COMBS - 1, -1):
                    _allpass_adjoint(adjoint, ends[ch, j], starts[ch, j], o, ch * longest, n)
                at, lane = ch * longest, ch * COMBS
                _combs_adjoint(adjoint, lines, starts[ch], ends[ch], o, at, s, gs, gl, lane, n, k, sums)
            for ch in range(channels):
                _mixed(gs, gs, g[ch], gain, zero, direct, gx[row, ch, t : t + n])
            _move(adjoint, starts, 0, adjoint, starts + longest, delays)
        gc[row, 0, 0] = (1 - c[row, 0, 1]) / c[row, 0, 0] * sums[0]
        gc[row, 0, 1] = sums[1] / c[row, 0, 0] - sums[0]
