# mypy: disable-error-code="call-arg, var-annotated"
# (numba calls intrinsics without their first parameter and infers what is not annotated)
"""Powers, logarithms and exponentials of vectors.

`power` of float32 lanes gives the C library's ``powf`` to the last bit, four times as fast: it is the algorithm that
glibc has used since 2.28, S. Nagy's of Arm's optimized routines (MIT licence, copyright 2017-2018 Arm Limited):
log2 by a table of 16 reciprocals and a polynomial, exp2 by a table of 32 powers and another, both in float64 with
fused multiplications. Where the processor has none, or the C library another algorithm (`equals_libm` compares them at
the first use), and for bases that are negative, infinite or NaN, the C library is called lane by lane.
"""

import ctypes
from functools import cache
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic, overload

from diffmix.kernels._simd import (
    bits,
    by_llvm,
    cast,
    every,
    fma,
    has_fma,
    lanes,
    load,
    lookup,
    maximum,
    minimum,
    select,
    splat,
    store,
)  # fmt: skip

RECIPROCALS = np.array([float.fromhex(h) for h in (
    "0x1.661ec79f8f3bep+0", "0x1.571ed4aaf883dp+0", "0x1.49539f0f010bp+0", "0x1.3c995b0b80385p+0",
    "0x1.30d190c8864a5p+0", "0x1.25e227b0b8eap+0", "0x1.1bb4a4a1a343fp+0", "0x1.12358f08ae5bap+0",
    "0x1.0953f419900a7p+0", "0x1p+0", "0x1.e608cfd9a47acp-1", "0x1.ca4b31f026aap-1",
    "0x1.b2036576afce6p-1", "0x1.9c2d163a1aa2dp-1", "0x1.886e6037841edp-1", "0x1.767dcf5534862p-1",
)])  # fmt: skip
LOGARITHMS = -np.log2(RECIPROCALS)
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


def _of_library(name: str, arguments: int) -> Any:
    """The C library's function, lane by lane."""
    if arguments == 1:
        return intrinsic(lambda typingctx, a: (a(a), by_llvm(name, a)))
    return intrinsic(lambda typingctx, a, b: (a(a, b), by_llvm(name, a)))


library_power, library_log2, library_exp2 = _of_library("pow", 2), _of_library("log2", 1), _of_library("exp2", 1)


@njit(nogil=True, forceinline=True)
def vector_power(base, exponent):
    """``powf`` of float32 lanes: bases 0 or more and finite, exponents finite."""
    tiny = base < SMALLEST
    i = bits(select(tiny, base * 2.0**23, base), np.int32)
    above = i - FIRST
    which = (above >> 19) & 15
    whole = (above >> 23) - select(tiny, (i & 0) + 23, 0)
    z = cast(bits(i - (above & EXPONENT), np.float32), np.float64)
    # log2 base = log2 c + whole + log2(1 + r), 1 + r = z / c for the tabled c next to z
    r = fma(z, lookup(RECIPROCALS, which, 16), splat(-1.0, z))
    square = r * r
    high = fma(splat(A0, z), r, splat(A1, z))
    low = fma(splat(A2, z), r, splat(A3, z))
    low = fma(low, square, fma(splat(A4, z), r, lookup(LOGARITHMS, which, 16) + cast(whole, np.float64)))
    log2 = select(base == 0.0, -1e300, fma(high, square * square, low))
    # beyond these limits float32 has 0 and infinity only
    x = minimum(maximum(cast(exponent, np.float64) * log2, -151.0), 129.0)
    shifted = x + ROUNDING
    n = bits(shifted, np.int64)
    r = x - (shifted - ROUNDING)
    scale = bits(lookup(POWERS, n & 31, 32) + (n << 47), np.float64)
    part = fma(fma(splat(C0, z), r, splat(C1, z)), r * r, fma(splat(C2, z), r, splat(1.0, z)))
    return cast(part * scale, np.float32)


def power(base, exponent, fast):
    """``base ** exponent`` of vectors, bit for bit the C library's; ``fast``: `equals_libm`."""


@overload(power, jit_options={"forceinline": True, "nogil": True})
def _power(base, exponent, fast):
    if base.dtype != types.float32:
        return lambda base, exponent, fast: library_power(base, exponent)

    def of_float32(base, exponent, fast):
        if fast and every((base >= 0.0) & (base <= LARGEST)):
            return vector_power(base, exponent)
        return library_power(base, exponent)

    return of_float32


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
        s = (m - 1) / (m + 1)  # log m = 2 artanh s, |s| < 0.172
        q = s * s
        series = (((q * (2 / 9) + 2 / 7) * q + 2 / 5) * q + 2 / 3) * q + 2
        return cast(whole, np.float32) + s * series * 1.4426950408889634

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
        r = (x - (shifted - 12582912.0)) * 0.6931471805599453
        series = (((((r / 720 + 1 / 120) * r + 1 / 24) * r + 1 / 6) * r + 1 / 2) * r + 1) * r + 1
        return bits(bits(series, np.int32) + (bits(shifted, np.int32) << 23), np.float32)

    return of_float32


@njit(nogil=True, cache=True)
def _powers(bases, exponents, out):
    for i in range(0, out.size, WIDTH):
        store(out, i, vector_power(load(bases, i, WIDTH), load(exponents, i, WIDTH)))


@cache
def equals_libm() -> bool:
    """True if this processor and its C library agree with `vector_power`; compared once, on 4000 powers."""
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
    bases[:100] = np.exp(random.uniform(-103, -80, 100))  # also below the normal numbers
    bases[100:102], exponents[102:104] = 0, 0
    found = np.empty_like(bases)
    _powers(bases, np.abs(exponents, where=bases == 0, out=exponents), found)
    return all(f == powf(b, e) for f, b, e in zip(found.tolist(), bases.tolist(), exponents.tolist(), strict=True))
