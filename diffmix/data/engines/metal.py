"""Hi-hats, cymbals and percussion: bronze as modes, as square waves, by frequency modulation and as bands of noise.

Strokes have the form described in `membranes`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffmix.data.engines.instrument import knock
from diffmix.data.engines.membranes import resonators, swept
from diffmix.data.synthesis import Random, Samples, bandpass, highpass, lowpass, modes, saw, times

Metal = Callable[[Random, Random, float, float, float, int], Samples]
"""metal(c, take, low_hz, high_hz, seconds, sample_rate): undamped metal between two frequencies, RMS about 1."""

_SECONDS = {"hat": 0.25, "open": 1.2, "crash": 2.5, "ride": 1.6, "tambourine": 0.35}


def _plates(c: Random, take: Random, low_hz: float, high_hz: float, seconds: float, sample_rate: int) -> Samples:
    """Bronze: 120 modes, dense towards the top, the high ones dying first; every stroke finds other phases."""
    hz = low_hz * (high_hz / low_hz) ** np.sort(c.beta(2.0, 1.4, 120))
    tau_s = 1.6 * (hz / low_hz) ** -0.3 * c.uniform(0.5, 1.5, 120)
    return modes(hz, tau_s, (hz / 3_000) ** 0.1 * take.standard_normal(120), seconds, sample_rate) / 8


def _squares(c: Random, take: Random, low_hz: float, high_hz: float, seconds: float, sample_rate: int) -> Samples:
    """Six square waves without a common pitch, as in drum machines."""
    n = np.arange(int(seconds * sample_rate))
    x = np.zeros(len(n))
    for f in low_hz * c.uniform(0.35, 1.6, 6):
        phase = f / sample_rate * n + take.random()
        x += saw(phase, f / sample_rate) - saw(phase + 0.5, f / sample_rate)
    return 0.7 * bandpass(x, low_hz, high_hz, sample_rate)


def _modulated(c: Random, take: Random, low_hz: float, high_hz: float, seconds: float, sample_rate: int) -> Samples:
    """Frequency modulation at irrational ratios: two pairs whose sidebands fill the band."""
    t = times(seconds, sample_rate)
    x = np.zeros(len(t))
    for _ in range(2):
        centre_hz, w = np.sqrt(low_hz * high_hz) * c.uniform(0.6, 1.2), 2 * np.pi * c.uniform(300, 900) * t
        inner = np.sin(2.414 * w + take.uniform(0, 6)) * c.uniform(1, 3)
        x += np.sin(2 * np.pi * centre_hz * t + c.uniform(3, 7) * np.sin(w + inner))
    return bandpass(x, low_hz, high_hz, sample_rate)


def _bands(c: Random, take: Random, low_hz: float, high_hz: float, seconds: float, sample_rate: int) -> Samples:
    """Noise in resonant bands, each dying at its own speed."""
    t = times(seconds, sample_rate)
    noise, x = take.standard_normal(len(t)), np.zeros(len(t))
    for hz in low_hz * (high_hz / low_hz) ** c.uniform(0.15, 0.95, 6):
        x += c.uniform(0.4, 1) * bandpass(noise, 0.85 * hz, 1.15 * hz, sample_rate) * np.exp(-t / c.uniform(0.4, 1.6))
    return 1.5 * x


def _cymbal(metal: Metal, noisy: float) -> Callable[..., Samples]:
    """The strokes of hats and cymbals from one kind of metal and a share of plain noise."""

    def stroke(piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
        seconds = _SECONDS[piece]
        t = times(seconds, sample_rate)
        stick = knock(len(t), 0.003, 2_000, 7_000, sample_rate, take)
        noise = take.standard_normal(len(t))
        if piece in ("hat", "open"):
            decay_s = (0.035 if piece == "hat" else 0.28) * c.uniform(0.6, 1.6)
            top_hz, low_hz = c.uniform(8_000, 14_000) * (0.8 + 0.4 * v), c.uniform(1_200, 3_500)
            x = metal(c, take, 1_500, 14_000, seconds, sample_rate)
            x = x + noisy * bandpass(noise, 3_500, 9_500, sample_rate) + 0.4 * v * stick
            x *= np.exp(-t / decay_s) * (1 - np.exp(-t / 0.0007))
            return highpass(lowpass(x, top_hz, sample_rate, 1), low_hz, sample_rate)
        if piece == "crash":
            x = metal(c, take, 350, 11_000, seconds, sample_rate) * (1 - 0.8 * np.exp(-t / 0.02))
            wash = bandpass(noise * np.exp(-t / 0.5), 2_000, 8_000, sample_rate)
            x = (x + noisy * (0.4 + v) * wash) * np.exp(-t / c.uniform(0.5, 1.2))
            return lowpass(x, c.uniform(6_000, 11_000), sample_rate, 1)
        ping = modes(c.uniform(1_800, 4_800, 5), c.uniform(0.05, 0.3, 5), np.full(5, 0.3), seconds, sample_rate)
        x = 0.5 * v * metal(c, take, 350, 10_000, seconds, sample_rate) * np.exp(-t / c.uniform(0.4, 0.9))
        return lowpass(x + ping + stick, c.uniform(5_500, 10_000), sample_rate, 1)

    return stroke


plate_hat = plate_cymbal = _cymbal(_plates, 0.4)
square_hat = square_cymbal = _cymbal(_squares, 0.15)
fm_hat = fm_cymbal = _cymbal(_modulated, 0.5)
band_hat = band_cymbal = _cymbal(_bands, 0.1)


# ------------------------------------------------------------------ percussion

HAND_HZ = {"conga1": 330.0, "conga2": 220.0, "bongo": 440.0}


def modal_percussion(piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """Skins and jingles as modes, grains that swell and stop."""
    if piece in HAND_HZ:
        f = HAND_HZ[piece] * c.uniform(0.88, 1.12)
        ratios, decay_s = np.array([1.0, 1.51, 2.0, 2.61]), np.array([0.12, 0.06, 0.05, 0.03]) * c.uniform(0.7, 1.5)
        skin = modes(f * ratios, decay_s, np.array([1, 0.55, 0.4, 0.3]), 0.45, sample_rate)
        return skin + 0.8 * v * knock(len(skin), 0.006, 800, 4_000, sample_rate, take)
    if piece == "shaker":
        t = times(0.14, sample_rate)
        grains = take.standard_normal(len(t)) * (take.random(len(t)) < 0.25) * swell(t)
        return bandpass(grains, c.uniform(2_800, 4_500), c.uniform(6_000, 8_000), sample_rate)
    if piece == "cowbell":
        hz = c.uniform(500, 620) * np.array([1, 1.48, 2.9, 4.1, 5.6])
        return modes(hz, c.uniform(0.04, 0.12, 5), np.array([1, 0.9, 0.5, 0.3, 0.2]), 0.4, sample_rate)
    jingles = modes(
        c.uniform(3_000, 9_000, 40), c.uniform(0.03, 0.14, 40), take.standard_normal(40) / 6, 0.35, sample_rate
    )
    return jingles + 0.5 * knock(len(jingles), 0.03, 2_500, 7_500, sample_rate, take)


def swell(t: Samples) -> Samples:
    """The envelope of a shaker's stroke."""
    return (t / 0.03) ** 1.5 * np.exp(1.5 * (1 - t / 0.03)) * np.exp(-t / 0.05)


def machine_percussion(piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """Drum machine: oscillators and filtered noise."""
    if piece in HAND_HZ:
        f = HAND_HZ[piece] * c.uniform(0.88, 1.12)
        t = times(0.4, sample_rate)
        tick = knock(len(t), 0.002, 800, 5_000, sample_rate, take)
        return np.tanh(1.5 * swept(1.3 * f, f, 0.01, c.uniform(0.06, 0.14), t) + 0.7 * v * tick)
    if piece == "cowbell":
        t = times(0.4, sample_rate)
        pair = (saw(f * t, f / sample_rate) - saw(f * t + 0.5, f / sample_rate) for f in (c.uniform(520, 580), 800.0))
        ring = 0.6 * np.exp(-t / 0.012) + 0.4 * np.exp(-t / c.uniform(0.06, 0.12))
        return bandpass(sum(pair) * ring, 600, 3_500, sample_rate)
    t = times(0.14 if piece == "shaker" else 0.3, sample_rate)
    shape = swell(t) if piece == "shaker" else np.exp(-t / c.uniform(0.03, 0.09))
    return bandpass(
        take.standard_normal(len(t)) * shape, c.uniform(2_500, 4_500), c.uniform(6_000, 9_000), sample_rate, 2
    )


def fm_percussion(piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """Percussion by frequency modulation, with noise as the modulator of what rattles."""
    t = times(0.35, sample_rate)
    if piece in HAND_HZ or piece == "cowbell":
        f, ratio = (HAND_HZ.get(piece, 560.0) * c.uniform(0.88, 1.12), 1.48 if piece == "cowbell" else 1.51)
        w = 2 * np.pi * f * t
        bend = c.uniform(1, 2.5) * v * np.exp(-t / 0.03) + (0.8 if piece == "cowbell" else 0.0)
        x = np.sin(w + bend * np.sin(ratio * w)) * np.exp(-t / c.uniform(0.05, 0.12))
        return x + 0.4 * v * knock(len(t), 0.005, 700, 3_500, sample_rate, take)
    shape = swell(t) if piece == "shaker" else np.exp(-t / c.uniform(0.03, 0.09))
    rattle = np.sin(2 * np.pi * c.uniform(4_000, 6_000) * t + 4 * take.standard_normal(len(t)))
    return bandpass(rattle * shape, c.uniform(2_500, 4_000), c.uniform(6_000, 9_000), sample_rate)


def grain_percussion(piece: str, c: Random, take: Random, v: float, sample_rate: int) -> Samples:
    """Colliding particles (Cook 1997): random impacts that thin out, into the resonances of what they hit."""
    t = times(0.35, sample_rate)
    if piece in HAND_HZ or piece == "cowbell":
        f = HAND_HZ.get(piece, 560.0) * c.uniform(0.88, 1.12)
        ratios = np.array([1.0, 1.51, 2.5]) if piece != "cowbell" else np.array([1, 1.48, 2.9])
        hit = take.standard_normal(len(t)) * np.exp(-t / 0.003)
        tau_s = c.uniform(0.04, 0.1) / ratios
        x = resonators(hit, f * ratios, tau_s, np.array([1, 0.8, 0.6]), sample_rate)
        return x / (np.abs(x).max() + 1e-9) + 0.5 * v * knock(len(t), 0.005, 900, 4_000, sample_rate, take)
    shape = swell(t) if piece == "shaker" else np.exp(-t / c.uniform(0.03, 0.08))
    impacts = take.standard_normal(len(t)) * (take.random(len(t)) < 1_500 * shape / sample_rate)
    hz = c.uniform(2_800, 6_500, 3)
    return highpass(resonators(impacts, hz, np.full(3, 0.0008), np.ones(3), sample_rate), 1_000, sample_rate)
