"""Compiled loops of the mixing desk's sums."""

import numpy as np

from diffmix.kernels._compile import kernel

BLOCK = 2048
"""Samples whose sums stay in the cache while every track is added."""


@kernel
def forward(y, fader, matrix, send, sums, first, last):
    """Add tracks y (n, C, T) to sums (2 + 2 S, T) over blocks [first, last) of samples: placed, then sent to S buses.

    One track after the other, each product and each sum rounded, as a program that mixes track by track would round.
    """
    n, channels, samples = y.shape
    placed = np.empty((2, BLOCK), y.dtype)
    for block in range(first, last):
        start = block * BLOCK
        stop = min(start + BLOCK, samples)
        u, v = placed[0, : stop - start], placed[1, : stop - start]
        for k in range(n):
            g, a, b = fader[k], matrix[k, 0, 0], matrix[k, 1, 0]
            x, left, right = y[k, 0, start:stop], sums[0, start:stop], sums[1, start:stop]
            if channels == 1:
                for i in range(stop - start):
                    p = g * x[i]
                    u[i], v[i] = a * p, b * p
                    left[i] += u[i]
                    right[i] += v[i]
            else:
                c, d = matrix[k, 0, 1], matrix[k, 1, 1]
                z = y[k, 1, start:stop]
                for i in range(stop - start):
                    p, q = g * x[i], g * z[i]
                    u[i], v[i] = a * p + c * q, b * p + d * q
                    left[i] += u[i]
                    right[i] += v[i]
            for bus in range(send.shape[1]):
                s, left, right = send[k, bus], sums[2 + 2 * bus, start:stop], sums[3 + 2 * bus, start:stop]
                for i in range(stop - start):
                    left[i] += s * u[i]
                    right[i] += s * v[i]


@kernel(fastmath={"reassoc", "contract"})
def backward(gradient, y, weights, gy, dots, first, last):
    """The adjoint over blocks [first, last): gy (n, C, T) and dots (blocks, n, C, O), O = 2 + 2 S.

    Each output o is a sum of ``weights[k, c, o] y[k, c]``, weights (n, C, O), so that y receives the outputs' gradients
    in the same proportions; a dot product of an output's gradient (O, T) and a track is what its weight receives.
    """
    n, channels, samples = y.shape
    for block in range(first, last):
        start = block * BLOCK
        stop = min(start + BLOCK, samples)
        for k in range(n):
            for c in range(channels):
                x, out = y[k, c, start:stop], gy[k, c, start:stop]
                for pair in range(0, gradient.shape[0], 2):
                    w0, w1 = weights[k, c, pair], weights[k, c, pair + 1]
                    left, right = gradient[pair, start:stop], gradient[pair + 1, start:stop]
                    d0 = d1 = w0 * 0
                    if pair == 0:
                        for i in range(stop - start):
                            out[i] = w0 * left[i] + w1 * right[i]
                            d0 += left[i] * x[i]
                            d1 += right[i] * x[i]
                    else:
                        for i in range(stop - start):
                            out[i] += w0 * left[i] + w1 * right[i]
                            d0 += left[i] * x[i]
                            d1 += right[i] * x[i]
                    dots[block, k, c, pair] = d0
                    dots[block, k, c, pair + 1] = d1


def blocks(samples: int) -> int:
    """Number of blocks of a signal."""
    return int(np.ceil(samples / BLOCK))
