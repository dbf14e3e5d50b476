"""What a program learns from an error besides its sentence."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffmix
from diffmix.data.audio import write_recording
from diffmix.errors import CheckpointError, DiffmixError, GraphError, OutputError, PresetError, SettingsError, about
from diffmix.export import load as load_preset
from diffmix.graph.node import Node
from diffmix.wishes import Wishes

STEMS = {"vox": np.ones(4800, np.float32)}


def raised(call: Callable[[], object]) -> DiffmixError:
    with pytest.raises(DiffmixError) as caught:
        call()
    return pickle.loads(pickle.dumps(caught.value))


def test_a_value_that_is_no_number_in_range_names_its_knob() -> None:
    console = diffmix.Console(48000)

    def of(**parts: object) -> tuple[object, ...]:
        error = raised(lambda: console.check(diffmix.Settings(**{"tracks": {"vox": {}}, **parts})))
        assert isinstance(error, SettingsError)
        return error.knob, error.value, error.allowed

    assert of(tracks={"vox": {"compressor": {"ratio": 0.5}}}) == ("vox.compressor.ratio", 0.5, (1, 20))
    assert of(master={"gain": {"gain_db": "loud"}}) == ("master.gain.gain_db", "loud", (-40, 40))
    assert of(buses={"reverb": {"reverb": {"room_size": 3}}}) == ("reverb.reverb.room_size", 3, (0, 1))
    assert of(tracks={"vox": {"compressor": {"rato": 2}}}) == (None, None, None)
    effect = raised(lambda: diffmix.Compressor(48000).spec.check({"threshold_db": 1e3}))
    assert (effect.knob, effect.path) == ("threshold_db", None)


@pytest.mark.parametrize(
    ("wishes", "about"),
    [
        ({"lock": "vox.pan=2"}, ("vox.pan.pan", 2, (-1, 1))),
        ({"bound": "vox.compressor.ratio=0.5..3"}, ("vox.compressor.ratio", (0.5, 3), (1, 20))),
        ({"bound": {"vox.pan": (1, -1)}}, ("vox.pan.pan", (1, -1), (-1, 1))),
        ({"lock": "vox.pan=0.5", "bound": "vox.pan=-0.2..0.2"}, ("vox.pan.pan", 0.5, (-0.2, 0.2))),
        ({"lock": ["vox.pan=0.5", "vox.pan=0"]}, ("vox.pan.pan", 0, (0.5, 0.5))),
        ({"bound": ["vox.pan=0.5..1", "vox.pan=-1..0"]}, ("vox.pan.pan", (-1, 0), (0.5, 1))),
        ({"lock": "vox.pan=x"}, (None, None, None)),
        ({"lock": "vox.pin=0"}, (None, None, None)),
    ],
)
def test_a_lock_or_bound_out_of_range_names_its_knob(wishes: dict[str, Any], about: tuple[object, ...]) -> None:
    error = raised(lambda: Wishes.read(diffmix.Console(48000), diffmix.load(STEMS, 48000), **wishes))
    assert (error.knob, error.value, error.allowed) == about


def test_a_value_of_a_graph_out_of_range_names_its_knob() -> None:
    error = raised(lambda: Node("drive", "Compressor", {"ratio": 50.0}))
    assert isinstance(error, GraphError)
    assert (error.knob, error.value, error.allowed) == ("drive.ratio", 50.0, (1, 20))
    between = diffmix.Graph().add("vox", "In").add("out", "Out")
    error = raised(lambda: between.connect("vox", "out", 99.0))
    assert (error.knob, error.value) == ("vox:out>out:in.gain_db", 99.0)


def test_an_error_about_a_file_has_its_path(tmp_path: Path) -> None:
    broken, nothing = tmp_path / "a.wav", tmp_path / "nothing"
    broken.write_bytes(b"RIFF0000WAVEfmt ")
    for call, kind, path in (
        (lambda: diffmix.load(tmp_path), diffmix.AudioError, broken),
        (lambda: diffmix.load([str(nothing)]), diffmix.AudioError, nothing),
        (lambda: diffmix.load(nothing), diffmix.AudioError, nothing),
        (lambda: diffmix.load(STEMS, 3), diffmix.AudioError, None),
        (lambda: diffmix.load(tmp_path, 3), diffmix.AudioError, None),
        (lambda: diffmix.Settings.from_json(nothing), SettingsError, nothing),
        (lambda: diffmix.Settings.from_json(" {}"), SettingsError, None),
        (lambda: diffmix.Graph.read(nothing), GraphError, nothing),
        (lambda: load_preset(path=str(nothing)), PresetError, nothing),
        (lambda: diffmix.automix(STEMS, sample_rate=48000, model=nothing), CheckpointError, nothing),
        (lambda: write_recording(nothing / "b.wav", diffmix.load(STEMS, 48000).tracks[0].audio, 1), OutputError, ...),
    ):
        error = raised(call)
        assert type(error) is kind
        assert error.path == (nothing / "b.wav" if path is ... else path)
    broken.with_name("b.wav").write_bytes(b"RIFF0000WAVEfmt ")
    assert raised(lambda: diffmix.load(tmp_path)).path == tmp_path  # two of them


def test_the_path_of_a_file_within_is_kept() -> None:
    @about("folder")
    def outer(folder: str) -> None:
        inner(path="within")

    @about("path")
    def inner(path: str) -> None:
        raise OutputError("full")

    assert raised(lambda: outer("folder")).path == Path("within")
