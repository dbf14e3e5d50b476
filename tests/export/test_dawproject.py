"""Projects for DAWs: what the format asks for, and that a mixer with such devices plays what was heard."""

import io
import json
import zipfile
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import pedalboard
import pytest
import soundfile
import torch

import diffmix
from diffmix import Console, Settings
from diffmix.cli import main
from diffmix.data.multitrack import Multitrack, Track
from diffmix.errors import OutputError
from diffmix.mix import Mix

RATE = 44100
PARAMETER = {"value", "unit"}
# By element: its children in the only order that is allowed, and the attributes that it must have (Project.xsd 1.0)
SCHEMA: dict[str, tuple[str, set[str]]] = {
    "Project": ("Application Transport Structure Arrangement Scenes", {"version"}),
    "Application": ("", {"name", "version"}),
    "Structure": ("Track", set()),
    "Track": ("Channel Track", {"id", "contentType"}),
    "Channel": ("Devices Mute Pan Sends Volume", {"id", "role", "audioChannels"}),
    "Devices": ("Equalizer Compressor NoiseGate Limiter", set()),
    "Equalizer": ("Enabled Band InputGain OutputGain", {"deviceName", "deviceRole"}),
    "Compressor": (
        "Enabled Attack AutoMakeup InputGain OutputGain Ratio Release Threshold",
        {"deviceName", "deviceRole"},
    ),
    "NoiseGate": ("Enabled Attack Range Ratio Release Threshold", {"deviceName", "deviceRole"}),
    "Limiter": ("Enabled Attack InputGain OutputGain Release Threshold", {"deviceName", "deviceRole"}),
    "Band": ("Freq Gain Q Enabled", {"type"}),
    "Sends": ("Send", set()),
    "Send": ("Enable Pan Volume", {"destination", "type"}),
    "Arrangement": ("Lanes", {"id"}),
    "Lanes": ("Lanes Clips", {"id"}),
    "Clips": ("Clip", {"id"}),
    "Clip": ("Audio", {"time", "duration", "contentTimeUnit"}),
    "Audio": ("File", {"channels", "sampleRate", "duration", "id"}),
    "File": ("", {"path"}),
    "Mute": ("", {"value"}),
    "Enabled": ("", {"value"}),
    "AutoMakeup": ("", {"value"}),
}


def recording(channels: int, seed: int) -> torch.Tensor:
    """Bursts of coloured noise."""
    rng = np.random.default_rng(seed)
    envelope = 0.05 + 0.3 * (np.arange(RATE) % 11025 < 3000)
    audio = (np.cumsum(rng.standard_normal((channels, RATE)), -1) % 1.0 - 0.5) * envelope
    return torch.from_numpy(np.round(audio * 2**15).astype(np.float32) / 2**15)


def song() -> Multitrack:
    late = recording(1, 2)
    late[:, : RATE // 2] = 0
    tracks = (
        Track("vox <&>", recording(1, 1)),
        Track("keys", recording(2, 3)),
        Track("a/late", late, start_s=0.5),
        Track("rest", torch.zeros(1, RATE)),
    )
    return Multitrack("a song", RATE, tracks)


def mix_of(console: Console, multitrack: Multitrack, **changes: object) -> Mix:
    """A mix with all knobs somewhere, but widths as recorded, which no project holds."""
    names = [t.name for t in multitrack.tracks]
    controls = console.sample(1, len(names), torch.Generator().manual_seed(3))
    settings = console.settings(controls, names, [len(t.audio) for t in multitrack.tracks])
    for knobs in (*settings["tracks"].values(), *settings["buses"].values()):
        for stage in ("trim", "level", "fader"):
            if stage in knobs:
                knobs[stage]["gain_db"] = -2.5
        if "image" in knobs:
            knobs["image"]["width"] = 1.0
    settings["master"]["gain"]["gain_db"] = 1.5
    for path, value in changes.items():
        part, stage, knob = path.rsplit(".", 2)
        (settings[part] if part == "master" else settings["tracks"][part])[stage][knob] = value
    audio = diffmix.mix.render(console, multitrack, settings).numpy()
    return Mix(audio, RATE, settings, console, multitrack)


def opened(file: Path) -> tuple[Element, zipfile.ZipFile]:
    """A project and its archive, after everything that the format asks for was checked."""
    archive = zipfile.ZipFile(file)
    assert archive.testzip() is None
    project = ElementTree.fromstring(archive.read("project.xml"))
    metadata = ElementTree.fromstring(archive.read("metadata.xml"))
    assert [child.tag for child in metadata] == ["Title", "Comment"]
    check(project)
    ids = [element.get("id") for element in project.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    channels = {c.get("id"): c for c in project.iter("Channel")}
    assert [c.get("role") for c in channels.values()].count("master") == 1
    for element in project.iter():
        if element.get("destination") is not None:
            assert element.get("destination") in channels
        if element.get("track") is not None:
            assert element.get("track") in {t.get("id") for t in project.iter("Track")}
    for channel in channels.values():  # every way leads to the master
        passed = []
        while (goes := channel.get("destination")) is not None:
            assert goes not in passed
            passed.append(goes)
            channel = channels[goes]
        assert channel.get("role") == "master"
    for audio in project.iter("Audio"):
        info = soundfile.info(io.BytesIO(archive.read(audio.find("File").get("path"))))
        assert (info.channels, info.samplerate) == (int(audio.get("channels")), int(audio.get("sampleRate")))
        assert info.frames == round(float(audio.get("duration")) * info.samplerate)
    return project, archive


def check(element: Element) -> None:
    """The children in their order, the attributes that must be there, values that are numbers in a unit."""
    children, attributes = SCHEMA.get(element.tag, ("", PARAMETER))
    assert attributes <= element.attrib.keys(), element.tag
    order = children.split()
    places = [order.index(child.tag) for child in element]
    if element.tag != "Devices":  # there any order is allowed
        assert places == sorted(places), element.tag
    if attributes == PARAMETER:
        assert np.isfinite(float(element.get("value")))
        assert element.get("unit") in ("linear", "normalized", "percent", "decibel", "hertz", "seconds")
        assert float(element.get("min", "-inf")) <= float(element.get("value")) <= float(element.get("max", "inf"))
    for child in element:
        check(child)


def number(element: Element, tag: str, default: float = 0.0) -> float:
    found = element.find(tag)
    return default if found is None else float(found.get("value"))


def plugins(device: Element) -> list[pedalboard.Plugin]:
    """A device as a DAW with Pedalboard's effects would have it."""
    seconds = {"attack_ms": 1000 * number(device, "Attack"), "release_ms": 1000 * number(device, "Release")}
    made: list[pedalboard.Plugin] = [pedalboard.Gain(number(device, "InputGain"))]
    kinds = {"bell": "PeakFilter", "lowShelf": "LowShelfFilter", "highShelf": "HighShelfFilter"}
    for band in device.iter("Band"):
        hz = number(band, "Freq")
        if band.get("type") == "highPass":
            made.append(pedalboard.HighpassFilter(hz))
        else:
            made.append(getattr(pedalboard, kinds[band.get("type")])(hz, number(band, "Gain"), number(band, "Q")))
    if device.tag == "Compressor":
        ratio = 1 / (1 - number(device, "Ratio") / 100)
        made.append(pedalboard.Compressor(number(device, "Threshold"), ratio, **seconds))
    return [*made, pedalboard.Gain(number(device, "OutputGain"))]


def played(project: Element, archive: zipfile.ZipFile, length: int) -> np.ndarray:
    """What a DAW with Pedalboard's effects and a pan law of -3 dB plays."""
    inputs = {channel.get("id"): np.zeros((2, length), np.float32) for channel in project.iter("Channel")}
    clips = {lanes.get("track"): lanes.find("Clips/Clip") for lanes in project.iter("Lanes") if lanes.get("track")}
    order = sorted(project.iter("Track"), key=lambda t: ("regular", "submix", "effect", "master").index(role(t)))
    for track in order:
        channel = track.find("Channel")
        x = inputs[channel.get("id")]
        if (clip := clips.get(track.get("id"))) is not None:
            path = clip.find("Audio/File").get("path")
            samples = soundfile.read(io.BytesIO(archive.read(path)), dtype="float32", always_2d=True)[0].T
            start = round(float(clip.get("time")) * RATE)
            x = np.zeros((len(samples), length), np.float32)
            x[:, start : start + samples.shape[1]] = samples
        if channel.find("Mute").get("value") == "true":
            continue
        x = pedalboard.Pedalboard([p for device in channel.find("Devices") for p in plugins(device)])(x, RATE)
        pan = 2 * number(channel, "Pan") - 1
        if len(x) == 1:
            x = np.concatenate([np.cos((1 + pan) * np.pi / 4) * x, np.sin((1 + pan) * np.pi / 4) * x])
        else:
            x = x * np.cos(np.pi / 2 * np.array([[max(0, pan)], [max(0, -pan)]]))
        x = (x * number(channel, "Volume")).astype(np.float32)
        if role(track) == "master":
            return x
        for send in channel.iter("Send"):
            inputs[send.get("destination")] += number(send, "Volume") * x
        inputs[channel.get("destination")] += x
    raise AssertionError("no master")


def role(track: Element) -> str:
    return track.find("Channel").get("role")


GROUPS = {"voices": {"tracks": ["vox*", "a/*"], "stages": {"squeeze": "Compressor", "level": "Gain"}}}


@pytest.mark.parametrize("groups", [{}, GROUPS], ids=["plain", "groups"])
def test_a_daw_with_the_same_effects_plays_the_mix(tmp_path: Path, groups: dict[str, object]) -> None:
    mix = mix_of(Console(RATE, groups=groups), song())
    notes = mix.to_dawproject(tmp_path / "song.dawproject")
    project, archive = opened(tmp_path / "song.dawproject")
    heard = played(project, archive, RATE)
    # -80 dB: the master's filters, in float32, amplify that sums round elsewhere and that the reverb is in 24 bits
    assert np.abs(heard - mix.audio).max() < 1e-4 * np.abs(mix.audio).max()
    assert "reverb printed" in notes[0]
    assert "width" not in " ".join(notes)
    assert json.loads(archive.read("settings.json")) == mix.settings
    alone = mix.rendered(mute="keys")
    alone.to_dawproject(tmp_path / "alone.dawproject")
    heard = played(*opened(tmp_path / "alone.dawproject"), RATE)
    assert np.abs(heard - alone.audio).max() < 1e-4 * np.abs(alone.audio).max()
    assert len(list(project.iter("Clip"))) == 4, "three recordings that sound and the reverb"
    late = next(clip for clip in project.iter("Clip") if "late" in clip.get("name"))
    assert float(late.get("time")) == 0.5
    if groups:
        inner = project.find(".//Track[@contentType='tracks']")
        assert [track.get("name") for track in inner.findall("Track")] == ["vox <&>", "a/late"]


def test_what_a_project_cannot_hold_is_said(tmp_path: Path) -> None:
    console = Console(
        RATE,
        strip={"trim": "Gain", "gate": "NoiseGate", "drive": "Distortion", "lowpass": "LowpassFilter"},
        buses={"reverb": {"cut": "HighpassFilter"}},
        master={"gain": "Gain", "limiter": "BrickwallLimiter"},
    )
    tracks = (Track("reverb", recording(2, 1)), Track("vox", recording(1, 2)), Track("master", recording(1, 3)))
    multitrack = Multitrack("reverb", RATE, tracks)
    changes = {"reverb.image.width": 1.5, "reverb.fader.gain_db": 9.0, "master.limiter.ceiling_db": -2.0}
    notes = mix_of(console, multitrack, **changes).to_dawproject(tmp_path / "a.dawproject")
    assert [note.split(", which ")[1] for note in notes[:2]] == ["reverb has.", "vox has."]
    assert "1.50 for reverb" in notes[3]
    project, _ = opened(tmp_path / "a.dawproject")
    tracks = {track.get("name"): track.find("Channel") for track in project.iter("Track")}
    assert list(tracks) == ["reverb", "vox", "master", "reverb bus", "master bus"], "an equaliser needs no print"
    assert all(channel.find("Mute").get("value") == "false" for channel in tracks.values())
    loud = tracks["reverb"]
    assert [device.tag for device in loud.find("Devices")] == ["Equalizer", "NoiseGate", "Equalizer", "Equalizer"]
    assert number(loud.find("Devices/Equalizer"), "InputGain") == -2.5
    above_db = number(loud.findall("Devices/Equalizer")[-1], "OutputGain")
    assert above_db + 20 * np.log10(number(loud, "Volume")) == pytest.approx(9, abs=1e-4)
    limiter = tracks["master bus"].find("Devices/Limiter")
    assert (number(limiter, "InputGain"), number(limiter, "Threshold")) == (1.5, -2)


@pytest.mark.usefixtures("sketched")
def test_projects_are_saved_beside_the_mix_and_kept_when_edited(tmp_path: Path) -> None:
    mix, out = mix_of(Console(RATE), song()), tmp_path / "out"
    assert "mix.dawproject" not in mix.save(out)
    file = mix.save(out, daw=True)["mix.dawproject"]
    opened(file)
    mix.save(out)
    assert not file.exists(), "of an earlier mix"
    mix.save(out, daw=True)
    file.write_bytes(b"a DAW's")
    assert mix.save(out, daw=True)["mix.edited.dawproject"].read_bytes() == b"a DAW's"
    with pytest.raises(OutputError, match=r"folder .* does not exist"):
        mix.to_dawproject(tmp_path / "no" / "song.dawproject")
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.usefixtures("sketched")
def test_the_command_writes_a_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "bass.wav", recording(1, 1).numpy().T, RATE)
    mix = diffmix.automix(tmp_path, model="rules")
    settings = tmp_path / "settings.json"
    Settings(mix.settings).to_json(settings)
    main(["render", str(tmp_path), str(settings), "-o", str(tmp_path / "out"), "--daw"])
    opened(tmp_path / "out" / "mix.dawproject")
    assert "A DAWproject has nothing like Reverb" in capsys.readouterr().out
