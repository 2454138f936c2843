"""The client's types for data and results match what the worker writes."""

import json
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest

from location_client import Event

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


def types_of_data() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for member in get_args(Event):
        names, data = get_args(member)
        assert get_origin(names) is Literal
        found |= dict.fromkeys(get_args(names), data)
    return found


def objects(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return every object in a schema by its path, following references."""
    definitions = schema.get("$defs", {})
    found: dict[str, dict[str, Any]] = {}

    def follow(node: dict[str, Any], place: str) -> None:
        if "$ref" in node:
            node = definitions[node["$ref"].rpartition("/")[2]]
        if node.get("type") == "object":
            found[place] = node
            for name, inner in node["properties"].items():
                follow(inner, f"{place}.{name}")

    follow(schema, "data")
    return found


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.stem)
def test_the_type_of_data_is_the_schema_of_the_worker(path: Path) -> None:
    published = json.loads(path.read_text())
    ours = objects(msgspec.json.schema(types_of_data()[published["title"]]))
    for place, node in objects(published).items():
        assert set(ours[place]["properties"]) == set(node["properties"]), place
        assert set(ours[place]["required"]) == set(node["required"]), place
        for name, value in node["properties"].items():
            assert set(value.get("enum", ())) <= set(ours[place]["properties"][name].get("enum", ())), f"{place}.{name}"
