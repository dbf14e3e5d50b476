"""DAWproject 1.0, which Bitwig Studio, Studio One and Cubase open: a mixer, its devices, and the audio on its tracks.

The file is a ZIP of ``project.xml``, ``metadata.xml`` and audio (github.com/bitwig/dawproject). It knows four effects:
equaliser, compressor, gate and limiter; their children stand in the alphabetical order of the schema's sequences.
"""

import math
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError, SubElement, TreeBuilder, XMLParser, tostring

from diffmix.errors import PresetError
from diffmix.export.preset import generator
from diffmix.processors.base import Plugin

MOST_DB = 6.0
"""Further up go few faders of DAWs: what is above is the gain of a device."""


class Band(NamedTuple):
    """A band of an equaliser; high- and low-passes have no gain."""

    kind: str
    freq_hz: float
    gain_db: float | None = None
    q: float = math.sqrt(0.5)


@dataclass
class Device:
    """An ``Equalizer``, ``Compressor``, ``NoiseGate`` or ``Limiter``, its ``knobs`` by the schema's names and units."""

    kind: str
    knobs: dict[str, float | bool] = field(default_factory=dict)
    bands: list[Band] = field(default_factory=list)


class Clip(NamedTuple):
    """An audio file, named in the archive, which plays ``seconds`` from ``start_s`` on."""

    file: Path
    name: str
    start_s: float
    seconds: float
    channels: int
    sample_rate: int


@dataclass
class Channel:
    """A strip of the mixer: devices, then fader, pan (-1 to 1) and sends (dB, by the channels that they go to).

    ``role`` is regular, submix, effect or master; ``into`` the submix that it goes to, in place of the master.
    """

    name: str
    role: str = "regular"
    channels: int = 2
    devices: list[Device] = field(default_factory=list)
    fader_db: float = 0.0
    pan: float = 0.0
    sends: Mapping[str, float] = field(default_factory=dict)
    muted: bool = False
    solo: bool = False
    comment: str = ""
    into: str = ""
    clip: Clip | None = None


_BANDS = {
    "HighpassFilter": "highPass",
    "LowpassFilter": "lowPass",
    "LowShelfFilter": "lowShelf",
    "HighShelfFilter": "highShelf",
    "PeakFilter": "bell",
}
_GATED = ("Compressor", "NoiseGate")
_UNITS = {"Attack": "seconds", "Release": "seconds", "Ratio": "percent"}
_MOST_BYTES = 1 << 25  # of project.xml: a hundred tracks take a quarter of a megabyte
_CLOSED_DB = -200.0


def devices_of(plugins: Iterable[Plugin]) -> tuple[list[Device], float, list[str]]:
    """Devices like Pedalboard's plugins, what gain in dB is left behind them, and the plugins that have none like them.

    Neighbouring filters become one equaliser, gains the input of the device behind. A ratio is written in percent of
    the whole reduction, 100 (1 - 1 / ratio): 75 for 4:1.
    """
    made: list[Device] = []
    lost: list[str] = []
    gain_db = 0.0
    for kind, values in plugins:
        if kind == "Gain":
            gain_db += values["gain_db"]
            continue
        if kind in _BANDS:
            if gain_db or not made or made[-1].kind != "Equalizer":
                made.append(Device("Equalizer"))
            shape = {name: values[name] for name in ("gain_db", "q") if name in values}
            made[-1].bands.append(Band(_BANDS[kind], values["cutoff_frequency_hz"], **shape))
        elif kind in (*_GATED, "Limiter", "BrickwallLimiter"):
            if gain_db and kind == "NoiseGate":  # it has no gain of its own
                made.append(Device("Equalizer", {"InputGain": gain_db}))
                gain_db = 0.0
            made.append(_dynamics(kind, values))
        else:
            lost.append(kind)
            continue
        if gain_db:
            made[-1].knobs["InputGain"] = gain_db
            gain_db = 0.0
    return made, gain_db, lost


def _dynamics(kind: str, values: Mapping[str, float]) -> Device:
    threshold_db = values["ceiling_db"] if kind == "BrickwallLimiter" else values["threshold_db"]
    knobs: dict[str, float | bool] = {"Threshold": threshold_db, "Release": values["release_ms"] / 1000}
    if kind in _GATED:
        knobs |= {"Attack": values["attack_ms"] / 1000, "Ratio": 100 * (1 - 1 / values["ratio"])}
    if kind == "Compressor":
        knobs["AutoMakeup"] = False
    return Device(kind if kind in _GATED else "Limiter", knobs)


def save(path: Path, channels: Sequence[Channel], title: str, comment: str, beside: Mapping[str, str]) -> None:
    """Write a project: ``channels`` in the mixer's order, groups before their tracks, the master last.

    ``beside`` are further text files in the archive, by name. Errors are the system's.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("project.xml", _project(channels))
        archive.writestr("metadata.xml", _metadata(title, comment))
        for name, text in beside.items():
            archive.writestr(name, text)
        for channel in channels:
            if channel.clip:
                archive.write(channel.clip.file, channel.clip.name, zipfile.ZIP_STORED)


def _project(channels: Sequence[Channel]) -> bytes:
    project = Element("Project", version="1.0")
    name, version = generator().split()
    SubElement(project, "Application", name=name, version=version)
    structure = SubElement(project, "Structure")
    inner = {channel.name: f"channel{n}" for n, channel in enumerate(channels)}
    outer: dict[str, Element] = {}
    lanes = SubElement(SubElement(project, "Arrangement", id="arrangement"), "Lanes", id="lanes", timeUnit="seconds")
    for n, channel in enumerate(channels):
        group = channel.role == "submix"
        track = SubElement(outer.get(channel.into, structure), "Track", id=f"track{n}", name=plain(channel.name))
        track.attrib |= {"contentType": "tracks" if group else "audio", "loaded": "true"}
        if channel.comment:
            track.set("comment", plain(channel.comment))
        if group:
            outer[channel.name] = track
        goes = "" if channel.role == "master" else inner[channel.into or channels[-1].name]
        _mixer(SubElement(track, "Channel", id=inner[channel.name], role=channel.role), channel, goes, inner)
        if channel.clip:
            _clip(SubElement(lanes, "Lanes", id=f"lanes{n}", track=f"track{n}"), channel.clip, f"clips{n}")
    return _text(project)


def _mixer(made: Element, channel: Channel, goes: str, inner: Mapping[str, str]) -> None:
    made.attrib |= {"audioChannels": str(channel.channels), "solo": "false"}
    if goes:
        made.set("destination", goes)
    devices, over_db = [*channel.devices], channel.fader_db - MOST_DB
    if over_db > 0:
        devices.append(Device("Equalizer", {"OutputGain": over_db}))
    holder = SubElement(made, "Devices")
    for device in devices:
        _device(holder, device)
    SubElement(made, "Mute", value=str(channel.muted).lower())
    _real(made, "Pan", (channel.pan + 1) / 2, "normalized", 0, 1)
    if channel.sends:
        holder = SubElement(made, "Sends")
        for bus, level_db in channel.sends.items():
            send = SubElement(holder, "Send", destination=inner[bus], type="post")
            _real(send, "Volume", 10 ** (level_db / 20), "linear", 0, 2)
    _real(made, "Volume", 10 ** (min(channel.fader_db, MOST_DB) / 20), "linear", 0, 2)


def _device(holder: Element, device: Device) -> None:
    made = SubElement(holder, device.kind, deviceName=device.kind, deviceRole="audioFX")
    SubElement(made, "Enabled", value="true")
    for order, band in enumerate(device.bands):
        one = SubElement(made, "Band", type=band.kind, order=str(order))
        _real(one, "Freq", band.freq_hz, "hertz")
        if band.gain_db is not None:
            _real(one, "Gain", band.gain_db, "decibel")
        _real(one, "Q", band.q, "linear")
        SubElement(one, "Enabled", value="true")
    for knob, value in sorted(device.knobs.items()):
        if isinstance(value, bool):
            SubElement(made, knob, value=str(value).lower())
        else:
            _real(made, knob, value, _UNITS.get(knob, "decibel"))


def _clip(lanes: Element, clip: Clip, name: str) -> None:
    seconds = f"{clip.seconds:.9g}"
    made = SubElement(SubElement(lanes, "Clips", id=name), "Clip", time=f"{clip.start_s:.9g}", duration=seconds)
    made.attrib |= {"contentTimeUnit": "seconds", "playStart": "0", "name": Path(clip.name).stem}
    audio = SubElement(made, "Audio", duration=seconds, algorithm="raw", id=f"{name}audio")
    audio.attrib |= {"channels": str(clip.channels), "sampleRate": str(clip.sample_rate)}
    SubElement(audio, "File", path=clip.name)


def _real(holder: Element, tag: str, value: float, unit: str, least: float | None = None, most: float = 1) -> None:
    made = SubElement(holder, tag, value=f"{value:.9g}", unit=unit)
    if least is not None:
        made.attrib |= {"min": f"{least:g}", "max": f"{most:g}"}


def _metadata(title: str, comment: str) -> bytes:
    made = Element("MetaData")
    SubElement(made, "Title").text = plain(title)
    SubElement(made, "Comment").text = plain(comment)
    return _text(made)


def _text(root: Element) -> bytes:
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="utf-8")


def plain(text: str) -> str:
    """Without the characters that XML 1.0 does not allow."""
    return re.sub("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "_", text)


def read(path: str | PathLike[str]) -> list[Channel]:
    """The mixer of a project, also of one that a DAW has saved: its channels without their clips.

    Devices that are switched off are left out, and so is what else a project holds. Raises PresetError.
    """
    project = _parsed(path)
    owners = [*project.iter("Structure"), *project.iter("Track")]
    found = [(owner.get("name", c.get("name", "")), c) for owner in owners for c in owner.iterfind("Channel")]
    names = {channel.get("id", ""): name for name, channel in found}
    return [_channel(f"{path}: {name!r}", name, channel, names) for name, channel in found]


class _Plain(TreeBuilder):
    """Elements of a document that declares nothing: entities could fill the memory."""

    def doctype(self, *_: object) -> None:
        raise ParseError("it has a document type, which a project has not")


def _parsed(path: str | PathLike[str]) -> Element:
    try:
        with zipfile.ZipFile(path) as archive, archive.open("project.xml") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise PresetError(
                f"{path}: project.xml has more than {_MOST_BYTES >> 20} MB unpacked; no mixer takes so much"
            )
        parser = XMLParser(target=_Plain())
        parser.feed(text)
        project: Element = parser.close()
    except OSError as error:
        raise PresetError(f"{path} cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, RuntimeError) as error:
        raise PresetError(f"{path} is no DAWproject, a zip archive with a project.xml: {error}") from None
    except (ParseError, ValueError) as error:
        raise (
            error if isinstance(error, PresetError) else PresetError(f"{path}: project.xml is broken: {error}")
        ) from None
    return project


def _channel(where: str, name: str, channel: Element, names: Mapping[str, str]) -> Channel:
    devices = [_read_device(where, device) for device in channel.iterfind("Devices/*") if _on(device)]
    fader_db = _number(where, channel, "Volume", 0.0)
    if devices and devices[-1].knobs.keys() == {"OutputGain"} and not devices[-1].bands:  # what no fader reaches
        fader_db += devices.pop().knobs["OutputGain"]
    sends = {
        names.get(send.get("destination", ""), ""): _number(where, send, "Volume", 0.0) if _on(send) else _CLOSED_DB
        for send in channel.iterfind("Sends/Send")
    }
    return Channel(
        name,
        channel.get("role", "regular"),
        devices=devices,
        fader_db=fader_db,
        pan=_number(where, channel, "Pan", 0.0),
        sends=sends,
        muted=_said(channel, "Mute", False),
        solo=channel.get("solo") == "true",
    )


def _read_device(where: str, device: Element) -> Device:
    made = Device(device.tag)
    if device.tag not in ("Equalizer", "Compressor", "NoiseGate", "Limiter"):
        return made
    for band in sorted(device.iterfind("Band"), key=_order):
        gain_db = None if band.find("Gain") is None else _number(where, band, "Gain", 0.0)
        if _on(band) or gain_db is not None:
            shape = (
                _number(where, band, "Freq", 1000.0),
                gain_db if _on(band) else 0.0,
                _number(where, band, "Q", 0.5**0.5),
            )
            made.bands.append(Band(band.get("type", ""), *shape))
    for knob in ("Attack", "InputGain", "OutputGain", "Range", "Ratio", "Release", "Threshold"):
        if device.find(knob) is not None:
            made.knobs[knob] = _number(where, device, knob, 0.0)
    return made


def _order(band: Element) -> int:
    order = band.get("order", "")
    return int(order) if order.isascii() and order.isdigit() else 0


def _on(element: Element) -> bool:
    return _said(element, "Enabled", True) and _said(element, "Enable", True)


def _said(element: Element, tag: str, default: bool) -> bool:
    found = element.find(tag)
    return default if found is None else found.get("value", str(default)).lower() == "true"


def _number(where: str, element: Element, tag: str, default: float) -> float:
    """A value in the unit of `Channel`, `Band` and `Device`, whichever unit it is written in."""
    found = element.find(tag)
    if found is None:
        return default
    try:
        value, unit = float(found.get("value", "")), found.get("unit")
        low, high = float(found.get("min", "0")), float(found.get("max", "1"))
    except ValueError:
        value, unit, low, high = math.nan, None, 0.0, 1.0
    if value == -math.inf and unit in ("decibel", "linear"):
        return _CLOSED_DB
    if not (math.isfinite(value) and high > low):
        raise PresetError(f"{where}: {tag} is {found.get('value')!r}, a number is expected")
    if tag == "Pan":
        return 2 * (value - low) / (high - low) - 1 if unit == "normalized" or found.get("min") else value
    if unit == "linear" and tag not in ("Q", "Ratio"):
        return 20 * math.log10(value) if value > 0 else _CLOSED_DB
    if unit == "semitones":
        return 440 * 2 ** ((value - 69) / 12)
    return value
