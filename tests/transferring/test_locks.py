"""What is held of a chain: every stage by its name, what nothing is to be done by, and what was set by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import diffmix
from diffmix.console import Console
from diffmix.data.multitrack import Multitrack, Track
from diffmix.errors import SettingsError
from diffmix.estimators.treatment import EQ_HZ
from diffmix.wishes import Wishes
from tests.transferring.stand_in import RATE, Audio, StandIn, song, treatment

Believing = Callable[..., StandIn]
MUCH = (3.0, 12.0, 15.0)
"""Width, drive and space, dB."""


@pytest.fixture(scope="module")
def x() -> Audio:
    return song(3.0)


@pytest.fixture(scope="module")
def reference() -> Audio:
    return song(3.0, seed=3)


@pytest.mark.parametrize("stage", ["saturation", "imager", "reverb"])
def test_a_stage_that_is_locked_without_a_value_does_nothing(
    stage: str, x: Audio, reference: Audio, believing: Believing
) -> None:
    believing(treatment(extras=MUCH))
    free = diffmix.transfer(x, reference, sample_rate=RATE, quality="fast", gate="bold")
    assert {"saturation", "imager", "reverb"} < set(free.settings["master"])
    held = diffmix.transfer(x, reference, sample_rate=RATE, quality="fast", gate="bold", lock=[stage])
    assert stage not in held.settings["master"]
    assert {"saturation", "imager", "reverb"} - {stage} <= set(held.settings["master"])


def test_a_roll_off_is_had_without_the_highpass(x: Audio, reference: Audio, believing: Believing) -> None:
    hz = torch.tensor(EQ_HZ)
    rolled = 20 * (hz / torch.sqrt(hz**2 + 600**2)).log10()
    believing(treatment(0, ratio=1.0)._replace(eq_db=rolled))
    asked: Any = {"sample_rate": RATE, "quality": "fast", "gate": "bold"}
    assert "highpass" in diffmix.transfer(x, reference, **asked).settings["master"]
    assert next(iter(diffmix.transfer(x, reference, lock=["highpass"], **asked).settings["master"])) == "eq"


def test_a_knob_that_is_locked_without_a_value_does_nothing(x: Audio, reference: Audio, believing: Believing) -> None:
    believing(treatment(0, ratio=1.0, extras=MUCH))
    made = diffmix.transfer(x, reference, sample_rate=RATE, quality="fast", gate="bold", lock="reverb.dry_level")
    assert made.settings["master"]["reverb"]["dry_level"] == 0.5
    assert made.settings["master"]["reverb"]["wet_level"] > 0
    made = diffmix.transfer(x, reference, sample_rate=RATE, quality="fast", gate="bold", lock="reverb.wet_level")
    assert "reverb" not in made.settings["master"]  # nothing is left of it


@pytest.mark.parametrize(
    ("lock", "left", "part"),
    [
        (["compressor"], ["eq"], "dynamics"),
        (["compressor.ratio=1"], ["eq"], "dynamics"),
        (["eq", "highpass"], ["compressor"], "tone"),
    ],
)
def test_what_is_held_is_neither_in_the_chain_nor_expected_to_gain(
    lock: list[str], left: list[str], part: str, x: Audio, reference: Audio, believing: Believing
) -> None:
    believing(treatment())
    asked: Any = {"sample_rate": RATE, "quality": "fast", "gate": "bold"}
    held = diffmix.transfer(x, reference, lock=lock, **asked)
    assert list(held.settings["master"]) == [*left, "gain", "limiter"]
    without = diffmix.transfer(x, reference, amount={part: 0}, **asked)
    assert held.belief.expected == without.belief.expected
    assert held.report["aspects"][part]["amount"] == 0
    assert not any("without the locks" in note for note in held.notes)


def test_a_locked_chain_leaves_the_recording_without_excuses(x: Audio, reference: Audio, believing: Believing) -> None:
    believing(treatment())
    made = diffmix.transfer(x, reference, sample_rate=RATE, quality="fast", gate="bold", lock="master")
    assert np.array_equal(made.audio, x)
    assert not made.notes


def test_what_is_held_in_part_was_judged_as_if_it_were_not(x: Audio, reference: Audio, believing: Believing) -> None:
    believing(treatment())
    asked: Any = {"sample_rate": RATE, "quality": "fast", "gate": "bold", "bound": "compressor.ratio=1..1.01"}
    assert "What is expected was judged without the locks and bounds of dynamics." in (
        diffmix.transfer(x, reference, **asked).notes
    )


def test_what_is_set_by_hand_is_done_and_nothing_else_of_its_stage(
    x: Audio, reference: Audio, believing: Believing
) -> None:
    believing(treatment(0, ratio=1.0))
    lock = ["saturation.drive_db=25", "reverb.width=0.5"]
    knobs = diffmix.transfer(x, reference, sample_rate=RATE, quality="fast", lock=lock).settings["master"]
    assert knobs["saturation"]["drive_db"] == 25
    assert (knobs["reverb"]["width"], knobs["reverb"]["wet_level"], knobs["reverb"]["dry_level"]) == (0.5, 0, 0.5)


@pytest.mark.parametrize("wish", ["mix.pan=0.5", "mix.gain=3"])
def test_what_no_chain_heeds_is_refused(wish: str, x: Audio, reference: Audio, believing: Believing) -> None:
    believing()
    with pytest.raises(SettingsError, match=f"lock 'master.{wish}': there is no such knob; say gain, eq"):
        diffmix.transfer(x, reference, sample_rate=RATE, lock=[wish])
    with pytest.raises(SettingsError, match=f"lock 'master.{wish}': there is no such knob; say gain, eq, comp"):
        diffmix.master(x, "pop", sample_rate=RATE, lock=[wish])


def test_the_whole_chain_is_held_by_its_name(x: Audio) -> None:
    knobs = diffmix.master(x, "pop", sample_rate=RATE, lock="master").settings["master"]
    assert knobs["compressor"]["ratio"] == 1
    assert {value for name, value in knobs["eq"].items() if name.endswith("gain_db")} == {0}
    assert np.isfinite(knobs["gain"]["gain_db"])


def test_what_may_be_touched_is_named_once(x: Audio) -> None:
    song = Multitrack("a", RATE, (Track("a", torch.from_numpy(x)),))
    with pytest.raises(SettingsError, match="only 'bass': there are gain") as found:
        Wishes.read(Console(RATE), song, only="bass")
    names = str(found.value).partition("there are ")[2].split(", ")
    assert len(names) == len(set(names))
