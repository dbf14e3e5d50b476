r"""Convolution with an impulse response, causal and without latency:

$$y_n = \sum_{k=0}^{L-1} h_k\, x_{n-k}$$

by one Fourier transform of the whole signal (T. G. Stockham, "High-speed convolution and correlation", AFIPS Spring
Joint Computer Conference, 1966). In chunks the last L - 1 samples are remembered and transformed again (overlap-save).
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffmix.errors import AudioError
from diffmix.kernels import stream
from diffmix.kernels._operator import operator
from diffmix.kernels.allocation import empty_like
from diffmix.kernels.backend import compiled, over_rows

_ENERGY = 1 / 64  # of Pedalboard's normalised impulse responses, in the louder channel
_SILENT = 1e-8  # energy below which Pedalboard leaves an impulse response as it is


def convolve(x: Tensor, h: Tensor) -> Tensor:
    """Convolve audio with an impulse response; the tail is cut off where the audio ends.

    Args:
        x: audio (B, C, T).
        h: impulse response (B or 1, C or 1, L), of any length.

    Returns:
        Audio (B, C, T) of x's dtype, computed in float64 if x is, otherwise in float32. Gradients to x and h are
        exact; other devices and ``backend("torch")`` have higher ones.

    Raises:
        AudioError: if the shapes do not fit.
    """
    if h.ndim != 3 or h.shape[0] not in (1, x.shape[0]) or h.shape[1] not in (1, x.shape[1]) or not h.shape[2]:
        raise AudioError(
            f"audio {tuple(x.shape)} needs an impulse response ({x.shape[0]} or 1, {x.shape[1]} or 1, 1 or more "
            f"samples), got {tuple(h.shape)}"
        )
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    signal, response = x.to(dtype), h.to(dtype)
    past = h.shape[2] - 1
    if stream.is_streaming():
        signal = torch.cat([stream.memory((*x.shape[:2], past), signal), signal], -1)
        stream.keep(signal[..., signal.shape[-1] - past :])
    function = _convolve if compiled(x) else _linear
    return function(signal, response[..., : signal.shape[-1]])[..., signal.shape[-1] - x.shape[-1] :].to(x.dtype)


def normalisation(h: Tensor) -> Tensor:
    """Pedalboard's factor for impulse responses h (B, C, L), (B,): it gives the louder channel the energy 1/64.

    In float32 it is ``0.125 / sqrt(E)`` with the energy E summed sample by sample, as Pedalboard does, which for long
    responses is some 1e-5 off; responses with an energy below 1e-8 get the factor 1. The gradient is that of the ideal
    value.
    """
    energy = _energy(h) if h.dtype == torch.float32 else h.square().sum(-1)
    loudest = energy.amax(1)
    return torch.where(loudest < _SILENT, 1.0, math.sqrt(_ENERGY) / loudest.clamp_min(_SILENT).sqrt())


@operator(
    fake=lambda h: h.new_empty(h.shape[:2]),
    backward=lambda ctx, gradient: 2 * gradient[..., None] * ctx.saved_tensors[0],
    save=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)
def _energy(h: Tensor) -> Tensor:
    """The sum of squares of h (B, C, L), added one after the other."""
    squares = h.detach().square().cpu().numpy()
    sums = torch.from_numpy(
        squares.cumsum(-1, dtype=squares.dtype)[..., -1].copy()
    )  # cumsum adds in order, sum in pairs
    return sums.to(h.device)


def _fast_length(samples: int) -> int:
    """The next length whose transform is fast: a power of two, or 9/8, 5/4, 3/2 or 15/8 of one.

    With many factors of two, vectors of bins end at the last bin, and no item's bits depend on how many there are.
    """
    exponent = max((samples - 1).bit_length() - 4, 0)
    return next(m << exponent for m in (8, 9, 10, 12, 15, 16) if m << exponent >= samples)


def _linear(x: Tensor, h: Tensor) -> Tensor:
    """The first T samples of the convolution, with zeros enough that nothing wraps around."""
    length = _fast_length(x.shape[-1] + h.shape[-1] - 1)
    return torch.fft.irfft(torch.fft.rfft(x, length) * torch.fft.rfft(h, length), length)[..., : x.shape[-1]]


class _Work:
    """What one thread needs to convolve rows one after the other: a few spectra, whatever the number of rows."""

    def __init__(self, samples: int, dtype: np.dtype[Any], spectra: int) -> None:
        from diffmix.kernels._convolution_numba import LANES, analyse, multiply, plan, synthesise

        self.plan = plan(samples, dtype == np.float64)
        one, two = self.plan.sizes.tolist()
        self.spectra = [np.empty((2, one * two), dtype) for _ in range(spectra)]
        self.space = np.empty((2, one * LANES), dtype)
        self._analyse, self._synthesise, self.multiply = analyse, synthesise, multiply

    def analyse(self, x: np.ndarray, spectrum: np.ndarray) -> None:
        """The spectrum of a row."""
        self._analyse(x, self.plan, spectrum, self.space)

    def synthesise(self, spectrum: np.ndarray, x: np.ndarray) -> None:
        """The row of a product of spectra, which is lost."""
        self._synthesise(spectrum, self.plan, x, self.space)


def _rows(x: Tensor, h: Tensor) -> list[tuple[int, list[int]]]:
    """For every impulse response, counted over items and channels, the rows of x that it is for.

    They follow each other, so that it is transformed once.
    """
    each = torch.arange(h.shape[0] * h.shape[1]).view(h.shape[:2]).expand(x.shape[:2]).flatten().tolist()
    found: dict[int, list[int]] = {}
    for row, number in enumerate(each):
        found.setdefault(number, []).append(row)
    return list(found.items())


def _flat(x: Tensor) -> np.ndarray:
    return x.detach().contiguous().flatten(0, 1).numpy()


@operator(fake=lambda gy, x, h: (x.new_empty(x.shape), h.new_empty(h.shape)))
def _convolve_backward(gy: Tensor, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """The correlations of gy with h and with x: products with conjugate spectra."""
    outer, audio, responses = _flat(gy), _flat(x), _flat(h)
    gx, gh = empty_like(audio), np.empty_like(responses)
    groups = _rows(x, h)

    def task(first: int, last: int) -> None:
        work = _Work(x.shape[-1] + h.shape[-1] - 1, audio.dtype, 4)
        signal, given, response, gathered = work.spectra
        for number, rows in groups[first:last]:
            work.analyse(responses[number], response)
            for row in rows:
                work.analyse(outer[row], given)
                work.analyse(audio[row], signal)
                work.multiply(given, signal, -1, gathered, row != rows[0])
                work.multiply(given, response, -1, given, False)
                work.synthesise(given, gx[row])
            work.synthesise(gathered, gh[number])

    over_rows(task, len(groups))
    return torch.from_numpy(gx).view(x.shape), torch.from_numpy(gh).view(h.shape)


def _run_backward(ctx: Any, gy: Tensor) -> tuple[Tensor, Tensor | None]:
    x, h = ctx.saved_tensors
    if ctx.needs_input_grad[1]:
        return _convolve_backward(gy, x, h)
    # time reversed, convolved and reversed again
    return _convolve(gy.flip(-1), h).flip(-1), None


@operator(
    fake=lambda x, h: x.new_empty(x.shape),
    backward=_run_backward,
    save=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)
def _convolve(x: Tensor, h: Tensor) -> Tensor:
    """:func:`_linear` row by row, in memory for one row."""
    audio, responses = _flat(x), _flat(h)
    y = empty_like(audio)
    pairs = [(number, row) for number, rows in _rows(x, h) for row in rows]

    def task(first: int, last: int) -> None:
        work = _Work(x.shape[-1] + h.shape[-1] - 1, audio.dtype, 2)
        signal, response = work.spectra
        known = -1
        for number, row in pairs[first:last]:
            if number != known:
                work.analyse(responses[number], response)
                known = number
            work.analyse(audio[row], signal)
            work.multiply(signal, response, 1, signal, False)
            work.synthesise(signal, y[row])

    over_rows(task, len(pairs))
    return torch.from_numpy(y).view(x.shape)
