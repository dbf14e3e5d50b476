"""What an engine makes: an instrument that was drawn once and then plays notes; and what most engines need for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from diffmix.data.synthesis import Random, Samples, bandpass

Play = Callable[[float, float, float, Random], Samples]
"""play(frequency_hz, seconds held, velocity in [0, 1], generator of this take) -> (T,) or (2, T), longer than held."""


class Instrument(NamedTuple):
    """`play` makes one note, `release_s` fades it after its end, `amp` is what the whole track runs through."""

    play: Play
    release_s: float
    amp: Callable[[Samples], Samples] | None = None


def envelope(t: Samples, attack_s: float, hold_s: float) -> Samples:
    """Rise within `attack_s`, stay until `hold_s`, fall with a time constant of 50 ms."""
    y = np.ones(len(t))
    rising, falling = np.searchsorted(t, 8 * attack_s), np.searchsorted(t, hold_s)
    y[:rising] -= np.exp(-t[:rising] / attack_s)
    y[falling:] *= np.exp((hold_s - t[falling:]) / 0.05)
    return y


def knock(length: int, decay_s: float, low_hz: float, high_hz: float, sample_rate: int, rng: Random) -> Samples:
    """A burst of noise between two frequencies at the start of a note: pick, hammer, key, chiff. Shape (length,)."""
    burst = np.zeros(length)
    n = min(int(10 * decay_s * sample_rate) + 1, length)
    burst[:n] = rng.standard_normal(n) * np.exp(-np.arange(n) / (decay_s * sample_rate))
    burst[:n] = bandpass(burst[:n], low_hz, high_hz, sample_rate)
    return burst


def vibrato(t: Samples, depth: float, rate_hz: float, delay_s: float = 0.25) -> Samples:
    """A frequency ratio that starts to swing by `depth` around 1 after `delay_s`."""
    return 1 + depth * np.clip((t - delay_s) / 0.3, 0, 1) * np.sin(2 * np.pi * rate_hz * t)


def harmonics(phase: Samples, weights: np.ndarray) -> Samples:
    """Sum of a_k sin(k phase), k = 1, 2, ...; `weights` is (K,) or (K, T), `phase` (T,) in radians."""
    z = np.exp(1j * phase)
    power, y = np.ones_like(z), np.zeros(len(phase))
    for weight in weights:
        power = power * z
        y += weight * power.imag
    return y


def audible(frequency_hz: float, sample_rate: int, most: int, top_hz: float = 12_000) -> np.ndarray:
    """The harmonic numbers 1, 2, ... of a tone that lie below `top_hz` and can be sampled, at most `most`."""
    return np.arange(1, max(min(int(min(top_hz, 0.45 * sample_rate) / frequency_hz), most), 1) + 1)
