"""Freeverb, the reverb of Pedalboard: eight damped combs in parallel, four allpasses in series, per channel.

The algorithm is J. Porter's ("Jezar at Dreampoint", public domain, 2000), after M. R. Schroeder, "Natural sounding
artificial reverberation", JAES 10, 1962, and J. A. Moorer, "About this reverberation business", CMJ 3(2), 1979:

    s = 0.015 (L + R)                                           (mono: 0.015 x)
    comb:     v[n] = w[n-D],  l = (1 - d) v + d l[n-1],  w = s + f l,         o = sum of the eight v
    allpass:  v[n] = w[n-A],  w = o + v / 2,             o <- v - o           (four times)
    L' = w1 oL + w2 oR + g L,   R' = w1 oR + w2 oL + g R        (mono: w1 o + g x)

with f = 0.7 + 0.28 room_size, d = 0.4 damping, w1 and w2 = 1.5 wet_level (1 +- width), g = 2 dry_level.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffmix.errors import AudioError
from diffmix.kernels._operator import operator
from diffmix.kernels.backend import compiled, over_rows

COMBS, LINES = 8, 12  # delay lines of one channel: combs first, then allpasses
CHUNK = 16384  # samples between two saved states
_DELAYS_44100 = (1116, 1188, 1277, 1356, 1422, 1491, 1557, 1617, 556, 441, 341, 225)
_RIGHT = 23  # samples at 44.1 kHz by which the right channel's lines are longer
_INPUT_GAIN = 0.015
_ALIAS_DB = 220.0  # how far down time aliasing lies in the portable form; more would magnify rounding


def freeverb(
    x: Tensor,
    room_size: Tensor,
    damping: Tensor,
    wet_level: Tensor,
    dry_level: Tensor,
    width: Tensor,
    sample_rate: float,
    freeze: bool = False,
) -> Tensor:
    """Reverberate; in float32 on the CPU equal to ``pedalboard.Reverb`` sample for sample.

    Gradients reach ``x`` and all five parameters. The compiled path rounds like Pedalboard on the way forward and
    applies the exact adjoint of the unrounded filter on the way back; in float64 nothing is rounded.

    Args:
        x: audio (B, C, T) with C 1 or 2.
        room_size: 0 to 1 (B,): decay to -60 dB of 0.7 s at 0, 1.4 s at 0.5, 11 s at 1.
        damping: 0 to 1 (B,), loss of high frequencies per round trip.
        wet_level: 0 to 1 (B,).
        dry_level: 0 to 1 (B,); 0.5 passes the input at unity gain.
        width: 0 to 1 (B,); scales the wet level of mono signals.
        sample_rate: in Hz, 2000 or more.
        freeze: Pedalboard's freeze mode. The tank takes no input, so from silence only the dry signal is heard.

    Returns:
        Audio (B, C, T), dtype of ``x``.

    Raises:
        AudioError: for more than two channels, or a sample rate below 2000 Hz.
    """
    if x.shape[1] > 2:
        raise AudioError(f"freeverb takes mono or stereo audio (B, 1 or 2, T), got {x.shape[1]} channels")
    if sample_rate < 2000:
        raise AudioError(f"freeverb needs a sample rate of at least 2000 Hz, got {sample_rate:g} Hz")
    native = compiled(x)
    dtype = x.dtype if native else torch.float64
    room_size, damping, wet_level, dry_level, width = (
        p.to(dtype) for p in (room_size, damping, wet_level, dry_level, width)
    )
    dry = dry_level * 2
    if freeze:
        return (x * dry[:, None, None]).to(x.dtype)
    wet = wet_level * 3  # the order of these float32 operations is Pedalboard's
    cross = 0.5 * wet * (1 - width) if x.shape[1] == 2 else torch.zeros_like(wet)
    gains = torch.stack([room_size * 0.28 + 0.7, damping * 0.4, 0.5 * wet * (1 + width), cross, dry], dim=1)
    if native:
        return _freeverb(x, gains, int(sample_rate))[0]
    return _on_circle(x.double(), gains, int(sample_rate)).to(x.dtype)


def _delays(sample_rate: int, channels: int) -> list[int]:
    return [sample_rate * (d + _RIGHT * c) // 44100 for c in range(channels) for d in _DELAYS_44100]


def _states_shape(x: Tensor, sample_rate: int) -> tuple[int, int, int]:
    channels = x.shape[1]
    return x.shape[0], -(-x.shape[2] // CHUNK), sum(_delays(sample_rate, channels)) + channels * COMBS


def _arrays(x: Tensor, gains: Tensor, states: np.ndarray, sample_rate: int) -> tuple[Any, ...]:
    """What the compiled loops take besides their results: signal, states, delays, constants, block length."""
    g = gains.detach().numpy()
    guard = 0.1 if g.dtype == np.float32 else 0.0  # Pedalboard rounds what it stores to multiples of 2**-27
    fixed = np.tile(np.array([_INPUT_GAIN, 0.5, guard], g.dtype), (len(g), 1))
    constants = np.concatenate([fixed, g[:, :2], 1 - g[:, 1:2], g[:, 2:]], axis=1)
    delays = np.array(_delays(sample_rate, x.shape[1]))
    return x.detach().contiguous().numpy(), states, delays, constants, delays.min() // COMBS * COMBS


@operator(fake=lambda gy, x, gains, states, sample_rate: (x.new_empty(x.shape), gains.new_empty(gains.shape)))
def _freeverb_backward(gy: Tensor, x: Tensor, gains: Tensor, states: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Gradients to x and gains."""
    from diffmix.kernels._reverb_numba import backward

    gx, gradient = np.empty(x.shape, states.numpy().dtype), np.zeros(gains.shape)
    arrays = gy.contiguous().numpy(), *_arrays(x, gains, states.numpy(), sample_rate), gx, gradient
    over_rows(lambda a, b: backward(*arrays, a, b), len(x))  # type: ignore[call-arg]
    return torch.from_numpy(gx), torch.from_numpy(gradient).to(gains.dtype)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: tuple[Tensor, Tensor]) -> None:
    x, gains, ctx.sample_rate = inputs
    ctx.save_for_backward(x, gains, output[1])


@operator(
    fake=lambda x, gains, sample_rate: (x.new_empty(x.shape), x.new_empty(_states_shape(x, sample_rate))),
    backward=lambda ctx, gy, _: (*_freeverb_backward(gy, *ctx.saved_tensors, ctx.sample_rate), None),
    save=_save,
)
def _freeverb(x: Tensor, gains: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
    """``(y, states)`` of x (B, C, T) and gains (B, 5): f, d, w1, w2, g; what the lines hold now and then is saved."""
    from diffmix.kernels._reverb_numba import forward

    states = x.new_empty(_states_shape(x, sample_rate)).numpy()
    y = np.empty(x.shape, states.dtype)
    arrays = *_arrays(x, gains, states, sample_rate), y
    over_rows(lambda a, b: forward(*arrays, a, b), len(x))  # type: ignore[call-arg]
    return torch.from_numpy(y), torch.from_numpy(states)


def _on_circle(x: Tensor, gains: Tensor, sample_rate: int) -> Tensor:
    """The reverb as a product of spectra, float64: exact up to aliasing 220 dB down, with all derivatives.

    On the circle ``|z| = r`` with M >= 2T points, ``r**-n y[n]`` is the inverse transform of ``X(z) H(z)``, where X is
    the transform of ``r**-n x[n]``. What wraps around is late by M samples, so it is ``r**-M`` down, and no tail has to
    be padded for. With L(z) = (1 - d) / (1 - d z^-1), each channel's wet path is

        H = 0.015 sum_D z^-D / (1 - f L z^-D)  prod_A (1.5 z^-A - 1) / (1 - 0.5 z^-A).
    """
    samples, channels = x.shape[2], x.shape[1]
    length = 1 << (2 * samples - 1).bit_length()
    log_r = math.log(10) * _ALIAS_DB / 20 / length
    shrink = torch.exp(-log_r * torch.arange(samples, dtype=torch.float64, device=x.device))
    bins = torch.arange(length // 2 + 1, device=x.device)
    spectrum = torch.fft.rfft(x * shrink, length)
    feedback, damp, wet1, wet2, dry = (g[:, None] for g in gains.unbind(1))

    def delay(samples: int) -> Tensor:  # z**-samples, its angle reduced in integers
        angle = (bins * samples % length).double() * (-2 * math.pi / length)
        return torch.polar(torch.full_like(angle, math.exp(-log_r * samples)), angle)

    loop = feedback * (1 - damp) / (1 - damp * delay(1))
    source = _INPUT_GAIN * spectrum.sum(1)
    wet = []
    lines = _delays(sample_rate, channels)
    for c in range(channels):
        z = [delay(d) for d in lines[c * LINES : (c + 1) * LINES]]
        h = source * sum(comb / (1 - loop * comb) for comb in z[:COMBS])
        for allpass in z[COMBS:]:
            h = h * ((1.5 * allpass - 1) / (1 - 0.5 * allpass))
        wet.append(h)
    mixed = [wet1 * here + wet2 * there for here, there in zip(wet, wet[::-1], strict=True)]
    return torch.fft.irfft(torch.stack(mixed, 1), length)[..., :samples] / shrink + dry[:, None] * x
