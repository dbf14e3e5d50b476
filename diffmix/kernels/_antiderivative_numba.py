"""Compiled loops of the curve's mean between neighbouring samples, and of its exact adjoint; in float64 throughout.

The mean of f from v0 to v1 is a difference quotient of antiderivatives, which is 0/0 where the signal stands still.
Here it is put together from what lies in each of the curve's three parts, since every part can be done without
cancellation: the straight one by its middle, tanh by the antiderivative over long ways and by two-point Gauss-Legendre
quadrature over short ones.
"""

import math

import numpy as np

from diffmix.kernels._compile import inner, kernel

_SHORT = 3e-3  # errors of 2e-14 in the mean and 2e-11 in its derivatives by quadrature, as much by differences
_NODE = 0.5 / math.sqrt(3)
_FAR = 40.0


@inner(forceinline=True)
def _bent_at(z):
    """tanh(z), its slope, and 1 - tanh(z) + (z - 1) slope, at z >= 0."""
    q = math.exp(-2 * min(z, _FAR))
    t = (1 - q) / (1 + q)
    slope = 4 * q / ((1 + q) * (1 + q))
    return t, slope, 1 - t + (min(z, _FAR) - 1) * slope


@inner(forceinline=True)
def _bent(a, b):
    """Of tanh from a to b, both >= 0: its mean; the mean's derivative by b; the means of its slope and of df/dknee."""
    way = b - a
    if abs(way) < _SHORT:
        middle = (a + b) / 2
        t0, slope0, knee0 = _bent_at(middle - _NODE * way)
        t1, slope1, knee1 = _bent_at(middle + _NODE * way)
        by_end = (slope0 * (0.5 - _NODE) + slope1 * (0.5 + _NODE)) / 2
        return (t0 + t1) / 2, by_end, (slope0 + slope1) / 2, (knee0 + knee1) / 2
    ca, cb = min(a, _FAR), min(b, _FAR)
    qa, qb = math.exp(-2 * ca), math.exp(-2 * cb)
    ta, tb = (1 - qa) / (1 + qa), (1 - qb) / (1 + qb)
    change = math.log((1 + qb) / (1 + qa))  # log cosh z = z + log(1 + exp(-2z)) - log 2
    mean = 1 + change / way
    # 1 - tanh(z) + (z - 1) / cosh(z)^2 is the derivative of z - 2 log cosh z + (z - 1) tanh z
    by_knee = 2 * ca * qa / (1 + qa) - 2 * cb * qb / (1 + qb) - 2 * change - (tb - ta)
    return mean, (tb - mean) / way, (tb - ta) / way, by_knee / way


@kernel(forceinline=True)
def _mean(v0, v1, knee):
    """Of f from v0 to v1: its mean, and that by v0, by v1 and by the knee."""
    width = 1 - knee
    if v0 == v1:
        a = abs(v0)
        if a <= knee:
            return v0, 0.5, 0.5, 0.0
        t, slope, by_knee = _bent_at((a - knee) / width)
        return math.copysign(knee + width * t, v0), slope / 2, slope / 2, math.copysign(by_knee, v0)
    way = v1 - v0
    mean = by_end = slope = by_knee = 0.0
    # what lies in each part goes from p0 to p1, a share of the way and ``offset`` behind its begin:
    # d mean / d v1 is the mean of f'(t) (t - v0) / way
    p0, p1 = min(max(v0, -knee), knee), min(max(v1, -knee), knee)
    if p0 != p1:
        share, offset = (p1 - p0) / way, (p0 - v0) / way
        mean += share * (p0 + p1) / 2
        by_end += share * (share / 2 + offset)
        slope += share
    for side in (-1.0, 1.0):
        p0, p1 = max(side * v0, knee), max(side * v1, knee)
        if p0 != p1:
            share, offset = side * (p1 - p0) / way, (side * p0 - v0) / way
            m, e, s, k = _bent((p0 - knee) / width, (p1 - knee) / width)
            mean += side * share * (knee + width * m)
            by_end += share * (share * e + offset * s)
            slope += share * s
            by_knee += side * share * k
    return mean, slope - by_end, by_end, by_knee


@kernel
def forward(x, c, states, y, length, first, last):
    """Rows [first, last) of x (R, 1, T) into y, the mean of f from u_{n-1} + b to u_n + b minus f(b), with u = g x.

    ``c`` (R, F, 3): gain g, knee, bias b; states (R, 2, 1) hold u.
    """
    real, moving = x.dtype.type, c.shape[1] > 1
    for row in range(first, last):
        gain, knee, bias = c[row, 0, 0], c[row, 0, 1], c[row, 0, 2]
        rest = _mean(bias, bias, knee)[0]
        before = states[row, 0, 0]
        for i in range(x.shape[2]):
            if moving:
                gain, knee, bias = c[row, i, 0], c[row, i, 1], c[row, i, 2]
                rest = _mean(bias, bias, knee)[0]
            u = real(gain * x[row, 0, i])
            y[row, 0, i] = _mean(before + bias, u + bias, knee)[0] - rest
            before = u
        states[row, 1, 0] = before


@kernel
def backward(gy, x, c, states, gx, gc, length, first, last):
    """Adjoint of rows [first, last): u_n appears in the means of n and n + 1."""
    real, moving = x.dtype.type, c.shape[1] > 1
    for row in range(first, last):
        gain, knee, bias = c[row, 0, 0], c[row, 0, 1], c[row, 0, 2]
        _, _, rest_by_bias, rest_by_knee = _mean(bias, bias, knee)
        u = real(c[row, -1, 0] * x[row, 0, -1])
        w = 0.0  # gradient of u
        for i in range(x.shape[2] - 1, -1, -1):
            f = i if moving else 0
            if moving:
                gain, knee, bias = c[row, i, 0], c[row, i, 1], c[row, i, 2]
                _, _, rest_by_bias, rest_by_knee = _mean(bias, bias, knee)
            before = states[row, 0, 0]
            if i > 0:
                before = real((c[row, i - 1, 0] if moving else gain) * x[row, 0, i - 1])
            _, by_before, by_u, by_knee = _mean(before + bias, u + bias, knee)
            g = np.float64(gy[row, 0, i])
            w += g * by_u
            gx[row, 0, i] = w * gain
            gc[row, f, 0] += w * x[row, 0, i]
            gc[row, f, 1] += g * (by_knee - rest_by_knee)
            gc[row, f, 2] += g * (by_before + by_u - 2 * rest_by_bias)
            w = g * by_before
            u = before
