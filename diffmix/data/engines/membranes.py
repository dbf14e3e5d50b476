"""Kicks, snares and toms: heads as modes, as circuits, by frequency modulation and as struck resonators.

A stroke is `engine(piece, c, take, v, sample_rate)`: `c` is the drum's character and the same for each of its
strokes, `take` is this stroke's, `v` its velocity in (0, 1].
"""

from __future__ import annotations

import numpy as np
from scipy import signal

from diffmix.data.engines.instrument import knock
from diffmix.data.synthesis import Random, Samples, bandpass, highpass, lowpass, modes, times


def swept(start_hz: float, end_hz: float, sweep_s: float, decay_s: float, t: Samples) -> Samples:
    """A sine that falls from `start_hz` to `end_hz` while it decays: a struck membrane relaxing."""
    cycles = end_hz * t + (start_hz - end_hz) * sweep_s * (1 - np.exp(-t / sweep_s))
    return np.sin(2 * np.pi * cycles) * np.exp(-t / decay_s)


def resonators(x: Samples, hz: Samples, decay_s: Samples, gain: Samples, sample_rate: int) -> Samples:
    """`x` through two-pole resonators in parallel, each ringing for its `decay_s` with about its `gain`."""
    y = np.zeros(len(x))
    for f, tau, g in zip(hz, decay_s, gain, strict=True):
        radius, turn = np.exp(-1 / (tau * sample_rate)), 2 * np.pi * f / sample_rate
        y += g * signal.lfilter([np.sin(turn), 0.0], [1, -2 * radius * np.cos(turn), radius**2], x)
    return y


# ------------------------------------------------------------------ kicks


def modal_kick(piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """Bass drum: swept fundamental, shell, beater click and the air of the head."""
    pitch_hz, decay_s = c.uniform(42, 66), c.uniform(0.09, 0.22)
    sweep_s, ratio, click = c.uniform(0.012, 0.035), c.uniform(2.5, 6.0), c.uniform(0.2, 0.8)
    t = times(5 * decay_s, sample_rate)
    body = swept(pitch_hz * ratio, pitch_hz, sweep_s, decay_s, t) * (1 - np.exp(-t / 0.001))
    shell = modes(
        c.uniform(90, 1_200, 10), c.uniform(0.02, 0.07, 10), c.uniform(-0.12, 0.12, 10), 5 * decay_s, sample_rate
    )
    beater = knock(len(t), 0.004, 1_200, 4_500, sample_rate, take) * click * v
    head = knock(len(t), 0.05, 250, 2_200, sample_rate, take) * c.uniform(0.06, 0.2)
    return np.tanh(c.uniform(1.0, 2.2) * (body + shell + beater + head))


def machine_kick(piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """Drum machine: an oscillator that falls and rings, a click, an overdriven output."""
    pitch_hz, decay_s = c.uniform(40, 58), c.uniform(0.12, 0.5)
    t = times(5 * decay_s, sample_rate)
    body = swept(pitch_hz * c.uniform(2, 8), pitch_hz, c.uniform(0.006, 0.04), decay_s, t) * (1 - np.exp(-t / 0.0006))
    click = knock(len(t), c.uniform(0.001, 0.006), 900, 5_000, sample_rate, take) * c.uniform(0.15, 0.8) * v
    tick = np.exp(-t / 0.0015) * c.uniform(0, 0.5)
    return np.tanh(c.uniform(0.8, 4.0) * (body + click + tick))


def fm_kick(piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """Lo-fi kick: a modulated sine whose index dies at once, dulled and saturated as by a sampler."""
    pitch_hz, decay_s = c.uniform(44, 72), c.uniform(0.08, 0.25)
    t = times(5 * decay_s, sample_rate)
    w = 2 * np.pi * pitch_hz * (t + c.uniform(0.01, 0.05) * (1 - np.exp(-t / 0.02)))
    bend = c.uniform(1, 5) * v * np.exp(-t / c.uniform(0.006, 0.02))
    x = np.sin(w + bend * np.sin(c.uniform(1.4, 4.6) * w)) * np.exp(-t / decay_s) * (1 - np.exp(-t / 0.0008))
    x += knock(len(t), 0.02, 200, 2_500, sample_rate, take) * c.uniform(0.1, 0.35)
    return lowpass(np.tanh(c.uniform(1.0, 3.0) * x), c.uniform(2_500, 7_000), sample_rate)


def struck_kick(piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """A burst of felt and wood into the resonances of two heads and the air between them."""
    pitch_hz, decay_s = c.uniform(46, 70), c.uniform(0.05, 0.14)
    t = times(6 * decay_s, sample_rate)
    burst = np.hanning(64)[np.minimum(np.arange(len(t)) * 16_000 // sample_rate, 63)]
    burst += 0.3 * v * knock(len(t), 0.006, 100, 3_000, sample_rate, take)
    hz = pitch_hz * np.array([1, 1.55, 2.4, 3.6, 6.2]) * c.uniform(0.95, 1.05, 5)
    body = resonators(burst, hz, decay_s * np.array([1, 0.7, 0.4, 0.25, 0.15]), c.uniform(0.4, 1, 5), sample_rate)
    body /= np.abs(body).max() + 1e-9
    slap = knock(len(t), c.uniform(0.002, 0.007), 1_500, 5_500, sample_rate, take) * c.uniform(0.2, 0.7) * v
    air = knock(len(t), 0.04, 300, 1_800, sample_rate, take) * c.uniform(0.05, 0.2)
    return np.tanh(c.uniform(1, 2) * (body + slap + air))


# ------------------------------------------------------------------ snares, cross sticks and claps


def hands(c: Random, take: Random, t: Samples) -> Samples:
    """The envelope of a clap: several hands within 30 ms, then the room."""
    starts = np.sort(c.uniform(0, 0.028, 4))
    hands = sum(np.where(t >= s, np.exp(-(t - s).clip(0) / 0.004), 0.0) for s in starts)
    return hands + np.where(t >= starts[-1], 0.6 * np.exp(-(t - starts[-1]).clip(0) / c.uniform(0.04, 0.1)), 0.0)


def modal_snare(piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """Snare drum: the modes of two heads and the rattle of the wires, longer and brighter when hit harder."""
    if piece == "rim":
        pitches = c.uniform(420, 560) * np.array([1.0, 2.1, 3.9, 5.8])
        wood = modes(pitches, np.array([0.020, 0.014, 0.010, 0.006]), np.array([1, 0.9, 0.6, 0.4]), 0.15, sample_rate)
        return wood + 0.15 * v * knock(len(wood), 0.02, 300, 3_000, sample_rate, take)
    t = times(0.5, sample_rate)
    if piece == "clap":
        noise = take.standard_normal(len(t)) * hands(c, take, t)
        return bandpass(noise, c.uniform(700, 1_000), c.uniform(2_200, 4_000), sample_rate, 2)
    pitch_hz, wires_s, wires = c.uniform(165, 260), c.uniform(0.06, 0.16), c.uniform(0.5, 1.3)
    ratios = np.array([1.0, 1.59, 2.14, 2.65, 3.6]) * c.uniform(0.97, 1.03, 5)
    shell = modes(pitch_hz * ratios, c.uniform(0.03, 0.11, 5), np.array([1, 0.6, 0.35, 0.2, 0.12]), 0.5, sample_rate)
    rattle = np.exp(-t / (wires_s * (0.6 + 0.4 * v))) * (1 - 0.6 * np.exp(-t / 0.006))
    noise = bandpass(take.standard_normal(len(t)) * rattle, c.uniform(700, 1_800), 3_500 + 2_500 * v, sample_rate)
    return np.tanh(0.9 * shell + wires * noise + 0.5 * v * knock(len(t), 0.002, 2_000, 6_000, sample_rate, take))


def machine_snare(piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """Drum machine: two oscillators and filtered noise, each with its own decay."""
    t = times(0.45, sample_rate)
    if piece == "rim":
        ping = (swept(1.2 * f, f, 0.003, 0.012, t) for f in c.uniform(450, 1_900, 2))
        return np.tanh(1.5 * sum(ping))
    noise = take.standard_normal(len(t))
    if piece == "clap":
        centre_hz = c.uniform(900, 1_400)
        return np.tanh(bandpass(noise * hands(c, take, t), 0.7 * centre_hz, 1.5 * centre_hz, sample_rate) * 2)
    low_hz, high_hz = c.uniform(160, 220), c.uniform(300, 400)
    tone_s, noise_s = c.uniform(0.04, 0.1), c.uniform(0.05, 0.15)
    tone = swept(1.5 * low_hz, low_hz, 0.01, tone_s, t) + 0.6 * swept(1.3 * high_hz, high_hz, 0.01, 0.6 * tone_s, t)
    hiss = highpass(noise * np.exp(-t / noise_s), c.uniform(700, 1_600), sample_rate)
    return np.tanh(
        c.uniform(0.8, 2) * (tone + c.uniform(0.25, 0.7) * v * lowpass(hiss, c.uniform(4_000, 7_500), sample_rate, 1))
    )


def fm_snare(piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """Lo-fi snare: a tone modulated by noise, dulled as by a sampler."""
    t = times(0.45, sample_rate)
    pitch_hz = c.uniform(400, 700) if piece == "rim" else c.uniform(170, 250)
    noise = take.standard_normal(len(t))
    if piece == "clap":
        w = 2 * np.pi * c.uniform(900, 1_300) * t
        return bandpass(np.sin(w + 3 * noise) * hands(c, take, t), 600, 4_000, sample_rate)
    short = 0.15 if piece == "rim" else 1.0
    w = 2 * np.pi * pitch_hz * (t + 0.006 * (1 - np.exp(-t / 0.01)))
    bend = c.uniform(1.5, 4) * v * np.exp(-t / (0.06 * short))
    x = np.sin(w + bend * np.sin(1.48 * w)) * np.exp(-t / (c.uniform(0.05, 0.12) * short))
    x += c.uniform(0.3, 0.8) * short * bandpass(noise * np.exp(-t / c.uniform(0.05, 0.13)), 600, 4_500, sample_rate)
    return lowpass(np.tanh(c.uniform(1, 2.5) * x), c.uniform(4_500, 8_500), sample_rate)


def struck_snare(piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """Noise through the resonances of the drum: wires, stick and hands excite one and the same shell."""
    t = times(0.5, sample_rate)
    noise = take.standard_normal(len(t))
    if piece == "rim":
        hz = c.uniform(380, 620) * np.array([1, 2.7, 4.6])
        return resonators(0.1 * noise * np.exp(-t / 0.002), hz, np.array([0.018, 0.01, 0.006]), np.ones(3), sample_rate)
    if piece == "clap":
        hz = c.uniform(800, 1_300) * np.array([1, 1.6, 2.5])
        return resonators(noise * hands(c, take, t), hz, np.full(3, 0.0012), np.ones(3), sample_rate)
    wires = noise * np.exp(-t / (c.uniform(0.06, 0.14) * (0.6 + 0.4 * v)))
    hz = c.uniform(170, 250) * np.array([1, 1.5, 2.3, 3.4]) * c.uniform(0.96, 1.04, 4)
    shell = resonators(wires, hz, np.array([0.04, 0.03, 0.02, 0.01]), c.uniform(0.01, 0.03, 4), sample_rate)
    band = (c.uniform(1_100, 1_700), c.uniform(3_000, 4_500), c.uniform(5_000, 7_000))
    rattle = resonators(wires, np.array(band), np.full(3, 0.0003), np.array([0.1, 0.08, 0.05]) * v, sample_rate)
    return np.tanh(0.8 * (shell + rattle))


# ------------------------------------------------------------------ toms

TOM_HZ = {"tom1": 165.0, "tom2": 125.0, "tom3": 85.0}


def modal_tom(piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """Tom: a swept head with overtones and a stick."""
    f = TOM_HZ[piece] * c.uniform(0.9, 1.15)
    t = times(0.9, sample_rate)
    head = swept(1.35 * f, f, 0.05, c.uniform(0.14, 0.28), t)
    ratios, decay_s = np.array([1.59, 2.14, 2.9, 4.2]), np.array([0.09, 0.07, 0.04, 0.03])
    tones = modes(f * ratios, decay_s, np.array([0.5, 0.4, 0.3, 0.2]), 0.9, sample_rate)
    return head + tones + c.uniform(0.8, 2.0) * v * knock(len(t), 0.006, 700, 4_500, sample_rate, take)


def machine_tom(piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """Drum machine: a falling oscillator and a puff of noise."""
    f = TOM_HZ[piece] * c.uniform(0.85, 1.2)
    t = times(0.8, sample_rate)
    body = swept(c.uniform(1.4, 2.2) * f, f, c.uniform(0.02, 0.07), c.uniform(0.1, 0.25), t)
    puff = knock(len(t), 0.05, 200, 2_500, sample_rate, take) * c.uniform(0.2, 0.5)
    return np.tanh(c.uniform(1, 2.5) * (body + puff + 0.6 * v * knock(len(t), 0.002, 900, 4_500, sample_rate, take)))


def fm_tom(piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """Tom by frequency modulation with a membrane's ratio."""
    f = TOM_HZ[piece] * c.uniform(0.9, 1.15)
    t = times(0.8, sample_rate)
    w = 2 * np.pi * f * (t + 0.01 * (1 - np.exp(-t / 0.04)))
    bend = c.uniform(1, 3) * v * np.exp(-t / c.uniform(0.02, 0.05))
    x = np.sin(w + bend * np.sin(1.59 * w)) * np.exp(-t / c.uniform(0.12, 0.25))
    return np.tanh(1.5 * x) + c.uniform(0.3, 1.0) * v * knock(len(t), 0.01, 500, 3_500, sample_rate, take)


def struck_tom(piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """A stick's burst into the resonances of an ideal membrane (zeros of the Bessel functions)."""
    f = TOM_HZ[piece] * c.uniform(0.9, 1.15)
    t = times(0.9, sample_rate)
    stick = 0.3 * knock(len(t), 0.004, 60, 3_500, sample_rate, take) + 0.5 * (np.arange(len(t)) < 0.002 * sample_rate)
    ratios = np.array([1.0, 1.594, 2.136, 2.296, 2.653, 2.918, 3.6, 4.06])
    decay_s = c.uniform(0.12, 0.25) / ratios**1.2
    x = resonators(stick, f * ratios, decay_s, c.uniform(0.3, 1.0, 8) / ratios**0.5, sample_rate)
    return x / (np.abs(x).max() + 1e-9) + c.uniform(0.15, 0.5) * v * knock(len(t), 0.006, 700, 4_500, sample_rate, take)
