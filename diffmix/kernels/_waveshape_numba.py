"""Compiled loops of the memoryless effects: the clipping curve and its adjoint, quantisation and its surrogate.

Each row goes through buffers of 512 samples, so that every loop is simple enough for LLVM to make vectors of.
"""

import math

import numpy as np

from diffmix.kernels._compile import copy, inner, kernel
from diffmix.kernels._tanh_numba import tanh_and_slope, tanh_in_place

_LENGTH = 512
_FAR = 40.0  # in float64 too, tanh is 1 there and its slope 0


@inner
def _coefficients(c, moving, count, gain, knee, bias):
    """Those of the first samples, or the constant ones so many times, in the precision of the buffers."""
    for i in range(count):
        f = i if moving else 0
        gain[i], knee[i], bias[i] = c[f, 0], c[f, 1], c[f, 2]


@inner
def _beyond(v, knee, z, count):
    """z = (|v| - knee) / (1 - knee), how far beyond the knee each value is; 0 on the straight part."""
    zero, one, far = v.dtype.type(0), v.dtype.type(1), v.dtype.type(_FAR)
    for i in range(count):
        a = abs(v[i]) - knee[i]
        a = (a if a > zero else zero) / (one - knee[i])
        z[i] = far if a > far else a


@inner
def _curve(v, knee, z, f, count, fast):
    """f(v), see `diffmix.kernels.waveshape`; ``fast``: `tanh` is the C library's."""
    one = v.dtype.type(1)
    _beyond(v, knee, z, count)
    if fast and v.itemsize == 4:
        tanh_in_place(z.view(np.float32))  # a view, so that the branch not taken has a type too
    else:
        for i in range(count):
            z[i] = math.tanh(z[i])
    for i in range(count):
        a, h = abs(v[i]), knee[i]
        f[i] = math.copysign(h + (one - h) * z[i] if a > h else a, v[i])


@inner
def _slopes(v, knee, z, by_value, by_knee, count):
    """df/dv = 1 - tanh(z)^2 and df/dknee = sign(v) (1 - tanh(z) + (z - 1) df/dv); 1 and 0 on the straight part."""
    zero, one = v.dtype.type(0), v.dtype.type(1)
    _beyond(v, knee, z, count)
    if v.itemsize == 4:
        copy(z, by_knee)
        tanh_and_slope(by_knee.view(np.float32), by_value.view(np.float32))
    else:
        for i in range(count):
            by_knee[i] = math.tanh(z[i])
            by_value[i] = one - by_knee[i] * by_knee[i]
    for i in range(count):
        change = one - by_knee[i] + (z[i] - one) * by_value[i]
        by_knee[i] = math.copysign(change, v[i]) if z[i] > zero else zero


@inner(fastmath={"reassoc"})
def _sum(values, count):
    total = 0.0
    for i in range(count):
        total += np.float64(values[i])
    return total


@kernel
def forward(x, c, states, y, length, first, last, fast):
    """Rows [first, last) of x (R, 1, T) into y = f(g x + b) - f(b); ``c`` (R, F, 3): gain g, knee, bias b."""
    samples, moving = x.shape[2], c.shape[1] > 1
    work = np.empty((7, _LENGTH), x.dtype)
    gain, knee, bias, v, z, f, rest = work[0], work[1], work[2], work[3], work[4], work[5], work[6]
    for row in range(first, last):
        _coefficients(c[row], moving, 1 if moving else _LENGTH, gain, knee, bias)
        _curve(bias, knee, z, rest, 1 if moving else _LENGTH, fast)
        for start in range(0, samples, _LENGTH):
            count = min(_LENGTH, samples - start)
            if moving:
                _coefficients(c[row, start:], moving, count, gain, knee, bias)
                _curve(bias, knee, z, rest, count, fast)
            signal, out = x[row, 0, start : start + count], y[row, 0, start : start + count]
            for i in range(count):
                v[i] = gain[i] * signal[i] + bias[i]
            _curve(v, knee, z, f, count, fast)
            for i in range(count):
                out[i] = f[i] - rest[i]


@kernel
def backward(gy, x, c, states, gx, gc, length, first, last):
    """Adjoint of rows [first, last)."""
    samples, moving = x.shape[2], c.shape[1] > 1
    work = np.empty((12, _LENGTH), x.dtype)
    gain, knee, bias, v, z, by_value, by_knee = work[0], work[1], work[2], work[3], work[4], work[5], work[6]
    rest_by_value, rest_by_knee, to_gain, to_knee, to_bias = work[7], work[8], work[9], work[10], work[11]
    for row in range(first, last):
        _coefficients(c[row], moving, 1 if moving else _LENGTH, gain, knee, bias)
        _slopes(bias, knee, z, rest_by_value, rest_by_knee, 1 if moving else _LENGTH)
        for start in range(0, samples, _LENGTH):
            count = min(_LENGTH, samples - start)
            if moving:
                _coefficients(c[row, start:], moving, count, gain, knee, bias)
                _slopes(bias, knee, z, rest_by_value, rest_by_knee, count)
            signal, gradient = x[row, 0, start : start + count], gy[row, 0, start : start + count]
            out = gx[row, 0, start : start + count]
            for i in range(count):
                v[i] = gain[i] * signal[i] + bias[i]
            _slopes(v, knee, z, by_value, by_knee, count)
            for i in range(count):
                w = gradient[i] * by_value[i]
                out[i] = w * gain[i]
                to_gain[i] = w * signal[i]
                to_knee[i] = gradient[i] * (by_knee[i] - rest_by_knee[i])
                to_bias[i] = w - gradient[i] * rest_by_value[i]
            if moving:
                for i in range(count):
                    gc[row, start + i, 0] = to_gain[i]
                    gc[row, start + i, 1] = to_knee[i]
                    gc[row, start + i, 2] = to_bias[i]
            else:
                gc[row, 0, 0] += _sum(to_gain, count)
                gc[row, 0, 1] += _sum(to_knee, count)
                gc[row, 0, 2] += _sum(to_bias, count)


@inner
def _limits(c, row, start, limits):
    """The thresholds of samples from ``start`` on, in the precision of the buffer."""
    for i in range(len(limits)):
        limits[i] = c[row, min(start + i, c.shape[1] - 1), 0]


@kernel
def clip(x, c, states, y, length, first, last):
    """Rows [first, last) of x (R, 1, T) into y, limited to +-threshold, the one coefficient."""
    limits = np.empty(_LENGTH, x.dtype)
    for row in range(first, last):
        for start in range(0, x.shape[2], _LENGTH):
            signal, out = x[row, 0, start : start + _LENGTH], y[row, 0, start : start + _LENGTH]
            if start == 0 or c.shape[1] > 1:
                _limits(c, row, start, limits)
            for i in range(len(signal)):
                v, limit = signal[i], limits[i]
                low = -limit if v < -limit else v
                out[i] = limit if low > limit else low


@kernel
def clip_backward(gy, x, c, states, gx, gc, length, first, last):
    """Adjoint of rows [first, last): what is clipped follows the threshold, the rest follows x."""
    real = x.dtype.type
    limits, part = np.empty(_LENGTH, x.dtype), np.empty(_LENGTH, x.dtype)
    for row in range(first, last):
        for start in range(0, x.shape[2], _LENGTH):
            signal, gradient = x[row, 0, start : start + _LENGTH], gy[row, 0, start : start + _LENGTH]
            out = gx[row, 0, start : start + _LENGTH]
            if start == 0 or c.shape[1] > 1:
                _limits(c, row, start, limits)
            for i in range(len(signal)):
                v, limit, g = signal[i], limits[i], gradient[i]
                out[i] = real(0) if abs(v) > limit else g
                part[i] = g if v > limit else -g if v < -limit else real(0)
            if c.shape[1] > 1:
                for i in range(len(signal)):
                    gc[row, start + i, 0] = part[i]
            else:
                gc[row, 0, 0] += _sum(part, len(signal))


@kernel
def quantize(x, c, states, y, length, first, last):
    """Rows [first, last) of x (R, 1, T) into y = round(s x) / s; ``c`` (R, 1, 1): levels s per unit."""
    real = x.dtype.type
    for row in range(first, last):
        levels = real(c[row, 0, 0])
        step = real(1) / levels
        signal, out = x[row, 0], y[row, 0]
        for i in range(len(signal)):
            out[i] = np.rint(levels * signal[i]) * step


@kernel
def quantize_backward(gy, x, c, states, gx, gc, length, first, last):
    """The surrogate: rounding errors y - x are held as they are in steps of 1/s, hence d/ds = -(y - x)/s; d/dx = 1."""
    real = x.dtype.type
    part = np.empty(_LENGTH, x.dtype)
    for row in range(first, last):
        levels = real(c[row, 0, 0])
        step = real(1) / levels
        for start in range(0, x.shape[2], _LENGTH):
            signal, gradient = x[row, 0, start : start + _LENGTH], gy[row, 0, start : start + _LENGTH]
            out = gx[row, 0, start : start + _LENGTH]
            for i in range(len(signal)):
                out[i] = gradient[i]
                part[i] = gradient[i] * (signal[i] - np.rint(levels * signal[i]) * step)
            gc[row, 0, 0] += _sum(part, len(signal)) * step
