"""Faders that follow from intended loudness."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from diffmix.balance import SUM_LUFS, balanced, placed_loudness
from diffmix.console import Console
from diffmix.data.multitrack import Multitrack, Track
from diffmix.errors import SettingsError
from diffmix.intent import Intent
from diffmix.mix import grouped, ordered
from diffmix.settings import Settings

RATE = 44100
LAYOUT = OmegaConf.to_container(OmegaConf.load(Path(__file__).parent.parent / "conf/console/automix.yaml"))
WANTED = {"a": -3.0, "b": -6.0, "c": -9.0}


def song(levels: dict[str, float]) -> Multitrack:
    generator = torch.Generator().manual_seed(0)
    noise = {name: torch.randn(2 if name == "b" else 1, RATE, generator=generator) for name in levels}
    return Multitrack("song", RATE, tuple(Track(n, 10 ** (db / 20) * noise[n]) for n, db in levels.items()))


def intent() -> Intent:
    squashed = {"compressor": {"threshold_db": -28.0, "ratio": 4.0}, "eq": {"peak2_gain_db": 9.0}, "pan": {"pan": 0.6}}
    return Intent(Settings(tracks={"a": squashed}), dict(WANTED))


def loudness(multitrack: Multitrack, settings: Settings) -> dict[str, float]:
    console = Console.from_layout(LAYOUT, RATE)
    tracks, order = grouped(multitrack)
    names = [multitrack.tracks[n].name for n in order]
    found = placed_loudness(console, tracks, console.numbers(ordered(settings, names)))[0]
    return dict(zip(names, found.tolist(), strict=True))


@pytest.mark.parametrize("level_db", [-50, -10])
def test_every_track_is_as_loud_as_intended_behind_effects_and_at_any_input_level(level_db: float) -> None:
    multitrack = song({"a": level_db, "b": -20, "c": -30})
    settings = balanced(Console.from_layout(LAYOUT, RATE), multitrack, intent())
    assert loudness(multitrack, settings) == pytest.approx({n: SUM_LUFS + v for n, v in WANTED.items()}, abs=0.05)


def test_a_given_fader_stands_and_the_others_keep_the_balance() -> None:
    multitrack = song({"a": -20, "b": -20, "c": -30})
    console = Console.from_layout(LAYOUT, RATE)
    free, held = balanced(console, multitrack, intent()), balanced(console, multitrack, intent(), {"c": -12.5})
    shift = [held["tracks"][n]["fader"]["gain_db"] - free["tracks"][n]["fader"]["gain_db"] for n in "abc"]
    assert held["tracks"]["c"]["fader"]["gain_db"] == -12.5
    assert shift == pytest.approx([shift[2]] * 3, abs=1e-3)


def test_a_balance_beyond_the_faders_top_comes_as_a_whole_lower() -> None:
    wanted = intent()
    wanted.settings["tracks"]["a"]["compressor"] = {"threshold_db": -50.0, "ratio": 20.0}
    multitrack = song({"a": -20, "b": -20, "c": -30})
    settings = balanced(Console.from_layout(LAYOUT, RATE), multitrack, wanted)
    found = loudness(multitrack, settings)
    assert settings["tracks"]["a"]["fader"]["gain_db"] == 12
    assert [found[n] - found["a"] for n in "bc"] == pytest.approx([-3, -6], abs=0.1)


def test_silent_tracks_are_left_alone() -> None:
    multitrack = song({"a": -20, "b": -20, "c": -300})
    settings = balanced(Console.from_layout(LAYOUT, RATE), multitrack, intent())
    assert settings["tracks"]["c"]["fader"]["gain_db"] == settings["tracks"]["c"]["trim"]["gain_db"] == 0


def test_a_track_without_intent_is_named() -> None:
    with pytest.raises(SettingsError, match="no loudness for track 'd'"):
        balanced(Console.from_layout(LAYOUT, RATE), song({"a": -20, "d": -20}), intent())
