r"""Dynamics: compressor, gate and limiter with attack and release on the level, and the compressor's static curve.

With a level r, a threshold t (amplitude) and memories k of the attack and the release,

$$e_n = r_n + k\,(e_{n-1} - r_n), \qquad k = k_{attack} \text{ if } r_n > e_{n-1} \text{ else } k_{release},
\qquad k = \exp\left(-\frac{2\pi\,1000}{sample\_rate \cdot time\_ms}\right)$$

is the envelope, and the gain depends on it alone. In Pedalboard's ``Compressor`` and ``NoiseGate``

$$y_n = x_n \max(e_n/t, 1)^{1/ratio - 1}, \; r = |x| \qquad\text{and}\qquad
y_n = x_n \min(e_n/t, 1)^{ratio - 1}, \; r^2_n = \max(x_n^2,\, x_n^2 + k_{50\,ms} (r^2_{n-1} - x_n^2)),$$

and its ``Limiter`` is two such compressors, a gain and a clip. Hard knees, no make-up gain but the limiter's, channels
not linked. Mind the 2 pi: after ``attack_ms`` the envelope has made 99.8 % of a step. The smoother is the "branching"
peak detector of D. Giannoulis, M. Massberg and J. D. Reiss, "Digital dynamic range compressor design", J. Audio Eng.
Soc. 60(6), 2012.
"""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from diffmix.kernels._arithmetic import evaluate, formula
from diffmix.kernels._operator import Loops, operator, recursion, rows, run
from diffmix.kernels.backend import is_twin, portable
from diffmix.kernels.linear import first_order

_CHUNK = 65536  # samples whose branches the portable path finds together, in about ten rounds


def compressor(
    x: Tensor, threshold_db: Tensor, ratio: Tensor, attack_ms: Tensor, release_ms: Tensor, sample_rate: float
) -> Tensor:
    """Reduce what exceeds a threshold, each channel on its own.

    Args:
        x: audio (B, C, T); float32 on the CPU gives Pedalboard's samples, float64 the ideal recursion.
        threshold_db: level above which the ratio applies, above -200 dB (B,); this and the others may also change
            each sample (B, T).
        ratio: input dB per output dB above the threshold, at least 1 (B,).
        attack_ms: time to follow a rising level (B,); below 0.001 ms it is followed at once, with zero gradient.
        release_ms: time to follow a falling level (B,); as above.
        sample_rate: in Hz.

    Returns:
        Audio (B, C, T) of x's dtype. Gradients are exact for the branches taken; the portable path has higher ones.
    """
    settings = threshold_db, ratio, attack_ms, release_ms
    return _applied(x, evaluate("_compressor", settings, sample_rate, is_twin(x, *settings)))


def noise_gate(
    x: Tensor, threshold_db: Tensor, ratio: Tensor, attack_ms: Tensor, release_ms: Tensor, sample_rate: float
) -> Tensor:
    """Reduce what stays below a threshold, each channel on its own; the level is a mean square that rises at once.

    Args:
        x: audio (B, C, T), as in `compressor`, and so are the shapes of the others.
        threshold_db: level below which the ratio applies, above -200 dB.
        ratio: output dB per input dB below the threshold, at least 1.
        attack_ms: time to follow a rising level, which opens the gate.
        release_ms: time to follow a falling level; the level itself falls within 50 ms.
        sample_rate: in Hz.

    Returns:
        Audio (B, C, T) of x's dtype, with gradients as in `compressor`.
    """
    settings = threshold_db, ratio, attack_ms, release_ms
    return _applied(x, evaluate("_gate", settings, sample_rate, is_twin(x, *settings)))


def limiter(x: Tensor, threshold_db: Tensor, release_ms: Tensor, sample_rate: float) -> Tensor:
    """Make loud: 4:1 above -10 dB, then 1000:1 above a threshold, raised by 3.75 dB - threshold_db and clipped at 1.

    Args:
        x: audio (B, C, T), as in `compressor`, and so are the shapes of the others.
        threshold_db: level above which the second compressor holds, above -200 dB.
        release_ms: time in which it lets go; its attack is instant, the first one has 2 and 200 ms.
        sample_rate: in Hz.

    Returns:
        Audio (B, C, T) of x's dtype between -1 and 1, with gradients as in `compressor`, and none where it is clipped.
    """
    settings = threshold_db, release_ms
    c = evaluate("_limiter", settings, sample_rate, is_twin(x, *settings))
    gain = c[..., 8:].transpose(-1, -2) if c.ndim == 3 else c[:, 8:, None]
    held = _applied(_applied(x, c[..., :4]), c[..., 4:8])
    return (gain.to(held.dtype) * held).clamp(-1, 1) if portable(x) else _raised(held, gain)


def static_curve_db(level_db: Tensor, threshold_db: Tensor, ratio: Tensor) -> Tensor:
    """Output level of a steady input level, both in dB: hard knee, slope 1/ratio above the threshold.

    Shape: all three broadcast together.
    """
    return level_db + (1 / ratio - 1) * torch.relu(level_db - threshold_db)


@formula
def _compressor(
    m: Any, threshold_db: Any, ratio: Any, attack_ms: Any, release_ms: Any, sample_rate: float
) -> tuple[Any, ...]:
    memory = partial(_memory, m, sample_rate=sample_rate)
    return m.gain(threshold_db), 1 / ratio - 1, memory(attack_ms), memory(release_ms)


@formula
def _gate(
    m: Any, threshold_db: Any, ratio: Any, attack_ms: Any, release_ms: Any, sample_rate: float
) -> tuple[Any, ...]:
    memory = partial(_memory, m, sample_rate=sample_rate)
    square = memory(m.zeros(ratio) + 50)
    return m.gain(threshold_db), ratio - 1, memory(attack_ms), memory(release_ms), square


@formula
def _limiter(m: Any, threshold_db: Any, release_ms: Any, sample_rate: float) -> tuple[Any, ...]:
    always = m.zeros(threshold_db)
    first = _compressor(m, always - 10, always + 4, always + 2, always + 200, sample_rate)
    second = _compressor(m, threshold_db, always + 1000, always + 1e-3, release_ms, sample_rate)
    return *first, *second, m.gain(always + 3.75) * m.gain(-threshold_db)


def _memory(m: Any, time_ms: Any, sample_rate: float) -> Any:
    return m.decay(-2 * math.pi * 1000 / sample_rate, m.clip(time_ms, 1e-3, math.inf)) * (time_ms >= 1e-3)


def _save_raised(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _raised_backward(ctx: Any, gy: Tensor) -> tuple[Tensor, Tensor]:
    x, gain = ctx.saved_tensors
    same = gain.to(x.dtype)
    through = torch.where((same * x).abs() <= 1, gy, 0)
    constant = (1, 2) if gain.shape[-1] == 1 else (1,)
    return through * same, (through * x).sum(constant, keepdim=True, dtype=torch.float64)


@operator(fake=lambda x, gain: torch.empty_like(x), backward=_raised_backward, save=_save_raised)
def _raised(x: Tensor, gain: Tensor) -> Tensor:
    """Audio x (B, C, T) times a gain (B, 1, 1) or (B, 1, T), clipped at 1.

    A threshold acts through the gain and, almost as much the other way, through the compressor before it: of both sums
    a thousandth is left. So the gain's is made in float64; in float32 each way to add it up gives another gradient.
    """
    return (gain.to(x.dtype) * x).clamp_(-1, 1)


def _loops(_: int) -> Loops:
    from diffmix.kernels._dynamics_numba import backward, forward
    from diffmix.kernels._powf import equals_libm

    return partial(forward, fast=equals_libm()), backward


_dynamics = recursion("dynamics", _loops, tile=512, together=8)


def _applied(x: Tensor, coefficients: Tensor) -> Tensor:
    """Audio x (B, C, T) through a compressor, whose coefficients (B, [T,] 4) are four, or a gate, with five."""
    if portable(x):
        return _portable(x.to(torch.float64), coefficients).to(x.dtype)
    return run(_dynamics, *rows(x, coefficients), memory=coefficients.shape[-1] - 3).view(x.shape)


def _portable(x: Tensor, coefficients: Tensor) -> Tensor:
    """The same in float64 torch."""
    c = coefficients if coefficients.ndim == 3 else coefficients[:, None]
    threshold, exponent, attack, release, *square = c[:, None].unbind(-1)  # (B, 1, 1 or T) each
    if not square:
        over = _follow(x.abs(), attack, release) / threshold
        return x * torch.exp(exponent * torch.log(over.clamp_min(1)))
    power = _follow(x.square(), torch.zeros_like(attack), square[0])
    heard = power > 0  # the root has no slope at silence
    level = torch.where(heard, power, 1).sqrt() * heard
    under = _follow(level, attack, release) / threshold
    return x * torch.exp(exponent * torch.log(under.clamp(1e-300, 1)))


def _follow(level: Tensor, attack: Tensor, release: Tensor) -> Tensor:
    """The envelope: first the branches, without gradient, then a linear recursion under them."""
    rising = _attacks(level.detach(), attack.detach(), release.detach())
    memory = torch.where(rising, attack, release)
    return first_order(memory, (1 - memory) * level)


@operator(fake=lambda level, attack, release: level.new_empty(level.shape, dtype=torch.bool))
def _attacks(level: Tensor, attack: Tensor, release: Tensor) -> Tensor:
    """Where a level (B, C, T) exceeds the envelope before it; the memories are (B, 1, 1) or (B, 1, T).

    Given the branches the recursion is linear, and given its result the branches follow: a fixed point. It is unique
    and reached, since with the first n branches right the envelope up to n is right, and so is branch n + 1.
    """
    found = []
    before = torch.zeros_like(level[..., :1])
    memories = (m.expand(*m.shape[:2], level.shape[-1]).split(_CHUNK, -1) for m in (attack, release))
    for part, up, down in zip(level.split(_CHUNK, -1), *memories, strict=True):
        rising = part > before
        while True:
            memory = torch.where(rising, up, down)
            start = torch.zeros_like(before)
            envelope = first_order(torch.cat([start, memory], -1), torch.cat([before, (1 - memory) * part], -1))
            update = part > envelope[..., :-1]
            if torch.equal(update, rising):
                break
            rising = update
        before = envelope[..., -1:]
        found.append(rising)
    return torch.cat(found, -1)
