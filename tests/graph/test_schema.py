"""The schema of graphs: shipped as it is made, true of what is written, false of what is broken."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import diffmix.graph
from diffmix.errors import GraphError
from diffmix.graph import Graph, random_graph
from diffmix.graph.schema import schema

SHIPPED = Path(diffmix.graph.__file__).parent / "graph.schema.json"


def test_the_schema_shipped_is_the_generated_one() -> None:
    """``python tests/graph/test_schema.py`` writes it anew."""
    assert json.loads(SHIPPED.read_text(encoding="utf-8")) == schema()
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("seed", range(5))
def test_graphs_are_valid(seed: int) -> None:
    jsonschema.Draft202012Validator(schema()).validate(random_graph(seed).to_dict())


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(version=2),
        lambda data: data.update(colour="red"),
        lambda data: data["nodes"][0].update(name="a:b"),
        lambda data: data["nodes"].append({"name": "x", "kind": "Compresor"}),
        lambda data: data["nodes"].append({"name": "x", "kind": "Gain", "values": {"gain_db": 100}}),
        lambda data: data["nodes"].append({"name": "x", "kind": "Gain", "values": {"gain": 1}}),
        lambda data: data["edges"][0].update(gain_db="loud"),
        lambda data: data["edges"][0].update(gain_db=None),
        lambda data: data["edges"][0].pop("to"),
    ],
)
def test_mistakes_are_not_and_no_graph_is_made_of_them(change: Any) -> None:
    data = json.loads(random_graph(1).to_json())
    change(data)
    assert not jsonschema.Draft202012Validator(schema()).is_valid(data)
    with pytest.raises(GraphError):
        Graph.from_dict(data)


if __name__ == "__main__":
    SHIPPED.write_text(json.dumps(schema(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
