"""A mix as a project that a DAW opens: the recordings on tracks, with the mix's faders, pans, sends and effects."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from diffmix.data.audio import write_recording
from diffmix.data.multitrack import Track
from diffmix.errors import PresetError
from diffmix.export.dawproject import Channel, Clip, Device, devices_of, save
from diffmix.files import replacing, workshop
from diffmix.params import ParamSpec
from diffmix.processors import Processor
from diffmix.processors.base import Plugin

if TYPE_CHECKING:
    from diffmix.mix import Mix

Stages = Mapping[str, Mapping[str, float]]
"""The knobs of a strip, by stage."""

ALIKE = (
    "Equalisers, compressors and limiters differ between DAWs, and so do pan laws (meant is -3 dB in the centre): the "
    "project sounds like the mix, not exactly so."
)


def write_project(mix: "Mix", file: Path) -> tuple[str, ...]:
    """Write a DAWproject; returns what it cannot hold, in sentences, which it holds too.

    Tracks have the recordings, up to their last sound, as wav at the mix's rate. A bus with an effect that no
    DAWproject knows, a reverb, stands muted for one of the DAW's own; what it returns in the mix is on a track beside
    it. The archive also has the mix's ``settings.json``. Raises OutputError.
    """
    desk = Desk(mix)
    with replacing(file) as part, workshop(part.parent) as folder:
        channels = [replace(channel, clip=desk.clip(channel, folder)) for channel in desk.channels]
        settings = json.dumps(mix.settings, indent=1, ensure_ascii=False) + "\n"
        save(part, channels, mix.multitrack.name, " ".join(desk.notes), {"settings.json": settings})
    return desk.notes


def uncarried(mix: "Mix") -> tuple[str, ...]:
    """What a project cannot hold of a mix, in sentences."""
    return Desk(mix).notes


class Strip(NamedTuple):
    """A strip that a project has: the ``name`` of its channel, which its knobs make, and where these are in settings.

    ``part`` is tracks, buses or master, ``key`` the strip's name there.
    """

    name: str
    part: str
    key: str
    spec: ParamSpec
    made: Callable[[Stages], Channel]


class Desk:
    """What of a mix's desk a DAW can hold: its channels, still without audio, and notes on the rest."""

    def __init__(self, mix: "Mix") -> None:
        console, tracks = mix.console, mix.multitrack.tracks
        self.mix, self.settings = mix, console.check(mix.settings)
        self.lost: dict[str, list[str]] = {}
        self.widths: dict[str, str] = {}
        self.printed: dict[str, str] = {}
        self.strips: list[Strip] = []
        self.channels: list[Channel] = []
        self.taken = {track.name for track in tracks}
        self.names = {part: self._unused(part) for part in (*console.groups, *console.buses, "master")}
        groups = {track.name: console.group_of(track.name) for track in tracks}
        for name in console.groups:
            if name in groups.values():
                self._add(Strip(self.names[name], "buses", name, console.strip_specs[name], partial(self._group, name)))
        for track in tracks:
            into = self.names[groups[track.name]] if groups[track.name] else ""
            made = partial(self._track, track, into)
            self._add(Strip(track.name, "tracks", track.name, console.track_spec, made))
        for name in console.buses:
            self._add(
                Strip(title := self.names[name], "buses", name, console.strip_specs[name], partial(self._bus, name))
            )
            if title in self.lost:
                printed = self._unused(f"{title} printed")
                self.printed[printed] = name
                self.channels.append(Channel(printed))
        self._add(Strip(self.names["master"], "master", "", console.master_spec, self._master))

    def _add(self, strip: Strip) -> None:
        self.strips.append(strip)
        part = self.settings[strip.part]
        self.channels.append(strip.made(part[strip.key] if strip.key else part))

    @property
    def notes(self) -> tuple[str, ...]:
        """What does not go along, and what was done about it."""
        buses = {self.names[bus]: printed for printed, bus in self.printed.items()}
        notes = [
            f"A DAWproject has nothing like {' and '.join(kinds)}, which {where} has"
            + (
                f": {where} stands muted, for an effect of the DAW, and what it returns is on '{buses[where]}'."
                if where in buses
                else "."
            )
            for where, kinds in self.lost.items()
        ]
        if self.widths:
            notes.append(f"The width is as recorded, where the mix has {', '.join(self.widths.values())}.")
        return (*notes, ALIKE)

    @cached_property
    def _returns(self) -> dict[str, Tensor]:
        return {bus: torch.from_numpy(audio) for bus, audio in self.mix.returns}

    def clip(self, channel: Channel, folder: Path) -> Clip | None:
        """A channel's audio up to its last sound, written to a file of its own; none if it has none."""
        rate, start = self.mix.sample_rate, 0
        if channel.name in self.printed:
            audio = self._returns[self.printed[channel.name]]
        elif track := next((t for t in self.mix.multitrack.tracks if t.name == channel.name), None):
            start = round(track.start_s * rate)
            audio = track.audio[:, start:]
        else:
            return None
        heard = audio.any(0).nonzero()
        if not len(heard):
            return None
        audio = audio[:, : int(heard[-1]) + 1]
        number = len(list(folder.iterdir())) + 1
        file = folder / f"{number}.wav"
        write_recording(file, audio, rate)
        name = "".join("_" if c in '/\\:*?"<>|' or ord(c) < 32 else c for c in channel.name).strip(". ")
        return Clip(file, f"audio/{number:02d} {name}.wav", start / rate, audio.shape[1] / rate, len(audio), rate)

    def _unused(self, name: str) -> str:
        """A name for a channel that is no other's."""
        while name in self.taken:
            name += " bus"
        self.taken.add(name)
        return name

    def _track(self, track: Track, into: str, stages: Stages) -> Channel:
        knobs = dict(stages)
        del knobs["image" if len(track.audio) == 1 else "pan"]  # a track has one of them
        muted = track.name in self.mix.muted
        strip = self._strip(track.name, self.mix.console.strip, knobs)
        return Channel(track.name, channels=len(track.audio), muted=muted, into=into, **strip)

    def _group(self, name: str, knobs: Stages) -> Channel:
        ends = ("fader", "image", *self.mix.console.sends)
        stages = {stage: effect for stage, effect in self.mix.console.groups[name].items() if stage not in ends}
        return Channel(self.names[name], "submix", **self._strip(self.names[name], stages, knobs))

    def _bus(self, name: str, knobs: Stages) -> Channel:
        title = self.names[name]
        devices, gain_db = self._devices(title, self.mix.console.buses[name], knobs)
        return Channel(title, "effect", devices=devices, fader_db=gain_db, muted=title in self.lost)

    def _master(self, knobs: Stages) -> Channel:
        devices, gain_db = self._devices("master", self.mix.console.master, knobs)
        return Channel(self.names["master"], "master", devices=devices, fader_db=gain_db)

    def _strip(self, name: str, stages: Mapping[str, Processor], knobs: Mapping[str, Any]) -> dict[str, Any]:
        """Devices, fader, pan and sends of a track or a group."""
        devices, gain_db = self._devices(name, stages, knobs)
        image = knobs.get("image", {"balance": 0.0, "width": 1.0})
        if round(image["width"], 2) != 1:
            self.widths[name] = f"{image['width']:.2f} for {name}"
        sends = self.mix.console.layout["sends"].items()
        return {
            "devices": devices,
            "fader_db": gain_db + knobs["fader"]["gain_db"],
            "pan": knobs["pan"]["pan"] if "pan" in knobs else image["balance"],
            "sends": {self.names[bus]: knobs[send]["gain_db"] for send, bus in sends if send in knobs},
        }

    def _devices(
        self, name: str, stages: Mapping[str, Processor], knobs: Mapping[str, Any]
    ) -> tuple[list[Device], float]:
        """The devices of a strip, and what gain in dB is left behind them."""

        def plugins() -> Iterator[Plugin]:
            for stage, effect in stages.items():
                try:
                    yield from effect.plugins(knobs.get(stage, {}))
                except PresetError:
                    yield type(effect).__name__, {}

        devices, gain_db, lost = devices_of(plugins())
        if lost:
            self.lost[name] = list(dict.fromkeys(lost))
        return devices, gain_db
