"""A convolutional network that hears magnitude spectrograms: Cnn14 of PANNs, with a width of one's choice.

Q. Kong, Y. Cao, T. Iqbal, Y. Wang, W. Wang and M. D. Plumbley, "PANNs: large-scale pretrained audio neural networks for
audio pattern recognition", IEEE/ACM TASLP 28, 2020; here as in Diff-MST (S. S. Vanka et al., ISMIR 2024): without mel
bands and dropout, on magnitudes to the power 0.3.
"""

from itertools import pairwise
from math import gcd
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from diffmix.errors import SettingsError

POOLS = ((2, 2), (4, 4), (4, 2), (4, 2), (4, 2), (2, 2))
"""What each block reduces frequency and time by."""

COMPRESSION = 0.3

Norm = Literal["batch", "group"]


class SpectrogramEncoder(nn.Module):
    """Mono audio to an embedding: spectrogram, six blocks of two convolutions, pooling, one linear layer.

    Args:
        width: channels of the first block; each further block has twice as many. The paper's is 64.
        embedding: size of the answer.
        norm: ``"batch"`` normalisation as in the paper, or ``"group"``, with which no answer depends on what else is in
            the batch. Both have as many parameters.
        n_fft, hop: samples of a frame and between frames.
    """

    def __init__(
        self, width: int = 64, embedding: int = 512, norm: Norm = "batch", n_fft: int = 2048, hop: int = 512
    ) -> None:
        super().__init__()
        if norm not in ("batch", "group"):
            raise SettingsError(f"norm is 'batch' or 'group', got {norm!r}")
        channels = (1, *(width << k for k in range(len(POOLS))))
        self.hop = hop
        self.blocks = nn.ModuleList(_block(a, b, norm) for a, b in pairwise(channels))
        self.project = nn.Linear(channels[-1], embedding)
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Audio x (R, T) to (R, embedding)."""
        maps = self.spectrogram(x).unsqueeze(1)
        for block, pool in zip(self.blocks, POOLS, strict=True):
            maps = block(maps)
            maps = avg_pool2d(maps, [min(p, n) for p, n in zip(pool, maps.shape[2:], strict=True)])
        over_time = maps.mean(2)
        return self.project(over_time.amax(2) + over_time.mean(2))

    def spectrogram(self, x: Tensor) -> Tensor:
        """(|X| + 1e-8)^0.3 of audio x (R, T), (R, bins, frames)."""
        n_fft = len(self.window)
        x = nn.functional.pad(x, (0, max(0, n_fft - x.shape[-1])))
        spectrum = torch.stft(x, n_fft, self.hop, window=self.window, return_complex=True)
        return (spectrum.abs() + 1e-8) ** COMPRESSION


def _block(inputs: int, outputs: int, norm: Norm) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        normalise = nn.BatchNorm2d(outputs) if norm == "batch" else nn.GroupNorm(gcd(4, outputs), outputs)
        convolution = nn.Conv2d(channels, outputs, 3, padding=1, bias=False)
        nn.init.xavier_uniform_(convolution.weight)
        layers += [convolution, normalise, nn.ReLU()]
    return nn.Sequential(*layers)
