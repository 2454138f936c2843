"""Decode JSON from outside: strictly if it is valid, otherwise as far as possible.

One bad character in a text that somebody typed must not cost the whole message. So what cannot be read is replaced, and
nothing is guessed: a character becomes U+FFFD, a number null. Damage between the values (a missing bracket, a missing
end) leaves no JSON.
"""

import json
import math
import re
from typing import Any

import msgspec

REPLACEMENT = "\ufffd"
"""Replaces each character that could not be read."""

# What the decoders raise. UnicodeDecodeError is a ValueError; RecursionError: nesting deeper than they follow.
UNDECODABLE = (msgspec.DecodeError, ValueError, RecursionError)

# The escapes of RFC 8259, section 7, where a surrogate pair is one; `broken` begins like an escape and is none.
_ESCAPE = re.compile(
    r"""\\(?:
        ["\\/bfnrt]
        | u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}
        | u(?![dD][89a-fA-F])[0-9a-fA-F]{4}
        | (?P<broken>u[0-9a-fA-F]{0,4} | .?)
    )""",
    re.VERBOSE | re.DOTALL,
)


def decode_json(body: bytes) -> Any:
    """Return the value of a JSON body. Raises ValueError and RecursionError if it is not JSON.

    Every text of the value can be encoded again, and every number is finite.
    """
    try:
        return msgspec.json.decode(body)
    except UNDECODABLE:
        return _decode_tolerantly(body)


def decode_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object of a body, None if it is not one."""
    try:
        value = decode_json(body)
    except UNDECODABLE:
        return None
    return value if isinstance(value, dict) else None


def _decode_tolerantly(body: bytes) -> Any:
    text = body.decode(json.detect_encoding(body), "replace").lstrip("\ufeff")
    return json.loads(
        _ESCAPE.sub(_sound_escape, text),
        parse_int=_integer,
        parse_float=_finite,
        parse_constant=_no_number,
        strict=False,  # control characters in a text, mostly line breaks
    )


def _sound_escape(match: re.Match[str]) -> str:
    return match[0] if match["broken"] is None else REPLACEMENT


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:  # more digits than Python converts
        return None


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _no_number(_: str) -> None:
    """Stand for NaN and Infinity, which some encoders write."""
