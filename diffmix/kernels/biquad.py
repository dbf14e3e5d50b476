r"""Second- and first-order filter designs: physical units to coefficients ``[b0 b1 b2 a1 a2]`` with a0 = 1.

$$H(z) = \frac{b_0 + b_1 z^{-1} + b_2 z^{-2}}{1 + a_1 z^{-1} + a_2 z^{-2}}$$

Peak and shelves are R. Bristow-Johnson's "Cookbook formulae for audio EQ biquad filter coefficients" (1994; W3C note
2021); first-order low- and high-pass are the bilinear transforms of 1/(s+1) and s/(s+1). Every formula is written once
and evaluated in one of two arithmetics: differentiable float64 (``twin=False``), or float32 with the C library's
functions in Pedalboard's order of operations (``twin=True``), whose gradient is that of the float64 formula.

Parameters are tensors of shape (...) that broadcast together; designs have shape (..., 5), float64.
"""

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffmix.kernels import _libm
from diffmix.kernels._operator import operator

Coefficients = tuple[Any, Any, Any, Any, Any, Any]  # b0 b1 b2 a0 a1 a2

# The two arithmetics. `gain` is amplitude from decibels, 10^(dB/20).
_float64 = SimpleNamespace(
    sin=torch.sin,
    cos=torch.cos,
    tan=torch.tan,
    sqrt=torch.sqrt,
    clip=torch.clamp,
    zeros=torch.zeros_like,
    gain=lambda db: torch.exp(db * (math.log(10) / 20)),
)
_float32 = SimpleNamespace(
    sin=_libm.sin,
    cos=_libm.cos,
    tan=_libm.tan,
    sqrt=np.sqrt,
    clip=np.clip,
    zeros=np.zeros_like,
    gain=lambda db: _libm.power(10, db * np.float32(0.05)),
)


def _angle(m: Any, cutoff_frequency_hz: Any, sample_rate: float) -> Any:
    return 2 * math.pi * m.clip(cutoff_frequency_hz, 2, sample_rate / 2 - 100) / sample_rate


def _peak(m: Any, cutoff_frequency_hz: Any, gain_db: Any, q: Any, sample_rate: float) -> Coefficients:
    amplitude = m.sqrt(m.gain(gain_db))
    w = _angle(m, cutoff_frequency_hz, sample_rate)
    alpha = m.sin(w) / (q * 2)
    middle = -2 * m.cos(w)
    boost, cut = alpha * amplitude, alpha / amplitude
    return 1 + boost, middle, 1 - boost, 1 + cut, middle, 1 - cut


def _shelf_terms(m: Any, cutoff_frequency_hz: Any, gain_db: Any, q: Any, sample_rate: float) -> tuple[Any, ...]:
    amplitude = m.sqrt(m.gain(gain_db))
    w = _angle(m, cutoff_frequency_hz, sample_rate)
    beta = m.sin(w) * m.sqrt(amplitude) / q
    return amplitude, amplitude + 1, amplitude - 1, m.cos(w), beta


def _low_shelf(m: Any, cutoff_frequency_hz: Any, gain_db: Any, q: Any, sample_rate: float) -> Coefficients:
    amplitude, p, d, c, beta = _shelf_terms(m, cutoff_frequency_hz, gain_db, q, sample_rate)
    b = amplitude * (p - d * c + beta), amplitude * 2 * (d - p * c), amplitude * (p - d * c - beta)
    return *b, p + d * c + beta, -2 * (d + p * c), p + d * c - beta


def _high_shelf(m: Any, cutoff_frequency_hz: Any, gain_db: Any, q: Any, sample_rate: float) -> Coefficients:
    amplitude, p, d, c, beta = _shelf_terms(m, cutoff_frequency_hz, gain_db, q, sample_rate)
    b = amplitude * (p + d * c + beta), amplitude * -2 * (d + p * c), amplitude * (p + d * c - beta)
    return *b, p - d * c + beta, 2 * (d - p * c), p - d * c - beta


def _first_order(m: Any, cutoff_frequency_hz: Any, sample_rate: float) -> Any:
    return m.tan(math.pi * m.clip(cutoff_frequency_hz, 0.01, 0.49 * sample_rate) / sample_rate)


def _lowpass(m: Any, cutoff_frequency_hz: Any, sample_rate: float) -> Coefficients:
    t = _first_order(m, cutoff_frequency_hz, sample_rate)
    zero = m.zeros(t)
    return t, t, zero, t + 1, t - 1, zero


def _highpass(m: Any, cutoff_frequency_hz: Any, sample_rate: float) -> Coefficients:
    t = _first_order(m, cutoff_frequency_hz, sample_rate)
    zero = m.zeros(t)
    return zero + 1, zero - 1, zero, t + 1, t - 1, zero


_formulas: dict[str, Callable[..., Coefficients]] = {
    "peak": _peak,
    "low_shelf": _low_shelf,
    "high_shelf": _high_shelf,
    "lowpass": _lowpass,
    "highpass": _highpass,
}


def _normalised(coefficients: Coefficients) -> list[Any]:
    b0, b1, b2, a0, a1, a2 = coefficients
    scale = 1 / a0
    return [c * scale for c in (b0, b1, b2, a1, a2)]


@operator(
    fake=lambda ideal, parameters, sample_rate, kind: ideal.new_empty(ideal.shape),
    backward=lambda ctx, gradient: (gradient, None, None, None),
)
def _twin_biquad(ideal: Tensor, parameters: Tensor, sample_rate: float, kind: str) -> Tensor:
    """Pedalboard's float32 coefficients (as float64) of ``parameters`` (P, ...), with the gradient of ``ideal``."""
    values = parameters.detach().cpu().numpy().astype(np.float32).reshape(len(parameters), -1)
    rows = _normalised(_formulas[kind](_float32, *values, sample_rate))
    return torch.from_numpy(np.stack(rows, -1).astype(np.float64)).reshape(ideal.shape).to(ideal.device)


def _design(kind: str, parameters: Sequence[Tensor], sample_rate: float, twin: bool) -> Tensor:
    values = torch.broadcast_tensors(*(p.to(torch.float64) for p in parameters))
    ideal = torch.stack(_normalised(_formulas[kind](_float64, *values, sample_rate)), -1)
    return _twin_biquad(ideal, torch.stack(values).detach(), float(sample_rate), kind) if twin else ideal


def peak(cutoff_frequency_hz: Tensor, gain_db: Tensor, q: Tensor, sample_rate: float, twin: bool = False) -> Tensor:
    """Peaking equaliser: ``gain_db`` at the centre frequency, 0 dB far from it; ``q`` > 0.

    ``cutoff_frequency_hz`` is clamped to [2, sample_rate/2 - 100] Hz, as Pedalboard's ``PeakFilter`` does (its gradient
    is zero outside). With ``twin=True`` the values are that filter's float32 coefficients.

    Shape: parameters (...), result (..., 5) float64 ``[b0 b1 b2 a1 a2]``.
    """
    return _design("peak", (cutoff_frequency_hz, gain_db, q), sample_rate, twin)


def low_shelf(
    cutoff_frequency_hz: Tensor, gain_db: Tensor, q: Tensor, sample_rate: float, twin: bool = False
) -> Tensor:
    """Low shelf: ``gain_db`` below the cutoff (half of it, in dB, at the cutoff), 0 dB above; ``q`` > 0.

    Clamping, ``twin`` (Pedalboard's ``LowShelfFilter``) and shape as for :func:`peak`.
    """
    return _design("low_shelf", (cutoff_frequency_hz, gain_db, q), sample_rate, twin)


def high_shelf(
    cutoff_frequency_hz: Tensor, gain_db: Tensor, q: Tensor, sample_rate: float, twin: bool = False
) -> Tensor:
    """High shelf: ``gain_db`` above the cutoff (half of it, in dB, at the cutoff), 0 dB below; ``q`` > 0.

    Clamping, ``twin`` (Pedalboard's ``HighShelfFilter``) and shape as for :func:`peak`.
    """
    return _design("high_shelf", (cutoff_frequency_hz, gain_db, q), sample_rate, twin)


def lowpass(cutoff_frequency_hz: Tensor, sample_rate: float, twin: bool = False) -> Tensor:
    """First-order low-pass (6 dB per octave, -3 dB at the cutoff), with b2 = a2 = 0.

    ``cutoff_frequency_hz`` is clamped to [0.01, 0.49 sample_rate] Hz; Pedalboard's ``LowpassFilter`` (``twin``) has no
    clamp and is unstable outside. Shape as for :func:`peak`.
    """
    return _design("lowpass", (cutoff_frequency_hz,), sample_rate, twin)


def highpass(cutoff_frequency_hz: Tensor, sample_rate: float, twin: bool = False) -> Tensor:
    """First-order high-pass (6 dB per octave, -3 dB at the cutoff), with b2 = a2 = 0.

    Clamping, ``twin`` (Pedalboard's ``HighpassFilter``) and shape as for :func:`lowpass`.
    """
    return _design("highpass", (cutoff_frequency_hz,), sample_rate, twin)


def frequency_response(sos: Tensor, frequency_hz: Tensor, sample_rate: float) -> Tensor:
    """Complex response of a cascade of sections at the given frequencies.

    Shape: ``sos`` (..., K, 5) and ``frequency_hz`` (F,) give (..., F) complex128.
    """
    angle = frequency_hz.to(torch.float64) * (2 * math.pi / sample_rate)
    delay = torch.polar(torch.ones_like(angle), -angle)  # z^-1 on the unit circle
    b0, b1, b2, a1, a2 = sos.to(torch.float64).unsqueeze(-1).unbind(-2)
    section = (b0 + delay * (b1 + delay * b2)) / (1 + delay * (a1 + delay * a2))
    return section.prod(-2)
