# mypy: disable-error-code="call-arg, var-annotated"
# (numba calls intrinsics without their first parameter and infers what is not annotated)
"""Compiled loops of the feedback delay network and of its exact adjoint, laid out as :mod:`._reverb_numba`.

A step is eight samples of eight lines. Along time the lines mix, which is additions of vectors; transposed, with the
lines as lanes, they pass their filters.
"""

import numpy as np

from diffmix.kernels._compile import inner, kernel
from diffmix.kernels._reverb_numba import CHUNK, STEP, _layout, _move, _products, _recall, _save, _sum
from diffmix.kernels._rows import load_rows, store_rows, transpose
from diffmix.kernels._simd import cast, fma, load, store, store_tuple

LINES = STEP


@inner(forceinline=True)
def _filtered(columns, state, gain, pole):
    """``l <- a v + p l`` through eight samples of eight lines: (l after them, all l)."""
    a, b, c, d, e, f, g, h = columns
    a = fma(state, pole, a * gain)
    b = fma(a, pole, b * gain)
    c = fma(b, pole, c * gain)
    d = fma(c, pole, d * gain)
    e = fma(d, pole, e * gain)
    f = fma(e, pole, f * gain)
    g = fma(f, pole, g * gain)
    h = fma(g, pole, h * gain)
    return a, b, c, d, e, f, g, h


@inner(forceinline=True)
def _scaled(rows, factor):
    a, b, c, d, e, f, g, h = rows
    return a * factor, b * factor, c * factor, d * factor, e * factor, f * factor, g * factor, h * factor


@inner(forceinline=True)
def _reversed(rows):
    a, b, c, d, e, f, g, h = rows
    return h, g, f, e, d, c, b, a


@inner(forceinline=True)
def _mixed(rows, even, odd):
    """The Householder reflection of eight rows, plus ``even`` to the even ones and ``odd`` to the others."""
    a, b, c, d, e, f, g, h = rows
    quarter = _sum(rows) * 0.25
    even, odd = even - quarter, odd - quarter
    return a + even, b + odd, c + even, d + odd, e + even, f + odd, g + even, h + odd


@inner(forceinline=True)
def _heard(rows):
    """The sums of the even and of the odd rows, halved."""
    a, b, c, d, e, f, g, h = rows
    return (a + c + e + g) * 0.5, (b + d + f + h) * 0.5


@inner(forceinline=True)
def _input(x, stride, i, channels):
    """What goes to the even and to the odd lines, halved: left and right, or half of mono each."""
    even = load(x, i, STEP) * 0.5
    odd = load(x, stride + i, STEP) * 0.5 if channels == 2 else even
    return even, odd


@inner
def _network(x, lines, starts, ends, low, y, n, gain, pole, steps):
    """n samples of x (C, n) through the network to y (C, n), both padded to whole steps."""
    channels, stride = x.shape
    state, gains, poles = load(low, 0, LINES), load(gain, 0, LINES), load(pole, 0, LINES)
    for i in range(0, n, STEP):
        rows = load_rows(lines, starts, i, LINES)
        left, right = _heard(rows)
        if channels == 2:
            store(y, i, left)
            store(y, stride + i, right)
        else:
            store(y, i, left + right)
        columns = _filtered(transpose(rows), state, gains, poles)
        even, odd = _input(x, stride, i, channels)
        store_rows(lines, ends, i, _mixed(transpose(columns), even, odd))
        state = columns[-1]
        if i + STEP > n:
            store_tuple(steps, 0, columns)
            state = load(steps, (n - 1 - i) * LINES, LINES)
    store(low, 0, state)


@inner
def _coefficients(c, gain, pole):
    for j in range(LINES):
        gain[j], pole[j] = c[j], c[LINES + j]


@inner
def _copy(source, target, n):
    """n samples of each channel, then silence."""
    for ch in range(len(source)):
        for i in range(n):
            target[ch, i] = source[ch, i]
        for i in range(n, target.shape[1]):
            target[ch, i] = 0


@kernel
def forward(x, c, states, y, tile, first, last, lengths):
    """Rows [first, last) of x (R, C, T) to y; ``c`` (R, 1, 16): the gains a, then the poles p of the lines."""
    channels, samples = x.shape[1:]
    delays = lengths.reshape(1, LINES)
    starts, ends, size = _layout(delays, CHUNK + STEP)
    lines, low, steps = np.zeros(size, x.dtype), np.empty(LINES, x.dtype), np.empty(LINES * STEP, x.dtype)
    gain, pole = np.empty(LINES, x.dtype), np.empty(LINES, x.dtype)
    signal, result = np.zeros((channels, CHUNK), x.dtype), np.empty((channels, CHUNK), x.dtype)
    for row in range(first, last):
        _coefficients(c[row, 0], gain, pole)
        _recall(states[row, 0], low, lines, starts, delays)
        for t in range(0, samples, CHUNK):
            n = min(CHUNK, samples - t)
            if t % tile == 0 and t > 0:
                _save(states[row, t // tile], low, lines, starts, delays)
            _copy(x[row, :, t : t + n], signal, n)
            _network(signal, lines, starts[0], ends[0], low, result, n, gain, pole, steps)
            for ch in range(channels):
                for i in range(n):
                    y[row, ch, t + i] = result[ch, i]
            _move(lines, starts, n, lines, starts, np.int64(0), delays)
        _save(states[row, -1], low, lines, starts, delays)


@inner
def _adjoint(gy, adjoint, lines, starts, ends, x, gl, gx, n, gain, pole, by_gain, by_pole):
    """n samples backwards. ``x`` starts STEP samples early, of which the last counts.

    With r the adjoint of what enters, A r reaches the filters' outputs and ``q[n] = (A r)[n] + p q[n+1]`` is theirs;
    ``a q`` and what is heard leave into the adjoint lines. ``by_gain`` collects q[n] v[n], ``by_pole`` q[n] l[n-1],
    where l = A (w - u), since A is its own inverse.
    """
    channels, stride = gy.shape
    gains, poles = load(gain, 0, LINES), load(pole, 0, LINES)
    one = gains * 0 + 1
    state = load(gl, 0, LINES)
    for i in range((n - 1) // STEP * STEP, -1, -STEP):
        rows = load_rows(adjoint, ends, i, LINES)
        even, odd = _heard(rows)
        if channels == 2:
            store(gx, i, even)
            store(gx, stride + i, odd)
        else:
            store(gx, i, even + odd)
        zero = even * 0
        columns = _filtered(_reversed(transpose(_mixed(rows, zero, zero))), state, one, poles)
        state = columns[-1]
        columns = _reversed(columns)
        a, b, c, d, e, f, g, h = transpose(_scaled(columns, gains))
        even, odd = _input(gy, stride, i, channels)
        store_rows(adjoint, starts, i, (a + even, b + odd, c + even, d + odd, e + even, f + odd, g + even, h + odd))
        v = transpose(load_rows(lines, starts, i, LINES))
        store(by_gain, 0, load(by_gain, 0, LINES) + cast(_products(columns, v), np.float64))
        even, odd = _input(x, x.shape[1], STEP - 1 + i, channels)
        a, b, c, d, e, f, g, h = load_rows(lines, ends, i - 1, LINES)
        entered = a - even, b - odd, c - even, d - odd, e - even, f - odd, g - even, h - odd
        past = transpose(_mixed(entered, zero, zero))
        store(by_pole, 0, load(by_pole, 0, LINES) + cast(_products(columns, past), np.float64))
    store(gl, 0, state)


@kernel
def backward(gy, x, c, states, gx, gc, tile, first, last, lengths):
    """Adjoint of rows [first, last), in the dtype of x; sums in float64. Tiles run backwards, each computed again."""
    channels, samples = x.shape[1:]
    longest = min(tile, (samples + STEP - 1) // STEP * STEP)
    delays = lengths.reshape(1, LINES)
    starts, ends, size = _layout(delays, longest + STEP)
    lines, adjoint, steps = np.zeros(size, x.dtype), np.zeros(size, x.dtype), np.empty(LINES * STEP, x.dtype)
    low, gl = np.empty(LINES, x.dtype), np.empty(LINES, x.dtype)
    gain, pole = np.empty(LINES, x.dtype), np.empty(LINES, x.dtype)
    signal, early = np.zeros((channels, longest), x.dtype), np.zeros((channels, STEP + longest), x.dtype)
    gradient, result = np.zeros((channels, longest), x.dtype), np.empty((channels, longest), x.dtype)
    by_gain, by_pole = np.empty(LINES), np.empty(LINES)
    for row in range(first, last):
        _coefficients(c[row, 0], gain, pole)
        for i in range(len(adjoint)):
            adjoint[i] = 0
        for j in range(LINES):
            gl[j] = by_gain[j] = by_pole[j] = 0
        for part in range(states.shape[1] - 2, -1, -1):
            t = part * tile
            n = min(tile, samples - t)
            _recall(states[row, part], low, lines, starts, delays)
            _copy(x[row, :, t : t + n], signal, n)
            _copy(gy[row, :, t : t + n], gradient, n)
            quarter = x.dtype.type(0)
            for j in range(LINES):
                quarter += low[j] / 4
            for ch in range(channels):
                early[ch, STEP - 1] = 2 * (lines[ends[0, ch] - 1] - low[ch] + quarter)  # since u + A l entered last
                for i in range(longest):
                    early[ch, STEP + i] = signal[ch, i]
            _network(signal, lines, starts[0], ends[0], low, result, n, gain, pole, steps)
            _adjoint(gradient, adjoint, lines, starts[0], ends[0], early, gl, result, n, gain, pole, by_gain, by_pole)
            for ch in range(channels):
                for i in range(n):
                    gx[row, ch, t + i] = result[ch, i]
            _move(adjoint, starts, np.int64(0), adjoint, starts, longest, delays)
        for j in range(LINES):
            gc[row, 0, j], gc[row, 0, LINES + j] = by_gain[j], by_pole[j]
