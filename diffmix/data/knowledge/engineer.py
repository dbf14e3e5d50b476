"""A mix of any song, as an engineer who knows the instruments would set it up."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diffmix.data.knowledge.classes import BAND_Q, BANDS, MASTER_HZ, MIX_DB, USUAL, Usual
from diffmix.data.knowledge.placing import Seat, groups, placed
from diffmix.data.knowledge.spectrum import (
    THIRD_OCTAVES_HZ,
    Curve,
    active_frames,
    band_powers,
    drawn,
    equaliser_db,
    fit_equaliser,
    frame_peaks,
    highpass_db,
    k_weighting_db,
    relative_db,
    smoothed,
)
from diffmix.data.knowledge.style import Style, sample_style
from diffmix.data.multitrack import Multitrack, Track
from diffmix.data.synthesis import stream
from diffmix.intent import Intent
from diffmix.settings import Settings

WORKING_LUFS = -23.0
"""Where the trim puts a track, so that thresholds mean the same for every recording."""

_HZ = np.array(THIRD_OCTAVES_HZ)
_TILT = drawn((60, -0.5), (200, -0.4), (1000, 0.0), (5000, 0.4), (12000, 0.5))  # 1 dB of bottom against top
_ROOM_FOR_VOCAL = drawn((1000, 0), (2000, 0.9), (2800, 1), (4000, 0.9), (7000, 0))
_LOW_ROLES = ("bass", "kick", "drums", "tom", "room", "snare")
_NOISE = 32
_UNHEARD_LU = -60.0


class Engineered(NamedTuple):
    """A mix as an engineer intends it, the style it was made in, and each track's EQ curve in dB (28,)."""

    intent: Intent
    style: Style
    eq_curve_db: dict[str, Curve]


def engineer(multitrack: Multitrack, seed: Sequence[int], style: Style | None = None) -> Engineered:
    """A sensible mix of these tracks, for the console ``conf/console/automix.yaml``.

    ``seed`` says which engineer: integers of at least 0; equal arguments give equal mixes, and the order of the tracks
    means nothing. Without a ``style`` the engineer has one. Roles are those of the tracks. Silent tracks change
    nothing for the others.
    """
    return _mixed(multitrack, list(seed), style)


def class_mean(multitrack: Multitrack, style: Style = Style()) -> Intent:  # noqa: B008
    """What the table of roles says, without any engineer's departures from it."""
    return _mixed(multitrack, None, style).intent


class _Engineer:
    """Departures from what is usual: by song, by role and by track; all zero without a seed."""

    def __init__(self, seed: list[int] | None) -> None:
        self.seed = seed

    def rng(self, *key: int | str) -> np.random.Generator | None:
        return None if self.seed is None else stream(len(self.seed), *self.seed, *key)

    def noise(self, *key: int | str) -> NDArray[np.float64]:
        """Standard normal numbers, cut off at 2.5."""
        rng = self.rng(*key)
        return np.zeros(_NOISE) if rng is None else np.clip(rng.standard_normal(_NOISE), -2.5, 2.5)


@dataclass(frozen=True)
class _Heard:
    """What a track is where it sounds, which is the part ``active`` of the time.

    ``spectrum_db`` is relative to its sum, ``peak_db`` what its peaks reach at the working level, ``side_db`` the side
    against the middle, ``lean_db`` the right against the left.
    """

    track: Track
    role: str | None
    spectrum_db: Curve
    peak_db: float
    crest_db: float
    side_db: float
    lean_db: float
    active: float


def _hear(track: Track, sample_rate: int) -> _Heard | None:
    """None of silence."""
    x = track.audio
    powers = band_powers(x, sample_rate)
    active = active_frames(powers)
    if not active.any():
        return None
    spectrum = relative_db(powers[active])
    power = float(powers[active].sum(1).mean())
    loudness = 10 * np.log10(power * len(x)) + _weighted(spectrum, sample_rate) - 0.691
    if loudness < -69:
        return None
    peak_db = 20 * float(frame_peaks(x, sample_rate)[active].clamp_min(1e-9).quantile(0.9).log10())
    side_db, lean_db = _sides(x)
    role = track.role if track.role in USUAL else None
    if role not in _LOW_ROLES and _level_db(spectrum[_HZ < 120]) > -3:
        role = "bass"  # a synth that is mostly bottom plays the bass, whatever it is called
    return _Heard(
        track,
        role,
        spectrum,
        peak_db=peak_db + WORKING_LUFS - loudness,
        crest_db=peak_db - 10 * np.log10(power),
        side_db=side_db,
        lean_db=lean_db,
        active=float(active.double().mean()),
    )


def _weighted(spectrum_db: Curve, sample_rate: float) -> float:
    """Loudness in dB against the plain level of spectra that add up to 0 dB."""
    return float(10 * np.log10((10 ** ((spectrum_db + k_weighting_db(sample_rate)) / 10)).sum()))


def _sides(x: Tensor) -> tuple[float, float]:
    """Level of the side against the middle, and of the right against the left, in dB; of mono audio nothing."""
    if len(x) == 1:
        return -60.0, 0.0
    middle, side = (x[0] + x[1]).square().mean(), (x[0] - x[1]).square().mean()
    left, right = x.square().mean(1).clamp_min(1e-12)
    side_db = 10 * float((side / middle.clamp_min(1e-12)).clamp(1e-6, 1e3).log10())
    return side_db, float(10 * (right / left).log10())


def _mixed(multitrack: Multitrack, seed: list[int] | None, style: Style | None) -> Engineered:
    hand, rate = _Engineer(seed), multitrack.sample_rate
    rng = hand.rng("style")
    style = style if style is not None else (Style() if rng is None else sample_style(rng))
    song = hand.noise("song")
    found = {track.name: _hear(track, rate) for track in sorted(multitrack.tracks, key=lambda t: t.name)}
    heard = {name: h for name, h in found.items() if h is not None}
    own = {name: hand.noise("track", name) for name in heard}
    leaders = {s.name: unit[0].name for unit in groups(_seat(h) for h in heard.values()) for s in unit}
    shared = {name: hand.noise("pair", leaders.get(name, name)) for name in heard}
    role = {h.role: hand.noise("role", h.role or "") for h in heard.values()}

    levels = _levels(heard, style, own, shared, role)
    seats = (_seat(h, h.active * 10 ** (levels[name] / 10)) for name, h in heard.items())
    pans = placed(seats, style.width, hand.rng("placing"))
    knobs, spectra, curves = _strips(heard, style, song, own, shared, role, rate)
    tracks: dict[str, dict[str, dict[str, float]]] = {}
    for track in multitrack.tracks:
        if track.name in heard:
            n, h = own[track.name], heard[track.name]
            tracks[track.name] = {**knobs[track.name], **_place(h, pans[track.name], style, n)}
        else:
            tracks[track.name] = {}
    loudness = {t.name: levels.get(t.name, _UNHEARD_LU) for t in multitrack.tracks}
    settings = Settings(
        tracks=tracks,
        buses={"reverb": {"reverb": _reverb(song)}},
        master=_master(levels, spectra, style, song, rate),
    )
    flat = np.zeros(len(_HZ))
    return Engineered(Intent(settings, loudness), style, {t.name: curves.get(t.name, flat) for t in multitrack.tracks})


# ------------------------------------------------------------------ levels

_FAINT_MICROPHONE = re.compile(r"bot|btm|under|out|amb|far|hall", re.IGNORECASE)


def _levels(
    heard: dict[str, _Heard],
    style: Style,
    own: dict[str, NDArray[np.float64]],
    shared: dict[str, NDArray[np.float64]],
    role: dict[str | None, NDArray[np.float64]],
) -> dict[str, float]:
    """Loudness in LU relative to the sum, energies adding up to 1."""
    shift = {"lead_vocal": style.vocal_db, "backing_vocal": 0.5 * style.vocal_db, "bass": style.bass_db}
    wanted = {}
    for name, h in heard.items():
        usual = USUAL[h.role]
        departure = 0.55 * role[h.role][0] + 0.6 * shared[name][0] + 0.2 * own[name][0]
        second = 4.0 if h.role in ("kick", "snare") and _FAINT_MICROPHONE.search(name) else 0.0
        wanted[name] = (
            usual.level_lu
            + shift.get(h.role or "", 0.0)
            + usual.spread_lu * departure
            - second
            - 10 * np.log10(sum(other.role == h.role for other in heard.values()))
        )
    total = 10 * np.log10(sum(10 ** (level / 10) for level in wanted.values())) if wanted else 0.0
    return {name: float(level - total) for name, level in wanted.items()}


# ------------------------------------------------------------------ strips


def _strips(
    heard: dict[str, _Heard],
    style: Style,
    song: NDArray[np.float64],
    own: dict[str, NDArray[np.float64]],
    shared: dict[str, NDArray[np.float64]],
    role: dict[str | None, NDArray[np.float64]],
    rate: int,
) -> tuple[dict[str, dict[str, dict[str, float]]], dict[str, Curve], dict[str, Curve]]:
    """Knobs in front of the fader and the send; spectra behind the EQ; EQ curves."""
    names = list(heard)
    if not names:
        return {}, {}, {}
    usual = [USUAL[heard[name].role] for name in names]
    mine = np.stack([0.6 * shared[name] + 0.8 * own[name] for name in names])
    of_role = np.stack([role[heard[name].role] for name in names])
    raw = np.stack([heard[name].spectrum_db for name in names])

    low_hz = np.array([_lowest_hz(spectrum) for spectrum in raw])
    cutoffs = np.array([u.highpass_hz for u in usual]) * 2 ** (0.15 * of_role[:, 1] + 0.2 * mine[:, 1])
    cutoffs = np.clip(np.minimum(cutoffs, 0.9 * low_hz), 15, 450)
    passed = raw + highpass_db(cutoffs, rate)

    audible = np.clip((raw - raw.max(1, keepdims=True) + 50) / 25, 0.05, 1)
    target = np.stack([u.target_db for u in usual])
    missing = target - passed
    missing -= (missing * audible**2).sum(1, keepdims=True) / (audible**2).sum(1, keepdims=True)
    amount = np.clip(0.55 + 0.06 * song[0] + 0.06 * mine[:, 2:3], 0.25, 0.85)
    wanted = amount * smoothed(np.clip(missing, -14, 14) * audible)
    wanted += np.stack([u.taste_db for u in usual]) + _carved(heard, style) + 0.5 * style.bright_db * _TILT
    wanted = np.clip(wanted, -9, 9)
    hz = np.array([u.hz for u in usual]) * 2 ** (0.12 * mine[:, 8:14])
    q = np.array(BAND_Q) * 2 ** (0.15 * mine[:, 14:20])
    gains, _ = fit_equaliser(wanted, audible, hz, q, rate)
    gains = np.clip(gains + 0.4 * of_role[:, 2:8] + 0.55 * mine[:, 20:26], -12, 12)
    curves = equaliser_db(hz, gains, q, rate)
    after = passed + curves

    knobs = {}
    for n, (name, u) in enumerate(zip(names, usual, strict=True)):
        change = _level_db(after[n]) - _level_db(raw[n])
        knobs[name] = {
            "highpass": {"cutoff_frequency_hz": float(cutoffs[n])},
            "eq": _equaliser(hz[n], gains[n], q[n]),
            "compressor": _compressor(heard[name], u, style, mine[n], change),
            "send": {"gain_db": _send(u, style, song, of_role[n], mine[n])},
        }
    return knobs, dict(zip(names, after, strict=True)), dict(zip(names, curves, strict=True))


def _equaliser(hz: Iterable[float], gains_db: Iterable[float], q: Iterable[float]) -> dict[str, float]:
    knobs = {}
    for band, f, g, w in zip(BANDS, hz, gains_db, q, strict=True):
        knobs[f"{band}_cutoff_frequency_hz"], knobs[f"{band}_gain_db"], knobs[f"{band}_q"] = (
            float(f),
            float(g),
            float(w),
        )
    return knobs


def _level_db(spectrum_db: Curve) -> float:
    return float(10 * np.log10((10 ** (spectrum_db / 10)).sum()))


def _lowest_hz(spectrum_db: Curve) -> float:
    """Where a hundredth of the energy lies below."""
    part = np.cumsum(10 ** (spectrum_db / 10))
    return float(_HZ[int(np.searchsorted(part, 0.01 * part[-1]))])


def _carved(heard: dict[str, _Heard], style: Style) -> Curve:
    """Room that tracks make for others (N, 28): accompaniment for a lead vocal, kick and bass for each other."""
    roles = {h.role for h in heard.values()}
    found = np.zeros((len(heard), len(_HZ)))
    vocal_db = 2.5 + 0.25 * style.vocal_db if "lead_vocal" in roles else 0.0
    bottom = {
        role: _strongest_hz([h.spectrum_db for h in heard.values() if h.role == role]) for role in ("kick", "bass")
    }
    other = {"kick": "bass", "bass": "kick"}
    for row, h in zip(found, heard.values(), strict=True):
        band = 10 ** (h.spectrum_db / 10) * _ROOM_FOR_VOCAL
        masks = np.clip(1 + np.log10(max(band.sum(), 1e-9)) / 2.5, 0, 1)  # dark tracks are not in the way
        row -= USUAL[h.role].yields * vocal_db * masks * _ROOM_FOR_VOCAL
        if h.role in other and bottom[h.role] and (centre := bottom[other[h.role]]):
            apart = abs(np.log2(centre / bottom[h.role]))
            depth = (2.5 if h.role == "bass" else 1.5) * min(apart / 0.5, 1)  # in one place nothing helps
            row -= depth * np.exp(-((np.log2(_HZ / centre) / 0.4) ** 2))
    return found


def _strongest_hz(spectra_db: list[Curve]) -> float:
    """The third octave from 40 to 125 Hz that is the strongest; 0 of no spectrum."""
    if not spectra_db:
        return 0.0
    power = sum(10 ** (s / 10) for s in spectra_db)
    inside = (_HZ > 38) & (_HZ < 130)
    return float(_HZ[inside][np.argmax(np.asarray(power)[inside])])


def _compressor(
    h: _Heard, usual: Usual, style: Style, noise: NDArray[np.float64], change_db: float
) -> dict[str, float]:
    """More for recordings that jump about more; the threshold lies below their peaks as the EQ leaves them."""
    amount = 2**style.dense
    ratio = 1 + (usual.ratio - 1) * 2 ** (0.4 * style.dense + 0.2 * noise[3])
    reduction = (usual.reduction_db + 0.35 * (h.crest_db - usual.crest_db)) * amount + 0.7 * noise[4]
    reduction = min(max(reduction, 0.0), 10.0)
    peak_db = h.peak_db + change_db - 3  # as the detector sees them, which averages
    return {
        "threshold_db": float(np.clip(peak_db - reduction / (1 - 1 / ratio), -60, 0)),
        "ratio": float(np.clip(ratio, 1, 10)),
        "attack_ms": float(np.clip(usual.attack_ms * 2 ** (0.3 * noise[5]), 0.5, 100)),
        "release_ms": float(np.clip(usual.release_ms * 2 ** (0.3 * noise[6]), 30, 800)),
    }


def _send(
    usual: Usual,
    style: Style,
    song: NDArray[np.float64],
    role: NDArray[np.float64],
    noise: NDArray[np.float64],
) -> float:
    return float(np.clip(usual.send_db + style.reverb_db + song[1] + 1.2 * role[8] + noise[7], -60, 0))


# ------------------------------------------------------------------ places


def _seat(h: _Heard, energy: float = 0.0) -> Seat:
    usual = USUAL[h.role]
    return Seat(
        name=h.track.name,
        role=h.role or "",
        spectrum_db=h.spectrum_db,
        energy=energy,
        single=usual.pan,
        double=usual.pair,
        stereo=h.track.audio.shape[0] == 2,
    )


def _place(h: _Heard, pan: float, style: Style, noise: NDArray[np.float64]) -> dict[str, dict[str, float]]:
    if h.track.audio.shape[0] == 1:
        return {"pan": {"pan": pan}}
    excess = np.sign(h.lean_db) * max(abs(h.lean_db) - 1.5, 0)  # dB that one side is too loud
    balance = -np.sign(excess) * min(2 / np.pi * np.arccos(10 ** (-abs(excess) / 40)), 0.4)
    narrow = 10 ** (0.25 * (np.clip(-8 - h.side_db, -8, 8)) / 20) if h.side_db > -35 else 1.0
    width = narrow * (1 + 0.5 * style.width) * 2 ** (0.15 * noise[26])
    return {
        "image": {
            "balance": float(np.clip(balance + 0.015 * noise[27], -1, 1)),
            "width": float(np.clip(width, 0, 2)),
        }
    }


# ------------------------------------------------------------------ buses and master


def _reverb(song: NDArray[np.float64]) -> dict[str, float]:
    return {
        "room_size": float(np.clip(0.55 + 0.12 * song[2], 0.2, 0.9)),
        "damping": float(np.clip(0.5 + 0.12 * song[3], 0.1, 0.9)),
        "wet_level": 0.33,
        "dry_level": 0.0,
        "width": 1.0,
    }


def _master(
    levels: dict[str, float], spectra: dict[str, Curve], style: Style, song: NDArray[np.float64], rate: int
) -> dict[str, dict[str, float]]:
    wanted = 0.5 * style.bright_db * _TILT
    if levels:
        power = sum(
            10 ** ((levels[name] + spectrum - _weighted(spectrum, rate)) / 10) for name, spectrum in spectra.items()
        )
        missing = MIX_DB + 0.5 * style.bright_db * _TILT - 10 * np.log10(np.maximum(power, 1e-9))
        inside = (_HZ > 45) & (_HZ < 13000)
        missing = np.clip(missing - missing[inside].mean(), -8, 8) * inside
        wanted = wanted + np.clip(0.5 * smoothed(missing, 1.5), -4, 4)
    hz, q = np.array([MASTER_HZ]), np.array([BAND_Q])
    gains, _ = fit_equaliser(wanted[None], np.ones((1, len(_HZ))), hz, q, rate)
    gains = np.clip(gains[0] + 0.3 * song[8:14], -6, 6)
    return {
        "eq": _equaliser(MASTER_HZ, gains, BAND_Q),
        "compressor": {
            "threshold_db": float(-13 - 3 * style.dense + 1.2 * song[4]),
            "ratio": float(1 + 0.6 * 2 ** (0.6 * style.dense + 0.2 * song[5])),
            "attack_ms": float(30 * 2 ** (0.25 * song[6])),
            "release_ms": float(200 * 2 ** (0.25 * song[7])),
        },
        "limiter": {"ceiling_db": -1.0, "release_ms": 100.0, "lookahead_ms": 5.0},
    }
