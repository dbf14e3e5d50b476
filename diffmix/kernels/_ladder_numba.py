"""Compiled loops of the ladder filter and their exact adjoint.

The recursion waits for its own result through four stages and a table, so that one row leaves most of the processor
idle: the forward runs rows in pairs, and a last one that is left over beside itself.
"""

import math

import numpy as np
from numba import njit

_POINTS, _REACH = 128, 5.0  # the table's samples of tanh, from -5 to 5
_PER_UNIT, _MIDDLE = (_POINTS - 1) / (2 * _REACH), (_POINTS - 1) / 2
# what is heard of the input of the first stage and of the four outputs, for each of `diffmix.kernels.ladder.MODES`
_TAPS = np.float32(1.2) * np.array(
    [[0, 0, 1, 0, 0], [1, -2, 1, 0, 0], [0, 0, -1, 1, 0], [0, 0, 0, 0, 1], [1, -4, 6, -4, 1], [0, 0, 1, -2, 1]],
    np.float32,
)
_COMPENSATIONS = np.array([0.5, 0, 0.5, 0.5, 0, 0.5])  # how much of the input the feedback leaves out


@njit(nogil=True, cache=True, error_model="numpy")
def _table(like):
    """tanh at the points and the rise to the next one, rounded as the audio is."""
    real = like.dtype.type
    points, rises = np.empty((2, _POINTS), like.dtype)
    for i in range(_POINTS):
        points[i] = math.tanh(real(-_REACH) + real(2 * _REACH) * real(i) / real(_POINTS - 1))  # float32: C's tanhf
    rises[:-1] = points[1:] - points[:-1]
    rises[-1] = 0
    return points, rises


@njit(forceinline=True, error_model="numpy")
def _place(v, like):
    """The point below a value and the part of the way to the next one; beyond the table its end."""
    real = like.dtype.type
    v = v if v > real(-_REACH) else real(-_REACH)
    v = v if v < real(_REACH) else real(_REACH)
    at = real(_PER_UNIT) * v + real(_MIDDLE)
    i = np.int32(at)
    return np.uint32(i), at - real(i)


@njit(forceinline=True, error_model="numpy")
def _saturated(v, points, rises):
    i, part = _place(v, points)
    return points[i] + part * rises[i]


@njit(forceinline=True, error_model="numpy")
def _slope(v, points, rises):
    """Slope of the table at a value, 0 beyond it."""
    i, _ = _place(v, points)
    return np.float64(rises[i]) * _PER_UNIT if abs(v) < _REACH else 0.0


@njit(forceinline=True)
def _at(c, row, frame, real):
    """The eight coefficients of a sample."""
    return (
        real(c[row, frame, 0]), real(c[row, frame, 1]), real(c[row, frame, 2]), real(c[row, frame, 3]),
        real(c[row, frame, 4]), real(c[row, frame, 5]), real(c[row, frame, 6]), real(c[row, frame, 7]),
    )  # fmt: skip


@njit(forceinline=True)
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


@njit(forceinline=True)
def _heard(s, taps):
    return s[0] * taps[0] + s[1] * taps[1] + s[2] * taps[2] + s[3] * taps[3] + s[4] * taps[4]


@njit(forceinline=True)
def _load(states, row, at):
    s = states[row, at]
    return s[0], s[1], s[2], s[3], s[4]


@njit(forceinline=True)
def _save(states, row, at, s):
    for i in range(5):
        states[row, at, i] = s[i]


@njit(nogil=True, cache=True)
def forward(x, c, states, y, length, first, last, mode):
    """Rows [first, last) of x (R, 1, T) into y; ``c`` as in `diffmix.kernels.ladder`, states (R, tiles + 1, 5)."""
    samples, real, moving = x.shape[2], x.dtype.type, c.shape[1] > 1
    points, rises = _table(x)
    taps, compensation = _TAPS[mode].astype(x.dtype), real(_COMPENSATIONS[mode])
    for row in range(first, last, 2):
        other = min(row + 1, last - 1)
        s, s2 = _load(states, row, 0), _load(states, other, 0)
        k, k2 = _at(c, row, 0, real), _at(c, other, 0, real)
        for tile in range(states.shape[1] - 1):
            _save(states, row, tile, s)
            _save(states, other, tile, s2)
            for i in range(tile * length, min((tile + 1) * length, samples)):
                if moving:
                    k, k2 = _at(c, row, i, real), _at(c, other, i, real)
                s = _step(x[row, 0, i], s, k, compensation, points, rises)
                s2 = _step(x[other, 0, i], s2, k2, compensation, points, rises)
                y[row, 0, i] = _heard(s, taps)
                y[other, 0, i] = _heard(s2, taps)
        _save(states, row, states.shape[1] - 1, s)
        _save(states, other, states.shape[1] - 1, s2)


@njit(nogil=True, cache=True)
def backward(gy, x, c, states, gx, gc, length, first, last, mode):
    """Adjoint of rows [first, last), tile by tile from the end, each recomputed from its state.

    Where the table has a corner, the slope to the right of it counts.
    """
    samples, real, moving = x.shape[2], x.dtype.type, c.shape[1] > 1
    points, rises = _table(x)
    taps, compensation = _TAPS[mode].astype(np.float64), _COMPENSATIONS[mode]
    rounded = real(compensation)
    stages = np.empty((length + 1, 5), x.dtype)
    for row in range(first, last):
        wa = wb = wc = wd = we = 0.0  # adjoints of the five values
        k = _at(c, row, 0, real)
        for tile in range(states.shape[1] - 2, -1, -1):
            start = tile * length
            count = min(length, samples - start)
            s = _load(states, row, tile)
            stages[0] = states[row, tile]
            for i in range(count):
                if moving:
                    k = _at(c, row, start + i, real)
                s = _step(x[row, 0, start + i], s, k, rounded, points, rises)
                for j in range(5):
                    stages[i + 1, j] = s[j]
            by_memory = by_now = by_before = by_feedback = by_drive = by_level = by_loop_drive = by_loop_level = 0.0
            for i in range(count - 1, -1, -1):
                f = start + i if moving else 0
                memory, now, before, feedback, drive, level, loop_drive, loop_level = _at(c, row, f, np.float64)
                v, g = x[row, 0, start + i], np.float64(gy[row, 0, start + i])
                a0, b0, c0, d0, e0 = stages[i, 0], stages[i, 1], stages[i, 2], stages[i, 3], stages[i, 4]
                we += taps[4] * g
                wd += taps[3] * g + now * we
                wc += taps[2] * g + now * wd
                wb += taps[1] * g + now * wc
                wa += taps[0] * g + now * wb
                inside, around = real(drive) * v, real(loop_drive) * e0
                left = np.float64(_saturated(inside, points, rises))
                back = np.float64(_saturated(around, points, rises))
                by_memory += wb * b0 + wc * c0 + wd * d0 + we * e0
                by_before += wb * a0 + wc * b0 + wd * c0 + we * d0
                by_now += wb * stages[i + 1, 0] + wc * stages[i + 1, 1] + wd * stages[i + 1, 2] + we * stages[i + 1, 3]
                by_feedback -= wa * (loop_level * back - level * left * compensation)
                through = wa * (1 + feedback * compensation)
                by_level += through * left
                through *= level * _slope(inside, points, rises)
                by_drive += through * v
                gx[row, 0, start + i] = through * drive
                around_loop = -wa * feedback
                by_loop_level += around_loop * back
                around_loop *= loop_level * _slope(around, points, rises)
                by_loop_drive += around_loop * e0
                wa, wb, wc, wd, we = (
                    before * wb,
                    before * wc + memory * wb,
                    before * wd + memory * wc,
                    before * we + memory * wd,
                    memory * we + around_loop * loop_drive,
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
