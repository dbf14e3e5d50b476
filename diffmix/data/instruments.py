"""Procedural instruments: each one is drawn once per track and then plays notes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from diffmix.data.synthesis import Random, Samples, bandpass, highpass, lowpass, modes, pluck, saw, times

Play = Callable[[float, float, float, Random], Samples]
"""play(frequency_hz, seconds held, velocity in [0, 1], generator of this take) -> (T,) or (2, T), longer than held."""


class Instrument(NamedTuple):
    """`play` makes one note, `release_s` fades it after its end, `amp` is what the whole track runs through."""

    play: Play
    release_s: float
    amp: Callable[[Samples], Samples] | None = None


def _envelope(t: Samples, attack_s: float, hold_s: float) -> Samples:
    """Rise within `attack_s`, stay until `hold_s`, fall with 50 ms."""
    y = np.ones(len(t))
    rising, falling = np.searchsorted(t, 8 * attack_s), np.searchsorted(t, hold_s)
    y[:rising] -= np.exp(-t[:rising] / attack_s)
    y[falling:] *= np.exp((hold_s - t[falling:]) / 0.05)
    return y


# ------------------------------------------------------------------ strings that are plucked


def _string(decay_s: float, damping_hz: float, brightness_hz: float, position: float, sample_rate: int) -> Play:
    def play(f: float, held_s: float, velocity: float, rng: Random) -> Samples:
        ring = decay_s * (200 / f) ** 0.4
        return pluck(
            f, min(held_s + 0.15, 1.1 * ring), sample_rate, rng,
            decay_s=ring, damping_hz=damping_hz, position=position,
            brightness_hz=brightness_hz * (0.4 + 0.6 * velocity),
        )  # fmt: skip

    return play


def _cabinet(drive: float, sample_rate: int, rng: Random) -> Callable[[Samples], Samples]:
    """A guitar amplifier: preamp gain into saturation, then a loudspeaker that ends at 5 kHz."""
    top_hz, push_hz = rng.uniform(3_800, 5_500), rng.uniform(1_800, 3_000)

    def amp(x: Samples) -> Samples:
        level = np.percentile(np.abs(x), 99.5) + 1e-9
        x = np.tanh(drive * highpass(x, 120, sample_rate, 1) / level)
        x = x + 0.5 * bandpass(x, push_hz / 1.5, push_hz * 1.5, sample_rate)
        return highpass(lowpass(x, top_hz, sample_rate, 4), 75, sample_rate)

    return amp


def acoustic_guitar(rng: Random, sample_rate: int) -> Instrument:
    """Steel-string guitar: bright strings over the resonances of the body."""
    play = _string(
        rng.uniform(4, 8), rng.uniform(700, 1_500), rng.uniform(2_000, 4_000), rng.uniform(0.12, 0.25), sample_rate
    )
    air_hz, top_hz = rng.uniform(95, 120), rng.uniform(190, 230)

    def body(x: Samples) -> Samples:
        air = bandpass(x, air_hz * 0.9, air_hz * 1.1, sample_rate)
        return highpass(x + 1.2 * air + 0.8 * bandpass(x, top_hz * 0.85, top_hz * 1.15, sample_rate), 70, sample_rate)

    return Instrument(play, 0.12, body)


def nylon_guitar(rng: Random, sample_rate: int) -> Instrument:
    """Classical guitar: softer and rounder."""
    play = _string(
        rng.uniform(2, 4), rng.uniform(400, 800), rng.uniform(900, 1_600), rng.uniform(0.2, 0.4), sample_rate
    )
    return Instrument(play, 0.15, lambda x: highpass(x + bandpass(x, 90, 240, sample_rate), 70, sample_rate))


def clean_guitar(rng: Random, sample_rate: int) -> Instrument:
    """Electric guitar through an amplifier that hardly distorts."""
    play = _string(
        rng.uniform(4, 8), rng.uniform(500, 1_200), rng.uniform(1_000, 2_500), rng.uniform(0.1, 0.3), sample_rate
    )
    return Instrument(play, 0.05, _cabinet(rng.uniform(0.3, 0.8), sample_rate, rng))


def drive_guitar(rng: Random, sample_rate: int) -> Instrument:
    """Electric guitar through an amplifier that distorts."""
    play = _string(
        rng.uniform(5, 9), rng.uniform(500, 1_200), rng.uniform(1_500, 3_000), rng.uniform(0.1, 0.3), sample_rate
    )
    return Instrument(play, 0.08, _cabinet(rng.uniform(3, 14), sample_rate, rng))


def electric_bass(rng: Random, sample_rate: int) -> Instrument:
    """Bass guitar, straight into the desk."""
    play = _string(
        rng.uniform(5, 10), rng.uniform(120, 400), rng.uniform(250, 700), rng.uniform(0.12, 0.3), sample_rate
    )
    return Instrument(play, 0.06, lambda x: lowpass(highpass(x, 32, sample_rate), 3_500, sample_rate, 1))


# ------------------------------------------------------------------ bars, strings and pipes that are struck or blown


def piano(rng: Random, sample_rate: int) -> Instrument:
    """Piano: three detuned strings of stiff partials; low notes lean left, high ones right."""
    stiffness, hardness, width = rng.uniform(1e-4, 4e-4), rng.uniform(0.7, 1.4), rng.uniform(0.2, 0.7)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        n = np.arange(1, min(int(9_000 / f), 26) + 1)
        partials = n * f * np.sqrt(1 + stiffness * n**2)
        strings = np.outer([0.9997, 1.0, 1.0004], partials).ravel()
        decay = 4.5 * (220 / f) ** 0.6 / (1 + 0.12 * n)
        weight = np.abs(np.sin(np.pi * n / 8.3)) * n ** (-0.6 - hardness * (1.3 - 0.9 * velocity))
        x = modes(
            strings, np.concatenate([0.25 * decay, decay, 0.6 * decay]), np.tile(weight, 3) / 3,
            min(held_s + 0.25, 4.0), sample_rate,
        )  # fmt: skip
        t = np.arange(len(x)) / sample_rate
        x += 0.05 * velocity * bandpass(take.standard_normal(len(x)) * np.exp(-t / 0.02), 100, 1_200, sample_rate)
        lean = width * np.clip(np.log2(f / 262) / 2.5, -1, 1)
        late = int(0.0006 * abs(lean) * sample_rate)
        far = np.pad(x, (late, 0))[: len(x)]
        return np.stack([x, (1 - abs(lean)) * far] if lean < 0 else [(1 - abs(lean)) * far, x])

    return Instrument(play, 0.12)


def _struck(ratios: Sequence[float], weights: Sequence[float], decay_s: float, sample_rate: int) -> Play:
    def play(f: float, held_s: float, velocity: float, rng: Random) -> Samples:
        r = np.asarray(ratios)
        x = modes(
            f * r, decay_s * (440 / f) ** 0.3 / r, np.asarray(weights) * r ** (velocity - 1), held_s + 0.8, sample_rate
        )
        t = np.arange(len(x)) / sample_rate
        return x + 0.06 * velocity * bandpass(rng.standard_normal(len(x)) * np.exp(-t / 0.006), 400, 3_000, sample_rate)

    return play


def mallet(rng: Random, sample_rate: int) -> Instrument:
    """Marimba to vibraphone: tuned bars whose second mode is two octaves up."""
    decay_s = rng.uniform(0.15, 0.9)
    return Instrument(_struck((1, 3.93, 9.6), (1, rng.uniform(0.15, 0.4), 0.1), decay_s, sample_rate), 0.4)


def electric_piano(rng: Random, sample_rate: int) -> Instrument:
    """Tine piano by frequency modulation (Chowning 1973): a bark that grows with velocity, a bell on top."""
    index, bell, tremolo_hz, depth = (
        rng.uniform(0.6, 1.8),
        rng.uniform(0.05, 0.2),
        rng.uniform(3, 6),
        rng.uniform(0, 0.4),
    )

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s + 0.3, sample_rate)
        decay = np.exp(-t / (1.6 * (220 / f) ** 0.4))
        w = 2 * np.pi * f * t
        tine = np.sin(w + index * velocity**1.5 * np.exp(-t / 0.4) * np.sin(w))
        return decay * (tine + bell * velocity * np.exp(-t / 0.12) * np.sin(14 * w)) * (1 - np.exp(-t / 0.002))

    def amp(x: Samples) -> Samples:
        return x * (1 - depth * (0.5 + 0.5 * np.sin(2 * np.pi * tremolo_hz * np.arange(x.shape[-1]) / sample_rate)))

    return Instrument(play, 0.10, amp)


def organ(rng: Random, sample_rate: int) -> Instrument:
    """Tonewheel organ: nine sine drawbars, a key click, a rotating loudspeaker."""
    drawbars = rng.choice([0, 0.3, 0.6, 1.0], 9, p=[0.35, 0.25, 0.2, 0.2])
    drawbars[[0, 2]] = 1.0, 0.8
    ratios = np.array([0.5, 1.5, 1, 2, 3, 4, 5, 6, 8])
    speed_hz, depth = rng.choice([0.8, 6.5]), rng.uniform(0.1, 0.35)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        x = modes(f * ratios, np.full(9, 1e3), drawbars / 4, held_s + 0.1, sample_rate)
        t = np.arange(len(x)) / sample_rate
        click = bandpass(take.standard_normal(len(x)) * np.exp(-t / 0.003), 800, 4_000, sample_rate)
        return (x + 0.15 * click) * (1 - np.exp(-t / 0.004))

    def amp(x: Samples) -> Samples:
        turn = np.sin(2 * np.pi * speed_hz * np.arange(x.shape[-1]) / sample_rate)
        horn = highpass(x, 800, sample_rate, 1)
        return np.tanh(0.8 * (x + horn * depth * turn))

    return Instrument(play, 0.03, amp)


def _synth(
    sample_rate: int,
    *,
    voices: int,
    detune: float,
    cutoff: tuple[float, float],
    attack_s: float,
    decay_s: float,
    sub: float = 0.0,
    pulse: float = 0.0,
    stereo: bool = False,
) -> Play:
    """Subtractive synthesiser: detuned saws (or pulses) and a sub-oscillator; the filter closes with the note by a
    cross-fade between an open and a closed one. `cutoff` is (closed, open) in multiples of the note's frequency."""

    def play(f: float, held_s: float, velocity: float, rng: Random) -> Samples:
        t = times(held_s + 0.3, sample_rate)

        def side() -> Samples:
            x = np.zeros(len(t))
            for k in range(voices):
                step = f * (1 + detune * (k - (voices - 1) / 2)) / sample_rate
                phase = rng.random() + step * np.arange(len(t), dtype=np.float64)
                x += saw(phase, step) - (saw(phase + pulse, step) if pulse else 0.0)
            return x / np.sqrt(voices)

        x = np.stack([side(), side()]) if stereo else side()
        closed_hz, open_hz = (min(c * f, 9_000.0) + 150 for c in cutoff)
        bright = np.exp(-t / decay_s) * (0.3 + 0.7 * velocity)
        y = bright * lowpass(x, open_hz, sample_rate) + (1 - bright) * lowpass(x, closed_hz, sample_rate)
        return _envelope(t, attack_s, held_s) * (y + sub * np.sin(2 * np.pi * f / 2 * t))

    return play


def synth_bass(rng: Random, sample_rate: int) -> Instrument:
    """Synthesiser bass with a sub-oscillator an octave below."""
    play = _synth(
        sample_rate, voices=int(rng.integers(1, 3)), detune=0.006, cutoff=(rng.uniform(1.5, 4), rng.uniform(6, 16)),
        attack_s=0.003, decay_s=rng.uniform(0.08, 0.3), sub=rng.uniform(0.2, 1.0), pulse=float(rng.choice([0.0, 0.4])),
    )  # fmt: skip
    return Instrument(play, 0.04)


def sub_bass(rng: Random, sample_rate: int) -> Instrument:
    """Sine bass with a little saturation."""
    drive = rng.uniform(0.8, 2.0)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s + 0.2, sample_rate)
        cycles = f * t + 0.03 * f * (1 - np.exp(-t / 0.02))
        return np.tanh(drive * np.sin(2 * np.pi * cycles)) * _envelope(t, 0.004, held_s) * np.exp(-t / 1.5)

    return Instrument(play, 0.06)


def pad(rng: Random, sample_rate: int) -> Instrument:
    """Slow, wide, detuned synthesiser chords."""
    play = _synth(
        sample_rate, voices=2, detune=rng.uniform(0.004, 0.012), cutoff=(rng.uniform(1.5, 4), rng.uniform(4, 10)),
        attack_s=rng.uniform(0.1, 0.5), decay_s=rng.uniform(0.8, 3.0), stereo=True,
    )  # fmt: skip
    return Instrument(play, 0.3)


def strings(rng: Random, sample_rate: int) -> Instrument:
    """Section strings: many saws, softly filtered, slow to speak."""
    play = _synth(
        sample_rate, voices=3, detune=rng.uniform(0.003, 0.006), cutoff=(4.0, rng.uniform(5, 9)),
        attack_s=rng.uniform(0.06, 0.18), decay_s=2.0, stereo=True,
    )  # fmt: skip
    return Instrument(play, 0.2, lambda x: highpass(x, 160, sample_rate))


def synth_pluck(rng: Random, sample_rate: int) -> Instrument:
    """Short, bright synthesiser notes for arpeggios."""
    play = _synth(
        sample_rate, voices=2, detune=0.008, cutoff=(1.5, rng.uniform(8, 20)), attack_s=0.002,
        decay_s=rng.uniform(0.06, 0.2), pulse=float(rng.choice([0.0, 0.25, 0.5])),
    )  # fmt: skip
    return Instrument(play, 0.12)


def synth_lead(rng: Random, sample_rate: int) -> Instrument:
    """A synthesiser that sings above the rest."""
    play = _synth(
        sample_rate, voices=int(rng.integers(1, 4)), detune=0.007, cutoff=(rng.uniform(3, 6), rng.uniform(8, 20)),
        attack_s=0.01, decay_s=rng.uniform(0.3, 1.0), pulse=float(rng.choice([0.0, 0.5])),
    )  # fmt: skip
    return Instrument(play, 0.08)


def brass(rng: Random, sample_rate: int) -> Instrument:
    """Brass section: saws that brighten as they swell."""
    players = int(rng.integers(1, 4))

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s + 0.15, sample_rate)
        x = np.zeros(len(t))
        for _ in range(players):
            scoop: Samples = (
                -0.03 * np.exp(-t / 0.025) + take.uniform(-0.003, 0.003) + 0.003 * np.sin(2 * np.pi * 5.2 * t)
            )
            x += saw(np.cumsum(f / sample_rate * (1 + scoop)) + take.random(), f / sample_rate)
        swell = (1 - np.exp(-t / 0.05)) * (0.4 + 0.6 * velocity)
        y = swell * lowpass(x, 2_500 + 3_000 * velocity, sample_rate) + (1 - swell) * lowpass(x, 700, sample_rate)
        return _envelope(t, 0.02, held_s) * y / np.sqrt(players)

    return Instrument(play, 0.06, lambda x: highpass(x, 120, sample_rate))


def flute(rng: Random, sample_rate: int) -> Instrument:
    """Flute to clarinet: few harmonics, breath, vibrato."""
    odd, breath, rate_hz = rng.uniform(0.2, 1.0), rng.uniform(0.05, 0.2), rng.uniform(4.5, 6.0)
    weights = np.array([1.0, 0.5 * (1 - odd), 0.35, 0.2 * (1 - odd), 0.12, 0.05])

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s + 0.15, sample_rate)
        phase = 2 * np.pi * (f * t - 0.004 * f / (2 * np.pi * rate_hz) * np.cos(2 * np.pi * rate_hz * t))
        x = sum(a * velocity ** (0.4 * k) * np.sin((k + 1) * phase) for k, a in enumerate(weights))
        air = bandpass(take.standard_normal(len(t)), f, min(4 * f, 8_000), sample_rate)
        return _envelope(t, 0.04, held_s) * (x + breath * (1 + 3 * np.exp(-t / 0.04)) * air)

    return Instrument(play, 0.08)


def riser(rng: Random, sample_rate: int) -> Instrument:
    """Noise that opens towards the next section."""

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s, sample_rate)
        rise = (t / held_s) ** 2
        noise = take.standard_normal((2, len(t)))
        dark, open_ = bandpass(noise, 200, 900, sample_rate), bandpass(noise, 1_500, 7_000, sample_rate)
        return rise * ((1 - rise) * dark + rise * open_)

    return Instrument(play, 0.05)


INSTRUMENTS: dict[str, Callable[[Random, int], Instrument]] = {
    f.__name__: f
    for f in (
        acoustic_guitar, nylon_guitar, clean_guitar, drive_guitar, electric_bass, piano, mallet, electric_piano, organ,
        synth_bass, sub_bass, pad, strings, synth_pluck, synth_lead, brass, flute, riser,
    )
}  # fmt: skip
"""Every pitched instrument by name; each draws its own character from the generator it is given."""
