"""Positions read from Linq's replies."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.observation import Fault, Features, InvalidFeature, Position
from worker.linq.positions import read_features

NOW = 1_791_797_500.0  # 2026-10-12T09:31:40Z
PARIS = Position("+12025550147", 2.25, 48.5, None, None, None, None)


def feature(coordinates: object = (2.25, 48.5), **properties: object) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": coordinates},
        "properties": {"handle": "+12025550147", **properties},
    }


def reply(*features: object) -> bytes:
    return json.dumps({"success": True, "data": {"type": "FeatureCollection", "features": list(features)}}).encode()


def read(body: bytes) -> Features:
    features = read_features(body, now=NOW)
    assert isinstance(features, Features)
    return features


def test_the_documented_reply_is_read() -> None:
    body = b"""{ "success": true, "data": { "type": "FeatureCollection", "features": [ { "type": "Feature",
        "geometry": { "type": "Point", "coordinates": [-0.1195, 51.5033] },
        "properties": { "handle": "+12025550147", "address": "County Hall, London", "locality": "London",
        "updated_at": "2026-10-12T09:31:18Z" } } ] } }"""
    position = Position(
        "+12025550147", -0.1195, 51.5033, None, "County Hall, London", "London", 1_791_797_478_000_000_000
    )
    assert read(body) == Features([position], [])


def test_nobody_sharing_is_a_success() -> None:
    assert read(reply()) == Features([], [])


def test_a_bare_collection_is_read() -> None:
    body = json.dumps({"type": "FeatureCollection", "features": [feature()]}).encode()
    assert read(body) == Features([PARIS], [])


def test_success_may_be_absent_or_null() -> None:
    assert read(b'{"data": {"features": []}}') == Features([], [])
    assert read(b'{"success": null, "data": {"features": []}}') == Features([], [])


def test_unknown_fields_are_ignored_everywhere() -> None:
    odd = feature(accuracy=5, battery={"level": 1})
    odd["id"] = 7
    odd["geometry"]["bbox"] = [1]
    assert read(reply(odd)).positions == [PARIS]


@pytest.mark.parametrize(
    ("coordinates", "longitude", "latitude", "altitude"),
    [
        ([2, 48], 2.0, 48.0, None),
        ([180, 90], 180.0, 90.0, None),
        ([-180.0, -90.0, -12.5], -180.0, -90.0, -12.5),
        ([0, 0, 0], 0.0, 0.0, 0.0),
        ([2.5, 48.5, None], 2.5, 48.5, None),
        ([2.5, 48.5, 35, 4.0, 5.0], 2.5, 48.5, 35.0),
    ],
)
def test_two_or_three_numbers_are_read_longitude_first(
    coordinates: list[float], longitude: float, latitude: float, altitude: float | None
) -> None:
    (position,) = read(reply(feature(coordinates))).positions
    assert (position.longitude, position.latitude, position.altitude) == (longitude, latitude, altitude)
    assert type(position.longitude) is float


@pytest.mark.parametrize(
    "coordinates",
    [
        None,
        [],
        [2.25],
        "2.25,48.5",
        [[2.25, 48.5]],
        ["2.25", "48.5"],
        [True, False],
        [None, 48.5],
        [2.25, None],
        [180.0001, 0],
        [-181, 0],
        [48.5, 90.0001],
        [48.5, -91],
        [10**400, 1],
        [2.25, 48.5, "high"],
        [2.25, 48.5, True],
    ],
)
def test_coordinates_that_are_none_cost_only_their_feature(coordinates: object) -> None:
    features = read(reply(feature(coordinates), feature()))
    assert features.positions == [PARIS]
    assert len(features.invalid) == 1


def test_numbers_too_large_for_a_float_cost_only_their_feature() -> None:
    body = reply(feature(), feature(), feature())
    body = body.replace(b"2.25", b"1e999", 1)
    body = body[::-1].replace(b"5.84", b"999e1", 1)[::-1]
    features = read(body)
    assert features.positions == [PARIS]
    assert len(features.invalid) == 2


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_not_finite_cost_only_their_feature(text: str) -> None:
    body = reply(feature(), feature()).replace(b"2.25", text.encode(), 1)
    reason = "the longitude is not a number from -180 to 180"
    assert read(body) == Features([PARIS], [InvalidFeature("+12025550147", reason)])


@pytest.mark.parametrize("text", ["NaN", "1e999", "9" * 5000])
def test_an_altitude_that_is_no_number_is_left_out(text: str) -> None:
    assert read(reply(feature([2.25, 48.5, 7])).replace(b", 7]", f", {text}]".encode())) == Features([PARIS], [])


@pytest.mark.parametrize(
    "broken",
    [
        None,
        7,
        [],
        "feature",
        {},
        {"type": "Feature", "geometry": None, "properties": {"handle": "+12025550147"}},
        {**feature(), "geometry": {"type": "Polygon", "coordinates": [1, 2]}},
        {**feature(), "geometry": {"coordinates": [1, 2]}},
        {**feature(), "properties": None},
        {**feature(), "properties": {}},
        feature(handle=None),
        feature(handle=12025550147),
        feature(handle=""),
        feature(handle="somebody"),
        feature(updated_at="yesterday"),
        feature(updated_at=1791797478),
        feature(updated_at=True),
        feature(updated_at="2026-10-12T09:41:41Z"),
        feature(updated_at="9999-12-31T23:59:59Z"),
    ],
)
def test_a_broken_feature_is_named_and_the_others_survive(broken: object) -> None:
    features = read(reply(feature(), broken, feature(locality="Paris")))
    assert [position.locality for position in features.positions] == [None, "Paris"]
    (invalid,) = features.invalid
    assert invalid.reason
    for secret in ("12025550147", "somebody", "yesterday", "1791797478", "2026"):
        assert secret not in invalid.reason


@pytest.mark.parametrize(
    "broken",
    [
        {**feature(), "geometry": None},
        {**feature(), "geometry": {"type": "Polygon", "coordinates": [1, 2]}},
        feature([]),
        feature([181, 0]),
        feature([0, None]),
        feature(["2.25", "48.5"]),
        feature(updated_at="yesterday"),
        feature(updated_at=7),
        feature(updated_at="9999-12-31T23:59:59Z"),
        feature(handle="1 (202) 555-0147", updated_at="yesterday"),
    ],
)
def test_a_broken_feature_that_names_its_owner_is_that_contacts(broken: object) -> None:
    assert [invalid.handle for invalid in read(reply(broken)).invalid] == ["+12025550147"]


@pytest.mark.parametrize(
    "broken", [None, 7, {}, {**feature(), "properties": None}, feature(handle=None), feature(handle="somebody")]
)
def test_a_broken_feature_without_a_usable_handle_may_be_anybodys(broken: object) -> None:
    assert [invalid.handle for invalid in read(reply(broken, feature())).invalid] == [None]


def test_a_handle_with_a_character_that_cannot_be_read_is_nobodys() -> None:
    body = reply(feature(handle="ann@icloud.com"), feature()).replace(b"ann@", b"an\\ud83d@")
    features = read(body)
    assert features.positions == [PARIS]
    assert [invalid.handle for invalid in features.invalid] == [None]


@pytest.mark.parametrize("damage", [rb"\ud83d", rb"\udc00\ud83d", b"\xe9", b"a\nb", rb"\x41"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_a_bad_character_costs_itself_wherever_it_is(damage: bytes, bom: bytes) -> None:
    body = bom + reply(feature(address="street", note="unread"), feature(locality="Paris"))
    read_where = body.replace(b"street", b"str" + damage)
    (position, other) = read(read_where).positions
    assert (position.address or "").startswith("str")
    assert other.locality == "Paris"
    read_nowhere = body.replace(b"unread", damage).replace(b'"note"', b'"' + damage + b'"')
    assert [position.address for position in read(read_nowhere).positions] == ["street", None]


@pytest.mark.parametrize("name", ["address", "locality"])
@pytest.mark.parametrize("value", [None, "", 7, True, ["x"], {"street": "x"}])
def test_an_address_that_is_no_text_counts_as_absent(name: str, value: object) -> None:
    assert read(reply(feature(**{name: value}))) == Features([PARIS], [])


@pytest.mark.parametrize("updated_at", [None, ""])
def test_updated_at_may_be_missing(updated_at: str | None) -> None:
    assert read(reply(feature(updated_at=updated_at))) == Features([PARIS], [])


def test_a_clock_ten_minutes_ahead_is_believed() -> None:
    (position,) = read(reply(feature(updated_at="2026-10-12T09:41:40Z"))).positions
    assert position.updated_at == 1_791_798_100_000_000_000


def test_nanoseconds_are_kept() -> None:
    (position,) = read(reply(feature(updated_at="2026-10-12T09:31:18.123456789Z"))).positions
    assert position.updated_at == 1_791_797_478_123_456_789


def test_handles_are_normalized() -> None:
    features = read(reply(feature(handle="1 (202) 555-0147"), feature(handle="Ann@iCloud.com")))
    assert [position.handle for position in features.positions] == ["+12025550147", "ann@icloud.com"]


def test_positions_come_in_order_of_time_and_none_is_dropped() -> None:
    times = ["2026-10-12T09:31:18Z", None, "2026-10-12T09:31:16Z", "2026-10-12T09:31:17Z"]
    features = read(reply(*(feature(updated_at=text) for text in times)))
    assert [position.updated_at for position in features.positions] == [
        None,
        1_791_797_476_000_000_000,
        1_791_797_477_000_000_000,
        1_791_797_478_000_000_000,
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b"<html>busy</html>",
        b'{"success": true',
        b'{"success": true}',
        b'{"success": true, "data": null}',
        b'{"success": true, "data": []}',
        b'{"success": true, "data": {}}',
        b'{"success": true, "data": {"features": null}}',
        b'{"success": true, "data": {"features": {}}}',
        b'{"success": true, "data": {"features": "none"}}',
        b'{"success": true, "features": null}',
        b'{"success": false, "data": {"features": []}}',
        b'{"success": false, "data": {"features": [7]}}',
        b'{"success": "yes", "data": {"features": []}}',
        b'{"success": 1, "features": []}',
        b'{"data": {"features": []}} trailing',
        b"\xff\xfe",
        b"[" * 500_000,
        b'{"data":' * 100_000,
    ],
)
def test_a_reply_without_a_list_of_features_is_malformed(body: bytes) -> None:
    fault = read_features(body, now=NOW)
    assert isinstance(fault, Fault)
    assert fault.kind == "malformed"


def test_deep_nesting_costs_only_its_feature() -> None:
    deep = json.dumps(feature())[:-1].encode() + b', "x": ' + b"[" * 5000 + b"]" * 5000 + b"}"
    body = reply(feature(), "HERE").replace(b'"HERE"', deep)
    assert isinstance(read_features(body, now=NOW), Features | Fault)


numbers = st.one_of(st.floats(), st.integers(), st.none(), st.booleans(), st.text(max_size=5))
texts = st.one_of(st.none(), st.text(max_size=30), st.integers(), st.just("+12025550147"))
features_of_any_shape = st.recursive(
    st.one_of(
        st.none(),
        st.text(max_size=5),
        st.builds(
            lambda coordinates, handle, address, updated_at: feature(
                coordinates, handle=handle, address=address, updated_at=updated_at
            ),
            st.lists(numbers, max_size=4),
            texts,
            texts,
            texts,
        ),
    ),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)


def assert_sound(outcome: Features | Fault) -> None:
    if isinstance(outcome, Features):
        for position in outcome.positions:
            assert -180 <= position.longitude <= 180
            assert -90 <= position.latitude <= 90
            assert position.handle


@given(st.lists(features_of_any_shape, max_size=4))
def test_features_of_any_shape_give_positions_and_reasons_for_all(features: list[object]) -> None:
    outcome = read_features(reply(*features), now=NOW)
    assert_sound(outcome)
    if isinstance(outcome, Features):
        assert len(outcome.positions) + len(outcome.invalid) == len(features)


@given(st.binary())
def test_arbitrary_bytes_never_raise(body: bytes) -> None:
    assert_sound(read_features(body, now=NOW))


@given(st.data())
def test_damaged_replies_never_raise(data: st.DataObject) -> None:
    body = bytearray(reply(feature(address="Paris", updated_at="2026-10-12T09:31:18Z"), feature()))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    assert_sound(read_features(bytes(body), now=NOW))
