"""Loudness and true peak by ITU-R BS.1770-4, differentiable.

The K-weighting filters are second-order sections by the formulas of R. Bristow-Johnson's cookbook, for any sample rate:
a high shelf of 4 dB at 1500 Hz with Q 1/sqrt(2) and a high-pass at 38 Hz with Q 1/2, as in pyloudnorm's meter, to which
readings are equal. At 44.1 to 96 kHz they lie up to 0.05 LU below those of the filters that BS.1770 prints for 48 kHz;
EBU Tech 3341 allows 0.1 LU.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv1d, pad

from diffmix.errors import AudioError
from diffmix.kernels._operator import unwatched
from diffmix.kernels.backend import compiled, over_rows, uncast
from diffmix.kernels.biquad import high_shelf
from diffmix.kernels.iir import sos_cascade
from diffmix.kernels.units import gain_to_db

SILENCE_LUFS = -70.0
"""The absolute gate, and what silence measures."""
HEARD_LUFS = SILENCE_LUFS + 1
"""What is above sounds; a recording that is not counts as silent."""
_OFFSET_DB = -0.691
_BLOCK_S = 0.4
_STEP_S = 0.1
_FLOOR = 10 ** ((SILENCE_LUFS - _OFFSET_DB) / 10)  # mean square at the absolute gate
_SEGMENT = 1 << 18  # samples oversampled at a time: bounds the memory of long signals

# BS.1770-4, Annex 2: the taps of phases 0 and 1, in units of 2**-13; phases 3 and 2 are the same reversed.
_PHASES = (
    (14, 90, -161, 272, -487, 1125, 7964, -838, 390, -218, 122, -68),
    (-239, 240, -424, 730, -1364, 3810, 6388, -1641, 832, -477, 271, -155),
)


def block_loudness(x: Tensor, sample_rate: float, block_s: float = _BLOCK_S) -> Tensor:
    """Loudness of blocks that start every 0.1 s, ungated: momentary (0.4 s) or short-term (3 s).

    Args:
        x: audio (B, C, T), mono or stereo (all channels weigh 1). A signal shorter than a block is one block.
        sample_rate: in Hz.
        block_s: length of a block in seconds.

    Returns:
        Loudness (B, blocks) in LUFS, at least -70; gradients are zero there.
    """
    return _lufs(_block_powers(x, sample_rate, block_s)).to(x.dtype)


def integrated_loudness(x: Tensor, sample_rate: float) -> Tensor:
    """Loudness of a whole programme, gated: blocks under -70 LUFS, then those 10 LU under the rest, do not count.

    Which blocks count is a constant for the gradient.

    Args:
        x: audio (B, C, T), mono or stereo (all channels weigh 1). A signal shorter than 0.4 s is one block.
        sample_rate: in Hz.

    Returns:
        Loudness (B,) in LUFS; silence measures -70, with zero gradient.
    """
    return _gated(_block_powers(x, sample_rate)).to(x.dtype)


class LoudnessMeter:
    """`integrated_loudness` of audio that comes piece by piece: the same reading, in the memory of a piece."""

    def __init__(self, sample_rate: float) -> None:
        """A meter at ``sample_rate`` Hz that has heard nothing."""
        self.sample_rate = sample_rate
        self._ear: _Ear | None = None
        self._samples = self._steps = 0
        self._energy = torch.zeros(1, 1, dtype=torch.float64)
        self._marks: list[Tensor] = []  # the energy so far, at every 0.1 s

    def add(self, x: Tensor) -> None:
        """Hear the next piece (B, C, T); AudioError if there are not as many items and channels as before."""
        self._ear = self._ear or _Ear(x, self.sample_rate)
        end, here = self._samples + x.shape[-1], []
        while (edge := int(_BLOCK_S * (self._steps * (_STEP_S / _BLOCK_S)) * self.sample_rate)) < end:
            here.append(edge - self._samples)
            self._steps += 1
        total = self._energy + self._ear.heard(x, [*here, x.shape[-1]]).cumsum(1)
        self._marks.append(total[:, :-1])
        self._samples, self._energy = end, total[:, -1:]

    def loudness(self) -> Tensor:
        """Integrated loudness (B,) in LUFS of all that was heard, float64."""
        if self._samples < _BLOCK_S * self.sample_rate:
            return _gated(self._energy / max(1, self._samples))
        blocks = round((self._samples / self.sample_rate - _BLOCK_S) / _STEP_S) + 1
        marks = torch.cat([*self._marks, self._energy], 1)
        last = (torch.arange(blocks) + round(_BLOCK_S / _STEP_S)).clamp_max(marks.shape[1] - 1)
        return _gated((marks[:, last] - marks[:, :blocks]) / (_BLOCK_S * self.sample_rate))

    def peaks(self) -> Tensor:
        """The largest magnitude (B,) of all that was heard, float64."""
        return self._ear.peaks() if self._ear else torch.zeros(1, dtype=torch.float64)


def true_peak_db(x: Tensor, sample_rate: float) -> Tensor:
    """Peak level of the waveform between the samples, by four times oversampling (BS.1770-4, Annex 2).

    The samples themselves count as well, so that the reading never lies below the sample peak.

    Args:
        x: audio (B, C, T).
        sample_rate: in Hz; the method is the same for all rates.

    Returns:
        Level (B,) of the highest channel in dBTP, at least -120.
    """
    if _measured(x):
        return gain_to_db(_true_peaks(x))
    weight = true_peak_filter(x)[:, None]
    order = weight.shape[-1] - 1
    rows = x.flatten(0, 1)[:, None]
    peaks = [x.abs().amax((1, 2))]
    padded = pad(rows, (order, order))
    for start in range(0, x.shape[-1] + order, _SEGMENT):
        with uncast(x):
            between = conv1d(padded[..., start : start + _SEGMENT + order], weight)
        peaks.append(between.abs().amax((1, 2)).reshape(x.shape[:2]).amax(1))
    return gain_to_db(torch.stack(peaks).amax(0))


def true_peak_filter(like: Tensor) -> Tensor:
    """The standard's interpolation filter (4, 12), one row per phase, of the dtype and device of ``like``."""
    taps = torch.tensor(_PHASES, dtype=like.dtype, device=like.device) / 8192
    return torch.cat([taps, taps.flip(0, 1)])


def _measured(x: Tensor) -> bool:
    """Whether nothing but the value is wanted, which compiled loops give sooner."""
    return compiled(x) and not torch.compiler.is_compiling() and unwatched([x])


def _rows(x: Tensor) -> NDArray[Any]:
    """Audio (B, C, T) for compiled loops: (B C, T), float32 or float64."""
    real = x if x.dtype == torch.float64 else x.to(torch.float32)
    return real.detach().cpu().reshape(-1, x.shape[-1]).contiguous().numpy()


def _true_peaks(x: Tensor) -> Tensor:
    """The highest magnitude (B,) at and between the samples of all channels."""
    from diffmix.kernels._loudness_numba import true_peaks

    rows = _rows(x)
    taps = true_peak_filter(torch.from_numpy(rows)).numpy()
    peaks = np.empty(len(rows), rows.dtype)
    over_rows(lambda a, b: true_peaks(rows, taps, peaks, a, b), len(rows))
    return torch.from_numpy(peaks).view(x.shape[:2]).amax(1).to(x.dtype)


def _weighting(sample_rate: float) -> Tensor:
    """The K-weighting filters as sections (1, 2, 5), float64."""
    frequency_hz, gain_db, q = torch.tensor([[1500.0], [4.0], [math.sqrt(0.5)]], dtype=torch.float64)
    shelf = high_shelf(frequency_hz, gain_db, q, sample_rate)
    w = 2 * math.pi * 38.0 / sample_rate
    alpha = math.sin(w) / (2 * 0.5)
    b, a = (1 + math.cos(w)) / 2, (1 + alpha, -2 * math.cos(w), 1 - alpha)
    high_pass = torch.tensor([[b, -2 * b, b, a[1], a[2]]], dtype=torch.float64) / a[0]
    return torch.stack([shelf, high_pass], 1)


def _block_powers(x: Tensor, sample_rate: float, block_s: float = _BLOCK_S) -> Tensor:
    """Mean squares (B, blocks) of the weighted signal, summed over channels, float64."""
    samples = x.shape[-1]
    if samples < block_s * sample_rate:
        return _energy_until([samples], x, sample_rate) / samples
    step, length = _STEP_S / _BLOCK_S, block_s / _BLOCK_S
    blocks = round((samples / sample_rate - block_s) / (_BLOCK_S * step)) + 1
    first = [int(_BLOCK_S * (j * step) * sample_rate) for j in range(blocks)]
    last = [min(int(_BLOCK_S * (j * step + length) * sample_rate), samples) for j in range(blocks)]
    edges = sorted({*first, *last})
    total = _energy_until(edges, x, sample_rate)
    place = {edge: n for n, edge in enumerate(edges)}
    begin, end = (total.index_select(1, torch.tensor([place[e] for e in at], device=x.device)) for at in (first, last))
    return (end - begin) / (block_s * sample_rate)


def _energy_until(edges: Sequence[int], x: Tensor, sample_rate: float) -> Tensor:
    """Energy (B, edges) of the weighted signal in front of each edge, float64."""
    if _measured(x):
        return _Ear(x, sample_rate).heard(x, edges).cumsum(1)
    sos = _weighting(sample_rate).to(x.device).expand(x.shape[0], -1, -1)
    power = sos_cascade(x.double(), sos).square().sum(1)
    return pad(power.cumsum(1), (1, 0)).index_select(1, torch.tensor(edges, device=x.device))


class _Ear:
    """The weighting with its state and what it heard, in one compiled loop without gradients."""

    def __init__(self, x: Tensor, sample_rate: float) -> None:
        """For audio shaped as x (B, C, T), T aside."""
        self.items, self.channels, _ = x.shape
        self.coefficients = _weighting(sample_rate).flatten().numpy()
        self.states, self.highest = np.zeros((self.items * self.channels, 4)), np.zeros(self.items * self.channels)

    def heard(self, x: Tensor, edges: Sequence[int]) -> Tensor:
        """Energy (B, edges) in front of each edge, from the one before on; what follows the last edge goes unheard."""
        from diffmix.kernels._loudness_numba import ROWS, energies

        if x.shape[:2] != (self.items, self.channels):
            raise AudioError(f"{x.shape[0]} items of {x.shape[1]} channels, before {self.items} of {self.channels}")
        rows = _rows(x)
        energy, at = np.empty((len(rows), len(edges))), np.array(edges)
        over_rows(
            lambda a, b: energies(rows, self.coefficients, self.states, at, energy, self.highest, a, b), len(rows), ROWS
        )
        return torch.from_numpy(energy).view(self.items, self.channels, -1).sum(1)

    def peaks(self) -> Tensor:
        """The largest magnitude (B,) so far."""
        return torch.from_numpy(self.highest).view(self.items, self.channels).amax(1)


def _gated(power: Tensor) -> Tensor:
    """Loudness (B,) of the mean squares of blocks (B, blocks)."""
    # what is not below counts, so that audio that is no number has no loudness, instead of that of silence
    relative = 0.1 * _mean(power, ~(power < _FLOOR))
    return _lufs(_mean(power, ~((power <= relative[:, None]) | (power <= _FLOOR))))


def _mean(power: Tensor, counted: Tensor) -> Tensor:
    """Mean over the blocks that count, zero if there is none."""
    return torch.where(counted, power, 0.0).sum(1) / counted.sum(1).clamp_min(1)


def _lufs(power: Tensor) -> Tensor:
    return _OFFSET_DB + 10 * torch.log10(power.clamp_min(_FLOOR))
