import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmix.errors import SettingsError
from diffmix.settings import Settings, shortest

MIX = Settings(tracks={"vox": {"pan": {"pan": 0.25}, "fader": {"gain_db": -3.1}}}, buses={}, master={})


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_shortest_is_exact_in_float32(value: float) -> None:
    assert struct.pack("f", shortest(value)) == struct.pack("f", value)


def test_shortest_reads_as_a_person_writes() -> None:
    assert repr(shortest(struct.unpack("f", struct.pack("f", -3.3))[0])) == "-3.3"


def test_json_round_trip(tmp_path: Path) -> None:
    MIX.to_json(tmp_path / "s.json")
    assert Settings.from_json(tmp_path / "s.json") == MIX
    assert Settings.from_json(MIX.to_json()) == MIX
    assert Settings.from_json("\ufeff" + MIX.to_json()) == MIX
    (tmp_path / "s.json").write_text(MIX.to_json(), encoding="utf-8-sig")  # as some editors save it
    assert Settings.from_json(tmp_path / "s.json") == MIX


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        (" \n", "an empty text is not settings; JSON text or the name of a file is needed"),
        ('{"master": {"gain": {}, "gain": {}}}', "the given text holds 'gain' twice in one place"),
        ('{"format": "other"}', "does not hold settings"),
        ('{"format": "diffmix-settings", "version": 99}', "has version 99, this diffmix reads version 1"),
        ('{"format": "diffmix-settings", "version": 1, "master": {"gain": {"gain_db": "loud"}}}',
         "master / gain / gain_db is 'loud', a number is expected"),
    ],
)  # fmt: skip
def test_other_files_are_refused(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.from_json(text)


def test_a_number_that_no_machine_holds_is_read_as_infinite() -> None:
    huge = Settings.from_json(Settings(master={"gain": {"gain_db": 10**400}}).to_json())
    assert huge.table() == "master / gain: gain_db inf"  # which no knob allows


def test_a_missing_file_is_named() -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.json cannot be read as settings"):
        Settings.from_json("nowhere.json")


def test_parts_are_mappings() -> None:
    assert MIX.part("tracks") is MIX["tracks"]
    assert Settings().part("master") == {}
    with pytest.raises(SettingsError, match="buses is None; names, and what each stands for, are expected"):
        Settings(buses=None).part("buses")


def test_table_and_flat() -> None:
    assert MIX.table().splitlines()[0] == "tracks / vox / pan: pan 0.25"
    assert dict(MIX.flat())["tracks", "vox", "fader", "gain_db"] == -3.1
