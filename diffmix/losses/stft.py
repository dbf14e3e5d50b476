"""Spectral distances."""

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from diffmix.losses._audio import pair
from diffmix.losses.imbalance import band_imbalance


def multi_resolution_stft(fft_sizes: Sequence[int] = (512, 2048, 8192)) -> nn.Module:
    """Multi-resolution STFT distance of audio (B, 1, T), by auraloss: a module of (y, target).

    Spectral convergence plus log-magnitude L1, averaged over the resolutions (Yamamoto et al., 2020), which hop by
    half a window.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # auraloss imports with deprecation notes of its own
        from auraloss.freq import MultiResolutionSTFTLoss
    distance = MultiResolutionSTFTLoss(
        fft_sizes=list(fft_sizes), hop_sizes=[n // 2 for n in fft_sizes], win_lengths=list(fft_sizes)
    )
    for one in distance.stft_losses:
        one.stft = partial(_magnitudes, one)
    return distance


def _magnitudes(loss: Any, x: Tensor) -> tuple[Tensor, None]:
    """What `STFTLoss.stft` gives, without the phases, a tenth of its time, that no term here hears."""
    spectrum = torch.stft(x, loss.fft_size, loss.hop_size, loss.win_length, loss.window, return_complex=True)
    return torch.sqrt(torch.clamp(spectrum.real**2 + spectrum.imag**2, min=loss.eps)), None


class SumDifferenceLoss(nn.Module):
    """`multi_resolution_stft` of (left + right) and (left - right), averaged (Steinmetz et al., 2020).

    It is blind to a swap of the channels, and nearly blind to which side a single track is on: pair it with
    `imbalance_loss`.
    """

    def __init__(self, fft_sizes: Sequence[int] = (512, 2048, 8192)) -> None:
        super().__init__()
        self.least = max(fft_sizes) // 2 + 1  # windows reflect at the ends
        self.distance = multi_resolution_stft(fft_sizes)

    def forward(self, y: Tensor, target: Tensor) -> Tensor:
        """Scalar distance of audio (B, 2, T) to its target of the same shape, longer than half the largest window.

        Raises AudioError for other shapes.
        """
        y, target = pair(y, target, self.least)
        turned = [
            torch.stack([a[:, 0] + a[:, 1], a[:, 0] - a[:, 1]], 1).flatten(0, 1).unsqueeze(1) for a in (y, target)
        ]
        return self.distance(*turned)


class MixLoss(nn.Module):
    """How far a mix is from another: spectra of left, right, sum and difference, and the side of each band.

    `SumDifferenceLoss` of both and of both turned by 45 degrees, plus the mean square of the difference of
    `band_imbalance`: unlike that loss alone it hears which side a sound is on.
    """

    def __init__(self, sample_rate: float) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.distance = SumDifferenceLoss()

    def forward(self, y: Tensor, target: Tensor) -> Tensor:
        """Scalar distance of audio (B, 2, T) to its target of the same shape. Raises AudioError for other shapes."""
        side = (band_imbalance(y, self.sample_rate) - band_imbalance(target, self.sample_rate)).square().mean()
        return self.distance(y, target) + self.distance(_turned(y), _turned(target)) + side


def _turned(mix: Tensor) -> Tensor:
    """(L + R, L - R) / 2: of these channels (sum, difference) is (L, R) again."""
    return torch.stack([mix[:, 0] + mix[:, 1], mix[:, 0] - mix[:, 1]], 1) / 2
