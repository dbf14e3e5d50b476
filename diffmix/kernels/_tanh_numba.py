# mypy: disable-error-code="call-arg, var-annotated"
"""The hyperbolic tangent of float32 as the C library rounds it, eight at a time.

The algorithm is fdlibm's (Sun Microsystems, 1993, ``tanhf`` by ``expm1f``), which glibc uses up to 2.40. Its branches
are selections here, and every operation is rounded as there. `is_libms` compares the two, for other C libraries.
"""

import math
from functools import cache

import numpy as np

from diffmix.kernels._compile import inner, kernel
from diffmix.kernels._simd import absolute, bits, cast, load, minimum, select, store

LANES = 8
_SATURATED = 22.0  # tanh rounds to 1 long before
_LN2_HIGH, _LN2_LOW, _PER_LN2 = 6.9313812256e-01, 9.0580006145e-06, 1.4426950216
_HALF_LN2, _THREE_HALVES_LN2 = (float(v) for v in np.array([0x3EB17218, 0x3F851592], np.int32).view(np.float32))
_Q1, _Q2, _Q3 = -3.3333335072e-02, 1.5873016091e-03, -7.9365076090e-05
_Q4, _Q5 = 4.0082177293e-06, -2.0109921195e-07
_MANTISSA, _BIAS = 1 << 23, 127


@inner(forceinline=True)
def _power_of_two(k):
    return bits((k + _BIAS) * _MANTISSA, np.float32)


@inner(forceinline=True)
def growth(a):
    """expm1f(2a) from a = 1 on, expm1f(-2a) below, of a >= 0 (lanes of float32), held at 22.

    2a = k ln 2 + r is split into whole octaves and a rest r with the error c of its rounding; a rational approximation
    gives e with expm1(r) = r - e.
    """
    a = minimum(a, _SATURATED)
    large = a >= 1.0
    v = select(large, a + a, -(a + a))
    k = cast(_PER_LN2 * v + select(large, absolute(v) * 0.0 + 0.5, -0.5), np.int32)  # towards zero
    k = select(absolute(v) < _THREE_HALVES_LN2, k * 0 - 1, k)
    k = select(absolute(v) <= _HALF_LN2, k * 0, k)
    octaves = cast(k, np.float32)
    high, low = v - octaves * _LN2_HIGH, octaves * _LN2_LOW
    r = high - low
    c = (high - r) - low
    half = 0.5 * r
    square = r * half
    r1 = 1.0 + square * (_Q1 + square * (_Q2 + square * (_Q3 + square * (_Q4 + square * _Q5))))
    t = 3.0 - r1 * half
    e = square * ((r1 - t) / (6.0 - r * t))
    e = (r * (e - c) - c) - square
    up, down = _power_of_two(k), _power_of_two(-k)
    y = (1.0 - (e - r)) * up - 1.0
    y = select(k > 0, ((1.0 - down) - (e - r)) * up, y)
    y = select(k >= 23, ((r - (e + down)) + 1.0) * up, y)
    y = select(k == -1, 0.5 * (r - e) - 0.5, y)
    return select(k == 0, r - e, y)


@inner(forceinline=True)
def tanh(a):
    """tanhf(a) of a >= 0, in lanes of float32."""
    large = a >= 1.0
    t = growth(a)
    part = select(large, 2.0, -t) / (t + 2.0)
    return select(large, 1.0 - part, part)


@kernel
def tanh_in_place(values):
    """`tanh` of a float32 array of a multiple of eight values, none negative."""
    for i in range(0, len(values), LANES):
        store(values, i, tanh(load(values, i, LANES)))


@kernel
def tanh_and_slope(values, slopes):
    """`tanh` in place and its derivative: with q = exp(+-2a), 4 q / (1 + q)^2, which is accurate far out too."""
    for i in range(0, len(values), LANES):
        a = load(values, i, LANES)
        t = growth(a)
        root = 2.0 / (t + 2.0)
        store(slopes, i, (t + 1.0) * root * root)
        store(values, i, select(a >= 1.0, 1.0 - root, -t / (t + 2.0)))


@kernel
def _differences(values, fast):
    count = 0
    for i in range(len(values)):
        count += fast[i] != math.tanh(values[i])  # of a float32 this calls tanhf
    return count


@cache
def is_libms() -> bool:
    """True if `tanh` is the C library's ``tanhf``, judged by 32 000 values."""
    values = np.concatenate([np.linspace(0, 10, 20_000), np.geomspace(1e-30, 1e3, 12_000)]).astype(np.float32)
    fast = values.copy()
    tanh_in_place(fast)
    return _differences(values, fast) == 0
