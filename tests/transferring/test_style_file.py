"""Style files: the schema that ships is true of what is written, and false of what is broken."""

import copy
import json
from collections.abc import Callable
from importlib.resources import files

import jsonschema
import pytest
import torch

from diffmix.errors import SettingsError
from diffmix.estimators import style_features
from diffmix.estimators.treatment import Treatment
from diffmix.transferring import transfer
from diffmix.transferring.report import belief
from diffmix.transferring.style import Reference, Style
from tests.transferring.stand_in import RATE, StandIn, song, treatment

SCHEMA = json.loads((files("diffmix.transferring") / "style.schema.json").read_text(encoding="utf-8"))


def heard() -> Style:
    features = torch.randn(2, style_features.SIZE, generator=torch.Generator().manual_seed(0))
    return Style((Reference("a song", features, -14.0, 11500.0, False, False, 1.0),))


def test_the_schema_is_true_of_what_is_written_and_it_comes_back() -> None:
    words = Style((), Treatment.neutral(), words="warm")
    for style in (heard(), heard().with_treatment(Treatment.neutral(), "music"), words):
        data = json.loads(json.dumps(style.to_dict()))
        jsonschema.validate(data, SCHEMA)
        again = Style.from_dict(data)
        assert again.to_dict() == data
        assert again.name == style.name
    nothing = {**words.to_dict(), "treatment": None}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(nothing, SCHEMA)
    with pytest.raises(SettingsError, match="neither a reference nor a treatment"):
        Style.from_dict(nothing)


@pytest.mark.parametrize("missing", ["format", "references", "treatment"])
def test_the_schema_is_false_of_what_is_broken(missing: str) -> None:
    data = heard().with_treatment(Treatment.neutral(), "music").to_dict()
    broken = {name: value for name, value in data.items() if name != missing}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, SCHEMA)
    longer = copy.deepcopy(data)
    longer["treatment"]["eq_db"].append(0.0)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(longer, SCHEMA)


@pytest.mark.parametrize(
    ("number", "value"), [("weight", -1.0), ("weight", 0.0), ("band_hz", 0.0), ("loudness_lufs", float("nan"))]
)
def test_numbers_that_no_reference_has_are_refused(number: str, value: float) -> None:
    data = heard().to_dict()
    data["references"][0][number] = value
    with pytest.raises(SettingsError, match=r"the style (is damaged|has no reference that counts)"):
        Style.from_dict(data)


def test_a_style_says_what_cannot_be_asked_of_it(believing: Callable[..., StandIn]) -> None:
    believing(treatment(4))
    done = heard().with_treatment(treatment(4), "music")
    x = song(2.0)
    with pytest.raises(SettingsError, match="done again: weights, gate, candidates cannot be asked for there"):
        transfer(x, done, sample_rate=RATE, weights=[2], gate="bold", candidates=2)
    with pytest.raises(SettingsError, match="a style has weights of its own: weights cannot be asked for there"):
        transfer(x, done, sample_rate=RATE, weights=[2], mode="different-source", gate="bold", candidates=2)
    with pytest.raises(SettingsError, match="the style of 'warm' was made of words"):
        transfer(x, Style((), words="warm"), sample_rate=RATE)
    with pytest.raises(SettingsError, match="stems are mixed like a recording; a style came"):
        transfer({"a": x, "b": x}, done, sample_rate=RATE)


@pytest.mark.parametrize(("acted", "said"), [(True, "was done again"), (False, "Nothing was done")])
def test_what_is_said_of_a_style_is_what_was_done(acted: bool, said: str) -> None:
    assert said in belief({"route": "style", "acted": acted})
