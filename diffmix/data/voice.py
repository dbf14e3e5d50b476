"""A procedural singer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import fft

from diffmix.data.synthesis import Random, Samples, bandpass, highpass, lowpass, saw, smooth


class Syllable(NamedTuple):
    """One sung note: start and duration in seconds, frequency, velocity, vowel (a key of `VOWELS`) and consonant."""

    start_s: float
    held_s: float
    frequency_hz: float
    velocity: float
    vowel: str
    fricative: float


VOWELS = {
    "a": (750, 1_200, 2_600, 3_500, 4_600),
    "e": (480, 1_900, 2_550, 3_500, 4_600),
    "i": (300, 2_250, 3_000, 3_600, 4_700),
    "o": (460, 850, 2_500, 3_400, 4_500),
    "u": (330, 800, 2_350, 3_300, 4_500),
}
"""Formant frequencies in Hz of a tenor (after Peterson and Barney 1952)."""


def sing(line: Sequence[Syllable], length: int, scale: float, sample_rate: int, rng: Random) -> Samples:
    """A voice by formant synthesis (Klatt 1980): a glottal saw with glides and vibrato, vowels that melt into each
    other, breath and fricatives. `scale` stretches the formants (1 tenor, 1.17 soprano). Returns (T,)."""
    t = np.arange(length) / sample_rate
    pitch, loud = np.full(length, np.log(line[0].frequency_hz)), np.zeros(length)
    weight = {vowel: np.zeros(length) for vowel in sorted({s.vowel for s in line})}
    age = np.zeros(length)
    hiss = np.zeros(length)
    for n, s in enumerate(line):
        a, b = int(s.start_s * sample_rate), min(int((s.start_s + s.held_s) * sample_rate), length)
        end = min(int(line[n + 1].start_s * sample_rate), length) if n + 1 < len(line) else length
        if a >= length:
            break
        pitch[a:end] = np.log(s.frequency_hz)
        loud[a:b] = s.velocity * (0.85 + 0.3 * np.hanning(b - a + 2)[1:-1])
        age[a:b] = t[: b - a]
        for vowel, w in weight.items():
            w[a:end] = vowel == s.vowel
        before = int(s.fricative * sample_rate)
        if before and a > before:
            hiss[a - before : a] += s.velocity * np.hanning(before)
    pitch = smooth(pitch, 0.025, sample_rate)
    wobble = smooth(rng.standard_normal(length), 0.03, sample_rate) * 0.12
    vibrato = 0.012 * np.clip((age - 0.2) / 0.4, 0, 1) * np.sin(2 * np.pi * rng.uniform(5, 6) * t)
    step = np.exp(pitch + vibrato + wobble * 0.06) / sample_rate
    loud = smooth(smooth(loud, 0.02, sample_rate), 0.02, sample_rate)
    source = lowpass(saw(np.cumsum(step), step), 2_000, sample_rate, 1)
    breath = highpass(rng.standard_normal(length), 1_500, sample_rate, 1) * rng.uniform(0.1, 0.25)
    spectrum = fft.rfft((source + breath) * loud)
    f, coarse = fft.rfftfreq(length, 1 / sample_rate), np.linspace(0, sample_rate / 2, 8_193)
    y = np.zeros(length)
    for vowel, w in weight.items():
        response = np.interp(f, coarse, _formants(VOWELS[vowel], scale, coarse))
        y += smooth(w, 0.03, sample_rate) * fft.irfft(spectrum * response, length)
    y /= np.abs(y).max() + 1e-9
    noise = bandpass(rng.standard_normal(length), rng.uniform(3_500, 5_000), rng.uniform(7_500, 9_500), sample_rate, 2)
    return highpass(y + 0.12 * noise * hiss, 80, sample_rate)


def _formants(centres_hz: Sequence[float], scale: float, f: Samples) -> np.ndarray:
    """Parallel resonances, each a little weaker and wider than the one below."""
    response = np.full(len(f), 0.04 + 0j)
    for k, centre in enumerate(centres_hz):
        width_hz = 70 + 35 * k
        pole = 1j * np.maximum(f, 1.0)
        resonance = (width_hz * pole) / (pole**2 + width_hz * pole + (centre * scale) ** 2)
        response += (-1) ** k * 0.68**k * resonance
    return response
