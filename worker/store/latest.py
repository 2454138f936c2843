"""The latest positions, looked up by chat, by place, or all of them.

`commit_decisions.lua` writes them: a hash for each chat with the GeoJSON of everybody in it, a geo set of handles, and
a hash of which chats show whom. A handle that shares in several chats has one entry in the geo set, for its latest
position.
"""

import math
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import NamedTuple, cast

import msgspec
import structlog
from redis.asyncio import Redis

from worker.domain.handle import handle_digest
from worker.store.keys import Keys

log = structlog.get_logger("store")

PAGE = 500
# degrees: a larger box contains nearly everything, and Redis measures boxes on a sphere
_MAX_SEARCH_DEGREES = 30.0
# degrees: a geo set cannot hold positions beyond; see commit_decisions.lua
_MAX_SEARCH_LATITUDE = 85.0
_METRES_PER_DEGREE = 6_372_797.560856 * math.pi / 180  # Redis' radius of the earth
# A geo set is exact to about half a metre; what it finds is checked again.
_MARGIN_METRES = 10.0


class Box(NamedTuple):
    """A box in degrees; if `west` is above `east`, it crosses the antimeridian."""

    west: float
    south: float
    east: float
    north: float

    def contains(self, longitude: float, latitude: float) -> bool:
        """Return whether a position is in it or on its edge."""
        if not self.south <= latitude <= self.north:
            return False
        if self.west <= self.east:
            return self.west <= longitude <= self.east
        return longitude >= self.west or longitude <= self.east


class Found(NamedTuple):
    """GeoJSON Features as stored, and whether there are more than the limit."""

    features: list[bytes]
    truncated: bool


class _Point(msgspec.Struct):
    coordinates: list[float]


class _Feature(msgspec.Struct):
    geometry: _Point


_decode = msgspec.json.Decoder(_Feature).decode


class Latest:
    """The latest positions under one KEY_PREFIX."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def find(self, *, chat_id: str | None, box: Box | None, limit: int) -> Found:
        """Return up to `limit` positions: of one chat or all, within a box or anywhere."""
        features: list[bytes] = []
        async for page in self._pages(chat_id, box, limit):
            features += [feature for feature in page if _fits(feature, box)]
            if len(features) > limit:
                return Found(features[:limit], truncated=True)
        return Found(features, truncated=False)

    async def _pages(self, chat_id: str | None, box: Box | None, limit: int) -> AsyncIterator[list[bytes]]:
        if chat_id is not None:
            yield await self._of_chats([chat_id])
        elif box is not None and _is_searchable(box):
            async for page in self._near(box, limit):
                yield page
        else:
            async for page in self._all():
                yield page

    async def _all(self) -> AsyncIterator[list[bytes]]:
        # Not the geo set: it has no positions near the poles.
        cursor, seen = -1, set[str]()
        while cursor != 0:
            # redis-py's stubs mix its two clients: what is awaited here is always awaitable.
            cursor, found = await cast(
                "Awaitable[tuple[int, dict[bytes, bytes]]]",
                self._redis.hscan(self._keys.handles, cursor=max(cursor, 0), count=PAGE),
            )
            chats = {chat for names in found.values() for chat in names.decode().split()} - seen
            seen |= chats
            # A small hash comes in one page.
            names = sorted(chats)
            for start in range(0, len(names), PAGE):
                yield await self._of_chats(names[start : start + PAGE])

    async def _near(self, box: Box, limit: int) -> AsyncIterator[list[bytes]]:
        seen: set[bytes] = set()
        for part in _parts(box):
            # Usually enough, although hits just outside the box are dropped; otherwise all are read.
            enough = 2 * limit + 100
            for count in (enough, None):
                handles = [handle for handle in await self._search(part, count) if handle not in seen]
                seen.update(handles)
                for start in range(0, len(handles), PAGE):
                    yield await self._of_handles(handles[start : start + PAGE])
                if len(handles) < enough:
                    break

    async def _search(self, box: Box, count: int | None) -> list[bytes]:
        widest = 0.0 if box.south <= 0 <= box.north else min(abs(box.south), abs(box.north))
        half = math.radians((box.east - box.west) / 2)
        # The box is measured along great circles, at its longest parallel.
        across = 2 * math.degrees(math.asin(math.cos(math.radians(widest)) * math.sin(half)))
        found: list[bytes] = await self._redis.geosearch(
            self._keys.geo,
            longitude=(box.west + box.east) / 2,
            latitude=(box.south + box.north) / 2,
            width=2 * (across * _METRES_PER_DEGREE + _MARGIN_METRES),
            height=(box.north - box.south) * _METRES_PER_DEGREE + 2 * _MARGIN_METRES,
            unit="m",
            count=count,
            any=count is not None,
        )
        return found

    async def _of_chats(self, chats: Sequence[str]) -> list[bytes]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for chat in chats:
                pipeline.hvals(self._keys.latest + chat)
            found: list[list[bytes]] = await pipeline.execute()
        return [feature for features in found for feature in features]

    async def _of_handles(self, handles: Sequence[bytes]) -> list[bytes]:
        shown: list[bytes | None] = await cast(
            "Awaitable[list[bytes | None]]",
            self._redis.hmget(self._keys.handles, [handle_digest(handle.decode()) for handle in handles]),
        )
        async with self._redis.pipeline(transaction=False) as pipeline:
            for handle, chats in zip(handles, shown, strict=True):
                for chat in (chats or b"").decode().split():
                    pipeline.hget(self._keys.latest + chat, handle)  # type: ignore[arg-type]  # bytes are sent as they are
            found: list[bytes | None] = await pipeline.execute()
        return [feature for feature in found if feature is not None]


def _fits(feature: bytes, box: Box | None) -> bool:
    """Return whether this is a position in the box."""
    try:
        longitude, latitude = _decode(feature).geometry.coordinates[:2]
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        log.warning("latest_unreadable", consequence="a latest position that is no GeoJSON is left out")
        return False
    return box is None or box.contains(longitude, latitude)


def _parts(box: Box) -> list[Box]:
    """Return the box in parts that do not cross the antimeridian."""
    if box.west <= box.east:
        return [box]
    return [box._replace(east=180.0), box._replace(west=-180.0)]


def _is_searchable(box: Box) -> bool:
    """Return whether the geo set can answer for this box: it is small, and not near the poles."""
    wide = sum(part.east - part.west for part in _parts(box))
    return (
        max(wide, box.north - box.south) <= _MAX_SEARCH_DEGREES
        and max(abs(box.south), abs(box.north)) <= _MAX_SEARCH_LATITUDE
    )
