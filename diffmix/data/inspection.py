"""What is wrong with recordings before they are mixed: found by measuring, said in sentences.

Each test would rather miss a fault than call a sound one: it asks for evidence that music does not give by chance.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from diffmix.data.fullness import moments
from diffmix.data.multitrack import Multitrack, Track

Array = np.ndarray[Any, np.dtype[Any]]

_WINDOWS, _WINDOW = 4, 1 << 16  # what tracks are compared by: the fullest moments of the song
_LONGEST_LAG_S = 0.02
_MAINS_HZ = 0.5  # how far the fundamental may be from 50 or 60: a G is 49.0 Hz, a B 61.7
_CLOSE = {"kick", "snare", "tom"}  # drums of which two microphones are at one place
_CLOSE_MS, _BODY_HZ = 1.0, (80.0, 1000.0)  # how near, and what both of them hear of a drum
_NEAR_MS = 3.0  # microphones a metre apart: beyond that one cannot tell what inverts them from what delays them
_DISTANT = {"overhead", "room"}  # microphones that are to hear everything later
_MIX_NAME = re.compile(
    r"(^|[ _.-])(\d*mix\w*|master\w*|bounce|premaster|print|rough|ref(erence)?|full)($|[ _.-])", re.I
)


class Finding(NamedTuple):
    """A fault of one track: ``kind`` is one of silent, clipping, offset, hum, noise, one_sided, out_of_phase, polarity,
    delay, copy, mix."""

    track: str
    kind: str
    text: str


def inspect(multitrack: Multitrack) -> list[Finding]:
    """What a person should know of these recordings, track by track."""
    found = [finding for track in multitrack.tracks for finding in _alone(track, multitrack.sample_rate)]
    return found + list(_beside(multitrack))


def without_mixes(multitrack: Multitrack, keep: Collection[str] = ()) -> tuple[Multitrack, list[Finding]]:
    """The tracks without any that is a mix of the others, and what was left out and why; those to ``keep`` stay."""
    mixes = [finding for finding in _mixes(multitrack) if finding.track not in keep]
    names = {finding.track for finding in mixes if finding.kind == "mix"}
    if not names or len(names) == len(multitrack.tracks):
        return multitrack, []
    kept = tuple(track for track in multitrack.tracks if track.name not in names)
    return replace(multitrack, tracks=kept), mixes


# ------------------------------------------------------------------ one track


def _alone(track: Track, rate: int) -> Iterator[Finding]:
    x = track.audio.numpy()
    peak = float(np.abs(x).max())
    if peak < 1e-4:
        yield Finding(track.name, "silent", "it is silent" if peak == 0 else "it is as good as silent")
        return
    if (places := _clipped(x, peak)) >= 5:
        yield Finding(track.name, "clipping", f"it is clipped, at {places} places at least: no effect can mend that")
    mean, rms = float(np.abs(x.mean(1, dtype=np.float64)).max()), float(np.sqrt(np.mean(x**2, dtype=np.float64)))
    if mean > 0.1 * rms and mean > 1e-3:
        yield Finding(track.name, "offset", f"it has a DC offset of {mean:.3f}: a highpass takes it away")
    if len(x) == 2:
        sides = np.sqrt((x**2).mean(1, dtype=np.float64))
        if sides.min() < 1e-3 * sides.max():
            only = "left" if sides[0] > sides[1] else "right"
            yield Finding(track.name, "one_sided", f"only its {only} channel holds sound")
        elif float((x[0] * x[1]).mean(dtype=np.float64)) < -0.8 * sides[0] * sides[1]:
            yield Finding(track.name, "out_of_phase", "left and right are inverted: in mono it nearly vanishes")
    yield from _pauses(track.name, x.mean(0), rate)


def _clipped(x: Array, peak: float) -> int:
    """How often three samples in a row stand at a full-scale peak."""
    if peak < 0.98:
        return 0
    top = np.abs(x) >= peak - 2e-4
    return int(np.count_nonzero(top[:, 2:] & top[:, 1:-1] & top[:, :-2] & ~np.pad(top, ((0, 0), (1, 0)))[:, :-3]))


def _pauses(name: str, x: Array, rate: int) -> Iterator[Finding]:
    """Hum and noise, heard where the track pauses."""
    size = 1 << round(math.log2(rate * 0.2))
    frames = len(x) // size
    if frames < 10:
        return
    power = (x[: frames * size].reshape(frames, size) ** 2).mean(1, dtype=np.float64)
    level = 10 * np.log10(power + 1e-14)
    loud = float(np.percentile(level, 95))
    heard = level[level > -100]
    if len(heard) < 10:
        return
    floor = float(np.percentile(heard, 5))
    quiet = np.flatnonzero((level > -100) & (level < floor + 3) & (level < loud - 15))
    if len(quiet) < max(5, 0.05 * frames) or floor < loud - 60:
        return  # it never pauses, or pauses are clean
    steady = float(np.std(level[quiet])) < 1.5
    long, starts = next(((n, found) for n in (8, 4, 3) if (found := _begins(level, quiet, floor, n))), (0, []))
    if not long or not steady:
        return
    long *= size
    window = np.hanning(long).astype(np.float32)
    pieces = [x[n * size : n * size + long] for n in starts[:: max(1, len(starts) // 16)]]
    spectrum = np.mean([np.abs(np.fft.rfft(piece * window)) ** 2 for piece in pieces], 0) + 1e-20
    if mains := _hum(spectrum, rate / long):
        yield Finding(name, "hum", f"mains hum at {mains} Hz, {loud - floor:.0f} dB under its sound")
        return
    hz = np.fft.rfftfreq(long, 1 / rate)
    band = spectrum[(hz > 200) & (hz < min(10000, 0.4 * rate))]
    flatness = float(np.exp(np.mean(np.log(band))) / np.mean(band))
    if flatness > 0.15 and floor > loud - 45:
        yield Finding(name, "noise", f"noise {loud - floor:.0f} dB under its sound is heard in its pauses")


def _begins(level: Array, quiet: Array, floor: float, count: int) -> list[int]:
    """Which of the quiet frames begin ``count`` that all are near the floor: what goes on falling is an echo.

    A few of them have to be as loud as each other too, for soft notes are as short.
    """
    near, spread_db = np.abs(level - floor) < 4, 8.0 if count == 8 else 1.5
    parts = ((n, slice(n, n + count)) for n in quiet.tolist() if n + count <= len(level))
    return [n for n, part in parts if near[part].all() and np.ptp(level[part]) < spread_db]


def _hum(spectrum: Array, step_hz: float) -> int:
    """50 or 60 if their harmonics stand out of a spectrum, and where they are to be, else 0: a low G is 49 Hz."""
    for mains in (50, 60):
        out = 0
        for harmonic in range(1, 7):
            at, near = round(harmonic * mains / step_hz), max(2, round(1.5 / step_hz))
            around = round(15 / step_hz)
            part = spectrum[max(0, at - around) : at + around + 1]
            peak = at - near + int(spectrum[at - near : at + near + 1].argmax())
            before, top, after = np.log(spectrum[peak - 1 : peak + 2])
            bend = before - 2 * top + after
            hz = step_hz * (peak + 0.5 * (before - after) / bend) if bend < 0 else 0.0
            out += spectrum[peak] > 40 * np.median(part) and abs(hz / harmonic - mains) < _MAINS_HZ
        if out >= 3:
            return mains
    return 0


# ------------------------------------------------------------------ tracks beside each other


def _excerpts(multitrack: Multitrack) -> Array:
    """The fullest moments of every track, (N, windows, samples), in mono, with treble lifted by differencing."""
    starts = moments(multitrack, _WINDOW, _WINDOWS)
    return np.stack(
        [
            np.stack([np.diff(t.audio[:, s : s + _WINDOW].numpy().mean(0), prepend=0.0) for s in starts])
            for t in multitrack.tracks
        ]
    ).astype(np.float32)


def _beside(multitrack: Multitrack) -> Iterator[Finding]:
    """Copies, inverted polarity and delays between tracks that hold the same sound."""
    names, rate = [t.name for t in multitrack.tracks], multitrack.sample_rate
    if len(names) < 2:
        return
    x = _excerpts(multitrack)
    envelope = np.stack([_envelope(rows, rate) for rows in x])
    if envelope.shape[1] < 10:
        return  # too short to tell
    envelope -= envelope.mean(1, keepdims=True)
    size = np.linalg.norm(envelope, axis=1)
    energy = (x.astype(np.float64) ** 2).sum((1, 2))
    sounding = (size > 0) & (energy > 1e-8)
    likeness = envelope @ envelope.T / np.maximum(np.outer(size, size), 1e-20)
    spectra: dict[int, Array] = {}
    distant = {n for n, track in enumerate(multitrack.tracks) if track.role in _DISTANT}
    copies: set[int] = set()
    faults: list[_Fault] = []
    span = round(_LONGEST_LAG_S * rate)
    for a, b in combinations(range(len(names)), 2):
        if not (sounding[a] and sounding[b]) or likeness[a, b] < 0.6 or copies & {a, b}:
            continue
        for n in (a, b):
            if n not in spectra:
                spectra[n] = np.fft.rfft(x[n], 2 * x.shape[-1], axis=1)
        cross = np.fft.irfft((spectra[a].conj() * spectra[b]).sum(0))
        lags = np.concatenate([cross[-span:], cross[: span + 1]]) / math.sqrt(energy[a] * energy[b])
        best = int(np.abs(lags).argmax())
        lag_ms, match = 1000 * (best - span) / rate, float(lags[best])
        opposite = float((-lags if match > 0 else lags).max())
        inverted = match < -0.6 and -match > 1.4 * opposite and abs(lag_ms) <= _NEAR_MS
        beside = len({multitrack.tracks[n].role for n in (a, b)} | _CLOSE) == len(_CLOSE)
        if beside and not inverted and (found := _of_the_body(spectra[a], spectra[b], rate)) < -0.5:
            inverted, match, lag_ms = True, found, 0.0
        late = match > 0.6 and match > 1.4 * abs(float(lags[span])) and 0.2 <= abs(lag_ms) < 1000 * span / rate
        if match > 0.9999 and best == span:
            other, copied = (b, a) if names[a].startswith(names[b]) else (a, b)  # "Bass copy" lies before "Bass"
            yield Finding(names[copied], "copy", f"it is a copy of {names[other]}: mute one of them")
            copies.add(copied)
        elif inverted or (late and not {a, b} & distant):
            faults.append(_Fault(a, b, match, lag_ms))
    yield from _told([fault for fault in faults if not copies & {fault.a, fault.b}], names)


def _of_the_body(a: Array, b: Array, rate: int) -> float:
    """How alike two microphones of a drum are at about the same time, from -1 to 1, by spectra of `_excerpts`.

    The wires under a snare, or the beater of a kick, are heard by one of them alone: the body tells. 0 if both
    polarities fit as well.
    """
    hz = np.fft.rfftfreq(2 * (a.shape[-1] - 1), 1 / rate)
    body = (hz >= _BODY_HZ[0]) & (hz <= _BODY_HZ[1])
    plain = np.where(body, 1 / np.maximum(np.sin(np.pi * hz / rate), 1e-9) ** 2, 0.0)  # differencing is undone
    power = [float((np.abs(x) ** 2 * plain).sum()) for x in (a, b)]
    near = round(_CLOSE_MS / 1000 * rate)
    cross = np.fft.irfft((a.conj() * b).sum(0) * plain) * (len(hz) - 1)
    lags = np.concatenate([cross[-near:], cross[: near + 1]]) / max(math.sqrt(power[0] * power[1]), 1e-20)
    low, high = float(lags.min()), float(lags.max())
    return low if -low > 1.4 * high else high if high > -1.4 * low else 0.0


class _Fault(NamedTuple):
    """That two tracks hold the same sound, ``b`` after ``a`` and, where ``match`` is below 0, inverted."""

    a: int
    b: int
    match: float
    lag_ms: float


def _told(faults: list[_Fault], names: list[str]) -> Iterator[Finding]:
    """Each track's fault once, beside the track that is likest: what is inverted to several is the odd one."""
    inverted = Counter(n for fault in faults if fault.match < 0 for n in (fault.a, fault.b))
    said: set[int] = set()
    for a, b, match, lag_ms in sorted(faults, key=lambda fault: -abs(fault.match)):
        if said & {a, b}:  # one fault is said once
            continue
        if match < 0:
            odd, other = (a, b) if inverted[a] > inverted[b] else (b, a)
            late = f", {abs(lag_ms):.1f} ms apart" if lag_ms else ""
            yield Finding(
                names[odd], "polarity", f"its polarity is opposite to that of {names[other]}{late}: invert one"
            )
        else:
            odd, other = (b, a) if lag_ms > 0 else (a, b)
            text = f"it comes {abs(lag_ms):.1f} ms after the same sound in {names[other]}: align them"
            yield Finding(names[odd], "delay", text)
        said.add(odd)


def _envelope(rows: Array, rate: int) -> Array:
    """Loudness contour of excerpts, in steps of about 10 ms."""
    step = max(1, rate // 100)
    count = rows.shape[1] // step
    return np.sqrt((rows[:, : count * step].reshape(len(rows), count, step) ** 2).mean(2)).ravel()


def _mixes(multitrack: Multitrack) -> Iterator[Finding]:
    """Tracks that are a weighted sum, with positive weights, of most of the others."""
    from scipy.optimize import nnls

    names = [t.name for t in multitrack.tracks]
    if len(names) < 4:
        return
    x = _excerpts(multitrack)
    flat = x.reshape(len(names), -1).astype(np.float64)
    gram = flat @ flat.T
    shifted = _shifted(x, multitrack.sample_rate)
    sounding = [n for n in range(len(names)) if gram[n, n] > 1e-8]
    for n in sounding:
        others = [k for k in sounding if k != n]
        if len(others) < 3:
            return
        inner = gram[np.ix_(others, others)]
        scale = np.sqrt(np.diag(inner))
        inner = inner / np.outer(scale, scale) + 1e-6 * np.eye(len(others))
        row = (flat @ shifted[n] if n in shifted else gram[:, n])[others]
        aim = row / scale / math.sqrt(gram[n, n])
        if np.mean(aim > 0.005) < 0.6 or float((aim.clip(0) ** 2).sum()) < 0.3:
            continue  # a mix is like most of its parts
        upper = np.linalg.cholesky(inner).T
        weight, _ = nnls(upper, np.linalg.solve(upper.T, aim))
        explained = float(2 * weight @ aim - weight @ inner @ weight)
        alone = float(np.max(aim) ** 2)  # what the likest single track says of it
        noise = math.sqrt(max(1 - explained, 1e-9) / flat.shape[1])
        share = float(np.mean(weight > 8 * noise))
        hinted = _MIX_NAME.search(names[n]) is not None
        if share >= 0.6 and explained > alone + 0.05 and explained >= (0.35 if hinted else 0.75):
            text = f"left out: it is a mix of the others ({100 * explained:.0f} % of it is their sum)"
            yield Finding(names[n], "mix", text)


def _shifted(x: Array, rate: int) -> dict[int, Array]:
    """Tracks that are like the sum of the others at another time, shifted there, by number."""
    length = x.shape[-1]
    span = min(round(_LONGEST_LAG_S * rate), length // 2)
    if not span:
        return {}
    spectra = np.fft.rfft(x, axis=-1)
    total = spectra.sum(0)
    found = {}
    for n, rows in enumerate(x):
        cross = np.fft.irfft(((total - spectra[n]).conj() * spectra[n]).sum(0), length)
        lags = np.concatenate([cross[-span:], cross[: span + 1]])
        lag = int(lags.argmax()) - span
        if lag and lags.max() > 1.5 * max(float(lags[span]), 1e-12):
            found[n] = np.roll(rows, -lag, axis=-1).ravel().astype(np.float64)
    return found
