"""Building blocks of the procedural instruments: seeded streams, modes, plucked strings, saws, filters, rooms.

Everything is NumPy and SciPy, mono, float64, and depends on its arguments only.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy  # its parts load when they are used, which they are not where only numbers are drawn
from numpy.typing import NDArray

Samples = NDArray[np.float64]
Random = np.random.Generator


def stream(*key: int | str) -> Random:
    """A random generator that depends on `key` alone: numbers >= 0 and words, e.g. `stream(seed, "bass", "notes")`."""
    words = [_word(k) for k in key]
    halves = [half for word in words for half in (word % 2**32, word // 2**32)]
    # SeedSequence ignores zeros at the end, so the length goes first: (3,) and (3, 0) differ
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([len(key), *halves])))


def _word(key: int | str) -> int:
    """FNV-1a, 64 bit (Fowler, Noll, Vo 1991): Python's own hash of a text differs between processes."""
    if not isinstance(key, str):
        return int(key)
    value = 0xCBF29CE484222325
    for byte in key.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def between(rng: Random, low: float, high: float) -> float:
    """A draw between two positive ends, evenly in their ratio."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def times(seconds: float, sample_rate: int) -> Samples:
    """The sample times 0, 1/sample_rate, ... below `seconds`."""
    return np.arange(max(int(seconds * sample_rate), 1)) / sample_rate


def modes(frequency_hz: Samples, decay_s: Samples, amplitude: Samples, seconds: float, sample_rate: int) -> Samples:
    """Sum of decaying sines, aₖ sin(2πfₖt) exp(−t/τₖ); those above 0.45 · sample_rate are left out.

    With the complex pole q of each mode, q^(iB+j) = (q^B)^i · q^j turns T·K sines into two real matrix products.
    Shape: three (K,) arrays to (T,).
    """
    audible = frequency_hz < 0.45 * sample_rate
    length = max(int(seconds * sample_rate), 1)
    if not audible.any():
        return np.zeros(length)
    exponent = (2j * np.pi * frequency_hz[audible] - 1 / decay_s[audible]) / sample_rate
    block = int(np.ceil(np.sqrt(length)))
    rows = max(200_000 // (block * len(exponent)), 1)  # products so small that BLAS starts no threads for them
    starts = block * np.arange(-(-length // (block * rows)) * rows)
    outer = (amplitude[audible] * np.exp(np.outer(starts, exponent))).reshape(-1, rows, len(exponent))
    inner = np.exp(np.outer(exponent, np.arange(block)))
    return (outer.real @ inner.imag + outer.imag @ inner.real).ravel()[:length]


def pluck(
    frequency_hz: float,
    seconds: float,
    sample_rate: int,
    rng: Random,
    *,
    decay_s: float,
    damping_hz: float,
    brightness_hz: float,
    position: float,
) -> Samples:
    """A plucked string (Karplus and Strong 1983; Jaffe and Smith 1983), solved in the frequency domain.

    The string is y = x · (1 − z^−βP) / (1 − g z^−P): P samples per period, plucked at `position` β in (0, 0.5] by one
    period of noise x below `brightness_hz`. The loop gain g(f) lets the partial at f fall by 60 dB in
    `decay_s` / (1 + f / `damping_hz`) seconds. All is evaluated on the circle |z| = ρ > 1, where ρ^−T = 10⁻³ keeps what
    would wrap around 60 dB below an already decayed tail; a fractional P needs no interpolation there.
    """
    period = sample_rate / frequency_hz
    length = scipy.fft.next_fast_len(max(int(seconds * sample_rate), int(2 * period) + 1), real=True)
    growth = 3 * np.log(10) / length  # ln ρ
    k = np.arange(length // 2 + 1)
    f = k * (sample_rate / length)
    burst = np.pad(rng.uniform(-1, 1, int(period) + 1), (0, int(period)))
    burst -= np.roll(burst, round(position * period))
    excitation = scipy.fft.rfft(burst * np.exp(-growth * np.arange(len(burst))), length)
    excitation /= (1 + 1j * f / brightness_hz) ** 2
    excitation *= np.cos(np.pi * k / length) ** 2  # zero at Nyquist: a fractional delay is acausal only up there
    gain = 10 ** (-3 * (1 + f / damping_hz) / (frequency_hz * decay_s) - growth * period / np.log(10))
    loop = gain * np.exp((-2j * np.pi * period / length) * k)
    y = scipy.fft.irfft(excitation / (1 - loop), length) * np.exp(growth * np.arange(length))
    return y[: int(seconds * sample_rate)]


def saw(phase: Samples, step: Samples | float) -> Samples:
    """Sawtooth in ±1 of `phase` in cycles, its jumps smoothed by PolyBLEP (Välimäki and Huovilainen 2007).

    `step` is the phase per sample, a number or one per sample.
    """
    p = phase - np.floor(phase)
    y = 2 * p - 1
    rise, fall = np.flatnonzero(p < step), np.flatnonzero(p > 1 - step)
    steps = np.broadcast_to(step, p.shape)
    y[rise] -= 2 * (t := p[rise] / steps[rise]) - t * t - 1
    y[fall] -= (t := (p[fall] - 1) / steps[fall]) * t + 2 * t + 1
    return y


def lowpass(x: Samples, cutoff_hz: float, sample_rate: int, order: int = 2) -> Samples:
    """Butterworth lowpass of a signal (..., T)."""
    return scipy.signal.sosfilt(_butter("low", (_limit(cutoff_hz, sample_rate),), sample_rate, order), x)


def highpass(x: Samples, cutoff_hz: float, sample_rate: int, order: int = 2) -> Samples:
    """Butterworth highpass of a signal (..., T)."""
    return scipy.signal.sosfilt(_butter("high", (_limit(cutoff_hz, sample_rate),), sample_rate, order), x)


def bandpass(x: Samples, low_hz: float, high_hz: float, sample_rate: int, order: int = 1) -> Samples:
    """Butterworth bandpass of a signal (..., T)."""
    band = (_limit(low_hz, sample_rate, 0.4), _limit(high_hz, sample_rate))
    return scipy.signal.sosfilt(_butter("band", band, sample_rate, order), x)


def _limit(frequency_hz: float, sample_rate: int, top: float = 0.47) -> float:
    return min(round(frequency_hz, 1), top * sample_rate)


@lru_cache(1024)
def _butter(kind: str, cutoff_hz: tuple[float, ...], sample_rate: int, order: int) -> NDArray[np.float64]:
    return scipy.signal.butter(
        order, cutoff_hz if len(cutoff_hz) > 1 else cutoff_hz[0], kind, fs=sample_rate, output="sos"
    )


def room(x: Samples, decay_s: float, sample_rate: int, rng: Random, channels: int = 1) -> Samples:
    """The sound of a small room without the direct sound: exponentially decaying noise, duller with time.

    Shape: x (T,) to (channels, T); the impulse response has unit energy and starts after 2 to 10 ms.
    """
    t = times(1.2 * decay_s, sample_rate)
    noise = rng.standard_normal((channels, len(t)))
    dull = lowpass(noise, 2_500, sample_rate, 1)
    early = np.exp(-t / (0.05 * decay_s))
    response = (early * noise + (1 - early) * dull) * np.exp(-6.9 * t / decay_s)
    response /= np.sqrt((response**2).sum(axis=-1, keepdims=True))
    wait = int(rng.uniform(0.002, 0.010) * sample_rate)
    wet = scipy.signal.oaconvolve(x[None], response, axes=-1)[:, : len(x)]
    return np.pad(wet, ((0, 0), (wait, 0)))[:, : len(x)]


def smooth(x: Samples, time_s: float, sample_rate: int) -> Samples:
    """One-pole smoothing with the time constant `time_s`, started at the first value."""
    pole = np.exp(-1 / (time_s * sample_rate))
    return scipy.signal.lfilter([1 - pole], [1, -pole], x, zi=[pole * x[0]])[0]


def place(buffer: Samples, x: Samples, start: int) -> None:
    """Add `x` to `buffer` (both (..., T)) from sample `start` on, cut at the end."""
    end = min(start + x.shape[-1], buffer.shape[-1])
    if end > start:
        buffer[..., start:end] += x[..., : end - start]
