"""The effect behind a channel matrix: its knobs, solved for."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from diffmix.kernels.stereo import PAN_LAWS, balance_width_matrix, pan_matrix
from diffmix.processors.base import Matrix
from diffmix.settings import shortest

EPSILON = 2.0**-23
"""The distance of float32 numbers at 1, and how far off a matrix may be that no knobs give to the last bit."""

Found = tuple[str, dict[str, float], dict[str, str]]
"""The kind of an effect, its knobs that are not at their default, and its options."""


def placement(matrix: Matrix) -> Found | None:
    """The ``Pan`` (2 x 1) or the ``BalanceWidth`` (2 x 2) that has a matrix; None if no knobs give its numbers.

    Of the knobs that round to the same matrix in float32, those with the fewest digits are taken.
    """
    wanted = np.asarray(matrix, np.float32)
    found = []
    if wanted.shape == (2, 1):
        found = [_pan(wanted, law) for law in PAN_LAWS]
    elif wanted.shape == (2, 2):
        found = [_balance_width(wanted)]
    off, effect = min(found, key=lambda each: each[0], default=(1.0, None))
    return effect if off <= EPSILON else None


def _pan(wanted: np.ndarray, law: str) -> tuple[float, Found]:
    left, right = (max(float(g), 0.0) for g in wanted[:, 0])
    error = 2 * EPSILON
    if law == "linear":
        about = right - left
    elif law == "balanced":  # one side is 1, the other the cosine of the pan
        about = _turn(left) - _turn(right)
        error = _blur(min(left, right))
    else:
        power = 2 / 3 if law == "-4.5 dB" else 1
        about = math.atan2(right**power, left**power) * 4 / math.pi - 1
    pans = _near(about, error, -1, 1)
    off, at = _best(pan_matrix(pans, law), wanted)
    pan = shortest(pans[at].item())
    return off, ("Pan", {"pan": pan} if pan else {}, {"law": law} if law != "constant power" else {})


def _balance_width(wanted: np.ndarray) -> tuple[float, Found]:
    (ll, lr), (rl, rr) = wanted.astype(float)
    left, right = ll + lr, rl + rr  # what the sides are turned down to; the louder one is 1, but for rounding
    about = _turn(left) if left < right else -_turn(right)
    width = ll - lr if left >= right else rr - rl
    balances, widths = (
        grid.flatten()
        for grid in torch.meshgrid(
            _near(about, _blur(min(left, right)), -1, 1), _near(width, 2 * EPSILON, 0, 2), indexing="ij"
        )
    )
    off, at = _best(balance_width_matrix(balances, widths), wanted)
    balance, width = (shortest(each[at].item()) for each in (balances, widths))
    knobs = {"balance": balance} if balance else {}
    return off, ("BalanceWidth", knobs | ({"width": width} if width != 1 else {}), {})


def _turn(gain: float) -> float:
    """How far a knob is turned away from a side with this gain: the p of gain = cos(p pi/2)."""
    return math.acos(min(max(gain, 0.0), 1.0)) * 2 / math.pi


def _blur(gain: float) -> float:
    """How far p may be from `_turn` where the gain is rounded."""
    return 2 * EPSILON / max(math.sqrt(max(1 - gain * gain, 0.0)), math.sqrt(EPSILON))


def _near(value: float, error: float, low: float, high: float) -> Tensor:
    """Numbers about a value, float32: it with ever more digits, then many within the error."""

    def candidates() -> Iterator[float]:
        yield from (float(f"{value:.{digits}g}") for digits in range(1, 9))
        yield from np.linspace(value - error, value + error, 65)

    return torch.tensor([min(max(c, low), high) for c in candidates()], dtype=torch.float32)


def _best(matrices: Tensor, wanted: np.ndarray) -> tuple[float, int]:
    """How far off the nearest of some matrices (n, O, I) is in float32, and the first that is so near."""
    off = (matrices.float() - torch.from_numpy(wanted)).abs().amax((1, 2))
    at = int(off.argmin())
    return float(off[at]), at
