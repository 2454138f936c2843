"""The parameters of the views, read from the query; a wrong one is explained in a sentence."""

import math
import uuid
from collections.abc import Collection

from starlette.datastructures import QueryParams
from starlette.requests import Request

from worker.store.event_stream import StreamId, parse_stream_id
from worker.store.latest import Box

MAX_REFERENCE_LENGTH = 128
_MAX_SHOWN_LENGTH = 80


class ParameterError(Exception):
    """A parameter is wrong; the text says what is accepted."""


def read_query(request: Request, accepted: Collection[str]) -> QueryParams:
    """Return the query of a request; a token in it is not read.

    Raises ParameterError for a parameter that the route does not have, or that is there twice.
    """
    names = [name for name, _ in request.query_params.multi_items() if name != "token"]
    for name in names:
        if name not in accepted:
            raise ParameterError(f"{_shown(name)} is not a parameter of this route; accepted: {', '.join(accepted)}")
        if names.count(name) > 1:
            raise ParameterError(f"{name} is given more than once")
    return request.query_params


def read_chat_id(query: QueryParams) -> str | None:
    """Return `chat_id`, in lower case. Raises ParameterError."""
    text = query.get("chat_id")
    if text is None:
        return None
    try:
        chat_id = str(uuid.UUID(text))
    except ValueError:
        chat_id = ""
    if not chat_id or chat_id != text.lower():
        raise ParameterError(f"chat_id: given {_shown(text)}; accepted: the UUID of a chat")
    return chat_id


def read_reference(query: QueryParams) -> str | None:
    """Return `reference`. Raises ParameterError."""
    text = query.get("reference")
    if text is not None and (not 0 < len(text) <= MAX_REFERENCE_LENGTH or not text.isprintable()):
        raise ParameterError(f"reference: accepted: 1 to {MAX_REFERENCE_LENGTH} printable characters")
    return text


def read_types(query: QueryParams, known: Collection[str]) -> frozenset[str] | None:
    """Return `types`. Raises ParameterError."""
    text = query.get("types")
    if text is None:
        return None
    types = [name.strip() for name in text.split(",")]
    for name in types:
        if name not in known:
            raise ParameterError(f"types: {_shown(name)} is not an event type; accepted: {', '.join(known)}")
    return frozenset(types)


def read_position(name: str, text: str | None) -> StreamId | None:
    """Return the stream id in `Last-Event-ID` or `after`. Raises ParameterError."""
    if text is None:
        return None
    try:
        return parse_stream_id(text)
    except ValueError:
        raise ParameterError(
            f"{name}: given {_shown(text)}; accepted: the id of a stream entry such as 1763900000000-0, or 0 for all "
            "that is left; without it, what comes from now on"
        ) from None


def read_box(query: QueryParams) -> Box | None:
    """Return `bbox`. Raises ParameterError."""
    text = query.get("bbox")
    if text is None:
        return None
    try:
        west, south, east, north = (float(part) for part in text.split(","))
        box = Box(west, south, east, north)
    except ValueError:
        box = Box(math.nan, math.nan, math.nan, math.nan)
    if not (-180 <= box.west <= 180 and -180 <= box.east <= 180 and -90 <= box.south <= box.north <= 90):
        raise ParameterError(
            f"bbox: given {_shown(text)}; accepted: west,south,east,north in degrees, longitudes from -180 to 180 "
            "(west above east crosses the antimeridian), latitudes from -90 to 90, south not above north"
        )
    return box


def read_limit(query: QueryParams, *, default: int, most: int) -> int:
    """Return `limit`. Raises ParameterError."""
    text = query.get("limit", str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise ParameterError(f"limit: given {_shown(text)}; accepted: a whole number from 1 to {most}")
    return int(text)


def _shown(text: str) -> str:
    """Return a given value for a message."""
    return repr(text if len(text) <= _MAX_SHOWN_LENGTH else text[:_MAX_SHOWN_LENGTH] + "…")
