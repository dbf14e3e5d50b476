# mypy: disable-error-code="call-arg, var-annotated"
# (numba calls intrinsics without their first parameter and infers what is not annotated)
"""Compiled loops for a cascade of second-order sections (transposed direct form II).

    o = b0 v + s1,   s1 <- (b1 v - a1 o) + s2,   s2 <- b2 v - a2 o

Rows lie side by side in the lanes of vectors. All K sections advance inside one sample step with their 2K states in
registers, so that the processor overlaps the sections of neighbouring samples; a section at a time would wait for every
o -> s1 -> o round trip. The steps are plain multiplications and additions, which keeps float32 results equal to
Pedalboard's. The adjoint is float64: in float32 its states would cost three digits of the gradients.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from diffmix.kernels._compile import copy, inner, kernel
from diffmix.kernels._operator import Loops
from diffmix.kernels._rows import aligned, load_rows, read_tile, store_rows, transpose, write_tile
from diffmix.kernels._simd import cast, fma, lanes, load, load_tuple, prefetch, read, store, store_tuple, write

BLOCK = 8192  # Pedalboard processes so many samples at a time and cleans its states after each
WIDTHS = min(lanes(4), 8), lanes(4)  # rows side by side: where these are few, most of sixteen lanes would repeat them
PART = 128  # samples of the adjoint that stay in the first cache through all sections
APART = 16  # numbers between signals: those a multiple of 4096 bytes apart share few places of the first cache


@intrinsic
def step(typingctx: Any, signals: Any, at: Any, between: Any, states: Any, coefficients: Any) -> Any:
    """One sample of every lane, ``signals[at:]``, through all sections; returns the new states.

    Each section's output is stored ``between`` numbers after its input; if that is None, only the last one is, in place
    of the input. States are (s1, s2) per section, flattened. The coefficients (b0, b1, b2, a1, a2) per section stay in
    an array: there are more than registers, and a factor from the first cache costs nothing.
    """
    stored = between != types.none

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def coefficient(k: int) -> Any:
            place = context.get_constant(types.intp, k * states.dtype.lanes)
            return read(context, builder, signature.args[4], args[4], place, states.dtype)

        array, place = (context, builder, signature.args[0], args[0]), args[1]
        s = cgutils.unpack_tuple(builder, args[3])
        mul, add, sub = builder.fmul, builder.fadd, builder.fsub
        v = read(*array, place, states.dtype)
        new = []
        for k in range(len(s) // 2):
            b0, b1, b2, a1, a2 = map(coefficient, range(5 * k, 5 * k + 5))
            o = add(mul(b0, v), s[2 * k])
            new += [add(sub(mul(b1, v), mul(a1, o)), s[2 * k + 1]), sub(mul(b2, v), mul(a2, o))]
            if stored:
                place = builder.add(place, args[2])
                write(*array, place, o)
            v = o
        if not stored:
            write(*array, place, v)
        return cgutils.pack_array(builder, new)

    return states(signals, types.intp, between, states, coefficients), codegen


@inner
def play(x, y, offsets, start, signals, between, count, saved, s, c, positions, tiny, coming, ahead):
    """``count`` samples of a tile through all sections, from and to the states ``saved``; s is any tuple of as many.

    If x is not None, the tile gets samples from ``offsets + start`` of x on, a block at a time, which end up in y: one
    or two sections leave the processor idle for most of a dozen cycles a sample, in which it transposes blocks.
    Otherwise the samples of three arrays from ``offsets + ahead`` on are asked for meanwhile, a line a sample: the next
    tile, since the processor does not expect sixteen rows in turns.
    At every multiple of `BLOCK` states of at most ``tiny`` become zero; positions (lanes,) count from the last one.
    """
    i, W = 0, len(positions)  # lanes
    while i < count:
        stop = count
        for lane in range(W):
            if positions[lane] == 0:
                for k in range(lane, saved.size, W):
                    if not abs(saved[k]) > tiny:
                        saved[k] = 0
            stop = min(stop, i + BLOCK - positions[lane])
        for lane in range(W):
            positions[lane] = (positions[lane] + stop - i) % BLOCK
        s = load_tuple(saved, 0, s, s[0])
        while i < stop:
            if x is None:
                s = step(signals, i * W, between, s, c)
                place = offsets[i % W] + ahead + i - i % W
                prefetch(coming[0], place)
                prefetch(coming[1], place)
                prefetch(coming[2], place)
                i += 1
            else:
                part = min(W, stop - i)
                if part == W:
                    store_tuple(signals, 0, transpose(load_rows(x, offsets, start + i, s[0])))
                else:
                    read_tile(x, offsets, start + i, part, signals, s[0])
                for j in range(part):
                    s = step(signals, j * W, between, s, c)
                if part == W:
                    store_rows(y, offsets, start + i, transpose(load_tuple(signals, 0, s[0], s[0])))
                else:
                    write_tile(signals, y, offsets, start + i, part, s[0])
                i += part
        store_tuple(saved, 0, s)


@lru_cache
def kernels(sections: int, width: int) -> tuple[Callable[..., None], ...]:
    """Forward, backward and adjoint states: loops for a fixed number of sections, so many rows side by side.

    The closures capture integers only: numba's disk cache misses a closure over anything compiled.
    """
    K, STATES, COEFFICIENTS = sections, 2 * sections, 5 * sections  # literals inside the loops
    ROWS, HALF = width, min(width, lanes(8))  # float64 is twice as long
    WAITS = sections <= 2

    @kernel
    def forward(x, c, states, y, rows, length, tiny, tile, saved, positions):
        """Filter `ROWS` rows of x (R, 1, T) into y, with c (5K, lanes) of x's type.

        For work: a tile (length, lanes), states (2K, lanes) and positions (lanes,), int64.
        """
        samples, tiles = x.shape[2], states.shape[1] - 1
        offsets = rows * samples
        for lane in range(ROWS):
            for k in range(STATES):
                saved[k * ROWS + lane] = states[rows[lane], 0, k]
            positions[lane] = int(states[rows[lane], 0, STATES])
        s = load_tuple(saved, 0, STATES, ROWS)
        for t in range(tiles):
            start = t * length
            count = min(length, samples - start)
            if WAITS:
                play(x, y, offsets, start, tile, None, count, saved, s, c, positions, tiny, (x, y, y), 0)
            else:
                read_tile(x, offsets, start, count, tile, s[0])
                ahead = start + length
                play(None, None, offsets, start, tile, None, count, saved, s, c, positions, tiny, (x, y, y), ahead)
                write_tile(tile, y, offsets, start, count, s[0])
            for lane in range(ROWS):
                for k in range(STATES):
                    states[rows[lane], t + 1, k] = saved[k * ROWS + lane]
                states[rows[lane], t + 1, STATES] = positions[lane]

    @kernel
    def backward(
        gy, x, c, exact, states, gx, w, gc, rows, first, tiles, used, length, tiny, signals, tile, g, saved, positions
    ):
        """Adjoint of ``tiles`` tiles of `ROWS` lanes, each from tile ``first`` of one of ``rows`` on.

        The signals' c (5K, lanes) as in `forward`; exact and gc (halves, 5K, lanes) and w (halves, 2K, lanes) float64.
        w is the adjoint state after the tiles and becomes the one before them; gc is added to. Tiles run backwards;
        each recomputes its sections' signals from the saved state, then sections run backwards. With the adjoint w_n of
        a section's output, and its input v and output o,

            w_n = g_n - a1 w_{n+1} - a2 w_{n+2},        g'_n = b0 w_n + b1 w_{n+1} + b2 w_{n+2},
            d/db_j = sum w_{n+j} v_n,                   d/da_j = -sum w_{n+j} o_n.
        """
        samples, between = x.shape[2], length * ROWS + APART
        offsets = rows * samples + first * length
        s = load_tuple(saved, 0, STATES, ROWS)
        for t in range(tiles - 1, -1, -1):
            start = t * length
            count = min(length, samples - first[0] * length - start)
            for lane in range(ROWS):
                for k in range(STATES):
                    saved[k * ROWS + lane] = states[rows[lane], first[lane] + t, k]
                positions[lane] = int(states[rows[lane], first[lane] + t, STATES])
            read_tile(x, offsets, start, count, signals, s[0])
            before = start - length
            play(None, None, offsets, start, signals, between, count, saved, s, c, positions, tiny, (x, gy, gx), before)
            for at in range((count - 1) // PART * PART, -1, -PART):
                part = min(PART, count - at)
                read_tile(gy, offsets, start + at, part, tile, s[0])
                for half in range(0, used, HALF):
                    for i in range(part):
                        store(g, half * PART + i * HALF, cast(load(tile, i * ROWS + half, HALF), np.float64))
                    for k in range(K - 1, -1, -1):
                        d0, d1, d2, e1, e2 = load_tuple(gc, half * COEFFICIENTS + 5 * k * HALF, 5, HALF)
                        w1, w2 = load_tuple(w, half * STATES + 2 * k * HALF, 2, HALF)
                        for i in range(part - 1, -1, -1):
                            place = k * between + (at + i) * ROWS + half
                            # Coefficients come from memory, which costs nothing and leaves the registers to the sums;
                            # what waits for w0 comes last, lest it keep the processor from the w0 of the next sample
                            b0, b1, b2, a1, a2 = load_tuple(exact, half * COEFFICIENTS + 5 * k * HALF, 5, HALF)
                            v = cast(load(signals, place, HALF), np.float64)
                            o = cast(load(signals, place + between, HALF), np.float64)
                            d1, d2 = fma(w1, v, d1), fma(w2, v, d2)
                            e1, e2 = fma(-w1, o, e1), fma(-w2, o, e2)
                            w0 = fma(-a1, w1, fma(-a2, w2, load(g, half * PART + i * HALF, HALF)))
                            store(g, half * PART + i * HALF, fma(b0, w0, fma(b1, w1, b2 * w2)))
                            d0 = fma(w0, v, d0)
                            w1, w2 = w0, w1
                        store_tuple(gc, half * COEFFICIENTS + 5 * k * HALF, (d0, d1, d2, e1, e2))
                        store_tuple(w, half * STATES + 2 * k * HALF, (w1, w2))
                for half in range(0, ROWS, HALF):
                    done = half if half < used else 0  # the second half repeats the first where that holds all rows
                    for i in range(part):
                        store(tile, i * ROWS + half, cast(load(g, done * PART + i * HALF, HALF), x.dtype.type))
                write_tile(tile, gx, offsets, start + at, part, s[0])

    @kernel
    def adjoint_states(gy, exact, w, rows, first, tiles, length, tile, g):
        """Only what `backward` does to w."""
        offsets = rows * gy.shape[2] + first * length
        like = load(tile, 0, ROWS)
        for start in range(tiles * length - PART, -1, -PART):
            read_tile(gy, offsets, start, PART, tile, like)
            for half in range(0, ROWS, HALF):
                for i in range(PART):
                    store(g, i * HALF, cast(load(tile, i * ROWS + half, HALF), np.float64))
                for k in range(K - 1, -1, -1):
                    b0, b1, b2, a1, a2 = load_tuple(exact, half * COEFFICIENTS + 5 * k * HALF, 5, HALF)
                    w1, w2 = load_tuple(w, half * STATES + 2 * k * HALF, 2, HALF)
                    n1, n2 = -a1, -a2
                    for i in range(PART - 1, -1, -1):
                        w0 = fma(n1, w1, fma(n2, w2, load(g, i * HALF, HALF)))
                        store(g, i * HALF, fma(b0, w0, fma(b1, w1, b2 * w2)))
                        w1, w2 = w0, w1
                    store_tuple(w, half * STATES + 2 * k * HALF, (w1, w2))

    return forward, backward, adjoint_states


@lru_cache
def loops(coefficients: int) -> Loops:
    """What `recursion` takes for so many coefficients, five for each section; the state ends with the position."""
    few, many = (side_by_side(coefficients, width) for width in WIDTHS)

    def forward(x, c, states, y, length, first, last):
        (many if last - first > WIDTHS[0] else few)[0](x, c, states, y, length, first, last)

    def backward(gy, x, c, states, gx, gc, length, first, last):
        (many if last - first > WIDTHS[0] else few)[1](gy, x, c, states, gx, gc, length, first, last)

    return forward, backward


def side_by_side(coefficients: int, width: int) -> Loops:
    """`loops` with so many rows in the lanes of vectors."""
    ROWS, HALF = width, min(width, lanes(8))
    states_of_lane = 2 * (coefficients // 5)
    play_lanes, adjoint_of_lanes, adjoint_states = kernels(coefficients // 5, width)

    def packed(values: NDArray[Any], width: int, dtype: Any = np.float64) -> NDArray[Any]:
        """Values of each lane (lanes, n) as they lie in vectors: (vectors, n, width), flat."""
        flat = aligned(values.size, dtype)
        flat.reshape(-1, values.shape[1], width)[:] = values.reshape(-1, width, values.shape[1]).transpose(0, 2, 1)
        return flat

    def by_lane(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The other way: (vectors, n, `HALF`), flat, to (lanes, n)."""
        return values.reshape(ROWS // HALF, -1, HALF).transpose(0, 2, 1).reshape(ROWS, -1)

    def tiny(x: NDArray[Any]) -> Any:
        return x.dtype.type(1e-8 if x.dtype == np.float32 else 0)  # the ideal recursion zeroes nothing

    def filled(lanes: NDArray[Any]) -> NDArray[Any]:
        """All lanes of a vector: those given, then repetitions; a second half repeats the first, if that holds all."""
        place = np.arange(ROWS) % (ROWS if len(lanes) > HALF else HALF)
        return lanes[np.minimum(place, len(lanes) - 1)]

    def running(x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Room for all lanes' states and positions."""
        return aligned(states_of_lane * ROWS, x.dtype), np.empty(ROWS, np.int64)

    def forward(x, c, states, y, length, first, last):
        work = aligned(length * ROWS, x.dtype), *running(x)
        for row in range(first, last, ROWS):
            rows = filled(np.arange(row, min(row + ROWS, last)))
            play_lanes(x, packed(c[rows, 0], ROWS, x.dtype), states, y, rows, length, tiny(x), *work)

    def backward(gy, x, c, states, gx, gc, length, first, last):
        signals = aligned((states_of_lane // 2 + 1) * (length * ROWS + APART), x.dtype)
        tile, g = aligned(PART * ROWS, x.dtype), aligned(PART * ROWS, np.float64)

        def adjoint(lanes: NDArray[np.int64], begin: NDArray[np.int64], tiles: int, w: NDArray[np.float64]) -> Any:
            """Adjoint of tiles of rows ``lanes``, each from its tile ``begin`` on; returns the states before them."""
            rows, starts = filled(lanes), filled(begin)
            gradient, w = np.zeros(coefficients * ROWS), packed(filled(w), HALF)
            adjoint_of_lanes(
                gy, x, packed(c[rows, 0], ROWS, x.dtype), packed(c[rows, 0], HALF), states, gx, w, gradient,
                rows, starts, tiles, len(lanes), length, tiny(x), signals, tile, g, *running(x),
            )  # fmt: skip
            np.add.at(gc[:, 0], lanes, by_lane(gradient)[: len(lanes)])
            return by_lane(w)[: len(lanes)]

        # Few rows, if they are long, are cut into segments of whole tiles, which lie in lanes of their own
        segments = ROWS // len(x)
        span = x.shape[2] // length // segments if segments > 1 and x.shape[2] >= segments * BLOCK else 0  # tiles
        for row in range(first, last, ROWS):
            rows = np.arange(row, min(row + ROWS, last))
            rest = segments * span
            after = adjoint(
                rows, np.full_like(rows, rest), states.shape[1] - 1 - rest, np.zeros((len(rows), states_of_lane))
            )
            if not span:
                continue
            lanes, begin = np.repeat(rows, segments), np.tile(span * np.arange(segments), len(rows))
            w = np.zeros(states_of_lane * ROWS)
            exact = packed(c[filled(lanes), 0], HALF)
            adjoint_states(gy, exact, w, filled(lanes), filled(begin), span, length, tile, g)
            ends = by_lane(w)[: len(lanes)].reshape(len(rows), segments, states_of_lane)
            w = np.empty_like(ends)
            with np.errstate(over="ignore", invalid="ignore"):  # of an unstable filter
                decay = np.stack([np.linalg.matrix_power(unforced(c[r, 0]), span * length) for r in rows])
                for segment in range(segments - 1, -1, -1):
                    w[:, segment] = after
                    after = (decay @ after[..., None])[..., 0] + ends[:, segment]
            adjoint(lanes, begin, span, w.reshape(len(lanes), -1))

    return forward, backward


def unforced(c: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix (2K, 2K) of one step of the adjoint states (w_{n+1}, w_{n+2}) of each section without input."""
    matrix = np.empty((2 * len(c) // 5, 2 * len(c) // 5))
    unit, g = np.eye(len(matrix)), np.zeros(len(matrix))
    for k in range(len(c) // 5 - 1, -1, -1):
        (b0, b1, b2, a1, a2), (w1, w2) = c[5 * k : 5 * k + 5], unit[2 * k : 2 * k + 2]
        w0 = g - a1 * w1 - a2 * w2
        matrix[2 * k], matrix[2 * k + 1] = w0, w1
        g = b0 * w0 + b1 * w1 + b2 * w2
    return matrix


@kernel
def moving_forward(x, c, states, y, length, first, last):
    """Filter items [first, last) of x (B, C, T) into y, with coefficients c (B, T, 5K) of each sample.

    states (B, tiles + 1, 2CK): (s1, s2) of each section, of one channel after the other.
    """
    samples, sections = x.shape[2], c.shape[2] // 5
    for row in range(first, last):
        for t in range(states.shape[1] - 1):
            start, stop = t * length, min((t + 1) * length, samples)
            for channel in range(x.shape[1]):
                signal = y[row, channel]
                copy(x[row, channel, start:stop], signal[start:stop])
                for k in range(sections):
                    at = 2 * (channel * sections + k)
                    s1, s2 = states[row, t, at], states[row, t, at + 1]
                    for i in range(start, stop):
                        b0, b1, b2, a1, a2 = c[row, i, 5 * k : 5 * k + 5]
                        v = signal[i]
                        signal[i] = o = b0 * v + s1
                        s1 = (b1 * v - a1 * o) + s2
                        s2 = b2 * v - a2 * o
                    states[row, t + 1, at], states[row, t + 1, at + 1] = s1, s2


@kernel
def moving_backward(gy, x, c, states, gx, gc, length, first, last):
    """Adjoint of items [first, last): that of `kernels`, each sample with its own coefficients."""
    samples, sections = x.shape[2], c.shape[2] // 5
    signals = np.empty((sections + 1, length))
    for row in range(first, last):
        w = np.zeros(2 * x.shape[1] * sections)
        for t in range(states.shape[1] - 2, -1, -1):
            start, stop = t * length, min((t + 1) * length, samples)
            for channel in range(x.shape[1]):
                copy(x[row, channel, start:stop], signals[0, : stop - start])
                for k in range(sections):
                    at = 2 * (channel * sections + k)
                    s1, s2 = states[row, t, at], states[row, t, at + 1]
                    for i in range(stop - start):
                        b0, b1, b2, a1, a2 = c[row, start + i, 5 * k : 5 * k + 5]
                        v = signals[k, i]
                        signals[k + 1, i] = o = b0 * v + s1
                        s1 = (b1 * v - a1 * o) + s2
                        s2 = b2 * v - a2 * o
                g = gx[row, channel]
                copy(gy[row, channel, start:stop], g[start:stop])
                for k in range(sections - 1, -1, -1):
                    at = 2 * (channel * sections + k)
                    w1, w2 = w[at], w[at + 1]
                    for i in range(stop - 1, start - 1, -1):
                        b0, b1, b2, a1, a2 = c[row, i, 5 * k : 5 * k + 5]
                        v, o = signals[k, i - start], signals[k + 1, i - start]
                        w0 = (g[i] - a2 * w2) - a1 * w1
                        g[i] = b0 * w0 + b1 * w1 + b2 * w2
                        d = gc[row, i, 5 * k : 5 * k + 5]
                        d[0] += w0 * v
                        d[1] += w1 * v
                        d[2] += w2 * v
                        d[3] -= w1 * o
                        d[4] -= w2 * o
                        w1, w2 = w0, w1
                    w[at], w[at + 1] = w1, w2
