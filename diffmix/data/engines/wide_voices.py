"""Singers and effects drawn at random; see `wide_tones`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import fft

from diffmix.data.engines.instrument import Instrument
from diffmix.data.engines.voices import VOWELS, Syllable, course_of, finish, formants
from diffmix.data.synthesis import Random, Samples, bandpass, between, highpass, lowpass, modes, saw, times


def wide_voice(line: Sequence[Syllable], length: int, scale: float, sample_rate: int, rng: Random) -> Samples:
    """Any glottis and any throat: saw, pulse or rounded source and breath through formants of any place and width."""
    course = course_of(line, length, sample_rate, rng)
    way, width, tilt_hz = int(rng.integers(3)), rng.uniform(0.08, 0.45), between(rng, 600, 7_000)
    if way == 0:
        source = saw(course.phase, course.step)
    elif way == 1:
        source = saw(course.phase, course.step) - saw(course.phase + width, course.step)
    else:
        p = course.phase % 1
        source = 4 * np.where(p < 2 * width, np.sin(np.pi * p / (2 * width)) ** 2, 0.0)
    source = lowpass(source, tilt_hz, sample_rate, 1)
    breath = (
        highpass(rng.standard_normal(length), rng.uniform(500, 2_500), sample_rate, 1) * rng.uniform(0.02, 0.5) ** 1.5
    )
    padded = fft.next_fast_len(length + sample_rate // 20, real=True)
    spectrum = fft.rfft((source + breath) * course.loud, padded)
    f, coarse = fft.rfftfreq(padded, 1 / sample_rate), np.linspace(0, sample_rate / 2, 4_097)
    throat, fall = scale * rng.uniform(0.88, 1.15) * rng.uniform(0.93, 1.07, 5), rng.uniform(0.55, 0.95)
    wide, floor = rng.uniform(0.6, 2.0), rng.uniform(0.01, 0.12)
    y = np.zeros(length)
    for vowel, share in course.vowels.items():
        centres = (np.array(VOWELS[vowel]) * throat).tolist()
        response = formants(centres, 1.0, coarse, fall=fall, wide=wide, floor=floor)
        y += share * fft.irfft(spectrum * np.interp(f, coarse, response), padded)[:length]
    return finish(y, course.hiss, sample_rate, rng)


def wide_fx(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Sweeps, drops, glides, swells and drones of noise and tones."""
    noisy, shape, falls = rng.uniform(0, 1), rng.uniform(0.5, 4), rng.random() < 0.4
    low_hz, octaves = between(rng, 80, 900), rng.uniform(0.3, 5)
    hit, hit_s, pulse_hz = rng.random() < 0.3, rng.uniform(0.2, 1.5), rng.uniform(1, 12) * (rng.random() < 0.4)
    tones, bent = rng.uniform(150, 5_000, 24), rng.uniform(0, 6)
    wide = rng.uniform(0, 0.02)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s, sample_rate)
        way = (1 - t / held_s) if falls else t / held_s
        rise = np.exp(-t / hit_s) if hit else (0.02 + way) ** shape
        hz = np.minimum(low_hz * 2 ** (octaves * way), 9_000.0)
        steps = np.cumsum(hz) / sample_rate
        noise = take.standard_normal((2, len(t)))
        dark, light = bandpass(noise, low_hz, 3 * low_hz, sample_rate), highpass(noise, 4 * low_hz, sample_rate, 1)
        hiss = (1 - way) * dark + way * lowpass(light, 9_000, sample_rate)
        w = 2 * np.pi * steps
        tone = np.stack([np.sin((1 + s) * w + bent * np.sin(1.5 * w)) for s in (wide, -wide)])
        if hit:
            tone = tone + modes(
                tones,
                hit_s * take.uniform(0.2, 1, 24),
                take.standard_normal(24) / 5,
                (len(t) + 0.5) / sample_rate,
                sample_rate,
            )
        beat = 1 - 0.7 * (pulse_hz > 0) * (0.5 + 0.5 * np.sin(2 * np.pi * pulse_hz * t))
        return rise * beat * (noisy * hiss + (1 - noisy) * 0.5 * tone)

    return Instrument(play, 0.05)
