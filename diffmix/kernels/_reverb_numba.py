"""Compiled loops of :mod:`diffmix.kernels.reverb`: Freeverb and its exact adjoint. Imported on first use.

Every delay line is one straight stretch of memory, so that no index ever wraps. Forward it is ``[history | chunk]``:
sample n of a chunk is read at ``start + n``, where it was put D samples ago, and written at ``start + D + n``; when the
chunk is full its last D samples move to the front. The adjoint runs on reversed time and its lines are
``[chunk | future]``: read at ``start + D + n``, written at ``start + n``.

Inside a chunk the work goes block by block, no block longer than the shortest delay: then all reads of a block precede
its writes, and everything but the damping filters is a vector operation along time. The damping filters are recursive,
so there the eight combs of a channel are the lanes of a vector: eight samples of each comb are loaded along time,
transposed, filtered, transposed back and stored. Plain additions and multiplications carry no fast-math flags, so
float32 results are Pedalboard's to the last bit.
"""

from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from diffmix.kernels.reverb import CHUNK, COMBS, LINES

TILE = COMBS  # samples per tile: as many as lanes, for the transposition
# positions in the array of constants
INPUT, HALF, GUARD, FEEDBACK, DAMP, PASS, WET1, WET2, DRY = range(9)


class _Vectors:
    """Writes the instructions of a tile: eight samples of eight combs, as vectors of eight lanes."""

    def __init__(self, context: Any, builder: Any, signature: Any, values: Any):
        self.context, self.b, self.types, self.values = context, builder, signature.args, values

    def pointer(self, array: int, index: Any) -> Any:
        data = self.context.make_array(self.types[array])(self.context, self.b, self.values[array]).data
        return self.b.gep(data, [index])

    def every(self, array: int, index: Any, offset: int = 0) -> Any:
        """One element in all lanes."""
        scalar = self.b.load(self.pointer(array, self.b.add(index, ir.Constant(index.type, offset))))
        vector = ir.VectorType(scalar.type, COMBS)
        zero = ir.Constant(ir.IntType(32), 0)
        first = self.b.insert_element(ir.Constant(vector, ir.Undefined), scalar, zero)
        return self.shuffle(first, first, [0] * COMBS)

    def load(self, array: int, index: Any) -> Any:
        pointer = self.pointer(array, index)
        vector = ir.VectorType(pointer.type.pointee, COMBS)
        return self.b.load(self.b.bitcast(pointer, vector.as_pointer()), align=4)

    def store(self, value: Any, array: int, index: Any) -> None:
        pointer = self.b.bitcast(self.pointer(array, index), value.type.as_pointer())
        self.b.store(value, pointer, align=4)

    def shuffle(self, a: Any, b: Any, lanes: list[int]) -> Any:
        return self.b.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), COMBS), lanes))

    def transpose(self, rows: list[Any]) -> list[Any]:
        """Rows become columns in three rounds, one instruction per vector where registers have four-lane halves.

        Interleaving single lanes of two rows, then pairs of lanes, then quadruples, doubles each time how many rows a
        vector holds of a column.
        """
        for low, near in (
            ([0, 8, 1, 9, 4, 12, 5, 13], 1),
            ([0, 1, 8, 9, 4, 5, 12, 13], 2),
            ([0, 1, 2, 3, 8, 9, 10, 11], 4),
        ):
            high = [lane + (4 if near == 4 else 2) for lane in low]
            columns = list(rows)
            for i in (i for i in range(COMBS) if not i & near):
                columns[i] = self.shuffle(rows[i], rows[i + near], low)
                columns[i + near] = self.shuffle(rows[i], rows[i + near], high)
            rows = columns
        return [rows[i] for i in (0, 2, 1, 3, 4, 6, 5, 7)]

    def positions(self, starts: int, first: Any, at: Any) -> list[Any]:
        """``starts[first + c] + at`` of the eight combs."""
        lines = [self.b.add(first, ir.Constant(first.type, c)) for c in range(COMBS)]
        return [self.b.add(self.b.load(self.pointer(starts, line)), at) for line in lines]

    def double(self, vector: Any) -> Any:
        double = ir.VectorType(ir.DoubleType(), COMBS)
        return vector if vector.type == double else self.b.fpext(vector, double)

    def sum(self, vectors: list[Any]) -> Any:
        total = vectors[0]
        for vector in vectors[1:]:
            total = self.b.fadd(total, vector)
        return total


@intrinsic
def _comb_tile(typingctx, lines, read, write, line, at, s, i, o, j, low, lane, constants):
    """Eight samples of a channel's combs, from position ``at`` of the chunk, ``s[i]`` and ``o[j]`` on.

    Per comb: v leaves the line, ``low = PASS v + DAMP low`` is the damping filter, ``s + FEEDBACK low`` enters the
    line; o is the sum of the v. GUARD, added and subtracted, rounds off what is below its last bit.
    """
    LINE, READ, WRITE, IN, OUT, LOW, K = 0, 1, 2, 5, 7, 9, 11

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        vector = _Vectors(context, builder, signature, values)
        _, _, _, line, at, _, i, _, j, _, lane, _ = values
        guard, feedback, damp, pass_ = (
            vector.every(K, ir.Constant(line.type, k)) for k in (GUARD, FEEDBACK, DAMP, PASS)
        )
        mul, add, sub = builder.fmul, builder.fadd, builder.fsub
        leaving = [vector.load(LINE, p) for p in vector.positions(READ, line, at)]
        vector.store(vector.sum(leaving), OUT, j)
        low = vector.load(LOW, lane)
        entering = []
        for n, v in enumerate(vector.transpose(leaving)):
            low = sub(add(add(mul(v, pass_), mul(low, damp)), guard), guard)
            entering.append(sub(add(add(vector.every(IN, i, n), mul(low, feedback)), guard), guard))
        vector.store(low, LOW, lane)
        for p, row in zip(vector.positions(WRITE, line, at), vector.transpose(entering), strict=True):
            vector.store(row, LINE, p)
        return context.get_dummy_value()

    arrays = lines, read, write, line, at, s, i, o, j, low, lane, constants
    return types.void(*arrays), codegen


@intrinsic
def _adjoint_tile(typingctx, lines, read, write, line, at, go, j, gs, i, low, lane, constants, past, sums):
    """Eight samples of the combs' adjoint, backwards: the counterpart of :func:`_comb_tile`.

    With r read from the adjoint line (what a stored sample will have caused), ``gl = FEEDBACK r + DAMP gl`` is the
    adjoint of the damping filter and ``go + PASS gl`` enters the line; gs collects r. ``past`` holds the forward
    lines, v is what they gave. ``sums`` (16 lanes in float64) collects gl v and h v, with ``h = gl' + DAMP h`` and gl'
    the gl of the sample after; :func:`backward` uses them.
    """
    LINE, READ, WRITE, GO, GS, LOW, K, PAST, SUMS = 0, 1, 2, 5, 7, 9, 11, 12, 13

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        vector = _Vectors(context, builder, signature, values)
        _, _, _, line, at, _, j, _, i, _, lane, _, _, _ = values
        feedback, damp, pass_ = (vector.every(K, ir.Constant(line.type, k)) for k in (FEEDBACK, DAMP, PASS))
        mul, add = (partial(operation, flags=("contract",)) for operation in (builder.fmul, builder.fadd))
        reading = [vector.load(LINE, p) for p in vector.positions(READ, line, at)]
        vector.store(add(vector.load(GS, i), vector.sum(reading)), GS, i)
        past = vector.transpose([vector.load(PAST, p) for p in vector.positions(WRITE, line, at)])
        lanes = builder.add(lane, lane), builder.add(builder.add(lane, lane), ir.Constant(lane.type, COMBS))
        gl, h = (vector.load(LOW, k) for k in lanes)
        entering, direct, delayed = [], [], []
        for n, r in reversed(list(enumerate(vector.transpose(reading)))):
            h = add(gl, mul(h, damp))
            gl = add(mul(r, feedback), mul(gl, damp))
            entering.append(add(vector.every(GO, j, n), mul(gl, pass_)))
            direct.append(mul(gl, past[n]))
            delayed.append(mul(h, past[n]))
        vector.store(gl, LOW, lanes[0])
        vector.store(h, LOW, lanes[1])
        for p, row in zip(vector.positions(WRITE, line, at), vector.transpose(entering[::-1]), strict=True):
            vector.store(row, LINE, p)
        for k, terms in enumerate((direct, delayed)):
            place = ir.Constant(ir.IntType(64), k * COMBS)
            vector.store(add(vector.load(SUMS, place), vector.double(vector.sum(terms))), SUMS, place)
        return context.get_dummy_value()

    arrays = lines, read, write, line, at, go, j, gs, i, low, lane, constants, past, sums
    return types.void(*arrays), codegen


@njit(cache=True, nogil=True)
def _allpass(lines, read, write, o, half, guard):
    """A block through an allpass, in place in ``o``; on reversed time, with no guard, this is its own adjoint."""
    leaving = lines[read : read + len(o)]
    entering = lines[write : write + len(o)]
    for i in range(len(o)):
        v = leaving[i]
        entering[i] = ((o[i] + v * half) + guard) - guard
        o[i] = v - o[i]


@njit(cache=True, nogil=True)
def _wet(x, lines, starts, ends, low, k, block, s, o):
    """The reverb's own sound o (C, chunk) of a chunk of x (C, n), n at most the chunk; s is scratch."""
    channels, samples = x.shape
    chunk = o.shape[1]
    flat = o.reshape(-1)
    gain, half, guard = k[INPUT], k[HALF], k[GUARD]
    for b in range(0, samples, block):
        n = min(block, samples - b)
        s[:n] = x[0, b : b + n]
        for c in range(1, channels):
            other = x[c, b : b + n]
            for i in range(n):
                s[i] += other[i]
        for i in range(n):
            s[i] *= gain
        s[n:] = 0
        for i in range(0, n, TILE):
            for c in range(channels):
                line, j, lane = c * LINES, c * chunk + b + i, c * COMBS
                _comb_tile(lines, starts, ends, line, b + i, s, i, flat, j, low, lane, k)  # type: ignore[call-arg]
        for c in range(channels):
            for line in range(c * LINES + COMBS, (c + 1) * LINES):
                _allpass(lines, starts[line] + b, ends[line] + b, o[c, b : b + n], half, guard)


@njit(cache=True, nogil=True)
def _copy(source, sources, target, targets, counts):
    """Copy one stretch per line."""
    for j in range(len(counts)):
        target[targets[j] : targets[j] + counts[j]] = source[sources[j] : sources[j] + counts[j]]


@njit(cache=True, nogil=True)
def forward(x, states, delays, constants, block, y, first, last):
    """Items [first, last) of x (B, C, T) to y.

    ``states`` (B, chunks, S) receives what the lines and damping filters hold before each chunk.
    """
    channels, samples = x.shape[1:]
    starts = np.cumsum(delays + CHUNK) - CHUNK - delays
    packed = np.cumsum(delays) - delays
    lines = np.zeros(np.sum(delays + CHUNK), x.dtype)
    s, o = np.empty(block, x.dtype), np.empty((channels, CHUNK), x.dtype)
    for item in range(first, last):
        k = constants[item]
        states[item, 0] = 0
        for part in range(states.shape[1]):
            t = part * CHUNK
            n = min(CHUNK, samples - t)
            _copy(states[item, part], packed, lines, starts, delays)
            low = states[item, part, -channels * COMBS :].copy()
            _wet(x[item, :, t : t + n], lines, starts, starts + delays, low, k, block, s, o)
            if part + 1 < states.shape[1]:
                _copy(lines, starts + n, states[item, part + 1], packed, delays)
                states[item, part + 1, -channels * COMBS :] = low
            wet1, wet2, direct = k[WET1], k[WET2], k[DRY]
            for c in range(channels):
                here, there = o[c], o[channels - 1 - c]
                dry, out = x[item, c, t : t + n], y[item, c, t : t + n]
                for i in range(n):
                    out[i] = (here[i] * wet1 + there[i] * wet2) + dry[i] * direct


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _dot(a, b):
    total = 0.0
    for i in range(len(a)):
        total += np.float64(a[i]) * np.float64(b[i])
    return total


@njit(cache=True, nogil=True)
def backward(gy, x, states, delays, constants, block, gx, gconstants, first, last):
    """Adjoint of :func:`forward` for items [first, last): gx like x; gconstants (B, 5), float64.

    The columns of ``gconstants`` are feedback, damp, wet1, wet2, dry. Chunks run backwards, each after its forward
    part is computed again from its state. For a comb, ``l[n] = p v[n] + d l[n-1]`` with p = 1 - d, and ``s + f l``
    enters. With r the adjoint of what enters and ``gl[n] = f r[n] + d gl[n+1]``,

        d/df = sum r l        = p / f sum gl v,
        d/dd = sum gl[n] (l[n-1] - v[n]) = sum (p h - gl) v,     h[n] = gl[n+1] + d h[n+1],

    so that neither l nor r has to be kept.
    """
    channels, samples = x.shape[1:]
    starts = np.cumsum(delays + CHUNK) - CHUNK - delays
    ends = starts + delays
    packed = np.cumsum(delays) - delays
    lines, adjoint = np.zeros(np.sum(delays + CHUNK), x.dtype), np.empty(np.sum(delays + CHUNK), x.dtype)
    s, o = np.empty(block, x.dtype), np.empty((channels, CHUNK), x.dtype)
    go, gs = np.empty((channels, block), x.dtype), np.empty(block, x.dtype)
    low, sums = np.empty(2 * channels * COMBS, x.dtype), np.empty(2 * COMBS, np.float64)
    for item in range(first, last):
        k = constants[item]
        gain, half, wet1, wet2, direct, exact = k[INPUT], k[HALF], k[WET1], k[WET2], k[DRY], k[GUARD] * 0
        adjoint[:] = 0
        low[:] = 0
        sums[:] = 0
        for part in range(states.shape[1] - 1, -1, -1):
            t = part * CHUNK
            n = min(CHUNK, samples - t)
            dry, g = x[item, :, t : t + n], gy[item, :, t : t + n]
            _copy(states[item, part], packed, lines, starts, delays)
            _wet(dry, lines, starts, ends, states[item, part, -channels * COMBS :].copy(), k, block, s, o)
            for c in range(channels):
                gconstants[item, 2] += _dot(g[c], o[c, :n])
                gconstants[item, 3] += _dot(g[c], o[channels - 1 - c, :n])
                gconstants[item, 4] += _dot(g[c], dry[c])
            for b in range((n - 1) // block * block, -1, -block):
                count = min(block, n - b)
                gs[:] = 0
                for c in range(channels):
                    here, there, out = g[c, b : b + count], g[channels - 1 - c, b : b + count], go[c]
                    for i in range(count):
                        out[i] = here[i] * wet1 + there[i] * wet2
                    out[count:] = 0
                    for line in range((c + 1) * LINES - 1, c * LINES + COMBS - 1, -1):
                        _allpass(adjoint, ends[line] + b, starts[line] + b, out[:count], half, exact)
                flat = go.reshape(-1)
                for i in range((count - 1) // TILE * TILE, -1, -TILE):
                    for c in range(channels):
                        line, j, lane = c * LINES, c * block + i, c * COMBS
                        _adjoint_tile(  # type: ignore[call-arg]
                            adjoint, ends, starts, line, b + i, flat, j, gs, i, low, lane, k, lines, sums
                        )
                for c in range(channels):
                    here, out = g[c, b : b + count], gx[item, c, t + b : t + b + count]
                    for i in range(count):
                        out[i] = here[i] * direct + gs[i] * gain
            _copy(adjoint, starts, adjoint, starts + CHUNK, delays)
        now, later = np.sum(sums[:COMBS]), np.sum(sums[COMBS:])
        gconstants[item, 0] = k[PASS] / k[FEEDBACK] * now
        gconstants[item, 1] = k[PASS] * later - now
