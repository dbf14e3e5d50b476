"""Guitars and basses: strings as delay loops, as modes and by frequency modulation; oscillators for the low end."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffmix.data.engines.electronic import subtractive
from diffmix.data.engines.instrument import Instrument, Play, audible, envelope, harmonics, knock
from diffmix.data.synthesis import Random, Samples, bandpass, highpass, lowpass, modes, pluck, times

Amp = Callable[[Samples], Samples]


def string(decay_s: float, damping_hz: float, brightness_hz: float, position: float, sample_rate: int) -> Play:
    """A delay loop per note (`synthesis.pluck`), shorter for high notes and duller for soft ones."""

    def play(f: float, held_s: float, velocity: float, rng: Random) -> Samples:
        ring = decay_s * (200 / f) ** 0.4
        return pluck(
            f, min(held_s + 0.15, 1.1 * ring), sample_rate, rng,
            decay_s=ring, damping_hz=damping_hz, position=position,
            brightness_hz=brightness_hz * (0.4 + 0.6 * velocity),
        )  # fmt: skip

    return play


# ------------------------------------------------------------------ what a guitar's strings drive


def _cabinet(drive: float, sample_rate: int, rng: Random) -> Amp:
    """A guitar amplifier: preamp gain into saturation, then a loudspeaker that ends at 5 kHz."""
    top_hz, push_hz = rng.uniform(3_800, 5_500), rng.uniform(1_200, 2_600)

    def amp(x: Samples) -> Samples:
        level = np.percentile(np.abs(x[..., ::7]), 99.5) + 1e-9
        x = np.tanh(drive * highpass(x, 120, sample_rate, 1) / level)
        x = x + 0.8 * bandpass(x, push_hz / 1.5, push_hz * 1.5, sample_rate)
        return highpass(lowpass(x, top_hz, sample_rate, 3), 75, sample_rate)

    return amp


def _body(sample_rate: int, rng: Random) -> Amp:
    """The body of a steel-string guitar."""
    air_hz, top_hz = rng.uniform(95, 120), rng.uniform(190, 230)

    def body(x: Samples) -> Samples:
        air = bandpass(x, air_hz * 0.9, air_hz * 1.1, sample_rate)
        return highpass(x + 1.2 * air + 0.8 * bandpass(x, top_hz * 0.85, top_hz * 1.15, sample_rate), 70, sample_rate)

    return body


def behind(flavour: str, sample_rate: int, rng: Random) -> Amp:
    """What follows the strings of an acoustic, nylon, clean or drive guitar."""
    if flavour == "acoustic":
        return _body(sample_rate, rng)
    if flavour == "nylon":
        return lambda x: highpass(x + bandpass(x, 90, 240, sample_rate), 70, sample_rate)
    return _cabinet(rng.uniform(0.3, 0.9) if flavour == "clean" else rng.uniform(3, 14), sample_rate, rng)


_SOFTNESS = {"acoustic": 0.9, "nylon": 1.5, "clean": 1.1, "drive": 1.0}  # how fast a string's partials weaken


# ------------------------------------------------------------------ guitars


def acoustic_guitar(rng: Random, sample_rate: int) -> Instrument:
    """Steel-string guitar: bright strings over the resonances of the body."""
    play = string(
        rng.uniform(4, 8), rng.uniform(700, 1_500), rng.uniform(2_000, 4_000), rng.uniform(0.12, 0.25), sample_rate
    )
    return Instrument(play, 0.12, _body(sample_rate, rng))


def waveguide_guitar(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Strings as delay loops."""
    if flavour == "acoustic":
        return acoustic_guitar(rng, sample_rate)
    decay, damping, bright = {
        "nylon": ((2, 4), (400, 800), (900, 1_800)),
        "clean": ((4, 8), (600, 1_400), (1_400, 3_500)),
        "drive": ((5, 9), (600, 1_400), (1_800, 3_500)),
    }[flavour]
    play = string(rng.uniform(*decay), rng.uniform(*damping), rng.uniform(*bright), rng.uniform(0.1, 0.35), sample_rate)
    return Instrument(play, 0.08, behind(flavour, sample_rate, rng))


def modal_guitar(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Strings as sums of slightly stiff modes, each with its own decay."""
    ring_s, damping_hz = rng.uniform(0.5, 1.4), rng.uniform(700, 2_000)
    place, stiffness = rng.uniform(0.1, 0.35), rng.uniform(2e-5, 1.2e-4)
    slope, pick = _SOFTNESS[flavour] * rng.uniform(0.75, 1.25), rng.uniform(0.02, 0.12)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        n = audible(f, sample_rate, 28, 9_000)
        place_now = place * take.uniform(0.9, 1.1)
        weight = np.abs(np.sin(np.pi * n * place_now)) * n ** -(slope * (1.4 - 0.6 * velocity))
        decay = ring_s * (200 / f) ** 0.4 / (1 + n * f / damping_hz)
        frequency = n * f * np.sqrt(1 + stiffness * n**2)
        x = modes(frequency, decay, weight, min(held_s + 0.15, 3.5), sample_rate)
        return x + pick * velocity * knock(len(x), 0.004, 600, 4_000, sample_rate, take)

    return Instrument(play, 0.1, behind(flavour, sample_rate, rng))


def fm_guitar(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Strings by frequency modulation: the index falls as the string settles."""
    index, settle_s, ring_s = rng.uniform(2.0, 4.5) / _SOFTNESS[flavour], rng.uniform(0.1, 0.4), rng.uniform(0.5, 1.3)
    ratio, pick = rng.choice([1.0, 2.0, 3.0]), rng.uniform(0.1, 0.4)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(min(held_s + 0.15, 3.0), sample_rate)
        w = 2 * np.pi * f * t
        most = 7_000 / (f * (ratio + 1))  # so that the sidebands end where strings do
        bend = min(index, most) * (0.3 + 0.7 * velocity) * (0.3 + 0.7 * np.exp(-t / settle_s))
        x = np.sin(w + bend * np.sin(ratio * w)) + 0.4 * np.sin(2.002 * w + 0.7 * bend * np.sin(w))
        x *= np.exp(-t / (ring_s * (200 / f) ** 0.4)) * (1 - np.exp(-t / 0.001))
        return x + pick * velocity * knock(len(x), 0.005, 500, 6_000, sample_rate, take)

    return Instrument(play, 0.1, behind(flavour, sample_rate, rng))


# ------------------------------------------------------------------ basses


def waveguide_bass(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Bass guitar, straight into the desk: strings as delay loops."""
    play = string(
        rng.uniform(5, 10), rng.uniform(150, 700), rng.uniform(300, 1_400), rng.uniform(0.12, 0.3), sample_rate
    )
    return Instrument(play, 0.06, lambda x: lowpass(highpass(x, 32, sample_rate), 3_500, sample_rate, 1))


def analogue_bass(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Synthesiser bass: saws or pulses with a sub-oscillator an octave below, through a closing filter."""
    play = subtractive(
        sample_rate, voices=int(rng.integers(1, 3)), detune=0.006, cutoff=(rng.uniform(2, 6), rng.uniform(8, 24)),
        attack_s=0.003, decay_s=rng.uniform(0.08, 0.4), sub=rng.uniform(0.1, 0.8), pulse=float(rng.choice([0.0, 0.4])),
    )  # fmt: skip
    return Instrument(play, 0.04)


def sine_bass(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """A sine that falls into its pitch, driven until its harmonics carry it."""
    drive, fall_s = rng.uniform(0.8, 4.0), rng.uniform(0.8, 2.5)
    lean = rng.uniform(0, 0.4)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s + 0.2, sample_rate)
        cycles = f * t + 0.03 * f * (1 - np.exp(-t / 0.02))
        x = np.sin(2 * np.pi * cycles) * np.exp(-t / fall_s)
        click = 0.08 * velocity * knock(len(t), 0.003, 500, 2_500, sample_rate, take)
        return (np.tanh(drive * (x + lean)) - np.tanh(drive * lean)) * envelope(t, 0.003, held_s) + click

    return Instrument(play, 0.06)


def shaped_bass(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Harmonics that fall one after the other over a steady fundamental, with the noise of fingers."""
    slope, fall_s, finger = rng.uniform(0.8, 1.6), rng.uniform(0.3, 1.2), rng.uniform(0.03, 0.15)
    comb, growl = rng.uniform(0.1, 0.4), rng.uniform(0.3, 1.2)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s + 0.15, sample_rate)
        n = audible(f, sample_rate, 20, 2_500)
        weight = np.abs(np.sin(np.pi * n * comb)) * n ** -(slope * (1.5 - 0.6 * velocity))
        fade = np.exp(-t / fall_s)
        parts = (weight[k] * fade ** (0.25 * k) for k in range(len(n)))
        x = harmonics(2 * np.pi * f * t, parts)  # type: ignore[arg-type]
        x = np.tanh(growl * x) * envelope(t, 0.004, held_s) * np.exp(-t / 1.2)
        return x + finger * velocity * knock(len(t), 0.008, 250, 1_800, sample_rate, take)

    return Instrument(play, 0.05)
