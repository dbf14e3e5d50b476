"""EfficientNet: a convolutional network whose width and depth scale together.

M. Tan and Q. V. Le, "EfficientNet: rethinking model scaling for convolutional neural networks" (ICML 2019). Width 1.1
and depth 1.2 are its B2. Weights are drawn, never downloaded.
"""

import math
from math import gcd
from typing import Literal

import torch
from torch import Tensor, nn

from diffmix.errors import SettingsError

STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
"""Of B0, by stage: expansion of the channels inside a block, channels, blocks, stride of the first, kernel."""

Norm = Literal["batch", "group"]


class EfficientNet(nn.Module):
    """Maps (R, 1, H, W) to features (R, size): stem, seven stages of inverted bottlenecks, head, mean over the map.

    Args:
        width: factor of the channels, 0.1..4; 1.1 is B2.
        depth: factor of the number of blocks, 0.1..4; 1.2 is B2.
        norm: ``"batch"`` normalisation as in the paper, or ``"group"``, with which no answer depends on what else is in
            the batch. Both have as many parameters.
        drop: chance with which the last block is passed over in training, falling to 0 at the first (stochastic depth).

    ``size`` is the number of features: 1408 of B2. Raises SettingsError for numbers outside.
    """

    def __init__(self, width: float = 1.1, depth: float = 1.2, norm: Norm = "batch", drop: float = 0.0) -> None:
        super().__init__()
        if not (0.1 <= width <= 4 and 0.1 <= depth <= 4 and 0 <= drop < 1):
            raise SettingsError(
                f"an EfficientNet has a width and a depth of 0.1..4 and drops less than 1, got {width}, {depth}, {drop}"
            )
        if norm not in ("batch", "group"):
            raise SettingsError(f"norm is 'batch' or 'group', got {norm!r}")
        inner = _channels(32, width)
        layers: list[nn.Module] = [_convolution(1, inner, 3, 2, norm), nn.SiLU()]
        repeats = [math.ceil(depth * stage[2]) for stage in STAGES]
        done = 0
        for (expand, channels, _, stride, kernel), count in zip(STAGES, repeats, strict=True):
            outer = _channels(channels, width)
            for k in range(count):
                skipped = drop * done / sum(repeats)
                layers.append(_Bottleneck(inner, outer, expand, kernel, stride if k == 0 else 1, norm, skipped))
                inner, done = outer, done + 1
        self.size = _channels(1280, width)
        self.layers = nn.Sequential(*layers, _convolution(inner, self.size, 1, 1, norm), nn.SiLU())
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out")

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (R, 1, H, W) to features (R, size)."""
        return self.layers(maps).mean((2, 3))


def _channels(count: int, width: float) -> int:
    """A number of channels times the width, to a multiple of 8 that is at least nine tenths of it."""
    wanted = count * width
    found = max(8, int(wanted + 4) // 8 * 8)
    return found + 8 if found < 0.9 * wanted else found


def _norm(channels: int, norm: Norm) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
    return nn.GroupNorm(gcd(8, channels), channels, eps=1e-3)


def _convolution(a: int, b: int, kernel: int, stride: int, norm: Norm, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False), _norm(b, norm))


class _Bottleneck(nn.Module):
    """Wider, a convolution of each channel, each channel weighed by what all hold, narrower, and the input added."""

    def __init__(self, a: int, b: int, expand: int, kernel: int, stride: int, norm: Norm, drop: float) -> None:
        super().__init__()
        wide, few = a * expand, max(1, a // 4)
        widen = [_convolution(a, wide, 1, 1, norm), nn.SiLU()] if expand > 1 else []
        self.body = nn.Sequential(*widen, _convolution(wide, wide, kernel, stride, norm, wide), nn.SiLU())
        self.weigh = nn.Sequential(nn.Conv2d(wide, few, 1), nn.SiLU(), nn.Conv2d(few, wide, 1), nn.Sigmoid())
        self.narrow = _convolution(wide, b, 1, 1, norm)
        self.skips, self.drop = stride == 1 and a == b, drop

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        y = self.narrow(y * self.weigh(y.mean((2, 3), keepdim=True)))
        if not self.skips:
            return y
        if self.training and self.drop:
            kept = torch.rand(len(y), 1, 1, 1, device=y.device) >= self.drop
            y = y * kept / (1 - self.drop)
        return x + y
