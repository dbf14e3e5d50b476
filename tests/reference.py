"""Slow, readable references of the recursive kernels: one sample at a time, in the dtype of the input."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def sos_cascade(x: Array, sos: NDArray[np.float64], block: int | None = None) -> Array:
    """Transposed direct form II; x (C, T), sos (K, 5). With ``block``, tiny states are zeroed after each block."""
    y = x.copy()
    for channel in y:
        for b0, b1, b2, a1, a2 in sos.astype(x.dtype):
            s1 = s2 = x.dtype.type(0)
            for n, v in enumerate(channel):
                if block and n % block == 0:
                    s1, s2 = (s if abs(s) > x.dtype.type(1e-8) else x.dtype.type(0) for s in (s1, s2))
                channel[n] = o = b0 * v + s1
                s1 = (b1 * v - a1 * o) + s2
                s2 = b2 * v - a2 * o
    return y


def compressor(x: Array, threshold: float, exponent: float, attack: float, release: float) -> Array:
    """Peak compressor; x (C, T), the threshold as amplitude, the exponent 1/ratio - 1, the memories per sample."""
    threshold, exponent, attack, release = (x.dtype.type(v) for v in (threshold, exponent, attack, release))
    y = x.copy()
    for channel in y:
        e = x.dtype.type(0)
        for n, v in enumerate(channel):
            r = abs(v)
            e = r + (attack if r > e else release) * (e - r)
            if e >= threshold:
                channel[n] = v * (e * (1 / threshold)) ** exponent
    return y


def noise_gate(x: Array, threshold: float, exponent: float, attack: float, release: float, square: float) -> Array:
    """Gate on the root of a mean square that rises at once; x (C, T), the rest as in `compressor`."""
    threshold, exponent, attack, release, square = (
        x.dtype.type(v) for v in (threshold, exponent, attack, release, square)
    )
    y = x.copy()
    for channel in y:
        e = m = x.dtype.type(0)
        for n, v in enumerate(channel):
            m = max(v * v, v * v + square * (m - v * v))
            r = np.sqrt(m)
            e = r + (attack if r > e else release) * (e - r)
            if e <= threshold:
                channel[n] = v * (e * (1 / threshold)) ** exponent
    return y
