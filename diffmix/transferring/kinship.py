"""Whether two recordings are of one performance: their levels in bands rise and fall together, at some delay."""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

FRAME_S = 0.02
BANDS_PER_OCTAVE, LOW_HZ, HIGH_HZ = 3, 150.0, 5000.0
ALIKE = 0.45
"""Correlation from which two recordings are one performance; see `Kinship`."""

OVERLAP_S = 2.0
"""Least that has to overlap, or all of the shorter recording."""

_PIECE = 1 << 19


class Kinship(NamedTuple):
    """How alike the levels move, at the best delay.

    ``likeness`` is the correlation of the changes of level of 15 bands over frames of 20 ms: 1 for the same recording
    at any level; ``delay_s`` is where in the input the reference begins. Equalisers leave it alone, compressors nearly.
    """

    likeness: float
    delay_s: float

    @property
    def same(self) -> bool:
        """Whether they are one performance."""
        return self.likeness >= ALIKE


def kinship(x: Tensor, x_rate: float, y: Tensor, y_rate: float) -> Kinship:
    """Compare audio (C, T) with a reference (C, T'), each at its own rate in Hz."""
    top = min(HIGH_HZ, 0.45 * x_rate, 0.45 * y_rate)
    a, b = _changes(x, x_rate, top), _changes(y, y_rate, top)
    n, m = a.shape[1], b.shape[1]
    least = min(n, m, round(OVERLAP_S / FRAME_S))
    if least < 5:
        return Kinship(0.0, 0.0)
    size = 1 << (n + m - 1).bit_length()

    def correlated(p: Tensor, q: Tensor) -> Tensor:
        """Sum over frames of p[k] q[k - lag], lags from -(m - 1) to n - 1, (..., n + m - 1)."""
        found = torch.fft.irfft(torch.fft.rfft(p, size) * torch.fft.rfft(q, size).conj(), size)
        return torch.cat([found[..., size - (m - 1) :], found[..., :n]], -1)

    product = correlated(a, b).sum(0)
    mine = correlated(a.square().sum(0), torch.ones(m, dtype=a.dtype))
    other = correlated(torch.ones(n, dtype=a.dtype), b.square().sum(0))
    overlap = correlated(torch.ones(n, dtype=a.dtype), torch.ones(m, dtype=a.dtype)).round()
    norm = (mine * other).clamp_min(1e-9).sqrt()
    enough = (overlap >= least) & (mine > 1e-3 * mine.max()) & (other > 1e-3 * other.max())
    found = torch.where(enough, product / norm, 0.0)
    best = int(found.argmax())
    return Kinship(float(found[best]), (best - (m - 1)) * FRAME_S)


def _changes(x: Tensor, rate: float, top_hz: float) -> Tensor:
    """Changes of level (bands, frames) of the middle of audio (C, T), limited and without their mean."""
    hop = round(FRAME_S * rate)
    size = 1 << math.ceil(math.log2(2 * hop))
    bands = int(BANDS_PER_OCTAVE * math.log2(top_hz / LOW_HZ))
    edges = (LOW_HZ * 2 ** (torch.arange(bands + 1) / BANDS_PER_OCTAVE) * size / rate).round().long().tolist()
    window = torch.hann_window(size)
    found = []
    step = max(1, _PIECE // hop)
    count = max(0, (x.shape[-1] - size) // hop + 1)
    for first in range(0, count, step):
        last = min(first + step, count)
        piece = x[:, first * hop : (last - 1) * hop + size].float().mean(0)
        squares = torch.view_as_real(torch.fft.rfft(piece.unfold(0, size, hop) * window)).square()
        found.append(torch.stack([squares[:, low:high].sum((1, 2)) for low, high in pairwise(edges)], 1))
    if not found:
        return torch.zeros(bands, 0, dtype=torch.float64)
    power = torch.cat(found).T.double()
    level = 10 * (power + 1e-6 * power.amax(1, keepdim=True) + 1e-12).log10()
    change = (level[:, 1:] - level[:, :-1]).clamp(-20, 20)
    return change - change.mean(1, keepdim=True)
