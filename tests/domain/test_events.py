"""The events as they are published: their envelope, their data, and the schemas that consumers check them with."""

import json
from typing import Any

import jsonschema
import msgspec
import pytest

from tests.support.lives import events_of_every_type
from tests.support.schemas import FOLDER, schema_files
from tests.support.tracking import ANNA, CHAT, SHARE, TrackedChat, listing, position
from worker.domain import events
from worker.domain.events import EVENT_TYPES, Event, make_event, schema

HEAD = {"chat_id": CHAT, "share_id": SHARE}
TIME = "2026-09-21T14:13:20Z"


def validator(event_type: str) -> jsonschema.Draft202012Validator:
    made = schema(event_type)
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)


def feature(**changes: Any) -> dict[str, Any]:
    properties = HEAD | {
        "handle": ANNA,
        "latitude": 52.5,
        "longitude": 13.4,
        "altitude": None,
        "address": None,
        "locality": None,
        "updated_at": None,
        "received_at": TIME,
    }
    return {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [13.4, 52.5]},
        "properties": properties | changes,
    }


def test_the_published_schemas_are_those_of_the_models() -> None:
    written = {path.name: json.loads(path.read_text()) for path in FOLDER.glob("*")}
    made = {name: json.loads(text) for name, text in schema_files().items()}
    assert written == made, "run `python -m tests.support.schemas`, and mind who relies on these events"


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_every_type_has_a_schema_under_the_name_that_its_events_carry(event_type: str) -> None:
    made = schema(event_type)
    assert made["$id"] == f"urn:location-worker:{event_type}:1"
    assert made["type"] == "object"
    jsonschema.Draft202012Validator.check_schema(made)


def test_there_is_no_schema_of_another_type() -> None:
    with pytest.raises(KeyError):
        schema("location.moved")


def test_every_event_of_a_shares_life_fits_its_schema() -> None:
    told = events_of_every_type()
    for event in told:
        validator(event.type).validate(json.loads(event.data))
    assert {event.type for event in told} == {name for name in EVENT_TYPES if not name.startswith("location.pin")}


def test_pins_fit_their_schemas_and_carry_their_idempotency_key_as_id() -> None:
    queued = events.PinQueued("m1", "line1", None, events.PinLocation(51.5, -0.1, label="Eye"))
    failed = events.PinFailed(4001, "no", "order 7")
    made: list[Event] = [
        make_event(data, scope="key-1", source="/chert", subject="", time=TIME, sequence=1, reference="")
        for data in (queued, failed)
    ]
    assert [(event.id, event.type, event.sequence) for event in made] == [
        ("key-1", "location.pin.queued", 1),
        ("key-1", "location.pin.failed", 1),
    ]
    for event in made:
        validator(event.type).validate(json.loads(event.data))


@pytest.mark.parametrize(
    ("event_type", "wrong"),
    [
        ("location.requested", HEAD),
        ("location.requested", HEAD | {"expires_at": "tomorrow"}),
        ("location.requested", {"chat_id": "c", "share_id": SHARE, "expires_at": TIME}),
        (
            "location.sharing.started",
            HEAD | {"handle": ANNA, "began_at": None, "ends_at": None, "detected_by": "guess"},
        ),
        ("location.sharing.stopped", HEAD | {"handle": "", "ended_at": TIME, "reason": "stopped"}),
        ("location.sharing.stopped", HEAD | {"handle": ANNA, "ended_at": None, "reason": "stopped"}),
        ("location.tracking.ended", HEAD | {"reason": "bored"}),
        ("location.updated", feature(latitude=91)),
        ("location.updated", feature(handle=None)),
        ("location.updated", feature(updated_at="14:13")),
        ("location.updated", feature() | {"geometry": {"type": "Point", "coordinates": [13.4]}}),
        ("location.updated", feature() | {"geometry": {"type": "Point", "coordinates": [200, 52.5]}}),
        ("location.updated", feature() | {"geometry": {"type": "LineString", "coordinates": [13.4, 52.5]}}),
    ],
)
def test_the_schemas_refuse_what_is_not_the_contracts(event_type: str, wrong: dict[str, Any]) -> None:
    assert not validator(event_type).is_valid(wrong)


def test_the_schema_of_a_position_takes_altitudes_and_fields_to_come() -> None:
    higher = feature() | {"geometry": {"type": "Point", "coordinates": [13.4, 52.5, 30.0]}}
    assert validator("location.updated").is_valid(higher)
    assert validator("location.updated").is_valid(feature(accuracy=5))


def test_an_altitude_is_the_third_coordinate() -> None:
    chat = TrackedChat(asked=False)
    chat.read(listing(msgspec.structs.replace(position(), altitude=30.5)))
    [data] = chat.data("updated")
    assert data["geometry"]["coordinates"] == [13.4, 52.5, 30.5]
    assert data["properties"]["altitude"] == 30.5
