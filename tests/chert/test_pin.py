"""What makes a pin, and the bytes it becomes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from worker.chert.pin import Pin

MINIMAL: dict[str, Any] = {
    "phone": "+12025550147",
    "latitude": 51.5033,
    "longitude": -0.1196,
    "idempotency_key": "pin-7f3a",
}


def pin(**fields: object) -> Pin:
    return Pin.model_validate({**MINIMAL, **fields})


def test_the_least_pin_says_auto_and_leaves_out_what_is_absent() -> None:
    assert pin().body() == (
        b'{"phone":"+12025550147","latitude":51.5033,"longitude":-0.1196,"fallback_mode":"auto",'
        b'"idempotency_key":"pin-7f3a"}'
    )


def test_a_full_pin_has_every_field() -> None:
    body = json.loads(
        pin(
            label="Café 東京 🗼",
            address="Riverside Building",
            url="https://maps.example.org/?q=1",
            fallback_mode="geo_url",
            expires_at="2026-10-12T20:00:00+02:00",
            phone_line_id="pl_14155550100",
            external_id="order-20881",
        ).body()
    )
    assert body == {
        **MINIMAL,
        "label": "Café 東京 🗼",
        "address": "Riverside Building",
        "url": "https://maps.example.org/?q=1",
        "fallback_mode": "geo_url",
        "expires_at": "2026-10-12T18:00:00Z",
        "phone_line_id": "pl_14155550100",
        "external_id": "order-20881",
    }


def test_the_order_of_arguments_does_not_change_the_bytes() -> None:
    assert Pin.model_validate(dict(reversed(MINIMAL.items()))).body() == pin().body()


def test_a_chat_of_chert_stands_in_for_the_phone() -> None:
    body = json.loads(pin(phone=None, chat_id="iMessage;+;chat42").body())
    assert body["chat_id"] == "iMessage;+;chat42"
    assert "phone" not in body


def test_phones_are_normalized_and_whole_degrees_are_numbers() -> None:
    assert pin(phone="+1 (202) 555-0147", latitude=-90, longitude=180).body() == (
        b'{"phone":"+12025550147","latitude":-90.0,"longitude":180.0,"fallback_mode":"auto",'
        b'"idempotency_key":"pin-7f3a"}'
    )


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"phone": None}, "exactly one of phone and chat_id"),
        ({"chat_id": "iMessage;+;chat42"}, "exactly one of phone and chat_id"),
        ({"phone": "2025550147"}, "country code"),
        ({"phone": "ann@icloud.com"}, "e-mail address cannot receive a pin"),
        ({"phone": 12025550147}, "valid string"),
        ({"latitude": 90.1}, "degrees from -90 to 90"),
        ({"latitude": -91}, "degrees from -90 to 90"),
        ({"longitude": 180.5}, "degrees from -180 to 180"),
        ({"latitude": float("nan")}, "degrees from -90 to 90"),
        ({"longitude": float("inf")}, "degrees from -180 to 180"),
        ({"latitude": "51.5"}, "valid number"),
        ({"latitude": True}, "valid number"),
        ({"latitude": None}, "valid number"),
        ({"fallback_mode": "vcard"}, "accepted: auto, balloon, geo_url"),
        ({"expires_at": "tomorrow"}, "RFC 3339"),
        ({"expires_at": 1791797405}, "valid string"),
        ({"url": "maps.example.org"}, "http:// or https://"),
        ({"url": "ftp://maps.example.org"}, "http:// or https://"),
        ({"url": "https://"}, "http:// or https://"),
        ({"url": "https://[bad"}, "http:// or https://"),
        ({"url": "https://x.example/" + "a" * 2048}, "at most 2048"),
        ({"label": ""}, "1 to 300 printable"),
        ({"label": "a" * 301}, "1 to 300 printable"),
        ({"label": "two\nlines"}, "1 to 300 printable"),
        ({"address": "\x00"}, "1 to 300 printable"),
        ({"label": "\ud800"}, "label"),
        ({"external_id": "a" * 201}, "1 to 200 printable"),
        ({"idempotency_key": ""}, "1 to 200 bytes"),
        ({"idempotency_key": "a" * 201}, "1 to 200 bytes"),
        ({"idempotency_key": "ключ"}, "printable ASCII"),
        ({"idempotency_key": "a\tb"}, "printable ASCII"),
        ({"idempotency_key": None}, "valid string"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_is_wrong_is_named_without_the_values(fields: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        pin(**fields)
    message = str(caught.value)
    assert told in message
    assert "2025550147" not in message
    assert "51.5" not in message


def test_a_missing_coordinate_is_named() -> None:
    with pytest.raises(ValidationError, match="latitude"):
        Pin.model_validate({name: MINIMAL[name] for name in MINIMAL if name != "latitude"})


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("+12025550147")


@given(st.dictionaries(st.sampled_from([*Pin.model_fields, "other"]), anything))
def test_arbitrary_fields_give_a_pin_or_a_validation_error(fields: dict[str, object]) -> None:
    try:
        made = Pin.model_validate({**MINIMAL, **fields})
    except ValidationError:
        return
    body = json.loads(made.body())
    assert ("phone" in body) != ("chat_id" in body)
    assert -90 <= body["latitude"] <= 90
    assert Pin.model_validate(body).body() == made.body()
