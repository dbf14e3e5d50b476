r"""Memoryless effects: clipping, quantisation, and a curve between soft and hard saturation.

The curve is straight up to a knee h, the *hardness*, and follows tanh from there to 1:

$$f(v) = v \ \text{if}\ |v| \le h, \quad \mathrm{sign}(v)\left(h + (1-h) \tanh\frac{|v|-h}{1-h}\right) \ \text{else};
  \qquad y = f(G x + b) - f(b).$$

h = 0 is tanh, h = 1 hard clipping, and between them the second derivative is continuous. The bias b, the *asymmetry*,
brings even harmonics; f(b) is subtracted, so that silence stays silence.

What saturates makes harmonics above half the sample rate, which fold back. `waveshaper` knows two remedies: the
antiderivative method (J. D. Parker, V. Zavalishin and E. Le Bivic, "Reducing the aliasing of nonlinear waveshaping
using continuous-time convolution", DAFx-16, 2016; eq. 7), which replaces f(v_n) by the mean of f from v_{n-1} to v_n,
and oversampling.
"""

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from diffmix.kernels._arithmetic import aligned
from diffmix.kernels._operator import Loops, recursion, rows, run
from diffmix.kernels.backend import compiled
from diffmix.kernels.oversample import oversampled
from diffmix.kernels.units import db_to_gain, gain, per_sample

Antialiasing = Literal["none", "antiderivative", "oversampling"]
OVERSAMPLING = 4
"""Times the sample rate at which `waveshaper` works with ``antialiasing="oversampling"``."""
_HARDEST = 1 - 1e-6  # where the knee still has a width


def clip(x: Tensor, threshold_db: Tensor) -> Tensor:
    """Limit to +-threshold, as ``pedalboard.Clipping`` does.

    Args:
        x: audio (B, C, T).
        threshold_db: the largest level that passes (B,), or one per sample (B, T).

    Returns:
        Audio (B, C, T). The gradient of a clipped sample goes to the threshold, that of the others to x.
    """
    limit = db_to_gain(_like(threshold_db, x))
    if compiled(x):
        return run(_clip, *rows(x, limit[..., None]), memory=0).view(x.shape)
    edge = per_sample(limit.to(x.dtype))
    return x.clamp(-edge, edge)


def distortion(x: Tensor, drive_db: Tensor) -> Tensor:
    """tanh(G x), as ``pedalboard.Distortion`` computes it in float32.

    Args:
        x: audio (B, C, T).
        drive_db: gain in front of the curve (B,), or one per sample (B, T).

    Returns:
        Audio (B, C, T).
    """
    return waveshaper(x, drive_db, torch.zeros_like(drive_db), torch.zeros_like(drive_db))


def bitcrush(x: Tensor, bit_depth: Tensor) -> Tensor:
    """Round to multiples of 2^-bit_depth (ties to even) without clipping, as ``pedalboard.Bitcrush`` does.

    A step function has no useful derivative. The surrogate takes the error as noise whose amplitude follows the step:

        y = x + 2^-bits e,  e = round(2^bits x) - 2^bits x held,   so  dy/dx = 1,  dy/dbits = -ln 2 (y - x),

    with which the level of the noise, 4^-bits / 12, has its true derivative. Learn bits from a loss that hears that
    level, as a spectrogram does; by a difference of samples every error looks smaller with more bits.

    Args:
        x: audio (B, C, T).
        bit_depth: bits (B,), not necessarily whole; the full scale of +-1 has 2^(bits + 1) + 1 levels.

    Returns:
        Audio (B, C, T).
    """
    bits = _like(bit_depth, x)
    levels = torch.exp2(bits.to(torch.float64)).to(bits.dtype)
    if compiled(x):
        return run(_quantize, *rows(x, levels[:, None]), memory=0).view(x.shape)
    s = per_sample(levels).to(x.dtype)
    y = torch.round(s * x).detach() * (1 / s.detach())
    noise = (y - x.detach()) * (s.detach() / s)
    return y + (x - x.detach()) + (noise - noise.detach())


def waveshaper(
    x: Tensor, gain_db: Tensor, hardness: Tensor, asymmetry: Tensor, antialiasing: Antialiasing = "none"
) -> Tensor:
    """Saturate along the curve above.

    Args:
        x: audio (B, C, T).
        gain_db: gain in front of the curve (B,), or one per sample (B, T).
        hardness: h, from 0 (tanh) to 1 (clipping) (B,); one per sample is possible unless oversampled, for the next
            too.
        asymmetry: bias b, in units of the clip level (B,).
        antialiasing: ``"antiderivative"`` is late by half a sample, which averages two neighbours: -3 dB at a quarter
            of the sample rate. ``"oversampling"`` (4 times) is flat and late by `oversample.latency_samples` while
            streaming, else compensated.

    Returns:
        Audio (B, C, T).
    """
    if antialiasing == "oversampling":
        unity = torch.zeros_like(hardness)
        driven = gain(x, gain_db)  # before, since it may change with each sample
        return oversampled(driven, OVERSAMPLING, lambda u: waveshaper(u, unity, hardness, asymmetry))
    level = db_to_gain(_like(gain_db, x))
    knee = hardness.clamp_max(_HARDEST)
    if antialiasing == "none" and not compiled(x):
        return _portable(x, *(per_sample(v.to(x.dtype)) for v in (level, knee, asymmetry)))
    c = torch.stack(aligned(*(v.to(torch.float64) for v in (level, knee, asymmetry))), -1)
    if antialiasing == "none":
        return run(_shape, *rows(x, c), memory=0).view(x.shape)
    return run(_shape_mean, *rows(x, c), memory=1).view(x.shape)


def _like(setting: Tensor, x: Tensor) -> Tensor:
    """A setting in the precision that x is computed in, float32 or float64."""
    return setting.to(torch.promote_types(x.dtype, torch.float32))


def _portable(x: Tensor, level: Tensor, knee: Tensor, bias: Tensor) -> Tensor:
    def curve(v: Tensor) -> Tensor:
        z = (v.abs() - knee).clamp_min(0) / (1 - knee)
        return torch.where(v.abs() > knee, torch.sign(v) * (knee + (1 - knee) * torch.tanh(z)), v)

    return curve(level * x + bias) - curve(bias)


def _shape_loops(_: int) -> Loops:
    from diffmix.kernels._tanh_numba import is_libms
    from diffmix.kernels._waveshape_numba import backward, forward

    return partial(forward, fast=is_libms()), backward


def _shape_mean_loops(_: int) -> Loops:
    from diffmix.kernels._antiderivative_numba import backward, forward

    return forward, backward


def _clip_loops(_: int) -> Loops:
    from diffmix.kernels._waveshape_numba import clip, clip_backward

    return clip, clip_backward


def _quantize_loops(_: int) -> Loops:
    from diffmix.kernels._waveshape_numba import quantize, quantize_backward

    return quantize, quantize_backward


_shape = recursion("shape", _shape_loops)
_shape_mean = recursion("shape_mean", _shape_mean_loops)
_clip = recursion("clip", _clip_loops)
_quantize = recursion("quantize", _quantize_loops)
