r"""A signal times the gain that a static curve makes of a level: the last part of a compressor, expander or gate.

$$y = x \cdot 10^{g(L) / 20}, \qquad L = 20 \log_{10} level$$

Written as one expression of tensors, each step would leave a copy of the signal behind, and the backward as many more.
Here it is done tile by tile, small enough for the cache, and the backward makes the curve anew.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffmix.kernels._arithmetic import aligned
from diffmix.kernels._operator import operator
from diffmix.kernels.backend import compiled
from diffmix.kernels.ballistics import (
    FLOOR_DB,
    HARDEST_DB,
    expansion_db,
    gain_computer,
    gate_db,
    level_db,
    power_db,
)

_NEPER = math.log(10) / 20  # per dB
_TILE = 131072  # numbers in a tile of the level


def amplitude(gain_db: Tensor) -> Tensor:
    """10^(gain_db / 20), any shape."""
    return torch.exp(gain_db * _NEPER)


def shaped(x: Tensor, level: Tensor, curve: str, *settings: Tensor, power: bool = False) -> Tensor:
    """Audio times the gain of a curve.

    Args:
        x: audio (B, C, T).
        level: amplitude, or power if ``power``, (B, 1 or C, T), not negative.
        curve: a name of `CURVES`.
        settings: the curve's, in its order, each (B,) or (B, T).
        power: whether the level is a mean square.

    Returns:
        (B, C, T) of x's dtype. Gradients to all tensors.
    """
    stacked = torch.stack(aligned(*settings)).to(x.dtype)  # (S, B) or (S, B, T)
    stacked = stacked if stacked.ndim == 3 else stacked[..., None]
    kind = list(CURVES).index(curve)
    if compiled(x):
        return _shaped(x, level, stacked, kind, power)
    return x * amplitude(CURVES[curve].gain_db(_measured(level, power), *stacked[:, :, None]))


class Curve(NamedTuple):
    """A gain in dB of a level in dB and settings, the first of which is a threshold.

    ``slopes`` gives it with its derivatives to the level and to each setting but the threshold, which is only ever
    subtracted from the level.
    """

    gain_db: Callable[..., Tensor]
    slopes: Callable[..., tuple[Tensor, ...]]


def _knee_slopes(over: Tensor, knee_db: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`knee` and its derivatives to the excess and to its width."""
    width = knee_db.clamp_min(HARDEST_DB)
    size = over.abs()
    far = size / width
    inside = (0.5 - far).clamp_min_(0)
    sign = torch.sign(over)
    half = inside / 2
    rounded = (over + size).div_(2).add_(inside * half * width)
    by_width = far.add_(half).mul_(inside * (knee_db >= HARDEST_DB))
    return rounded, inside.neg_().add_(0.5).mul_(sign).add_(0.5), by_width


def _compression_db(level: Tensor, threshold: Tensor, ratio: Tensor, knee_db: Tensor, makeup: Tensor) -> Tensor:
    return gain_computer(level, threshold, ratio, knee_db) + makeup


def _compression(
    level: Tensor, threshold: Tensor, ratio: Tensor, knee_db: Tensor, makeup: Tensor
) -> tuple[Tensor, ...]:
    rounded, by_over, by_width = _knee_slopes(level - threshold, knee_db)
    factor = 1 / ratio - 1
    gain = factor * rounded + makeup
    return (
        gain,
        by_over.mul_(factor),
        rounded.mul_(-1 / (ratio * ratio)),
        by_width.mul_(factor),
        torch.ones_like(makeup),
    )


def _expansion(
    level: Tensor, threshold: Tensor, ratio: Tensor, knee_db: Tensor, range_db: Tensor
) -> tuple[Tensor, ...]:
    rounded, by_under, by_width = _knee_slopes(threshold - level, knee_db)
    factor = 1 - ratio
    gain = factor * rounded
    free = (gain > -range_db).to(level)
    slope = free * factor
    return torch.maximum(gain, -range_db), -slope * by_under, -free * rounded, slope * by_width, free - 1


def _gate(level: Tensor, threshold: Tensor, knee_db: Tensor, range_db: Tensor) -> tuple[Tensor, ...]:
    width = knee_db.clamp_min(HARDEST_DB)
    over = (level - threshold) / width
    at = over + 0.5
    open_ = at.clamp(0, 1)
    shut = open_ * open_ * (3 - 2 * open_) - 1
    slope = range_db * 6 * open_ * (1 - open_) / width * (at == open_)
    return range_db * shut, slope, -slope * over * (knee_db >= HARDEST_DB), shut


CURVES = {
    "compression": Curve(_compression_db, _compression),
    "expansion": Curve(expansion_db, _expansion),
    "gate": Curve(gate_db, _gate),
}
"""By name; settings as `gain_computer` (and make-up in dB), `expansion_db` and `gate_db` take them behind the level."""


def _measured(level: Tensor, power: bool) -> Tensor:
    return power_db(level) if power else level_db(level)


def _tiles(level: Tensor) -> Iterator[slice]:
    length = max(256, _TILE // max(1, level.shape[0] * level.shape[1]))
    for start in range(0, level.shape[-1], length):
        yield slice(start, start + length)


def _cut(settings: Tensor, tile: slice) -> Tensor:
    """Settings (S, B, F) of a tile, to meet levels (B, C, T)."""
    return (settings if settings.shape[-1] == 1 else settings[..., tile])[:, :, None]


@operator(
    fake=lambda gy, x, level, settings, kind, power: (
        x.new_empty(x.shape),
        level.new_empty(level.shape),
        settings.new_empty(settings.shape),
    )
)
def _shaped_backward(
    gy: Tensor, x: Tensor, level: Tensor, settings: Tensor, kind: int, power: bool
) -> tuple[Tensor, Tensor, Tensor]:
    curve = list(CURVES.values())[kind]
    gx, to_level = torch.empty_like(x), torch.empty_like(level)
    steady = settings.shape[-1] == 1
    to_settings = torch.zeros(settings.shape, dtype=torch.float64 if steady else settings.dtype)
    floor = 10 ** (FLOOR_DB / (10 if power else 20))
    for tile in _tiles(level):
        heard, mine, g = level[..., tile], _cut(settings, tile), gy[..., tile]
        gain_db, slope, *slopes = curve.slopes(_measured(heard, power), *mine)
        gain = amplitude(gain_db)
        torch.mul(g, gain, out=gx[..., tile])
        by_gain = g * x[..., tile]
        by_gain = by_gain.sum(1, keepdim=True) if level.shape[1] < x.shape[1] else by_gain
        by_db = by_gain.mul_(gain).mul_(_NEPER)
        by_level = slope.mul_(by_db)
        for n, part in enumerate((-by_level, *(by_db * part for part in slopes))):
            if steady:
                to_settings[n, :, 0] += part.sum((1, 2), dtype=torch.float64)
            else:
                to_settings[n, :, tile] = part.sum(1)
        audible = (heard >= floor).to(heard).div_(heard.clamp_min(floor)).mul_((10 if power else 20) / math.log(10))
        torch.mul(by_level, audible, out=to_level[..., tile])
    return gx, to_level, to_settings.to(settings.dtype)


def _save(ctx: Any, inputs: Any, output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.rest = inputs[3:]


@operator(
    fake=lambda x, level, settings, kind, power: x.new_empty(x.shape),
    backward=lambda ctx, gy: (*_shaped_backward(gy, *ctx.saved_tensors, *ctx.rest), None, None),
    save=_save,
)
def _shaped(x: Tensor, level: Tensor, settings: Tensor, kind: int, power: bool) -> Tensor:
    curve = list(CURVES.values())[kind]
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    for tile in _tiles(level):
        gain = amplitude(curve.gain_db(_measured(level[..., tile], power), *_cut(settings, tile)))
        torch.mul(x[..., tile], gain, out=y[..., tile])
    return y
