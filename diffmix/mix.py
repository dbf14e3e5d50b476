"""The result of every command: the audio, and every setting that made it."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from diffmix.console import Console, Controls, Tracks
from diffmix.data.multitrack import Multitrack
from diffmix.errors import AudioError, OutputError, PresetError, SettingsError
from diffmix.graph import Graph
from diffmix.kernels.loudness import integrated_loudness, true_peak_db
from diffmix.kernels.units import gain
from diffmix.settings import Settings, shortest
from diffmix.types import Path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Progress = Callable[[str, float], None]
"""Called with what is being done and the share done, 0 to 1."""


@dataclass(frozen=True)
class Mix:
    """A mix and how it was made.

    ``audio`` is float32 (2, T) at ``sample_rate`` Hz; ``settings`` holds every knob; ``notes`` says what a person
    should know (files skipped, loudness not reached); ``muted`` names tracks that are not heard. Edit ``settings`` and
    call `rendered` to hear the change.
    """

    audio: np.ndarray
    sample_rate: int
    settings: Settings
    console: Console = field(repr=False)
    multitrack: Multitrack = field(repr=False)
    notes: tuple[str, ...] = ()
    muted: tuple[str, ...] = ()

    @property
    def controls(self) -> Controls:
        """The settings as control vectors in [0, 1]."""
        return self.console.encode(self.settings)

    @cached_property
    def report(self) -> dict[str, Any]:
        """What was measured: per track and for the whole, before and after."""
        from diffmix.report import measure

        return measure(self)

    @property
    def processed(self) -> Iterator[tuple[str, np.ndarray]]:
        """Each track as it reaches its group or the mix, (2, T), one at a time, as (name, audio)."""
        tracks, order = grouped(self.multitrack)
        names = [self.multitrack.tracks[n].name for n in order]
        values = self.console.numbers(ordered(self.settings, names))
        with torch.no_grad():
            placed = self.console.placed(tracks, values, _heard(names, self.muted), names)
            for name, y in zip(names, placed, strict=True):
                yield name, y[0].numpy()

    def rendered(
        self,
        settings: Settings | None = None,
        mute: str | Sequence[str] = (),
        solo: str | Sequence[str] = (),
    ) -> "Mix":
        """The same tracks under other settings, exactly as given (no loudness target is applied).

        ``mute`` names tracks that are not heard, ``solo`` the only ones that are, both by patterns: ``"drum*"``.
        Raises SettingsError for a pattern that fits no track.
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

    def plot(self) -> "Figure":
        """One picture of the mix (needs a person; a program reads ``report``)."""
        from diffmix.plots import overview

        return overview(self)

    def save(self, folder: Path) -> dict[str, FilePath]:
        """Write the mix and all that made it; returns the files' paths by name.

        These are mix.wav, settings.json, graph.json and graph.svg, report.html and report.png; if Pedalboard can play
        the mix (see `unplayable`), preset.json and preset.py; and for another console than the default one its layout,
        console.json.

        The files are made beside the folder first and moved in when all are complete. Raises OutputError if the
        folder cannot be written.
        """
        from diffmix.data.audio import write_wav
        from diffmix.export import preset
        from diffmix.graph.draw import to_svg
        from diffmix.report import write_report

        folder = FilePath(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            temporary = FilePath(tempfile.mkdtemp(prefix=".diffmix.", dir=folder))
        except OSError as error:
            raise OutputError(f"cannot write to {folder}: {error.strerror or error}") from None
        try:
            write_wav(temporary / "mix.wav", torch.from_numpy(self.audio), self.sample_rate)
            self.settings.to_json(temporary / "settings.json")
            if self.console.description != Console(self.sample_rate).description:
                layout = json.dumps(self.console.description, indent=1, ensure_ascii=False)
                (temporary / "console.json").write_text(layout + "\n", encoding="utf-8")
            graph = self.graph
            graph.to_json(temporary / "graph.json")
            (temporary / "graph.svg").write_text(to_svg(graph), encoding="utf-8")
            if not self.unplayable:
                preset.save(self.preset(), temporary / "preset.json")
                preset.write_player(temporary / "preset.py")
            write_report(self, temporary)
            written = {}
            for file in sorted(temporary.iterdir()):
                os.replace(file, folder / file.name)
                written[file.name] = folder / file.name
            for name in {
                "preset.json",
                "preset.py",
                "console.json",
            } - written.keys():  # of an earlier mix in this folder
                (folder / name).unlink(missing_ok=True)
            return written
        except OSError as error:
            raise OutputError(f"cannot write to {folder}: {error.strerror or error}") from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def grouped(multitrack: Multitrack) -> tuple[Tracks, list[int]]:
    """Tracks for a console, (mono (1, N1, 1, T), stereo (1, N2, 2, T)), and the number of each in the multitrack."""
    of = {c: [n for n, t in enumerate(multitrack.tracks) if t.audio.shape[0] == c] for c in (1, 2)}
    audio = tuple(
        torch.stack([multitrack.tracks[n].audio for n in of[c]])[None]
        if of[c]
        else torch.zeros(1, 0, c, multitrack.length)
        for c in (1, 2)
    )
    return (audio[0], audio[1]), of[1] + of[2]


def ordered(settings: Settings, names: list[str]) -> Settings:
    """The settings with their tracks in this order."""
    tracks = settings.get("tracks", {})
    if missing := [n for n in names if n not in tracks]:
        raise SettingsError(f"no settings for track {missing[0]!r}; there are: {', '.join(tracks) or 'none'}")
    if extra := [n for n in tracks if n not in names]:
        raise SettingsError(f"settings for {extra[0]!r}, which is no track; there are: {', '.join(names)}")
    return Settings({**settings, "tracks": {n: tracks[n] for n in names}})


def muted_tracks(
    console: Console, multitrack: Multitrack, mute: str | Sequence[str], solo: str | Sequence[str]
) -> tuple[str, ...]:
    """The tracks that mute and solo leave unheard, in the multitrack's order; errors as `Console.silent`."""
    names = [track.name for track in multitrack.tracks]
    silent = console.silent(names, mute, solo)
    return tuple(name for name in names if name in silent)


def _heard(names: Sequence[str], muted: Sequence[str]) -> torch.Tensor | None:
    """The console's mask (1, N), if it is needed."""
    return torch.tensor([[float(name not in muted) for name in names]]) if muted else None


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
    tracks, order = grouped(multitrack)
    names = [multitrack.tracks[n].name for n in order]
    values = console.numbers(ordered(settings, names))
    mask = _heard(names, muted_tracks(console, multitrack, mute, solo))
    with torch.no_grad():
        return console.mix(tracks, values, mask, names)[0]


def finished(
    console: Console,
    multitrack: Multitrack,
    settings: Settings,
    loudness_lufs: float,
    ceiling_db: float,
    notes: tuple[str, ...] = (),
) -> Mix:
    """Render, then set the master's gain for a loudness in LUFS, or for a true peak in dBTP if that comes first.

    Raises SettingsError if the master has no ``gain``.
    """
    knob = console.loudness_knob
    last = list(console.master)[-1] == "gain"

    def at(gain_db: float) -> Settings:
        return Settings({**settings, "master": {**settings.get("master", {}), "gain": {"gain_db": gain_db}}})

    gain_db = start_db = min(max(0.0, knob.low), knob.high)
    plain = mix = render(console, multitrack, at(gain_db))
    loudness, peak = _levels(mix, multitrack.sample_rate)
    if loudness <= -69:
        notes = (*notes, "The mix is silent: no track holds a signal above -70 LUFS.")
        return Mix(mix.numpy(), multitrack.sample_rate, at(gain_db), console, multitrack, (*multitrack.notes, *notes))
    for _ in range(1 if last else 12):  # an effect behind the gain answers it in its own way
        wanted = shortest(min(max(gain_db + min(loudness_lufs - loudness, ceiling_db - peak), knob.low), knob.high))
        if last and start_db == 0:  # the gain is the last stage: the same as rendering again
            mix = gain(plain[None], torch.tensor([wanted]))[0]
        else:
            mix = render(console, multitrack, at(wanted))
        step, gain_db = wanted - gain_db, wanted
        loudness, peak = (loudness + step, peak + step) if last else _levels(mix, multitrack.sample_rate)
        if abs(step) < 0.02:
            break
    if loudness < loudness_lufs - 0.05:
        lacks = ", and this console has no limiter" if last else ""
        notes = (
            *notes,
            f"Loudness is {loudness:.1f} LUFS instead of {loudness_lufs:g}: more would pass {ceiling_db:g} dBTP{lacks}."
            if gain_db < knob.high
            else f"Loudness is {loudness:.1f} LUFS instead of {loudness_lufs:g}: the master's gain ends at "
            f"{knob.high:g} dB.",
        )
    if peak > ceiling_db + 0.1:
        notes = (
            *notes,
            f"True peak is {peak:.1f} dBTP instead of {ceiling_db:g}: turn the effects of the master down.",
        )
    return Mix(mix.numpy(), multitrack.sample_rate, at(gain_db), console, multitrack, (*multitrack.notes, *notes))


def _levels(mix: torch.Tensor, sample_rate: int) -> tuple[float, float]:
    """Loudness in LUFS and true peak in dBTP of a mix (2, T)."""
    return float(integrated_loudness(mix[None], sample_rate)), float(true_peak_db(mix[None], sample_rate))
