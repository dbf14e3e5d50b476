"""Procedural singers: parallel formants, a vocal tract in cascade, and harmonics drawn under the formants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import fft, signal

from diffmix.data.synthesis import Random, Samples, bandpass, highpass, lowpass, saw, smooth


class Syllable(NamedTuple):
    """One sung note: start and duration in seconds, frequency, velocity, vowel (a key of `VOWELS`) and consonant."""

    start_s: float
    held_s: float
    frequency_hz: float
    velocity: float
    vowel: str
    fricative: float


Sing = Callable[[Sequence[Syllable], int, float, int, Random], Samples]
"""sing(line, length, scale, sample_rate, generator) -> (length,); `scale` stretches formants: 1 tenor, 1.17 soprano."""

VOWELS = {
    "a": (750, 1_200, 2_600, 3_500, 4_600),
    "e": (480, 1_900, 2_550, 3_500, 4_600),
    "i": (300, 2_250, 3_000, 3_600, 4_700),
    "o": (460, 850, 2_500, 3_400, 4_500),
    "u": (330, 800, 2_350, 3_300, 4_500),
}
"""Formant frequencies in Hz of a tenor (after Peterson and Barney 1952)."""


class Course(NamedTuple):
    """A line as signals: cycles of the voice and their step per sample, loudness, each vowel's share, fricatives."""

    phase: Samples
    step: Samples
    loud: Samples
    vowels: dict[str, Samples]
    hiss: Samples


def course_of(line: Sequence[Syllable], length: int, sample_rate: int, rng: Random) -> Course:
    """Glides, vibrato that comes late, small errors of pitch, swells, vowels that melt into each other."""
    t = np.arange(length) / sample_rate
    pitch, loud = np.full(length, np.log(line[0].frequency_hz)), np.zeros(length)
    weight = {vowel: np.zeros(length) for vowel in sorted({s.vowel for s in line})}
    age, hiss = np.zeros(length), np.zeros(length)
    for n, s in enumerate(line):
        a, b = int(s.start_s * sample_rate), min(int((s.start_s + s.held_s) * sample_rate), length)
        end = min(int(line[n + 1].start_s * sample_rate), length) if n + 1 < len(line) else length
        if a >= length:
            break
        pitch[a:end] = np.log(s.frequency_hz)
        accent = s.velocity * 10 ** (rng.normal(0, 3) / 20)
        loud[a:b] = accent * (0.6 + 0.4 * np.exp(-t[: b - a] / 0.15)) * (0.85 + 0.3 * np.hanning(b - a + 2)[1:-1])
        age[a:b] = t[: b - a]
        for vowel, w in weight.items():
            w[a:end] = vowel == s.vowel
        before = int(s.fricative * sample_rate)
        if before and a > before:
            hiss[a - before : a] += s.velocity * np.hanning(before)
    pitch = smooth(pitch, 0.025, sample_rate)
    wobble = smooth(rng.standard_normal(length), 0.03, sample_rate) * 0.12
    vibrato = rng.uniform(0.006, 0.014) * np.clip((age - 0.2) / 0.4, 0, 1) * np.sin(2 * np.pi * rng.uniform(5, 6) * t)
    step = np.exp(pitch + vibrato + wobble * 0.06) / sample_rate
    loud = smooth(smooth(loud, 0.02, sample_rate), 0.02, sample_rate)
    vowels = {vowel: smooth(w, 0.03, sample_rate) for vowel, w in weight.items()}
    return Course(np.cumsum(step), step, loud, vowels, hiss)


def finish(y: Samples, hiss: Samples, sample_rate: int, rng: Random) -> Samples:
    """Add the fricatives to the vowels, which then peak near 1."""
    y = y / (np.abs(y).max() + 1e-9)
    if hiss.any():
        low_hz, high_hz = rng.uniform(3_500, 5_000), rng.uniform(7_500, 9_500)
        y = y + rng.uniform(0.2, 0.5) * hiss * bandpass(rng.standard_normal(len(y)), low_hz, high_hz, sample_rate, 2)
    return highpass(y, 80, sample_rate)


def parallel_voice(line: Sequence[Syllable], length: int, scale: float, sample_rate: int, rng: Random) -> Samples:
    """A glottal saw and breath through formants in parallel (Klatt 1980), in the frequency domain."""
    course = course_of(line, length, sample_rate, rng)
    source = lowpass(saw(course.phase, course.step), rng.uniform(2_500, 6_000), sample_rate, 1)
    breath = highpass(rng.standard_normal(length), 1_500, sample_rate, 1) * rng.uniform(0.06, 0.25)
    padded = fft.next_fast_len(length + sample_rate // 20, real=True)
    spectrum = fft.rfft((source + breath) * course.loud, padded)
    f, coarse = fft.rfftfreq(padded, 1 / sample_rate), np.linspace(0, sample_rate / 2, 4_097)
    y = np.zeros(length)
    for vowel, share in course.vowels.items():
        response = np.interp(f, coarse, formants(VOWELS[vowel], scale, coarse))
        y += share * fft.irfft(spectrum * response, padded)[:length]
    return finish(y, course.hiss, sample_rate, rng)


def formants(
    centres_hz: Sequence[float], scale: float, f: Samples, fall: float = 0.75, wide: float = 1.0, floor: float = 0.04
) -> np.ndarray:
    """Parallel resonances, each a little weaker (by `fall`) and wider than the one below, over a constant `floor`."""
    response = np.full(len(f), floor + 0j)
    for k, centre in enumerate(centres_hz):
        width_hz = wide * (70 + 35 * k)
        pole = 1j * np.maximum(f, 1.0)
        resonance = (width_hz * pole) / (pole**2 + width_hz * pole + (centre * scale) ** 2)
        response += (-1) ** k * fall**k * resonance
    return response


def cascade_voice(line: Sequence[Syllable], length: int, scale: float, sample_rate: int, rng: Random) -> Samples:
    """Rounded glottal pulses (Rosenberg 1971) with aspiration, through a tract of resonators one after the other."""
    course = course_of(line, length, sample_rate, rng)
    open_, closing = rng.uniform(0.4, 0.6), rng.uniform(0.08, 0.2)
    p = course.phase % 1
    pulse = np.where(p < open_, 0.5 - 0.5 * np.cos(np.pi * p / open_), np.cos(0.5 * np.pi * (p - open_) / closing))
    pulse = np.where(p < open_ + closing, pulse, 0.0)
    flow = np.diff(pulse, prepend=0.0) / course.step / 8  # the lips radiate the derivative
    aspiration = rng.uniform(0.1, 0.4) * rng.standard_normal(length) * (0.3 + pulse)
    source = lowpass((flow + aspiration) * course.loud, 9_000, sample_rate, 1)
    y = np.zeros(length)
    for vowel, share in course.vowels.items():
        sections = []
        for k, centre in enumerate(VOWELS[vowel]):
            width_hz = 80 + 45 * k
            radius, turn = np.exp(-np.pi * width_hz / sample_rate), 2 * np.pi * centre * scale / sample_rate
            a1, a2 = -2 * radius * np.cos(turn), radius**2
            sections.append([1 + a1 + a2, 0, 0, 1, a1, a2])  # unity at 0 Hz
        y += share * signal.sosfilt(np.array(sections), source)
    return finish(y, course.hiss, sample_rate, rng)


def harmonic_voice(line: Sequence[Syllable], length: int, scale: float, sample_rate: int, rng: Random) -> Samples:
    """Harmonics whose strengths follow the formants as the pitch moves, and a whisper with the same envelope."""
    course = course_of(line, length, sample_rate, rng)
    hop = sample_rate // 100
    at = np.arange(0, length, hop)
    f0, tilt = course.step[at] * sample_rate, rng.uniform(0.8, 1.2)
    most = max(min(int(8_000 / f0.max()), 32), 4)
    frequency = f0[:, None] * np.arange(1, most + 1)
    gain = np.zeros(frequency.shape)
    for vowel, share in course.vowels.items():
        peaks = sum(
            0.85**k / (1 + ((frequency - centre * scale) / (90 + 50 * k)) ** 2)
            for k, centre in enumerate(VOWELS[vowel])
        )
        gain += share[at, None] * (0.06 + peaks)
    gain *= np.arange(1, most + 1) ** -tilt * course.loud[at, None]
    z = np.exp(2j * np.pi * course.phase).astype(np.complex64)
    power, y = np.ones_like(z), np.zeros(length)
    for k in range(most):
        power *= z
        y += np.interp(np.arange(length), at, gain[:, k]) * power.imag
    whisper = bandpass(rng.standard_normal(length), 1_200, 8_000, sample_rate) * course.loud
    return finish(y / (np.abs(y).max() + 1e-9) + rng.uniform(0.03, 0.1) * whisper, course.hiss, sample_rate, rng)
