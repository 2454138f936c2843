"""The event stream as the views read it: entries after an id, and where it begins and ends."""

import math
import re
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from worker.store.keys import Keys

StreamId = tuple[int, int]
"""Milliseconds since 1970 (UTC), and a number that tells entries of one millisecond apart."""
Fields = dict[bytes, bytes]

_BEGINNING: StreamId = (0, 0)
_MAX_PART = 2**64 - 1
_MAX_BLOCK_SECONDS = 2.0


class Bounds(NamedTuple):
    """The oldest entry left (None: there is none), the newest id ever given, and whether any entry was ever removed.

    Redis before 7.0 does not tell the last: then it counts as true.
    """

    first: StreamId | None
    last: StreamId
    removed: bool

    def gap_after(self, position: StreamId) -> StreamId | None:
        """Return the first entry left if entries after a position are missing, otherwise None.

        If none is left, return the lowest id that the next one can have. A position beyond the end of the stream comes
        from a Redis that has lost its last moments. Nothing is missing after 0, which asks for all that is left.
        """
        if _BEGINNING in (position, self.last):
            return None
        if position > self.last or (self.first is None and position < self.last):
            return self.last[0], self.last[1] + 1
        return self.first if self.removed and self.first is not None and position < self.first else None


class EventStream:
    """The event stream under one KEY_PREFIX."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._key = keys.events

    async def bounds(self) -> Bounds:
        """Return where the stream begins and ends now."""
        try:
            known: dict[str, Any] = await self._redis.xinfo_stream(self._key)
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            return Bounds(None, _BEGINNING, removed=False)
        first = known["first-entry"]
        return Bounds(
            None if first is None else parse_stream_id(first[0].decode()),
            parse_stream_id(known["last-generated-id"].decode()),
            known.get("entries-added") != known["length"],
        )

    async def after(self, position: StreamId, count: int) -> list[tuple[StreamId, Fields]]:
        """Return up to `count` entries after a position, oldest first."""
        found = await self._redis.xrange(self._key, min=f"({format_stream_id(position)}", count=count)
        return [(parse_stream_id(entry.decode()), fields) for entry, fields in found]

    async def wait_after(self, position: StreamId, count: int) -> list[tuple[StreamId, Fields]]:
        """Return up to `count` entries after a position as soon as there are any, or none after a while."""
        # Well within the connection's timeout, after which a reply counts as broken.
        timeout = self._redis.connection_pool.connection_kwargs.get("socket_timeout") or math.inf
        block = math.ceil(min(_MAX_BLOCK_SECONDS, timeout / 2) * 1000)
        answer = await self._redis.xread({self._key: format_stream_id(position)}, count=count, block=block)
        return [(parse_stream_id(entry.decode()), fields) for _, found in answer for entry, fields in found]


def parse_stream_id(text: str) -> StreamId:
    """Return the id in a text such as `1763900000000-0`; the second number may be missing and is then 0.

    Raises ValueError.
    """
    match = re.fullmatch(r"(\d{1,20})(?:-(\d{1,20}))?", text, re.ASCII)
    if match is None:
        raise ValueError("no id of a stream entry")
    milliseconds, number = int(match[1]), int(match[2] or 0)
    if max(milliseconds, number) > _MAX_PART:
        raise ValueError("no id of a stream entry")
    return milliseconds, number


def format_stream_id(position: StreamId) -> str:
    """Return an id as Redis writes it."""
    return f"{position[0]}-{position[1]}"
