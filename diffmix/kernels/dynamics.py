r"""Dynamics: the peak compressor with attack and release, and its static curve.

With r = |x|, threshold t (amplitude) and memories k of the attack and the release,

$$e_n = r_n + k\,(e_{n-1} - r_n), \qquad k = k_{attack} \text{ if } r_n > e_{n-1} \text{ else } k_{release}$$
$$y_n = x_n \max(e_n/t, 1)^{1/ratio - 1}, \qquad k = \exp\left(-\frac{2\pi\,1000}{sample\_rate \cdot time\_ms}\right)$$

which is Pedalboard's ``Compressor``: hard knee, no make-up gain, channels not linked. Mind the 2 pi: after
``attack_ms`` the envelope has made 99.8 % of a step. The smoother is the "branching" peak detector of D. Giannoulis,
M. Massberg and J. D. Reiss, "Digital dynamic range compressor design", J. Audio Eng. Soc. 60(6), 2012.
"""

import math
from typing import Any

import torch
from torch import Tensor

from diffmix.kernels._arithmetic import evaluate, formula
from diffmix.kernels._operator import Loops, operator, recursion, rows, run
from diffmix.kernels.backend import compiled, is_twin

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
    if not compiled(x):
        return _portable(x.to(torch.float64), evaluate("_compressor", settings, sample_rate, False)).to(x.dtype)
    coefficients = evaluate("_compressor", settings, sample_rate, is_twin(x, *settings))
    return run(_compress, *rows(x, coefficients), memory=1).view(x.shape)


def static_curve_db(level_db: Tensor, threshold_db: Tensor, ratio: Tensor) -> Tensor:
    """Output level of a steady input level, both in dB: hard knee, slope 1/ratio above the threshold.

    Shape: all three broadcast together.
    """
    return level_db + (1 / ratio - 1) * torch.relu(level_db - threshold_db)


@formula
def _compressor(
    m: Any, threshold_db: Any, ratio: Any, attack_ms: Any, release_ms: Any, sample_rate: float
) -> tuple[Any, ...]:
    def memory(time_ms: Any) -> Any:
        return m.decay(-2 * math.pi * 1000 / sample_rate, m.clip(time_ms, 1e-3, math.inf)) * (time_ms >= 1e-3)

    return m.gain(threshold_db), 1 / ratio - 1, memory(attack_ms), memory(release_ms)


def _loops(_: int) -> Loops:
    from diffmix.kernels._dynamics_numba import backward, forward

    return forward, backward


_compress = recursion("compress", _loops, tile=512)


def _portable(x: Tensor, coefficients: Tensor) -> Tensor:
    """The same in float64 torch: first the branches, without gradient, then a linear recursion under them."""
    c = coefficients if coefficients.ndim == 3 else coefficients[:, None]
    threshold, exponent, attack, release = c[:, None].unbind(-1)  # (B, 1, 1 or T) each
    level = x.abs()
    rising = _attacks(level.detach(), attack.detach(), release.detach())
    memory = torch.where(rising, attack, release)
    envelope = _recursion(memory, (1 - memory) * level)
    return x * torch.exp(exponent * torch.log((envelope / threshold).clamp_min(1)))


@operator(fake=lambda level, attack, release: level.new_empty(level.shape, dtype=torch.bool))
def _attacks(level: Tensor, attack: Tensor, release: Tensor) -> Tensor:
    """Where a level (B, C, T) exceeds the envelope before it.

    Given the branches the recursion is linear, and given its result the branches follow: a fixed point. It is unique
    and reached, since with the first n branches right the envelope up to n is right, and so is branch n + 1.
    """
    found = []
    before = torch.zeros_like(level[..., :1])
    for part in level.split(_CHUNK, -1):
        rising = part > before
        while True:
            memory = torch.where(rising, attack, release)
            start = torch.zeros_like(before)
            envelope = _recursion(torch.cat([start, memory], -1), torch.cat([before, (1 - memory) * part], -1))
            update = part > envelope[..., :-1]
            if torch.equal(update, rising):
                break
            rising = update
        before = envelope[..., -1:]
        found.append(rising)
    return torch.cat(found, -1)


def _recursion(a: Tensor, b: Tensor) -> Tensor:
    """e_n = a_n e_{n-1} + b_n from e_{-1} = 0, along the last dimension, in log2(T) steps and O(T) work.

    Two steps make one, e_{n+1} = (a_{n+1} a_n) e_{n-1} + (a_{n+1} b_n + b_{n+1}), so that the odd samples obey a
    recursion of half the length, and each even one follows from the odd one before it.
    """
    length = a.shape[-1]
    if length == 1:
        return b
    even_a, odd_a = a[..., 0 : length - 1 : 2], a[..., 1::2]
    even_b, odd_b = b[..., 0 : length - 1 : 2], b[..., 1::2]
    odd = _recursion(odd_a * even_a, odd_a * even_b + odd_b)
    even = torch.cat([b[..., :1], a[..., 2::2] * odd[..., : (length - 1) // 2] + b[..., 2::2]], -1)
    pairs = torch.stack([even[..., : length // 2], odd], -1).flatten(-2)
    return torch.cat([pairs, even[..., length // 2 :]], -1)
