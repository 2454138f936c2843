"""Bounds and forms of values that people and programs may give, for the client, the command line, jobs and settings.

Only the worker finds out what takes more than the value itself: whether a number can be called, whether a chat exists.
"""

import math
import re
from collections.abc import Callable
from typing import NamedTuple, TypeGuard
from urllib.parse import urlsplit

MAX_SECONDS = 316_224_000
"""Ten years: more is a mistake, and might not fit a date."""
MAX_REFERENCE = 128
MAX_MESSAGE = 10_000
MAX_HANDLE = 400
MAX_PLACES = 16
MAX_PLACE_NAME = 64
MIN_RADIUS = 20
MAX_RADIUS = 100_000
MAX_IDEMPOTENCY_KEY = 200
"""Bytes, the bound of Chert's own SDK. Chert states no limits for the rest of a pin: these are generous."""
MAX_PIN_TEXT = 300
MAX_PIN_IDENTIFIER = 200
MAX_PIN_URL = 2048
FALLBACK_MODES = ("auto", "balloon", "geo_url")

PERSONAL = frozenset(
    {"to", "from", "handle", "phone", "message", "latitude", "longitude", "address", "label", "url", "name", "until"}
)
"""Arguments that say who or where somebody is: messages and log lines never repeat their values."""

EXAMPLE_CHAT_ID = "3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13"

# Not uuid.UUID, which takes misplaced hyphens and digits of every script.
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")  # which JSON in UTF-8 cannot contain
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
# E.164 has 7 to 15 digits; people add a trunk prefix of one or two, as in +44 (0)20.
_MIN_PHONE_DIGITS = 7
_MAX_PHONE_DIGITS = 17


class Form(NamedTuple):
    """The form that a value must have; `accepted` describes it for people."""

    accepted: str
    accepts: Callable[[object], bool]


def printable(maximum: int) -> Form:
    """Return the form of a text of 1 to `maximum` printable characters in any script."""
    return Form(
        f"1 to {maximum} printable characters",
        lambda value: isinstance(value, str) and 1 <= len(value) <= maximum and value.isprintable(),
    )


def number(minimum: float, maximum: float, unit: str) -> Form:
    """Return the form of a number from `minimum` to `maximum`."""
    return Form(f"{unit} from {minimum} to {maximum}", lambda value: is_number(value) and minimum <= value <= maximum)


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a number as JSON has it: finite, and not true or false."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: object, maximum: int) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= maximum and not _HALF_A_CHARACTER.search(value)


def _is_phone(value: object) -> bool:
    if not _is_text(value, MAX_HANDLE):
        return False
    digits = sum(character.isdigit() for character in value)
    return "+" in value and "@" not in value and _MIN_PHONE_DIGITS <= digits <= _MAX_PHONE_DIGITS


def _is_email(value: object) -> bool:
    if not _is_text(value, MAX_HANDLE):
        return False
    local, _, domain = value.partition("@")
    return bool(local.strip() and domain.strip())


def _is_web_address(value: object) -> bool:
    if not isinstance(value, str) or len(value) > MAX_PIN_URL or not value.isprintable() or " " in value:
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _is_idempotency_key(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= MAX_IDEMPOTENCY_KEY and value.isascii() and value.isprintable()


def _matches(pattern: re.Pattern[str], maximum: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and len(value) <= maximum and pattern.fullmatch(value) is not None


CHAT_ID = Form(f"a UUID such as {EXAMPLE_CHAT_ID}", _matches(_UUID, 36))
JOB_ID = Form(
    "printable ASCII without spaces, for example a UUID",
    lambda value: isinstance(value, str) and re.fullmatch("[!-~]+", value) is not None,
)
REFERENCE = printable(MAX_REFERENCE)
PHONE = Form("a phone number with + and its country code", _is_phone)
HANDLE = Form(f"{PHONE.accepted}, or an e-mail address", lambda value: _is_phone(value) or _is_email(value))
MESSAGE = Form(
    f"a text of 1 to {MAX_MESSAGE} characters",
    lambda value: _is_text(value, MAX_MESSAGE) and bool(value.strip()),
)
FLAG = Form("true or false", lambda value: isinstance(value, bool))
SECONDS = Form(
    f"a number of seconds above 0, at most {MAX_SECONDS}",
    lambda value: is_number(value) and 0 < value <= MAX_SECONDS,
)
LATITUDE = number(-90, 90, "degrees")
LONGITUDE = number(-180, 180, "degrees")
RADIUS = number(MIN_RADIUS, MAX_RADIUS, "metres")
PLACE_NAME = printable(MAX_PLACE_NAME)

PIN_TEXT = printable(MAX_PIN_TEXT)
PIN_IDENTIFIER = printable(MAX_PIN_IDENTIFIER)
PIN_URL = Form(f"an http:// or https:// address of at most {MAX_PIN_URL} characters, without spaces", _is_web_address)
PIN_TIME = Form("an RFC 3339 time such as 2026-10-12T18:00:00Z", _matches(_TIME, 64))
FALLBACK_MODE = Form(", ".join(FALLBACK_MODES), lambda value: value in FALLBACK_MODES)
IDEMPOTENCY_KEY = Form(f"1 to {MAX_IDEMPOTENCY_KEY} bytes of printable ASCII", _is_idempotency_key)
