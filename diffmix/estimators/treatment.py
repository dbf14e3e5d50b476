"""What a chain does to a recording, in curves and numbers instead of knobs: it can be predicted, averaged and scaled.

A treatment is read for a recording whose peak is at -12 dBFS: levels and thresholds have a meaning only then. Its parts
act in this order: equaliser, compressor, drive, width, space.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

PEAK_DB = -12.0
"""Peak level, dBFS, of the recordings that treatments are read for."""

EQ_HZ: tuple[float, ...] = tuple(30 * (11500 / 30) ** (k / 39) for k in range(40))
"""Frequencies, Hz, at which the equaliser's response is given: 40, equally spaced in octaves."""

LEVELS_DB: tuple[float, ...] = (-6.0, -14.0, -22.0, -30.0, -38.0, -46.0)
"""Levels, dBFS, at which the compressor's static gain reduction is given."""

EXTRAS: Mapping[str, str] = {
    "width_db": "dB the side is raised over the middle",
    "drive_db": "dB of gain into tanh, made up for at low levels",
    "space_db": "level of a room's tail under the direct sound, dB above -30",
}
"""Further numbers of a treatment and their units; zero leaves the recording alone."""

ASPECTS = ("tone", "dynamics", "width", "drive", "space")
"""The parts of a treatment, each of which can be scaled by itself."""

SIZE = len(EQ_HZ) + len(LEVELS_DB) + 2 + len(EXTRAS)
"""Numbers of a treatment as a vector."""

ATTACK_MS, RELEASE_MS = 25.0, 250.0
"""Times that weighted logarithms of zero stand for, as `diffmix.processors.Compressor` counts them."""

STEEPEST = 0.85
"""Largest slope, dB of reduction per dB above the threshold, that is read from a curve."""

SURE_DB = 6.0
"""Gain reduction at the highest level from which on the times count fully: less can hardly be heard."""

_THRESHOLDS_DB = tuple(-50 + 0.5 * k for k in range(93))  # -50 ... -4


class Knobs(NamedTuple):
    """A compressor's settings, each (...): dB, :1, ms and ms."""

    threshold_db: Tensor
    ratio: Tensor
    attack_ms: Tensor
    release_ms: Tensor


class Treatment(NamedTuple):
    """What is done to a recording that peaks at -12 dBFS; tensors with any leading shape (...).

    Fields:
        eq_db: the equaliser's response at `EQ_HZ` (..., 40), dB.
        reduction_db: the compressor's static gain reduction at `LEVELS_DB` (..., 6), dB, 0 or more.
        times: (..., 2), log10 of attack / 25 ms and of release / 250 ms, each times how much is reduced: 0 where
            nothing is, 1 from 6 dB at the highest level on.
        extras: (..., 3), the numbers of `EXTRAS`.
    """

    eq_db: Tensor
    reduction_db: Tensor
    times: Tensor
    extras: Tensor

    @classmethod
    def neutral(cls, *shape: int) -> "Treatment":
        """Nothing done, of leading shape ``shape``."""
        return cls.from_vector(torch.zeros(*shape, SIZE))

    @classmethod
    def of(cls, eq_db: Tensor, compressor: Knobs, extras: Tensor | None = None) -> "Treatment":
        """The treatment of known settings: response (..., 40), compressor's knobs (...), extras (..., 3) or none."""
        above = (torch.tensor(LEVELS_DB).to(eq_db) - compressor.threshold_db[..., None]).clamp_min(0)
        reduction = above * (1 - 1 / compressor.ratio[..., None])
        logs = torch.stack(
            [(compressor.attack_ms / ATTACK_MS).log10(), (compressor.release_ms / RELEASE_MS).log10()], -1
        )
        if extras is None:
            extras = eq_db.new_zeros(*eq_db.shape[:-1], len(EXTRAS))
        return cls(eq_db, reduction, logs * _sureness(reduction), extras)

    def to_vector(self) -> Tensor:
        """All numbers side by side, (..., 51)."""
        return torch.cat(tuple(self), -1)

    @classmethod
    def from_vector(cls, vector: Tensor) -> "Treatment":
        """The inverse of `to_vector`; a negative gain reduction, which there is not, becomes none."""
        eq_db, reduction, times, extras = vector.split([len(EQ_HZ), len(LEVELS_DB), 2, len(EXTRAS)], -1)
        return cls(eq_db, reduction.clamp_min(0), times, extras)

    def scaled(
        self,
        tone: float | Tensor = 1.0,
        dynamics: float | Tensor = 1.0,
        width: float | Tensor = 1.0,
        drive: float | Tensor = 1.0,
        space: float | Tensor = 1.0,
    ) -> "Treatment":
        """The treatment with each aspect in another amount: 0 nothing, 1 as it is. Amounts are numbers or (...)."""
        eq = self.eq_db * _column(tone, self.eq_db)
        reduction = self.reduction_db * _column(dynamics, self.eq_db)
        times = self.times * (_sureness(reduction) / _sureness(self.reduction_db).clamp_min(1e-6))
        amounts = [_column(amount, self.eq_db) for amount in (width, drive, space)]
        extras = self.extras * torch.cat([a.expand(*self.extras.shape[:-1], 1) for a in amounts], -1)
        return Treatment(eq, reduction, times, extras)

    def beyond(self, done: "Treatment") -> "Treatment":
        """What is left to do of it where ``done`` was done before: the equaliser takes back, nothing else does."""
        reduction = (self.reduction_db - done.reduction_db).clamp_min(0)
        times = self.times * (_sureness(reduction) / _sureness(self.reduction_db).clamp_min(1e-6))
        return Treatment(self.eq_db - done.eq_db, reduction, times, (self.extras - done.extras).clamp_min(0))

    def compressor(self) -> Knobs:
        """The settings of a `diffmix.processors.Compressor` whose curve is nearest in least squares.

        The threshold is one of -50, -49.5, ... -4 dBFS, the slope at most 0.85 (6.7:1), the times within its ranges.
        """
        curve = self.reduction_db[..., None, :]  # (..., 1, 6)
        levels = torch.tensor(LEVELS_DB).to(curve)
        thresholds = torch.tensor(_THRESHOLDS_DB).to(curve)
        above = (levels - thresholds[:, None]).clamp_min(0)  # (93, 6)
        slope = ((curve * above).sum(-1) / above.square().sum(-1).clamp_min(1e-9)).clamp(0, STEEPEST)  # (..., 93)
        best = (curve - slope[..., None] * above).square().sum(-1).argmin(-1, keepdim=True)
        slope = slope.gather(-1, best)[..., 0]
        sure = _sureness(self.reduction_db)
        logs = self.times / sure.clamp_min(0.1)
        return Knobs(
            threshold_db=thresholds[best[..., 0]],
            ratio=1 / (1 - slope),
            attack_ms=(ATTACK_MS * 10 ** logs[..., 0].clamp(-2, 2)).clamp(0.1, 200),
            release_ms=(RELEASE_MS * 10 ** logs[..., 1].clamp(-2, 2)).clamp(5, 2000),
        )

    def response_db(self, frequency_hz: Tensor) -> Tensor:
        """The equaliser's response (..., K) at frequencies (K,) in Hz: linear in octaves, level beyond the ends."""
        return self.eq_db @ interpolation(frequency_hz).to(self.eq_db).T


def interpolation(frequency_hz: Tensor) -> Tensor:
    """Weights (K, 40) that read a response given at `EQ_HZ` at frequencies (K,) in Hz."""
    octaves = (frequency_hz.double().clamp_min(1e-3) / EQ_HZ[0]).log2()
    step = math.log2(EQ_HZ[1] / EQ_HZ[0])
    place = (octaves / step).clamp(0, len(EQ_HZ) - 1)
    left = place.floor().clamp_max(len(EQ_HZ) - 2).long()
    weights = torch.zeros(len(frequency_hz), len(EQ_HZ), dtype=torch.float64)
    weights.scatter_(1, left[:, None], (1 - (place - left))[:, None])
    weights.scatter_(1, left[:, None] + 1, (place - left)[:, None])
    return weights.float()


def _sureness(reduction_db: Tensor) -> Tensor:
    """How much the times count, (..., 1)."""
    return (reduction_db[..., :1] / SURE_DB).clamp(0, 1)


def _column(amount: float | Tensor, like: Tensor) -> Tensor:
    return torch.as_tensor(amount, dtype=like.dtype, device=like.device)[..., None]
