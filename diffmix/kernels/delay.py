r"""Echoes: a delay line with feedback, bare as Pedalboard's, or with a filter in the loop, or between two sides.

With w what enters a line, D its delay and h the filter's impulse response (none: an impulse),

$$v_n = (h * w)(n - D),\qquad w_n = x_n + feedback \cdot v_n,\qquad y_n = (1 - mix)\,x_n + mix\,v_n$$

All run as recursions in the time domain: no echo wraps around, none is cut off, and items of a batch do not meet.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor

from diffmix.errors import AudioError
from diffmix.kernels._arithmetic import evaluate, formula
from diffmix.kernels._operator import Loops, recursion, rows, run
from diffmix.kernels.stream import is_streaming

Loop = Literal["low-pass", "band-pass"]


def echo(
    x: Tensor,
    delay_seconds: Tensor,
    feedback: Tensor,
    mix: Tensor,
    sample_rate: float,
    longest_seconds: float = 30.0,
) -> Tensor:
    """Pedalboard's ``Delay``: repeats after whole samples, each channel on its own.

    Args:
        x: audio (B, C, T); float32 gives Pedalboard's samples, float64 the ideal recursion.
        delay_seconds: cut to whole samples (B,). 0 leaves the signal as it is, even fully wet; less than a sample gives
            no echo at all, nor does NaN. Its gradient is a surrogate: the derivative of the parabola through the
            sample read and its two neighbours, with which the delay moves downhill as long as the echo and its aim
            overlap.
        feedback: cut to [-1, 1], (B,) or each sample (B, T).
        mix: 0 dry, 1 wet, (B,) or each sample (B, T).
        sample_rate: in Hz.
        longest_seconds: what is kept between chunks; a longer delay gives no echo.

    Returns:
        Audio (B, C, T) of x's dtype. Gradients but the delay's are exact.
    """
    exact = delay_seconds.double() * sample_rate
    whole = exact.detach().trunc()
    longest = math.ceil(longest_seconds * sample_rate)
    never = ~((whole >= 1) & (whole <= longest))  # NaN too: the loops take any number for a place in memory
    delay = torch.where(never, math.inf, whole + (exact - exact.detach()))
    wet = torch.where((delay_seconds == 0)[:, None], 0.0, mix.double().reshape(mix.shape[0], -1))
    loop = feedback.clamp(-1, 1).double().reshape(mix.shape[0], -1)
    coefficients = torch.broadcast_tensors(delay[:, None], loop, wet)
    signal, c = rows(x, torch.stack(coefficients, -1))
    return run(_echo, signal, c, longest if is_streaming() else 0).view(x.shape)


def filtered_echo(
    x: Tensor,
    delay_seconds: Tensor,
    feedback: Tensor,
    mix: Tensor,
    cutoff_frequency_hz: Tensor,
    q: Tensor,
    sample_rate: float,
    loop: Loop = "low-pass",
    longest_seconds: float = 5.0,
) -> Tensor:
    """Echoes that a second-order filter darkens at each repeat, each channel on its own.

    The line is read on the straight line between two samples, so that the delay is continuous and its gradient true;
    the little treble this loses at each repeat is the filter's to take. Neither it nor the filter, whose greatest gain
    is one, ever amplifies: the loop is stable for every feedback between -1 and 1.

    Args:
        x: audio (B, C, T).
        delay_seconds: one sample to ``longest_seconds`` (B,); this and the others may also change each sample (B, T).
        feedback: cut to [-1, 1] (B,).
        mix: 0 dry, 1 wet (B,).
        cutoff_frequency_hz: of the filter, cut to 0.49 sample_rate (B,).
        q: of the filter (B,).
        sample_rate: in Hz.
        loop: "low-pass" or "band-pass".
        longest_seconds: longer delays are cut to it.

    Returns:
        Audio (B, C, T). Gradients are exact; zero where a value is cut.
    """
    section = evaluate(_FORMULAS[loop], (cutoff_frequency_hz, q), sample_rate, False)
    delay = delay_seconds.double() * sample_rate
    signal, c = rows(x, _coefficients([delay], feedback, mix, section))
    return _run(signal, c, longest_seconds * sample_rate).view(x.shape)


def ping_pong(
    x: Tensor,
    delay_seconds: Tensor,
    feedback: Tensor,
    mix: Tensor,
    cutoff_frequency_hz: Tensor,
    q: Tensor,
    stereo_offset: Tensor,
    sample_rate: float,
    loop: Loop = "low-pass",
    longest_seconds: float = 5.0,
) -> Tensor:
    """Echoes that jump between two sides: the mean of both enters the left line, left feeds right, right feeds left.

    As `filtered_echo`, with x (B, 2, T). ``stereo_offset`` in (-1, 1) shortens the way to the left side and lengthens
    that to the right: the delays are delay_seconds (1 -+ stereo_offset), and a round trip stays as long. Raises
    AudioError for another number of channels.
    """
    if x.shape[1] != 2:
        raise AudioError(f"ping_pong takes stereo audio (B, 2, T), got {x.shape[1]} channels")
    section = evaluate(_FORMULAS[loop], (cutoff_frequency_hz, q), sample_rate, False)
    delay, offset = (v.double().reshape(v.shape[0], -1) for v in (delay_seconds, stereo_offset))
    sides = [delay * (1 - offset) * sample_rate, delay * (1 + offset) * sample_rate]
    return _run(x, _coefficients(sides, feedback, mix, section), longest_seconds * sample_rate)


def _coefficients(delays: list[Tensor], feedback: Tensor, mix: Tensor, section: Tensor) -> Tensor:
    """Values (B,) or (B, T) and a section (B, 5) or (B, T, 5) as coefficients (B, F, P)."""
    columns = section if section.ndim == 3 else section[:, None]
    settings = [v.double().reshape(v.shape[0], -1) for v in (*delays, feedback.clamp(-1, 1), mix)]
    return torch.stack(torch.broadcast_tensors(*settings, *columns.unbind(-1)), -1)


def _run(x: Tensor, c: Tensor, longest: float) -> Tensor:
    history = math.ceil(longest) + 1
    memory = x.shape[1] * (history + 2) if is_streaming() else 0
    return run(_filtered_echo, x, c, memory, options=[history])


def _section(m: Any, cutoff_frequency_hz: Any, q: Any, sample_rate: float) -> tuple[Any, ...]:
    w = 2 * math.pi * m.clip(cutoff_frequency_hz, 1, 0.49 * sample_rate) / sample_rate
    alpha = m.sin(w) / (2 * q)
    return m.cos(w), alpha, 1 + alpha


@formula
def _loop_lowpass(m: Any, cutoff_frequency_hz: Any, q: Any, sample_rate: float) -> tuple[Any, ...]:
    """The cookbook's low-pass over its greatest gain: q / sqrt(1 - 1/(4 q^2)) above q = 1/sqrt(2), else one.

    With s = 2 q^2 cut below at one, that is s / sqrt(2 s - 1), smooth where it starts.
    """
    c, alpha, a0 = _section(m, cutoff_frequency_hz, q, sample_rate)
    s = m.clip(2 * q * q, 1, math.inf)
    b = (1 - c) / (2 * a0) * m.sqrt(2 * s - 1) / s
    return b, 2 * b, b, -2 * c / a0, (1 - alpha) / a0


@formula
def _loop_bandpass(m: Any, cutoff_frequency_hz: Any, q: Any, sample_rate: float) -> tuple[Any, ...]:
    """The cookbook's band-pass whose peak gain is one."""
    c, alpha, a0 = _section(m, cutoff_frequency_hz, q, sample_rate)
    return alpha / a0, m.zeros(c), -alpha / a0, -2 * c / a0, (1 - alpha) / a0


_FORMULAS = {"low-pass": "_loop_lowpass", "band-pass": "_loop_bandpass"}


def _echo_loops(_: int) -> Loops:
    from diffmix.kernels._delay_numba import echo, echo_adjoint

    return echo, echo_adjoint


def _filtered_loops(_: int) -> Loops:
    from diffmix.kernels._delay_numba import filtered_echo, filtered_echo_adjoint

    return filtered_echo, filtered_echo_adjoint


_echo = recursion("echo", _echo_loops)
_filtered_echo = recursion("filtered_echo", _filtered_loops)
