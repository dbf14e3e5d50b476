"""A recording that nothing is done to comes back as it was, at whatever level, and what is written says so."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import diffmix
from diffmix.data.audio import read
from diffmix.settings import Settings
from diffmix.transferring.style import Style
from tests.transferring.stand_in import RATE, Brightness, StandIn, song, treatment

Believing = Callable[..., StandIn]


@pytest.mark.usefixtures("sketched")
def test_a_recording_above_full_scale_is_written_as_it_came(believing: Believing, tmp_path: Path) -> None:
    believing(treatment(1.0, ratio=1.05), scale=12.0)
    hot = 3 * song(1.0)
    made = diffmix.transfer(hot, song(1.0, seed=3), sample_rate=RATE, quality="fast")
    assert not made.belief.acted
    made.save(tmp_path)
    stored, rate = read(tmp_path / "transfer.wav")
    assert rate == RATE
    assert np.array_equal(stored.numpy(), hot)


@pytest.mark.usefixtures("sketched")
def test_a_mix_above_full_scale_loses_nothing_and_says_so(tmp_path: Path) -> None:
    tracks = {"a": {"fader": {"gain_db": 12.0}}}
    mix = diffmix.render({"a": song(0.5)}, Settings(tracks=tracks), sample_rate=RATE)
    peak = float(np.abs(mix.audio).max())
    assert peak > 1
    mix.save(tmp_path)
    assert np.array_equal(read(tmp_path / "mix.wav")[0].numpy(), mix.audio)
    above = f"{20 * np.log10(peak):+.1f} dBFS"
    assert any(f"The highest sample is at {above}: the file is in floating point" in n for n in mix.report["notes"])
    softer = mix.rendered(Settings(tracks={"a": {"fader": {"gain_db": -20.0}}}))
    assert not any("highest sample" in note for note in softer.report["notes"])


@pytest.mark.usefixtures("sketched")
def test_the_style_of_an_earlier_transfer_is_replaced(believing: Believing, tmp_path: Path) -> None:
    believing(treatment(4))
    x = song(1.0)
    diffmix.transfer(x, song(1.0, seed=3), sample_rate=RATE, quality="fast").save(tmp_path)
    assert Style.load(tmp_path / "style.json").words == ""
    diffmix.describe(x, "bright", Brightness(), sample_rate=RATE, quality="fast").save(tmp_path)
    assert Style.load(tmp_path / "style.json").words == "bright"
