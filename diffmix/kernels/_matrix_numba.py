"""Compiled loops of channels that are mixed by a matrix."""

import numpy as np

from diffmix.kernels._compile import kernel

BLOCK = 2048


@kernel
def mix(x, m, y, first, last):
    """Items [first, last): y (B, O, T) is m (B, O, I) times x (B, I, T), products added from the first input on."""
    for b in range(first, last):
        for start in range(0, x.shape[2], BLOCK):
            stop = min(start + BLOCK, x.shape[2])
            for o in range(y.shape[1]):
                target = y[b, o, start:stop]
                if x.shape[1] == 2:
                    p, q, left, right = m[b, o, 0], m[b, o, 1], x[b, 0, start:stop], x[b, 1, start:stop]
                    for n in range(stop - start):
                        target[n] = p * left[n] + q * right[n]
                else:
                    for i in range(x.shape[1]):
                        factor, source = m[b, o, i], x[b, i, start:stop]
                        for n in range(stop - start):
                            target[n] = factor * source[n] if i == 0 else target[n] + factor * source[n]


@kernel(fastmath={"reassoc", "contract"})
def mix_backward(gy, x, m, gx, gm, first, last):
    """Adjoint: writes gx and adds to gm (B, O, I), in float64 from block to block."""
    inputs, outputs = x.shape[1], gy.shape[1]
    for b in range(first, last):
        for start in range(0, x.shape[2], BLOCK):
            stop = min(start + BLOCK, x.shape[2])
            for i in range(inputs):
                source, target = x[b, i, start:stop], gx[b, i, start:stop]
                for o in range(outputs):
                    factor, given = m[b, o, i], gy[b, o, start:stop]
                    total = factor * 0
                    if o == 0:
                        for n in range(stop - start):
                            target[n] = factor * given[n]
                            total += given[n] * source[n]
                    else:
                        for n in range(stop - start):
                            target[n] += factor * given[n]
                            total += given[n] * source[n]
                    gm[b, o, i] += np.float64(total)
