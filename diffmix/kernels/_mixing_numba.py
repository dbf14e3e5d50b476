"""Compiled loop of the mixing desk's sums."""

import numpy as np
from numba import njit

BLOCK = 2048
"""Samples whose sums stay in the cache while every track is added."""


@njit(nogil=True, cache=True)
def forward(y, matrix, send, sums, first, last):
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
            a, b, s = matrix[k, 0, 0], matrix[k, 1, 0], send[k]
            x = y[k, 0, start:stop]
            if channels == 1:
                for i in range(stop - start):
                    u, v = a * x[i], b * x[i]
                    left[i] += u
                    right[i] += v
                    sent_left[i] += s * u
                    sent_right[i] += s * v
            else:
                c, d = matrix[k, 0, 1], matrix[k, 1, 1]
                z = y[k, 1, start:stop]
                for i in range(stop - start):
                    u, v = a * x[i] + c * z[i], b * x[i] + d * z[i]
                    left[i] += u
                    right[i] += v
                    sent_left[i] += s * u
                    sent_right[i] += s * v


def blocks(samples: int) -> int:
    """Number of blocks of a signal."""
    return int(np.ceil(samples / BLOCK))
