"""Bowed and blown instruments: strings, brass and woodwind."""

from __future__ import annotations

import numpy as np

from diffmix.data.engines.electronic import subtractive
from diffmix.data.engines.instrument import Instrument, audible, envelope, harmonics, knock, vibrato
from diffmix.data.synthesis import Random, Samples, bandpass, highpass, lowpass, saw, smooth, times


def _phase(f: float, ratio: Samples, sample_rate: int, rng: Random) -> Samples:
    """Cycles of a tone whose frequency is f times `ratio`, from a random start."""
    return np.cumsum(f / sample_rate * ratio) + rng.random()


# ------------------------------------------------------------------ strings


def ensemble_strings(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Section strings: many saws, softly filtered, slow to speak."""
    play = subtractive(
        sample_rate, voices=3, detune=rng.uniform(0.003, 0.006), cutoff=(rng.uniform(4, 9), rng.uniform(6, 14)),
        attack_s=rng.uniform(0.05, 0.18), decay_s=2.0, stereo=True,
    )  # fmt: skip
    return Instrument(play, 0.2, lambda x: highpass(x, 160, sample_rate))


def bowed_strings(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """A bowed string: the corner that runs round it, a body with resonances, the scratch of the bow."""
    rate_hz, depth, scratch = rng.uniform(4.8, 6.2), rng.uniform(0.002, 0.006), rng.uniform(0.03, 0.12)
    top_hz, resonances = rng.uniform(3_500, 8_000), np.array([280, 460, 1_100, 2_400]) * rng.uniform(0.8, 1.25, 4)
    gains, attack_s = rng.uniform(0.5, 2.0, 4), rng.uniform(0.03, 0.12)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s + 0.2, sample_rate)
        unsteady = 1 + 0.002 * smooth(take.standard_normal(len(t)), 0.05, sample_rate) * 10
        phase = _phase(f, vibrato(t, depth, rate_hz) * unsteady, sample_rate, take)
        x = saw(phase, f / sample_rate) + scratch * take.standard_normal(len(t)) * (1 + 2 * np.exp(-t / 0.05))
        return envelope(t, attack_s, held_s) * lowpass(x, top_hz * (0.6 + 0.4 * velocity), sample_rate)

    def body(x: Samples) -> Samples:
        tones = [g * bandpass(x, 0.85 * r, 1.15 * r, sample_rate) for g, r in zip(gains, resonances, strict=True)]
        return highpass(0.5 * x + sum(tones), 150, sample_rate)

    return Instrument(play, 0.15, body)


def additive_strings(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Section strings as harmonics whose strengths wander, each channel in its own way."""
    slope, attack_s, rate_hz = rng.uniform(0.7, 1.3), rng.uniform(0.05, 0.2), rng.uniform(4.5, 6)
    dip = rng.uniform(2, 7)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s + 0.3, sample_rate)
        n = audible(f, sample_rate, 26, 12_000)
        weights = n ** -(slope * (1.2 - 0.3 * velocity)) * (0.5 + np.abs(np.cos(np.pi * n / dip)))
        knots = np.linspace(0, t[-1] + 0.1, max(int(6 * t[-1]), 2) + 1)
        sides = []
        for _ in (0, 1):
            wander = (weights[k] * np.interp(t, knots, take.uniform(0.4, 1.4, len(knots))) for k in range(len(n)))
            phase = 2 * np.pi * _phase(f, vibrato(t, 0.003, rate_hz + take.uniform(-0.4, 0.4)), sample_rate, take)
            sides.append(harmonics(phase, wander))  # type: ignore[arg-type]
        return envelope(t, attack_s, held_s) * np.stack(sides) / 2

    return Instrument(play, 0.2, lambda x: highpass(x, 160, sample_rate))


# ------------------------------------------------------------------ brass


def analogue_brass(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Brass section: saws that brighten as they swell."""
    players, open_hz = int(rng.integers(1, 4)), rng.uniform(2_000, 4_000)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s + 0.15, sample_rate)
        x = np.zeros(len(t))
        for _ in range(players):
            scoop = 1 - 0.03 * np.exp(-t / 0.025) + take.uniform(-0.003, 0.003) + 0.003 * np.sin(2 * np.pi * 5.2 * t)
            x += saw(_phase(f, scoop, sample_rate, take), f / sample_rate)
        swell = (1 - np.exp(-t / 0.05)) * (0.4 + 0.6 * velocity)
        y = swell * lowpass(x, open_hz * (1 + velocity), sample_rate) + (1 - swell) * lowpass(x, 700, sample_rate)
        return envelope(t, 0.02, held_s) * y / np.sqrt(players)

    return Instrument(play, 0.06, lambda x: highpass(x, 120, sample_rate))


def fm_brass(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Brass by frequency modulation (Chowning 1973): the index follows the loudness."""
    index, rise_s, rate_hz = rng.uniform(2.5, 5.0), rng.uniform(0.03, 0.08), rng.uniform(4.8, 6)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s + 0.15, sample_rate)
        loud = envelope(t, rise_s, held_s) * (0.85 + 0.15 * np.exp(-t / 0.15))
        w = 2 * np.pi * _phase(f, vibrato(t, 0.003, rate_hz) - 0.02 * np.exp(-t / 0.02), sample_rate, take)
        bend = index * min(1.0, 900 / f) * (0.3 + 0.7 * velocity) * loud
        return loud * np.sin(w + bend * np.sin(w)) + 0.03 * velocity * knock(
            len(t), 0.02, 300, 2_000, sample_rate, take
        )

    return Instrument(play, 0.06, lambda x: highpass(x, 110, sample_rate))


def additive_brass(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Brass as harmonics of which the higher speak later and grow faster (Risset 1965)."""
    slope, centre_hz = rng.uniform(0.5, 1.0), rng.uniform(900, 1_800)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s + 0.15, sample_rate)
        n = audible(f, sample_rate, 18, 8_000)
        loud = envelope(t, 0.04, held_s) * (0.5 + 0.5 * velocity)
        colour = 1 / (1 + (n * f / centre_hz / 2) ** 2) + 0.2 / n
        grown = (colour[k] * n[k] ** -(slope - 0.5) * loud ** (1 + 0.45 * k) for k in range(len(n)))
        wave = 2 * np.pi * _phase(f, vibrato(t, 0.004, 5.3) - 0.025 * np.exp(-t / 0.03), sample_rate, take)
        return harmonics(wave, grown) / 2  # type: ignore[arg-type]

    return Instrument(play, 0.06, lambda x: highpass(x, 110, sample_rate))


# ------------------------------------------------------------------ woodwind


def additive_woodwind(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Flute to clarinet: few harmonics, breath, vibrato."""
    odd, breath, rate_hz = rng.uniform(0.2, 1.0), rng.uniform(0.05, 0.2), rng.uniform(4.5, 6.0)
    weights = np.array([1.0, 0.7 * (1 - odd), 0.6, 0.4 * (1 - odd), 0.3, 0.2])

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s + 0.15, sample_rate)
        phase = 2 * np.pi * (f * t - 0.004 * f / (2 * np.pi * rate_hz) * np.cos(2 * np.pi * rate_hz * t))
        x = harmonics(phase, weights * velocity ** (0.4 * np.arange(6)))
        air = bandpass(take.standard_normal(len(t)), f, min(4 * f, 8_000), sample_rate)
        return envelope(t, 0.04, held_s) * (x + breath * (1 + 3 * np.exp(-t / 0.04)) * air)

    return Instrument(play, 0.08)


def reed_woodwind(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Saxophone to oboe: a beating reed into a bore with resonances."""
    pulse, top_hz, growl = rng.uniform(0.1, 0.5), rng.uniform(1_800, 4_000), rng.uniform(0.02, 0.08)
    rate_hz, centre_hz = rng.uniform(4.5, 6.0), rng.uniform(600, 1_400)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s + 0.15, sample_rate)
        phase = _phase(f, vibrato(t, 0.006, rate_hz) - 0.02 * np.exp(-t / 0.03), sample_rate, take)
        x = saw(phase, f / sample_rate) - saw(phase + pulse, f / sample_rate)
        x += growl * take.standard_normal(len(t)) * (1 + 3 * np.exp(-t / 0.03))
        return envelope(t, 0.025, held_s) * lowpass(x, top_hz * (0.5 + 0.5 * velocity), sample_rate)

    def bore(x: Samples) -> Samples:
        return highpass(x + 1.5 * bandpass(x, 0.8 * centre_hz, 1.25 * centre_hz, sample_rate), 110, sample_rate)

    return Instrument(play, 0.07, bore)


def fm_woodwind(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Woodwind by frequency modulation (Chowning 1973): the carrier above the modulator, brighter at the start."""
    carrier, index, breath = int(rng.choice([1, 2, 3])), rng.uniform(1.0, 2.4), rng.uniform(0.05, 0.2)
    rate_hz = rng.uniform(4.5, 6.0)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s + 0.15, sample_rate)
        w = 2 * np.pi * _phase(f, vibrato(t, 0.005, rate_hz), sample_rate, take)
        bend = index * (0.5 + 0.5 * velocity) * (1 + np.exp(-t / 0.05))
        x = 0.6 * np.sin(w) + np.sin(carrier * w + bend * np.sin((2 if carrier != 2 else 1) * w))
        air = highpass(take.standard_normal(len(t)), 1_000, sample_rate, 1)
        return envelope(t, 0.03, held_s) * (x + breath * (1 + 4 * np.exp(-t / 0.03)) * lowpass(air, 5_000, sample_rate))

    return Instrument(play, 0.08)
