"""Pitched instruments drawn at random: any source that its kind may have, through any envelope, body and amplifier.

An estimator that has heard many such instruments cannot lean on how one synthesiser sounds. How the held-out engine of
a kind makes its sound (`engines.ENGINES`) is no source of that kind here: frequency modulation of guitars, pianos and
woodwind, sums of harmonics of basses, strings and brass, a field that bends of keys, phase distortion of synthesisers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from diffmix.data.engines.instrument import Instrument, audible, envelope, harmonics, knock, vibrato
from diffmix.data.engines.plucked import behind
from diffmix.data.engines.struck import spread
from diffmix.data.synthesis import (
    Random,
    Samples,
    bandpass,
    between,
    highpass,
    lowpass,
    modes,
    pluck,
    saw,
    smooth,
    times,
)

Range = tuple[float, float]

Source = Callable[[Random, int, "Kind"], Callable[[float, Samples, Samples, float, Random], Samples]]
"""source(generator, sample_rate, kind) -> wave(frequency_hz, cycles (T,), brightness (T,), velocity, take) -> (T,)."""


class Kind(NamedTuple):
    """What instruments of a kind have in common, as ranges.

    ``held``: share of those whose notes last; of the others, the seconds in which one at 220 Hz falls to 1/e.
    ``slope``: strengths of the harmonics fall as n^-slope. ``noise``, ``noise_hz``, ``noise_s``: of pick, hammer, bow
    or breath at the start of notes; ``breath``: what goes on of it. ``vibrato``: depth. ``voices``: how many play at
    once. ``stereo``, ``tremolo``: shares. ``low_hz``: of the highpass. ``body``: strength of the resonances.
    """

    sources: tuple[Source, ...]
    held: float = 0.0
    attack_s: Range = (0.001, 0.004)
    decay_s: Range = (0.3, 2.0)
    release_s: Range = (0.05, 0.15)
    slope: Range = (0.6, 1.7)
    top_hz: Range = (2_500, 12_000)
    stiffness: Range = (1e-6, 2e-4)
    noise: Range = (0.02, 0.4)
    noise_hz: tuple[Range, Range] = ((200, 800), (2_000, 7_000))
    noise_s: Range = (0.003, 0.02)
    breath: Range = (0.0, 0.0)
    vibrato: Range = (0.0, 0.0)
    voices: tuple[int, int] = (1, 1)
    detune: Range = (0.001, 0.008)
    stereo: float = 0.0
    low_hz: Range = (30, 90)
    body: Range = (0.0, 1.0)
    drive: Range = (0.0, 0.0)
    tremolo: float = 0.0


# ------------------------------------------------------------------ sources


def _saws(rng: Random, sample_rate: int, kind: Kind) -> Callable[..., Samples]:
    """Saws, pulses or something between, through a filter that follows the brightness."""
    pulse, second = rng.uniform(0.05, 0.5), float(rng.choice([0.0, rng.uniform(0.2, 1), 1.0]))
    closed, opened, order = between(rng, 1.2, 8), between(rng, 3, 30), int(rng.integers(1, 4))
    top_hz = between(rng, *kind.top_hz)

    def wave(f: float, cycles: Samples, bright: Samples, velocity: float, take: Random) -> Samples:
        step = np.diff(cycles, prepend=cycles[0] - f / sample_rate)
        x = saw(cycles, step) - second * saw(cycles + pulse, step)
        low, high = (min(ratio * f + 150, top_hz) for ratio in (closed, closed + opened))
        return (1 - bright) * lowpass(x, low, sample_rate, order) + bright * lowpass(x, high, sample_rate, order)

    return wave


def _modulated(rng: Random, sample_rate: int, kind: Kind) -> Callable[..., Samples]:
    """A sine modulated by one or two others at simple or slightly bent ratios."""
    ratio, other = rng.choice([0.5, 1, 1, 2, 3, 4, 5, 7], 2) * (1 + 0.002 * rng.standard_normal(2))
    index, inner, floor = between(rng, 0.5, 6), float(rng.choice([0.0, rng.uniform(0.2, 2)])), rng.uniform(0, 0.7)
    top_hz = between(rng, *kind.top_hz)

    def wave(f: float, cycles: Samples, bright: Samples, velocity: float, take: Random) -> Samples:
        w = 2 * np.pi * cycles
        most = min(index, top_hz / (f * (ratio + 1)))
        bend = most * (floor + (1 - floor) * bright)
        return highpass(np.sin(w + bend * np.sin(ratio * w + inner * bright * np.sin(other * w))), 25, sample_rate)

    return wave


def _summed(rng: Random, sample_rate: int, kind: Kind) -> Callable[..., Samples]:
    """Harmonics of random strengths, the higher ones the weaker the duller it is."""
    slope, odd, place = rng.uniform(*kind.slope), rng.uniform(0, 1), rng.uniform(0.08, 0.5)
    rough, comb = np.exp(rng.uniform(0, 0.9) * rng.standard_normal(32)), rng.uniform(0, 1)
    top_hz, dull = between(rng, *kind.top_hz), rng.uniform(0.02, 0.3)

    def wave(f: float, cycles: Samples, bright: Samples, velocity: float, take: Random) -> Samples:
        n = audible(f, sample_rate, 32, top_hz)
        weight = n**-slope * rough[: len(n)] * (1 - comb + comb * np.abs(np.sin(np.pi * n * place)))
        weight = weight * np.where(n % 2 == 0, 1 - odd, 1)
        weights = (weight[k] * bright ** (dull * k) for k in range(len(n)))
        return harmonics(2 * np.pi * cycles, weights)  # type: ignore[arg-type]

    return wave


def _folded(rng: Random, sample_rate: int, kind: Kind) -> Callable[..., Samples]:
    """A sine through a curve, further into it the brighter."""
    way, drive, lean = int(rng.integers(3)), between(rng, 0.7, 5), rng.uniform(0, 0.6)
    top_hz = between(rng, *kind.top_hz)
    powers = rng.standard_normal(7) * 0.7 ** np.arange(7)

    def wave(f: float, cycles: Samples, bright: Samples, velocity: float, take: Random) -> Samples:
        x = (0.15 + 0.85 * bright) * np.sin(2 * np.pi * cycles)
        if way == 0:
            y = np.tanh(drive * (x + lean))
        elif way == 1:
            y = np.sin(min(drive, 0.15 * top_hz / f + 0.5) * np.pi / 2 * (x + lean))
        else:
            y = np.polynomial.chebyshev.chebval(np.clip(x, -1, 1), [0, 1, *powers])
        return highpass(lowpass(y, top_hz, sample_rate), 25, sample_rate)

    return wave


def _strung(rng: Random, sample_rate: int, kind: Kind) -> Callable[..., Samples]:
    """One or two delay loops (`synthesis.pluck`)."""
    ring_s, damping_hz, bright_hz = (
        5 * between(rng, *kind.decay_s),
        between(rng, 200, 3_000),
        between(rng, 500, 5_000),
    )
    place, apart, strings = rng.uniform(0.06, 0.45), rng.uniform(1e-4, 1.5e-3), int(rng.integers(1, 3))

    def wave(f: float, cycles: Samples, bright: Samples, velocity: float, take: Random) -> Samples:
        ring = ring_s * (220 / f) ** 0.4
        seconds = (len(cycles) + 0.5) / sample_rate
        parts = [
            pluck(
                f * (1 + k * apart), seconds, sample_rate, take, decay_s=ring, damping_hz=damping_hz,
                brightness_hz=bright_hz * (0.4 + 0.6 * velocity), position=place,
            )
            for k in range(strings)
        ]  # fmt: skip
        x: Samples = sum(parts)  # type: ignore[assignment]
        return x

    return wave


def _modal(rng: Random, sample_rate: int, kind: Kind) -> Callable[..., Samples]:
    """Stiff partials that decay each at its own speed, or the few of a bar."""
    slope, place, stiffness = rng.uniform(*kind.slope), rng.uniform(0.06, 0.45), between(rng, *kind.stiffness)
    ring_s, damping_hz, top_hz = (
        between(rng, *kind.decay_s),
        between(rng, 500, 4_000),
        between(rng, *kind.top_hz),
    )
    rough = np.exp(rng.uniform(0, 0.8) * rng.standard_normal(28))

    def wave(f: float, cycles: Samples, bright: Samples, velocity: float, take: Random) -> Samples:
        n = audible(f, sample_rate, 28, top_hz)
        weight = n ** -(slope * (1.4 - 0.6 * velocity)) * rough[: len(n)] * np.abs(np.sin(np.pi * n * place))
        decay = 2 * ring_s * (220 / f) ** 0.5 / (1 + n * f / damping_hz)
        return modes(
            n * f * np.sqrt(1 + stiffness * n**2), decay, weight, (len(cycles) + 0.5) / sample_rate, sample_rate
        )

    return wave


def _bar(rng: Random, sample_rate: int, kind: Kind) -> Callable[..., Samples]:
    """The few partials of a bar, a tine or a bell."""
    ratios = np.array([1.0, rng.choice([2.0, 2.76, 3.0, 3.93, 4.0]), rng.uniform(5, 11)])
    weights, fade = np.array([1, *rng.uniform(0.05, 0.7, 2)]), rng.uniform(0.3, 1)
    ring_s = between(rng, *kind.decay_s)

    def wave(f: float, cycles: Samples, bright: Samples, velocity: float, take: Random) -> Samples:
        decay = 2 * ring_s * (220 / f) ** 0.3 / ratios**fade
        loud = weights * ratios ** (0.5 * (velocity - 1))
        return modes(f * ratios, decay, loud, (len(cycles) + 0.5) / sample_rate, sample_rate)

    return wave


# ------------------------------------------------------------------ instruments


def instrument(kind: Kind, rng: Random, sample_rate: int, flavour: str = "") -> Instrument:
    """An instrument of a kind, drawn at random."""
    source = kind.sources[int(rng.integers(len(kind.sources)))]
    wave = source(rng, sample_rate, kind)
    held = rng.random() < kind.held
    attack_s, decay_s = between(rng, *kind.attack_s), between(rng, *kind.decay_s)
    release_s = rng.uniform(*kind.release_s)
    settle_s, floor = between(rng, 0.03, 0.6), rng.uniform(0.05, 0.9 if held else 0.5)
    first, late = rng.uniform(0, 0.7), rng.uniform(0.15, 0.5)  # of a decay in two steps
    swells, swell_s = held and rng.random() < 0.5, between(rng, 0.03, 0.2)
    noise, noise_s = rng.uniform(*kind.noise), between(rng, *kind.noise_s)
    noise_low_hz, noise_top_hz = (between(rng, *ends) for ends in kind.noise_hz)
    breath = rng.uniform(*kind.breath)
    depth, rate_hz, wait_s = rng.uniform(*kind.vibrato), rng.uniform(4.2, 6.8), rng.uniform(0.05, 0.4)
    scoop, scoop_s = rng.uniform(-0.03, 0.01) * (rng.random() < 0.4), between(rng, 0.01, 0.05)
    voices, detune = int(rng.integers(kind.voices[0], kind.voices[1] + 1)), between(rng, *kind.detune)
    wide = rng.random() < kind.stereo
    solid = source in (_strung, _modal, _bar)  # these decay by themselves

    def play(f: float, held_s: float, velocity: float, take: Random) -> Samples:
        after_s = 0.15 if held else 0.25
        t = times(min(held_s + after_s, 60.0 if held else max(6 * decay_s, 0.5)), sample_rate)
        force = (0.3 + 0.7 * velocity) * (1 - np.exp(-t / swell_s) if swells else 1.0)
        bright = force * (floor + (1 - floor) * np.exp(-t / settle_s))
        course = vibrato(t, depth, rate_hz * take.uniform(0.95, 1.05), wait_s) + scoop * np.exp(-t / scoop_s)
        if depth:
            course = course + 0.01 * smooth(take.standard_normal(len(t)), 0.05, sample_rate)
        cycles = np.cumsum(course) * (f / sample_rate)

        def side() -> Samples:
            x = np.zeros(len(t))
            for k in range(voices):
                ratio = 1 + detune * (k - (voices - 1) / 2)
                x += wave(f * ratio, cycles * ratio + take.random(), bright, velocity, take)
            return x / np.sqrt(voices)

        x = np.stack([side(), side()]) if wide and not solid else side()
        level = np.abs(x).max() + 1e-9
        x = x / level
        if not held and not solid:
            fall_s = decay_s * (220 / f) ** 0.4
            x = x * (first * np.exp(-t / (late * fall_s)) + (1 - first) * np.exp(-t / fall_s))
        if breath:
            air = bandpass(
                take.standard_normal(len(t)), min(noise_low_hz, 0.5 * noise_top_hz), noise_top_hz, sample_rate
            )
            x = x + breath * air
        x = x * envelope(t, attack_s, held_s)
        return x + noise * velocity * knock(len(t), noise_s, noise_low_hz, noise_top_hz, sample_rate, take)

    return Instrument(play, release_s, _behind(kind, rng, sample_rate))


def _behind(kind: Kind, rng: Random, sample_rate: int) -> Callable[[Samples], Samples]:
    """A body with up to four resonances, then perhaps drive, a tremolo, a dull end and a highpass."""
    count, strength = int(rng.integers(5)), rng.uniform(*kind.body)
    hz, gains = np.exp(rng.uniform(np.log(150), np.log(4_000), 4)), strength * rng.uniform(0.3, 1.5, 4)
    low_hz, top_hz, order = between(rng, *kind.low_hz), between(rng, 3_000, 16_000), int(rng.integers(1, 3))
    drive = rng.uniform(*kind.drive)
    rate_hz, depth = between(rng, 0.7, 7), rng.uniform(0.1, 0.5) * (rng.random() < kind.tremolo)
    dull = rng.random() < 0.4

    def amp(x: Samples) -> Samples:
        y = x + sum(gains[k] * bandpass(x, 0.85 * hz[k], 1.15 * hz[k], sample_rate) for k in range(count))
        if drive > 0:
            y = np.tanh(drive * y / (np.percentile(np.abs(y[..., ::7]), 99.5) + 1e-9))
        if depth:
            y = y * (1 - depth * (0.5 + 0.5 * np.sin(2 * np.pi * rate_hz * np.arange(y.shape[-1]) / sample_rate)))
        if dull:
            y = lowpass(y, top_hz, sample_rate, order)
        return highpass(y, low_hz, sample_rate, 1)

    return amp


# ------------------------------------------------------------------ kinds

_BASS = Kind(
    (_saws, _modulated, _folded, _strung), held=0.5, decay_s=(0.25, 2.5), top_hz=(600, 5_000), noise=(0, 0.15),
    noise_s=(0.002, 0.01), voices=(1, 2), low_hz=(22, 38), body=(0.0, 0.4),
)  # fmt: skip
_GUITAR = Kind((_saws, _summed, _folded, _strung, _strung, _modal, _modal), top_hz=(4_000, 12_000), body=(0.0, 0.8))
_PIANO = Kind(
    (_saws, _summed, _folded, _strung, _strung, _modal, _modal), decay_s=(0.5, 3.0), slope=(0.7, 2.0), voices=(1, 2),
    detune=(0.0003, 0.0015), noise=(0.02, 0.25), noise_hz=((80, 200), (1_200, 5_000)), noise_s=(0.006, 0.03),
    body=(0.0, 0.5),
)  # fmt: skip
_TINE = Kind(
    (_modulated, _modulated, _summed, _saws, _strung, _bar), decay_s=(0.4, 2.5), slope=(0.9, 2.2), noise=(0, 0.3),
    stereo=0.2, tremolo=0.4,
)  # fmt: skip
_ORGAN = Kind(
    (_modulated, _summed, _summed, _saws), held=1.0, attack_s=(0.002, 0.03), slope=(0.3, 1.6), noise=(0, 0.3),
    noise_hz=((400, 900), (3_000, 8_000)), release_s=(0.03, 0.1), voices=(1, 2), tremolo=0.5, vibrato=(0, 0.004),
    drive=(0.0, 1.5), stereo=0.2,
)  # fmt: skip
_BARS = Kind(
    (_bar, _bar, _bar, _modulated, _modal), decay_s=(0.08, 1.0), release_s=(0.2, 0.5), noise=(0.02, 0.35),
    noise_hz=((300, 900), (2_500, 7_000)), tremolo=0.2,
)  # fmt: skip
_PAD = Kind(
    (_saws, _saws, _modulated, _summed, _folded), held=1.0, attack_s=(0.06, 0.5), release_s=(0.2, 0.4), noise=(0, 0),
    voices=(1, 3), stereo=0.9, breath=(0, 0.04), tremolo=0.2,
)  # fmt: skip
_PLUCK = Kind((_saws, _saws, _modulated, _summed, _folded), decay_s=(0.06, 0.8), noise=(0, 0.05), voices=(1, 3))
_LEAD = Kind(
    (_saws, _saws, _modulated, _summed, _folded), held=0.9, attack_s=(0.003, 0.03), noise=(0, 0.02), voices=(1, 3),
    vibrato=(0, 0.006), drive=(0, 1.5),
)  # fmt: skip
_STRINGS = Kind(
    (_saws, _saws, _folded), held=1.0, attack_s=(0.03, 0.2), release_s=(0.12, 0.3), noise=(0, 0.2),
    noise_hz=((600, 2_000), (4_000, 9_000)), noise_s=(0.02, 0.08), breath=(0.0, 0.08), vibrato=(0.001, 0.006),
    voices=(1, 4), stereo=0.6, low_hz=(120, 180), body=(0.3, 1.5), top_hz=(3_000, 9_000),
)  # fmt: skip
_BRASS = Kind(
    (_saws, _saws, _modulated, _folded), held=1.0, attack_s=(0.015, 0.06), release_s=(0.05, 0.1), noise=(0, 0.1),
    noise_s=(0.01, 0.03), vibrato=(0, 0.004), voices=(1, 3), low_hz=(90, 140), top_hz=(2_500, 8_000), stereo=0.15,
)  # fmt: skip
_WOODWIND = Kind(
    (_saws, _summed, _summed, _folded), held=1.0, attack_s=(0.02, 0.06), release_s=(0.06, 0.1), noise=(0.02, 0.3),
    noise_hz=((400, 1_500), (3_000, 8_000)), noise_s=(0.015, 0.06), breath=(0.01, 0.15), vibrato=(0, 0.008),
    slope=(0.8, 2.5), low_hz=(100, 180), top_hz=(1_500, 6_000),
)  # fmt: skip


def wide_bass(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """A bass of any make."""
    return instrument(_BASS, rng, sample_rate)


def wide_guitar(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Strings of any make behind which stands what the flavour asks for."""
    found, behind_it = instrument(_GUITAR, rng, sample_rate), behind(flavour, sample_rate, rng)
    amp = found.amp
    return found._replace(amp=lambda x: behind_it(amp(x) if amp else x))


def wide_piano(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """A piano of any make, most often in stereo."""
    found, width = instrument(_PIANO, rng, sample_rate), rng.uniform(0.1, 0.8)
    if rng.random() < 0.15:
        return found
    return found._replace(play=lambda f, held_s, v, take: spread(found.play(f, held_s, v, take), f, width, sample_rate))


def wide_keys(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """An electric piano, an organ or bars of any make."""
    return instrument({"organ": _ORGAN, "bar": _BARS}.get(flavour, _TINE), rng, sample_rate)


def wide_synth(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """A synthesiser of any make."""
    return instrument({"pad": _PAD, "lead": _LEAD}.get(flavour, _PLUCK), rng, sample_rate)


def wide_strings(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """A section or a single player."""
    return instrument(_STRINGS, rng, sample_rate)


def wide_brass(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """One to three players."""
    return instrument(_BRASS, rng, sample_rate)


def wide_woodwind(rng: Random, sample_rate: int, flavour: str) -> Instrument:
    """Flute to saxophone and beyond."""
    return instrument(_WOODWIND, rng, sample_rate)
