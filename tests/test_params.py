import numpy as np
import pytest
import torch

from diffmix.errors import SettingsError
from diffmix.params import Param, ParamSpec, joined, split_name, within

SPEC = ParamSpec(
    {
        "gain_db": Param(-60, 12, 0, "dB"),
        "cutoff_hz": Param(20, 20000, 1000, "Hz", "log"),
        "ratio": Param(1, 20, 1, ":1", "log"),
    }
)


def test_scales() -> None:
    values = SPEC.denormalize(torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 1.0]]))
    assert values["gain_db"].tolist() == [-24, 12]
    assert values["cutoff_hz"].tolist() == pytest.approx([(20 * 20000) ** 0.5, 20])
    assert values["ratio"].tolist() == [1, 20]


def test_random_controls_come_from_the_generator() -> None:
    a, b = (SPEC.sample(4, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(a, b)
    assert a.shape == (4, 3)
    assert a.min() >= 0
    assert a.max() <= 1


@pytest.mark.parametrize("shape", [(2, 1), (2, 4), (1,), ()])
def test_there_is_one_control_per_parameter(shape: tuple[int, ...]) -> None:
    with pytest.raises(SettingsError, match=r"allowed are \(..., 3\), one per parameter"):
        SPEC.denormalize(torch.rand(shape))


def test_a_step_may_lead_a_little_outside() -> None:
    for u in (-0.25, 1.25):
        assert all(value.isfinite().all() for value in SPEC.denormalize(torch.full((2, 3), u)).values())
    with pytest.raises(SettingsError, match=r"controls are -0\.26 to 0, allowed are 0 to 1"):
        SPEC.denormalize(torch.tensor([-0.26, 0, 0]))


def test_narrowing_remaps_the_whole_control_and_may_lock() -> None:
    narrow = SPEC.narrowed({"gain_db": (-6, 6), "ratio": (4, 4), "cutoff_hz": (100, 200, 150)})
    values = narrow.denormalize(torch.rand(100, 3))
    assert values["gain_db"].min() >= -6
    assert values["gain_db"].max() <= 6
    assert (values["ratio"] == 4).all()
    assert narrow.params["cutoff_hz"].default == 150
    assert narrow.normalize({"gain_db": 0.0, "ratio": 4.0, "cutoff_hz": 100.0}).tolist() == [0.5, 0.0, 0.5]


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"gain": (0, 1)}, r"no parameter 'gain'; there are: gain_db, cutoff_hz, ratio"),
        ({"gain_db": (-70, 0)}, r"gain_db: -70\.\.0 is not inside -60\.\.12 dB"),
        ({"gain_db": (3, -3)}, r"gain_db: 3\.\.-3 is not inside"),
        ({"gain_db": (3,)}, r"gain_db: \(3,\) is no range, which is \(low, high\)"),
        ({"gain_db": 3}, r"gain_db: 3 is no range, which is \(low, high\)"),
        ({"gain_db": (0, 6, 9)}, r"default 9 lies outside 0\.\.6 dB"),
    ],
)
def test_a_range_may_not_widen(ranges: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SPEC.narrowed(ranges)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gain_db": 13.0}, r"vox: gain_db = 13 dB, allowed -60\.\.12 dB"),
        ({"gain_db": float("nan")}, r"gain_db = nan dB"),
        ({"pan": 0.0}, r"no parameter 'pan'"),
        ({"gain_db": None}, r"vox: gain_db is None, a number is expected"),
        ({"gain_db": "3"}, r"gain_db is '3', a number is expected"),
        ({"gain_db": torch.ones(2)}, r"gain_db is tensor.*, a number is expected"),
        ({"gain_db": 10**400}, r"gain_db = inf dB, allowed"),
    ],
)
def test_values_are_checked(change: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SPEC.check({"gain_db": 0.0, "cutoff_hz": 1000.0, "ratio": 2.0} | change, "vox")
    with pytest.raises(SettingsError, match=r"ratio is missing \(1\.\.20 :1\)"):
        SPEC.check({"gain_db": 0.0, "cutoff_hz": 1000.0})


def test_numbers_are_within() -> None:
    assert within("level", np.float32(-3), -10, 0, "dB") == -3
    with pytest.raises(SettingsError, match=r"^level is 3 dB, allowed -10\.\.0 dB$"):
        within("level", 3, -10, 0, "dB")
    with pytest.raises(SettingsError, match=r"^steps is inf, allowed 0\.\.9$"):
        within("steps", float("inf"), 0, 9, whole=True)


def test_differences_name_what_changed() -> None:
    stored = SPEC.to_dict()
    assert SPEC.differences(stored) == []
    stored["gain_db"] = {**stored["gain_db"], "low": -48}
    stored["old"] = stored.pop("ratio")
    assert SPEC.differences(stored) == [
        "old: only in the stored one",
        "gain_db: low is -60, stored -48",
        "ratio: only in this one",
    ]


def test_joined_names() -> None:
    both = joined({"eq": SPEC, "comp": SPEC})
    assert both.size == 6
    assert both.names[3] == "comp.gain_db"
    assert split_name("eq.gain_db") == ("eq", "gain_db")


def test_a_bad_declaration_fails() -> None:
    with pytest.raises(SettingsError, match="default 3 lies outside"):
        Param(0, 1, 3, "dB")
    with pytest.raises(SettingsError, match="log scale needs a range above 0"):
        Param(0, 1, 0.5, "Hz", "log")


def test_a_limit_that_float32_rounds_is_allowed_as_declared() -> None:
    spec = ParamSpec({"pan": Param(-0.2, -0.1, -0.1, "")})
    assert spec.check({"pan": -0.1}) == {"pan": -0.1}
    assert spec.check({"pan": -0.2}) == {"pan": -0.2}
    with pytest.raises(SettingsError):
        spec.check({"pan": -0.0999999})
