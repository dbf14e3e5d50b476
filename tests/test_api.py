"""The calls of the README, and every way to get them wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import diffmix
from diffmix import automixing
from diffmix.cli import main
from diffmix.cli.demo import preset_residual_db
from diffmix.console import Console
from diffmix.data.multitrack import load
from diffmix.errors import AudioError, CheckpointError, OutputError, PresetError, SettingsError
from diffmix.export.preset import validate
from diffmix.graph import Graph, render
from diffmix.mix import finished, muted_tracks
from diffmix.systems.automixer import Automixer

RATE = 16000
FILES = [
    "graph.json",
    "graph.svg",
    "mix.wav",
    "preset.json",
    "preset.py",
    "report.html",
    "report.json",
    "report.png",
    "settings.json",
]


def stems(n: int = 3, seconds: float = 1.5, rate: int = RATE) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    t = np.arange(round(seconds * rate)) / rate
    made = {}
    for k in range(n):
        tone = np.sin(2 * np.pi * (110 * (k % 7 + 1)) * t) * (0.5 + 0.5 * np.sin(2 * np.pi * (k % 5 + 1) * t) ** 2)
        x = 10 ** (-(k % 4) * 6 / 20) * (0.3 * tone + 0.02 * rng.standard_normal(t.size))
        made[f"track {k}"] = (x if k % 3 else np.stack([x, np.roll(x, 40)])).astype(np.float32)
    return made


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model with opinions: quick, and independent of the shipped weights."""
    torch.manual_seed(0)
    mixer = Automixer(Console(44100), width=32, layers=1)
    torch.nn.init.normal_(mixer.estimator.heads["tracks"].weight, std=0.3)
    folder = tmp_path_factory.mktemp("model") / "model"
    mixer.save(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "song"
    made.mkdir()
    for name, x in stems().items():
        soundfile.write(made / f"{name}.wav", x.T, RATE, "PCM_24")
    return made


def test_a_folder_becomes_a_mix(folder: Path, model: Path, tmp_path: Path) -> None:
    mix = diffmix.automix(folder, model=model)
    assert mix.audio.shape == (2, round(1.5 * RATE))
    assert mix.audio.dtype == np.float32
    assert mix.sample_rate == RATE
    assert list(mix.settings["tracks"]) == ["track 0", "track 1", "track 2"]
    assert set(mix.settings["tracks"]["track 0"]) >= {"trim", "eq", "compressor", "image", "send"}
    assert "pan" in mix.settings["tracks"]["track 1"]
    assert mix.report["mix"]["true_peak_db"] <= -0.99
    written = mix.save(tmp_path / "out")
    assert sorted(written) == FILES
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == FILES
    audio, rate = soundfile.read(tmp_path / "out" / "mix.wav", dtype="float32")
    assert rate == RATE
    assert np.abs(audio.T - mix.audio).max() <= 2**-23
    assert preset_residual_db(mix) == -np.inf  # equal, every sample


def test_a_mix_may_go_on_until_its_reverb_has_rung_out(tmp_path: Path) -> None:
    hit = np.zeros(RATE // 2, np.float32)
    hit[:2000] = np.hanning(2000) * np.random.default_rng(0).standard_normal(2000) / 4
    tracks = {"snare": hit, "vox": np.roll(hit, 3000), "nothing": 0 * hit}
    asked = {"sample_rate": RATE, "model": "rules"}
    mix = diffmix.automix(tracks, **asked)
    assert any(note.startswith("It ends before it has died away, ") for note in mix.notes)
    longer = diffmix.automix(tracks, tail_s=2.5, **asked)
    assert (mix.audio.shape, longer.audio.shape) == ((2, RATE // 2), (2, 3 * RATE))
    assert not any("It ends" in note for note in longer.notes)
    assert all(longer.settings[part] == mix.settings[part] for part in ("tracks", "buses"))
    assert load(longer.multitrack, 2 * RATE).tail_s == 2.5
    early = automixing.with_tail(mix.multitrack, 0.1)
    assert automixing.with_tail(early, 0.25).tail_s == 0.35
    assert automixing.cut_off(early, longer.audio[:, : early.length]).endswith(": a longer tail lets it ring out.")
    end_db = 20 * np.log10(np.abs(longer.audio[:, -320:]).max() / np.abs(longer.audio).max())
    assert end_db < -60
    again = diffmix.render(tracks, longer.settings, sample_rate=RATE, tail_s=2.5)
    assert np.array_equal(again.audio, longer.audio)
    preset = longer.preset()
    validate(preset)
    assert preset["tail_s"] == 2.5
    assert "tail_s" not in mix.preset()
    assert preset_residual_db(longer) == -np.inf
    sounding = {**tracks, "noise": np.random.default_rng(0).standard_normal(RATE // 2) / 9}
    assert not any("It ends" in note for note in diffmix.automix(sounding, **asked).notes)  # the song itself is cut
    with pytest.raises(SettingsError, match=r"the tail is 99 s, allowed 0\.\.60 s"):
        diffmix.automix(tracks, tail_s=99, **asked)


@pytest.mark.usefixtures("sketched")
def test_saved_settings_remember_a_rate_and_a_tail_that_were_asked_for(folder: Path, tmp_path: Path) -> None:
    file, plain = tmp_path / "out" / "settings.json", {"tracks": {f"track {n}": {} for n in range(3)}}
    mix = diffmix.render(folder, plain, sample_rate=24000, tail_s=0.25)
    mix.save(file.parent)
    again = diffmix.render(folder, file)
    assert (again.sample_rate, again.multitrack.tail_s) == (24000, 0.25)
    assert np.array_equal(again.audio, mix.audio)
    assert np.array_equal(diffmix.render(mix.multitrack, file).audio, mix.audio)  # which has both
    settings = diffmix.Settings.from_json(file)
    assert settings["session"] == {"sample_rate": 24000, "tail_s": 0.25}
    other = diffmix.render(stems(), settings, sample_rate=RATE, tail_s=0)
    assert (other.sample_rate, other.multitrack.session) == (RATE, {})
    other.save(file.parent)
    assert "session" not in diffmix.Settings.from_json(file)
    with pytest.raises(SettingsError, match="a session has sample_rate and tail_s; 'bpm' is neither"):
        diffmix.render(folder, {**plain, "session": {"bpm": 120}})


def test_settings_are_the_mix(folder: Path, model: Path) -> None:
    mix = diffmix.automix(folder, model=model)
    assert np.array_equal(diffmix.render(folder, mix.settings).audio, mix.audio)
    assert np.array_equal(mix.rendered().audio, mix.audio)
    louder = json.loads(json.dumps(mix.settings))
    louder["master"]["gain"]["gain_db"] += 3
    assert np.allclose(
        diffmix.render(folder, diffmix.Settings(louder)).audio, mix.audio * 10**0.15, rtol=1e-4, atol=1e-7
    )


def test_folder_list_dict_and_tensors_are_the_same(folder: Path, model: Path) -> None:
    one = diffmix.automix(folder, model=model)
    arrays = {f.stem: soundfile.read(f, dtype="float32")[0].T for f in sorted(folder.iterdir())}
    others = [
        diffmix.automix(sorted(folder.iterdir()), model=model),
        diffmix.automix(arrays, sample_rate=RATE, model=model),
        diffmix.automix({k: torch.from_numpy(v) for k, v in arrays.items()}, sample_rate=RATE, model=model),
    ]
    assert all(np.array_equal(one.audio, other.audio) for other in others)


@pytest.mark.parametrize("target", [-30.0, -23.0])
def test_loudness_is_reached(folder: Path, model: Path, target: float) -> None:
    import pyloudnorm

    mix = diffmix.automix(folder, model=model, loudness_lufs=target)
    assert pyloudnorm.Meter(RATE).integrated_loudness(mix.audio.T.astype(float)) == pytest.approx(target, abs=0.05)


def test_peaks_win_over_loudness(folder: Path, model: Path) -> None:
    mix = diffmix.automix(folder, model=model, loudness_lufs=-5)
    assert mix.report["mix"]["true_peak_db"] == pytest.approx(-1, abs=0.05)
    assert any("instead of -5" in note for note in mix.notes)


@pytest.mark.parametrize(
    ("n", "seconds", "rate"), [(1, 1.0, 44100), (64, 0.5, 8000), (2, 0.1, 96000), (3, 0.001, 48000)]
)
def test_sizes(model: Path, n: int, seconds: float, rate: int) -> None:
    mix = diffmix.automix(stems(n, seconds, rate), sample_rate=rate, model=model)
    assert mix.audio.shape == (2, round(seconds * rate))
    assert np.isfinite(mix.audio).all()
    assert np.abs(mix.audio).max() > 0


def test_silence_stays_silent_and_is_said(model: Path, tmp_path: Path) -> None:
    mix = diffmix.automix({"a": np.zeros(8000), "b": np.zeros((2, 8000))}, sample_rate=8000, model=model)
    assert not mix.audio.any()
    assert any("silent" in note for note in mix.notes)
    mix.save(tmp_path / "out")


def test_controls_and_report_agree_with_settings(folder: Path, model: Path) -> None:
    mix = diffmix.automix(folder, model=model)
    assert mix.controls.tracks.shape[:2] == (1, 3)
    assert mix.report["tracks"]["track 1"]["pan"] == mix.settings["tracks"]["track 1"]["pan"]["pan"]


def test_wrong_arguments_are_named(folder: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"the loudness is 3 LUFS, allowed -40\.\.-5 LUFS"):
        diffmix.automix(folder, loudness_lufs=3, model=model)
    with pytest.raises(SettingsError, match="the ceiling is nan"):
        diffmix.automix(folder, ceiling_db=float("nan"), model=model)
    with pytest.raises(SettingsError, match=r"the refinement is 1\.5, a whole number is expected"):
        diffmix.automix(folder, refine=1.5, model=model)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"the number of variants is 1\.5, a whole number is expected"):
        next(diffmix.automix_variants(folder, 1.5, model=model))  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="the number of steps is 'x', a number is expected"):
        diffmix.fit(folder, stems()["track 0"], steps="x")  # type: ignore[arg-type]
    for odd in ({"lock": 3}, {"bound": ["drums.gain=±2", 3]}, {"only": [3]}):
        with pytest.raises(SettingsError, match=r"a wish is a text, as .*; got 3"):
            diffmix.automix(folder, model=model, **odd)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="roles are a dict of the names of tracks and what they are; got 'kick'"):
        diffmix.automix(folder, roles="kick", model=model)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="a style is words, as 'wider,drier', or a Style; got 3"):
        diffmix.automix(folder, style=3, model=model)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"bound 'vox.gain' is None, a number is expected"):
        diffmix.automix(folder, bound={"vox.gain": (None, 2)}, model=model)
    with pytest.raises(CheckpointError, match="no usable model in"):
        diffmix.automix(folder, model=tmp_path)
    mix = diffmix.automix(folder, model=model)
    fewer = diffmix.Settings({**mix.settings, "tracks": {"track 0": {}}})
    with pytest.raises(SettingsError, match="no settings for track 'track 1'"):
        diffmix.render(folder, fewer)
    more = diffmix.Settings({**mix.settings, "tracks": {**mix.settings["tracks"], "cowbell": {}}})
    with pytest.raises(SettingsError, match="settings for 'cowbell', which is no track"):
        diffmix.render(folder, more)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write to"):
        mix.save(tmp_path / "file" / "out")
    with pytest.raises(OutputError, match="cannot write to"):
        mix.save(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.usefixtures("sketched")
def test_a_failed_save_leaves_the_old_result(folder: Path, model: Path, tmp_path: Path, monkeypatch) -> None:
    mix = diffmix.automix(folder, model=model)
    mix.save(tmp_path / "out")
    before = {f.name: f.read_bytes() for f in (tmp_path / "out").iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("diffmix.export.preset.write_player", full)
    with pytest.raises(OutputError, match="No space left on device"):
        diffmix.automix(folder, model=model, loudness_lufs=-30).save(tmp_path / "out")
    assert {f.name: f.read_bytes() for f in (tmp_path / "out").iterdir()} == before


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    try:
        main([str(a) for a in arguments])
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.usefixtures("sketched")
def test_the_command_line(folder: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    code, said, _ = command(capsys, "automix", folder, "-o", out, "--model", model, "--loudness", "-20")
    assert code == 0
    assert "track 2" in said
    gain_db = json.loads((out / "settings.json").read_text())["master"]["gain"]["gain_db"]
    assert f"{gain_db:+.1f} dB by the master's gain" in said  # tracks are told as they reach it
    assert str(out / "mix.wav") in said
    first = (out / "mix.wav").read_bytes()
    code, _, _ = command(capsys, "render", folder, out / "settings.json", "-o", tmp_path / "again")
    assert code == 0
    assert (tmp_path / "again" / "mix.wav").read_bytes() == first
    asked: dict[str, object] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffmix.api.render", lambda *_, **named: asked.update(named))
        with pytest.raises(AttributeError):  # there is no mix to save
            command(capsys, "render", folder, out / "settings.json", "-o", tmp_path / "a", "--sample-rate", "48000")
    assert asked["sample_rate"] == 48000
    code, _, _ = command(
        capsys,
        "fit",
        folder,
        out / "mix.wav",
        "-o",
        tmp_path / "fitted",
        "--steps",
        "2",
        "--start",
        out / "settings.json",
    )
    assert code == 0
    code, said, _ = command(capsys, "doctor")
    assert code == 0
    assert "pedalboard" in said


LAYOUT: dict = {
    "strip": {"low": "HighpassFilter", "gate": "KneeGate", "tone": "PeakFilter", "squash": "KneeCompressor"},
    "sends": {"hall": "hall", "slap": "echo"},
    "buses": {"hall": {"cut": "HighpassFilter", "reverb": "Reverb"}, "echo": {"delay": "Delay"}},
    "groups": {"odd": {"tracks": ["track 1", "track 3"], "stages": {"eq": "ParametricEQ"}}},
    "master": {"gain": "Gain"},
}
PLAIN: dict = {"strip": {}, "sends": {}, "buses": {}, "master": {}}
LIMITED: dict = {"master": {"gain": "Gain", "limiter": {"kind": "BrickwallLimiter"}}}


def rendered(layout: dict, **more: object) -> diffmix.Mix:
    sounds = stems(4)
    return diffmix.render(sounds, diffmix.Settings(tracks={n: {} for n in sounds}), layout, sample_rate=RATE, **more)


@pytest.mark.parametrize("layout", [LAYOUT, PLAIN, LIMITED], ids=["rich", "plain", "limited"])
def test_any_layout_is_saved_and_rendered_again(
    layout: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    mix = rendered(layout)
    if playable := layout is not LAYOUT:  # one picture is enough
        request.getfixturevalue("sketched")
    written = mix.save(tmp_path / "out")
    request.getfixturevalue("sketched")
    assert set(written) == {*FILES, "console.json"} - (set() if playable else {"preset.json", "preset.py"})
    if playable:
        assert preset_residual_db(mix) < -120
    else:
        assert mix.report["notes"] == [f"No preset: {mix.unplayable}"]
        assert "nothing equal to KneeGate, KneeCompressor as they are set here" in mix.unplayable
        with pytest.raises(PresetError, match=r"track 1\.gate"):
            mix.preset()
    (folder := tmp_path / "song").mkdir()
    for name, x in stems(4).items():
        soundfile.write(folder / f"{name}.wav", x.T, RATE, "FLOAT")
    again = tmp_path / "again"
    arguments = ["render", folder, written["settings.json"], "-o", again]  # its console lies beside it
    (elsewhere := tmp_path / "elsewhere").mkdir()
    moved = written["settings.json"].rename(elsewhere / "settings.json")
    there = diffmix.render(folder, moved, json.loads(written["console.json"].read_text()))
    assert np.array_equal(there.audio, mix.audio)
    moved.rename(written["settings.json"])
    code, said, _ = command(capsys, *arguments)
    assert (again / "mix.wav").read_bytes() == written["mix.wav"].read_bytes()
    assert Graph.from_json(written["graph.json"]) == mix.graph
    assert "track 3" in said
    assert ("group of track 1, track 3" in said) == (layout is LAYOUT)
    if layout is PLAIN:
        code, said, _ = command(capsys, *arguments, "--mute", "track 2")
        assert code == 0
        assert "note: Muted: track 2." in said


def test_settings_of_the_automatic_mixer_need_no_console(tmp_path: Path) -> None:
    sounds = stems(2)
    mix = diffmix.automix(sounds, sample_rate=RATE, model="rules")
    assert "limiter" in mix.settings["master"]
    for settings in (mix.settings, dict(mix.settings), mix.settings.to_json()):
        assert np.array_equal(diffmix.render(sounds, settings, sample_rate=RATE).audio, mix.audio)
    mix.settings.to_json(tmp_path / "settings.json")
    assert np.array_equal(diffmix.render(sounds, tmp_path / "settings.json", sample_rate=RATE).audio, mix.audio)
    fitted = diffmix.fit(sounds, mix.audio, sample_rate=RATE, start=tmp_path / "settings.json", steps=1)
    assert set(fitted.settings["master"]) == set(mix.settings["master"])


def test_the_graph_of_a_mix_is_the_mix() -> None:
    sounds = {name.replace("track", "a:>b"): x for name, x in stems(4).items()}
    console = {**LAYOUT, "groups": {"odd": {"tracks": ["a:>b 1"], "stages": {"eq": "ParametricEQ"}}}}
    settings = diffmix.Settings(
        tracks={name: {"hall": {"gain_db": -6.0 - k}} for k, name in enumerate(sounds)},
        buses={"odd": {"fader": {"gain_db": -9.0}, "slap": {"gain_db": -3.0}}},
    )
    mix = diffmix.render(sounds, settings, console, sample_rate=RATE)
    assert list(mix.sources) == ["a__b 0", "a__b 1", "a__b 2", "a__b 3"]
    for heard in (mix, mix.rendered(solo=["a:>b 1", "*2"])):
        assert np.array_equal(render(heard.graph, heard.sources, RATE)[0].numpy(), heard.audio)
    plain = diffmix.render(sounds, diffmix.Settings(tracks={n: {} for n in sounds}), PLAIN, sample_rate=RATE)
    assert {n["name"] for n in plain.preset()["nodes"] if "source" in n} == set(sounds)
    assert plain.preset()["nodes"][0]["source"]["files"] == ["a:>b 1.wav"]
    assert preset_residual_db(plain) == -np.inf


def test_groups_mute_and_solo() -> None:
    mix = rendered(LAYOUT)
    off = diffmix.Settings({**mix.settings, "buses": {"odd": {"fader": {"gain_db": -48.0}}}})
    assert np.allclose(mix.rendered(off).audio, mix.rendered(mute=["track 1", "track 3"]).audio, atol=2e-3)
    alone = mix.rendered(solo="track 1")
    assert alone.muted == ("track 0", "track 2", "track 3")
    assert alone.report["notes"][0] == "Muted: track 0, track 2, track 3."
    assert alone.report["tracks"]["track 0"]["loudness_after_lufs"] <= -69.5
    assert alone.report["tracks"]["track 1"]["loudness_after_lufs"] > -69.5
    assert np.array_equal(alone.rendered().audio, mix.audio)
    assert np.array_equal(rendered(LAYOUT, solo=["track 1"]).audio, alone.audio)
    with pytest.raises(SettingsError, match="no track is called 'drum"):
        mix.rendered(mute=["drum*"])
    with pytest.raises(SettingsError, match="every track is muted"):
        mix.rendered(mute=["*"])
    band = load(dict(zip(("Kick In", "snare", "Vox", "Audio 4"), stems(4).values(), strict=True)), RATE)
    assert muted_tracks(mix.console, band, "drums", ()) == ("Kick In", "snare")
    assert muted_tracks(mix.console, band, "Snares", "Lead vocal") == ("Kick In", "snare", "Audio 4")
    band = load({"Drums": band.tracks[0].audio, "kick": band.tracks[1].audio}, RATE)
    assert muted_tracks(mix.console, band, "drums", ()) == ("Drums",)  # a name goes before a family


def test_loudness_is_set_in_front_of_a_limiter_too() -> None:
    session = load(stems(), RATE)
    for layout in (LIMITED, {"master": {"gain": "Gain", "bite": "Clipping"}}):
        console = Console(RATE, **layout)
        settings = console.settings(console.default(1, 3), ["track 1", "track 2", "track 0"])
        mix = finished(console, session, settings, -20, -1)
        assert mix.report["mix"]["loudness_lufs"] == pytest.approx(-20, abs=0.1)
        assert mix.report["mix"]["true_peak_db"] <= -0.9
        assert np.array_equal(mix.rendered().audio, mix.audio)
    console = Console(RATE, master={"eq": "ParametricEQ"})
    settings = console.settings(console.default(1, 3), ["track 1", "track 2", "track 0"])
    with pytest.raises(
        SettingsError, match=r"loudness is set by the master's gain, .* of this console's master are: eq"
    ):
        finished(console, session, settings, -20, -1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stirp: {trim: Gain}", "a console has no 'stirp'"),
        ("strip: {trim: Gain", "cannot be read as a console: while parsing"),
        ("- Gain", "holds no console"),
        ("strip: {trim: Gian}", "console stage trim: there is no effect 'Gian'"),
        (None, "cannot be read as a console: No such file"),
    ],
)
def test_a_console_file_with_mistakes(
    text: str | None, message: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, settings = tmp_path / "mine.yaml", tmp_path / "settings.json"
    diffmix.Settings(tracks={n: {} for n in stems()}).to_json(settings)
    if text is not None:
        file.write_text(text)
    code, _, err = command(capsys, "render", folder, settings, "-o", tmp_path / "out", "--console", file)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.usefixtures("sketched")
def test_bounds_on_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["fit", folder, folder / "track 0.wav", "-o", tmp_path / "out", "--steps", "1"]
    code, _, _ = command(capsys, *arguments, "--bound", "track 1.pan=-0.2..-0.1", "--bound", "*.fader=-3")
    assert code == 0
    tracks = diffmix.Settings.from_json(tmp_path / "out" / "settings.json")["tracks"]
    assert -0.2 <= tracks["track 1"]["pan"]["pan"] <= -0.1
    assert all(track["fader"]["gain_db"] == -3 for track in tracks.values())
    for bound, message in (("pan", "--bound pan: KNOB=LOW..HIGH or"), ("x.pan=1", "no knob matches 'x.pan'")):
        code, _, err = command(capsys, *arguments, "--bound", bound)
        assert code == 2
        assert message in err


def broken(kind: str, folder: Path) -> tuple[Path, str]:
    """A folder with one fault, and what the error must say."""
    if kind == "empty":
        return folder.parent / "nothing", "nothing"
    file = folder / "bad.wav"
    if kind == "text":
        file.write_text("hello")
    if kind == "nan":
        soundfile.write(file, np.full((100, 1), np.nan, np.float32), RATE, "FLOAT")
    if kind == "truncated":
        file = folder / "bad.flac"
        soundfile.write(file, np.random.default_rng(0).standard_normal(RATE) * 0.1, RATE)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return folder, file.name


@pytest.mark.parametrize("kind", ["empty", "text", "nan", "truncated"])
def test_bad_files_end_in_one_sentence(
    kind: str, folder: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nothing").mkdir()
    where, named = broken(kind, folder)
    with pytest.raises(AudioError, match=named):
        diffmix.automix(where, model=model)
    code, _, err = command(capsys, "automix", where, "-o", tmp_path / "out", "--model", model)
    assert code == 2
    last = [line for line in err.splitlines() if line][-1]
    assert last.startswith("diffmix: ")
    assert named in last
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()
