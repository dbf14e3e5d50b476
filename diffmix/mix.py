"""The result of every command: the audio, and every setting that made it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from diffmix.console import Console, Controls, Limits, Tracks, fits
from diffmix.data.multitrack import Multitrack
from diffmix.data.roles import roles_called
from diffmix.errors import AudioError, OutputError, PresetError, SettingsError, about
from diffmix.files import result, spare
from diffmix.graph import Graph
from diffmix.kernels.loudness import HEARD_LUFS, integrated_loudness, true_peak_db
from diffmix.params import Param
from diffmix.playback import Player, Progress, cut, order_of
from diffmix.settings import Settings, shortest
from diffmix.stems import levels, write_stems
from diffmix.types import Path

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Mix:
    """A mix and how it was made.

    ``audio`` is float32 (2, T) at ``sample_rate`` Hz; ``settings`` holds every knob; ``notes`` says what a person
    should know (files skipped, loudness not reached); ``muted`` names tracks that are not heard. Edit ``settings`` and
    call `rendered` to hear the change. ``style`` says in words what was asked for or drawn, ``wished`` the ranges (low,
    high, words) in which knobs were held, by name.
    """

    AUDIO: ClassVar[str] = "mix.wav"
    """The file that the audio is saved in."""

    BESIDES: ClassVar[tuple[str, ...]] = ()
    """Further sound files that are always saved."""

    PERHAPS: ClassVar[tuple[str, ...]] = ("preset.json", "preset.py", "console.json", "mix.dawproject")
    """Files that not every mix has: those of an earlier one in the same folder go."""

    audio: np.ndarray
    sample_rate: int
    settings: Settings
    console: Console = field(repr=False)
    multitrack: Multitrack = field(repr=False)
    notes: tuple[str, ...] = ()
    muted: tuple[str, ...] = ()
    style: str = ""
    wished: Mapping[str, tuple[float, float, str]] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        peak_db = 20 * np.log10(max(float(np.abs(self.audio).max()), 1e-10))
        return f"{type(self).__name__}(peak {peak_db:+.1f} dBFS, {len(self.notes)} notes, of {self.multitrack!r})"

    @property
    def parts(self) -> dict[str, Any]:
        """What makes a mix, by name: what a result of another kind is made from."""
        return {f.name: getattr(self, f.name) for f in fields(Mix)}

    @property
    def controls(self) -> Controls:
        """The settings as control vectors in [0, 1]."""
        return self.console.encode(self.settings)

    @cached_property
    def report(self) -> dict[str, Any]:
        """What was measured: per track and for the whole, before and after."""
        from diffmix.report import measure

        return measure(self)

    @cached_property
    def levels(self) -> list[tuple[float, float]]:
        """Loudness in LUFS and highest sample in dBFS of each track, then of each bus, in front of the master."""
        return levels(self)

    @property
    def processed(self) -> Iterator[tuple[str, np.ndarray]]:
        """Each track as it reaches its group or the mix, (2, T), one at a time, as (name, audio)."""
        player = Player(self.console, self.multitrack, self.muted)
        for name, end in zip(player.names, player.wired.ends, strict=True):
            yield name, player.whole(self.settings, end).numpy()

    @property
    def returns(self) -> Iterator[tuple[str, np.ndarray]]:
        """Each bus of effects as it reaches the master, as `processed`: without groups both add up to what it gets."""
        player = Player(self.console, self.multitrack, self.muted)
        for name, end in player.wired.returns.items():
            yield name, player.whole(self.settings, end).numpy()

    def rendered(
        self,
        settings: Settings | None = None,
        mute: str | Sequence[str] = (),
        solo: str | Sequence[str] = (),
    ) -> "Mix":
        """The same tracks under other settings, exactly as given (no loudness target is applied).

        ``mute`` names tracks that are not heard, ``solo`` the only ones that are, both by patterns, ``"gtr*"``, or by
        roles and families, ``"drums"``, where no track is called so. Raises SettingsError for what is no track.
        """
        settings = self.settings if settings is None else settings
        audio = render(self.console, self.multitrack, settings, mute, solo).numpy()
        muted = muted_tracks(self.console, self.multitrack, mute, solo)
        return replace(self, audio=audio, settings=settings, muted=muted)

    @property
    def graph(self) -> Graph:
        """The mix as a graph: ``diffmix.graph.render(mix.graph, mix.sources, mix.sample_rate)[0]`` is its audio.

        Its sources are called as the tracks, but for ``_`` in place of ``:`` and ``>``; see `Console.to_graph`.
        """
        channels = {t.name: t.audio.shape[0] for t in self.multitrack.tracks}
        settings = ordered(self.settings, list(channels))
        return self.console.to_graph(channels, settings, mute=self.muted)

    @property
    def sources(self) -> dict[str, torch.Tensor]:
        """The tracks, (1, C, T) each, by their names in `graph`."""
        titles = self.console.titles([t.name for t in self.multitrack.tracks])
        return {titles[t.name]: t.audio[None] for t in self.multitrack.tracks}

    def preset(self) -> dict[str, Any]:
        """The mix as a preset that Pedalboard can play: plain data, see ``diffmix.export``.

        Raises PresetError, naming the effects that Pedalboard does not have.
        """
        from diffmix.export.from_graph import preset_of
        from diffmix.export.preset import place

        titles = self.console.titles([t.name for t in self.multitrack.tracks])
        sources = {
            titles[t.name]: (t.files or (f"{t.name.replace('/', '_')}.wav",), t.audio.shape[0])
            for t in self.multitrack.tracks
        }
        preset = preset_of(self.graph, self.sample_rate, sources)
        own = {title: name for name, title in titles.items()} | {preset["output"]: preset["output"]}
        for node in preset["nodes"]:  # a preset, unlike a graph, has room for every name
            node["name"] = own.get(node["name"], node["name"])
            for edge in node["inputs"]:
                edge["from"] = own.get(edge["from"], edge["from"])
        place(
            preset, {track.name: track.start_s for track in self.multitrack.tracks}, self.multitrack.rest_s(self.muted)
        )
        return preset

    @cached_property
    def unplayable(self) -> str:
        """Why the mix cannot be a preset, in a sentence; empty if it can. `preset` says it node by node."""
        from diffmix.export.from_graph import uncarried

        graph = self.graph
        if reasons := uncarried(graph, self.sample_rate):
            kinds = dict.fromkeys(graph[name].kind for name in reasons)
            return f"Pedalboard cannot play the mix: it has nothing equal to {', '.join(kinds)} as they are set here."
        try:
            self.preset()
        except PresetError as error:
            return str(error)
        return ""

    def to_pedalboard(self) -> Any:
        """Live Pedalboard objects: ``.boards`` by track, bus and master; ``.render(stems)`` plays the mix with them."""
        from diffmix.export.pedalboard import to_pedalboard

        return to_pedalboard(self.preset())

    def to_dawproject(self, file: Path) -> tuple[str, ...]:
        """Write the mix as a project that Bitwig Studio, Studio One and Cubase open, NAME.dawproject.

        The recordings on tracks, with faders, pans, sends, equalisers and dynamics to go on with; see `diffmix.daw`.
        Returns in sentences what such a project cannot hold. Raises OutputError.
        """
        from diffmix.daw import write_project

        return write_project(self, FilePath(file))

    @about("file", PresetError)
    def with_dawproject(self, file: Path) -> "Mix":
        """The mix as its project, NAME.dawproject, was turned in a DAW and saved there: what `to_dawproject` wrote.

        Its notes say what did not come back; see `diffmix.daw_return`. Raises PresetError.
        """
        from diffmix.daw_return import returned

        settings, muted, notes = returned(self, FilePath(file))
        return replace(self.rendered(settings, muted), notes=(*self.notes, *notes))

    def plot(self) -> "Figure":
        """One picture of the mix (needs a person; a program reads ``report``)."""
        from diffmix.plots import overview

        return overview(self.report)

    def write_report(self, folder: Path) -> None:
        """Write report.html, report.png and report.json into an existing folder. Raises OutputError."""
        from diffmix.report import write_report

        write_report(self, folder)

    @about("folder", OutputError)
    def save(self, folder: Path, stems: bool = False, daw: bool = False) -> dict[str, FilePath]:
        """Write the mix and all that made it; returns the files' paths by name.

        These are mix.wav, settings.json, graph.json and graph.svg, report.html, report.png and report.json; if
        Pedalboard can play the mix (see `unplayable`), preset.json and preset.py; for another console than the default
        one its layout, console.json; with ``stems`` every track as it reaches its group or the master, and every
        bus of effects, ``stems/NAME.wav``: without groups they add up to what the master gets; and with ``daw`` a
        project, mix.dawproject, see `to_dawproject`.

        Audio is in 24 bits; where a sample passes 0 dBFS it is in floating point, so that nothing is clipped or lost,
        and the report says so. The files are made beside the folder first and moved in when all are complete. Settings,
        presets, layouts and graphs there that were edited by hand since are kept as ``settings.edited.json`` and so on.

        Raises OutputError if the folder cannot be written, or if what lies there must not be lost: the tracks
        themselves, a mix by others beside them, a result of another kind.
        """
        from diffmix.export import preset
        from diffmix.graph.draw import to_svg

        folder = FilePath(folder)
        self._spare_tracks(folder, stems)
        with result(folder, self.PERHAPS) as (temporary, written):
            self._write_audio(temporary / self.AUDIO)
            knobs = {name: part for name, part in self.settings.items() if name != "session"}
            session = self.multitrack.session
            Settings({"session": session, **knobs} if session else knobs).to_json(temporary / "settings.json")
            if self.console.description != Console(self.sample_rate).description:
                layout = json.dumps(self.console.description, indent=1, ensure_ascii=False)
                (temporary / "console.json").write_text(layout + "\n", encoding="utf-8")
            graph = self.graph
            graph.to_json(temporary / "graph.json")
            (temporary / "graph.svg").write_text(to_svg(graph), encoding="utf-8")
            if not self.unplayable:
                preset.save(self.preset(), temporary / "preset.json")
                preset.write_player(temporary / "preset.py")
            if daw:
                self.to_dawproject(temporary / "mix.dawproject")
            if stems:  # they tell the report how loud they are
                (temporary / "stems").mkdir()
                files = [temporary / "stems" / file for file in self._stem_files()]
                self.__dict__["levels"] = write_stems(self, files)
            self.write_report(temporary)
        return written

    def _write_audio(self, file: FilePath) -> None:
        """Write the audio to a new file, at whatever level."""
        from diffmix.data.audio import write_recording

        write_recording(file, torch.from_numpy(self.audio), self.sample_rate)

    def _spare_tracks(self, folder: FilePath, stems: bool) -> None:
        """Raise OutputError if a folder holds the tracks that were mixed, or another's result."""
        sounds = [self.AUDIO, *self.BESIDES]
        if stems:
            sounds += (f"stems/{file}" for file in self._stem_files())
            if (folder / "stems").resolve() in {FilePath(file).resolve().parent for file in self.recordings}:
                raise OutputError(
                    f"{folder / 'stems'} holds the tracks themselves: choose another folder for the results"
                )
        spare(folder, sounds, self.recordings)

    @property
    def recordings(self) -> list[str]:
        """The files that the tracks came from."""
        return [file for track in self.multitrack.tracks for file in track.files]

    def _stem_files(self) -> list[str]:
        """What the files of the tracks after processing, and of the returns behind them, are called."""
        files: list[str] = []
        for name in (*(track.name for track in self.multitrack.tracks), *self.console.buses):
            file = name.replace("/", "_").replace("\0", "_").strip(". ") or "track"
            while f"{file}.wav".casefold() in map(str.casefold, files):
                file += "_"
            files.append(f"{file}.wav")
        return files


def grouped(multitrack: Multitrack) -> tuple[Tracks, list[int]]:
    """Tracks for a console, (mono (1, N1, 1, T), stereo (1, N2, 2, T)), and the number of each in the multitrack."""
    return cut(multitrack, 0, multitrack.length), order_of(multitrack)


def ordered(settings: Settings, names: list[str]) -> Settings:
    """The settings with their tracks in this order."""
    tracks = Settings(settings).part("tracks")
    if missing := [n for n in names if n not in tracks]:
        raise SettingsError(f"no settings for track {missing[0]!r}; there are: {', '.join(tracks) or 'none'}")
    if extra := [n for n in tracks if n not in names]:
        raise SettingsError(f"settings for {extra[0]!r}, which is no track; there are: {', '.join(names)}")
    return Settings({**settings, "tracks": {n: tracks[n] for n in names}})


def muted_tracks(
    console: Console, multitrack: Multitrack, mute: str | Sequence[str], solo: str | Sequence[str]
) -> tuple[str, ...]:
    """The tracks that mute and solo leave unheard, in the multitrack's order; errors as `Mix.rendered`."""
    names = [track.name for track in multitrack.tracks]

    def named(given: str | Sequence[str]) -> Iterator[str]:
        for text in [given] if isinstance(given, str) else given:
            meant = roles_called(text)
            alike = [track.name for track in multitrack.tracks if track.role in meant]
            yield from [text] if any(fits(name.lower(), text.lower()) for name in names) else alike or [text]

    silent = console.silent(names, list(named(mute)), list(named(solo)))
    return tuple(name for name in names if name in silent)


def render(
    console: Console,
    multitrack: Multitrack,
    settings: Settings,
    mute: str | Sequence[str] = (),
    solo: str | Sequence[str] = (),
) -> torch.Tensor:
    """The mix (2, T) of a multitrack under settings, exactly as given; ``mute`` and ``solo`` as `Mix.rendered`.

    Raises SettingsError if the settings name other tracks, unknown knobs or values out of range, and AudioError if
    the console runs at another sample rate.
    """
    if console.sample_rate != multitrack.sample_rate:
        raise AudioError(f"the console runs at {console.sample_rate:g} Hz, the tracks at {multitrack.sample_rate} Hz")
    settings = console.check(ordered(settings, [track.name for track in multitrack.tracks]))
    player = Player(console, multitrack, muted_tracks(console, multitrack, mute, solo))
    return player.finished(player.whole(settings, player.before_gain), settings)


def finished(
    console: Console,
    multitrack: Multitrack,
    settings: Settings,
    loudness_lufs: float,
    ceiling_db: float,
    notes: tuple[str, ...] = (),
    *,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Mix:
    """Render, then set the master's gain for a loudness in LUFS under a true peak in dBTP.

    A limiter behind the gain lets both be had: its ceiling goes as far below the wanted true peak as peaks between
    the samples pass it. Without one the true peak comes first. The tracks are rendered once, up to the gain; what
    follows is set by trying. ``limits``, as for `Console.limited`, hold for the master's knobs too.

    Raises SettingsError if the master has no ``gain``.
    """
    _ = console.loudness_knob
    player = Player(console, multitrack)
    before = player.whole(settings, player.before_gain, progress and (lambda done: progress("rendering", done)))
    rate = multitrack.sample_rate
    every = (*multitrack.notes, *notes)
    knobs = console.narrowed_specs(player.names, limits or {})[1]["master"].params
    ceiling = next((n for n in _behind_gain(console) if n.endswith(".ceiling_db")), "")
    found = _Ending(player, before, settings, knobs, ceiling)
    if found.level <= HEARD_LUFS:
        every = (*every, "The mix is silent: no track holds a signal above -70 LUFS.")
        return Mix(found.at(0.0, ceiling_db).numpy(), rate, found.settings, console, multitrack, every)
    audio = found.search(loudness_lufs, ceiling_db, progress)
    if progress:
        progress("setting the level", 1.0)
    every += found.notes(loudness_lufs, ceiling_db)
    return Mix(audio.numpy(), rate, found.settings, console, multitrack, every)


def _behind_gain(console: Console) -> list[str]:
    """The knobs of the master's effects behind its gain."""
    stages = list(console.master)
    return [f"{s}.{knob}" for s in stages[stages.index("gain") + 1 :] for knob in console.master[s].spec.names]


class _Ending:
    """The end of a mix, from the master's gain on, while gain and ceiling are looked for."""

    STEPS = 14

    def __init__(
        self, player: Player, before: torch.Tensor, settings: Settings, knobs: Mapping[str, Param], ceiling: str
    ) -> None:
        self.player, self.before, self.settings, self.knobs, self.ceiling = player, before, settings, knobs, ceiling
        self.gain_db = self.loudness = self.peak = 0.0
        self.level, self.plain_peak = _levels(before, player.multitrack.sample_rate)  # without gain
        self.full = False  # more gain would make it no louder

    def _inside(self, name: str, value: float) -> float:
        return shortest(self.knobs[name].nearest(round(value, 2)))

    def at(self, gain_db: float, ceiling_db: float) -> torch.Tensor:
        """The mix at a gain and a ceiling as near as their ranges allow."""
        turned: dict[str, dict[str, float]] = {"gain": {"gain_db": self._inside("gain.gain_db", gain_db)}}
        if self.ceiling:
            stage, knob = self.ceiling.split(".")
            turned[stage] = {knob: self._inside(self.ceiling, ceiling_db)}
        master = self.settings.get("master", {})
        new = {stage: {**master.get(stage, {}), **knobs} for stage, knobs in turned.items()}
        self.settings = Settings({**self.settings, "master": {**master, **new}})
        self.gain_db = turned["gain"]["gain_db"]
        return self.player.finished(self.before, self.settings)

    def search(self, loudness_lufs: float, ceiling_db: float, progress: Progress | None) -> torch.Tensor:
        """Turn the gain until the loudness is right or no more is to be had; returns the mix.

        The gain rises by secants, in steps that a limiter answers smoothly; one that is driven too far makes a mix
        softer again. Gain and loudness are compared over the ceiling: a limiter makes the same of what is as much over
        it, so that tries under different ceilings lie on one curve.
        """
        rate = self.player.multitrack.sample_rate
        wanted, room = loudness_lufs - self.level, ceiling_db - self.plain_peak
        wanted = min(wanted, room + 6 if self.ceiling else room)
        under, slope = ceiling_db, 1.0
        tried: list[tuple[float, float]] = []
        audio = self.before
        for step in range(self.STEPS):
            del audio  # an hour has no room for two
            audio = self.at(wanted, under)
            if progress:
                progress("setting the level", (step + 1) / self.STEPS)
            if not _behind_gain(self.player.console):
                self.loudness, self.peak = self.level + self.gain_db, self.plain_peak + self.gain_db
                break
            self.loudness, self.peak = _levels(audio, rate)
            least = self._inside(self.ceiling, under) if self.ceiling else 0.0
            tried.append((self.gain_db - least, self.loudness - least))
            short, over = loudness_lufs - self.loudness, self.peak - ceiling_db
            if not self.ceiling:
                move = min(short, -over)
            elif self.full:
                move = 0.0
            else:
                if len(tried) > 1 and abs(tried[-1][0] - tried[-2][0]) > 0.01:
                    slope = min((tried[-1][1] - tried[-2][1]) / (tried[-1][0] - tried[-2][0]), 1.0)
                self.full = short > 0.02 and slope < 0.15
                if self.full:  # no louder: the best of what was tried
                    move = max(tried, key=lambda pair: pair[1])[0] + least - self.gain_db
                else:
                    move = min(max(short / max(slope, 0.15), -12.0), 4.0)
            wanted = self.gain_db + move
            still = abs(move) < 0.02 or self._inside("gain.gain_db", wanted) == self.gain_db
            if still and (not self.ceiling or over <= 0.005 or under <= self.knobs[self.ceiling].low):
                break
            if self.ceiling and over > 0.005:
                under -= over + 0.003
        return audio

    def notes(self, loudness_lufs: float, ceiling_db: float) -> tuple[str, ...]:
        """What a person should know about level and peaks."""
        found = []
        knob = self.knobs["gain.gain_db"]
        if abs(self.loudness - loudness_lufs) > 0.05:
            if knob.low == knob.high:
                why = "the master's gain is locked"
            elif self.gain_db in (knob.low, knob.high):
                why = f"the master's gain ends at {self.gain_db:g} dB"
            elif self.ceiling:
                why = "the limiter gives no more"
            else:
                lacks = ", and this console has no limiter" if not _behind_gain(self.player.console) else ""
                why = f"more would pass {ceiling_db:g} dBTP{lacks}"
            found.append(f"Loudness is {self.loudness:.1f} LUFS instead of {round(loudness_lufs, 2):g}: {why}.")
        if self.peak > ceiling_db + 0.1:
            found.append(
                f"True peak is {self.peak:.1f} dBTP instead of {ceiling_db:g}: turn the effects of the master down."
            )
        taken = self.plain_peak + self.gain_db - self.peak
        if self.ceiling and taken > 8:
            found.append(f"The limiter takes {taken:.0f} dB off the highest peak: a lower loudness keeps more punch.")
        return tuple(found)


def _levels(mix: torch.Tensor, sample_rate: int) -> tuple[float, float]:
    """Loudness in LUFS and true peak in dBTP of a mix (2, T)."""
    return float(integrated_loudness(mix[None], sample_rate)), float(true_peak_db(mix[None], sample_rate))
