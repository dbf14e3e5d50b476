"""Audio to controls: one encoder for every track, attention over the tracks, bounded heads."""

import itertools
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from diffmix.estimators.features import BANDS, SCALARS, describe
from diffmix.params import ParamSpec


class TrackEncoder(nn.Module):
    """A track's mel spectrogram and scalars to an embedding (R, width).

    Convolutions over time and frequency, pooled over time by mean and maximum, beside plain statistics of each band:
    mean, spread and upper decile, which alone tell most instruments apart. Group normalisation, so that no track's
    embedding depends on which others are in the batch.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = (1, 16, 32, 64, 64)
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(channels):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(8, b), nn.GELU()]
        self.conv = nn.Sequential(*layers)
        pooled = 2 * channels[-1] * (BANDS // 16)
        self.project = nn.Sequential(
            nn.Linear(pooled + 3 * BANDS + SCALARS, 2 * width),
            nn.LayerNorm(2 * width),
            nn.GELU(),
            nn.Linear(2 * width, width),
        )

    def forward(self, mel: Tensor, scalars: Tensor) -> Tensor:
        """``mel`` (R, 64, F), ``scalars`` (R, 6), as `features.describe` gives them."""
        maps = self.conv(mel.unsqueeze(1)).flatten(1, 2)  # (R, channels * bands / 16, F / 16)
        upper = mel.kthvalue(max(1, math.ceil(0.9 * mel.shape[2])), 2).values
        statistics = [maps.mean(2), maps.amax(2), mel.mean(2), mel.std(2, correction=0), upper, scalars]
        return self.project(torch.cat(statistics, 1))


class Estimator(nn.Module):
    """Estimates a control vector for every track, and one each for further parts such as a bus and a master.

    It knows sizes and defaults only: ``specs`` maps a part's name to its parameters; the first part is per track, the
    others are one per song. Untrained, it answers the defaults. It is equivariant to the order of the tracks.
    """

    def __init__(self, specs: Mapping[str, ParamSpec], width: int = 128, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.encoder = TrackEncoder(width)
        self.kind = nn.Parameter(0.02 * torch.randn(len(specs), width, generator=torch.Generator().manual_seed(0)))
        block = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.context = nn.TransformerEncoder(block, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.heads = nn.ModuleDict()
        for part, spec in specs.items():
            head = nn.Linear(width, spec.size)
            nn.init.normal_(head.weight, std=0.01)
            with torch.no_grad():
                # open knobs start well inside the range, where the sigmoid still learns
                head.bias.copy_(torch.logit(spec.default().clamp(0.1, 0.9)))
            self.heads[part] = head

    def forward(
        self, tracks: Tensor | tuple[Tensor, Tensor], sample_rate: float, mask: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Controls in [0, 1] of each part, in the order of the specs: (B, N, P), then (B, Q) for each further part.

        ``tracks``: (B, N, C, T), or mono (B, N1, 1, T) and stereo (B, N2, 2, T) together; ``mask`` (B, N) is 0 where
        a track is padding.
        """
        described = []
        for x in (tracks,) if isinstance(tracks, Tensor) else tracks:
            if x.shape[1]:
                batch, n = x.shape[:2]
                described.append(
                    [part.view(batch, n, *part.shape[1:]) for part in describe(x.flatten(0, 1), sample_rate)]
                )
        mel, scalars = (torch.cat(parts, 1) for parts in zip(*described, strict=True))
        return self.decide(mel, scalars, mask)

    def decide(self, mel: Tensor, scalars: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """As `forward`, from descriptions: ``mel`` (B, N, 64, F) and ``scalars`` (B, N, 6)."""
        batch, n = mel.shape[:2]
        embedded = self.encoder(mel.flatten(0, 1), scalars.flatten(0, 1)).view(batch, n, -1)
        further = self.kind[1:].expand(batch, -1, -1)
        tokens = torch.cat([embedded + self.kind[0], further], 1)
        ignore = None
        if mask is not None:
            ignore = torch.cat(
                [mask < 0.5, torch.zeros(batch, further.shape[1], dtype=torch.bool, device=mask.device)], 1
            )
        tokens = self.context(tokens, src_key_padding_mask=ignore)
        first, *others = self.heads.values()
        logits = [first(tokens[:, :n]), *(head(tokens[:, n + i]) for i, head in enumerate(others))]
        return tuple(torch.sigmoid(z) for z in logits)
