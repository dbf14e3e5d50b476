"""What a report says of each track: why, what leaving out its processors would change, that it rests or is silent."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import diffmix
from diffmix import Console, api
from diffmix.data.knowledge import THIRD_OCTAVES_HZ
from diffmix.data.multitrack import Multitrack, Track
from diffmix.explain import _change, _done
from diffmix.kernels.loudness import integrated_loudness
from diffmix.playback import Player
from tests.fabricate import song

RATE = 16000


@pytest.fixture(scope="module")
def multitrack() -> Multitrack:
    return song(2.0)


def test_bypassing_in_the_report_is_what_bypassing_does(multitrack: Multitrack) -> None:
    mix = api.automix(multitrack, model="rules", only="gain,eq")
    change = mix.report["tracks"]["vox"]["bypass"]["eq"]
    player = Player(mix.console, mix.multitrack)
    neutral = {k: p.default for k, p in mix.console.strip["eq"].spec}
    tracks = {**mix.settings["tracks"], "vox": {**mix.settings["tracks"]["vox"], "eq": neutral}}
    levels = [
        integrated_loudness(player.whole(s, player.before_gain)[None], RATE)
        for s in (mix.settings, diffmix.Settings({**mix.settings, "tracks": tracks}))
    ]
    assert change["level_lu"] == pytest.approx(float(levels[1] - levels[0]), abs=0.4)


def test_reasons_tell_places_sends_and_what_was_wished(multitrack: Multitrack) -> None:
    asked = {"lock": ["vox.pan=0.5", "pad.gain=-3"], "bound": {"bass.send": (-40, -30)}}
    mix = api.automix(multitrack, model="rules", **asked)
    tracks = {name: {**stages} for name, stages in mix.settings["tracks"].items()}
    tracks["vox"]["pan"] = {"pan": -0.5}  # turned by hand: the wish is no reason any more
    tracks["pad"]["image"] = {**tracks["pad"]["image"], "width": 1.3}
    mix = replace(mix, settings=diffmix.Settings({**mix.settings, "tracks": tracks}))
    why = {name: "\n".join(track["why"]) for name, track in mix.report["tracks"].items()}
    assert "wished" not in why["vox"]
    assert "left of the centre" in why["vox"]
    assert why["pad"].startswith("as you wished: pad.gain=-3\n")
    assert "the fader follows" not in why["pad"]
    left, right = next(t.audio for t in multitrack.tracks if t.name == "pad")
    under_db = 20 * torch.log10((left + right).norm() / (left - right).norm())
    assert f"its sides are {under_db:.0f} dB under its middle: wider" in why["pad"]
    assert "as you wished: bass.send=-40..-30" in why["bass"]
    assert "reverb" not in why["bass"]
    assert "less than most tracks get: the low end stays clear" in why["kick"]
    assert "in the centre, where low sounds hold the mix" in why["kick"]
    assert "as gtr 2 faces it from the other side" in why["gtr 1"]


def test_a_silent_track_says_so_in_the_report() -> None:
    tracks = (Track("a", 0.1 * torch.randn(1, RATE)), Track("b", torch.zeros(1, RATE)))
    mix = api.automix(Multitrack("two", RATE, tracks), model="rules")
    assert mix.report["tracks"]["b"]["warnings"] == ["it is silent."]


def test_a_track_that_rests_while_the_others_play_is_explained(tmp_path: Path) -> None:
    rate = 16000
    noise = 0.1 * torch.randn(4, 13 * rate, generator=torch.Generator().manual_seed(0)).numpy()
    noise[:3, : 6 * rate] = 0
    noise[3, 3 * rate :] = 0
    stems = {name: noise[k] for k, name in enumerate(("kick", "bass", "vox", "intro"))}
    mix = diffmix.automix(stems, sample_rate=rate, model="rules")
    report = mix.report["tracks"]["intro"]
    assert report["dominant_hz"] > 20
    assert report["done"]
    assert report["why"]
    assert abs(report["bypass"]["eq"]["change_db"]) > 1  # nothing covers it there
    mix.save(tmp_path / "out")


def test_what_was_done_is_said_in_numbers() -> None:
    stages = {
        "trim": {"gain_db": 1.5},
        "fader": {"gain_db": -4.0},
        "compressor": {"threshold_db": -20.0, "ratio": 2.5},
        "image": {"balance": -0.25, "width": 1.22},
        "send": {"gain_db": -12.0},
    }
    said = [
        "gain -2.5 dB (trim +1.5, fader -4.0)",
        "compression 2.5:1 above -20 dB",
        "balance left 25 %",
        "width 122 %",
    ]
    assert list(_done(Console(RATE), stages, 2)) == [*said, "reverb at -12 dB"]
    for off in ({"threshold_db": 0.0, "ratio": 4.0}, {"threshold_db": -20.0, "ratio": 1.0}):
        assert list(_done(Console(RATE), {"compressor": off}, 1)) == ["gain +0.0 dB (trim +0.0, fader +0.0)"]


def test_a_change_is_told_by_the_third_octave_that_is_heard_to_change_most() -> None:
    before = np.where(np.arange(28) == 3, 1e-9, 1.0)
    after = before * np.where(np.arange(28) == 10, 0.5, 1.0) * np.where(np.arange(28) == 3, 100, 1.0)
    change = _change(before, after, RATE)
    assert (change["hz"], change["change_db"]) == (THIRD_OCTAVES_HZ[10], -3.01)
    assert -0.2 < change["level_lu"] < -0.02
