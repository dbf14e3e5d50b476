"""Pianos, electric pianos, organs and mallets."""

from __future__ import annotations

import numpy as np

from diffmix.data.engines.instrument import Instrument, audible, envelope, harmonics, knock
from diffmix.data.engines.plucked import string
from diffmix.data.synthesis import Random, Samples, bandpass, highpass, modes, pluck, times


def spread(x: Samples, f: float, width: float, sample_rate: int) -> Samples:
    """Two microphones over the strings: low notes lean left, high ones right."""
    lean = width * np.clip(np.log2(f / 262) / 2.5, -1, 1)
    late = int(0.0006 * abs(lean) * sample_rate)
    far = (1 - abs(lean)) * np.pad(x, (late, 0))[: len(x)]
    return np.stack([x, far] if lean < 0 else [far, x])


# ------------------------------------------------------------------ pianos


def modal_piano(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Piano: three detuned strings of stiff partials."""
    stiffness, hardness, width = rng.uniform(1e-4, 4e-4), rng.uniform(0.4, 1.1), rng.uniform(0.2, 0.7)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        n = audible(f, sample_rate, 26, 9_000)
        partials = n * f * np.sqrt(1 + stiffness * n**2)
        strings = np.outer([0.9997, 1.0, 1.0004], partials).ravel()
        decay = 4.5 * (220 / f) ** 0.6 / (1 + 0.12 * n)
        weight = np.abs(np.sin(np.pi * n / 8.3)) * n ** (-0.4 - hardness * (1.3 - 0.9 * velocity))
        x = modes(
            strings, np.concatenate([0.25 * decay, decay, 0.6 * decay]), np.tile(weight, 3) / 3,
            min(held_s + 0.25, 4.0), sample_rate,
        )  # fmt: skip
        return spread(x + 0.08 * velocity * knock(len(x), 0.02, 100, 1_800, sample_rate, take), f, width, sample_rate)

    return Instrument(play, 0.12)


def waveguide_piano(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Piano: two delay loops a little apart, struck by a felt that hardens with force."""
    felt_hz, damping_hz = rng.uniform(700, 1_800), rng.uniform(900, 2_500)
    place, width, apart = rng.uniform(0.1, 0.15), rng.uniform(0.2, 0.7), rng.uniform(2e-4, 8e-4)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        ring = 7.0 * (220 / f) ** 0.6
        x: Samples = sum(  # type: ignore[assignment]
            pluck(
                f * (1 + k * apart), min(held_s + 0.25, 4.0), sample_rate, take, decay_s=ring * (1 - 0.5 * k),
                damping_hz=damping_hz, brightness_hz=felt_hz * (0.5 + velocity) * (f / 220) ** 0.3, position=place,
            )
            for k in (0, 1)
        )  # fmt: skip
        x = x + 0.1 * velocity * knock(len(x), 0.015, 120, 1_500, sample_rate, take)
        return spread(x, f, width, sample_rate)

    return Instrument(play, 0.12)


def fm_piano(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Piano by frequency modulation: two stretched pairs, one for the body of the tone and one for its edge."""
    index, edge, width = rng.uniform(1.6, 3.5), rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.7)
    stretch = rng.uniform(1.001, 1.004)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(min(held_s + 0.25, 4.0), sample_rate)
        w = 2 * np.pi * f * t
        decay = 2.2 * (220 / f) ** 0.6
        bend = index * (0.3 + 0.7 * velocity) * min(1.0, 1_000 / f) * (0.4 + 0.6 * np.exp(-t / (0.2 * decay)))
        x = np.sin(w + bend * np.sin(stretch * w)) + edge * np.sin(5 * stretch * w + bend * np.sin(w))
        x = highpass(x, 0.6 * f, sample_rate, 1) + 2.5 * highpass(x, 1_500, sample_rate, 1)
        x *= (0.6 * np.exp(-t / (0.3 * decay)) + 0.4 * np.exp(-t / decay)) * (1 - np.exp(-t / 0.0015))
        x += 0.2 * velocity * knock(len(x), 0.012, 150, 5_000, sample_rate, take)
        return spread(x, f, width, sample_rate)

    return Instrument(play, 0.12, lambda x: highpass(x, 35, sample_rate))  # a stretched pair beats around 0 Hz


# ------------------------------------------------------------------ keyboards


def tine_keys(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Tine piano by frequency modulation (Chowning 1973): a bark that grows with velocity, a bell on top."""
    index, bell = rng.uniform(1.0, 3.0), rng.uniform(0.05, 0.3)
    tremolo_hz, depth = rng.uniform(3, 6), rng.uniform(0, 0.4)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s + 0.3, sample_rate)
        decay = np.exp(-t / (1.6 * (220 / f) ** 0.4))
        w = 2 * np.pi * f * t
        tine = np.sin(w + index * velocity**1.5 * np.exp(-t / 0.4) * np.sin(w))
        bells = bell * velocity * np.exp(-t / 0.12) * np.sin(14 * w) if 14 * f < 0.45 * sample_rate else 0.0
        return decay * (tine + bells) * (1 - np.exp(-t / 0.002))

    def amp(x: Samples) -> Samples:
        return x * (1 - depth * (0.5 + 0.5 * np.sin(2 * np.pi * tremolo_hz * np.arange(x.shape[-1]) / sample_rate)))

    return Instrument(play, 0.10, amp)


def drawbar_keys(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Tonewheel organ: nine sine drawbars, a key click, a rotating loudspeaker."""
    drawbars = rng.choice([0, 0.3, 0.6, 1.0], 9, p=[0.3, 0.25, 0.2, 0.25])
    drawbars[[0, 2, 3]] = 0.7, 1.0, 0.8
    ratios = np.array([0.5, 1.5, 1, 2, 3, 4, 5, 6, 8])
    speed_hz, depth = rng.choice([0.8, 6.5]), rng.uniform(0.1, 0.35)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        x = modes(f * ratios, np.full(9, 1e3), drawbars / 4, held_s + 0.1, sample_rate)
        t = np.arange(len(x)) / sample_rate
        return (x + 0.3 * knock(len(x), 0.004, 800, 8_000, sample_rate, take)) * (1 - np.exp(-t / 0.004))

    def amp(x: Samples) -> Samples:
        turn = np.sin(2 * np.pi * speed_hz * np.arange(x.shape[-1]) / sample_rate)
        horn = highpass(x, 800, sample_rate, 1)
        return np.tanh(0.8 * (x + horn * depth * turn))

    return Instrument(play, 0.03, amp)


def bar_keys(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Marimba to vibraphone: tuned bars whose second mode is two octaves up."""
    decay_s, second = rng.uniform(0.15, 0.9), rng.uniform(0.15, 0.6)
    ratios, weights = np.array([1, 3.93, 9.6]), np.array([1, second, 0.3 * second])

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        decay = decay_s * (440 / f) ** 0.3 / ratios**0.8
        x = modes(f * ratios, decay, weights * ratios ** (velocity - 1), held_s + 0.8, sample_rate)
        return x + 0.25 * velocity * knock(len(x), 0.005, 400, 6_000, sample_rate, take)

    return Instrument(play, 0.4)


def clavinet_keys(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Clavinet: short, bright strings over a pickup."""
    play = string(
        rng.uniform(1.5, 4), rng.uniform(800, 2_000), rng.uniform(1_500, 3_500), rng.uniform(0.06, 0.2), sample_rate
    )
    low_hz, high_hz = rng.uniform(300, 600), rng.uniform(1_500, 3_500)
    return Instrument(play, 0.05, lambda x: highpass(x + bandpass(x, low_hz, high_hz, sample_rate), 90, sample_rate))


def pickup_keys(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Reed piano: a reed that swings close to a pickup, whose field is anything but linear; or an organ of reeds."""
    near, ring_s, sustained = rng.uniform(0.55, 0.9), rng.uniform(0.6, 1.8), flavour == "organ"
    high = rng.uniform(0.05, 0.25)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s + 0.3, sample_rate)
        w = 2 * np.pi * f * t
        swing = near * (0.4 + 0.6 * velocity) * (1.0 if sustained else np.exp(-t / (ring_s * (220 / f) ** 0.3)))
        x = np.sin(w)
        field = swing * x / (1 - swing * x * min(1.0, 1_000 / f))  # close to the pole the field rises steeply
        tip = high * np.exp(-t / 0.05) * np.sin(6.27 * w) if 6.27 * f < 0.45 * sample_rate else 0.0
        y = field + tip + 0.15 * velocity * knock(len(t), 0.008, 300, 6_000, sample_rate, take)
        return highpass(y, 0.5 * f, sample_rate, 1) * envelope(t, 0.015 if sustained else 0.0015, held_s + 0.05)

    return Instrument(play, 0.08)


def divider_keys(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Combo organ: square-like tones of odd harmonics at two octaves, with vibrato."""
    slope, second, rate_hz, depth = (
        rng.uniform(1.0, 1.6),
        rng.uniform(0.2, 0.8),
        rng.uniform(5, 7),
        rng.uniform(0, 0.006),
    )

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s + 0.1, sample_rate)
        n = audible(2 * f, sample_rate, 16, 9_000)
        weights = np.where(n % 2 == 1, n**-slope, 0.0)
        w = 2 * np.pi * f * t - depth * f / rate_hz * np.cos(2 * np.pi * rate_hz * t)
        x = harmonics(w, weights) + second * harmonics(2 * w, weights)
        return 0.5 * x * envelope(t, 0.005, held_s)

    return Instrument(play, 0.04)
