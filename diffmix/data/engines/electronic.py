"""Synthesisers and effects: subtractive, frequency modulation, wavetables, phase distortion, moving noise."""

from __future__ import annotations

import numpy as np

from diffmix.data.engines.instrument import Instrument, Play, audible, envelope, harmonics
from diffmix.data.synthesis import Random, Samples, bandpass, highpass, lowpass, modes, saw, times


def subtractive(
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
    """Detuned saws (or pulses) and a sub-oscillator; the filter closes with the note by a cross-fade between an open
    and a closed one. `cutoff` is (closed, open) in multiples of the note's frequency."""

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
        closed_hz, open_hz = (min(c * f, 9_000.0) + 200 for c in cutoff)
        bright = np.exp(-t / decay_s) * (0.3 + 0.7 * velocity)
        y = bright * lowpass(x, open_hz, sample_rate) + (1 - bright) * lowpass(x, closed_hz, sample_rate)
        return envelope(t, attack_s, held_s) * (y + sub * np.sin(2 * np.pi * f / 2 * t))

    return play


def _times(rng: Random, flavour: str) -> tuple[float, float, float]:
    """Attack, decay and release in seconds of a pad, pluck, lead or stab."""
    if flavour == "pad":
        return rng.uniform(0.1, 0.5), rng.uniform(0.8, 3.0), 0.3
    if flavour == "lead":
        return rng.uniform(0.005, 0.03), rng.uniform(0.3, 1.0), 0.08
    return 0.002, rng.uniform(0.06, 0.3), 0.12


def _wide(flavour: str) -> bool:
    return flavour == "pad"


# ------------------------------------------------------------------ synthesisers


def analogue_synth(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Subtractive: saws or pulses through a filter."""
    attack_s, decay_s, release_s = _times(rng, flavour)
    closed = rng.uniform(3, 7) if flavour != "pluck" else rng.uniform(1.2, 3)
    play = subtractive(
        sample_rate, voices=2 if _wide(flavour) else int(rng.integers(1, 4)), detune=rng.uniform(0.003, 0.012),
        cutoff=(closed, rng.uniform(5, 18)), attack_s=attack_s, decay_s=decay_s,
        pulse=float(rng.choice([0.0, 0.25, 0.5])), stereo=_wide(flavour),
    )  # fmt: skip
    return Instrument(play, release_s)


def fm_synth(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Two modulators into one carrier (Chowning 1973)."""
    attack_s, decay_s, release_s = _times(rng, flavour)
    ratios, index = rng.choice([0.5, 1.0, 2.0, 3.0], 2), rng.uniform(1.0, 4.0)
    floor, beat = rng.uniform(0.2, 0.7), rng.uniform(0.2, 1.2)
    falls = flavour == "pluck"

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s + 0.3, sample_rate)
        bend = index * min(1, 900 / f) * (0.3 + 0.7 * velocity) * (floor + (1 - floor) * np.exp(-t / decay_s))

        def side(turn: float) -> Samples:
            w = 2 * np.pi * f * t
            inner = np.sin(ratios[1] * w + turn)
            return np.sin(w + bend * np.sin(ratios[0] * w + 2 * np.pi * beat * t * turn) + 0.4 * bend * inner)

        x = np.stack([side(0.3), side(-0.3)]) if _wide(flavour) else side(0.1)
        fade = np.exp(-t / (2 * decay_s)) if falls else 1.0
        return envelope(t, attack_s, held_s) * fade * x

    return Instrument(play, release_s, lambda x: highpass(x, 40, sample_rate))


def wavetable_synth(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """A cross-fade between two waves of random harmonics."""
    attack_s, decay_s, release_s = _times(rng, flavour)
    slope = rng.uniform(0.5, 1.2)
    tables = np.abs(rng.standard_normal((2, 32)))
    tables[:, 0] = 1
    detune = rng.uniform(0.001, 0.005)
    falls = flavour == "pluck"

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s + 0.3, sample_rate)
        n = audible(f, sample_rate, 24, 8_000)
        first, second = tables[:, : len(n)] * n ** -(slope * (1.3 - 0.4 * velocity))
        blend = np.exp(-t / decay_s)

        def side(ratio: float) -> Samples:
            w = 2 * np.pi * f * ratio * t + take.uniform(0, 6)
            return blend * harmonics(w, first) + (1 - blend) * harmonics(w, second)

        x = np.stack([side(1 - detune), side(1 + detune)]) if _wide(flavour) else side(1.0)
        return envelope(t, attack_s, held_s) * (np.exp(-t / (3 * decay_s)) if falls else 1.0) * x / 2

    return Instrument(play, release_s)


def bent_synth(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Phase distortion: a cosine that is read faster in one part of its cycle than in the other."""
    attack_s, decay_s, release_s = _times(rng, flavour)
    knee, floor = rng.uniform(0.02, 0.12), rng.uniform(0.4, 0.8)
    detune, edge = rng.uniform(0.001, 0.006), rng.uniform(1, 5)
    falls = flavour == "pluck"

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s + 0.3, sample_rate)
        sharp = (0.3 + 0.7 * velocity) * (floor + (1 - floor) * np.exp(-t / decay_s))
        turn = 0.5 - (0.5 - max(knee, f / 14_000)) * sharp if f < 6_000 else np.full(len(t), 0.5)

        def side(ratio: float) -> Samples:
            p = (f * ratio * t + take.random()) % 1
            bent = np.where(p < turn, 0.5 * p / turn, 0.5 + 0.5 * (p - turn) / (1 - turn))
            y = -np.cos(2 * np.pi * bent)
            return y + edge * highpass(y, 1_500, sample_rate, 1)

        x = np.stack([side(1 - detune), side(1 + detune)]) if _wide(flavour) else side(1.0)
        return envelope(t, attack_s, held_s) * (np.exp(-t / (3 * decay_s)) if falls else 1.0) * x

    return Instrument(play, release_s)


# ------------------------------------------------------------------ effects: the note's length is the effect's


def noise_riser(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Noise that opens towards the next section, or closes after the last one."""
    falls, top_hz = rng.random() < 0.3, rng.uniform(4_000, 9_000)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s, sample_rate)
        rise = (t[::-1] if falls else t) ** 2 / held_s**2
        noise = take.standard_normal((2, len(t)))
        dark, open_ = bandpass(noise, 200, 900, sample_rate), bandpass(noise, 1_000, top_hz, sample_rate)
        return rise * ((1 - rise) * dark + 0.6 * rise * open_)

    return Instrument(play, 0.05)


def tone_riser(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Saws that glide up or down by octaves while a siren turns in them."""
    octaves, rate_hz = rng.choice([-2.0, -1.0, 1.0, 2.0]), rng.uniform(2, 9)
    width = rng.uniform(0.003, 0.02)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        t = times(held_s, sample_rate)
        pitch = 2 * f * 2 ** (octaves * t / held_s) * (1 + 0.03 * np.sin(2 * np.pi * rate_hz * t))
        step = pitch / sample_rate
        x = np.stack([saw(np.cumsum(step * (1 + s)), step) for s in (width, -width)])
        return (0.1 + t / held_s) * lowpass(x, 3_500, sample_rate)

    return Instrument(play, 0.05)


def struck_fx(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """An impact: a low drop and a field of metal that dies away."""
    ring_s, low_hz = rng.uniform(0.5, 2.0), rng.uniform(30, 60)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        seconds = min(held_s, 4.0)
        t = times(seconds, sample_rate)
        drop = np.sin(2 * np.pi * (low_hz * t + 12 * (1 - np.exp(-t / 0.1)))) * np.exp(-t / ring_s)
        tones = take.uniform(150, 5_000, 60)
        metal = [modes(tones, ring_s * take.uniform(0.2, 1, 60), take.standard_normal(60) / 12, seconds, sample_rate)
                 for _ in (0, 1)]  # fmt: skip
        return np.stack(metal) + drop

    return Instrument(play, 0.3)


def grain_fx(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """A cloud of short tones, thicker towards its end, each grain at its own place."""
    density, grain_s = rng.uniform(15, 60), rng.uniform(0.03, 0.12)
    low_hz, high_hz = rng.uniform(200, 500), rng.uniform(2_500, 7_000)

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        y = np.zeros((2, int(held_s * sample_rate)))
        size = int(grain_s * sample_rate)
        window = np.hanning(size)
        for _ in range(int(density * min(held_s, 6)) + 1):
            start = int(take.random() ** 0.6 * max(y.shape[1] - size, 1))
            hz = low_hz * (high_hz / low_hz) ** take.random()
            grain = window * np.sin(2 * np.pi * hz / sample_rate * np.arange(size) + take.uniform(0, 6))
            place = take.random()
            end = min(start + size, y.shape[1])
            y[0, start:end] += np.sqrt(1 - place) * grain[: end - start]
            y[1, start:end] += np.sqrt(place) * grain[: end - start]
        return y

    return Instrument(play, 0.05)
