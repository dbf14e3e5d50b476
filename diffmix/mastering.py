"""A finished mix made a master: equaliser, compressor, gain and limiter set towards a target, every knob kept."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from diffmix.console import WORKING_LEVEL_LUFS, Console
from diffmix.data.audio import check_sample_rate, read
from diffmix.data.knowledge.classes import MASTER_HZ
from diffmix.data.knowledge.mastering import GENRES, UNTOUCHED, Target, mixed, nearest
from diffmix.data.knowledge.spectrum import (
    THIRD_OCTAVES_HZ,
    Curve,
    fit_equaliser,
    long_term_spectrum_db,
    smoothed,
)
from diffmix.data.multitrack import Multitrack, Track, load
from diffmix.errors import AudioError, SettingsError
from diffmix.kernels.biquad import frequency_response
from diffmix.kernels.loudness import integrated_loudness, true_peak_db
from diffmix.metrics import crest_db, loudness_range
from diffmix.mix import Mix, finished, render
from diffmix.params import Param
from diffmix.playback import Progress
from diffmix.processors import ParametricEQ
from diffmix.settings import Settings, shortest
from diffmix.types import Path
from diffmix.wishes import Wishes

STAGES: dict[str, dict[str, str]] = {
    "eq": {"eq": "ParametricEQ"},
    "dynamics": {"compressor": "Compressor"},
    "limiter": {"gain": "Gain", "limiter": "BrickwallLimiter"},
}
"""What ``only`` can name, and the effects of the chain that it stands for, in order."""

LOUDNESS_LUFS = -14.0
"""What streaming services play at."""

MOST_DB = 5.0
"""The most that the equaliser changes a band; more is a matter of the mix."""

MOST_REDUCTION_DB = 3.0
"""The most that the compressor takes off the loud parts."""

LIMITED_DB = 4.0
"""What a limiter takes off peaks before it is heard."""

USUAL_LUFS = (-40.0, -6.0)
"""Recordings outside are brought to the working level in front of the chain, so that its thresholds reach them."""

EXCERPT_S = 20.0
_CENTRES = np.array(THIRD_OCTAVES_HZ)


class Measured(NamedTuple):
    """A recording in numbers: loudness (BS.1770), peak over loudness, crest, loudness range (Tech 3342), spectrum."""

    loudness_lufs: float
    true_peak_db: float
    plr_db: float
    crest_db: float
    range_lu: float
    spectrum_db: Curve

    @classmethod
    def of(cls, x: Tensor, sample_rate: float) -> "Measured":
        """Measure audio (C, T)."""
        loudness = float(integrated_loudness(x[None], sample_rate))
        peak = float(true_peak_db(x[None], sample_rate))
        range_lu, crest = float(loudness_range(x[None], sample_rate)), float(crest_db(x[None]))
        return cls(loudness, peak, peak - loudness, crest, range_lu, long_term_spectrum_db(x, sample_rate))


@dataclass(frozen=True)
class Master(Mix):
    """A master and how it was made: a `diffmix.Mix` of one track, the recording, whose chain is the console's master.

    ``target`` is what was aimed at; ``reasons`` say by stage what was done and why, and are empty once settings are
    edited by hand. ``save`` writes master.wav besides what a mix has; all its other abilities are those of a mix.
    """

    AUDIO: ClassVar[str] = "master.wav"

    target: Target = UNTOUCHED
    amount: float = 1.0
    reasons: Mapping[str, str] = field(default_factory=dict)

    def rendered(
        self, settings: Settings | None = None, mute: str | Sequence[str] = (), solo: str | Sequence[str] = ()
    ) -> "Master":
        """The recording under other settings, exactly as given (no loudness target is applied)."""
        made = replace(self, reasons={}, notes=()) if settings is not None else self
        return cast(Master, super(Master, made).rendered(settings, mute, solo))

    @property
    def source(self) -> Tensor:
        """The recording as it came, (1, T) or (2, T)."""
        return self.multitrack.tracks[0].audio

    @cached_property
    def report(self) -> dict[str, Any]:
        """What was measured, as plain data.

        ``before`` and ``after``: the fields of `Measured`; ``target``: those of `Target`, its curve level with the
        master's; ``reasons``; ``bypass``: by stage how loudness, true peak and crest of the loudest seconds change when
        it is left out, in dB; ``notes``.
        """
        found = {
            "before": Measured.of(self.source, self.sample_rate),
            "after": Measured.of(torch.from_numpy(self.audio), self.sample_rate),
        }
        after = found["after"].spectrum_db
        curve = None
        if self.target.curve_db is not None:
            shift = np.average(after - self.target.curve_db, weights=_reach(self.sample_rate))
            curve = (self.target.curve_db + shift).tolist()
        return {
            "name": self.multitrack.name,
            "sample_rate": self.sample_rate,
            "seconds": self.audio.shape[-1] / self.sample_rate,
            "frequency_hz": list(THIRD_OCTAVES_HZ),
            **{k: {**m._asdict(), "spectrum_db": m.spectrum_db.tolist()} for k, m in found.items()},
            "target": {**self.target._asdict(), "curve_db": curve, "spread_db": self.target.spread_db.tolist()},
            "reasons": dict(self.reasons),
            "bypass": _bypassed(self),
            "notes": [*self.notes, *([f"No preset: {self.unplayable}"] if self.unplayable else [])],
        }

    def write_report(self, folder: Path) -> None:
        """Write report.html, report.png and report.json into an existing folder."""
        from diffmix.master_report import write

        write(self, folder)


def master(
    mix: Any,
    target: Any = "auto",
    *,
    sample_rate: int | None = None,
    loudness_lufs: float | None = None,
    ceiling_db: float = -1.0,
    amount: float = 1.0,
    lock: Sequence[str] | Mapping[str, float] = (),
    bound: Sequence[str] | Mapping[str, Any] = (),
    only: str | Sequence[str] = "",
    progress: Progress | None = None,
) -> Master:
    """Master a finished mix: equaliser, compressor, gain and limiter, towards a target.

    A mono recording is one in the chain too, and becomes a master of two equal channels.

    Args:
        mix: a path, or an array (T,), (2, T) or (T, 2) with ``sample_rate``.
        target: ``"auto"`` takes what is near among the genres; a genre, ``"pop"``, or several, ``"pop,electronic"``; a
            recording to come near, as a path at any rate or an array at the mix's; ``"streaming"`` is ``"auto"`` at -14
            LUFS; a number is a loudness in LUFS, and leaves spectrum and dynamics.
        sample_rate: Hz of an array.
        loudness_lufs: integrated loudness, -40..-5 LUFS (ITU-R BS.1770-4); by default that of a reference, else -14.
        ceiling_db: true peak that the master keeps below, -20..0 dBTP.
        amount: how far spectrum and dynamics go towards the target, 0..1.
        lock: knobs of the chain that stay: ``["compressor", "eq.peak1_gain_db=-2"]``; without a value they change
            nothing.
        bound: knobs to keep in a range: ``["eq=±2", "compressor.ratio=1..1.5"]``.
        only: the stages to use: ``"eq,dynamics,limiter"``. Without ``limiter`` the level is left as it comes.
        progress: called with what is being done and the share done.

    Raises AudioError, also for silence, and SettingsError, each in one sentence.
    """
    _inside(ceiling_db, -20, 0, "ceiling_db", " dBTP")
    _inside(amount, 0, 1, "amount", "")
    stages = _stages(only)
    song = _programme(mix, sample_rate, "the mix")
    rate, source = song.sample_rate, song.tracks[0].audio
    say = progress or (lambda what, done: None)
    say("measuring", 0.0)
    before = Measured.of(source, rate)
    if before.loudness_lufs <= -69:
        raise AudioError(f"{song.name} is silent: there is nothing to master")
    aim = _target(target, before, rate)
    if "limiter" not in stages and (loudness_lufs is not None or aim.curve_db is None):
        raise SettingsError("a loudness is reached by the limiter's stage, which only= leaves out; add limiter to it")
    wanted = aim.loudness_lufs if loudness_lufs is None else loudness_lufs
    wanted = LOUDNESS_LUFS if wanted is None else wanted
    _inside(wanted, -40, -5, "loudness_lufs", " LUFS")
    console = _console(rate, stages)
    wishes = Wishes.read(console, song, _of_master(lock), _of_master(bound))
    knobs = console.narrowed_specs(["mix"], wishes.limits)[1]["master"].params
    chain = _Chain(console, knobs)
    level = USUAL_LUFS[0] <= before.loudness_lufs <= USUAL_LUFS[1] or "limiter" not in stages
    trim_db = 0.0 if level else WORKING_LEVEL_LUFS - before.loudness_lufs
    reasons = {}
    if "eq" in stages:
        say("equalising", 0.3)
        reasons["eq"] = chain.equalise(before, aim, amount)
    if "dynamics" in stages:
        say("compressing", 0.4)
        low, high = aim.plr_db
        if "limiter" in stages:  # what the loudness asks for, beyond what the limiter may take
            high = max(low, min(high, ceiling_db - wanted + LIMITED_DB))
        loudest = _loudest(source, rate) * 10 ** (trim_db / 20)
        reasons["dynamics"] = chain.compress(loudest, before, aim._replace(plr_db=(low, high)), amount)
    if "limiter" in stages:
        chain.limit(before.plr_db - (ceiling_db - wanted))
    trim = {"trim": {"gain_db": shortest(trim_db)}}
    settings = console.check(Settings(tracks={"mix": trim}, master=chain.settings))
    unused = "image" if len(source) == 1 else "pan"
    del settings["tracks"]["mix"][unused]
    if "limiter" in stages:

        def later(what: str, done: float) -> None:
            say(what, 0.5 + 0.5 * (0.5 * done if what == "rendering" else 0.5 + 0.5 * done))

        made = finished(console, song, settings, wanted, ceiling_db, limits=wishes.limits, progress=later)
        reasons["limiter"] = _level_reason(made, before, trim_db)
    else:
        made = Mix(render(console, song, settings).numpy(), rate, settings, console, song, song.notes)
    fields = {f.name: getattr(made, f.name) for f in dataclasses.fields(Mix)}
    return Master(**fields, target=aim, amount=amount, reasons=reasons)


# -- what comes in ---------------------------------------------------------------------------------------------------


def _programme(given: Any, sample_rate: int | None, what: str) -> Multitrack:
    """A recording as a song of one track, ``mix``, at its own rate."""
    if isinstance(given, str | os.PathLike):
        file = FilePath(given)
        x, rate = read(file)
        check_sample_rate(rate, str(file))
        if not x.shape[-1]:
            raise AudioError(f"{file}: holds no samples")
        return Multitrack(file.stem, rate, (Track("mix", x, None, (str(file),)),))
    if sample_rate is None:
        raise AudioError(f"{what} as an array needs sample_rate=..., the rate in Hz that it was recorded at")
    return replace(load({"mix": given}, sample_rate), name=what.removeprefix("the "), notes=())


def _target(target: Any, before: Measured, rate: int) -> Target:
    """What a person's target means for a recording."""
    if isinstance(target, Target):
        return target
    number = _number(target)
    if number is not None:
        _inside(number, -40, -5, "target", " LUFS")
        return UNTOUCHED._replace(name=f"{number:g} LUFS", loudness_lufs=number)
    if not isinstance(target, str | os.PathLike):
        return _reference(_programme(target, rate, "the reference"))
    words = [word.strip() for word in str(target).casefold().split(",")]
    if words == ["auto"] or words == ["streaming"]:
        return mixed(nearest(before.spectrum_db, _reach(rate), before.plr_db))
    if all(word in GENRES for word in words):
        return mixed({word: 1 / len(set(words)) for word in words})
    if not FilePath(target).exists() and isinstance(target, str) and not FilePath(target).suffix:
        raise SettingsError(
            f"no target is called {target!r}; there are auto, streaming, a loudness like -14, the path of a recording, "
            f"and {', '.join(GENRES)}"
        )
    return _reference(_programme(target, rate, "the reference"))


def _number(target: Any) -> float | None:
    """A loudness, if the target is one."""
    if isinstance(target, str | int | float):
        try:
            found = float(target)
        except ValueError:
            return None
        return found if math.isfinite(found) else None
    return None


def _reference(song: Multitrack) -> Target:
    """What a recording measures, as a target that allows a little."""
    found = Measured.of(song.tracks[0].audio, song.sample_rate)
    if found.loudness_lufs <= -69:
        raise AudioError(f"{song.name} is silent: a reference has to be heard")
    span = (found.range_lu - 1, found.range_lu + 1) if song.seconds >= EXCERPT_S else UNTOUCHED.range_lu
    spread = np.full(len(_CENTRES), 1.0)
    plr = found.plr_db - 1, found.plr_db + 1
    loudness = min(max(round(found.loudness_lufs, 1), -40.0), -5.0)
    return Target(song.name, found.spectrum_db, spread, plr, span, loudness)


def _console(rate: int, stages: Sequence[str]) -> Console:
    chain = {name: effect for stage in stages for name, effect in STAGES[stage].items()}
    return Console(rate, strip={"trim": "Gain"}, sends={}, buses={}, master=chain)


def _stages(only: str | Sequence[str]) -> list[str]:
    words = [word.strip().casefold() for word in (only.split(",") if isinstance(only, str) else only)]
    if unknown := [word for word in words if word and word not in STAGES]:
        raise SettingsError(f"only={unknown[0]!r} is no stage of a master; there are {', '.join(STAGES)}")
    return [stage for stage in STAGES if stage in words or not any(words)]


def _of_master(wishes: Any) -> Any:
    """Wishes whose knobs are the chain's, with or without saying so."""

    def named(knob: str) -> str:
        return knob if knob.startswith(("master.", "mix.")) else f"master.{knob}"

    if isinstance(wishes, Mapping):
        return {named(knob): value for knob, value in wishes.items()}
    return [named(text) for text in ([wishes] if isinstance(wishes, str) else wishes)]


def _inside(value: float, low: float, high: float, name: str, unit: str) -> None:
    if not low <= value <= high:
        raise SettingsError(f"{name} is {value:g}{unit}, allowed {low:g}..{high:g}{unit}")


# -- what the chain is to do -----------------------------------------------------------------------------------------


def _reach(rate: float) -> Curve:
    """How much each third octave counts, (28,): the ends less, what lies above half the rate nothing."""
    weight = np.interp(np.log(_CENTRES), np.log([30, 63, 10_000, 16_000]), [0.3, 1, 1, 0.4])
    found: Curve = np.where(0.45 * rate <= _CENTRES * 10**0.05, 0.0, weight)
    return found


def _loudest(x: Tensor, rate: int) -> Tensor:
    """The loudest `EXCERPT_S` seconds of audio (C, T), in whole seconds."""
    length = round(EXCERPT_S * rate)
    if x.shape[-1] <= length:
        return x
    seconds = x[:, : x.shape[-1] // rate * rate].view(len(x), -1, rate)
    energy = torch.linalg.vector_norm(seconds, dim=(0, 2), dtype=torch.float64).square()
    total = torch.cat([energy.new_zeros(1), energy.cumsum(0)])
    start = int((total[int(EXCERPT_S) :] - total[: -int(EXCERPT_S)]).argmax()) * rate
    return x[:, start : start + length]


class _Chain:
    """The knobs of the master while they are looked for, inside of what a person allows."""

    ADAM_STEPS = 120
    SHORTEST_DB = 0.3  # less is not worth a knob

    def __init__(self, console: Console, knobs: Mapping[str, Param]) -> None:
        self.console, self.knobs = console, knobs
        self.settings: dict[str, dict[str, float]] = {}

    def _set(self, stage: str, values: Mapping[str, float]) -> None:
        """Turn knobs to readable numbers inside of their ranges."""
        turned = {}
        for name, value in values.items():
            param = self.knobs[f"{stage}.{name}"]
            turned[name] = shortest(min(max(float(f"{value:.3g}"), param.low), param.high))
        self.settings[stage] = turned

    def equalise(self, before: Measured, target: Target, amount: float) -> str:
        """Bring the spectrum towards the target's; returns what was done, and why."""
        rate = self.console.sample_rate
        neutral = {name.removeprefix("eq."): p.default for name, p in self.knobs.items() if name.startswith("eq.")}
        self._set("eq", neutral)
        if target.curve_db is None:
            return "Left alone: the target is a loudness."
        wanted, weight, away = _wanted(before.spectrum_db, target, rate, amount)
        text = f"{_rms(away, weight):.1f} dB from the spectrum of {target.name}"
        if abs(wanted * (weight > 0.2)).max() < self.SHORTEST_DB:
            return f"Left alone: the mix is {text}, within what is usual." if amount else "Left alone: the amount is 0."
        self._set("eq", self._fitted(wanted, weight))
        eq = self.console.master["eq"]
        assert isinstance(eq, ParametricEQ)
        response = eq.response_db(torch.from_numpy(_CENTRES).clamp_max(0.49 * rate), self.settings["eq"]).numpy()
        left = away - (response - np.average(response, weights=weight))
        knobs = self.settings["eq"]
        turned = [(knobs[f"{band}_gain_db"], knobs[f"{band}_cutoff_frequency_hz"]) for band in eq.BANDS]
        most = sorted(turned, key=lambda pair: -abs(pair[0]))[:3]
        parts = [f"{gain_db:+.1f} dB at {_hertz(hz)}" for gain_db, hz in most if abs(gain_db) >= 0.1]
        return f"{', '.join(parts)}: the mix was {text}, and is now {_rms(left, weight):.1f} dB."

    def _fitted(self, wanted: Curve, weight: Curve) -> dict[str, float]:
        """Six bands near a curve (28,): gains by least squares, then all of it by Adam through the exact response."""
        rate = self.console.sample_rate
        eq = self.console.master["eq"]
        assert isinstance(eq, ParametricEQ)
        kinds = ("cutoff_frequency_hz", "gain_db", "q")
        limits = [[self.knobs[f"eq.{band}_{kind}"] for band in eq.BANDS] for kind in kinds]
        low, high = (
            torch.tensor([[getattr(p, end) for p in row] for row in limits]).double() for end in ("low", "high")
        )
        hz = np.minimum(MASTER_HZ, 0.4 * rate)
        q = np.array([0.7, 0.9, 0.9, 0.9, 0.9, 0.7])
        gain = fit_equaliser(wanted[None], weight[None], hz[None], q[None], rate, MOST_DB)[0]
        near = (
            [hz / 1.7, np.full(6, -MOST_DB), q / 1.7],
            [np.minimum(hz * 1.7, 0.45 * rate), np.full(6, MOST_DB), q * 1.5],
        )
        low, high = (  # no further than this from where it starts, unless a person says so
            torch.minimum(torch.maximum(torch.tensor(np.array(side)), low), high) for side in near
        )
        log = torch.tensor([[True], [False], [True]]).expand(3, 6)
        start = torch.minimum(torch.maximum(torch.tensor(np.array([hz, gain, q])), low), high)
        points = torch.from_numpy(_CENTRES).clamp_max(0.49 * rate)
        curve, counts = torch.from_numpy(wanted), torch.from_numpy(weight / weight.sum())
        knobs = torch.where(log, start.abs().log(), start).requires_grad_()
        adam = torch.optim.Adam([knobs], lr=0.05)
        ends = [torch.where(log, end.abs().log(), end) for end in (low, high)]
        for _ in range(self.ADAM_STEPS):
            values = torch.where(log, knobs.exp(), knobs)
            named = {f"{b}_{kind}": values[k, n, None] for k, kind in enumerate(kinds) for n, b in enumerate(eq.BANDS)}
            response = 20 * frequency_response(eq.sections(False, **named), points, rate)[0].abs().log10()
            loss = (counts * (response - curve).square()).sum() + 0.005 * knobs[1].square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            with torch.no_grad():
                knobs.copy_(torch.minimum(torch.maximum(knobs, ends[0]), ends[1]))
        values = torch.where(log, knobs.exp(), knobs).detach()
        return {f"{b}_{kind}": float(values[k, n]) for k, kind in enumerate(kinds) for n, b in enumerate(eq.BANDS)}

    def compress(self, excerpt: Tensor, before: Measured, target: Target, amount: float) -> str:
        """Make the loud parts denser, if they are looser than the target; returns what was done, and why.

        The threshold is where the loudness of the ``excerpt`` (C, n) falls by what is wanted.
        """
        low, high = target.plr_db
        peaks = f"peaks stand {before.plr_db:.1f} dB over loudness"
        usual = f"{target.name or 'the loudness'} asks for {low:.0f} to {high:.0f}"
        over = max(before.plr_db - high, 0.0)
        wide = max(before.range_lu - target.range_lu[1], 0.0)
        reduction = min(0.4 * over + 0.25 * wide, MOST_REDUCTION_DB) * amount
        if target.curve_db is None or before.plr_db <= low:
            reduction = 0.0
        default = {"threshold_db": 0.0, "ratio": 1.0, "attack_ms": 30.0, "release_ms": 300.0}
        if reduction >= self.SHORTEST_DB:
            default["ratio"] = 1.5 + reduction / MOST_REDUCTION_DB
        self._set("compressor", default)
        knobs = self.settings["compressor"]
        if target.curve_db is None:
            return "Left alone: the target is a loudness."
        if reduction < self.SHORTEST_DB:
            already = "already denser" if before.plr_db <= low else "dense enough"
            return f"Left alone: {already}, {peaks}; {usual}." if amount else "Left alone: the amount is 0."
        if knobs["ratio"] <= 1:
            return f"Left alone, as you wish; {peaks}, {usual}."
        x = excerpt[None]
        if "eq" in self.console.master:
            x = self._through("eq", x, self.settings["eq"])
        rate = self.console.sample_rate
        loudness = float(integrated_loudness(x, rate))
        param = self.knobs["compressor.threshold_db"]
        floor, top = param.low, param.high
        for _ in range(9):
            middle = (floor + top) / 2
            y = self._through("compressor", x, {**knobs, "threshold_db": middle})
            floor, top = (
                (middle, top) if loudness - float(integrated_loudness(y, rate)) > reduction else (floor, middle)
            )
        self._set("compressor", {**knobs, "threshold_db": top})
        y = self._through("compressor", x, self.settings["compressor"])
        taken = loudness - float(integrated_loudness(y, rate))
        why = f"{peaks}, {usual}" if over else f"the loudness range is {before.range_lu:.0f} LU"
        knobs = self.settings["compressor"]
        return (
            f"{knobs['ratio']:.1f}:1 above {knobs['threshold_db']:.0f} dB takes {taken:.1f} dB off the loudest: {why}."
        )

    def limit(self, over_db: float) -> None:
        """Set the limiter's times: quick where peaks are to fall by much, for what is slow then lowers loudness too."""
        quick = over_db > LIMITED_DB
        self._set("limiter", {"release_ms": 30.0, "lookahead_ms": 2.0} if quick else {"release_ms": 100.0})

    def _through(self, stage: str, x: Tensor, values: Mapping[str, float]) -> Tensor:
        with torch.no_grad():
            return self.console.master[stage].process(x, **{name: torch.tensor([v]) for name, v in values.items()})


def _wanted(spectrum_db: Curve, target: Target, rate: float, amount: float) -> tuple[Curve, Curve, Curve]:
    """The equaliser's curve, how much each of its points counts, and how far the target is away, each (28,).

    What lies within half the spread is left; where nothing sounds there is nothing to raise.
    """
    assert target.curve_db is not None
    weight = _reach(rate)
    away = target.curve_db - spectrum_db
    for _ in range(2):  # levels aside: of what is there
        away = away - np.average(away, weights=weight * np.clip((25 - away) / 10, 1e-6, 1))
    there = np.clip((25 - away) / 10, 0, 1)
    beyond = np.sign(away) * np.maximum(abs(away) - target.spread_db / 2, 0) * there
    wanted: Curve = np.clip(smoothed(beyond, 0.7) * there, -MOST_DB, MOST_DB) * amount
    return wanted, weight * np.maximum(there, 0.05), away


def _rms(curve: Curve, weight: Curve) -> float:
    return math.sqrt(float(np.average(curve**2, weights=weight)))


def _hertz(hz: float) -> str:
    return f"{hz / 1000:.1f} kHz" if hz >= 1000 else f"{hz:.0f} Hz"


def _level_reason(made: Mix, before: Measured, trim_db: float) -> str:
    """What gain and limiter do."""
    knobs = made.settings["master"]
    loudness = float(integrated_loudness(torch.from_numpy(made.audio)[None], made.sample_rate))
    trim = f" behind a trim of {trim_db:+.1f} dB" if trim_db else ""
    return (
        f"{knobs['gain']['gain_db']:+.1f} dB{trim} under a ceiling of {knobs['limiter']['ceiling_db']:.1f} dB: "
        f"{before.loudness_lufs:.1f} LUFS became {loudness:.1f}."
    )


def _bypassed(made: Master) -> dict[str, dict[str, float]]:
    """How the loudest seconds change when a stage is left out."""
    excerpt = _loudest(made.source, made.sample_rate)
    song = Multitrack("excerpt", made.sample_rate, (Track("mix", excerpt),))

    def levels(without: str) -> dict[str, float]:
        left = {name: effect for name, effect in made.console.layout["master"].items() if name != without}
        console = Console(made.sample_rate, made.console.ranges, **{**made.console.layout, "master": left})
        knobs = {name: values for name, values in made.settings["master"].items() if name != without}
        y = render(console, song, Settings({**made.settings, "master": knobs}))[None]
        return {
            "loudness_db": float(integrated_loudness(y, made.sample_rate)),
            "true_peak_db": float(true_peak_db(y, made.sample_rate)),
            "crest_db": float(crest_db(y)),
        }

    whole = levels("")
    return {
        stage: {name: value - whole[name] for name, value in levels(stage).items()} for stage in made.console.master
    }
