"""From stems and wishes to settings: what a model proposes, kept to what a person locked, bounded or left free."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from importlib import import_module
from pathlib import Path as FilePath
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from diffmix.balance import balanced
from diffmix.console import Console, shipped
from diffmix.data.audio import from_array, read, resample
from diffmix.data.fullness import excerpts, fullest
from diffmix.data.knowledge import Style, class_mean, parse_style, sample_style, style_like
from diffmix.data.multitrack import Multitrack
from diffmix.data.roles import ROLES
from diffmix.errors import AudioError, CheckpointError, SettingsError, about
from diffmix.intent import Intent
from diffmix.kernels.loudness import HEARD_LUFS, integrated_loudness
from diffmix.mix import render
from diffmix.params import within
from diffmix.settings import Settings
from diffmix.types import Path
from diffmix.wishes import Wishes

RULES = "rules"
"""In place of a model's folder: the mix that the roles of the tracks call for by rule, without a network."""

MODELS = {"diffmix-automixer": ("automixer", "Automixer"), "diffmix-dmc": ("dmc", "DMC")}
"""Which class of which module of `diffmix.systems` reads the folder of a format, with ``load(folder, sample_rate)``."""

RUNG_OUT_DB = -60.0
"""What is softer than this, beside the highest peak, has ended."""

ENDING_S = 0.02
"""Seconds by which the end of a mix is judged."""

LISTENED_S = 30.0
"""Seconds of each track, its fullest, that rules listen to."""


class Mixer(Protocol):
    """What proposes a mix for a console."""

    console: Console

    def intend(
        self,
        multitrack: Multitrack,
        *,
        roles: Mapping[str, str] | None = None,
        style: Style | None = None,
        reference: Tensor | None = None,
    ) -> Intent:
        """What it wants of these tracks.

        ``roles`` by track, where they are known; ``style`` says how it is to be mixed, and ``reference`` (2, T), a
        finished mix at the console's rate, what else there is to hear of that (`proposed` has made a style of it).
        """
        ...


class RuleMixer:
    """Mixes by the roles of the tracks and by what their recordings measure."""

    def __init__(self, sample_rate: float) -> None:
        """A mixer at ``sample_rate`` Hz."""
        self.console = Console.from_layout(shipped("automix"), sample_rate)

    def intend(
        self,
        multitrack: Multitrack,
        *,
        roles: Mapping[str, str] | None = None,
        style: Style | None = None,
        reference: Tensor | None = None,
    ) -> Intent:
        """The usual treatment of each role, in a style."""
        return class_mean(excerpts(with_roles(multitrack, roles or {}), LISTENED_S), style)


class _Settled:
    """A model that answers whole settings, as a proposer."""

    def __init__(self, model: Any) -> None:
        self.model, self.console = model, model.console

    def settings(self, multitrack: Multitrack) -> Settings:
        """Every knob."""
        found: Settings = self.model.settings_for(multitrack)
        return found


@about("model", CheckpointError)
def mixer_of(model: Path, sample_rate: float) -> Any:
    """The mixer in a folder, of any kind, or `RULES`, at ``sample_rate`` Hz. Raises CheckpointError."""
    if str(model) == RULES and not FilePath(model).exists():
        return RuleMixer(sample_rate)
    usual = next(iter(MODELS))
    try:
        form = json.loads((FilePath(model) / "config.json").read_text(encoding="utf-8")).get("format", usual)
    except (OSError, ValueError, AttributeError):
        form = usual  # the loader says what is wrong
    if not isinstance(form, str) or form not in MODELS:
        raise CheckpointError(f"{model} does not hold a mixer: its format is {form!r}, of {', '.join(MODELS)}")
    module, name = MODELS[form]
    found = getattr(import_module(f"diffmix.systems.{module}"), name).load(FilePath(model), sample_rate)
    return found if hasattr(found, "intend") else _Settled(found)


def with_roles(multitrack: Multitrack, roles: Mapping[str, str]) -> Multitrack:
    """The tracks with these roles, by name. Raises SettingsError for tracks and roles that do not exist."""
    names = [track.name for track in multitrack.tracks]
    if not isinstance(roles, Mapping):
        raise SettingsError(f"roles are a dict of the names of tracks and what they are; got {roles!r}")
    for name, role in roles.items():
        if name not in names:
            raise SettingsError(f"a role for {name!r}, which is no track; there are: {', '.join(names)}")
        if role not in ROLES:
            raise SettingsError(f"track {name!r} cannot have the role {role!r}; there are: {', '.join(ROLES)}")
    tracks = tuple(replace(track, role=roles.get(track.name, track.role)) for track in multitrack.tracks)
    return replace(multitrack, tracks=tracks)


def with_tail(multitrack: Multitrack, tail_s: float) -> Multitrack:
    """The tracks with so many seconds, 0..60, of silence behind them. Raises SettingsError."""
    within("the tail", tail_s, 0, 60, "s")
    if not (more := round(tail_s * multitrack.sample_rate)):
        return multitrack
    tracks = tuple(replace(track, audio=pad(track.audio, (0, more))) for track in multitrack.tracks)
    return replace(multitrack, tracks=tracks, tail_s=multitrack.tail_s + tail_s)


def cut_off(multitrack: Multitrack, audio: np.ndarray) -> str:
    """A sentence if a mix (2, T) ends while its effects are heard and the tracks are not; else nothing."""
    last = max(1, round(ENDING_S * multitrack.sample_rate))

    def ending_db(x: Tensor) -> float:
        """Peak of the end below that of the whole."""
        end, whole = (max(abs(float(v)) for v in part.aminmax()) for part in (x[:, -last:], x))
        return 20 * math.log10(end / whole) if end else -math.inf

    end_db = ending_db(torch.from_numpy(audio))
    if end_db < RUNG_OUT_DB or any(ending_db(track.audio) > RUNG_OUT_DB for track in multitrack.tracks):
        return ""
    advice = "a longer tail" if multitrack.tail_s else "a tail of 3 s"
    return f"It ends before it has died away, {-end_db:.0f} dB under its peak: {advice} lets it ring out."


class Proposal(NamedTuple):
    """Settings for a song, by track what its sound was taken for, where nothing told, and what the reference adds.

    ``taken_for`` has a role and its chance; ``heard`` is the style that was heard of the reference.
    """

    settings: Settings
    taken_for: Mapping[str, tuple[str, float]] = {}
    heard: Style | None = None


def proposed(
    mixer: Any,
    multitrack: Multitrack,
    wishes: Wishes,
    *,
    style: Style | None = None,
    reference: Tensor | None = None,
    heard: Style | None = None,
) -> Proposal:
    """The settings that a mixer proposes, with every wish kept. Locked tracks still inform the others.

    A ``reference`` (2, T) adds to the ``style`` what it shows beside a mix without it, see `style_like`, unless
    another proposal for this song says what was ``heard`` of it.
    """
    console: Console = mixer.console
    if isinstance(mixer, _Settled):
        settings = mixer.settings(multitrack)
        if wishes:
            settings = wishes.projected(console, wishes.remapped(console, settings))
        return Proposal(settings)
    roles = {track.name: track.role for track in multitrack.tracks if track.role}
    if reference is not None:
        heard = heard or style_like(reference, _plain_mix(mixer, multitrack, roles), console.sample_rate)
        style = heard.and_also(style or Style())
    intent = mixer.intend(multitrack, roles=roles, style=style, reference=reference)
    if wishes:
        kept = wishes.remapped(console, intent.settings)
        for stages in kept["tracks"].values():
            for stage in ("trim", "fader"):
                stages.pop(stage, None)
        intent = intent._replace(settings=kept)
    return Proposal(readable(console, balanced(console, multitrack, intent), wishes), intent.taken_for, heard)


def readable(console: Console, settings: Settings, wishes: Wishes) -> Settings:
    """The settings as a person would turn the knobs, with every wish kept.

    They are turned by three significant digits, trims and faders by two decimals.
    """
    specs = {"tracks": (2, console.track_spec), "buses": (1, console.bus_spec), "master": (1, console.master_spec)}
    found = Settings(deepcopy(settings))
    for path, value in settings.flat():
        first, spec = specs[path[0]]
        knob = spec.params[".".join(path[first:])]
        gain = path[2:] in (("trim", "gain_db"), ("fader", "gain_db"))
        turned = knob.nearest(round(value, 2)) if gain else knob.readable(value)
        stage: Any = found
        for name in path[:-1]:
            stage = stage[name]
        stage[path[-1]] = turned + 0.0  # none at -0
    return wishes.projected(console, found) if wishes else found


def _plain_mix(mixer: Mixer, multitrack: Multitrack, roles: Mapping[str, str]) -> Tensor:
    """The fullest seconds (2, T) of the mix that is proposed when nothing is asked for."""
    start, stop = fullest(multitrack, LISTENED_S)
    tracks = tuple(replace(track, audio=track.audio[:, start:stop]) for track in multitrack.tracks)
    part = replace(multitrack, tracks=tracks)
    settings = balanced(mixer.console, part, mixer.intend(part, roles=roles))
    with torch.no_grad():
        return render(mixer.console, part, settings)


def styles(words: str | Style | None, count: int, seed: int) -> list[Style | None]:
    """Styles for ``count`` mixes: first the one asked for, then others far apart that keep what was asked.

    Of many styles drawn by ``seed``, each next one is the farthest from those before it.
    """
    asked = parse_style(words) if isinstance(words, str) else words
    if count == 1:
        return [asked]
    first = asked or Style()
    rng = np.random.default_rng([seed, 7])
    fixed = {name: value for name, value in first._asdict().items() if value}
    pool = [sample_style(rng)._replace(**fixed) for _ in range(16 * count)]
    points = np.array([style.normalised for style in pool])
    chosen = [first]
    distance = np.linalg.norm(points - np.array(first.normalised), axis=1)
    while len(chosen) < count:
        best = int(distance.argmax())
        chosen.append(pool[best])
        distance = np.minimum(distance, np.linalg.norm(points - points[best], axis=1))
    return list(chosen)


def in_words(style: Style | None) -> str:
    """A style as a person says it; empty for the usual one."""
    names = {
        "vocal_db": ("vocal +{:.1f} dB", "vocal −{:.1f} dB"),
        "bass_db": ("bass +{:.1f} dB", "bass −{:.1f} dB"),
        "width": ("wider", "narrower"),
        "bright_db": ("brighter", "darker"),
        "dense": ("denser", "more open"),
        "reverb_db": ("wetter", "drier"),
    }
    parts = [
        names[name][value < 0].format(abs(value))
        for (name, value), size in zip((style or Style())._asdict().items(), (style or Style()).normalised, strict=True)
        if abs(size) >= 0.1
    ]
    return ", ".join(parts)


def reference_audio(reference: Any, sample_rate: int) -> Tensor:
    """A reference song (2, T) at ``sample_rate`` Hz, of a path or of an array at that rate.

    Raises AudioError, also for one that is silent.
    """
    if isinstance(reference, str | FilePath):
        audio, rate = read(reference)
        audio, name = resample(audio, rate, sample_rate), str(reference)
    else:
        name = "the reference"
        audio = from_array(reference, name)
    if float(integrated_loudness(audio[None], sample_rate)) <= HEARD_LUFS:
        raise AudioError(f"{name} is silent: a reference has to be heard")
    return audio.expand(2, -1)


def cautions(mixer: Any, style: Style | None, reference: Tensor | None, proposal: Proposal) -> Iterator[str]:
    """What tracks were taken for by their sound, what the reference adds, and what this kind of mixer does not hear."""
    if taken_for := proposal.taken_for:
        told = ", ".join(f"{name}: {role.replace('_', ' ')} ({p:.0%})" for name, (role, p) in taken_for.items())
        first = next(iter(taken_for))
        yield f"Their names do not say what they are; by their sound: {told}. A role corrects it: '{first}=lead_vocal'."
    if isinstance(mixer, _Settled):
        if style is not None and any(style):
            yield "This model knows no styles: the mix is the same without."
        if reference is not None:
            yield "This model hears no reference; refining it, by 100 steps, brings the mix towards it."
    if proposal.heard is not None:
        yield f"After the reference: {in_words(proposal.heard) or 'about as bright and as wide as without it'}."


class Course:
    """Progress of work in stages, as one share from 0 to 1."""

    def __init__(self, progress: Callable[[str, float], None] | None, stages: Mapping[str, float]) -> None:
        """``stages`` in order, each with its weight."""
        total, at = sum(stages.values()), 0.0
        self.progress = progress
        self.places: dict[str, tuple[float, float]] = {}
        for name, weight in stages.items():
            self.places[name] = at / total, weight / total
            at += weight

    def __call__(self, stage: str, done: float) -> None:
        """Say how far a stage is."""
        if self.progress:
            start, share = self.places.get(stage, (0.0, 0.0))
            self.progress(stage.rstrip("0123456789"), start + share * min(max(done, 0.0), 1.0))
