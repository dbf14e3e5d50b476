r"""Second- and first-order filter designs: physical units to coefficients ``[b0 b1 b2 a1 a2]`` with a0 = 1.

$$H(z) = \frac{b_0 + b_1 z^{-1} + b_2 z^{-2}}{1 + a_1 z^{-1} + a_2 z^{-2}}$$

Peak and shelves are R. Bristow-Johnson's "Cookbook formulae for audio EQ biquad filter coefficients" (1994; W3C note
2021); first-order low- and high-pass are the bilinear transforms of 1/(s+1) and s/(s+1). With ``twin=False`` they are
evaluated in float64; with ``twin=True`` in Pedalboard's float32 arithmetic, with the gradient of the float64 formula.

Parameters are tensors of shape (...) that broadcast together; designs have shape (..., 5), float64.
"""

import math
from typing import Any

import torch
from torch import Tensor

from diffmix.kernels._arithmetic import evaluate, formula


def _normalised(b0: Any, b1: Any, b2: Any, a0: Any, a1: Any, a2: Any) -> tuple[Any, ...]:
    scale = 1 / a0
    return b0 * scale, b1 * scale, b2 * scale, a1 * scale, a2 * scale


def _angle(m: Any, cutoff_frequency_hz: Any, sample_rate: float) -> Any:
    return 2 * math.pi * m.clip(cutoff_frequency_hz, 2, sample_rate / 2 - 100) / sample_rate


@formula
def _peak(m: Any, cutoff_frequency_hz: Any, gain_db: Any, q: Any, sample_rate: float) -> tuple[Any, ...]:
    amplitude = m.sqrt(m.gain(gain_db))
    w = _angle(m, cutoff_frequency_hz, sample_rate)
    alpha = m.sin(w) / (q * 2)
    middle = -2 * m.cos(w)
    boost, cut = alpha * amplitude, alpha / amplitude
    return _normalised(1 + boost, middle, 1 - boost, 1 + cut, middle, 1 - cut)


def _shelf_terms(m: Any, cutoff_frequency_hz: Any, gain_db: Any, q: Any, sample_rate: float) -> tuple[Any, ...]:
    amplitude = m.sqrt(m.gain(gain_db))
    w = _angle(m, cutoff_frequency_hz, sample_rate)
    beta = m.sin(w) * m.sqrt(amplitude) / q
    return amplitude, amplitude + 1, amplitude - 1, m.cos(w), beta


@formula
def _low_shelf(m: Any, cutoff_frequency_hz: Any, gain_db: Any, q: Any, sample_rate: float) -> tuple[Any, ...]:
    amplitude, p, d, c, beta = _shelf_terms(m, cutoff_frequency_hz, gain_db, q, sample_rate)
    b = amplitude * (p - d * c + beta), amplitude * 2 * (d - p * c), amplitude * (p - d * c - beta)
    return _normalised(*b, p + d * c + beta, -2 * (d + p * c), p + d * c - beta)


@formula
def _high_shelf(m: Any, cutoff_frequency_hz: Any, gain_db: Any, q: Any, sample_rate: float) -> tuple[Any, ...]:
    amplitude, p, d, c, beta = _shelf_terms(m, cutoff_frequency_hz, gain_db, q, sample_rate)
    b = amplitude * (p + d * c + beta), amplitude * -2 * (d + p * c), amplitude * (p + d * c - beta)
    return _normalised(*b, p - d * c + beta, 2 * (d - p * c), p - d * c - beta)


def _first_order(m: Any, cutoff_frequency_hz: Any, sample_rate: float) -> Any:
    return m.tan(math.pi * m.clip(cutoff_frequency_hz, 0.01, 0.49 * sample_rate) / sample_rate)


@formula
def _lowpass(m: Any, cutoff_frequency_hz: Any, sample_rate: float) -> tuple[Any, ...]:
    t = _first_order(m, cutoff_frequency_hz, sample_rate)
    zero = m.zeros(t)
    return _normalised(t, t, zero, t + 1, t - 1, zero)


@formula
def _highpass(m: Any, cutoff_frequency_hz: Any, sample_rate: float) -> tuple[Any, ...]:
    t = _first_order(m, cutoff_frequency_hz, sample_rate)
    zero = m.zeros(t)
    return _normalised(zero + 1, zero - 1, zero, t + 1, t - 1, zero)


def peak(cutoff_frequency_hz: Tensor, gain_db: Tensor, q: Tensor, sample_rate: float, twin: bool = False) -> Tensor:
    """Peaking equaliser: ``gain_db`` at the centre frequency, 0 dB far from it; ``q`` > 0.

    ``cutoff_frequency_hz`` is clamped to [2, sample_rate/2 - 100] Hz, as Pedalboard's ``PeakFilter`` does (its gradient
    is zero outside). With ``twin=True`` the values are that filter's float32 coefficients.

    Shape: parameters (...), result (..., 5) float64 ``[b0 b1 b2 a1 a2]``.
    """
    return evaluate("_peak", (cutoff_frequency_hz, gain_db, q), sample_rate, twin)


def low_shelf(
    cutoff_frequency_hz: Tensor, gain_db: Tensor, q: Tensor, sample_rate: float, twin: bool = False
) -> Tensor:
    """Low shelf: ``gain_db`` below the cutoff (half of it, in dB, at the cutoff), 0 dB above; ``q`` > 0.

    Clamping, ``twin`` (Pedalboard's ``LowShelfFilter``) and shape as for :func:`peak`.
    """
    return evaluate("_low_shelf", (cutoff_frequency_hz, gain_db, q), sample_rate, twin)


def high_shelf(
    cutoff_frequency_hz: Tensor, gain_db: Tensor, q: Tensor, sample_rate: float, twin: bool = False
) -> Tensor:
    """High shelf: ``gain_db`` above the cutoff (half of it, in dB, at the cutoff), 0 dB below; ``q`` > 0.

    Clamping, ``twin`` (Pedalboard's ``HighShelfFilter``) and shape as for :func:`peak`.
    """
    return evaluate("_high_shelf", (cutoff_frequency_hz, gain_db, q), sample_rate, twin)


def lowpass(cutoff_frequency_hz: Tensor, sample_rate: float, twin: bool = False) -> Tensor:
    """First-order low-pass (6 dB per octave, -3 dB at the cutoff), with b2 = a2 = 0.

    ``cutoff_frequency_hz`` is clamped to [0.01, 0.49 sample_rate] Hz; Pedalboard's ``LowpassFilter`` (``twin``) has no
    clamp and is unstable outside. Shape as for :func:`peak`.
    """
    return evaluate("_lowpass", (cutoff_frequency_hz,), sample_rate, twin)


def highpass(cutoff_frequency_hz: Tensor, sample_rate: float, twin: bool = False) -> Tensor:
    """First-order high-pass (6 dB per octave, -3 dB at the cutoff), with b2 = a2 = 0.

    Clamping, ``twin`` (Pedalboard's ``HighpassFilter``) and shape as for :func:`lowpass`.
    """
    return evaluate("_highpass", (cutoff_frequency_hz,), sample_rate, twin)


def linkwitz_riley(cutoff_frequency_hz: Tensor, sample_rate: float) -> tuple[Tensor, Tensor, Tensor]:
    """Low-pass and high-pass of a fourth-order crossover, and the all-pass that they add up to.

    The passes are Butterworth filters of second order, squared; their sum is the Butterworth filter's all-pass
    (S. H. Linkwitz, "Active crossover networks for noncoincident drivers", J. Audio Eng. Soc. 24(1), 1976).

    Shape: a frequency (...) gives (..., 2, 5), (..., 2, 5) and (..., 1, 5), float64.
    """
    q = torch.full_like(cutoff_frequency_hz, 0.5**0.5, dtype=torch.float64)
    low, high = (resonant(kind, cutoff_frequency_hz, q, sample_rate) for kind in ("lowpass", "highpass"))
    a1, a2 = low[..., 3], low[..., 4]
    all_pass = torch.stack([a2, a1, torch.ones_like(a1), a1, a2], -1)
    return torch.stack([low, low], -2), torch.stack([high, high], -2), all_pass.unsqueeze(-2)


def frequency_response(sos: Tensor, frequency_hz: Tensor, sample_rate: float) -> Tensor:
    """Complex response of a cascade of sections at the given frequencies.

    Shape: ``sos`` (..., K, 5) and ``frequency_hz`` (F,) give (..., F) complex128.
    """
    angle = frequency_hz.to(torch.float64) * (2 * math.pi / sample_rate)
    delay = torch.polar(torch.ones_like(angle), -angle)  # z^-1 on the unit circle
    b0, b1, b2, a1, a2 = sos.to(torch.float64).unsqueeze(-1).unbind(-2)
    section = (b0 + delay * (b1 + delay * b2)) / (1 + delay * (a1 + delay * a2))
    return section.prod(-2)


def _resonance(m: Any, cutoff_frequency_hz: Any, q: Any, sample_rate: float) -> tuple[Any, ...]:
    """cos w, alpha, and the denominator that second-order low-, band- and high-pass and band-reject share."""
    w = _angle(m, cutoff_frequency_hz, sample_rate)
    alpha = m.sin(w) / (q * 2)
    c = m.cos(w)
    return c, alpha, (1 + alpha, -2 * c, 1 - alpha)


@formula
def _resonant_lowpass(m: Any, cutoff_frequency_hz: Any, q: Any, sample_rate: float) -> tuple[Any, ...]:
    c, _, a = _resonance(m, cutoff_frequency_hz, q, sample_rate)
    half = (1 - c) / 2
    return _normalised(half, 1 - c, half, *a)


@formula
def _resonant_highpass(m: Any, cutoff_frequency_hz: Any, q: Any, sample_rate: float) -> tuple[Any, ...]:
    c, _, a = _resonance(m, cutoff_frequency_hz, q, sample_rate)
    half = (1 + c) / 2
    return _normalised(half, -1 - c, half, *a)


@formula
def _resonant_bandpass(m: Any, cutoff_frequency_hz: Any, q: Any, sample_rate: float) -> tuple[Any, ...]:
    _, alpha, a = _resonance(m, cutoff_frequency_hz, q, sample_rate)
    return _normalised(alpha, m.zeros(alpha), -alpha, *a)


@formula
def _resonant_bandreject(m: Any, cutoff_frequency_hz: Any, q: Any, sample_rate: float) -> tuple[Any, ...]:
    c, _, a = _resonance(m, cutoff_frequency_hz, q, sample_rate)
    return _normalised(m.zeros(c) + 1, -2 * c, m.zeros(c) + 1, *a)


def resonant(kind: str, cutoff_frequency_hz: Tensor, q: Tensor, sample_rate: float) -> Tensor:
    """Second-order low-pass, high-pass, band-pass or band-reject, by ``kind`` written as one word; ``q`` > 0.

    At the cutoff a low- or high-pass has the gain ``q`` (0.7071: Butterworth), a band-pass 1 and a band-reject 0; the
    bandwidth of the last two, between -3 dB points, is cutoff/q before the bilinear transform's warping. The cutoff is
    clamped as for :func:`peak`. Shape as for :func:`peak`.
    """
    return evaluate(f"_resonant_{kind}", (cutoff_frequency_hz, q), sample_rate, False)
