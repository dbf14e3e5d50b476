r"""Low-frequency oscillators: phases, sines and other shapes that move what other effects do.

A phase advances by what its rate says each sample,

$$\varphi_{n+1} = \varphi_n + 2 \pi\, rate_n / sample\_rate \pmod{2 \pi},\qquad \varphi_0 = 0,$$

so that the rate may change each sample and no phase ever jumps. Its derivative is exact: an increment moves every later
phase.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from diffmix.kernels._operator import Loops, recursion, run

Shape = Literal["sine", "triangle", "saw", "square"]

PHASE, DELAY, ALLPASS = 0, 1, 2
"""What an oscillator gives: its phase, a chorus's delay in samples, a phaser's all-pass gain."""
CHORUS_SWING_MS = 20.0  # Pedalboard's: at full depth the delay moves by half of this, both ways
LOW_HZ, HIGH_HZ = 20.0, 20000.0  # between which Pedalboard's phaser moves
_STATE = 3


def oscillate(x: Tensor, coefficients: Tensor, kind: int, hold: int = 1) -> Tensor:
    """A phase that starts at 0, and what it moves.

    Args:
        x: what gives batch, length and precision (B, C, T); its samples are not read.
        coefficients: (B, F, 4), constant (F = 1) or each sample (F = T): advance of the phase in radians, 0 to 2 pi;
            swing and centre of what it moves; the sample rate in Hz.
        kind: PHASE, DELAY or ALLPASS.
        hold: samples between two advances.

    Returns:
        Signal (B, 1, T) of x's dtype. Float32 phases round at each step as Pedalboard's do: at 0.1 Hz they run 0.5 %
        slow, at 1 Hz 0.06 % fast.
    """
    return run(_oscillate, x[:, :1], coefficients, _STATE, options=[kind, hold])


def phase_cycles(x: Tensor, rate_hz: Tensor, sample_rate: float) -> Tensor:
    """Phase in cycles, in [0, 1), from 0 on; always computed in float64.

    Args:
        x: what gives batch and length (B, C, T); its samples are not read.
        rate_hz: cycles per second, 0 to the sample rate, (B,) or each sample (B, T).
        sample_rate: in Hz.

    Returns:
        Phase (B, 1, T), float64. Streams.
    """
    increments = (rate_hz.double() * (2 * math.pi / sample_rate)).reshape(rate_hz.shape[0], -1, 1)
    coefficients = torch.nn.functional.pad(increments, (0, 3))
    return oscillate(x[:, :1].double(), coefficients, PHASE) / (2 * math.pi)


def wave(cycles: Tensor, shape: Shape) -> Tensor:
    """A wave in [-1, 1] at a phase in cycles: sine, triangle (both start at 0, rising), saw (rises from -1), square.

    Not band-limited: for control, not to be heard. Away from their jumps saw and square have true gradients, the
    square's zero; how jumps move with the phase is not in them.
    """
    if shape == "sine":
        return torch.sin(cycles * (2 * math.pi))
    if shape == "triangle":
        return 1 - 4 * ((cycles + 0.25) % 1 - 0.5).abs()
    if shape == "saw":
        return cycles % 1 * 2 - 1
    return torch.where(cycles % 1 < 0.5, 1.0, -1.0) + 0 * cycles


def _loops(_: int) -> Loops:
    from diffmix.kernels._modulation_numba import oscillate, oscillate_adjoint

    return oscillate, oscillate_adjoint


_oscillate = recursion("oscillate", _loops)
