"""What was done to a recording as a point among others: the same effects on other content lie near.

After AFx-Rep (C. J. Steinmetz et al., "ST-ITO", ISMIR 2024): a unit vector of the middle of the channels and one of
their difference. It hears the numbers of `style_features` instead of a spectrogram, which few recordings suffice for.
"""

from pathlib import Path as FilePath
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from diffmix.errors import CheckpointError, SettingsError, about
from diffmix.estimators import style_features
from diffmix.estimators.folder import described, fill, read_model, write_model
from diffmix.keeping import kept
from diffmix.types import Path

FORMAT, VERSION = "diffmix-effect-embedding", 1
COMPARING = slice(218, 230)
"""Where `style_features` has the numbers that compare the channels."""

MIDDLE = style_features.SIZE - 12
"""Numbers of the middle of the channels."""

SIDE = style_features.SIZE
"""Numbers of their difference: as many as of the middle, and those that compare the two."""

CLIP = 5.0
"""Standardised numbers are held within this many."""

SILENT = 1e-4
"""A difference of the channels below this share of the largest sample (-80 dB) is none."""

SHIPPED = FilePath(__file__).resolve().parent.parent / "weights" / "effect_embedding"


class Heard(NamedTuple):
    """Numbers of B recordings: ``middle`` (B, 238), ``side`` (B, 250), and whether there is a side, ``wide`` (B,)."""

    middle: Tensor
    side: Tensor
    wide: Tensor


class Place(NamedTuple):
    """Where recordings lie: unit vectors (B, E) of the middle and of the side, whose rows are 0 where there is none."""

    middle: Tensor
    side: Tensor


@torch.no_grad()
def heard(x: Tensor, sample_rate: float) -> Heard:
    """What `EffectEncoder` hears of recordings (B, C, T) of some seconds each, at any sample rate in Hz.

    Neither level matters: middle and side are each brought to one peak.
    """
    whole = style_features.style_features(x, sample_rate)
    middle = _alone(whole)
    if x.shape[1] == 1:
        return Heard(middle, whole.new_zeros(len(x), SIDE), torch.zeros(len(x), dtype=torch.bool))
    difference = (x[:, :1] - x[:, 1:2]) / 2
    wide = difference.abs().amax((1, 2)) > SILENT * x.abs().amax((1, 2)).clamp_min(1e-9)
    side = whole.new_zeros(len(x), SIDE)
    if bool(wide.any()):
        numbers = _alone(style_features.style_features(difference[wide], sample_rate))
        side[wide] = torch.cat([numbers, whole[wide, COMPARING]], 1)
    return Heard(middle, side, wide)


class EffectEncoder(nn.Module):
    """Numbers of recordings to their `Place`, one `Part` for the middle and one for the side.

    Args:
        size: E, directions in which styles differ.
        hidden: width of the network beside the weights of the directions, 0 for none.
        dropout: share of hidden numbers left out while training.

    Raises SettingsError for sizes below 1.
    """

    def __init__(self, size: int = 32, hidden: int = 96, dropout: float = 0.3) -> None:
        super().__init__()
        if not 0 < size <= MIDDLE or hidden < 0 or not 0 <= dropout < 1:
            raise SettingsError(
                f"an encoder of effects has a size of 1..{MIDDLE}, hidden >= 0 and a dropout below 1; "
                f"got {size}, {hidden}, {dropout}"
            )
        self.shape = {"size": size, "hidden": hidden, "dropout": dropout}
        self.middle, self.side = Part(MIDDLE, size, hidden, dropout), Part(SIDE, size, hidden, dropout)
        self.about: dict[str, Any] = {}

    def forward(self, numbers: Heard, noise: float = 0.0) -> Place:
        """Places of what was heard; ``noise`` is added to standardised numbers, which training asks for."""
        side = self.side(numbers.side, noise) * numbers.wide[:, None]
        return Place(self.middle(numbers.middle, noise), side)

    @torch.no_grad()
    def embed(self, x: Tensor, sample_rate: float) -> Place:
        """Where one recording (C, T) of any length lies, (1, E): the mean of its loudest pieces, made unit vectors."""
        place = self(heard(style_features.windows(x, sample_rate), sample_rate))
        return Place(*(normalize(part.sum(0, keepdim=True), dim=1) for part in place))

    def save(self, folder: Path, **card: Any) -> None:
        """Write ``config.json`` (sizes and ``card``) and ``model.safetensors``."""
        config = {"format": FORMAT, "version": VERSION, "features": style_features.SIZE, "shape": self.shape, **card}
        write_model(folder, self, config)

    @classmethod
    def load(cls, folder: Path | None = None) -> "EffectEncoder":
        """Read what `save` wrote; without a folder, the encoder that ships with diffmix.

        Raises CheckpointError if a file is missing or broken, or of another format, version or set of numbers.
        """
        return _shipped() if folder is None else _read(FilePath(folder))


class Part(nn.Module):
    """Numbers (B, F) to unit vectors (B, E): directions, each with a weight, and perhaps a network beside them.

    Buffers hold what standardises the numbers, and the directions (F, E).
    """

    center: Tensor
    spread: Tensor
    directions: Tensor

    def __init__(self, inputs: int, size: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(inputs))
        self.register_buffer("spread", torch.ones(inputs))
        self.register_buffer("directions", torch.eye(inputs, size))
        self.weight = nn.Parameter(torch.ones(size))
        self.network: nn.Sequential | None = None
        if hidden:
            last = nn.Linear(hidden, size)
            self.network = nn.Sequential(nn.Linear(size, hidden), nn.GELU(), nn.Dropout(dropout), last)
            nn.init.zeros_(last.weight)  # nothing is added to the directions at first
            nn.init.zeros_(last.bias)

    def standardised(self, numbers: Tensor) -> Tensor:
        """Numbers (B, F) about 0 and of about unit size."""
        return ((numbers - self.center) / self.spread).clamp(-CLIP, CLIP)

    def forward(self, numbers: Tensor, noise: float = 0.0) -> Tensor:
        """Unit vectors (B, E)."""
        z = self.standardised(numbers)
        along = (z + noise * torch.randn_like(z) if noise else z) @ self.directions
        y = along * self.weight
        return normalize(y if self.network is None else y + self.network(along), dim=1)


def similarity(a: Place, b: Place) -> Tensor:
    """How alike the effects of two sets of recordings are, (A, B), from -1 to 1.

    The mean of the cosines of middle and side; of the middle alone where one of the two has no side.
    """
    both = a.side.any(1)[:, None] & b.side.any(1)[None]
    middle = a.middle @ b.middle.T
    return torch.where(both, (middle + a.side @ b.side.T) / 2, middle)


def _alone(numbers: Tensor) -> Tensor:
    """Style features (B, 250) without those that compare channels, (B, 238)."""
    return torch.cat([numbers[:, : COMPARING.start], numbers[:, COMPARING.stop :]], 1)


@kept(1)
def _shipped() -> EffectEncoder:
    return _read(SHIPPED)


@about("folder", CheckpointError)
def _read(folder: FilePath) -> EffectEncoder:
    config, weights = read_model(folder, "an encoder of effects", FORMAT, VERSION)
    if config.get("features") != style_features.SIZE:
        raise CheckpointError(
            f"{folder} was trained for {config.get('features')} features, there are {style_features.SIZE} now"
        )
    with described(folder):
        encoder = EffectEncoder(**config["shape"])
    fill(encoder, weights, folder)
    encoder.about = config
    return encoder.eval()
