r"""A signal times the gain that a static curve makes of a level: the last part of a compressor, expander or gate.

$$y = x \cdot 10^{g(L) / 20}, \qquad L = 20 \log_{10} level$$

Written as one expression of tensors, each step would leave a copy of the signal behind, and the backward as many more.
Here compiled loops do it tile by tile, and the backward makes the curve anew.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffmix.kernels import stream
from diffmix.kernels._arithmetic import aligned
from diffmix.kernels._operator import operator
from diffmix.kernels.allocation import empty, empty_like
from diffmix.kernels.backend import compiled, over_rows
from diffmix.kernels.ballistics import (
    FLOOR_DB,
    HARDEST_DB,
    ROWS,
    TILE,
    detected,
    expansion_db,
    gain_computer,
    gate_db,
    level_db,
    power_db,
)

_NEPER = math.log(10) / 20  # per dB
_OCTAVE_DB = 20 * math.log10(2)


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
    each = _each(settings, x.dtype)
    if compiled(x):
        rows = _rows_of(x, level.shape[1])
        kind = list(CURVES).index(curve)
        y = _shaped(rows, level.to(x.dtype).reshape(-1, x.shape[-1]), _repeated(each, level.shape[1]), kind, power)
        return y.view(x.shape)
    return x * amplitude(CURVES[curve](_measured(level, power), *each[:, :, None].unbind(1)))


def followed(
    x: Tensor,
    attack: Tensor,
    release: Tensor,
    curve: str,
    *settings: Tensor,
    power: bool = False,
    link: bool = True,
) -> Tensor:
    """Audio (B, C, T) times the gain of a curve of its own level: `shaped` by what is `detected`, which is not kept.

    Memories, ``power`` and ``link`` are as for `detected`, curve and settings as for `shaped`.
    """
    if not compiled(x):
        return shaped(x, detected(x, attack, release, power, link), curve, *settings, power=power)
    levels = 1 if link else x.shape[1]
    rows = _rows_of(x, levels)
    memories = _repeated(torch.stack(aligned(attack, release), -1).to(torch.float64), levels)
    memories = memories if memories.ndim == 3 else memories[:, None]
    each = _repeated(_each(settings, x.dtype), levels)
    start = stream.memory((rows.shape[0], 1), rows)
    y, end = _followed(rows, memories, each, start, list(CURVES).index(curve), power)
    stream.keep(end)
    return y.view(x.shape)


def _each(settings: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
    """Settings (B,) or (B, T) as one tensor (B, S, 1), or (B, S, T) if one of them moves."""
    stacked = torch.stack(aligned(*settings), 1).to(dtype)
    return stacked if stacked.ndim == 3 else stacked[..., None]


def _rows_of(x: Tensor, levels: int) -> Tensor:
    """Audio (B, C, T) with a row for every level, (R, channels, T)."""
    return x.reshape(x.shape[0] * levels, -1, x.shape[-1])


def _repeated(values: Tensor, levels: int) -> Tensor:
    return values.repeat_interleave(levels, 0) if levels > 1 else values


def _compression_db(level: Tensor, threshold: Tensor, ratio: Tensor, knee_db: Tensor, makeup: Tensor) -> Tensor:
    return gain_computer(level, threshold, ratio, knee_db) + makeup


CURVES: dict[str, Callable[..., Tensor]] = {
    "compression": _compression_db,
    "expansion": expansion_db,
    "gate": gate_db,
}
"""Gains in dB by name; settings as `gain_computer` (and make-up in dB), `expansion_db` and `gate_db` take them behind
the level. The compiled loops number them in this order."""


def _measured(level: Tensor, power: bool) -> Tensor:
    return power_db(level) if power else level_db(level)


def _numbers(kind: int, power: bool) -> tuple[int, float, float, float]:
    """What the compiled loops take behind the arrays."""
    return kind, _OCTAVE_DB / 2 if power else _OCTAVE_DB, 10 ** (FLOOR_DB / (10 if power else 20)), HARDEST_DB


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


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
    from diffmix.kernels._curve_numba import shape_backward

    arrays = _arrays(gy, x, level, settings)
    gx, to_level = empty_like(arrays[1]), empty_like(arrays[2])
    to_settings = np.zeros(settings.shape)
    over_rows(partial(shape_backward, *arrays, gx, to_level, to_settings, *_numbers(kind, power)), len(x))
    return torch.from_numpy(gx), torch.from_numpy(to_level), torch.from_numpy(to_settings).to(settings.dtype)


def _save_shaped(ctx: Any, inputs: Any, output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.rest = inputs[3:]


@operator(
    fake=lambda x, level, settings, kind, power: x.new_empty(x.shape),
    backward=lambda ctx, gy: (*_shaped_backward(gy, *ctx.saved_tensors, *ctx.rest), None, None),
    save=_save_shaped,
)
def _shaped(x: Tensor, level: Tensor, settings: Tensor, kind: int, power: bool) -> Tensor:
    """Rows x (R, C, T) times the gains of levels (R, T), settings (R, S, 1 or T)."""
    from diffmix.kernels._curve_numba import shape

    arrays = _arrays(x, level, settings)
    y = empty_like(arrays[0])
    over_rows(partial(shape, *arrays, y, *_numbers(kind, power)), len(x))
    return torch.from_numpy(y)


def _some_rows(first: int, last: int) -> Iterator[slice]:
    """As many rows as run side by side, whose levels are thrown away before those of the next are made."""
    for start in range(first, last, ROWS):
        yield slice(start, min(start + ROWS, last))


@operator(
    fake=lambda gy, x, memories, settings, start, kind, power: (
        x.new_empty(x.shape),
        memories.new_empty(memories.shape),
        settings.new_empty(settings.shape),
    )
)
def _followed_backward(
    gy: Tensor, x: Tensor, memories: Tensor, settings: Tensor, start: Tensor, kind: int, power: bool
) -> tuple[Tensor, Tensor, Tensor]:
    from diffmix.kernels._ballistics_numba import PEAK, POWER, smooth, smooth_backward
    from diffmix.kernels._curve_numba import shape_backward

    arrays = _arrays(gy, x, memories, settings, start)
    found = empty_like(arrays[1]), np.zeros(memories.shape), np.zeros(settings.shape)
    measure = POWER if power else PEAK

    def task(first: int, last: int) -> None:
        level = empty((min(ROWS, last - first), 1, x.shape[-1]), arrays[1].dtype)
        states = np.empty((len(level), -(-x.shape[-1] // TILE) + 1, 1), level.dtype)
        for rows in _some_rows(first, last):
            g, signal, c, curve, before = (part[rows] for part in arrays)
            gx, to_memories, to_settings = (part[rows] for part in found)
            count, e = len(signal), level[: len(signal)]
            states[:count, 0] = before
            smooth(signal, c, states, e, TILE, 0, count, measure)
            by_row = e[:, 0]
            shape_backward(g, signal, by_row, curve, gx, by_row, to_settings, *_numbers(kind, power), 0, count)
            smooth_backward(e, signal, c, states, gx, to_memories, TILE, 0, count, measure, True)

    over_rows(task, len(x), ROWS)
    gx, to_memories, to_settings = map(torch.from_numpy, found)
    return gx, to_memories, to_settings.to(settings.dtype)


def _save_followed(ctx: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.rest = inputs[4:]
    ctx.mark_non_differentiable(output[1])


@operator(
    fake=lambda x, memories, settings, start, kind, power: (x.new_empty(x.shape), start.new_empty(start.shape)),
    backward=lambda ctx, gy, _: (*_followed_backward(gy, *ctx.saved_tensors, *ctx.rest), None, None, None),
    save=_save_followed,
)
def _followed(
    x: Tensor, memories: Tensor, settings: Tensor, start: Tensor, kind: int, power: bool
) -> tuple[Tensor, Tensor]:
    """Rows x (R, C, T) times the gains of their own levels, which begin at ``start`` (R, 1), and the last levels."""
    from diffmix.kernels._ballistics_numba import PEAK, POWER, smooth
    from diffmix.kernels._curve_numba import shape

    arrays = _arrays(x, memories, settings, start)
    y, end = empty_like(arrays[0]), np.empty_like(arrays[3])

    def task(first: int, last: int) -> None:
        level = empty((min(ROWS, last - first), 1, x.shape[-1]), y.dtype)
        states = np.empty((len(level), -(-x.shape[-1] // TILE) + 1, 1), y.dtype)
        for rows in _some_rows(first, last):
            signal, c, curve, before = (part[rows] for part in arrays)
            count, e = len(signal), level[: len(signal)]
            states[:count, 0] = before
            smooth(signal, c, states, e, TILE, 0, count, POWER if power else PEAK)
            shape(signal, e[:, 0], curve, y[rows], *_numbers(kind, power), 0, count)
            end[rows] = states[:count, -1]

    over_rows(task, len(x), ROWS)
    return torch.from_numpy(y), torch.from_numpy(end)
