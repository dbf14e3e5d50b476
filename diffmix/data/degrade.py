"""Clean tracks made to sound like raw recordings: wrong levels, dull or boomy microphones, hum, noise, rooms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import fft

from diffmix.data.multitrack import Multitrack, Track
from diffmix.data.synthesis import Random, Samples, room, stream, times
from diffmix.errors import SettingsError

LEVEL_DB = (-36.0, -3.0)
"""Peak levels of recordings, dBFS."""

NOISE_DB = (-84.0, -62.0)
"""RMS of the noise floor, dBFS."""


def degrade(multitrack: Multitrack, seed: int, strength: float = 1.0) -> Multitrack:
    """Record every track again, badly: the same `seed` gives the same recordings, whatever order the tracks have.

    Each track gets, with chances and sizes that grow with `strength` in [0, 1] (0 changes nothing): a spectral tilt of
    up to ±6 dB per decade around 1 kHz, two resonances of up to ±8 dB, a low cut (20 to 150 Hz) and a high cut (7 to
    20 kHz), inverted polarity, up to 4 ms of delay, a light room, soft clipping, a peak level of -36 to -3 dBFS, mains
    hum (50 or 60 Hz, -90 to -60 dBFS) and a noise floor of -84 to -62 dBFS. Silent tracks get noise only.
    Raises SettingsError for another strength.
    """
    if not 0 <= strength <= 1:
        raise SettingsError(f"strength is {strength}; allowed are numbers from 0 to 1")
    if strength == 0:
        return multitrack
    tracks = tuple(_record(track, multitrack.sample_rate, seed, strength) for track in multitrack.tracks)
    return replace(multitrack, tracks=tracks)


def _record(track: Track, sample_rate: int, seed: int, strength: float) -> Track:
    rng = stream(seed, "degrade", track.name)
    x = track.audio.numpy().astype(np.float64)
    x = _microphone(x, sample_rate, rng, strength)
    distance, decay_s = 0.3 * strength * rng.random(), rng.uniform(0.15, 0.45)
    if rng.random() < 0.35 * strength:
        rms = np.sqrt((x**2).mean())
        wet = room(x.mean(axis=0), decay_s, sample_rate, rng, len(x))
        x = x + distance * wet * rms / max(np.sqrt((wet**2).mean()), 1e-9)
    peak = np.abs(x).max()
    drive = rng.uniform(0.5, 2.0) * strength
    if peak > 0 and rng.random() < 0.25 * strength:
        x = np.tanh(drive * x / peak) / np.tanh(drive) * peak
    low_db, high_db = LEVEL_DB
    level_db = rng.uniform(low_db, high_db)
    if peak > 0:
        before_db = 20 * np.log10(peak)
        x = x * 10 ** ((1 - strength) * min(before_db, high_db) / 20 + strength * level_db / 20) / np.abs(x).max()
    x = x + _noise(x.shape, sample_rate, rng, strength)
    return replace(track, audio=torch.from_numpy(x.astype(np.float32)))


def _microphone(x: Samples, sample_rate: int, rng: Random, strength: float) -> Samples:
    """Tilt, resonances, cuts, polarity and delay: one product with a complex response, padded so that nothing wraps."""
    length = fft.next_fast_len(x.shape[1] + sample_rate // 4, real=True)
    f = np.maximum(fft.rfftfreq(length, 1 / sample_rate), 1.0)
    response = (f / 1_000) ** (strength * rng.uniform(-6, 6) / 20 + 0j)
    for low_hz, high_hz in ((100, 800), (800, 6_000)):
        centre_hz, q = np.exp(rng.uniform(np.log(low_hz), np.log(high_hz))), rng.uniform(1, 5)
        gain = 10 ** (strength * rng.uniform(-8, 8) / 20)
        band = 1 / (1 + 1j * q * (f / centre_hz - centre_hz / f))  # analogue bandpass: peak 1 at its centre
        response *= 1 + (gain - 1) * band
    low_cut_hz, high_cut_hz = (
        20 * 7.5 ** (rng.random() ** 2 * strength),
        20_000 * 0.35 ** (rng.random() ** 2 * strength),
    )
    response *= 1 / (1 - 1j * low_cut_hz / f) / (1 + 1j * f / high_cut_hz)
    late_s = rng.uniform(0, 0.004) if rng.random() < 0.3 * strength else 0.0
    polarity = -1.0 if rng.random() < 0.15 * strength else 1.0
    response *= polarity * np.exp(-2j * np.pi * f * late_s)
    return fft.irfft(fft.rfft(x, length, axis=-1) * response, length, axis=-1)[:, : x.shape[1]]


def _noise(shape: tuple[int, ...], sample_rate: int, rng: Random, strength: float) -> Samples:
    """Preamplifier noise, and in some tracks the mains with its harmonics; both 30 dB lower at strength 0."""
    gain = 10 ** (-30 * (1 - strength) / 20)
    noise = rng.standard_normal(shape) * 10 ** (rng.uniform(*NOISE_DB) / 20)
    if rng.random() < 0.3 * strength:
        mains_hz, level = rng.choice([50.0, 60.0]), 10 ** (rng.uniform(-90, -60) / 20)
        phase = 2 * np.pi * mains_hz * times(shape[1] / sample_rate + 1, sample_rate)[: shape[1]] + rng.uniform(0, 6)
        noise += level * sum(np.sin(k * phase) / k for k in (1, 2, 3, 5))
    return gain * noise
