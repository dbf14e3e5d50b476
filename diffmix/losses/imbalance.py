"""Which side the sound is on, band by band."""

import torch
from torch import Tensor

from diffmix.kernels.backend import uncast
from diffmix.losses._audio import heard

BAND_EDGES_HZ = (0, 120, 250, 500, 1000, 2000, 4000, 8000, 24000)


def band_imbalance(y: Tensor, sample_rate: float) -> Tensor:
    """(right - left) / (right + left) power in eight bands, (B, 8) in [-1, 1], of audio (B, 2, T).

    A band more than 60 dB below the whole reads towards 0. Raises AudioError for other shapes.
    """
    y = heard(y, 2)
    n_fft = min(4096, y.shape[-1])
    window = torch.hann_window(n_fft, device=y.device, dtype=y.dtype)
    spectrum = torch.stft(y.flatten(0, 1), n_fft, n_fft // 2, window=window, center=False, return_complex=True)
    power = (spectrum.real.square() + spectrum.imag.square()).mean(-1).view(*y.shape[:2], -1)  # (B, 2, bins)
    bin_hz = torch.arange(power.shape[-1], device=y.device) * (sample_rate / n_fft)
    edges = torch.tensor(BAND_EDGES_HZ, device=y.device, dtype=bin_hz.dtype)
    member = ((bin_hz[:, None] >= edges[:-1]) & (bin_hz[:, None] < edges[1:])).to(y)
    with uncast(power):
        left, right = (power @ member).unbind(1)
    floor = 1e-6 * (left + right).sum(1, keepdim=True) + 1e-12
    return (right - left) / (right + left + floor)


def imbalance_loss(y: Tensor, target: Tensor, sample_rate: float) -> Tensor:
    """Mean squared difference of `band_imbalance`, (scalar), for the better of the target and its mirror image.

    A mix is as good mirrored, so each item of the batch may choose; what it may not do is to put on one side what the
    target spreads over both, which a sum/difference loss hardly sees.
    """
    mine, theirs = band_imbalance(y, sample_rate), band_imbalance(target, sample_rate)
    same = (mine - theirs).square().mean(1)
    mirrored = (mine + theirs).square().mean(1)
    return torch.minimum(same, mirrored).mean()
