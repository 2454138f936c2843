"""Names of fields that Linq has added to positions are found wherever they are, and never their values."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.linq.unknown_fields import OTHER, unknown_fields

PROPERTIES = {"handle": "+12025550147", "address": None, "locality": "London", "updated_at": None}


def feature(properties: Any = PROPERTIES, **others: Any) -> dict[str, Any]:
    geometry = {"type": "Point", "coordinates": [-0.1195, 51.5033]}
    return {"type": "Feature", "geometry": geometry, "properties": properties, **others}


def wrapped(*features: Any) -> bytes:
    return json.dumps({"success": True, "data": {"type": "FeatureCollection", "features": features}}).encode()


def test_a_position_as_documented_has_none() -> None:
    assert unknown_fields(wrapped(feature(), feature())) == []


def test_names_are_paths_within_the_feature_and_each_is_told_once() -> None:
    added = feature({**PROPERTIES, "speed": 1.5, "accuracy": {"metres": 5}}, id="7")
    added["geometry"]["precision"] = 3
    names = ["geometry.precision", "id", "properties.accuracy", "properties.speed"]
    assert unknown_fields(wrapped(added, added, feature())) == names
    assert unknown_fields(json.dumps({"features": [added]}).encode()) == names


@pytest.mark.parametrize("name", ["+12025550147", "anna@example.org", "Rue de la Paix", "x" * 41, "", "7", "größe"])
def test_a_name_that_may_be_data_is_not_told(name: str) -> None:
    assert unknown_fields(wrapped(feature({**PROPERTIES, name: 1}))) == [f"properties.{OTHER}"]


@pytest.mark.parametrize("body", [b"", b"[1]", b"{}", b'{"data": null}', b'{"features": [null, 7, {"geometry": 1}]}'])
def test_what_holds_no_features_has_none(body: bytes) -> None:
    assert unknown_fields(body) == []


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON, JSON)
def test_any_reply_can_be_looked_through(geometry: Any, properties: Any, data: Any) -> None:
    body = wrapped({"geometry": geometry, "properties": properties}, data)
    assert all(len(name) <= len("properties.") + 40 for name in unknown_fields(body))
    unknown_fields(json.dumps(data).encode())
