"""The C library's float32 functions, elementwise: Pedalboard's coefficients come from these.

NumPy's and torch's vectorised ``sin`` or ``exp`` differ from them in the last bit, which is enough to change a sample.
"""

import ctypes
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


@cache
def _function(name: str, arguments: int) -> Callable[..., float]:
    function = getattr(ctypes.CDLL(None), name)
    function.restype = ctypes.c_float
    function.argtypes = [ctypes.c_float] * arguments
    return function


def _map(name: str, *arrays: Float32) -> Float32:
    function = _function(name, len(arrays))
    values = zip(*(a.ravel().tolist() for a in arrays), strict=True)
    return np.array([function(*v) for v in values], np.float32).reshape(arrays[0].shape)


def sin(x: Float32) -> Float32:
    """``sinf`` of every element."""
    return _map("sinf", x)


def cos(x: Float32) -> Float32:
    """``cosf`` of every element."""
    return _map("cosf", x)


def tan(x: Float32) -> Float32:
    """``tanf`` of every element."""
    return _map("tanf", x)


def exp(x: Float32) -> Float32:
    """``expf`` of every element."""
    return _map("expf", x)


def power(base: float, exponent: Float32) -> Float32:
    """``powf(base, exponent)`` for every exponent."""
    return _map("powf", np.full_like(exponent, base), exponent)
