"""Why a mix is as it is: what was measured of each track, what was done to it, and what undoing that would change."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffmix.console import Console, DeskValues
from diffmix.data.fullness import fullest
from diffmix.data.knowledge import THIRD_OCTAVES_HZ
from diffmix.data.knowledge.spectrum import band_powers, k_weighting_db
from diffmix.data.multitrack import Multitrack, Track
from diffmix.graph import Renderer
from diffmix.graph.node import Endpoint
from diffmix.kernels.loudness import HEARD_LUFS
from diffmix.playback import Player
from diffmix.settings import Settings

Array = np.ndarray[Any, np.dtype[Any]]

HEARD_S = 6.0
"""Seconds of the song, its fullest, by which spectra, masking and bypassing are judged."""

_RESTING_DB = 30.0  # a track so far under its loudness plays nothing
_HZ = np.array(THIRD_OCTAVES_HZ)
_NAMES = ((60, "sub bass"), (250, "bass"), (500, "low mids"), (2000, "mids"), (6000, "presence"), (1e9, "treble"))


def explained(
    player: Player,
    settings: Settings,
    loudness_after: Mapping[str, float],
    wished: Mapping[str, tuple[float, float, str]] = MappingProxyType({}),
) -> dict[str, dict[str, Any]]:
    """For each track by name, as plain data: ``crest_db`` and ``dominant_hz`` of the recording, ``masked``: the share
    of its spectrum in which the others together are louder and who covers how much of it, ``done`` and ``why`` in
    words, and ``bypass``: what leaving out each processor would change in the sum of all tracks, in front of the
    master's effects: ``level_lu`` and the third octave that changes most, ``hz`` by ``change_db``.

    A track that rests in the song's fullest seconds is judged in its own.

    ``wished`` are ranges (low, high, words) that a person held knobs in, by name: "vox.pan.pan".
    """
    console, multitrack = player.console, player.multitrack
    settings = console.check(settings)
    tracks = {t.name: t for t in multitrack.tracks}
    leads = [n for n, t in tracks.items() if t.role == "lead_vocal" and loudness_after[n] > HEARD_LUFS]
    sum_lufs = 10 * np.log10(sum(10 ** (level / 10) for level in loudness_after.values()))
    audible = [n for n, level in loudness_after.items() if level > HEARD_LUFS]
    around = _Around.of(console, settings, audible, tracks)
    heard = _heard(player, settings, [tracks[name] for name in audible])
    result = {}
    for name, track in tracks.items():
        entry: dict[str, Any] = {
            "crest_db": _crest_db(track.audio),
            "dominant_hz": None,
            "masked": {"share": 0.0, "by": {}},
            "done": [],
            "why": [],
            "bypass": {},
        }
        result[name] = entry
        if name not in heard:
            continue
        part, stages = heard[name], settings["tracks"][name]
        raw = band_powers(track.audio[:, slice(*part.span)], multitrack.sample_rate).mean(0).numpy()
        sounds = bool(part.placed[name].any())
        others = [n for n in leads if n != name]
        vocal = np.mean([part.placed[n].mean(0) for n in others], 0) if others else None
        held = _held(name, stages, wished)
        before_lufs, under_lu = multitrack.loudness_lufs[name], sum_lufs - loudness_after[name]
        entry["dominant_hz"] = float(_HZ[int(raw.argmax())])
        entry["masked"] = _masked(name, part.placed) if sounds else entry["masked"]
        entry["done"] = list(_done(console, stages, track.audio.shape[0]))
        entry["why"] = [
            *(f"as you wished: {words}" for words in dict.fromkeys(held.values())),
            *_about_level(stages, before_lufs, under_lu, "fader.gain_db" in held, console),
            *_about_effects(entry, stages, raw, vocal),
            *_about_place(track, entry["dominant_hz"], around, held),
            *_about_sends(name, entry["dominant_hz"], around, held),
            *_about_masking(entry["masked"]),
        ]
        entry["bypass"] = dict(_bypassed(player, settings, name, part)) if sounds else {}
    return result


class _Heard(NamedTuple):
    """What sounds in some seconds of a song."""

    span: tuple[int, int]  # in samples
    placed: Mapping[str, Array]  # third octaves of each track in the mix, (F, 28)
    total: Tensor  # the sum of all, in front of the master's effects, (2, n)
    spectrum: Array  # its third octaves, (28,)

    @classmethod
    def of(cls, player: Player, settings: Settings, span: tuple[int, int]) -> "_Heard":
        """Play them."""
        rate, ends, master = player.multitrack.sample_rate, player.wired.ends, Endpoint("master", "out")
        found = list(player.played(settings, [*ends, master], start=span[0], stop=span[1]))
        sound = {end: torch.cat([part[end] for part in found], -1) for end in (*ends, master)}
        placed = {name: band_powers(sound[end], rate).numpy() for name, end in zip(player.names, ends, strict=True)}
        return cls(span, placed, sound[master], band_powers(sound[master], rate).mean(0).numpy())


def _heard(player: Player, settings: Settings, tracks: Sequence[Track]) -> dict[str, _Heard]:
    """The fullest seconds of a song, for each track by name; for those that rest there, the fullest of these."""
    found: dict[str, _Heard] = {}
    session, left = player.multitrack, list(tracks)
    while left:
        span = fullest(session, HEARD_S)
        loudness = {t.name: player.multitrack.loudness_lufs[t.name] for t in left}
        playing = [t for t in left if _power_db(t.audio[:, slice(*span)]) > loudness[t.name] - _RESTING_DB]
        if not playing and len(session.tracks) > 1:  # no two of them play together
            session = replace(session, tracks=(left[0],))
            continue
        part = _Heard.of(player, settings, span)
        found |= {track.name: part for track in playing or left}
        left = [track for track in left if track.name not in found]
        session = replace(session, tracks=tuple(left or tracks))
    return found


def master_bypass(player: Player, settings: Settings) -> dict[str, dict[str, float]]:
    """What leaving out each of the master's effects would change in the mix, as in `explained`."""
    console, multitrack, rate = player.console, player.multitrack, player.multitrack.sample_rate
    start, stop = fullest(multitrack, HEARD_S)
    settings = console.check(settings)
    before = player.whole(settings, Endpoint("master", "out"), start=start, stop=stop)
    plain = band_powers(player.finished(before, settings, Endpoint("master", "out")), rate).mean(0)
    found = {}
    for stage, effect in console.master.items():
        neutral = {k: p.default for k, p in effect.spec}
        if settings["master"][stage] == neutral or stage == "gain":
            continue
        without = Settings({**settings, "master": {**settings["master"], stage: neutral}})
        if stage == "limiter":
            without["master"][stage] = {**neutral, "ceiling_db": 0.0}
        y = player.finished(before, without, Endpoint("master", "out"))
        found[stage] = _change(plain.numpy(), band_powers(y, rate).mean(0).numpy(), rate)
    return found


def _crest_db(audio: Tensor) -> float | None:
    """How far the highest peak of a recording stands above its mean, in dB; None for silence."""
    peak = max(float(audio.max()), -float(audio.min()))
    return round(20 * math.log10(peak) - _power_db(audio), 1) if peak > 0 else None


def _power_db(audio: Tensor) -> float:
    """The mean square of a recording."""
    mean = _product(audio, audio) / audio.numel()
    return 10 * math.log10(mean) if mean > 0 else -math.inf


def _masked(name: str, placed: Mapping[str, Array]) -> dict[str, Any]:
    """Where the others are louder than a track while it plays, weighted by its own energy in each third octave."""
    own = placed[name]
    total = own.sum(1)
    active = total > 1e-3 * total.max()
    mean = own[active].mean(0)
    weight = mean / mean.sum()
    others = {n: p[active].mean(0) for n, p in placed.items() if n != name}
    every = np.sum(list(others.values()), 0) if others else np.zeros_like(mean)
    covered = {n: float(weight[p > mean].sum()) for n, p in others.items()}
    most = sorted((n for n in covered if covered[n] >= 0.1), key=lambda n: -covered[n])[:3]
    return {"share": round(float(weight[every > mean].sum()), 2), "by": {n: round(covered[n], 2) for n in most}}


def _bypassed(player: Player, settings: Settings, name: str, part: _Heard) -> Iterator[tuple[str, dict[str, float]]]:
    """What leaving out each processor of one track would change in the sum of all."""
    console, rate = player.console, player.multitrack.sample_rate
    track = next(t for t in player.multitrack.tracks if t.name == name)
    stages = settings["tracks"][name]
    place = ("pan" if track.audio.shape[0] == 1 else "image") if console.track_spec.size else ""
    effects = {**console.strip, place: getattr(console, place), **console.sends}
    variants: dict[str, Any] = {}
    for stage, effect in effects.items():
        neutral = {knob: p.default for knob, p in effect.spec}
        if stage != "trim" and any(abs(stages[stage][k] - v) > 1e-6 for k, v in neutral.items()):
            variants[stage] = {**stages, stage: neutral}
    if not variants:
        return
    alone = Multitrack(name, rate, (track,))
    single = Player(console, alone)
    each = [console.numbers(Settings({**settings, "tracks": {name: knobs}})) for knobs in (stages, *variants.values())]
    values = DeskValues(*({k: torch.cat([v[n][k] for v in each]) for k in each[0][n]} for n in range(3)))
    x = track.audio[:, slice(*part.span)].expand(len(each), 1, -1, -1)
    sources = single.wired.sources(x)
    master = Endpoint("master", "out")
    with torch.no_grad():
        live = single.wired.renderer.live
        renderer = Renderer(single.graph, console.sample_rate, processors=live, targets=[master])
        made = renderer.signals(sources, single.wired.knobs(values, None))[master]
    rest = part.total - made[0]
    for (stage, _), y in zip(variants.items(), made[1:], strict=True):
        yield stage, _change(part.spectrum, band_powers(rest + y, rate).mean(0).numpy(), rate)


def _change(before: Array, after: Array, rate: float) -> dict[str, float]:
    """From one spectrum (28,) to another: loudness in LU, and the third octave that changes most, of those heard."""
    weight = 10 ** (k_weighting_db(rate) / 10)
    level = 10 * np.log10(max(float((after * weight).sum()), 1e-20) / max(float((before * weight).sum()), 1e-20))
    heard = np.maximum(before, after) > 1e-5 * max(before.max(), after.max())
    bands = np.where(heard, 10 * np.log10(np.maximum(after, 1e-20) / np.maximum(before, 1e-20)), 0.0)
    most = int(np.abs(bands).argmax())
    return {"level_lu": round(level, 2), "hz": float(_HZ[most]), "change_db": round(float(bands[most]), 2)}


# ------------------------------------------------------------------ words


def hertz(value: float) -> str:
    """A frequency as people say it."""
    return f"{value / 1000:.2g} kHz" if value >= 1000 else f"{value:.0f} Hz"


def region(hz: float) -> str:
    """What a range of frequencies is called."""
    return next(name for top, name in _NAMES if hz < top)


def _bands(knobs: Mapping[str, float]) -> list[tuple[float, float]]:
    """(Hz, dB) of an equaliser's bands that do something, the strongest first."""
    found = [
        (knobs.get(f"{name.removesuffix('_gain_db')}_cutoff_frequency_hz", 0.0), gain)
        for name, gain in knobs.items()
        if name.endswith("_gain_db") and abs(gain) >= 0.5
    ]
    return sorted(found, key=lambda band: -abs(band[1]))


def _done(console: Console, stages: Mapping[str, Mapping[str, float]], channels: int) -> Iterator[str]:
    """What was done to a track, in words."""
    trim, fader = (stages.get(s, {}).get("gain_db", 0.0) for s in ("trim", "fader"))
    yield f"gain {trim + fader:+z.1f} dB (trim {trim:+z.1f}, fader {fader:+z.1f})"
    highpass = stages.get("highpass", {}).get("cutoff_frequency_hz", 0.0)
    if highpass > 11:
        yield f"highpass at {hertz(highpass)}"
    for stage in stages:
        if bands := _bands(stages[stage]):
            yield f"{stage} " + ", ".join(f"{gain:+.1f} dB at {hertz(hz)}" for hz, gain in bands[:4])
    squeeze = stages.get("compressor", {})
    if squeeze.get("ratio", 1) > 1.01 and squeeze.get("threshold_db", 0) < -0.05:
        yield f"compression {squeeze['ratio']:.1f}:1 above {squeeze['threshold_db']:.0f} dB"
    pan = stages.get("pan", {}).get("pan", 0.0) if channels == 1 else stages.get("image", {}).get("balance", 0.0)
    if abs(pan) >= 0.02:
        yield f"{'pan' if channels == 1 else 'balance'} {'left' if pan < 0 else 'right'} {100 * abs(pan):.0f} %"
    if channels == 2 and abs(width := stages.get("image", {}).get("width", 1.0) - 1) >= 0.02:
        yield f"width {100 * (1 + width):.0f} %"
    for send, bus in console.layout["sends"].items():
        if (level := stages.get(send, {}).get("gain_db", -60.0)) > -59:
            yield f"{bus} at {level:.0f} dB"


class _Around(NamedTuple):
    """What the tracks that sound are like beside each other."""

    places: Mapping[str, float]  # from -1, left, to 1
    widths: Mapping[str, float]  # of those in stereo
    sends: Mapping[str, tuple[str, Mapping[str, float]]]  # its bus, and the level in dB of each
    middle: Sequence[str]  # who plays there, singers first

    @classmethod
    def of(
        cls, console: Console, settings: Mapping[str, Any], sounding: Sequence[str], tracks: Mapping[str, Track]
    ) -> "_Around":
        """The surroundings of every track."""
        knobs = {name: settings["tracks"][name] for name in sounding}
        stereo = [name for name in sounding if tracks[name].audio.shape[0] == 2]
        places = {
            name: stages["image"]["balance"] if name in stereo else stages["pan"]["pan"]
            for name, stages in knobs.items()
        }
        sends = {
            send: (bus, {name: stages[send]["gain_db"] for name, stages in knobs.items()})
            for send, bus in console.layout["sends"].items()
        }
        centred = [name for name in sounding if abs(places[name]) < 0.05]
        middle = sorted(centred, key=lambda name: tracks[name].role != "lead_vocal")
        return cls(places, {name: knobs[name]["image"]["width"] for name in stereo}, sends, middle)


def _held(
    name: str, stages: Mapping[str, Mapping[str, float]], wished: Mapping[str, tuple[float, float, str]]
) -> dict[str, str]:
    """The knobs of a track that are where a person wished them, and the words."""
    return {
        f"{stage}.{knob}": wished[full][2]
        for stage, knobs in stages.items()
        for knob, value in knobs.items()
        if (full := f"{name}.{stage}.{knob}") in wished and wished[full][0] - 1e-6 <= value <= wished[full][1] + 1e-6
    }


def _about_level(
    stages: Mapping[str, Mapping[str, float]], before_lufs: float, under_lu: float, held: bool, console: Console
) -> Iterator[str]:
    """Why trim and fader are where they are."""
    trim = stages.get("trim", {}).get("gain_db", 0.0)
    if abs(trim) >= 3:
        how = "softly" if trim > 0 else "loudly"
        yield f"it was recorded {how}, at {before_lufs:.0f} LUFS: the trim brings it to the level of the others"
    if held:
        yield f"so it is {under_lu:.1f} LU under the sum of all tracks"
        return
    yield f"in the mix it is to be {under_lu:.1f} LU under the sum of all tracks, and the fader follows"
    knob = console.fader.spec.params["gain_db"]
    if stages["fader"]["gain_db"] >= knob.high - 1e-3:
        yield f"its fader is at its top, {knob.high:+g} dB: more was perhaps meant"


def _about_effects(
    entry: Mapping[str, Any], stages: Mapping[str, Mapping[str, float]], raw: Array, vocal: Array | None
) -> Iterator[str]:
    """Reasons for filters and dynamics, from what was measured and what departs from neutral."""
    level = 10 * np.log10(np.maximum(raw, 1e-12))
    highpass = stages.get("highpass", {}).get("cutoff_frequency_hz", 0.0)
    if highpass > 11:
        share = float(raw[highpass * 0.9 > _HZ].sum() / max(raw.sum(), 1e-20))
        less = f"is {-10 * np.log10(share):.0f} dB weaker than the whole" if share > 1e-8 else "is nothing"
        does = "leaves that range to others" if share < 0.1 else "thins it, so that the low end does not swell"
        yield f"what lies under {hertz(highpass)} {less}: the highpass {does}"
    for hz, gain in _bands(stages.get("eq", {}))[:2]:
        if abs(gain) >= 1:
            yield _about_band(hz, gain, level, vocal, entry)
    squeeze = stages.get("compressor", {})
    crest = entry["crest_db"]
    if squeeze.get("ratio", 1) > 1.01 and squeeze.get("threshold_db", 0) < -0.05 and crest is not None:
        far = "stand far out" if crest > 16 else "stand out"
        ends = f"and {far}: the compressor holds them" if crest > 11 else "only: the compressor presses it gently"
        yield f"its peaks are {crest:.0f} dB above its mean {ends}"


def _about_place(track: Track, dominant_hz: float, around: _Around, held: Mapping[str, str]) -> Iterator[str]:
    """Why a track stands where it does, and is as wide as it is."""
    name, place = track.name, around.places[track.name]
    if not held.keys() & {"pan.pan", "image.balance"}:
        side = "left" if place < 0 else "right"
        facing = [n for n, p in around.places.items() if p * place < 0 and abs(p + place) < 0.15]
        middle = " and ".join(n for n in around.middle[:2] if n != name)
        if abs(place) >= 0.1 and facing:
            nearest = min(facing, key=lambda n: abs(around.places[n] + place))
            yield f"{side} of the centre, as {nearest} faces it from the other side"
        elif abs(place) >= 0.1:
            yield f"{side} of the centre" + (f", which is left to {middle}" if middle else ", where there is room")
        elif len(track.audio) == 1 and (dominant_hz <= 160 or track.role == "lead_vocal"):
            yield f"in the centre, where {'low' if dominant_hz <= 160 else 'leading'} sounds hold the mix"
    width = around.widths.get(name, 1.0)
    if abs(width - 1) >= 0.05 and "image.width" not in held:
        left, right = track.audio[:1], track.audio[1:]
        apart, both = _product(left, left) + _product(right, right), 2 * _product(left, right)
        sides, centre = apart - both, apart + both
        if sides > 1e-8 * centre > 0:
            under_db = 10 * np.log10(centre / sides)
            how = "wider, for more room" if width > 1 else "narrower, for a firmer middle"
            yield f"its sides are {abs(under_db):.0f} dB {'under' if under_db > 0 else 'over'} its middle: {how}"


def _product(a: Tensor, b: Tensor) -> float:
    """The sum of the products of the samples of two signals (C, T), in double precision and without copies."""
    return float(np.einsum("ct,ct->", a.numpy(), b.numpy(), dtype=np.float64))


def _about_sends(name: str, dominant_hz: float, around: _Around, held: Mapping[str, str]) -> Iterator[str]:
    """Why a track gets more or less of a bus than others, where it does."""
    for send, (bus, levels) in around.sends.items():
        more = levels[name] - float(np.median(list(levels.values())))
        if len(levels) < 3 or abs(more) < 4 or f"{send}.gain_db" in held:
            continue
        if more > 0:
            yield f"{bus} {more:.0f} dB more than most tracks get: more space around it"
        else:
            clear = "the low end stays clear" if dominant_hz <= 160 else "it stays in front"
            yield f"{bus} {-more:.0f} dB less than most tracks get: {clear}"


def _about_masking(masked: Mapping[str, Any]) -> Iterator[str]:
    """Who covers a track."""
    if masked["share"] >= 0.3 and masked["by"]:
        names = " and ".join(list(masked["by"])[:2])
        yield f"{names} still cover{'s' if len(masked['by']) == 1 else ''} much of it ({100 * masked['share']:.0f} %)"


def _about_band(hz: float, gain: float, level: Array, vocal: Array | None, entry: Mapping[str, Any]) -> str:
    """Why an equaliser's band is where it is."""
    near = np.abs(np.log2(_HZ / hz)) < 0.4
    around = (np.abs(np.log2(_HZ / hz)) < 2) & ~near
    excess = float(level[near].mean() - level[around].mean()) if near.any() and around.any() else 0.0
    what = f"{gain:+.1f} dB at {hertz(hz)}"
    if gain < 0:
        if vocal is not None and 1000 <= hz <= 6000:
            share = float(vocal[near].sum() / max(vocal.sum(), 1e-20))
            if share > 0.04:
                return f"{what} makes room for the vocal, which is understood there"
        if excess > 1:
            return f"{what}: in the {region(hz)} it stands out by {excess:.0f} dB"
        return f"{what}: less {region(hz)}, as is usual for such a track"
    if excess < -1:
        return f"{what}: in the {region(hz)} it is {-excess:.0f} dB weaker than around"
    names = ", ".join(entry["masked"]["by"])
    return f"{what}: more {region(hz)}" + (f", to be heard beside {names}" if names else ", as is usual")


def ordered_changes(bypass: Mapping[str, Mapping[str, float]]) -> Sequence[str]:
    """What leaving out each processor would change, in words, the most audible first."""
    rank = sorted(bypass.items(), key=lambda item: -abs(item[1]["change_db"]))
    return [
        f"without {stage}: {c['level_lu']:+z.1f} LU, {c['change_db']:+.1f} dB at {hertz(c['hz'])}"
        for stage, c in rank
        if abs(c["change_db"]) >= 0.1
    ]
