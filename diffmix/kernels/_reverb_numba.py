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

from functools import reduce
from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from diffmix.kernels._compile import inner, kernel
from diffmix.kernels._rows import load_rows, store_rows, transposed
from diffmix.kernels._simd import cast, filled, fused, load, load_tuple, splat, store, total  # fmt: skip

STEP = COMBS = 8  # samples of a step; lines of a channel that are combs, in front of its allpasses
CHUNK = 4096  # samples between two moves of the lines; a part of the tile
INPUT, HALF = 0.015, 0.5


@intrinsic
def _sum(typingctx: Any, rows: Any) -> Any:
    """The sum of rows, one after the other."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return reduce(builder.fadd, cgutils.unpack_tuple(builder, args[0]))

    return rows.dtype(rows), codegen


def _emit_damped(builder: Any, v: Any, low: Any, s: Any, k: list[Any]) -> list[Any]:
    """Emit what `_damped` does, with numbers or with vectors."""
    (guard, feedback, damp, keep), add, mul = k, builder.fadd, builder.fmul
    low = builder.fsub(add(add(mul(v, keep), mul(low, damp)), guard), guard)
    return [low, builder.fsub(add(add(s, mul(low, feedback)), guard), guard)]


@intrinsic
def _damped(typingctx: Any, v: Any, low: Any, s: Any, k: Any) -> Any:
    """A sample of one comb: what its damping filter gives and what enters its line, both rounded to 2^-27.

    ``low = (1 - d) v + d low``, and ``s + f low`` enters.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = _emit_damped(builder, *args[:3], cgutils.unpack_tuple(builder, args[3]))
        return cgutils.pack_array(builder, found)

    return types.UniTuple(v, 2)(v, low, s, k), codegen


@intrinsic
def _damped_step(typingctx: Any, rows: Any, s: Any, low: Any, k: Any) -> Any:
    """Eight samples of eight combs, rows along time: (state after them, what enters the lines)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        columns, inputs, constants = (cgutils.unpack_tuple(builder, args[i]) for i in (0, 1, 3))
        inputs, constants = ([filled(builder, v, COMBS) for v in values] for values in (inputs, constants))
        state, entering = args[2], []
        for v, s in zip(transposed(builder, columns), inputs, strict=True):
            state, enters = _emit_damped(builder, v, state, s, constants)
            entering.append(enters)
        entering = cgutils.pack_array(builder, transposed(builder, entering))
        return context.make_tuple(builder, signature.return_type, [state, entering])

    return types.Tuple((low, rows))(rows, s, low, k), codegen


@inner
def _combs(lines, starts, ends, s, low, o, n, k):
    """The sums o (C, n) of n samples of both channels' combs, or of one's, fed with s."""
    stride, right = o.shape[1], len(o) - 1
    starts1, ends1, starts2, ends2 = starts[0], ends[0], starts[right], ends[right]
    state, state2 = load(low, 0, COMBS), load(low, right * COMBS, COMBS)
    if right:
        for i in range(0, n - STEP + 1, STEP):
            inputs = load_tuple(s, i, STEP, 1)
            rows, rows2 = load_rows(lines, starts1, i, STEP), load_rows(lines, starts2, i, STEP)
            store(o, i, _sum(rows))
            store(o, stride + i, _sum(rows2))
            state, entering = _damped_step(rows, inputs, state, k)
            store_rows(lines, ends1, i, entering)
            state2, entering = _damped_step(rows2, inputs, state2, k)
            store_rows(lines, ends2, i, entering)
        store(low, COMBS, state2)
    else:
        for i in range(0, n - STEP + 1, STEP):
            rows = load_rows(lines, starts1, i, STEP)
            store(o, i, _sum(rows))
            state, entering = _damped_step(rows, load_tuple(s, i, STEP, 1), state, k)
            store_rows(lines, ends1, i, entering)
    store(low, 0, state)
    for i in range(n // STEP * STEP, n):  # the last samples, one by one
        for channel in range(len(o)):
            o[channel, i] = 0
            for j in range(COMBS):
                v, lane = lines[starts[channel, j] + i], channel * COMBS + j
                o[channel, i] += v
                low[lane], lines[ends[channel, j] + i] = _damped(v, low[lane], s[i], k)


@inner
def _allpass(lines, read, write, o, at, n, guard):
    """``v = w[-A]; w = o + v/2; o = v - o`` on ``o[at:at + n]`` in place."""
    half = o.dtype.type(HALF)
    for i in range(0, n, STEP):
        v, u = load(lines, read + i, STEP), load(o, at + i, STEP)
        store(lines, write + i, ((u + v * half) + guard) - guard)
        store(o, at + i, v - u)


@inner
def _allpass_adjoint(lines, read, write, o, at, n):
    """The allpass on reversed time, which is its own adjoint."""
    half = o.dtype.type(HALF)
    for i in range((n - 1) // STEP * STEP, -1, -STEP):
        v, u = load(lines, read + i, STEP), load(o, at + i, STEP)
        store(lines, write + i, u + v * half)
        store(o, at + i, v - u)


@inner
def _source(x, s, n):
    """0.015 times the sum of the channels of x (C, n)."""
    gain = s.dtype.type(INPUT)
    for i in range(n):
        s[i] = ((x[0, i] + x[1, i]) if len(x) == 2 else x[0, i]) * gain


@inner
def _wet(x, lines, starts, ends, s, low, o, n, k):
    """The reverb's own sound o (C, n) of x (C, n)."""
    _source(x, s, n)
    _combs(lines, starts, ends, s, low, o, n, k)
    for channel in range(len(x)):
        for j in range(COMBS, starts.shape[1]):
            _allpass(lines, starts[channel, j], ends[channel, j], o, channel * o.shape[1], n, k[0])


@inner
def _mixed(here, there, dry, wet1, wet2, direct, y):
    """``wet1 here + wet2 there + direct dry`` into all of y."""
    here, there, dry = here[: len(y)], there[: len(y)], dry[: len(y)]
    for i in range(len(y)):
        y[i] = (here[i] * wet1 + there[i] * wet2) + dry[i] * direct


@inner
def _move(source, sources, late, target, targets, later, delays):
    """Copy one stretch per line, from ``late`` samples after ``sources`` to ``later`` samples after ``targets``."""
    for c in range(delays.shape[0]):
        for j in range(delays.shape[1]):
            a, b, n = sources[c, j] + late, targets[c, j] + later, delays[c, j]
            for i in range(0, n - STEP + 1, STEP):
                store(target, b + i, load(source, a + i, STEP))
            for i in range(n // STEP * STEP, n):
                target[b + i] = source[a + i]


@inner
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


@inner
def _recall(state, low, lines, starts, delays):
    """Fill the lines' histories and the damping filters from a saved state."""
    zero = np.int64(0)  # a literal would be compiled anew
    packed, _, size = _layout(delays, zero)
    _move(state, packed, zero, lines, starts, zero, delays)
    for i in range(len(low)):
        low[i] = state[size + i]


@inner
def _save(state, low, lines, starts, delays):
    """What :func:`_recall` reads."""
    zero = np.int64(0)
    packed, _, size = _layout(delays, zero)
    _move(lines, starts, zero, state, packed, zero, delays)
    for i in range(len(low)):
        state[size + i] = low[i]


@inner(inline="always")
def _constants(c, like):
    """((guard, f, d, 1 - d), w1, w2, g) in the dtype of the audio; Pedalboard's guard rounds what is stored."""
    real = like.dtype.type
    feedback, damp = real(c[0]), real(c[1])
    guard = real(0.1) if like.itemsize == 4 else real(0)
    return (guard, feedback, damp, real(1) - damp), real(c[2]), real(c[3]), real(c[4])


@kernel
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
            _move(lines, starts, n, lines, starts, np.int64(0), delays)
        _save(states[row, -1], low, lines, starts, delays)


@intrinsic
def _damped_adjoint(typingctx: Any, rows: Any, gl: Any, feedback: Any, damp: Any) -> Any:
    """``gl <- f r + d gl`` through eight samples of eight combs, the last one first: (gl after them, all gl)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        columns, state = transposed(builder, cgutils.unpack_tuple(builder, args[0])), args[1]
        for i in range(len(columns) - 1, -1, -1):
            state = columns[i] = fused(context, builder, gl, columns[i], args[2], builder.fmul(state, args[3]))
        found = cgutils.pack_array(builder, transposed(builder, columns))
        return context.make_tuple(builder, signature.return_type, [state, found])

    return types.Tuple((gl, rows))(rows, gl, feedback, damp), codegen


@intrinsic
def _scaled_and_added(typingctx: Any, rows: Any, factor: Any, add: Any) -> Any:
    """``row factor + add`` of every row."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = cgutils.unpack_tuple(builder, args[0])
        return cgutils.pack_array(builder, [fused(context, builder, add, v, *args[1:]) for v in values])

    return rows(rows, factor, add), codegen


@intrinsic
def _products(typingctx: Any, x: Any, y: Any) -> Any:
    """The sum of eight products."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pairs = list(zip(*(cgutils.unpack_tuple(builder, rows) for rows in args), strict=True))

        def four(first: int) -> Any:
            found = builder.fmul(*pairs[first + 3])
            for a, b in reversed(pairs[first : first + 3]):
                found = fused(context, builder, x.dtype, a, b, found)
            return found

        return builder.fadd(four(0), four(4))

    return x.dtype(x, y), codegen


@inner
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


@inner
def _dot(a, b):
    """The sum of the products of as many samples as a has, in float64."""
    sums = cast(load(a, 0, STEP) * 0, np.float64)
    for i in range(0, len(a) - STEP + 1, STEP):
        sums = sums + cast(load(a, i, STEP), np.float64) * cast(load(b, i, STEP), np.float64)
    result = total(sums)
    for i in range(len(a) // STEP * STEP, len(a)):
        result += np.float64(a[i]) * np.float64(b[i])
    return result


@kernel
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
            _move(adjoint, starts, np.int64(0), adjoint, starts, longest, delays)
        gc[row, 0, 0] = (1 - c[row, 0, 1]) / c[row, 0, 0] * sums[0]
        gc[row, 0, 1] = sums[1] / c[row, 0, 0] - sums[0]
