r"""Effects whose delay or frequency moves: chorus, flanger, vibrato and phaser, with their motion as a signal.

The delay line w and the output, with v what the line gives D_n samples later, D_n real:

$$w_n = x_n + feedback \cdot v_n, \qquad v_n = w(n - D_n), \qquad y_n = (1 - mix)\, x_n + mix\, v_n$$

The phaser passes the same sum of input and feedback through first-order all-passes in place of the line. Both
recursions run in the time domain: nothing wraps around, nothing is truncated, items and channels do not meet.

See U. Zölzer (ed.), "DAFX: Digital Audio Effects", 2nd ed., 2011, chapters 2 and 3; for the all-passes V. Zavalishin,
"The Art of VA Filter Design", 2018, section 3.
"""

import math
from typing import Any

import torch
from torch import Tensor

from diffmix.kernels._arithmetic import evaluate, formula
from diffmix.kernels._operator import Loops, recursion, run
from diffmix.kernels.backend import is_twin
from diffmix.kernels.oscillator import ALLPASS, DELAY, HIGH_HZ, LOW_HZ, oscillate
from diffmix.kernels.stream import is_streaming

_CHORUS_LONGEST_MS = 110
_PHASER_HOLD = 4  # Pedalboard's oscillator moves every fourth sample
_PHASER_STAGES = 6
_TILE = 512
_LOUDEST = 0.99  # of a feedback: what Pedalboard plays, and no loop grows


def modulated_delay(
    x: Tensor, delay_samples: Tensor, feedback: Tensor, mix: Tensor, longest: int, late: bool = False
) -> Tensor:
    """A delay line read at a moving point, with feedback.

    The line is read by the cubic through the four samples around that point (Lagrange): it keeps the treble that a
    straight line between two would lose and regain as the point moves (3 dB at a quarter of the sample rate), never
    amplifies, and needs no state of its own. Its value is continuous in the delay, its slope is not at whole samples.

    Args:
        x: audio (B, C, T).
        delay_samples: delay in samples of all channels (B, 1, T) or of each (B, C, T), cut to [2, longest].
        feedback: (B,) or each sample (B, T), cut to [-0.99, 0.99].
        mix: 0 dry, 1 wet, (B,) or (B, T).
        longest: the longest delay in samples.
        late: as Pedalboard's chorus: read by straight lines, from 0 samples on, feedback one sample later.

    Returns:
        Audio (B, C, T). Gradients to everything, the delay included, are exact where it and the feedback are not cut.
    """
    history = longest + 2
    coefficients = _looped(feedback, mix)
    rows = torch.cat([x, delay_samples.to(x.dtype)], 1)
    memory = x.shape[1] * (history + 1) if is_streaming() else 0
    return run(_delay, rows, coefficients, memory, x.shape[1], [history, int(late)])


def modulated_allpasses(x: Tensor, gain: Tensor, feedback: Tensor, mix: Tensor, stages: int) -> Tensor:
    """A chain of first-order all-passes with moving gains: notches where the chain turns the phase by half a turn.

    Args:
        x: audio (B, C, T).
        gain: G = g/(1 + g) with g = tan(pi f/sample_rate), where f is the frequency at which each stage turns the phase
            by a quarter; of all channels (B, 1, T) or of each (B, C, T).
        feedback: (B,) or each sample (B, T), cut to [-0.99, 0.99]; it arrives one sample later.
        mix: 0 dry, 1 wet, (B,) or (B, T); the notches are deepest at a half.
        stages: number of all-passes.

    Returns:
        Audio (B, C, T). Gradients to everything are exact, that to a feedback which is cut is zero.
    """
    rows = torch.cat([x, gain.to(x.dtype)], 1)
    return run(_allpasses, rows, _looped(feedback, mix), x.shape[1] * (stages + 1), x.shape[1], [stages])


def allpass_gain(frequency_hz: Tensor, sample_rate: float) -> Tensor:
    """The gain that `modulated_allpasses` takes, of a frequency cut to [1 Hz, 0.49 sample_rate], of the same shape."""
    g = torch.tan(frequency_hz.clamp(1, 0.49 * sample_rate) * (math.pi / sample_rate))
    return g / (1 + g)


def chorus(
    x: Tensor,
    rate_hz: Tensor,
    depth: Tensor,
    centre_delay_ms: Tensor,
    feedback: Tensor,
    mix: Tensor,
    sample_rate: float,
) -> Tensor:
    """Pedalboard's ``Chorus``: a delay that a sine moves, the same in all channels.

    Args:
        x: audio (B, C, T); float32 on the CPU gives Pedalboard's samples, float64 the ideal recursion.
        rate_hz: of the sine, 0 to 100 (B,); this and the others may also change each sample (B, T).
        depth: the delay moves by 10 ms times this, both ways (B,).
        centre_delay_ms: 1 to 100 (B,); what would be shorter than 1 ms is 1 ms, with zero gradient.
        feedback: cut to [-0.99, 0.99] (B,); it is subtracted.
        mix: 0 dry, 1 wet (B,).
        sample_rate: in Hz.
    """
    settings = rate_hz, depth, centre_delay_ms
    coefficients = evaluate("_chorus", settings, sample_rate, is_twin(x, *settings))
    delay_samples = _oscillate(x, coefficients, DELAY)
    longest = math.ceil(_CHORUS_LONGEST_MS * sample_rate / 1000)
    return modulated_delay(x, delay_samples, -feedback, mix, longest, late=True)


def phaser(
    x: Tensor,
    rate_hz: Tensor,
    depth: Tensor,
    centre_frequency_hz: Tensor,
    feedback: Tensor,
    mix: Tensor,
    sample_rate: float,
) -> Tensor:
    """Pedalboard's ``Phaser``: six all-passes that a sine moves, a new value every fourth sample.

    Args:
        x: audio (B, C, T); float32 on the CPU gives the samples of a fresh plugin of Pedalboard, float64 the ideal.
        rate_hz: of the sine, 0 to 100 (B,); this and the others may also change each sample (B, T).
        depth: the frequency moves by half this part of the way from 20 Hz to 20 kHz, five octaves at 1 (B,); it stops
            at both ends, with zero gradient.
        centre_frequency_hz: 20 to 20000 (B,). Below a sample rate of 40.8 kHz all frequencies are lower, as a fresh
            plugin of Pedalboard has them.
        feedback: cut to [-0.99, 0.99] (B,); it is subtracted.
        mix: 0 dry, 1 wet (B,).
        sample_rate: in Hz.
    """
    settings = rate_hz, depth, centre_frequency_hz
    coefficients = evaluate("_phaser", settings, sample_rate, is_twin(x, *settings))
    gain = _oscillate(x, coefficients, ALLPASS, _PHASER_HOLD)
    return modulated_allpasses(x, gain, -feedback, mix, _PHASER_STAGES)


def _oscillate(x: Tensor, coefficients: Tensor, kind: int, hold: int = 1) -> Tensor:
    c = coefficients if coefficients.ndim == 3 else coefficients[:, None]
    return oscillate(x.detach(), c, kind, hold)


def _looped(feedback: Tensor, mix: Tensor) -> Tensor:
    """Settings (B,) or (B, T) as coefficients (B, F, 2), F = T if one of them moves."""
    settings = feedback.clamp(-_LOUDEST, _LOUDEST), mix
    return torch.stack(torch.broadcast_tensors(*(s.double().reshape(s.shape[0], -1) for s in settings)), -1)


def _increment(m: Any, rate_hz: Any, sample_rate: float) -> Any:
    return (m.zeros(rate_hz) + 2 * math.pi) / sample_rate * rate_hz


@formula
def _chorus(m: Any, rate_hz: Any, depth: Any, centre_delay_ms: Any, sample_rate: float) -> tuple[Any, ...]:
    centre = m.clip(centre_delay_ms, 1, 100)
    return _increment(m, rate_hz, sample_rate), depth * 0.5, centre, m.zeros(depth) + sample_rate


@formula
def _phaser(m: Any, rate_hz: Any, depth: Any, centre_frequency_hz: Any, sample_rate: float) -> tuple[Any, ...]:
    """The centre is its part of the way from 20 Hz to 20 kHz in octaves.

    Pedalboard's plugin computes it when it is set, for the 44.1 kHz that it believes in before it plays.
    """
    low, high = m.log10(m.zeros(depth) + LOW_HZ), m.log10(m.zeros(depth) + HIGH_HZ)
    centre = (m.log10(centre_frequency_hz) - low) / (high - low)
    increment = _increment(m, rate_hz, sample_rate / _PHASER_HOLD)
    return increment, depth * 0.5, centre, m.zeros(depth) + sample_rate


def _delay_loops(_: int) -> Loops:
    from diffmix.kernels._modulation_numba import delay, delay_adjoint

    return delay, delay_adjoint


def _allpass_loops(_: int) -> Loops:
    from diffmix.kernels._modulation_numba import allpasses, allpasses_adjoint

    return allpasses, allpasses_adjoint


_delay = recursion("modulated_delay", _delay_loops)
_allpasses = recursion("modulated_allpasses", _allpass_loops, tile=_TILE)
