"""Compiled loops of the noise reverb's impulse response: bands under their envelopes, added up."""

import numpy as np

from diffmix.kernels._compile import kernel


@kernel
def shape(coarse, fine, bands, h, first, last):
    """Items [first, last): h (B, C, L) is the sum over k of coarse (B, K, I) fine (B, K, J) bands (K, C, L).

    Sample n = i J + j has the envelope coarse[i] fine[j].
    """
    kinds, length = fine.shape[1:]
    channels, samples = h.shape[1:]
    envelope = np.empty(length, h.dtype)
    for item in range(first, last):
        for i in range(coarse.shape[2]):
            start = i * length
            count = min(length, samples - start)
            for c in range(channels):
                out = h[item, c, start : start + count]
                for j in range(count):
                    out[j] = 0
            for k in range(kinds):
                level, decay = coarse[item, k, i], fine[item, k]
                for j in range(count):
                    envelope[j] = level * decay[j]
                for c in range(channels):
                    noise, out = bands[k, c, start : start + count], h[item, c, start : start + count]
                    for j in range(count):
                        out[j] += envelope[j] * noise[j]


@kernel(fastmath={"reassoc", "contract"})
def shape_backward(g, coarse, fine, bands, gcoarse, gfine, first, last):
    """The adjoint over items [first, last): gradients g (B, C, L) to gcoarse and gfine, which start as zeros."""
    kinds, length = fine.shape[1:]
    channels, samples = g.shape[1:]
    heard = np.empty(length, g.dtype)
    for item in range(first, last):
        for i in range(coarse.shape[2]):
            start = i * length
            count = min(length, samples - start)
            for k in range(kinds):
                for j in range(count):
                    heard[j] = 0
                for c in range(channels):
                    noise, given = bands[k, c, start : start + count], g[item, c, start : start + count]
                    for j in range(count):
                        heard[j] += noise[j] * given[j]
                level, decay, out = coarse[item, k, i], fine[item, k], gfine[item, k]
                total = level * 0
                for j in range(count):
                    total += heard[j] * decay[j]
                    out[j] += heard[j] * level
                gcoarse[item, k, i] = total
