"""JSON that comes from outside: read strictly where it is sound, else as far as it can be read.

One bad character of a text that a person typed must not cost the message around it. So what cannot be read is
replaced, and nothing is guessed: a character by U+FFFD, a number by null. What is damaged between the values (a missing
bracket, an end cut off) leaves no JSON.
"""

import json
import math
import re
from typing import Any

import msgspec

REPLACEMENT = "\ufffd"
"""Stands for each character that could not be read."""

# What the decoders raise. UnicodeDecodeError is a ValueError; RecursionError: nesting deeper than they follow.
UNDECODABLE = (msgspec.DecodeError, ValueError, RecursionError)

# The escapes of RFC 8259, section 7, a pair of surrogates being one; `broken` is what begins like one and is none.
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
    """Return the value that a body is. Raises ValueError and RecursionError where it is no JSON.

    Every text of the value can be encoded again, and every number is finite.
    """
    try:
        return msgspec.json.decode(body)
    except UNDECODABLE:
        return _decode_tolerantly(body)


def decode_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object that a body is, None where it is none."""
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
        strict=False,  # control characters in a text, a line break above all
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
