r"""Reverb as filtered noise that dies away at its own pace in each band.

With octave bands $n_k$ of one fixed piece of noise, levels $g_k$ and decay times $T_k$ to -60 dB,

$$h(t) = \sum_k 10^{g_k/20}\, 10^{-3 t/T_k}\, n_k(t)$$

is an impulse response as late reverberation has it: J. A. Moorer, "About this reverberation business", CMJ 3(2), 1979;
J. Steinmetz, V. K. Ithapu and P. Calamia, "Filtered noise shaping for time domain room impulse response estimation
from reverberant speech", WASPAA 2021.
"""

import math
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from diffmix.keeping import kept
from diffmix.kernels._operator import operator
from diffmix.kernels.backend import compiled, over_rows

CENTRES_HZ = (63, 125, 250, 500, 1000, 2000, 4000, 8000, 16000)
_EDGE = 0.35  # of an octave on either side of the border between two bands, over which they cross-fade
_BLOCK = 256


@kept(4)  # of 6 MB each, as a rule
def noise_bands(sample_rate: float, samples: int, seed: int, channels: int = 2) -> Tensor:
    """White noise of unit variance, independent in each channel, split into octaves: (K, channels, samples), float32.

    The bands sum to the noise; the lowest reaches down to 0 Hz, the highest up to half the sample rate. Neighbours
    cross-fade over 0.7 octaves with the weights cos^2 and sin^2. The same arguments give the same noise on every
    machine, but for the last bits of the transforms.
    """
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(channels, samples, generator=generator, dtype=torch.float64)
    length = samples + samples % 2
    octaves = torch.log2(torch.fft.rfftfreq(length, 1 / sample_rate, dtype=torch.float64).clamp_min(1e-3))
    borders = [0.5 * (math.log2(a) + math.log2(b)) for a, b in pairwise(CENTRES_HZ)]
    above = [torch.ones_like(octaves)]
    for border in borders:
        position = ((octaves - border) / (2 * _EDGE) + 0.5).clamp(0, 1)
        above.append(torch.sin(0.5 * math.pi * position).square())
    above.append(torch.zeros_like(octaves))
    weights = torch.stack([lower - upper for lower, upper in pairwise(above)])
    return torch.fft.irfft(torch.fft.rfft(white, length) * weights[:, None], length)[..., :samples].float()


def noise_response(bands: Tensor, decay_s: Tensor, gain_db: Tensor, sample_rate: float) -> Tensor:
    """The impulse response of bands (K, C, L) with decay times to -60 dB and levels (B, K): (B, C, L), float32 or 64.

    Gradients reach the decay times and levels.
    """
    # in float64, so that the vectorised exponential's last bits are rounded off, whichever place an item has in a batch
    rate = -3 * math.log(10) / (sample_rate * decay_s.double())
    level = torch.exp(gain_db.double() * (math.log(10) / 20))
    samples = bands.shape[-1]
    # exp(r (256 i + j)) = exp(r 256 i) exp(r j): 512 exponentials of a second of audio instead of 44100
    blocks = torch.arange(-(-samples // _BLOCK), dtype=rate.dtype, device=rate.device) * _BLOCK
    inside = torch.arange(_BLOCK, dtype=rate.dtype, device=rate.device)
    coarse = (level[..., None] * torch.exp(rate[..., None] * blocks)).to(decay_s.dtype)
    fine = torch.exp(rate[..., None] * inside).to(decay_s.dtype)
    noise = bands.to(decay_s.dtype)
    if compiled(decay_s):
        return _noise_shape(coarse, fine, noise)
    envelopes = (coarse[..., None] * fine[..., None, :]).flatten(2)[..., :samples]
    return (envelopes[:, :, None] * noise).sum(1)


@operator(fake=lambda g, coarse, fine, bands: (coarse.new_empty(coarse.shape), fine.new_empty(fine.shape)))
def _noise_shape_backward(g: Tensor, coarse: Tensor, fine: Tensor, bands: Tensor) -> tuple[Tensor, Tensor]:
    from diffmix.kernels._noise_numba import shape_backward

    arrays = [part.detach().contiguous().numpy() for part in (g, coarse, fine, bands)]
    found = np.zeros_like(arrays[1]), np.zeros_like(arrays[2])
    over_rows(partial(shape_backward, *arrays, *found), len(g))
    return torch.from_numpy(found[0]), torch.from_numpy(found[1])


@operator(
    fake=lambda coarse, fine, bands: coarse.new_empty(coarse.shape[0], *bands.shape[1:]),
    backward=lambda ctx, g: (*_noise_shape_backward(g, *ctx.saved_tensors), None),
    save=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)
def _noise_shape(coarse: Tensor, fine: Tensor, bands: Tensor) -> Tensor:
    """Bands (K, C, L) under envelopes ``coarse[i] fine[j]`` at sample 256 i + j (B, K, I or 256): (B, C, L)."""
    from diffmix.kernels._noise_numba import shape

    arrays = [part.detach().contiguous().numpy() for part in (coarse, fine, bands)]
    h = np.empty((len(coarse), *bands.shape[1:]), arrays[2].dtype)
    over_rows(partial(shape, *arrays, h), len(h))
    return torch.from_numpy(h)
