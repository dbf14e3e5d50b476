"""Compiled loops of the mixing desk's sums."""

import numpy as np
from numba import njit

BLOCK = 2048
"""Samples whose sums stay in the cache while every track is added."""


@njit(nogil=True, cache=True)
def forward(y, fader, matrix, send, sums, first, last):
    """Add tracks y (n, C, T) to sums (4, T) over blocks [first, last) of samples: placed left and right, then sent.

    One track after the other, each product and each sum rounded, as a program that mixes track by track would round.
    """
    n, channels, samples = y.shape
    for block in range(first, last):
        start = block * BLOCK
        stop = min(start + BLOCK, samples)
        left, right, sent_left, sent_right = (
            sums[0, start:stop],
            sums[1, start:stop],
            sums[2, start:stop],
            sums[3, start:stop],
        )
        for k in range(n):
            g, a, b, s = fader[k], matrix[k, 0, 0], matrix[k, 1, 0], send[k]
            x = y[k, 0, start:stop]
            if channels == 1:
                for i in range(stop - start):
                    p = g * x[i]
                    u, v = a * p, b * p
                    left[i] += u
                    right[i] += v
                    sent_left[i] += s * u
                    sent_right[i] += s * v
            else:
                c, d = matrix[k, 0, 1], matrix[k, 1, 1]
                z = y[k, 1, start:stop]
                for i in range(stop - start):
                    p, q = g * x[i], g * z[i]
                    u, v = a * p + c * q, b * p + d * q
                    left[i] += u
                    right[i] += v
                    sent_left[i] += s * u
                    sent_right[i] += s * v


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def backward(gradient, y, weights, gy, dots, first, last):
    """The adjoint over blocks [first, last): gy (n, C, T) and dots (blocks, n, C, 4).

    Each output o is a sum of ``weights[k, c, o] y[k, c]``, weights (n, C, 4), so that y receives the outputs' gradients
    in the same proportions; a dot product of an output's gradient (4, T) and a track is what its weight receives.
    """
    n, channels, samples = y.shape
    for block in range(first, last):
        start = block * BLOCK
        stop = min(start + BLOCK, samples)
        left, right, sent_left, sent_right = (
            gradient[0, start:stop],
            gradient[1, start:stop],
            gradient[2, start:stop],
            gradient[3, start:stop],
        )
        for k in range(n):
            for c in range(channels):
                w0, w1, w2, w3 = weights[k, c]
                x, out = y[k, c, start:stop], gy[k, c, start:stop]
                d0 = d1 = d2 = d3 = w0 * 0
                for i in range(stop - start):
                    out[i] = w0 * left[i] + w1 * right[i] + w2 * sent_left[i] + w3 * sent_right[i]
                    d0 += left[i] * x[i]
                    d1 += right[i] * x[i]
                    d2 += sent_left[i] * x[i]
                    d3 += sent_right[i] * x[i]
                dots[block, k, c, 0] = d0
                dots[block, k, c, 1] = d1
                dots[block, k, c, 2] = d2
                dots[block, k, c, 3] = d3


def blocks(samples: int) -> int:
    """Number of blocks of a signal."""
    return int(np.ceil(samples / BLOCK))
