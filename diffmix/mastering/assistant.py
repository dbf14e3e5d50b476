"""From a finished mix and a target to a master."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from diffmix.console import WORKING_LEVEL_LUFS, Console, Limits
from diffmix.data.inspection import inspect
from diffmix.data.multitrack import Multitrack
from diffmix.data.programme import programme
from diffmix.errors import AudioError, SettingsError
from diffmix.kernels.loudness import HEARD_LUFS, integrated_loudness, true_peak_db
from diffmix.mastering.chain import LIMITED_DB, Chain, console_of, stages_of
from diffmix.mastering.measured import Measured, loudest
from diffmix.mastering.result import Master
from diffmix.mastering.targets import target_of
from diffmix.mix import Mix, finished, render
from diffmix.params import within
from diffmix.playback import Progress
from diffmix.settings import Settings, shortest
from diffmix.wishes import Wishes, of_master

LOUDNESS_LUFS = -14.0
"""What streaming services play at."""

SHORT_OF_LU = 0.2
"""A loudness missed by more is worth a quicker limiter, and one that gains more is worth its roughness."""

USUAL_LUFS = (-40.0, -6.0)
"""Recordings outside are brought to the working level in front of the chain, so that its thresholds reach them."""


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
    within("the ceiling", ceiling_db, -20, 0, "dBTP")
    within("the amount", amount, 0, 1)
    stages = stages_of(only)
    song = programme(mix, sample_rate, "the mix")
    rate, source = song.sample_rate, song.tracks[0].audio
    say = progress or (lambda what, done: None)
    say("measuring", 0.0)
    before = Measured.of(source, rate)
    if before.loudness_lufs <= HEARD_LUFS:
        raise AudioError(f"{song.name} is silent: there is nothing to master")
    song = replace(song, notes=(*song.notes, *(f"{song.name}: {fault.text}." for fault in inspect(song))))
    aim = target_of(target, before, rate)
    if "limiter" not in stages and (loudness_lufs is not None or aim.curve_db is None):
        raise SettingsError("a loudness is reached by the limiter's stage, which is not asked for; add limiter to it")
    wanted = aim.loudness_lufs if loudness_lufs is None else loudness_lufs
    wanted = LOUDNESS_LUFS if wanted is None else wanted
    within("the loudness", wanted, -40, -5, "LUFS")
    console = console_of(rate, stages)
    wishes = Wishes.read(console, song, of_master(lock), of_master(bound))
    knobs = console.narrowed_specs(["mix"], wishes.limits)[1]["master"].params
    chain = Chain(console, knobs)
    level = USUAL_LUFS[0] <= before.loudness_lufs <= USUAL_LUFS[1] or "limiter" not in stages
    trim_db = 0.0 if level else WORKING_LEVEL_LUFS - before.loudness_lufs
    if trim_db < float(console.track_spec.low[0]):
        raise AudioError(f"{song.name} is at {before.loudness_lufs:+.0f} LUFS; samples between -1 and 1 are expected")
    reasons = {}
    if "eq" in stages:
        say("equalising", 0.3)
        reasons["eq"] = chain.equalise(before, aim, amount)
    if "dynamics" in stages:
        say("compressing", 0.4)
        low, high = aim.plr_db
        if "limiter" in stages:  # what the loudness asks for, beyond what the limiter may take
            high = max(low, min(high, ceiling_db - wanted + LIMITED_DB))
        excerpt = loudest(source, rate) * 10 ** (trim_db / 20)
        reasons["dynamics"] = chain.compress(excerpt, before, aim._replace(plr_db=(low, high)), amount)
    if "limiter" in stages:
        chain.limit(before.plr_db - (ceiling_db - wanted))
    trim = {"trim": {"gain_db": shortest(trim_db)}}
    settings = console.check(Settings(tracks={"mix": trim}, master=chain.settings))
    del settings["tracks"]["mix"]["pan"]
    if "limiter" in stages:
        made = _limited(chain, song, settings, wanted, ceiling_db, wishes.limits, say)
        reasons["limiter"] = _level_reason(made, before, trim_db)
    else:
        made = _as_it_comes(console, song, settings, ceiling_db)
    say("done", 1.0)
    return Master(**made.parts, target=aim, amount=amount, reasons=reasons)


def _limited(
    chain: Chain,
    song: Multitrack,
    settings: Settings,
    loudness_lufs: float,
    ceiling_db: float,
    limits: Limits,
    say: Progress,
) -> Mix:
    """The master at a loudness, by a quicker limiter where the usual one does not reach it."""

    def later(what: str, done: float) -> None:
        say(what, 0.5 + 0.5 * (0.5 * done if what == "rendering" else 0.5 + 0.5 * done))

    made = finished(chain.console, song, settings, loudness_lufs, ceiling_db, limits=limits, progress=later)
    if (loudness := _loudness(made)) < loudness_lufs - SHORT_OF_LU and chain.hasten():
        settings = Settings({**settings, "master": {**settings["master"], **chain.settings}})
        faster = finished(chain.console, song, settings, loudness_lufs, ceiling_db, limits=limits, progress=later)
        made = faster if _loudness(faster) > loudness + SHORT_OF_LU else made
    return made


def _as_it_comes(console: Console, song: Multitrack, settings: Settings, ceiling_db: float) -> Mix:
    """The master at the level that its stages leave, with a note if a peak passes the ceiling."""
    audio = render(console, song, settings)
    peak_db = float(true_peak_db(audio[None], song.sample_rate))
    over = f"True peak is {peak_db:.1f} dBTP: it is the limiter's stage that would keep it below {ceiling_db:g}."
    notes = (*song.notes, *([over] if peak_db > ceiling_db else []))
    return Mix(audio.numpy(), song.sample_rate, settings, console, song, notes)


def _loudness(made: Mix) -> float:
    return float(integrated_loudness(torch.from_numpy(made.audio)[None], made.sample_rate))


def _level_reason(made: Mix, before: Measured, trim_db: float) -> str:
    """What gain and limiter do."""
    knobs = made.settings["master"]
    trim = f" behind a trim of {trim_db:+.1f} dB" if trim_db else ""
    return (
        f"{knobs['gain']['gain_db']:+.1f} dB{trim} under a ceiling of {knobs['limiter']['ceiling_db']:.1f} dB: "
        f"{before.loudness_lufs:.1f} LUFS became {_loudness(made):.1f}."
    )
