"""Swept data sets read back: what comes out is what the effect makes of what went in."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from diffmix.data.sweep import Sweep
from diffmix.errors import AudioError, PresetError, SettingsError
from diffmix.processors import Compressor, Gain
from diffmix.sweep import sweep

RATE = 16000


@pytest.fixture
def dry(tmp_path: Path) -> Path:
    (tmp_path / "dry").mkdir()
    rng = np.random.default_rng(0)
    for name, length in (("a", 3000), ("b", 1200)):
        soundfile.write(tmp_path / "dry" / f"{name}.wav", 0.2 * rng.standard_normal((length, 2)), RATE, "PCM_24")
    return tmp_path / "dry"


def test_items_are_what_the_effect_makes_of_the_dry_sound(dry: Path, tmp_path: Path) -> None:
    sweep("Compressor", dry, tmp_path / "out", count=5, parameters=["ratio", "threshold_db"])
    data = Sweep(tmp_path / "out")
    assert (len(data), data.moving, data.sample_rate) == (5, ("threshold_db", "ratio"), RATE)
    compressor = Compressor(RATE)
    assert data.spec.differences(compressor.spec.to_dict()) == []
    for x, y, u in data:
        assert (compressor(x[None], u[None])[0] - y).abs().max() < 1e-6
    moved = torch.stack([u for *_, u in data]).std(0) > 0
    assert moved.tolist() == [name in data.moving for name in data.spec.names]
    assert [len(x[0]) for x, *_ in data] == [3000, 1200, 3000, 1200, 3000]


def test_what_was_turned_down_is_loud_again(dry: Path, tmp_path: Path) -> None:
    manifest = sweep("Gain", dry, tmp_path / "out", count=8, seed=1)
    assert any(item["gain_db"] < -3 for item in json.loads(manifest.read_text())["items"])
    gain = Gain(RATE)
    for x, y, u in Sweep(tmp_path / "out"):
        expected = gain(x[None], u[None])[0]
        assert (expected - y).abs().max() < 2e-5 * max(1, expected.abs().max())


def test_crops_make_batches_and_know_what_came_before(dry: Path, tmp_path: Path) -> None:
    sweep("Compressor", dry, tmp_path / "out", count=4)
    whole = Sweep(tmp_path / "out")
    data = Sweep(tmp_path / "out", seconds=0.1, before_s=0.05)
    ((x, y, u),) = DataLoader(data, batch_size=4)
    assert (x.shape, y.shape, u.shape) == ((4, 2, 2400), (4, 2, 1600), (4, whole.spec.size))
    places = []
    for i in range(4):
        long_dry, long_wet, _ = whole[i]
        room = max(long_wet.shape[-1] - 1600, 0)
        padded = torch.nn.functional.pad(long_wet, (0, 1600))
        (start,) = (s for s in range(room + 1) if torch.equal(padded[:, s : s + 1600], y[i]))
        around = torch.nn.functional.pad(long_dry, (800, 1600))
        assert torch.equal(around[:, start : start + 2400], x[i])
        places.append(start)
    assert places[1] == places[3] == 0  # files shorter than a crop
    assert places[0] != places[2]
    assert torch.equal(data[0].wet, data[0].wet)
    assert torch.equal(data[-1].wet, y[3])
    assert not torch.equal(Sweep(tmp_path / "out", seconds=0.1, seed=1)[0].wet, y[0])


def test_an_effect_without_parameters_has_no_controls(dry: Path, tmp_path: Path) -> None:
    sweep("Invert", dry, tmp_path / "out", count=2)
    x, y, u = Sweep(tmp_path / "out")[1]
    assert u.shape == (0,)
    assert (x + y).abs().max() < 1e-6


def test_mistakes_end_in_a_sentence(dry: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def fails(kind: type[Exception], sentence: str, **options: float) -> None:
        with pytest.raises(kind, match=sentence):
            Sweep(out, **options)

    fails(PresetError, r"out/manifest.json cannot be read as the manifest of a sweep: No such file")
    manifest = sweep("Gain", dry, out, count=2)
    good = json.loads(manifest.read_text())
    fails(SettingsError, "crops last longer than 0 s", seconds=0.0)
    fails(SettingsError, "crops last longer than 0 s", before_s=0.1)

    def changed(**entries: object) -> None:
        manifest.write_text(json.dumps({**good, **entries}))

    changed(items=[])
    fails(PresetError, "the sweep is not finished; give its command again")
    changed(version=2)
    fails(PresetError, "has version 2, this diffmix reads version 1")
    changed(format="diffmix-settings")
    fails(PresetError, "does not hold the manifest of a sweep")
    changed(parameters={"gain_db": {"lowest": 0}})
    fails(PresetError, "manifest.json: is damaged")
    changed(items=[{**good["items"][0], "gain_db": "loud"}])
    fails(PresetError, "manifest.json: is damaged")
    changed(parameters={"gain_db": {**good["parameters"]["gain_db"], "default": 1e6}})
    fails(SettingsError, "default 1e.06 lies outside")
    changed(items=[{**good["items"][0], "values": {"gain_db": 1e6}}])
    fails(SettingsError, "out, item 0: gain_db = 1e.06 dB, allowed")
    manifest.write_text("{")
    fails(PresetError, "manifest.json is not JSON")
    changed()
    soundfile.write(dry / "b.wav", np.zeros(100), 8000)
    fails(AudioError, "dry files have 8000, 16000 Hz; sweep those of one at a time")
    (dry / "b.wav").unlink()
    fails(AudioError, "b.wav: no such file")
