"""Presets: what is exported is what was heard, and every mistake gets one sentence."""

import base64
import copy
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pedalboard
import pytest
import soundfile
import torch
import torchaudio

from diffmix.console import Console
from diffmix.data import audio
from diffmix.errors import AudioError, OutputError, PresetError
from diffmix.export import load, preset_of, save, schema, standalone, to_pedalboard, validate, write_player
from diffmix.export import preset as preset_module

RATE = 44100
CHANNELS = {"vox": 1, "keys": 2, "bass": 1}
SOURCES = {
    "vox": (("takes/vox.wav",), 1),
    "bass": (("takes/bass.wav",), 1),
    "keys": (("takes/keys L.wav", "takes/keys R.wav"), 2),
}


def error_db(y: np.ndarray, reference: np.ndarray) -> float:
    return 20 * np.log10(max(np.linalg.norm(y - reference) / np.linalg.norm(reference), 1e-20))


@pytest.fixture(scope="module")
def stems() -> dict[str, np.ndarray]:
    """Bursts of coloured noise, so that compressors work and tails ring out."""
    rng = np.random.default_rng(1)
    envelope = 0.05 + 0.3 * (np.arange(RATE) % 11025 < 3000)
    return {
        name: (np.cumsum(rng.standard_normal((c, RATE)), -1) % 1.0 * envelope).astype(np.float32)
        for name, c in CHANNELS.items()
    }


@pytest.fixture(scope="module")
def mixed(stems: dict[str, np.ndarray]) -> tuple[dict[str, Any], np.ndarray]:
    """A preset of random controls, and the console's own mix."""
    console = Console(RATE)
    controls = console.sample(1, len(CHANNELS), torch.Generator().manual_seed(3))
    order = ["vox", "bass", "keys"]  # the console's: mono tracks, then stereo ones
    settings = console.settings(controls, order, [CHANNELS[name] for name in order])
    settings["master"]["gain"]["gain_db"] = 0.0
    for track in settings["tracks"].values():
        track["trim"]["gain_db"] = -3.3
        track["send"]["gain_db"] = -7.7
    mono = torch.stack([torch.from_numpy(stems[n]) for n in ("vox", "bass")])[None]
    with torch.no_grad():
        mix = console.mix((mono, torch.from_numpy(stems["keys"])[None, None]), console.numbers(settings))[0]
    settings["tracks"] = {name: settings["tracks"][name] for name in CHANNELS}
    return preset_of(console.to_graph(CHANNELS, settings), RATE, SOURCES), mix.numpy()


@pytest.fixture
def preset(mixed: tuple[dict[str, Any], np.ndarray]) -> dict[str, Any]:
    return copy.deepcopy(mixed[0])


def test_a_preset_sounds_like_the_console(mixed: tuple[dict[str, Any], np.ndarray], stems: dict[str, Any]) -> None:
    preset, mix = mixed
    assert np.abs(mix).max() > 0.01
    assert error_db(to_pedalboard(preset).render(stems), mix) < -100


def test_the_preset_survives_a_file(preset: dict[str, Any], stems: dict[str, Any], tmp_path: Path) -> None:
    save(preset, tmp_path / "a.json")
    loaded = load(tmp_path / "a.json")
    assert loaded == preset
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]
    np.testing.assert_array_equal(to_pedalboard(loaded).render(stems), to_pedalboard(preset).render(stems))


def test_numbers_are_the_shortest_that_are_exact_in_float32(preset: dict[str, Any]) -> None:
    vox = preset["nodes"][0]
    assert vox["plugins"][0] == {"type": "Gain", "params": {"gain_db": -3.3}}
    assert '"gain_db": -7.7' in json.dumps(preset["nodes"][3]["inputs"])
    for row in vox["matrix"]:
        assert all(float(str(np.float32(value))) == value for value in row)


def test_the_files_of_a_source_are_named_without_their_folder(preset: dict[str, Any]) -> None:
    sources = {node["name"]: node["source"] for node in preset["nodes"] if "source" in node}
    assert sources["vox"] == {"files": ["vox.wav"], "channels": 1}
    assert sources["keys"] == {"files": ["keys L.wav", "keys R.wav"], "channels": 2}


def test_files_of_several_folders_are_found_below_the_common_one() -> None:
    console = Console(RATE)
    settings = console.settings(console.default(1, 2), ["a", "b"], [1, 1])
    sources = {"a": (("/songs/one/x.wav",), 1), "b": (("/songs/two/x.wav",), 1)}
    nodes = preset_of(console.to_graph({"a": 1, "b": 1}, settings), RATE, sources)["nodes"]
    assert [node["source"]["files"] for node in nodes[:2]] == [["one/x.wav"], ["two/x.wav"]]
    sources = {"a": (("/song/Drums/L.wav", "/song/Drums/R.wav"), 1), "b": (("/song/bass.wav",), 1)}
    nodes = preset_of(console.to_graph({"a": 1, "b": 1}, settings), RATE, sources)["nodes"]
    assert [node["source"]["files"] for node in nodes[:2]] == [["Drums/L.wav", "Drums/R.wav"], ["bass.wav"]]
    nodes = preset_of(console.to_graph({"a": 1, "b": 1}, settings), RATE)["nodes"]
    assert [node["source"]["files"] for node in nodes[:2]] == [["a.wav"], ["b.wav"]]


def test_a_send_of_minus_100_db_is_silence(preset: dict[str, Any], stems: dict[str, Any]) -> None:
    for edge in preset["nodes"][-1]["inputs"]:
        edge["gain_db"] = -100.0
    assert not to_pedalboard(preset).render(stems).any()


def test_live_boards_can_be_changed_and_render_without_gliding(preset: dict[str, Any], stems: dict[str, Any]) -> None:
    live = to_pedalboard(preset)
    before = live.render(stems)
    reverb = live.boards["reverb"][0]
    reverb.dry_level = preset["nodes"][3]["plugins"][0]["params"]["dry_level"] = 0.75
    after = live.render(stems)
    assert error_db(after, before) > -60
    np.testing.assert_array_equal(after, to_pedalboard(preset).render(stems))


def test_stems_that_do_not_fit_are_refused_by_name(preset: dict[str, Any], stems: dict[str, Any]) -> None:
    live = to_pedalboard(preset)
    with pytest.raises(AudioError, match="missing are bass"):
        live.render({name: x for name, x in stems.items() if name != "bass"})
    with pytest.raises(AudioError, match=r"'keys' has shape \(1, 44100\); needed is \(2, 44100\)"):
        live.render({**stems, "keys": stems["keys"][:1]})
    differ = np.stack([stems["vox"][0], -stems["vox"][0]])
    with pytest.raises(AudioError, match=r"'vox' has shape \(2, 44100\); needed is \(1, 44100\)"):
        live.render({**stems, "vox": differ})


def test_a_mono_track_may_come_in_two_channels_that_are_the_same(preset: dict[str, Any], stems: dict[str, Any]) -> None:
    live, twice = to_pedalboard(preset), np.concatenate([stems["vox"], stems["vox"]])
    np.testing.assert_array_equal(live.render({**stems, "vox": twice}), live.render(stems))


# What is wrong, the sentence expected, and whether JSON Schema can see it (a rule within one field).
Change = Callable[[dict[str, Any]], Any]
BROKEN: dict[str, tuple[Change, str, bool]] = {
    "format": (lambda p: p.update(format="midi"), "not a diffmix preset", True),
    "later version": (lambda p: p.update(version=2), "version 2; this reader knows version 1", True),
    "no output": (lambda p: p.pop("output"), "has no 'output'", True),
    "unknown field": (lambda p: p["nodes"][0].update(matrx=[]), "Node 'vox' has an unknown field 'matrx'", True),
    "rate": (lambda p: p.update(sample_rate=0), "sample_rate is 0; allowed is 4,000 to 768,000 Hz", True),
    "nodes": (lambda p: p.update(nodes={}), "nodes is {}; allowed is a list", True),
    "no nodes": (lambda p: p.update(nodes=[]), "output 'master' is not a node", True),
    "node": (lambda p: p["nodes"].append(3), "A node is 3; allowed is an object", True),
    "plugin": (
        lambda p: p["nodes"][0]["plugins"][0].update(type="Gian"),
        r"Node 'vox', plugin 1: 'Gian' is unknown; allowed are Gain, ",
        True,
    ),
    "parameter": (
        lambda p: p["nodes"][0]["plugins"][0].update(params={"gain": 1}),
        r"Node 'vox', plugin 1 \(Gain\) has an unknown field 'gain'; allowed are gain_db",
        True,
    ),
    "no parameter": (
        lambda p: p["nodes"][0]["plugins"][2]["params"].pop("q"),
        r"Node 'vox', plugin 3 \(LowShelfFilter\) has no 'q'",
        True,
    ),
    "range": (
        lambda p: p["nodes"][3]["plugins"][0]["params"].update(room_size=1.5),
        r"Node 'reverb', plugin 1 \(Reverb\): room_size is 1.5; allowed is 0 to 1\.",
        True,
    ),
    "ratio": (
        lambda p: p["nodes"][0]["plugins"][8]["params"].update(ratio=0.5),
        r"Node 'vox', plugin 9 \(Compressor\): ratio is 0.5; allowed is 1 to 1,000,000 :1",
        True,
    ),
    "text for a number": (
        lambda p: p["nodes"][0]["plugins"][0]["params"].update(gain_db="loud"),
        "gain_db is 'loud'; allowed is a number",
        True,
    ),
    "true for a number": (
        lambda p: p["nodes"][0]["plugins"][0]["params"].update(gain_db=True),
        "gain_db is True; allowed is a number",
        True,
    ),
    "not a number": (
        lambda p: p["nodes"][0]["plugins"][0]["params"].update(gain_db=float("nan")),
        "gain_db is nan; allowed is -200 to 200 dB",
        False,  # JSON has no NaN
    ),
    "matrix numbers": (
        lambda p: p["nodes"][0].update(matrix=[["a"], [1]]),
        "Node 'vox': a number of the matrix is 'a'",
        True,
    ),
    "matrix rows": (lambda p: p["nodes"][0].update(matrix=[]), "allowed are 1 or 2 rows of 1 numbers each", True),
    "send": (
        lambda p: p["nodes"][3]["inputs"][0].update(gain_db=999),
        "Node 'reverb': gain_db from 'vox' is 999; allowed is -1,000 to 200 dB",
        True,
    ),
    "file outside": (
        lambda p: p["nodes"][0]["source"].update(files=["../vox.wav"]),
        "'../vox.wav' is not the name of a file inside the folder",
        True,
    ),
    "absolute file": (lambda p: p["nodes"][0]["source"].update(files=["/vox.wav"]), "'/vox.wav' is not", True),
    "no files": (lambda p: p["nodes"][0]["source"].update(files=[]), "number of files is 0; allowed is 1 to 2", True),
    "channels": (lambda p: p["nodes"][0]["source"].update(channels=3), "channels is 3; allowed is 1 to 2", True),
    "near half the sample rate": (
        lambda p: p["nodes"][0]["plugins"][1]["params"].update(cutoff_frequency_hz=21900),
        r"plugin 2 \(HighpassFilter\): cutoff_frequency_hz is 21900; allowed is 0.01 to 21,609 Hz",
        False,
    ),
    "two of a name": (lambda p: p["nodes"][1].update(name="vox"), "Node 'vox' appears twice", False),
    "missing node": (
        lambda p: p["nodes"][3]["inputs"].append({"from": "drums", "gain_db": 0}),
        "Node 'reverb' has an input from 'drums', which is not an earlier node",
        False,
    ),
    "later node": (
        lambda p: p["nodes"][3]["inputs"].append({"from": "master", "gain_db": 0}),
        "input from 'master', which is not an earlier node",
        False,
    ),
    "source and inputs": (
        lambda p: p["nodes"][4].update(source={"files": ["a"], "channels": 2}),
        "Node 'master' has both a source and inputs",
        False,
    ),
    "nothing in": (lambda p: p["nodes"][4].update(inputs=[]), "neither a source nor inputs", False),
    "one and two channels": (
        lambda p: p["nodes"][0].pop("matrix"),
        "Node 'reverb' has inputs of one and of two channels",
        False,
    ),
    "matrix shape": (
        lambda p: p["nodes"][0].update(matrix=[[1, 0], [0, 1]]),
        r"Node 'vox': the matrix is .* 1 or 2 rows of 1 numbers",
        False,
    ),
    "output": (lambda p: p.update(output="mix"), "The output 'mix' is not a node with two channels", False),
    "mono output": (
        lambda p: p["nodes"][4].update(matrix=[[1, 1]]),
        "The output 'master' is not a node with two channels",
        False,
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_each_mistake_gets_its_sentence_and_the_schema_agrees(case: str, preset: dict[str, Any]) -> None:
    change, sentence, seen_by_schema = BROKEN[case]
    change(preset)
    with pytest.raises(PresetError, match=sentence) as caught:
        validate(preset)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    assert jsonschema.Draft202012Validator(schema()).is_valid(preset) is not seen_by_schema


def test_the_schema_shipped_is_the_generated_one_and_accepts_presets(preset: dict[str, Any]) -> None:
    shipped = json.loads((Path(preset_module.__file__).parent / "preset.schema.json").read_text())
    assert shipped == schema()
    jsonschema.Draft202012Validator.check_schema(shipped)
    jsonschema.validate(preset, shipped, cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize("kind", standalone.LIMITS)
def test_pedalboard_takes_every_plugin_at_both_ends_of_its_limits(kind: str, preset: dict[str, Any]) -> None:
    limits = standalone.LIMITS[kind]
    x = np.full((2, 512), 0.1, np.float32)

    def value(key: str, end: int) -> Any:
        if limits[key] == standalone.AUDIO:
            return {"channels": 1 + end, "float32": base64.b64encode(np.ones(200, "<f4").tobytes()).decode()}
        return (
            limits[key][-1]
            if isinstance(limits[key], list)
            else (limits[key][0], standalone.highest(kind, key, RATE))[end]
        )

    for end in (0, 1):
        params = {key: value(key, end) for key in limits}
        nodes = [{"name": "a", "inputs": [], "plugins": [{"type": kind, "params": params}]}]
        nodes[0]["source"] = {"files": ["a.wav"], "channels": 2}
        one = {**preset, "output": "a", "nodes": nodes}
        assert to_pedalboard(one).render({"a": x}).shape == x.shape


def of_plugins(*plugins: Any) -> dict[str, Any]:
    node = {"name": "a", "source": {"files": ["a.wav"], "channels": 2}, "inputs": [], "plugins": list(plugins)}
    head = {"format": "diffmix-preset", "version": 1, "generator": "test", "pedalboard": ">=0.9.26"}
    return {**head, "sample_rate": RATE, "output": "a", "nodes": [node]}


def test_plugins_inside_plugins_and_impulse_responses_are_played(tmp_path: Path) -> None:
    """A mix of an effect and a room, beside Pedalboard's own: the file holds the response to the last bit."""
    rng = np.random.default_rng(0)
    room = (rng.standard_normal((2, 300)) * 0.99 ** np.arange(300)).astype(np.float32)
    inner = [
        (
            "Chain",
            {"plugins": [("LadderFilter", {"mode": "HPF24", "cutoff_hz": 300.0, "resonance": 0.2, "drive": 1.5})]},
        ),
        ("Chain", {"plugins": [("Convolution", {"impulse_response_filename": room, "mix": 0.5, "sample_rate": RATE})]}),
    ]
    preset = of_plugins(preset_module.entry("Mix", {"plugins": inner}))
    save(preset, tmp_path / "a.json")
    jsonschema.validate(preset, schema(), cls=jsonschema.Draft202012Validator)
    x = rng.standard_normal((2, 2000)).astype(np.float32) / 4
    ladder = pedalboard.LadderFilter(pedalboard.LadderFilter.Mode.HPF24, 300, 0.2, 1.5)
    expected = pedalboard.Mix([ladder, pedalboard.Convolution(room, 0.5, RATE)])(x, RATE)
    assert np.array_equal(to_pedalboard(load(tmp_path / "a.json")).render({"a": x}), expected)


@pytest.mark.parametrize(
    ("plugin", "sentence"),
    [
        (
            {"type": "Mix", "plugins": [{"type": "Gain", "params": {"gain_db": 1e9}}]},
            r"\(Mix\), plugin 1 \(Gain\): gain_db",
        ),
        ({"type": "Mix", "params": {}}, "has an unknown field 'params'"),
        (
            {"type": "LadderFilter", "params": {"mode": "LPF6", "cutoff_hz": 1, "resonance": 0, "drive": 1}},
            "mode is 'LPF6'; allowed are LPF12",
        ),
        (
            {"type": "Convolution", "params": {"impulse_response": {"channels": 1, "float32": "AAA"}, "mix": 1}},
            "impulse_response cannot be decoded",
        ),
        (
            {"type": "Convolution", "params": {"impulse_response": {"channels": 1, "float32": ""}, "mix": 1}},
            "impulse_response has no samples",
        ),
    ],
)
def test_mistakes_inside_plugins_are_named(plugin: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PresetError, match=sentence):
        validate(of_plugins(plugin))


def test_files_that_are_no_presets(tmp_path: Path) -> None:
    with pytest.raises(PresetError, match=r"nowhere\.json cannot be read as a preset"):
        load(tmp_path / "nowhere.json")
    (tmp_path / "text.json").write_bytes(b"\xff\xfehello")
    with pytest.raises(PresetError, match=r"text\.json is not JSON"):
        load(tmp_path / "text.json")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(PresetError, match=r"deep\.json is not JSON"):
        load(tmp_path / "deep.json")


def test_a_preset_may_begin_with_a_byte_order_mark(preset: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(preset), encoding="utf-8-sig")  # as some editors save it
    assert load(tmp_path / "a.json") == preset


def test_a_preset_is_not_written_where_it_cannot_be(preset: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        save(preset, tmp_path / "missing" / "a.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder: cannot be written, because it is a folder"):
        write_player(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


# preset.py, alone


@pytest.fixture
def folder(preset: dict[str, Any], stems: dict[str, np.ndarray], tmp_path: Path) -> Path:
    """A folder as a user gets it, with stems beside it: a dual-mono file, a pair of files, a shorter file."""
    preset["nodes"][-1]["plugins"][-1]["params"]["gain_db"] = -20.0
    preset["tail_s"] = 0.25
    save(preset, tmp_path / "preset.json")
    write_player(tmp_path / "preset.py")
    (tmp_path / "stems").mkdir()
    written = {
        "vox": np.repeat(stems["vox"], 2, axis=0),
        "bass": stems["bass"][:, :30000],
        "keys L": stems["keys"][:1],
        "keys R": stems["keys"][1:],
    }
    for name, x in written.items():
        soundfile.write(tmp_path / "stems" / f"{name}.wav", x.T, RATE, "FLOAT")
    return tmp_path


def test_the_script_plays_the_preset_without_diffmix(folder: Path, stems: dict[str, np.ndarray]) -> None:
    blocked = folder / "blocked"
    for name in ("diffmix", "torch", "scipy"):
        (blocked / name).mkdir(parents=True)
        (blocked / name / "__init__.py").write_text("raise ImportError('preset.py has to run alone')")
    done = subprocess.run(
        [sys.executable, "preset.py", "stems", "out.wav"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(blocked)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("out.wav: 1.2 s at 44100 Hz, peak -")
    info = soundfile.info(folder / "out.wav")
    assert (info.subtype, info.channels, info.frames) == ("PCM_24", 2, RATE + RATE // 4)
    heard = soundfile.read(folder / "out.wav", dtype="float32", always_2d=True)[0].T
    padded = {name: standalone.pad(x, RATE + RATE // 4) for name, x in stems.items()}
    padded["bass"][:, 30000:] = 0
    expected = to_pedalboard(load(folder / "preset.json")).render(padded)
    assert np.abs(heard - expected).max() <= 2**-23  # the steps of 24 bits


def edit(folder: Path, change: Change) -> None:
    preset = json.loads((folder / "preset.json").read_text())
    change(preset)
    (folder / "preset.json").write_text(json.dumps(preset))


MISTAKES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "edited out of range": (
        lambda f: edit(f, lambda p: p["nodes"][0]["plugins"][8]["params"].update(ratio=0.5)),
        "Node 'vox', plugin 9 (Compressor): ratio is 0.5; allowed is 1 to 1,000,000 :1.",
    ),
    "edited too loud": (
        lambda f: edit(f, lambda p: p["nodes"][-1]["plugins"][-1]["params"].update(gain_db=60)),
        "The mix is not written: its peak is +",
    ),
    "missing stem": (
        lambda f: (f / "stems" / "bass.wav").unlink(),
        "Node 'bass' needs the file bass.wav, which is not in stems.",
    ),
    "a stem that is no audio": (
        lambda f: (f / "stems" / "bass.wav").write_text("no"),
        "stems/bass.wav cannot be read as audio",
    ),
    "a mono stem for a stereo track": (
        lambda f: edit(f, lambda p: p["nodes"][2]["source"].update(files=["keys L.wav"])),
        "Node 'keys', keys L.wav: the number of channels is 1; the preset needs 2.",
    ),
    "a stereo stem for a mono track": (
        lambda f: soundfile.write(f / "stems" / "bass.wav", np.eye(2), RATE),
        "Node 'bass', bass.wav: 2 channels that differ; the preset needs one.",
    ),
    "no preset": (lambda f: (f / "preset.json").unlink(), "There is no preset.json beside preset.py."),
    "broken JSON": (lambda f: (f / "preset.json").write_text("{"), "preset.json is not JSON"),
    "no folder": (lambda f: (f / "stems").rename(f / "other"), "The folder of stems stems does not exist."),
    "unwritable": (lambda f: (f / "out.wav").mkdir(), "out.wav cannot be written"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_ends_the_script_with_one_sentence(
    case: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    change, sentence = MISTAKES[case]
    change(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["preset.py", "stems", "out.wav"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path("preset.py", run_name="__main__")
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {sentence}")
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert not list(folder.glob("*.part"))


def test_the_script_refuses_rates_whose_filter_would_fill_the_memory() -> None:
    with pytest.raises(standalone.Mistake, match="resampling from 44101 to 48000 Hz is not possible"):
        standalone.resample(np.zeros((1, 10), np.float32), 44101, 48000)


@pytest.mark.parametrize("rates", [(48000, 44100), (22050, 44100), (96000, 48000), (8000, 44100)])
def test_the_script_resamples_as_diffmix_and_torchaudio_do(rates: tuple[int, int]) -> None:
    x = np.random.default_rng(0).standard_normal((2, 20011))
    y = standalone.resample(x, *rates)
    filter_ = {"lowpass_filter_width": 64, "rolloff": 0.9475937167399596, "beta": 14.769656459379492}
    exact = torchaudio.functional.resample(
        torch.from_numpy(x), *rates, resampling_method="sinc_interp_kaiser", **filter_
    ).numpy()
    n = min(y.shape[1], exact.shape[1])
    assert y.shape[1] - n <= 1  # torchaudio computes the length in float32
    assert error_db(y[:, :n], exact[:, :n]) < -140
    single = x.astype(np.float32)
    assert np.array_equal(audio.resample(torch.from_numpy(single), *rates), standalone.resample(single, *rates))
    assert np.array_equal(standalone.resample(single[1:], *rates), standalone.resample(single, *rates)[1:])
