"""Powers of vectors against the C library, bit by bit; logarithms and exponentials against NumPy's float64."""

import ctypes
from typing import Any

import numpy as np
import pytest
from numba import njit

from diffmix.kernels._powf import WIDTH, equals_libm, exp2, log2, scale_by_powers
from diffmix.kernels._simd import load, store

RNG = np.random.default_rng(0)


@njit
def scaled(out: Any, bases: Any, exponents: Any, which: Any, logs: Any, fast: Any) -> None:
    scale_by_powers(out, 0, bases, 0, exponents, 0, 1, which, which.size, logs, fast)


def powers(bases: Any, exponents: Any, fast: bool) -> Any:
    out, which = np.ones_like(bases), np.arange(0, bases.size, WIDTH)
    scaled(out, bases, exponents, which, np.empty(bases.size), fast)
    return out


def libm(bases: Any, exponents: Any) -> Any:
    powf = ctypes.CDLL(None).powf
    powf.restype, powf.argtypes = ctypes.c_float, [ctypes.c_float] * 2
    return np.array([powf(b, e) for b, e in zip(bases.tolist(), exponents.tolist(), strict=True)], np.float32)


@pytest.mark.parametrize(
    ("logs", "exponents", "fast"),
    [
        ((-1, 8), (-1, 0), True),
        ((-40, 1), (0, 19), True),
        ((-1e-3, 1e-3), (-900, 900), True),
        ((-1, 8), (-1, 0), False),
        ((-104, -80), (0, 1.7), False),  # below the normal numbers
    ],
)
def test_powers_are_the_c_librarys(logs: tuple[float, float], exponents: tuple[float, float], fast: bool) -> None:
    """Also to results below the normal numbers and above the largest."""
    if fast and not equals_libm():
        pytest.skip("this processor or C library computes powers otherwise")
    bases = np.exp(RNG.uniform(*logs, 1 << 14)).astype(np.float32)
    e = RNG.uniform(*exponents, 1 << 14).astype(np.float32)
    assert np.array_equal(powers(bases, e, fast), libm(bases, e))


def test_special_bases_and_exponents() -> None:
    special = np.array([0, 1, 1e-45, 1e-38, 3.4e38, np.inf, np.nan, -1, -np.inf], np.float32)
    bases = np.repeat(special, 16)
    exponents = np.tile(np.array([0, 1, -1, 0.5, -0.5, 19, -0.999, 1e-30] * 2, np.float32), len(special))
    assert np.array_equal(powers(bases, exponents, False), libm(bases, exponents), equal_nan=True)


def test_float64_powers() -> None:
    bases, exponents = RNG.uniform(0, 9, 64), RNG.uniform(-2, 2, 64)
    np.testing.assert_allclose(powers(bases, exponents, True), bases**exponents, rtol=4e-16)


@pytest.mark.parametrize(("dtype", "error"), [(np.float32, 3e-7), (np.float64, 1e-15)])
def test_logarithms_and_exponentials(dtype: Any, error: float) -> None:
    @njit
    def call(a: Any, logs: Any, exponentials: Any) -> None:
        for i in range(0, a.size, WIDTH):
            store(logs, i, log2(load(a, i, WIDTH)))
            store(exponentials, i, exp2(load(a, i, WIDTH)))

    a = np.concatenate([np.exp(RNG.uniform(-80, 4, 960)), RNG.uniform(0.99, 1.01, 64)]).astype(dtype)
    logs, exponentials = np.empty_like(a), np.empty_like(a)
    call(a, logs, exponentials)
    exact = np.log2(a.astype(np.float64))
    assert (np.abs(logs - exact) <= error * np.abs(exact) + 1e-16).all()
    np.testing.assert_allclose(exponentials, np.exp2(a.astype(np.float64)), rtol=8 * error)
