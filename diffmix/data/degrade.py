"""Clean tracks made to sound like raw recordings: wrong levels, dull or boomy microphones, hum, noise, rooms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import fft

from diffmix.data import flaws
from diffmix.data.flaws import Signal
from diffmix.data.multitrack import Multitrack, Track
from diffmix.data.synthesis import Random, stream
from diffmix.errors import SettingsError

CLEAN = 0.2
"""Share of the tracks that stay as they are, level included."""

LEVEL_DB = (-60.0, -6.0)
"""Peak levels of recordings, dBFS."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """A named degradation: what it does, how often, and whether it is kept for held-out recordings.

    `response(f, rng, strength)` multiplies the spectrum at f Hz; `change(x, sample_rate, rng, strength)` maps the
    samples (C, T) to (C', T).
    """

    chance: float
    response: Callable[[np.ndarray, Random, float], np.ndarray] | None = None
    change: Callable[[Signal, int, Random, float], Signal] | None = None
    held_out: bool = False


def _level(x: Signal, sample_rate: int, rng: Random, strength: float) -> Signal:
    """Bring the peak to its level: from where it is, `strength` of the way in decibels; quiet ones are rarer."""
    low_db, high_db = LEVEL_DB
    peak = float(np.abs(x).max())
    aim_db = high_db + (low_db - high_db) * rng.beta(1.2, 2.0)
    return x * np.float32(10 ** (strength * (aim_db - 20 * np.log10(peak)) / 20)) if peak > 0 else x


DEGRADATIONS = {
    # what the room and the microphone do, in one product of spectra
    "tilt": Flaw(0.6, response=flaws.tilt),
    "eq": Flaw(0.5, response=flaws.eq),
    "resonance": Flaw(0.4, response=flaws.resonance),
    "low_cut": Flaw(0.4, response=flaws.low_cut),
    "high_cut": Flaw(0.35, response=flaws.high_cut),
    "reflections": Flaw(0.35, response=flaws.reflections, held_out=True),
    "telephone": Flaw(0.1, response=flaws.telephone, held_out=True),
    "polarity": Flaw(0.15, response=flaws.polarity),
    "offset": Flaw(0.3, response=flaws.offset),
    # what happens to the samples, in this order
    "room": Flaw(0.25, change=flaws.add_room),
    "compression": Flaw(0.25, change=flaws.compression),
    "drive": Flaw(0.2, change=flaws.drive),
    "tape": Flaw(0.2, change=flaws.tape, held_out=True),
    "clipping": Flaw(0.15, change=flaws.clipping),
    "dual_mono": Flaw(0.1, change=flaws.dual_mono),
    "mono": Flaw(0.15, change=flaws.mono),
    "stereo": Flaw(0.1, change=flaws.stereo),
    "bitcrush": Flaw(0.1, change=flaws.bitcrush, held_out=True),
    "level": Flaw(1.0, change=_level),
    "hum": Flaw(0.2, change=flaws.hum),
    "noise": Flaw(0.8, change=flaws.noise),
}
"""Every degradation by name, in the order in which they happen."""


def degrade(
    multitrack: Multitrack,
    seed: int,
    strength: float = 1.0,
    *,
    only: str | Iterable[str] | None = None,
    held_out: bool = False,
) -> Multitrack:
    """Record every track again, badly: the same `seed` gives the same recordings, whatever order the tracks have.

    A fifth of the tracks stay clean. Each other one gets every degradation with its own chance, from a random stream
    of its own; chances and sizes grow with `strength` in [0, 1] (0 changes nothing): spectral tilt of up to ±6 dB
    between 100 Hz and 10 kHz, three bands of up to ±9 dB, resonances, a low and a high cut, inverted polarity, up to
    8 ms of delay, a small room, compression, saturation, clipping, other channels (mono, stereo, twice the same), a
    peak level of -60 to -6 dBFS, mains hum and a noise floor of -84 to -30 dBFS, both at least 30 dB below the track's
    peak. Silent tracks get noise and hum alone.

    Args:
        multitrack: stays as it is.
        seed: >= 0.
        strength: 0 to 1.
        only: one or several of `DEGRADATIONS`, which then happen to every track, and no other.
        held_out: allow those that are kept for testing: reflections, telephone, tape, bitcrush.

    Raises SettingsError for another strength, an unknown name, or a held-out one without `held_out`.
    """
    if not 0 <= strength <= 1:
        raise SettingsError(f"strength is {strength}; allowed are numbers from 0 to 1")
    names = _wanted(only, held_out)
    if strength == 0:
        return multitrack
    tracks = tuple(
        _record(track, multitrack.sample_rate, seed, strength, names, only is not None) for track in multitrack.tracks
    )
    return replace(multitrack, tracks=tracks)


def _wanted(only: str | Iterable[str] | None, held_out: bool) -> list[str]:
    asked = list(DEGRADATIONS) if only is None else [only] if isinstance(only, str) else list(only)
    for name in asked:
        if name not in DEGRADATIONS:
            raise SettingsError(f"there is no degradation {name!r}; there are {', '.join(DEGRADATIONS)}")
        if only is not None and DEGRADATIONS[name].held_out and not held_out:
            raise SettingsError(f"the degradation {name!r} is kept for held-out recordings; pass held_out=True")
    return [name for name in DEGRADATIONS if name in asked and (held_out or not DEGRADATIONS[name].held_out)]


def happening(name: str, seed: int, strength: float = 1.0, *, held_out: bool = False) -> tuple[str, ...]:
    """The degradations that a track of this name gets from `degrade(..., seed, strength, held_out=held_out)`."""
    return tuple(_draw(name, seed, strength, _wanted(None, held_out)))


def _draw(track: str, seed: int, strength: float, names: Sequence[str]) -> list[str]:
    if stream(seed, "clean", track).random() < CLEAN:
        return []
    return [n for n in names if stream(seed, "chance", track, n).random() < DEGRADATIONS[n].chance * strength**0.5]


def _record(track: Track, sample_rate: int, seed: int, strength: float, names: Sequence[str], surely: bool) -> Track:
    drawn = list(names) if surely else _draw(track.name, seed, strength, names)
    x = track.audio.numpy()
    if not np.abs(x).max() > 0:
        drawn = [n for n in drawn if n in ("hum", "noise")]
    if not drawn:
        return track
    rngs = {n: stream(seed, "degrade", track.name, n) for n in drawn}
    if spectral := [n for n in drawn if DEGRADATIONS[n].response]:
        length = fft.next_fast_len(x.shape[1] + sample_rate // 8, real=True)
        f = np.maximum(np.arange(length // 2 + 1, dtype=np.float32) * (sample_rate / length), np.float32(1))
        spectrum = fft.rfft(x, length, axis=-1)
        for n in spectral:
            if (response := DEGRADATIONS[n].response) is not None:
                spectrum *= response(f, rngs[n], strength)
        x = fft.irfft(spectrum, length, axis=-1)[:, : x.shape[1]]
    for n in drawn:
        if (change := DEGRADATIONS[n].change) is not None:
            x = change(x, sample_rate, rngs[n], strength)
    peak = float(np.abs(x).max())
    x = x / peak if peak > 1 else x
    return replace(track, audio=torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)))
