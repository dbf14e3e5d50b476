"""Projects for DAWs: what the format asks for, and that a mixer with such devices plays what was heard."""

import io
import json
import zipfile
from collections.abc import Callable
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
from diffmix.daw_return import returned
from diffmix.errors import OutputError, PresetError
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
    back = returned(mix, edited(tmp_path / "alone.dawproject", lambda *_: None, tmp_path / "again.dawproject"))
    assert back == (mix.settings, ("keys",), ()), "as it was, for nothing was turned"
    heard = played(*opened(tmp_path / "alone.dawproject"), RATE)
    assert np.abs(heard - alone.audio).max() < 1e-4 * np.abs(alone.audio).max()
    assert len(list(project.iter("Clip"))) == 4, "three recordings that sound and the reverb"
    names = ["audio/01 vox _&_.wav", "audio/02 keys.wav", "audio/03 a_late.wav", "audio/04 reverb printed.wav"]
    assert [audio.find("File").get("path") for audio in project.iter("Audio")] == names
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
    project = tmp_path / "out" / "mix.dawproject"
    assert "A DAWproject has nothing like Reverb" in capsys.readouterr().out

    def turn(_: Element, channels: dict[str, Element]) -> None:
        volume = channels["bass"].find("Volume")
        volume.set("value", str(float(volume.get("value")) / 2))
        channels["reverb"].find("Volume").set("value", "0.5")

    edited(project, turn, tmp_path / "b.dawproject")
    back = ["render", str(tmp_path), str(settings), "-o", str(tmp_path / "back")]
    main([*back, "--from-daw", str(tmp_path / "b.dawproject")])
    found = json.loads((tmp_path / "back" / "settings.json").read_text(encoding="utf-8"))
    fader_db = mix.settings["tracks"]["bass"]["fader"]["gain_db"]
    assert found["tracks"]["bass"]["fader"]["gain_db"] == pytest.approx(fader_db - 6.0206, abs=1e-4)
    assert "reverb: its fader has no knob in the mix" in capsys.readouterr().out


# ------------------------------------------------------------------ and back


def edited(file: Path, change: Callable[[Element, dict[str, Element]], None], made: Path) -> Path:
    """A project as a DAW saves it again: other order and ids, things of its own; ``change`` gets channels by name."""
    project = opened(file)[0]
    change(project, {track.get("name"): track.find("Channel") for track in project.iter("Track")})
    ids = {e.get("id"): f"id{n}" for n, e in enumerate(project.iter()) if e.get("id")}
    for element in project.iter():
        for key in ("id", "destination", "track"):
            if element.get(key) is not None:
                element.set(key, ids[element.get(key)])
        if element.tag == "Track":
            element[:] = reversed(element)
            element.set("color", "#ff0000")
    project.find("Structure")[:] = reversed(project.find("Structure"))
    project.find("Application").set("name", "A DAW")
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("project.xml", ElementTree.tostring(project))
    return made


def test_what_was_turned_in_a_daw_comes_back(tmp_path: Path) -> None:
    mix = mix_of(Console(RATE, groups=GROUPS), song())
    mix.to_dawproject(tmp_path / "a.dawproject")

    def turn(_: Element, channels: dict[str, Element]) -> None:
        vox, keys, voices = channels["vox <&>"], channels["keys"], channels["voices"]
        vox.find("Volume").attrib |= {"value": "0.5"}
        vox.find("Pan").attrib |= {"value": "0.75"}
        vox.find("Sends/Send/Volume").attrib |= {"value": "0.1"}
        eq, compressor = vox.find("Devices/Equalizer"), vox.find("Devices/Compressor")
        eq.find("InputGain").set("value", "1.25")
        bands = {(band.get("type"), band.get("order")): band for band in eq.iter("Band")}
        bands["highPass", "0"].find("Freq").set("value", "111")
        bands["bell", "3"].find("Gain").set("value", "-4.5")
        bands["bell", "4"].find("Q").set("value", "2.5")
        bands["highShelf", "6"].find("Enabled").set("value", "false")
        eq[:] = reversed(eq)
        for knob, value in (("Ratio", "75"), ("Threshold", "-33.5"), ("Attack", "0.0125"), ("Release", "0.2")):
            compressor.find(knob).set("value", value)
        keys.find("Volume").attrib |= {"value": "-7.5", "unit": "decibel"}
        keys.find("Pan").attrib |= {"value": "-0.25", "unit": "linear", "min": "-1", "max": "1"}
        keys.find("Sends/Send/Volume").attrib |= {"value": "-inf", "unit": "decibel"}
        keys.find("Devices/Equalizer/Band/Freq").attrib |= {"value": "57", "unit": "semitones"}
        keys.find("Mute").set("value", "true")
        voices.find("Volume").set("value", "1")
        channels["reverb"].set("solo", "true")  # which leaves every track audible
        channels["master"].find("Devices/Equalizer/Band/Gain").set("value", "3")

    back = mix.with_dawproject(edited(tmp_path / "a.dawproject", turn, tmp_path / "b.dawproject"))
    wanted = json.loads(json.dumps(mix.settings))
    vox, keys = wanted["tracks"]["vox <&>"], wanted["tracks"]["keys"]
    vox["fader"]["gain_db"], vox["pan"]["pan"], vox["send"]["gain_db"] = -6.0206, 0.5, -20.0
    vox["trim"]["gain_db"], vox["highpass"]["cutoff_frequency_hz"] = 1.25, 111.0
    vox["eq"] |= {"peak2_gain_db": -4.5, "peak3_q": 2.5, "high_shelf_gain_db": 0.0}
    vox["compressor"] = {"threshold_db": -33.5, "ratio": 4.0, "attack_ms": 12.5, "release_ms": 200.0}
    keys["fader"]["gain_db"], keys["image"]["balance"], keys["send"]["gain_db"] = -7.5, -0.25, -60.0
    keys["highpass"]["cutoff_frequency_hz"] = 220.0
    wanted["buses"]["voices"]["fader"]["gain_db"] = 2.5  # behind a level of -2.5 dB
    wanted["master"]["eq"]["low_shelf_gain_db"] = 3.0
    found = dict(back.settings.flat())
    other = {path: value for path, value in Settings(wanted).flat() if found[path] != pytest.approx(value, rel=1e-5)}
    assert not other
    assert (back.muted, back.notes) == (("keys",), ())
    same = [path for path, value in mix.settings.flat() if found[path] == value]
    assert len(same) == len(found) - 18, "to the last digit what was not turned"


def test_what_does_not_come_back_is_said(tmp_path: Path) -> None:
    mix = mix_of(Console(RATE, master={"gain": "Gain", "limiter": "BrickwallLimiter"}), song())
    mix.to_dawproject(tmp_path / "a.dawproject")

    def turn(project: Element, channels: dict[str, Element]) -> None:
        vox = channels["vox <&>"].find("Devices")
        vox.find("Compressor/Ratio").set("value", "100")
        ElementTree.SubElement(vox.find("Equalizer"), "Band", type="bell", order="9").extend(
            [Element("Freq", value="50", unit="hertz"), Element("Gain", value="1", unit="decibel")]
        )
        ElementTree.SubElement(vox, "Limiter", deviceName="Peak", deviceRole="audioFX")
        channels["a/late"].find("Devices/Compressor/Enabled").set("value", "false")
        channels["rest"].set("solo", "true")
        channels["rest"].find("Volume").set("value", "0")
        channels["keys"].find("Sends/Send/Volume").set("value", "2")
        channels["reverb printed"].find("Volume").set("value", "0.5")
        channels["master"].find("Volume").set("value", "0.5")
        track = ElementTree.SubElement(project.find("Structure"), "Track", id="x", name="Guide", contentType="audio")
        ElementTree.SubElement(track, "Channel", id="y", role="regular", audioChannels="1")

    back = returned(mix, edited(tmp_path / "a.dawproject", turn, tmp_path / "b.dawproject"))
    tracks = back.settings["tracks"]
    assert tracks["vox <&>"]["compressor"]["ratio"] == mix.console.strip["compressor"].spec.params["ratio"].high
    assert tracks["a/late"]["compressor"]["ratio"] == 1
    assert (tracks["rest"]["fader"]["gain_db"], tracks["keys"]["send"]["gain_db"]) == (-48, 6)
    assert back.settings["master"] == mix.settings["master"]
    assert back.muted == ("vox <&>", "keys", "a/late")
    said = [
        "vox <&>: a bell band at 50 Hz was added, which the mix has not.",
        "vox <&>: a device was added, Limiter, which the mix has not.",
        "vox <&>: its Compressor Ratio is further than compressor.ratio goes, which is at its end.",
        "keys: its send reverb is further than send.gain_db goes, which is at its end.",
        "a/late: its Compressor is gone or off, and neutral here.",
        "rest: its fader is further than fader.gain_db goes, which is at its end.",
        "master: its fader has no knob in the mix, and stays as it was.",
        "reverb printed: stays as it was, for it is only in the project; the sends are what it comes from.",
        "Not in the mix, and left out: Guide.",
    ]
    assert list(back.notes) == said


@pytest.mark.parametrize(
    ("project", "message"),
    [
        (None, "is no DAWproject, a zip archive"),
        ({"metadata.xml": b""}, r"is no DAWproject, .*project\.xml"),
        (b"<Project>", "project.xml is broken"),
        (b'<!DOCTYPE p [<!ENTITY a "x">]><Project>&a;</Project>', "it has a document type"),
        ('<!DOCTYPE p SYSTEM "file:///etc/passwd"><Project/>'.encode("utf-16"), "it has a document type"),
        (b"<Project>" + b" " * 5000 + b"</Project>", "more than 0 MB unpacked"),
        (b"<Project/>", r"has no channel called 'vox'; there are: none"),
        (
            b'<Project><Structure><Track name="vox"><Channel/></Track><Track name="vox"><Channel/></Track></Structure>'
            b"</Project>",
            "two channels called 'vox'",
        ),
        (
            b'<Project><Structure><Track name="vox"><Channel><Volume value="loud"/></Channel></Track></Structure>'
            b"</Project>",
            "'vox': Volume is 'loud', a number is expected",
        ),
    ],
)
def test_what_is_no_project_is_refused_in_a_sentence(
    tmp_path: Path, project: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffmix.export.dawproject._MOST_BYTES", 4096)
    mix = mix_of(Console(RATE), Multitrack("one", RATE, (Track("vox", recording(1, 1)[:, :999]),)))
    file = tmp_path / "a.dawproject"
    if project is None:
        file.write_bytes(b"RIFF")
    else:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in (project if isinstance(project, dict) else {"project.xml": project}).items():
                archive.writestr(name, text)
    with pytest.raises(PresetError, match=message) as caught:
        mix.with_dawproject(file)
    assert caught.value.path == file
    with pytest.raises(PresetError, match="cannot be read: No such file"):
        mix.with_dawproject(tmp_path / "none.dawproject")
