"""A track to an embedding."""

import itertools
import math

import torch
from torch import Tensor, nn

from diffmix.estimators.features import BANDS, SCALARS

STATISTICS = 5


CHANNELS = (16, 32, 64, 96)
"""Maps behind each convolution."""


class TrackEncoder(nn.Module):
    """A track's mel spectrogram and scalars to an embedding (R, width).

    Convolutions over time and frequency, pooled over time by mean and maximum, beside plain statistics of each band:
    mean, spread, median, upper decile and rise, which alone tell most instruments apart. Group normalisation, so that
    no track's embedding depends on which others are in the batch.
    """

    def __init__(self, width: int, dropout: float = 0.1) -> None:
        super().__init__()
        # the first layer takes four frames to one: the finest timing is in the statistics
        layers: list[nn.Module] = [nn.Conv2d(1, CHANNELS[0], (3, 5), stride=(2, 4), padding=(1, 2))]
        layers += [nn.GroupNorm(8, CHANNELS[0]), nn.GELU()]
        for a, b in itertools.pairwise(CHANNELS):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(8, b), nn.GELU()]
        self.conv = nn.Sequential(*layers)
        pooled = 2 * CHANNELS[-1] * math.ceil(BANDS / 2 ** len(CHANNELS))
        self.from_maps = nn.Sequential(nn.LayerNorm(pooled), nn.Dropout(dropout), nn.Linear(pooled, width))
        self.from_statistics = nn.Sequential(
            nn.Linear(STATISTICS * BANDS + SCALARS, 2 * width),
            nn.LayerNorm(2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )
        self.project = nn.Sequential(nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width))

    def forward(self, mel: Tensor, scalars: Tensor) -> Tensor:
        """``mel`` (R, 64, F), ``scalars`` (R, 8), as `features.level_free` gives them."""
        maps = self.conv(mel.unsqueeze(1)).flatten(1, 2)  # (R, 96 * 4, F / 32)
        described = self.from_maps(torch.cat([maps.mean(2), maps.amax(2)], 1))
        described = described + self.from_statistics(torch.cat([statistics(mel), scalars], 1))
        return self.project(described)


def statistics(mel: Tensor) -> Tensor:
    """Mean, spread, median, upper decile and mean rise of each band over time, (R, 5 * 64), of ``mel`` (R, 64, F)."""
    frames = mel.shape[2]
    upper = mel.kthvalue(max(1, math.ceil(0.9 * frames)), 2).values
    median = mel.kthvalue(max(1, math.ceil(0.5 * frames)), 2).values
    rise = mel.diff(dim=2).clamp_min(0).mean(2) if frames > 1 else torch.zeros_like(median)
    return torch.cat([mel.mean(2), mel.std(2, correction=0), median, upper, 4 * rise], 1)
