"""Compiled loops of a bank of FIR filters, one row at a time."""

import numpy as np

from diffmix.kernels._compile import inner, kernel

_BLOCK = 1024  # samples at a time: what one filter reads and writes stays in the first-level cache


@inner
def _add(out, line, taps):
    """out[n] += sum over k of taps[k] line[n + k], in this order, for each n alike.

    Four taps at a time, as reading and writing ``out`` costs as much as a tap; fours of zeros are passed over.
    """
    count, k = out.size, 0
    while k + 4 <= taps.size:
        h0, h1, h2, h3 = taps[k], taps[k + 1], taps[k + 2], taps[k + 3]
        if h0 != 0 or h1 != 0 or h2 != 0 or h3 != 0:
            l0, l1 = line[k : k + count], line[k + 1 : k + 1 + count]
            l2, l3 = line[k + 2 : k + 2 + count], line[k + 3 : k + 3 + count]
            for n in range(count):
                out[n] = (((out[n] + h0 * l0[n]) + h1 * l1[n]) + h2 * l2[n]) + h3 * l3[n]
        k += 4
    while k < taps.size:
        h0, l0 = taps[k], line[k : k + count]
        for n in range(count):
            out[n] += h0 * l0[n]
        k += 1


@kernel
def forward(x, c, states, y, _, first, last, taps):
    """Rows [first, last): y (R, O, T) from x (R, I, T) and c (R, 1, O I K); states hold the last K - 1 inputs of each.

    y[o, n] = sum over i and k of c[o, i, k] x[i, n - k]
    """
    inputs, outputs, samples = x.shape[1], y.shape[1], x.shape[2]
    before = taps - 1
    line = np.empty(before + _BLOCK, x.dtype)
    for row in range(first, last):
        h = c[row, 0].reshape(outputs, inputs, taps)[:, :, ::-1].astype(x.dtype)
        y[row] = 0
        for start in range(0, samples, _BLOCK):
            count = min(_BLOCK, samples - start)
            for i in range(inputs):
                for n in range(before + count):
                    at = start - before + n
                    line[n] = x[row, i, at] if at >= 0 else states[row, 0, (i + 1) * before + at]
                for o in range(outputs):
                    _add(y[row, o, start : start + count], line, h[o, i])
        for i in range(inputs):
            for n in range(before):
                at = samples - before + n
                states[row, 1, i * before + n] = x[row, i, at] if at >= 0 else states[row, 0, (i + 1) * before + at]


@kernel
def backward(gy, x, c, states, gx, gc, _, first, last, taps):
    """Adjoint of rows [first, last): gx[i, n] = sum over o and k of c[o, i, k] gy[o, n + k]; the taps are constants."""
    inputs, outputs, samples = x.shape[1], gy.shape[1], x.shape[2]
    line = np.empty(_BLOCK + taps - 1, x.dtype)
    for row in range(first, last):
        h = c[row, 0].reshape(outputs, inputs, taps).astype(x.dtype)
        gx[row] = 0
        for start in range(0, samples, _BLOCK):
            count = min(_BLOCK, samples - start)
            for o in range(outputs):
                for n in range(count + taps - 1):
                    line[n] = gy[row, o, start + n] if start + n < samples else 0
                for i in range(inputs):
                    _add(gx[row, i, start : start + count], line, h[o, i])
