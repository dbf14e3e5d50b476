r"""Convolution with an impulse response, causal and without latency:

$$y_n = \sum_{k=0}^{L-1} h_k\, x_{n-k}$$

by one Fourier transform of the whole signal (T. G. Stockham, "High-speed convolution and correlation", AFIPS Spring
Joint Computer Conference, 1966). In chunks the last L - 1 samples are remembered and transformed again (overlap-save).
"""

import math
from typing import Any

import torch
from torch import Tensor

from diffmix.errors import AudioError
from diffmix.kernels import stream
from diffmix.kernels._operator import operator
from diffmix.kernels.backend import compiled

_ENERGY = 1 / 64  # of Pedalboard's normalised impulse responses, in the louder channel
_TOGETHER = 4  # items whose spectra are made at once: memory for more is asked for anew each time
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


@operator(fake=lambda gy, x, h: (x.new_empty(x.shape), h.new_empty(h.shape)))
def _convolve_backward(gy: Tensor, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """The correlations of gy with h and with x: products with conjugate spectra."""
    if len(h) == len(x) > _TOGETHER:
        parts = zip(*(part.split(_TOGETHER) for part in (gy, x, h)), strict=True)
        gx, gh = (torch.empty_like(part, memory_format=torch.contiguous_format) for part in (x, h))
        for gx_part, gh_part, part in zip(gx.split(_TOGETHER), gh.split(_TOGETHER), parts, strict=True):
            to_x, to_h = _correlations(*part)
            gx_part.copy_(to_x)
            gh_part.copy_(to_h)
        return gx, gh
    gx, gh = _correlations(gy, x, h)
    return gx.contiguous(), gh.contiguous()


def _correlations(gy: Tensor, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    length = _fast_length(x.shape[-1] + h.shape[-1] - 1)
    spectrum = torch.fft.rfft(gy, length)
    gx = torch.fft.irfft(spectrum * torch.fft.rfft(h, length).conj(), length)[..., : x.shape[-1]]
    products = spectrum * torch.fft.rfft(x, length).conj()
    shared = [d for d in (0, 1) if h.shape[d] < x.shape[d]]
    gh = torch.fft.irfft(products.sum(shared, keepdim=True) if shared else products, length)[..., : h.shape[-1]]
    return gx, gh


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
    """:func:`_linear` as an operator, which compiles and keeps no spectra for the backward."""
    if len(h) == len(x) > _TOGETHER:
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        for part in zip(y.split(_TOGETHER), x.split(_TOGETHER), h.split(_TOGETHER), strict=True):
            part[0].copy_(_linear(*part[1:]))
        return y
    return _linear(x, h).contiguous()
