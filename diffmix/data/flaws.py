"""What goes wrong with a recording, one function each: spectral ones as responses, others on samples (float32)."""

from __future__ import annotations

import numpy as np
import scipy  # its parts load when they are used, in training
from numpy.typing import NDArray

from diffmix.data.synthesis import Random

Signal = NDArray[np.float32]

NOISE_DB = (-84.0, -30.0)
"""RMS of the noise floor, dBFS."""

HUM_DB = (-90.0, -40.0)
"""Level of the mains hum, dBFS."""

_UNDER_PEAK_DB = 30.0  # hum and noise keep this far below the peak of what was recorded


# ------------------------------------------------------------------ responses: (f in Hz, rng, strength) -> complex64


def _bell(f: np.ndarray, centre_hz: float, q: float, gain_db: float) -> np.ndarray:
    """An analogue bell: 1 + (g - 1) of a bandpass that peaks with 1; cuts are the inverse of boosts."""
    gain = np.float32(10 ** (abs(gain_db) / 20))
    band = 1 / (1 + 1j * np.float32(q) * (f / np.float32(centre_hz) - np.float32(centre_hz) / f))
    response = 1 + (gain - 1) * band.astype(np.complex64)
    return response if gain_db > 0 else 1 / response


def _shelf(f: np.ndarray, corner_hz: float, gain_db: float, high: bool) -> np.ndarray:
    """A first-order shelf that has half its decibels at the corner."""
    root, s = np.float32(10 ** (gain_db / 40)), (1j * f / np.float32(corner_hz)).astype(np.complex64)
    return (1 + s * root) / (1 + s / root) if high else (root + s) / (1 / root + s)


def tilt(f: np.ndarray, rng: Random, strength: float) -> np.ndarray:
    """Up to ±6 dB from 100 Hz to 10 kHz, a straight line over log frequency around 1 kHz."""
    return (f / np.float32(1_000)) ** np.float32(strength * rng.uniform(-6, 6) / 2 / 20)


def eq(f: np.ndarray, rng: Random, strength: float) -> np.ndarray:
    """A low shelf, a bell and a high shelf of up to ±9 dB each."""
    low, mid, high = strength * rng.triangular(-9, 0, 9, 3)
    centre_hz, q = 2 ** rng.uniform(np.log2(200), np.log2(5_000)), rng.uniform(0.5, 2.0)
    return (
        _shelf(f, 2 ** rng.uniform(np.log2(60), np.log2(300)), low, False)
        * _bell(f, centre_hz, q, mid)
        * _shelf(f, 2 ** rng.uniform(np.log2(2_500), np.log2(10_000)), high, True)
    )


def resonance(f: np.ndarray, rng: Random, strength: float) -> np.ndarray:
    """One to three narrow bells of 3 to 10 dB, most of them boosts."""
    response = np.ones_like(f, dtype=np.complex64)
    for _ in range(int(rng.integers(1, 4))):
        gain_db = strength * rng.uniform(3, 10) * (1 if rng.random() < 0.75 else -1)
        response *= _bell(f, 2 ** rng.uniform(np.log2(100), np.log2(6_000)), rng.uniform(3, 12), gain_db)
    return response


def low_cut(f: np.ndarray, rng: Random, strength: float) -> np.ndarray:
    """A second-order lowcut at 30 to 250 Hz, most often low."""
    corner = np.float32(30 * (250 / 30) ** (strength * rng.random() ** 2))
    s = (1j * f / corner).astype(np.complex64)
    return s * s / (1 + np.float32(1.414) * s + s * s)


def high_cut(f: np.ndarray, rng: Random, strength: float) -> np.ndarray:
    """A second-order highcut at 3.5 to 18 kHz, most often high."""
    s = (1j * f / np.float32(18_000 * (3.5 / 18) ** (strength * rng.random() ** 2))).astype(np.complex64)
    return 1 / (1 + np.float32(1.414) * s + s * s)


def reflections(f: np.ndarray, rng: Random, strength: float) -> np.ndarray:
    """A comb: one or two copies, 0.5 to 12 ms late, as from a table or a wall."""
    response = np.ones_like(f, dtype=np.complex64)
    for _ in range(int(rng.integers(1, 3))):
        late_s, gain = rng.uniform(0.0005, 0.012), strength * rng.uniform(0.35, 0.75)
        response += np.float32(gain) * np.exp((-2j * np.pi * late_s) * f).astype(np.complex64)
    return response


def telephone(f: np.ndarray, rng: Random, strength: float) -> np.ndarray:
    """A band from 150..400 Hz to 3..6 kHz, steep on both sides, as of a telephone or a low-rate codec."""
    low_hz = np.float32(rng.uniform(150, 400) * strength + 1)
    high_hz = np.float32(rng.uniform(3_000, 6_000) / strength)
    return 1 / np.sqrt((1 + (low_hz / f) ** 8) * (1 + (f / high_hz) ** 12))


def polarity(f: np.ndarray, rng: Random, strength: float) -> np.ndarray:
    """Minus one."""
    return np.full(1, -1, dtype=np.complex64)


def offset(f: np.ndarray, rng: Random, strength: float) -> np.ndarray:
    """Up to 8 ms of delay: the distance of the microphone."""
    return np.exp((-2j * np.pi * strength * rng.uniform(0.0003, 0.008)) * f).astype(np.complex64)


# ------------------------------------------------------------------ changes: (x (C, T), sample rate, rng, strength)


def add_room(x: Signal, sample_rate: int, rng: Random, strength: float) -> Signal:
    """A small room: decaying noise of 0.12 to 0.5 s behind the sound, 30 to 8 dB below it."""
    decay_s, wet = rng.uniform(0.12, 0.5), strength * 10 ** (rng.uniform(-30, -8) / 20)
    t = np.arange(int(decay_s * sample_rate), dtype=np.float32) / np.float32(sample_rate)
    response = rng.standard_normal((len(x), len(t)), dtype=np.float32) * np.exp(-6.9 * t / np.float32(decay_s))
    response = scipy.signal.lfilter([0.45], [1, -0.55], response, axis=-1).astype(np.float32)
    response /= np.sqrt((response**2).sum(axis=-1, keepdims=True))
    wait = int(rng.uniform(0.002, 0.012) * sample_rate)
    length = scipy.fft.next_fast_len(x.shape[1] + len(t) + wait, real=True)
    spectrum = scipy.fft.rfft(x, length, axis=-1)
    tail = scipy.fft.irfft(spectrum * scipy.fft.rfft(response, length, axis=-1), length, axis=-1)
    y = x.copy()
    y[:, wait:] += np.float32(wet) * tail[:, : x.shape[1] - wait]
    return y


def compression(x: Signal, sample_rate: int, rng: Random, strength: float) -> Signal:
    """A compressor on the way in: 2:1 to 8:1 above a threshold 6 to 24 dB below the peak, 60 to 300 ms release."""
    hop = max(sample_rate // 500, 1)  # 2 ms
    frames = -(-x.shape[1] // hop)
    level = np.abs(np.pad(x, ((0, 0), (0, frames * hop - x.shape[1])))).max(axis=0).reshape(frames, hop).max(axis=1)
    level_db = 20 * np.log10(level + 1e-6)
    threshold_db = 20 * np.log10(np.abs(x).max() + 1e-6) - rng.uniform(6, 24)
    slope = strength * (1 - 1 / rng.uniform(2, 8))
    reduction = slope * np.maximum(level_db - threshold_db, 0)
    fall_db = 8.7 * 0.002 / rng.uniform(0.06, 0.3) * max(float(reduction.max()), 1.0)  # per frame
    ramp = fall_db * np.arange(frames)
    held = np.maximum.accumulate(reduction + ramp) - ramp  # rises at once, falls along a line
    gain = 10 ** (-scipy.signal.lfilter([0.3], [1, -0.7], held) / 20)
    centre = (np.arange(frames) + 0.5) * hop
    return x * np.interp(np.arange(x.shape[1]), centre, gain).astype(np.float32)


def drive(x: Signal, sample_rate: int, rng: Random, strength: float) -> Signal:
    """Saturation: tanh with up to 14 dB of gain into it, the peak kept."""
    peak, push = np.abs(x).max(), np.float32(1 + 4 * strength * rng.random() ** 1.5)
    return np.tanh(push * x / peak) * (peak / np.tanh(push))


def tape(x: Signal, sample_rate: int, rng: Random, strength: float) -> Signal:
    """A worn tape machine: the speed wanders by up to 0.4 %, the treble is dull, loud passages saturate unevenly."""
    n = np.arange(x.shape[1])
    late = np.zeros(len(n))
    for low_hz, high_hz, depth in ((0.4, 2.0, 0.003), (5.0, 12.0, 0.001)):
        rate_hz, size = rng.uniform(low_hz, high_hz), strength * depth * rng.uniform(0.3, 1)
        swing = size * sample_rate / (2 * np.pi * rate_hz)
        late += swing * (1 + np.sin(2 * np.pi * rate_hz / sample_rate * n + rng.uniform(0, 6)))
    moved = np.stack([np.interp(n - late, n, channel) for channel in x])
    corner = np.exp(-2 * np.pi * rng.uniform(5_000, 11_000) / sample_rate)
    dull = scipy.signal.lfilter([1 - corner], [1, -corner], moved, axis=-1)
    peak, push, lean = np.abs(x).max() + 1e-9, 0.5 + 2 * strength * rng.random(), 0.2 * rng.random()
    y = np.tanh(push * (dull / peak + lean)) - np.tanh(push * lean)
    return (y * peak / np.tanh(push)).astype(np.float32)


def clipping(x: Signal, sample_rate: int, rng: Random, strength: float) -> Signal:
    """Hard clipping 1 to 9 dB below the peak."""
    ceiling = np.abs(x).max() * np.float32(10 ** (-strength * rng.uniform(1, 9) / 20))
    return np.clip(x, -ceiling, ceiling)


def dual_mono(x: Signal, sample_rate: int, rng: Random, strength: float) -> Signal:
    """A stereo file with twice the same."""
    return np.repeat(x.mean(axis=0, keepdims=True), 2, axis=0)


def mono(x: Signal, sample_rate: int, rng: Random, strength: float) -> Signal:
    """One channel: the mean of both."""
    return x.mean(axis=0, keepdims=True)


def stereo(x: Signal, sample_rate: int, rng: Random, strength: float) -> Signal:
    """A wide pair out of one channel, its late copy as side signal (Lauridsen 1954); up to 6 dB off centre as well."""
    middle = x.mean(axis=0)
    late, width = int(rng.uniform(0.0005, 0.014) * sample_rate), np.float32(rng.uniform(0.2, 0.9))
    side = width * np.pad(middle, (late, 0))[: len(middle)]
    lean = np.float32(10 ** (rng.uniform(-3, 3) * strength / 20))
    return np.stack([(middle + side) * lean, (middle - side) / lean])


def bitcrush(x: Signal, sample_rate: int, rng: Random, strength: float) -> Signal:
    """A sampler of old: 5 to 9 bits, and every second to fourth sample held."""
    steps = np.float32(2 ** (rng.uniform(5, 9) / strength - 1))
    peak, hold = np.abs(x).max() + np.float32(1e-9), int(rng.integers(2, 5))
    held = np.repeat(x[:, ::hold], hold, axis=1)[:, : x.shape[1]]
    return np.round(held / peak * steps) * (peak / steps)


def _under(x: Signal, level_db: float) -> np.float32:
    """A level as a gain, lowered to stay `_UNDER_PEAK_DB` below the peak of what sounds."""
    peak = float(np.abs(x).max())
    return np.float32(min(10 ** (level_db / 20), peak * 10 ** (-_UNDER_PEAK_DB / 20) if peak > 0 else np.inf))


def hum(x: Signal, sample_rate: int, rng: Random, strength: float) -> Signal:
    """The mains of 50 or 60 Hz with harmonics, -90 to -40 dBFS, 30 dB lower towards strength 0."""
    mains_hz, level_db = rng.choice([50.0, 60.0]), rng.uniform(*HUM_DB) - 30 * (1 - strength)
    period = round(sample_rate / 10)  # both frequencies repeat in a tenth of a second
    phase = 2 * np.pi * mains_hz * np.arange(period) / (10 * period)
    weights = rng.uniform(0.2, 1, 5) / np.array([1, 2, 3, 5, 7])
    wave = sum(w * np.sin(k * phase + rng.uniform(0, 6)) for w, k in zip(weights, (1, 2, 3, 5, 7), strict=True))
    repeats = -(-x.shape[1] // period)
    return x + _under(x, level_db) * np.tile(wave, repeats)[: x.shape[1]].astype(np.float32)


def noise(x: Signal, sample_rate: int, rng: Random, strength: float) -> Signal:
    """The hiss of preamplifier and room, -84 to -30 dBFS, most often low; 30 dB lower towards strength 0."""
    low_db, high_db = NOISE_DB
    level_db = low_db + (high_db - low_db) * rng.random() ** 2 - 30 * (1 - strength)
    hiss = rng.standard_normal(x.shape, dtype=np.float32)
    if rng.random() < 0.5:  # rumbling rooms are darker than preamplifiers; RMS 1 again
        hiss = scipy.signal.lfilter([np.float32(0.6)], np.array([1, -0.8], np.float32), hiss, axis=-1)
    return x + _under(x, level_db) * hiss
