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

import numpy as np
import torch
from torch import Tensor

from diffmix.errors import AudioError
from diffmix.kernels import stream
from diffmix.kernels._arithmetic import aligned
from diffmix.kernels._operator import Loops, recursion, run
from diffmix.kernels.backend import compiled, is_twin

TILE = 32768  # samples between two saved states
_COMBS = (1116, 1188, 1277, 1356, 1422, 1491, 1557, 1617)  # delays in samples at 44.1 kHz
_ALLPASSES = (556, 441, 341, 225)
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
        room_size: 0 to 1, to which it is cut (B,): decay to -60 dB of 0.7 s at 0, 1.4 s at 0.5, 11 s at 1.
        damping: 0, to which it is cut, to 1 (B,), loss of high frequencies per round trip.
        wet_level: 0 to 1 (B,); this and the following may also change each sample (B, T).
        dry_level: 0 to 1 (B,); 0.5 passes the input at unity gain.
        width: 0 to 1 (B,); scales the wet level of mono signals.
        sample_rate: in Hz, 2000 to 800 000.
        freeze: Pedalboard's freeze mode. The tank takes no input, so from silence only the dry signal is heard.

    Returns:
        Audio (B, C, T), dtype of ``x``.

    Raises:
        AudioError: for more than two channels, or a sample rate outside the range.
    """
    if x.shape[1] > 2:
        raise AudioError(f"freeverb takes mono or stereo audio (B, 1 or 2, T), got {x.shape[1]} channels")
    if not 2000 <= sample_rate <= 800_000:
        raise AudioError(f"freeverb needs a sample rate of 2000 to 800000 Hz, got {sample_rate:g} Hz")
    settings = room_size, damping, wet_level, dry_level, width
    dtype = torch.float32 if is_twin(x, *settings) else torch.float64
    room_size, damping, wet_level, dry_level, width = (p.to(dtype) for p in settings)
    (wet, width), dry = aligned(wet_level * 3, width), dry_level * 2  # Pedalboard's order of float32 operations
    if freeze:
        return (x * _over_time(dry)).to(x.dtype)
    wet1 = 0.5 * wet * (1 + width)
    wet2 = 0.5 * wet * (1 - width) if x.shape[1] == 2 else torch.zeros_like(wet1)
    tank = room_size.clamp_max(1) * 0.28 + 0.7, damping.clamp_min(0) * 0.4
    gains = wet1, wet2, dry
    if all(g.ndim == 1 for g in gains):
        return _reverberate(x, torch.stack([*tank, *gains], 1), int(sample_rate))
    one, zero = torch.ones_like(tank[0]), torch.zeros_like(tank[0])
    own = _reverberate(x, torch.stack([*tank, one, zero, zero], 1), int(sample_rate))
    wet1, wet2, dry = map(_over_time, gains)
    return (wet1 * own + wet2 * own.flip(1) + dry * x).to(x.dtype)


def _over_time(gain: Tensor) -> Tensor:
    """(B,) to (B, 1, 1) and (B, T) to (B, 1, T)."""
    return gain[:, None] if gain.ndim == 2 else gain[:, None, None]


def _reverberate(x: Tensor, gains: Tensor, sample_rate: int) -> Tensor:
    """Audio x (B, C, T) with gains (B, 5): f, d, w1, w2, g."""
    if not compiled(x) and not stream.is_streaming():
        return _on_circle(x.double(), gains, sample_rate).to(x.dtype)
    delays = _delays(sample_rate, x.shape[1])
    return run(_freeverb, x, gains[:, None], memory=sum(delays) + len(_COMBS) * x.shape[1], options=delays)


def _delays(sample_rate: int, channels: int) -> list[int]:
    """Of all lines: the combs of a channel, its allpasses, then the next channel's."""
    return [sample_rate * (d + _RIGHT * c) // 44100 for c in range(channels) for d in (*_COMBS, *_ALLPASSES)]


def _loops(_: int) -> Loops:
    from diffmix.kernels._reverb_numba import backward, forward

    def lines(delays: tuple[int, ...]) -> np.ndarray:
        return np.reshape(delays, (-1, len(_COMBS) + len(_ALLPASSES)))

    return (
        lambda *a: forward(*a[:7], lines(a[7:])),
        lambda *a: backward(*a[:9], lines(a[9:])),
    )


_freeverb = recursion("freeverb", _loops, TILE)


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
        z = [delay(d) for d in lines[c * len(lines) // channels :][: len(lines) // channels]]
        h = source * sum(comb / (1 - loop * comb) for comb in z[: len(_COMBS)])
        for allpass in z[len(_COMBS) :]:
            h = h * ((1.5 * allpass - 1) / (1 - 0.5 * allpass))
        wet.append(h)
    mixed = [wet1 * here + wet2 * there for here, there in zip(wet, wet[::-1], strict=True)]
    return torch.fft.irfft(torch.stack(mixed, 1), length)[..., :samples] / shrink + dry[:, None] * x
