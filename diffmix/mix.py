"""The result of every command: the audio, and every setting that made it."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from diffmix.console import Console, Controls, Tracks
from diffmix.data.multitrack import Multitrack
from diffmix.errors import AudioError, OutputError, SettingsError
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
    should know (files skipped, loudness not reached). Edit ``settings`` and call `rendered` to hear the change.
    """

    audio: np.ndarray
    sample_rate: int
    settings: Settings
    console: Console = field(repr=False)
    multitrack: Multitrack = field(repr=False)
    notes: tuple[str, ...] = ()

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
        """Each track as it reaches the sum of the mix, (2, T), one at a time, as (name, audio)."""
        tracks, order = grouped(self.multitrack)
        values = self.console.numbers(ordered(self.settings, [self.multitrack.tracks[n].name for n in order]))
        with torch.no_grad():
            for n, y in zip(order, self.console.placed(tracks, values), strict=True):
                yield self.multitrack.tracks[n].name, y[0].numpy()

    def rendered(self, settings: Settings | None = None) -> "Mix":
        """The same tracks under other settings, exactly as given (no loudness target is applied)."""
        settings = self.settings if settings is None else settings
        return replace(self, audio=render(self.console, self.multitrack, settings).numpy(), settings=settings)

    def preset(self) -> dict[str, Any]:
        """The mix as a preset that Pedalboard can play: plain data, see ``diffmix.export``."""
        from diffmix.export.preset import build

        sources = {t.name: (t.files, t.audio.shape[0]) for t in self.multitrack.tracks}
        channels = {t.name: t.audio.shape[0] for t in self.multitrack.tracks}
        return build(self.console.nodes(self.settings, channels), self.sample_rate, sources)

    def to_pedalboard(self) -> Any:
        """Live Pedalboard objects: ``.boards`` by track, bus and master; ``.render(stems)`` plays the mix with them."""
        from diffmix.export.pedalboard import to_pedalboard

        return to_pedalboard(self.preset())

    def plot(self) -> "Figure":
        """One picture of the mix (needs a person; a program reads ``report``)."""
        from diffmix.plots import overview

        return overview(self)

    def save(self, folder: Path) -> dict[str, FilePath]:
        """Write mix.wav, settings.json, preset.json, preset.py, report.html and report.png; returns their paths.

        The files are made beside the folder first and moved in when all are complete. Raises OutputError if the
        folder cannot be written.
        """
        from diffmix.data.audio import write_wav
        from diffmix.export import preset
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
            preset.save(self.preset(), temporary / "preset.json")
            preset.write_player(temporary / "preset.py")
            write_report(self, temporary)
            written = {}
            for file in sorted(temporary.iterdir()):
                os.replace(file, folder / file.name)
                written[file.name] = folder / file.name
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


def render(console: Console, multitrack: Multitrack, settings: Settings) -> torch.Tensor:
    """The mix (2, T) of a multitrack under settings, exactly as given.

    Raises SettingsError if the settings name other tracks, unknown knobs or values out of range, and AudioError if
    the console runs at another sample rate.
    """
    if console.sample_rate != multitrack.sample_rate:
        raise AudioError(f"the console runs at {console.sample_rate:g} Hz, the tracks at {multitrack.sample_rate} Hz")
    tracks, order = grouped(multitrack)
    values = console.numbers(ordered(settings, [multitrack.tracks[n].name for n in order]))
    with torch.no_grad():
        return console.mix(tracks, values)[0]


def finished(
    console: Console,
    multitrack: Multitrack,
    settings: Settings,
    loudness_lufs: float,
    ceiling_db: float,
    notes: tuple[str, ...] = (),
) -> Mix:
    """Render, then set the master's gain for a loudness in LUFS, or for a true peak in dBTP if that comes first."""
    knob = console.master["gain"].spec.params["gain_db"]
    plain = Settings({**settings, "master": {**settings["master"], "gain": {"gain_db": 0.0}}})
    mix = render(console, multitrack, plain)
    loudness, peak = (float(f(mix[None], multitrack.sample_rate)) for f in (integrated_loudness, true_peak_db))
    if loudness <= -69:
        notes = (*notes, "The mix is silent: no track holds a signal above -70 LUFS.")
        gain_db = 0.0
    else:
        wanted, allowed = loudness_lufs - loudness, ceiling_db - peak
        gain_db = min(max(min(wanted, allowed), knob.low), knob.high)
        if gain_db < wanted - 0.05:
            notes = (
                *notes,
                f"Loudness is {loudness + gain_db:.1f} LUFS instead of {loudness_lufs:g}: "
                f"more would pass {ceiling_db:g} dBTP, and this console has no limiter.",
            )
    gain_db = shortest(gain_db)
    audio = gain(mix[None], torch.tensor([gain_db]))[0]  # the gain is the last stage: the same as rendering again
    settings = Settings({**settings, "master": {**settings["master"], "gain": {"gain_db": gain_db}}})
    return Mix(audio.numpy(), multitrack.sample_rate, settings, console, multitrack, (*multitrack.notes, *notes))
