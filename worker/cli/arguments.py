"""Arguments of the command line: each wrong one is told with its value, what is accepted, and what to do."""

import math
import re
from typing import Any, Generic, TypeVar

import click

ValueT = TypeVar("ValueT")

EXAMPLE_CHAT = "3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13"
MAX_REFERENCE_LENGTH = 128
# A hundred years: beyond it milliseconds overflow what Redis takes as an expiry.
_LARGEST_SECONDS = 3_155_760_000
_MAX_SHOWN_LENGTH = 60

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_STREAM_ID = re.compile(r"\d{1,18}(-\d{1,18})?", re.ASCII)


def shown(value: object) -> str:
    """Return a value as a message shows it: quoted, on one line, not endless."""
    text = str(value)
    return repr(text if len(text) <= _MAX_SHOWN_LENGTH else text[:_MAX_SHOWN_LENGTH] + "…")


def chat_id(text: str) -> str:
    """Return a chat id in lower case. Raises ValueError with the message for the person."""
    lower = text.strip().lower()
    if not _UUID.fullmatch(lower):
        raise ValueError(
            f"{shown(text)} is not a chat id: expected a UUID such as {EXAMPLE_CHAT}; copy it from Linq, or "
            "name the contact with --to and --from"
        )
    return lower


def reference(text: str) -> str:
    """Return a reference as it stands. Raises ValueError with the message for the person."""
    if not (1 <= len(text) <= MAX_REFERENCE_LENGTH and text.isprintable()):
        raise ValueError(
            f"{shown(text)} is not a reference: expected 1 to {MAX_REFERENCE_LENGTH} printable characters; shorten it, "
            "or remove tabs, line ends and other control characters"
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
    if not 0 < number <= _LARGEST_SECONDS:
        raise ValueError(
            f"{shown(text)} is not a duration: expected seconds above 0, at most {_LARGEST_SECONDS}; "
            "write one hour as 3600"
        )
    return number


def latitude(text: str) -> float:
    """Degrees north. Raises ValueError with the message for the person."""
    number = _number(text)
    if not abs(number) <= 90:
        raise ValueError(f"{shown(text)} is not a latitude: expected degrees from -90 to 90, such as 51.5033")
    return number


def longitude(text: str) -> float:
    """Degrees east. Raises ValueError with the message for the person."""
    number = _number(text)
    if not abs(number) <= 180:
        raise ValueError(f"{shown(text)} is not a longitude: expected degrees from -180 to 180, such as -0.1196")
    return number


def moment(text: str) -> str:
    """Return an RFC 3339 time as it stands. Raises ValueError with the message for the person."""
    from worker.domain.timestamp import parse_time  # noqa: PLC0415  # see handle

    try:
        parse_time(text)
    except ValueError as error:
        raise ValueError(f"{shown(text)} is {error}; write it like 2026-10-12T18:00:00Z") from None
    return text


def web_address(text: str) -> str:
    """Return an http(s) URL as it stands. Raises ValueError with the message for the person."""
    if not re.fullmatch(r"https?://[^\s/]+[^\s]*", text):
        raise ValueError(f"{shown(text)} is not a URL: expected one that begins with https:// or http://")
    return text


def starting_point(text: str) -> str:
    """Where to begin in the stream, as Redis says it. Raises ValueError with the message for the person."""
    known = {"beginning": "0", "end": "$"}
    if text not in known and not _STREAM_ID.fullmatch(text):
        raise ValueError(
            f"{shown(text)} is no place in the stream: expected `beginning`, `end` or the id of an entry such as "
            "1791797405000-0, behind which reading begins"
        )
    return known.get(text, text)


def event_type(text: str) -> str:
    """Return a type of event, `location.` may be left out. Raises ValueError with the message for the person."""
    from worker.domain.events import EVENT_TYPES  # noqa: PLC0415  # see handle

    for name in (text, f"location.{text}"):
        if name in EVENT_TYPES:
            return name
    raise ValueError(f"{shown(text)} is not a type of event: expected one of {', '.join(EVENT_TYPES)}")


def _number(text: str) -> float:
    # float() also reads "1_000" and "infinity", which nobody means.
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text.strip(), re.ASCII):
        return math.nan
    number = float(text)
    return int(number) if number.is_integer() else number


class Argument(click.ParamType, Generic[ValueT]):  # type: ignore[type-arg]  # generic since click 8.5 only
    """A kind of argument made from one of the functions above."""

    def __init__(self, read: Any, name: str) -> None:
        """`read` takes the text and raises ValueError; `name` stands in the help."""
        self._read = read
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ValueT:
        """Read the value; wrong ones are usage errors (exit status 2)."""
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
LATITUDE: Argument[float] = Argument(latitude, "degrees")
LONGITUDE: Argument[float] = Argument(longitude, "degrees")
MOMENT: Argument[str] = Argument(moment, "time")
WEB_ADDRESS: Argument[str] = Argument(web_address, "url")
STARTING_POINT: Argument[str] = Argument(starting_point, "place")
EVENT_TYPE: Argument[str] = Argument(event_type, "type")
