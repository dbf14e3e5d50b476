"""Compiled loops of the ladder filter and their exact adjoint.

The recursion waits for its own result through four stages and a table, so that one row leaves most of the processor
idle: the forward runs rows in pairs, and a last one that is left over beside itself.
"""

import math

import numpy as np

from diffmix.kernels._compile import copy, inner, kernel

_POINTS, _REACH = 128, 5.0  # the table's samples of tanh, from -5 to 5
_PER_UNIT, _MIDDLE = (_POINTS - 1) / (2 * _REACH), (_POINTS - 1) / 2
# what is heard of the input of the first stage and of the four outputs, for each of `diffmix.kernels.ladder.MODES`
_TAPS = np.array(
    [[0, 0, 1, 0, 0], [1, -2, 1, 0, 0], [0, 0, -1, 1, 0], [0, 0, 0, 0, 1], [1, -4, 6, -4, 1], [0, 0, 1, -2, 1]]
)
_VOLUME = 1.2
_COMPENSATIONS = np.array([0.5, 0, 0.5, 0.5, 0, 0.5])  # how much of the input the feedback leaves out


@inner
def _table(like):
    """tanh at the points and the rise to the next one, rounded as the audio is."""
    real = like.dtype.type
    points, rises = np.empty(_POINTS, like.dtype), np.zeros(_POINTS, like.dtype)
    for i in range(_POINTS):
        points[i] = math.tanh(real(-_REACH) + real(2 * _REACH) * real(i) / real(_POINTS - 1))  # float32: C's tanhf
    for i in range(_POINTS - 1):
        rises[i] = points[i + 1] - points[i]
    return points, rises


@inner(forceinline=True)
def _place(v, like):
    """The point below a value and the part of the way to the next one; beyond the table its end."""
    real = like.dtype.type
    v = v if v > real(-_REACH) else real(-_REACH)
    v = v if v < real(_REACH) else real(_REACH)
    at = real(_PER_UNIT) * v + real(_MIDDLE)
    i = np.int32(at)
    return np.uint32(i), at - real(i)


@inner(forceinline=True)
def _saturated(v, points, rises):
    i, part = _place(v, points)
    return points[i] + part * rises[i]


@inner(forceinline=True)
def _slope(v, points, rises):
    """Slope of the table at a value, 0 beyond it."""
    i, _ = _place(v, points)
    return np.float64(rises[i]) * _PER_UNIT if abs(v) < _REACH else 0.0


@inner(forceinline=True)
def _at(c, row, frame, real):
    """The eight coefficients of a sample."""
    return (
        real(c[row, frame, 0]), real(c[row, frame, 1]), real(c[row, frame, 2]), real(c[row, frame, 3]),
        real(c[row, frame, 4]), real(c[row, frame, 5]), real(c[row, frame, 6]), real(c[row, frame, 7]),
    )  # fmt: skip


@inner(forceinline=True)
def _step(v, s, k, compensation, points, rises):
    """The next values of the first stage's input and of the four outputs."""
    memory, now, before, feedback, drive, level, loop_drive, loop_level = k
    x = level * _saturated(drive * v, points, rises)
    a = x - feedback * (loop_level * _saturated(loop_drive * s[4], points, rises) - x * compensation)
    b = before * s[0] + memory * s[1] + now * a
    c = before * s[1] + memory * s[2] + now * b
    d = before * s[2] + memory * s[3] + now * c
    e = before * s[3] + memory * s[4] + now * d
    return a, b, c, d, e


@inner(forceinline=True)
def _stored(stages, i):
    return stages[i, 0], stages[i, 1], stages[i, 2], stages[i, 3], stages[i, 4]


@inner
def _run(x, c, row, other, start, count, stages, stages2, compensation, points, rises):
    """Two rows from ``stages[0]`` through ``count`` samples: the five values after sample i in ``stages[i + 1]``."""
    real, moving = x.dtype.type, c.shape[1] > 1
    s, s2 = _stored(stages, 0), _stored(stages2, 0)
    k, k2 = _at(c, row, 0, real), _at(c, other, 0, real)
    for i in range(count):
        if moving:
            k, k2 = _at(c, row, start + i, real), _at(c, other, start + i, real)
        s = _step(x[row, 0, start + i], s, k, compensation, points, rises)
        s2 = _step(x[other, 0, start + i], s2, k2, compensation, points, rises)
        for j in range(5):
            stages[i + 1, j] = s[j]
            stages2[i + 1, j] = s2[j]


@inner(forceinline=True)
def _taps(mode, real):
    """What is heard of the five values."""
    a, b, c, d, e = _TAPS[mode]
    v = real(_VOLUME)
    return v * real(a), v * real(b), v * real(c), v * real(d), v * real(e)


@inner
def _hear(stages, taps, y):
    for i in range(len(y)):
        a, b, c, d, e = _stored(stages, i + 1)
        y[i] = a * taps[0] + b * taps[1] + c * taps[2] + d * taps[3] + e * taps[4]


@kernel
def forward(x, c, states, y, length, first, last, mode):
    """Rows [first, last) of x (R, 1, T) into y; ``c`` as in `diffmix.kernels.ladder`, states (R, tiles + 1, 5)."""
    real = x.dtype.type
    points, rises = _table(x)
    taps, compensation = _taps(mode, real), real(_COMPENSATIONS[mode])
    stages, stages2 = np.empty((length + 1, 5), x.dtype), np.empty((length + 1, 5), x.dtype)
    for row in range(first, last, 2):
        other = min(row + 1, last - 1)
        for tile in range(states.shape[1] - 1):
            start = tile * length
            count = min(length, x.shape[2] - start)
            copy(states[row, tile], stages[0])
            copy(states[other, tile], stages2[0])
            _run(x, c, row, other, start, count, stages, stages2, compensation, points, rises)
            _hear(stages, taps, y[row, 0, start : start + count])
            _hear(stages2, taps, y[other, 0, start : start + count])
            copy(stages[count], states[row, tile + 1])
            copy(stages2[count], states[other, tile + 1])


@inner(fastmath={"contract"})
def _adjoin(gy, x, c, row, start, count, stages, w, gx, gc, taps, compensation, points, rises):
    """Adjoint of a row's samples [start, start + count), from the last; w: the adjoints of the five values."""
    real, moving = x.dtype.type, c.shape[1] > 1
    wa, wb, wc, wd, we = w
    by_memory = by_now = by_before = by_feedback = by_drive = by_level = by_loop_drive = by_loop_level = 0.0
    k = _at(c, row, 0, np.float64)
    for i in range(count - 1, -1, -1):
        f = start + i if moving else 0
        if moving:
            k = _at(c, row, f, np.float64)
        memory, now, before, feedback, drive, level, loop_drive, loop_level = k
        v, g = x[row, 0, start + i], np.float64(gy[row, 0, start + i])
        a0, b0, c0, d0, e0 = _stored(stages, i)
        a, b, c1, d, _ = _stored(stages, i + 1)
        inside, around = real(drive) * v, real(loop_drive) * e0
        loop = -feedback * loop_level * _slope(around, points, rises)
        # one sample waits for the next through these lines: in each a product and a sum
        we = we + taps[4] * g
        wd = (wd + taps[3] * g) + now * we
        wc = (wc + taps[2] * g) + now * wd
        wb = (wb + taps[1] * g) + now * wc
        wa = (wa + taps[0] * g) + now * wb
        left = np.float64(_saturated(inside, points, rises))
        back = np.float64(_saturated(around, points, rises))
        by_memory += wb * b0 + wc * c0 + wd * d0 + we * e0
        by_before += wb * a0 + wc * b0 + wd * c0 + we * d0
        by_now += wb * a + wc * b + wd * c1 + we * d
        by_feedback -= wa * (loop_level * back - level * left * compensation)
        through = wa * (1 + feedback * compensation)
        by_level += through * left
        through *= level * _slope(inside, points, rises)
        by_drive += through * v
        gx[row, 0, start + i] = through * drive
        by_loop_level -= wa * feedback * back
        by_loop_drive += wa * loop * e0
        wa, wb, wc, wd, we = (
            before * wb,
            before * wc + memory * wb,
            before * wd + memory * wc,
            before * we + memory * wd,
            memory * we + (loop * loop_drive) * wa,
        )
        if moving or i == 0:
            gc[row, f, 0] += by_memory
            gc[row, f, 1] += by_now
            gc[row, f, 2] += by_before
            gc[row, f, 3] += by_feedback
            gc[row, f, 4] += by_drive
            gc[row, f, 5] += by_level
            gc[row, f, 6] += by_loop_drive
            gc[row, f, 7] += by_loop_level
            by_memory = by_now = by_before = by_feedback = 0.0
            by_drive = by_level = by_loop_drive = by_loop_level = 0.0
    return wa, wb, wc, wd, we


@kernel
def backward(gy, x, c, states, gx, gc, length, first, last, mode):
    """Adjoint of rows [first, last), tile by tile from the end, each recomputed from its state.

    Where the table has a corner, the slope to the right of it counts.
    """
    real = x.dtype.type
    points, rises = _table(x)
    taps, compensation = _taps(mode, np.float64), _COMPENSATIONS[mode]
    stages, stages2 = np.empty((length + 1, 5), x.dtype), np.empty((length + 1, 5), x.dtype)
    for row in range(first, last, 2):
        other = min(row + 1, last - 1)
        w = w2 = (0.0, 0.0, 0.0, 0.0, 0.0)
        for tile in range(states.shape[1] - 2, -1, -1):
            start = tile * length
            count = min(length, x.shape[2] - start)
            copy(states[row, tile], stages[0])
            copy(states[other, tile], stages2[0])
            _run(x, c, row, other, start, count, stages, stages2, real(compensation), points, rises)
            w = _adjoin(gy, x, c, row, start, count, stages, w, gx, gc, taps, compensation, points, rises)
            if other > row:
                w2 = _adjoin(gy, x, c, other, start, count, stages2, w2, gx, gc, taps, compensation, points, rises)
