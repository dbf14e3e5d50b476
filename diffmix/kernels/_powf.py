# mypy: disable-error-code="call-arg, var-annotated"
# (numba calls intrinsics without their first parameter and infers what is not annotated)
"""Powers, logarithms and exponentials of vectors.

`exact_exp2` of an exponent times `exact_log2` is the C library's ``powf`` to the last bit, many times as fast: it is
the algorithm that glibc has used since 2.28, S. Nagy's of Arm's optimized routines (MIT licence, copyright 2017-2018
Arm Limited): log2 by a table of 16 reciprocals and a polynomial, exp2 by a table of 32 powers and another, both in
float64 with fused multiplications. Where the processor has none, or the C library another algorithm (`equals_libm`
compares them at the first use), and for bases that are not positive, normal and finite, the C library is called lane
by lane.
"""

import ctypes
import math
from functools import cache
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from diffmix.kernels._compile import inner, kernel
from diffmix.kernels._lookup import lookup, lookup_pairs
from diffmix.kernels._simd import (  # fmt: skip
    bits,
    by_llvm,
    cast,
    fma,
    has_fma,
    lanes,
    load,
    maximum,
    minimum,
    polynomial,
    splat,
    store,
)

RECIPROCALS = np.array([float.fromhex(h) for h in (
    "0x1.661ec79f8f3bep+0", "0x1.571ed4aaf883dp+0", "0x1.49539f0f010bp+0", "0x1.3c995b0b80385p+0",
    "0x1.30d190c8864a5p+0", "0x1.25e227b0b8eap+0", "0x1.1bb4a4a1a343fp+0", "0x1.12358f08ae5bap+0",
    "0x1.0953f419900a7p+0", "0x1p+0", "0x1.e608cfd9a47acp-1", "0x1.ca4b31f026aap-1",
    "0x1.b2036576afce6p-1", "0x1.9c2d163a1aa2dp-1", "0x1.886e6037841edp-1", "0x1.767dcf5534862p-1",
)])  # fmt: skip
LOGARITHMS = np.stack([RECIPROCALS, -np.log2(RECIPROCALS)], 1)  # the pairs that one index needs lie together
A0, A1, A2, A3, A4 = (float.fromhex(h) for h in (
    "0x1.27616c9496e0bp-2", "-0x1.71969a075c67ap-2", "0x1.ec70a6ca7baddp-2", "-0x1.7154748bef6c8p-1",
    "0x1.71547652ab82bp0",
))  # fmt: skip
POWERS = (2 ** (np.arange(32) / 32)).view(np.int64) - (np.arange(32) << 47)  # what the exponent's bits add is off
C0, C1, C2 = (float.fromhex(h) for h in ("0x1.c6af84b912394p-5", "0x1.ebfce50fac4f3p-3", "0x1.62e42ff0c52d6p-1"))
ROUNDING = 1.5 * 2.0**52 / 32  # adding and subtracting it rounds to multiples of 1/32
FIRST = 0x3F330000  # bits of 0.699: mantissas run from there to twice as much
EXPONENT = -0x800000  # mask of the bits of sign and exponent
SMALLEST, LARGEST = 2.0**-126, float(np.finfo(np.float32).max)  # normal float32
WIDTH = lanes(4)
ROOT = 0x3F3504F3  # bits of the root of 1/2
ARTANH = tuple(2 / math.log(2) / k for k in (9, 7, 5, 3, 1))  # log2 m = 2/log 2 artanh s, s = (m - 1)/(m + 1)
EXPONENTIAL = tuple(math.log(2) ** k / math.factorial(k) for k in range(6, -1, -1))  # 2^r


def _of_library(name: str, arguments: int) -> Any:
    """The C library's function, lane by lane."""
    if arguments == 1:
        return intrinsic(lambda typingctx, a: (a(a), by_llvm(name, a)))
    return intrinsic(lambda typingctx, a, b: (a(a, b), by_llvm(name, a)))


library_power, library_log2, library_exp2 = _of_library("pow", 2), _of_library("log2", 1), _of_library("exp2", 1)


@inner(forceinline=True)
def exact_log2(base):
    """The first half of ``powf``: float64 logarithms of float32 lanes that are positive, normal and finite."""
    above = bits(base, np.int32) - FIRST
    z = cast(bits(bits(base, np.int32) - (above & EXPONENT), np.float32), np.float64)
    # log2 base = log2 c + whole + log2(1 + r), 1 + r = z / c for the tabled c next to z
    reciprocal, logarithm = lookup_pairs(LOGARITHMS, (above >> 19) & 15, 16)
    r = fma(z, reciprocal, splat(-1.0, z))
    square = r * r
    high = fma(splat(A0, z), r, splat(A1, z))
    low = fma(splat(A2, z), r, splat(A3, z))
    low = fma(low, square, fma(splat(A4, z), r, logarithm + cast(above >> 23, np.float64)))
    return fma(high, square * square, low)


@inner(forceinline=True)
def exact_exp2(a):
    """The second half: float32 powers of 2 from finite float64 lanes, and 1 from 0."""
    x = minimum(maximum(a, -151.0), 129.0)  # beyond these limits float32 has 0 and infinity only
    shifted = x + ROUNDING
    n = bits(shifted, np.int64)
    r = x - (shifted - ROUNDING)
    scale = bits(lookup(POWERS, n & 31, 32) + (n << 47), np.float64)
    part = fma(fma(splat(C0, x), r, splat(C1, x)), r * r, fma(splat(C2, x), r, splat(1.0, x)))
    return cast(part * scale, np.float32)


def scale_by_powers(y, at, base, own, exponent, start, along, which, count, logs, fast):
    """Vectors of ``y[at:]``, ``count`` of those that start at ``which``, times ``base ** exponent``, in the C library's
    ``powf`` or ``pow`` bit for bit; ``base[own:]`` lies beside y, ``exponent[start:]`` too if ``along`` is 1.

    ``fast``: `equals_libm`, and the bases are positive, normal and finite. Then it takes two loops and room for a
    logarithm per sample: a processor overlaps only about 200 instructions, and neighbours do not wait for each other.
    """


@overload(scale_by_powers, jit_options={"nogil": True})
def _scale_by_powers(y, at, base, own, exponent, start, along, which, count, logs, fast):
    def by_library(y, at, base, own, exponent, start, along, which, count, logs, fast):
        for n in range(count):
            i = which[n]
            gain = library_power(load(base, own + i, WIDTH), load(exponent, start + i * along, WIDTH))
            store(y, at + i, load(y, at + i, WIDTH) * gain)

    def of_float32(y, at, base, own, exponent, start, along, which, count, logs, fast):
        if not fast:
            for n in range(count):
                i = which[n]
                gain = library_power(load(base, own + i, WIDTH), load(exponent, start + i * along, WIDTH))
                store(y, at + i, load(y, at + i, WIDTH) * gain)
            return
        for n in range(count):
            i = which[n]
            p = cast(load(exponent, start + i * along, WIDTH), np.float64)
            store(logs, n * WIDTH, p * exact_log2(load(base, own + i, WIDTH)))
        for n in range(count):
            i = which[n]
            store(y, at + i, load(y, at + i, WIDTH) * exact_exp2(load(logs, n * WIDTH, WIDTH)))

    return of_float32 if y.dtype == types.float32 else by_library


def log2(a):
    """Base 2 logarithm of positive lanes, to 2e-7 in float32; for gradients."""


@overload(log2, jit_options={"forceinline": True, "nogil": True})
def _log2(a):
    if a.dtype != types.float32:
        return lambda a: library_log2(a)

    def of_float32(a):
        i = bits(a, np.int32)
        whole = (i - ROOT) >> 23
        m = bits(i - (whole << 23), np.float32)  # from the root of 1/2 to that of 2
        s = (m - 1) / (m + 1)  # |s| < 0.172
        q = s * s
        return fma(s, polynomial(q, ARTANH), cast(whole, np.float32))

    return of_float32


def exp2(a):
    """2 to the power of lanes, to 2e-7 in float32 between -126 and 127, where it stays; for gradients."""


@overload(exp2, jit_options={"forceinline": True, "nogil": True})
def _exp2(a):
    if a.dtype != types.float32:
        return lambda a: library_exp2(a)

    def of_float32(a):
        x = minimum(maximum(a, -126.0), 127.0)
        shifted = x + 12582912.0  # 1.5 2^23: rounds to integers, whose bits are the last ones
        r = x - (shifted - 12582912.0)
        return bits(bits(polynomial(r, EXPONENTIAL), np.int32) + (bits(shifted, np.int32) << 23), np.float32)

    return of_float32


@kernel
def _powers(bases, exponents, out):
    for i in range(0, out.size, WIDTH):
        store(out, i, exact_exp2(cast(load(exponents, i, WIDTH), np.float64) * exact_log2(load(bases, i, WIDTH))))


@cache
def equals_libm() -> bool:
    """True if `exact_exp2` and `exact_log2` agree with the C library here; compared once, on 4000 powers."""
    if not has_fma():
        return False
    try:
        powf = ctypes.CDLL(None).powf
    except (AttributeError, OSError):
        return False
    powf.restype, powf.argtypes = ctypes.c_float, [ctypes.c_float] * 2
    random = np.random.default_rng(0)
    bases = np.exp(random.uniform(-40, 8, 4000)).astype(np.float32)
    exponents = (random.choice([-1, 1, 5, 20], 4000) * random.random(4000)).astype(np.float32)
    bases[:100], exponents[100:102] = np.exp(random.uniform(-87, -80, 100)), 0
    found = np.empty_like(bases)
    _powers(bases, exponents, found)
    return all(f == powf(b, e) for f, b, e in zip(found.tolist(), bases.tolist(), exponents.tolist(), strict=True))
