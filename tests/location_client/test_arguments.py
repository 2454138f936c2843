"""Arguments are checked before a job is queued; a message says what is accepted, and never quotes a person or place."""

import re
from typing import Any

import pytest

from location_client import Job, LocationClient, Place
from tests.location_client.samples import CHAT

ANNA = "+12025550147"
LINE = "+14155550100"
HOME: Place = {"name": "home", "latitude": 51.5, "longitude": -0.1, "radius": 100}


def refusal(function: str, arguments: dict[str, Any]) -> str:
    with pytest.raises(ValueError, match=f"^{function}: ") as caught:
        Job.checked(function, arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("request_location", {"chat_id": CHAT.upper(), "reference": "№ 7", "accept_within": 0.5}),
        ("request_location", {"to": ANNA, "from_": LINE, "message": "Where are you?"}),
        ("request_location", {"chat_id": CHAT, "follow": False, "max_age": 60, "stop_when_done": True}),
        ("track_location", {"chat_id": CHAT, "places": [HOME], "until": "home"}),
        ("track_location", {"chat_id": CHAT, "min_interval": 60, "max_interval": 60}),
        ("set_places", {"chat_id": CHAT, "places": []}),
        ("send_pin", {"phone": ANNA, "latitude": 0, "longitude": 180, "idempotency_key": "k" * 200}),
        ("send_pin", {"chat_id": "iMessage;-;+12025550147", "latitude": 0, "longitude": 0}),
        ("something_newer", {"anything": 1}),
    ],
)
def test_what_a_worker_takes_is_taken(function: str, arguments: dict[str, Any]) -> None:
    job = Job.checked(function, arguments)
    assert job.arguments == {name.rstrip("_"): value for name, value in arguments.items()}


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("request_location", {"chat_id": "7"}, "chat_id: given '7'; accepted: a UUID such as"),
        ("request_location", {}, "give chat_id, or both to and from"),
        ("request_location", {"to": ANNA}, "give chat_id, or both to and from"),
        ("request_location", {"chat_id": CHAT, "to": ANNA, "from_": LINE}, "give chat_id, or both to and from"),
        ("request_location", {"chat_id": CHAT, "from_": LINE}, "give chat_id, or both to and from"),
        ("request_location", {"chat_id": CHAT, "message": "Hello"}, "leave it out if there is a chat_id"),
        ("request_location", {"to": "12025550147", "from_": LINE}, "to: accepted: a phone number with +"),
        ("request_location", {"chat_id": CHAT, "follow": 1}, "follow: given 1; accepted: true or false"),
        (
            "request_location",
            {"chat_id": CHAT, "follow_for": 10**9},
            "follow_for: given 1000000000; accepted: a number",
        ),
        ("request_location", {"chat_id": CHAT, "max_age": 60}, "max_age: it only goes with follow=false"),
        ("request_location", {"chat_id": CHAT, "reference": "x" * 129}, "accepted: 1 to 128 printable characters"),
        ("track_location", {"chat_id": CHAT, "accept_within": 5}, "accept_within: no such argument; there are chat_id"),
        ("track_location", {"chat_id": CHAT, "min_interval": 9, "max_interval": 3}, "9 is above max_interval 3"),
        ("track_location", {"chat_id": CHAT, "until": "home"}, "until: it names none of the places"),
        ("track_location", {"chat_id": CHAT, "places": [HOME], "until": "work"}, "until: it names none of the places"),
        ("track_location", {"chat_id": CHAT, "places": [HOME, HOME]}, "places: two have the same name"),
        ("set_places", {"chat_id": CHAT}, "places: missing; accepted: at most 16 places"),
        ("set_places", {"chat_id": CHAT, "places": [HOME] * 17}, "places: accepted: at most 16 places"),
        (
            "set_places",
            {"chat_id": CHAT, "places": [{**HOME, "size": 1}]},
            "places.0.size: no such field; there are name, latitude, longitude, radius",
        ),
        (
            "set_places",
            {"chat_id": CHAT, "places": [{**HOME, "radius": 19}]},
            "places.0.radius: given 19; accepted: metres",
        ),
        ("untrack_location", {}, "chat_id: missing; accepted: a UUID"),
        ("stop_sharing", {"chat_id": CHAT, "handle": "anna"}, "handle: accepted: a phone number with +"),
        ("send_pin", {"phone": ANNA}, "latitude: missing; accepted: degrees from -90 to 90"),
        ("send_pin", {"latitude": 0, "longitude": 0}, "a pin has one recipient: give phone or chat_id"),
        ("send_pin", {"phone": "a@example.org", "latitude": 0, "longitude": 0}, "phone: accepted: a phone number"),
        (
            "send_pin",
            {"phone": ANNA, "latitude": 0, "longitude": 0, "url": "maps"},
            "url: accepted: an http:// or https://",
        ),
        (
            "send_pin",
            {"phone": ANNA, "latitude": 0, "longitude": 0, "idempotency_key": "k" * 201},
            "accepted: 1 to 200 bytes of printable ASCII",
        ),
    ],
)
def test_what_none_would_take_is_refused(function: str, arguments: dict[str, Any], message: str) -> None:
    assert message in refusal(function, arguments)


def test_every_wrong_argument_is_named() -> None:
    message = refusal("request_location", {"chat_id": CHAT, "follow": "no", "follow_for": -1, "often": True})
    assert re.findall(r"(\w+):", message) == [
        "request_location",
        "follow",
        "accepted",
        "follow_for",
        "accepted",
        "often",
    ]


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("request_location", {"to": "secret", "from_": "secret", "message": 7}),
        (
            "send_pin",
            {"phone": "secret", "latitude": 91.77, "longitude": "91.77", "label": "secret\n", "address": "secret\t"},
        ),
        (
            "set_places",
            {"chat_id": CHAT, "places": [{**HOME, "name": "secret\n", "latitude": 91.77}], "until": "secret"},
        ),
        ("forget_handle", {"handle": "secret"}),
    ],
)
def test_no_message_says_who_or_where_somebody_is(function: str, arguments: dict[str, Any]) -> None:
    message = refusal(function, arguments)
    assert "secret" not in message
    assert "91.77" not in message


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"timeout": True}, {"follow": True}, {"max_age": 0}, {"speed": 1}])
async def test_a_wrong_argument_of_locate_is_named_before_anything_is_queued(
    client: LocationClient, wrong: dict[str, Any]
) -> None:
    [name] = wrong
    with pytest.raises(ValueError, match=name):
        await client.locate(CHAT, **wrong)
    assert await client.redis.exists(client.queue_name) == 0


async def test_locate_says_how_long_it_has_waited(client: LocationClient) -> None:
    with pytest.raises(TimeoutError, match="no position within"):
        await client.locate(CHAT, timeout=0.1)
