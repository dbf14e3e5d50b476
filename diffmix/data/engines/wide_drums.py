"""Drums, cymbals and percussion drawn at random: any tone, any noise, any decays.

As of `wide_tones`, with the same purpose and the same exception: no bursts into resonators, no noise in bands that die
one by one and no colliding grains, which is how the held-out engines sound. Strokes have the form of `membranes`.
"""

from __future__ import annotations

import numpy as np

from diffmix.data.engines.instrument import knock
from diffmix.data.engines.membranes import TOM_HZ, hands, swept
from diffmix.data.engines.metal import HAND_HZ, swell
from diffmix.data.synthesis import Random, Samples, bandpass, between, highpass, lowpass, modes, saw, times


def _ring(hz: Samples, decay_s: Samples, share: Samples, t: Samples, sample_rate: int) -> Samples:
    """Modes at the times ``t``."""
    return modes(hz, decay_s, share, (len(t) + 0.5) / sample_rate, sample_rate)


def _head(f: float, decay_s: float, t: Samples, c: Random, v: float, sample_rate: int) -> Samples:
    """What has a pitch: a sine, triangle or folded sine that falls, membrane modes, or a modulated sine."""
    way, ratio, sweep_s = int(c.integers(4)), between(c, 1.02, 5.0), between(c, 0.005, 0.07)
    ratios, shares = 1 + np.sort(c.uniform(0.3, 3.5, 6)), c.uniform(0.05, 0.6, 6)
    index, other, settle_s = c.uniform(0.5, 5) * v, c.uniform(0.5, 4.7), between(c, 0.005, 0.08)
    edge = c.uniform(0.5, 3)
    if way == 0:
        return swept(ratio * f, f, sweep_s, decay_s, t)
    if way == 1:
        return np.sin(edge * np.pi / 2 * swept(ratio * f, f, sweep_s, decay_s, t))
    if way == 2:
        body = swept(min(ratio, 1.6) * f, f, sweep_s, decay_s, t)
        return body + _ring(f * ratios, decay_s / ratios**1.3, shares, t, sample_rate)
    w = 2 * np.pi * (f * t + f * (ratio - 1) * sweep_s * (1 - np.exp(-t / sweep_s)))
    return np.sin(w + index * np.exp(-t / settle_s) * np.sin(other * w)) * np.exp(-t / decay_s)


def _hiss(
    t: Samples, c: Random, take: Random, low: tuple[float, float], high: tuple[float, float], sample_rate: int
) -> Samples:
    """Noise of any colour: plain, sparse, of a sampler with few bits, or beating with a tone."""
    way, low_hz, high_hz, order = int(c.integers(4)), between(c, *low), between(c, *high), int(c.integers(1, 3))
    beat_hz, hold, sparse = between(c, 300, 8_000), int(c.integers(1, 8)), between(c, 0.05, 0.6)
    noise = take.standard_normal(len(t))
    if way == 1:
        noise = noise * (take.random(len(t)) < sparse) / np.sqrt(sparse)
    elif way == 2:
        noise = np.repeat(noise[: -(-len(t) // hold)], hold)[: len(t)]
    elif way == 3:
        noise = noise * np.sin(2 * np.pi * beat_hz * t) * 1.4
    return bandpass(noise, low_hz, high_hz, sample_rate, order)


def _finished(x: Samples, c: Random, low: tuple[float, float], high: tuple[float, float], sample_rate: int) -> Samples:
    """Driven or not, dulled or not."""
    drive, dull, high_hz, low_hz = c.uniform(0.4, 4), c.random() < 0.5, between(c, *high), between(c, *low)
    x = x / (np.abs(x).max() + 1e-9)
    x = np.tanh(drive * x) if c.random() < 0.6 else x
    return highpass(lowpass(x, high_hz, sample_rate, 1) if dull else x, low_hz, sample_rate, 1)


def _stick(t: Samples, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """Beater, stick or click."""
    low_hz, high_hz, decay_s, size = (
        between(c, 300, 2_500),
        between(c, 3_000, 9_000),
        between(c, 0.001, 0.012),
        c.uniform(0, 1),
    )
    return size * v * knock(len(t), decay_s, low_hz, high_hz, sample_rate, take)


def wide_kick(piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """A bass drum of any make."""
    f, decay_s = between(c, 38, 75), between(c, 0.05, 0.5)
    t = times(5 * decay_s + 0.1, sample_rate)
    x = _head(f, decay_s, t, c, v, sample_rate) * (1 - np.exp(-t / between(c, 0.0003, 0.003)))
    x = x + _stick(t, c, take, v, sample_rate)
    air_s, air = between(c, 0.01, 0.08), c.uniform(0, 0.3)
    x = x + air * np.exp(-t / air_s) * _hiss(t, c, take, (100, 500), (1_000, 5_000), sample_rate)
    return _finished(x, c, (15, 35), (2_000, 9_000), sample_rate)


def wide_snare(piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """A snare drum, a cross stick or a clap of any make."""
    t = times(0.5, sample_rate)
    if piece == "rim":
        x = _head(between(c, 350, 1_600), between(c, 0.006, 0.03), t, c, v, sample_rate) + _stick(
            t, c, take, v, sample_rate
        )
        return _finished(x, c, (100, 300), (4_000, 9_000), sample_rate)
    if piece == "clap":
        x = _hiss(t, c, take, (400, 1_000), (1_800, 6_000), sample_rate) * hands(c, take, t)
        return _finished(x, c, (150, 500), (4_000, 10_000), sample_rate)
    shell = _head(between(c, 140, 330), between(c, 0.025, 0.12), t, c, v, sample_rate)
    wires_s, late_s = between(c, 0.04, 0.22), between(c, 0.001, 0.01)
    rattle = np.exp(-t / (wires_s * (0.6 + 0.4 * v))) * (1 - c.uniform(0, 0.8) * np.exp(-t / late_s))
    noise = _hiss(t, c, take, (300, 2_500), (4_000, 13_000), sample_rate) * rattle
    noise = noise / (np.abs(noise).max() + 1e-9)
    x = c.uniform(0.15, 1) * shell + c.uniform(0.3, 1.5) * (0.5 + 0.5 * v) * noise + _stick(t, c, take, v, sample_rate)
    return _finished(x, c, (60, 180), (4_000, 12_000), sample_rate)


def wide_tom(piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """A tom of any make."""
    f = TOM_HZ[piece] * c.uniform(0.75, 1.3)
    t = times(1.0, sample_rate)
    x = _head(f, between(c, 0.08, 0.35), t, c, v, sample_rate) + _stick(t, c, take, v, sample_rate)
    puff_s, puff = between(c, 0.02, 0.1), c.uniform(0, 0.4)
    x = x + puff * np.exp(-t / puff_s) * _hiss(t, c, take, (150, 500), (1_500, 6_000), sample_rate)
    return _finished(x, c, (30, 60), (3_000, 9_000), sample_rate)


def _bronze(c: Random, take: Random, low_hz: float, high_hz: float, t: Samples, sample_rate: int) -> Samples:
    """Metal that never rests: modes, pulses, modulated sines, tones against each other, or noise; RMS about 1."""
    way, count = int(c.integers(5)), int(c.integers(3, 12))
    if way == 0:
        many = int(c.integers(30, 200))
        hz = low_hz * (high_hz / low_hz) ** c.beta(c.uniform(1, 3), c.uniform(0.8, 2), many)
        tau_s = c.uniform(0.4, 2) * (hz / low_hz) ** -c.uniform(0, 0.6)
        x = _ring(hz, tau_s, take.standard_normal(many), t, sample_rate)
    elif way == 1:
        x, width = np.zeros(len(t)), c.uniform(0.1, 0.5)
        for f in low_hz * c.uniform(0.3, 2.5, count):
            phase = f * t + take.random()
            x += saw(phase, f / sample_rate) - saw(phase + width, f / sample_rate)
    elif way == 2:
        x = np.zeros(len(t))
        for _ in range(1 + count // 4):
            w, index = 2 * np.pi * c.uniform(200, 1_500) * t + take.uniform(0, 6), c.uniform(2, 9)
            x += np.sin(
                2 * np.pi * between(c, low_hz, high_hz) * t + index * np.sin(w + c.uniform(0, 4) * np.sin(1.41 * w))
            )
    elif way == 3:
        x = np.ones(len(t))
        for f in np.sqrt(low_hz * high_hz) * c.uniform(0.2, 1.2, 3):
            x = x * np.sign(np.sin(2 * np.pi * f * t + take.uniform(0, 6)))
        x = x + c.uniform(0, 0.6) * take.standard_normal(len(t))
    else:
        x = _hiss(t, c, take, (0.7 * low_hz, 1.5 * low_hz), (0.6 * high_hz, high_hz), sample_rate)
    x = bandpass(x, low_hz, high_hz, sample_rate)
    return x / (np.sqrt(np.mean(x**2)) + 1e-9)


def wide_metal(piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """A hi-hat or cymbal of any make."""
    t = times({"hat": 0.3, "open": 1.4, "crash": 2.5, "ride": 1.8}[piece], sample_rate)
    hat = piece in ("hat", "open")
    x = _bronze(
        c,
        take,
        between(c, 700, 4_000) if hat else between(c, 250, 900),
        between(c, 7_000, 15_000),
        t,
        sample_rate,
    )
    decay_s = {"hat": between(c, 0.015, 0.08), "open": between(c, 0.12, 0.6)}.get(piece, between(c, 0.35, 1.3))
    x = x * (c.uniform(0.3, 1) * np.exp(-t / decay_s) + c.uniform(0, 0.5) * np.exp(-t / (0.3 * decay_s)))
    if not hat:
        wash = np.exp(-t / between(c, 0.2, 0.9)) * (1 - 0.8 * np.exp(-t / 0.02))
        x = x + c.uniform(0, 1) * wash * _hiss(t, c, take, (1_000, 3_000), (6_000, 12_000), sample_rate)
    if piece == "ride":
        ping = c.uniform(0.1, 0.8)
        tones = _ring(c.uniform(1_500, 5_500, 5), c.uniform(0.05, 0.4, 5), np.full(5, ping), t, sample_rate)
        x = (0.2 + 0.5 * v) * x + tones
    x = x * (1 - np.exp(-t / 0.0007)) + 0.6 * _stick(t, c, take, v, sample_rate)
    low = (900, 5_000) if hat else (150, 500)
    return _finished(x, c, low, (6_000, 15_000), sample_rate)


def wide_percussion(piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """Hand drums, bells and rattles of any make."""
    t = times(0.45, sample_rate)
    if piece in HAND_HZ:
        f = HAND_HZ[piece] * c.uniform(0.8, 1.25)
        x = _head(f, between(c, 0.04, 0.18), t, c, v, sample_rate) + _stick(t, c, take, v, sample_rate)
        return _finished(x, c, (60, 150), (3_000, 9_000), sample_rate)
    if piece == "cowbell":
        ratios = np.array([1, c.uniform(1.4, 1.6), *c.uniform(2, 6, 3)])
        x = _ring(between(c, 450, 900) * ratios, c.uniform(0.03, 0.2, 5), c.uniform(0.2, 1, 5), t, sample_rate)
        return _finished(x + _stick(t, c, take, v, sample_rate), c, (200, 400), (3_000, 9_000), sample_rate)
    if piece == "shaker":
        shape = swell(t * between(c, 0.6, 1.8))
        x = _hiss(t, c, take, (1_800, 5_000), (6_000, 14_000), sample_rate) * shape
        return _finished(x, c, (800, 2_500), (6_000, 14_000), sample_rate)
    decay_s = between(c, 0.025, 0.15)
    x = _bronze(c, take, between(c, 1_800, 4_500), between(c, 8_000, 14_000), t, sample_rate) * np.exp(-t / decay_s)
    x = x + c.uniform(0, 1) * _hiss(t, c, take, (2_000, 4_500), (6_000, 12_000), sample_rate) * np.exp(-t / decay_s)
    return _finished(x, c, (800, 2_000), (6_000, 14_000), sample_rate)
