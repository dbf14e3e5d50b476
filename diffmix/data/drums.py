"""Procedural drums and percussion: physical sketches with velocity layers and round robins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffmix.data.synthesis import Random, Samples, bandpass, highpass, lowpass, modes, stream, times

LAYERS = 4
"""Velocity layers per piece."""

ROUND_ROBINS = 2
"""Different takes of a layer, used in turn."""


class Kit:
    """The drums of one song: `hit(piece, velocity, count)` gives a mono stroke, its sound fixed by the song's seed."""

    def __init__(self, seed: int, electronic: bool, sample_rate: int) -> None:
        self.seed = seed
        self.electronic = electronic
        self.sample_rate = sample_rate
        self._strokes: dict[tuple[str, int, int], Samples] = {}

    def hit(self, piece: str, velocity: float, count: int) -> Samples:
        """Stroke number `count` on `piece` (a key of `PIECES`) with `velocity` in [0, 1]; full strokes peak near 1."""
        layer = min(int(velocity * LAYERS), LAYERS - 1)
        key = (piece, layer, count % ROUND_ROBINS)
        if key not in self._strokes:
            character = stream(self.seed, "kit", piece)  # the same drum in every layer
            take = stream(self.seed, "take", *key)
            stroke = PIECES[piece](character, take, (layer + 1) / LAYERS, self.electronic, self.sample_rate)
            self._strokes[key] = stroke / max(np.abs(stroke).max(), 1e-9) * (0.25 + 0.75 * (layer + 1) / LAYERS)
        level = 0.7 + 0.6 * (velocity * LAYERS - layer)  # within a layer only the level changes
        return self._strokes[key] * level / 1.3


def _swept(start_hz: float, end_hz: float, sweep_s: float, decay_s: float, t: Samples) -> Samples:
    """A sine that falls from `start_hz` to `end_hz` while it decays: a struck membrane relaxing."""
    cycles = end_hz * t + (start_hz - end_hz) * sweep_s * (1 - np.exp(-t / sweep_s))
    return np.sin(2 * np.pi * cycles) * np.exp(-t / decay_s)


def kick(c: Random, take: Random, v: float, electronic: bool, sample_rate: int) -> Samples:
    """Bass drum: swept fundamental, shell, beater click and the air of the head."""
    pitch_hz, decay_s = c.uniform(42, 62), c.uniform(0.10, 0.22) * (2.0 if electronic else 1.0)
    sweep_s, ratio, click = c.uniform(0.012, 0.035), c.uniform(2.5, 6.0), c.uniform(0.10, 0.35)
    t = times(5 * decay_s, sample_rate)
    body = _swept(pitch_hz * ratio, pitch_hz, sweep_s, decay_s, t) * (1 - np.exp(-t / 0.001))
    shell = modes(c.uniform(90, 900, 8), c.uniform(0.02, 0.07, 8), c.uniform(-0.10, 0.10, 8), 5 * decay_s, sample_rate)
    noise = take.standard_normal(len(t))
    beater = bandpass(noise * np.exp(-t / 0.004), 1_200, 4_500, sample_rate) * click * v
    head = bandpass(noise * np.exp(-t / 0.05), 250, 2_200, sample_rate) * (0.01 if electronic else 0.06)
    return np.tanh(c.uniform(1.0, 2.2) * (body + (0.2 if electronic else 1.0) * shell + beater + head))


def snare(c: Random, take: Random, v: float, electronic: bool, sample_rate: int) -> Samples:
    """Snare drum: two heads and the rattle of the wires, longer and brighter when hit harder."""
    pitch_hz, wires_s, wires = c.uniform(165, 240), c.uniform(0.07, 0.16), c.uniform(0.5, 1.1)
    t = times(0.5, sample_rate)
    ratios = np.array([1.0, 1.59, 2.14, 2.65, 3.6]) * c.uniform(0.97, 1.03, 5)
    shell = modes(pitch_hz * ratios, c.uniform(0.03, 0.11, 5), np.array([1, 0.6, 0.35, 0.2, 0.12]), 0.5, sample_rate)
    rattle = np.exp(-t / (wires_s * (0.6 + 0.4 * v))) * (1 - 0.6 * np.exp(-t / 0.006))
    noise = bandpass(take.standard_normal(len(t)) * rattle, c.uniform(900, 1_800), 4_500 + 2_500 * v, sample_rate)
    stick = bandpass(take.standard_normal(len(t)) * np.exp(-t / 0.002), 2_000, 6_000, sample_rate)
    return np.tanh(0.9 * shell + wires * noise + (0.2 if electronic else 0.5) * v * stick)


def rim(c: Random, take: Random, v: float, electronic: bool, sample_rate: int) -> Samples:
    """Cross stick: a short wooden knock."""
    pitches = c.uniform(420, 560) * np.array([1.0, 2.1, 3.9, 5.8])
    knock = modes(pitches, np.array([0.020, 0.014, 0.010, 0.006]), np.array([1, 0.9, 0.6, 0.4]), 0.15, sample_rate)
    return knock + 0.15 * v * bandpass(take.standard_normal(len(knock)), 300, 3_000, sample_rate) * np.exp(
        -times(0.15, sample_rate) / 0.02
    )


def _plate(c: Random, take: Random, low_hz: float, high_hz: float, decay_s: float, seconds: float, sr: int) -> Samples:
    """A bronze plate: 160 modes, dense towards the top, the high ones dying first; every stroke finds other phases."""
    frequency_hz = low_hz * (high_hz / low_hz) ** np.sort(c.beta(2.0, 1.4, 160))
    tau_s = decay_s * (frequency_hz / low_hz) ** -0.3 * c.uniform(0.5, 1.5, 160)
    amplitude = (frequency_hz / 3_000) ** 0.25 * take.standard_normal(160)
    return modes(frequency_hz, tau_s, amplitude, seconds, sr) / 8


def _hat(decay_s: float, seconds: float) -> Callable[..., Samples]:
    def stroke(c: Random, take: Random, v: float, electronic: bool, sample_rate: int) -> Samples:
        """Hi-hat: two small plates and their sizzle, centred near 6 kHz as recorded ones are."""
        decay = decay_s * c.uniform(0.7, 1.4)
        t = times(seconds, sample_rate)
        plates = _plate(c, take, 900, 14_000, 0.4, seconds, sample_rate)
        sizzle = bandpass(take.standard_normal(len(t)), 3_500, 8_500, sample_rate)
        x = (plates + (0.9 if electronic else 0.5) * sizzle) * np.exp(-t / decay) * (1 - np.exp(-t / 0.0007))
        return lowpass(highpass(x, c.uniform(1_200, 2_600), sample_rate), 7_500 + 4_000 * v, sample_rate, 1)

    return stroke


def crash(c: Random, take: Random, v: float, electronic: bool, sample_rate: int) -> Samples:
    """Crash cymbal: a large plate with a burst of noise that the plate's modes then carry."""
    t = times(2.5, sample_rate)
    plate = _plate(c, take, 280, 13_000, 1.6, 2.5, sample_rate) * (1 - 0.8 * np.exp(-t / 0.02))
    wash = bandpass(take.standard_normal(len(t)) * np.exp(-t / 0.5), 2_500, 9_000, sample_rate)
    return plate + 0.35 * v * wash


def ride(c: Random, take: Random, v: float, electronic: bool, sample_rate: int) -> Samples:
    """Ride cymbal: a clear stick sound over a quiet plate."""
    t = times(1.6, sample_rate)
    plate = _plate(c, take, 350, 11_000, 1.2, 1.6, sample_rate)
    ping = modes(c.uniform(2_200, 4_800, 5), c.uniform(0.05, 0.3, 5), np.full(5, 0.3), 1.6, sample_rate)
    stick = bandpass(take.standard_normal(len(t)) * np.exp(-t / 0.003), 3_000, 8_000, sample_rate)
    return 0.6 * v * plate + ping + stick


def _tom(pitch_hz: float) -> Callable[..., Samples]:
    def stroke(c: Random, take: Random, v: float, electronic: bool, sample_rate: int) -> Samples:
        """Tom: a swept head with two overtones and a stick."""
        f = pitch_hz * c.uniform(0.9, 1.1)
        t = times(0.9, sample_rate)
        head = _swept(1.35 * f, f, 0.05, c.uniform(0.14, 0.28), t)
        tones = modes(
            f * np.array([1.59, 2.14, 2.9]), np.array([0.09, 0.07, 0.04]), np.array([0.4, 0.3, 0.25]), 0.9, sample_rate
        )
        stick = bandpass(take.standard_normal(len(t)) * np.exp(-t / 0.006), 700, 4_500, sample_rate)
        return head + tones + 1.2 * v * stick

    return stroke


def clap(c: Random, take: Random, v: float, electronic: bool, sample_rate: int) -> Samples:
    """Hand clap: several hands within 30 ms, then the room."""
    t = times(0.4, sample_rate)
    starts = np.sort(c.uniform(0, 0.028, 4))
    hands = sum(np.where(t >= s, np.exp(-(t - s).clip(0) / 0.004), 0.0) for s in starts)
    tail = np.where(t >= starts[-1], 0.6 * np.exp(-(t - starts[-1]).clip(0) / 0.07), 0.0)
    return bandpass(take.standard_normal(len(t)) * (hands + tail), c.uniform(700, 1_000), 2_800, sample_rate, 2)


def shaker(c: Random, take: Random, v: float, electronic: bool, sample_rate: int) -> Samples:
    """Shaker: grains that swell and stop."""
    t = times(0.14, sample_rate)
    swell = (t / 0.03) ** 1.5 * np.exp(1.5 * (1 - t / 0.03)) * np.exp(-t / 0.05)
    grains = take.standard_normal(len(t)) * (take.random(len(t)) < 0.25)
    return bandpass(grains * swell, c.uniform(3_500, 5_000), c.uniform(7_000, 9_000), sample_rate)


def tambourine(c: Random, take: Random, v: float, electronic: bool, sample_rate: int) -> Samples:
    """Tambourine: small jingles in a crowd."""
    t = times(0.35, sample_rate)
    jingles = modes(
        c.uniform(3_500, 10_000, 40), c.uniform(0.03, 0.14, 40), take.standard_normal(40) / 6, 0.35, sample_rate
    )
    rattle = bandpass(take.standard_normal(len(t)) * np.exp(-t / 0.03), 3_000, 8_000, sample_rate)
    return jingles + 0.5 * rattle


def _conga(pitch_hz: float) -> Callable[..., Samples]:
    def stroke(c: Random, take: Random, v: float, electronic: bool, sample_rate: int) -> Samples:
        """Conga: a tuned skin with the slap of the hand."""
        f = pitch_hz * c.uniform(0.92, 1.08)
        t = times(0.45, sample_rate)
        ratios = np.array([1.0, 1.51, 2.0, 2.61])
        skin = modes(f * ratios, np.array([0.12, 0.06, 0.05, 0.03]), np.array([1, 0.45, 0.3, 0.2]), 0.45, sample_rate)
        return skin + 0.6 * v * bandpass(take.standard_normal(len(t)) * np.exp(-t / 0.006), 800, 4_000, sample_rate)

    return stroke


PIECES: dict[str, Callable[..., Samples]] = {
    "kick": kick,
    "snare": snare,
    "rim": rim,
    "hat": _hat(0.035, 0.25),
    "open": _hat(0.28, 1.2),
    "tom1": _tom(165.0),
    "tom2": _tom(125.0),
    "tom3": _tom(85.0),
    "crash": crash,
    "ride": ride,
    "clap": clap,
    "shaker": shaker,
    "tambourine": tambourine,
    "conga1": _conga(330.0),
    "conga2": _conga(220.0),
}
"""Every drum and percussion instrument by name."""
