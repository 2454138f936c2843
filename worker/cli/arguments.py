"""Types of command-line arguments. Each error names the value, what is accepted, and what to do."""

import math
import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import click

from location_client import limits

ValueT = TypeVar("ValueT")

_MAX_SHOWN_LENGTH = 60

_STREAM_ID = re.compile(r"\d{1,18}(-\d{1,18})?", re.ASCII)


def shown(value: object) -> str:
    """Return a value as messages show it: quoted, on one line, shortened."""
    text = str(value)
    return repr(text if len(text) <= _MAX_SHOWN_LENGTH else text[:_MAX_SHOWN_LENGTH] + "…")


def chat_id(text: str) -> str:
    """Return a chat id in lower case. Raises ValueError with the message for the person."""
    lower = text.strip().lower()
    if not limits.CHAT_ID.accepts(lower):
        raise ValueError(
            f"{shown(text)} is not a chat id: expected {limits.CHAT_ID.accepted}; copy it from Linq, or name the "
            "contact with --to and --from"
        )
    return lower


def reference(text: str) -> str:
    """Return a reference as it stands. Raises ValueError with the message for the person."""
    if not limits.REFERENCE.accepts(text):
        raise ValueError(
            f"{shown(text)} is not a reference: expected {limits.REFERENCE.accepted}; shorten it, or remove tabs, line "
            "ends and other control characters"
        )
    return text


def handle(text: str) -> str:
    """Return a handle in normal form. Raises ValueError with the message for the person."""
    from worker.domain.handle import normalize_handle  # noqa: PLC0415  # wrong usage answers without it

    try:
        return normalize_handle(text)
    except ValueError as error:
        raise ValueError(f"{shown(text)} is {error}; write it like +12025550147 or name@example.org") from None


def phone(text: str) -> str:
    """Return a phone number in normal form. Raises ValueError with the message for the person."""
    number = handle(text) if "@" not in text else ""
    if not number:
        raise ValueError(f"{shown(text)} is not a phone number: expected E.164, such as +12025550147")
    return number


def seconds(text: str) -> float:
    """Return a duration. Raises ValueError with the message for the person."""
    number = _number(text)
    if not limits.SECONDS.accepts(number):
        raise ValueError(f"{shown(text)} is not a duration: expected {limits.SECONDS.accepted}; write one hour as 3600")
    return number


def rate(text: str) -> float:
    """Return requests per second. Raises ValueError with the message for the person."""
    number = _number(text)
    if not 0 < number < math.inf:
        raise ValueError(f"{shown(text)} is not a rate: expected requests per second above 0, such as 20")
    return number


def share(text: str) -> float:
    """Return a part of a whole. Raises ValueError with the message for the person."""
    number = _number(text)
    if not 0 <= number <= 1:
        raise ValueError(f"{shown(text)} is not a share: expected a number from 0 to 1, such as 0.3")
    return number


def latitude(text: str) -> float:
    """Return degrees north. Raises ValueError with the message for the person."""
    number = _number(text)
    if not limits.LATITUDE.accepts(number):
        raise ValueError(f"{shown(text)} is not a latitude: expected {limits.LATITUDE.accepted}, such as 51.5033")
    return number


def longitude(text: str) -> float:
    """Return degrees east. Raises ValueError with the message for the person."""
    number = _number(text)
    if not limits.LONGITUDE.accepts(number):
        raise ValueError(f"{shown(text)} is not a longitude: expected {limits.LONGITUDE.accepted}, such as -0.1196")
    return number


def place(text: str) -> dict[str, Any]:
    """Return a place as a job takes it. Raises ValueError with the message for the person."""
    name, _, circle = text.rpartition(":")
    parts = circle.split(",")
    if not limits.PLACE_NAME.accepts(name) or len(parts) != 3:  # latitude, longitude, radius
        raise ValueError(
            f"{shown(text)} is not a place: expected NAME:LATITUDE,LONGITUDE,RADIUS, such as depot:51.5033,-0.1196,200"
        )
    radius = _number(parts[2])
    if not limits.RADIUS.accepts(radius):
        raise ValueError(f"{shown(parts[2])} is not a radius: expected {limits.RADIUS.accepted}")
    return {"name": name, "latitude": latitude(parts[0]), "longitude": longitude(parts[1]), "radius": radius}


def moment(text: str) -> str:
    """Return an RFC 3339 time as it stands. Raises ValueError with the message for the person."""
    from worker.domain.timestamp import parse_time  # noqa: PLC0415  # see handle

    try:
        parse_time(text)
    except ValueError as error:
        raise ValueError(f"{shown(text)} is {error}; write it like 2026-10-12T18:00:00Z") from None
    return text


def formed(form: limits.Form) -> Callable[[str], str]:
    """Return a function that returns a text of this form unchanged.

    It raises ValueError with the message for the person.
    """

    def read(text: str) -> str:
        if not form.accepts(text):
            raise ValueError(f"{shown(text)} is not accepted: expected {form.accepted}")
        return text

    return read


def starting_point(text: str) -> str:
    """Return the stream id to read after, as Redis writes it. Raises ValueError with the message for the person."""
    known = {"beginning": "0", "end": "$"}
    if text not in known and not _STREAM_ID.fullmatch(text):
        raise ValueError(
            f"{shown(text)} is not a place in the stream: expected `beginning`, `end` or the id of the entry to "
            "read after, such as 1791797405000-0"
        )
    return known.get(text, text)


def event_type(text: str) -> str:
    """Return an event type; `location.` may be left out. Raises ValueError with the message for the person."""
    from worker.domain.events import EVENT_TYPES  # noqa: PLC0415  # see handle

    for name in (text, f"location.{text}"):
        if name in EVENT_TYPES:
            return name
    raise ValueError(f"{shown(text)} is not an event type: expected one of {', '.join(EVENT_TYPES)}")


def _number(text: str) -> float:
    # float() also reads "1_000" and "infinity", which nobody means.
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text.strip(), re.ASCII):
        return math.nan
    number = float(text)
    return int(number) if number.is_integer() else number


class Argument(click.ParamType, Generic[ValueT]):  # type: ignore[type-arg]  # generic since click 8.5 only
    """An argument type made from one of the functions above."""

    def __init__(self, read: Any, name: str) -> None:
        """Keep `read`, which takes the text and raises ValueError, and the `name` that the help shows."""
        self._read = read
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ValueT:
        """Convert the value; a wrong one is a usage error (exit status 2)."""
        try:
            read: ValueT = self._read(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return read


CHAT_ID: Argument[str] = Argument(chat_id, "chat id")
REFERENCE: Argument[str] = Argument(reference, "text")
HANDLE: Argument[str] = Argument(handle, "handle")
PHONE: Argument[str] = Argument(phone, "number")
SECONDS: Argument[float] = Argument(seconds, "seconds")
RATE: Argument[float] = Argument(rate, "number")
SHARE: Argument[float] = Argument(share, "share")
LATITUDE: Argument[float] = Argument(latitude, "degrees")
LONGITUDE: Argument[float] = Argument(longitude, "degrees")
MOMENT: Argument[str] = Argument(moment, "time")
PLACE: Argument[dict[str, Any]] = Argument(place, "name:lat,lon,radius")
PLACE_NAME: Argument[str] = Argument(formed(limits.PLACE_NAME), "name")
MESSAGE: Argument[str] = Argument(formed(limits.MESSAGE), "text")
PIN_TEXT: Argument[str] = Argument(formed(limits.PIN_TEXT), "text")
PIN_IDENTIFIER: Argument[str] = Argument(formed(limits.PIN_IDENTIFIER), "id")
PIN_URL: Argument[str] = Argument(formed(limits.PIN_URL), "url")
IDEMPOTENCY_KEY: Argument[str] = Argument(formed(limits.IDEMPOTENCY_KEY), "key")
STARTING_POINT: Argument[str] = Argument(starting_point, "place")
EVENT_TYPE: Argument[str] = Argument(event_type, "type")
