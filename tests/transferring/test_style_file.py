"""Style files: the schema that ships is true of what is written, and false of what is broken."""

import copy
import json
from importlib.resources import files

import jsonschema
import pytest
import torch

from diffmix.estimators import style_features
from diffmix.estimators.treatment import Treatment
from diffmix.transferring.style import Reference, Style

SCHEMA = json.loads((files("diffmix.transferring") / "style.schema.json").read_text(encoding="utf-8"))


def heard() -> Style:
    features = torch.randn(2, style_features.SIZE, generator=torch.Generator().manual_seed(0))
    return Style((Reference("a song", features, -14.0, 11500.0, False, False, 1.0),))


def test_the_schema_is_true_of_what_is_written_and_it_comes_back() -> None:
    for style in (heard(), heard().with_treatment(Treatment.neutral(), "music")):
        data = json.loads(json.dumps(style.to_dict()))
        jsonschema.validate(data, SCHEMA)
        again = Style.from_dict(data)
        assert again.to_dict() == data


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
