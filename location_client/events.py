"""Events as other services read them: entries of the stream of contract.md section 4, with or without a
group.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, Final, Literal, TypedDict, TypeVar

import msgspec
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, ReadOnlyError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

logger = logging.getLogger("location_client.client")

T = TypeVar("T")
Entry = tuple[bytes, dict[bytes, bytes]]

UNREACHABLE: Final = (RedisConnectionError, RedisTimeoutError, ReadOnlyError, OSError)
"""What a Redis that is away, starts, or has just lost its place as master answers: all of it passes."""

_MAX_BLOCK_SECONDS = 2.0
_NO_NAME = b""


async def command(redis: Redis, *arguments: str | bytes | float) -> Any:
    """Send one command and leave its answer as bytes, whatever the connection was told about decoding."""
    return await redis.execute_command(*arguments, NEVER_DECODE=True)  # type: ignore[no-untyped-call]


class Point(TypedDict):
    """Longitude, latitude and, where known, altitude in metres."""

    type: Literal["Point"]
    coordinates: list[float]


class PositionProperties(TypedDict):
    """`received_at - updated_at` is the honest age of the position; times are RFC 3339, UTC."""

    chat_id: str
    share_id: str
    handle: str
    latitude: float
    longitude: float
    altitude: float | None
    address: str | None
    locality: str | None
    updated_at: str | None
    received_at: str


class Feature(TypedDict):
    """The data of `location.updated`: a GeoJSON Feature (RFC 7946)."""

    type: Literal["Feature"]
    geometry: Point
    properties: PositionProperties


class Event:
    """One entry of the stream. What is not asked for is not decoded."""

    __slots__ = ("_data", "_fields", "_group", "stream_id")

    def __init__(self, stream_id: bytes, fields: Mapping[bytes, bytes], group: "Group | None" = None) -> None:
        """`fields` as Redis has them; `group` where the entry waits for an acknowledgement."""
        self.stream_id = stream_id.decode()
        self._fields = fields
        self._group = group
        self._data: Any = msgspec.UNSET

    def _text(self, name: bytes) -> str:
        return self._fields.get(name, _NO_NAME).decode(errors="replace")

    @property
    def specversion(self) -> str:
        """`1.0`."""
        return self._text(b"specversion")

    @property
    def id(self) -> str:
        """The same for the same fact: drop what was seen before."""
        return self._text(b"id")

    @property
    def source(self) -> str:
        """`/linq/chats/{chat_id}`, or `/chert`."""
        return self._text(b"source")

    @property
    def type(self) -> str:
        """What happened, for example `location.updated`."""
        return self._text(b"type")

    @property
    def subject(self) -> str:
        """The handle in normal form; empty where the event is about the chat."""
        return self._text(b"subject")

    @property
    def time(self) -> str:
        """RFC 3339, UTC, milliseconds."""
        return self._text(b"time")

    @property
    def datacontenttype(self) -> str:
        """`application/json`, or `application/geo+json` for positions."""
        return self._text(b"datacontenttype")

    @property
    def dataschema(self) -> str:
        """`urn:location-worker:{type}:1`."""
        return self._text(b"dataschema")

    @property
    def sequence(self) -> int:
        """1, 2, 3 … within one share. Raises ValueError where the field is not a number."""
        return int(self._text(b"sequence"))

    @property
    def reference(self) -> str:
        """The caller's own id; empty where none was given."""
        return self._text(b"reference")

    @property
    def chat_id(self) -> str | None:
        """The chat that the event is about; None for pins."""
        prefix, _, chat_id = self.source.rpartition("/")
        return chat_id if prefix == "/linq/chats" else None

    @property
    def data(self) -> Any:
        """What the event says, as the schema of its type has it. Raises ValueError where it is not JSON."""
        if self._data is msgspec.UNSET:
            self._data = msgspec.json.decode(self._fields.get(b"data", _NO_NAME))
        return self._data

    def as_dict(self) -> dict[str, Any]:
        """All fields with `data` decoded (as text where it is not JSON), and `stream_id`."""
        known: dict[str, Any] = {"stream_id": self.stream_id}
        known |= {name.decode(errors="replace"): value.decode(errors="replace") for name, value in self._fields.items()}
        try:
            known["data"] = self.data
            known["sequence"] = self.sequence
        except ValueError:
            logger.debug("an entry of the event stream is not one of this project's events")
        return known

    async def acknowledge(self) -> None:
        """Tell the group that this event is done. Raises RuntimeError for an event read without a group."""
        await acknowledge([self])

    def __repr__(self) -> str:
        return f"<Event {self.stream_id} {self.type} {self.id}>"


class Group:
    """A consumer of a consumer group of one stream."""

    def __init__(self, redis: Redis, stream: str, group: str, consumer: str, start: str) -> None:
        """`start`: where the group begins where it does not exist yet, `$` or `0`."""
        self._redis = redis
        self._stream = stream
        self._group = group
        self._consumer = consumer
        self._start = start

    async def create(self, start: str | None = None) -> None:
        """Create the group, and the stream where it is missing; leave an existing group as it is."""
        try:
            await command(self._redis, "XGROUP", "CREATE", self._stream, self._group, start or self._start, "MKSTREAM")
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def read(self, after: str, count: int, block: float) -> list[Entry]:
        """Read new entries (`after` is `>`), or the own ones still waiting for an acknowledgement after an
        id.
        """
        waiting = ("BLOCK", round(block * 1000)) if after == ">" and block >= 0.001 else ()
        reader = ("GROUP", self._group, self._consumer)
        where = ("STREAMS", self._stream, after)
        reply = await command(self._redis, "XREADGROUP", *reader, "COUNT", count, *waiting, *where)
        return _entries_of_only_stream(reply)

    async def claim_idle(self, idle: float, after: bytes, count: int) -> tuple[bytes, list[Entry]]:
        """Take over what nobody acknowledged for `idle` seconds; the first of the two is where to go on."""
        reader = (self._stream, self._group, self._consumer)
        reply = await command(self._redis, "XAUTOCLAIM", *reader, round(idle * 1000), after, "COUNT", count)
        # Redis 6.2 gives None for an entry that was deleted meanwhile; later versions drop it by themselves.
        return reply[0], [entry for entry in reply[1] if entry[0] is not None]

    async def acknowledge(self, stream_ids: Iterable[str | bytes]) -> None:
        """Mark entries as done; repeating it does no harm."""
        ids = list(stream_ids)
        for begin in range(0, len(ids), 1000):
            await command(self._redis, "XACK", self._stream, self._group, *ids[begin : begin + 1000])


def _entries_of_only_stream(reply: Any) -> list[Entry]:
    if not reply:
        return []
    # RESP3 answers with a map of lists of lists, RESP2 with a list of pairs.
    if isinstance(reply, dict):
        (batches,) = reply.values()
        return [entry for batch in batches for entry in batch]
    entries: list[Entry] = reply[0][1]
    return entries


async def persistently(call: Callable[[], Awaitable[T]]) -> T:
    """Make a call that may be repeated until Redis answers; says once that it waits."""
    failures = 0
    while True:
        try:
            answer = await call()
        except AuthenticationError:
            raise
        except UNREACHABLE as error:
            failures += 1
            await wait_for_redis(failures, error)
        else:
            if failures:
                logger.warning("Redis is back")
            return answer


def stop_if_cancelled() -> None:
    """Raise CancelledError where this task was cancelled without being told: redis-py sends under
    asyncio.wait_for, which before Python 3.12 swallows a cancellation that comes at the moment of success.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def wait_for_redis(failures: int, error: Exception) -> None:
    """Sleep before the next try: longer with each failure, at most 5 s, never all clients at once."""
    if failures == 1:
        logger.warning("Redis is away (%s); trying until it is back", type(error).__name__)
    await asyncio.sleep(random.uniform(0.05, min(5.0, 0.1 * 2 ** min(failures, 6))))


async def acknowledge(events: Iterable[Event]) -> None:
    """Tell the groups that these events are done; waits for a Redis that is away."""
    of_group: dict[Group, list[str]] = {}
    for event in events:
        if event._group is None:  # noqa: SLF001  # this function belongs to the class
            raise RuntimeError("only events of group_events() can be acknowledged: this one was read by events()")
        of_group.setdefault(event._group, []).append(event.stream_id)  # noqa: SLF001
    for group, stream_ids in of_group.items():
        await persistently(lambda group=group, stream_ids=stream_ids: group.acknowledge(stream_ids))  # type: ignore[misc]


def longest_block(redis: Redis) -> float:
    """Seconds for which one command may wait: well below the socket's time-out, which would count it as
    broken.
    """
    timeout = redis.connection_pool.connection_kwargs.get("socket_timeout")
    return min(_MAX_BLOCK_SECONDS, timeout / 2) if timeout else _MAX_BLOCK_SECONDS


class _Wait:
    """How long the reader may still wait for the next event; `limit` None is for ever."""

    def __init__(self, limit: float | None, longest: float) -> None:
        self._limit = limit
        self._longest = longest
        self._since = time.monotonic()

    def restart(self) -> None:
        self._since = time.monotonic()

    def seconds(self) -> float:
        if self._limit is None:
            return self._longest
        return max(0.0, min(self._longest, self._limit - (time.monotonic() - self._since)))

    def over(self) -> bool:
        return self._limit is not None and time.monotonic() - self._since >= self._limit


async def read_events(
    redis: Redis, stream: str, after: str, *, types: Collection[str] | None, block: float | None, count: int
) -> AsyncIterator[Event]:
    """Do what LocationClient.events() does."""
    wanted = None if types is None else {name.encode() for name in types}
    if after == "$":
        after = await persistently(lambda: last_stream_id(redis, stream))
    wait = _Wait(block, longest_block(redis))

    async def read() -> list[Entry]:
        seconds = wait.seconds()
        waiting = ("BLOCK", round(seconds * 1000)) if seconds >= 0.001 else ()
        reply = await command(redis, "XREAD", "COUNT", count, *waiting, "STREAMS", stream, after)
        return _entries_of_only_stream(reply)

    while True:
        stop_if_cancelled()
        entries = await persistently(read)
        if entries:
            after = entries[-1][0].decode()
        for stream_id, fields in entries:
            if wanted is None or fields.get(b"type") in wanted:
                yield Event(stream_id, fields)
        if entries:
            wait.restart()
        elif wait.over():
            return


async def last_stream_id(redis: Redis, stream: str) -> str:
    """Return the id of the newest entry, `0-0` where there is none."""
    newest = await command(redis, "XREVRANGE", stream, "+", "-", "COUNT", 1)
    return newest[0][0].decode() if newest else "0-0"


class GroupReader:
    """Reads as one consumer: first what it had not acknowledged, then what is new, and now and then what
    others left.
    """

    def __init__(self, group: Group, *, claim_idle: float | None, count: int, wait: _Wait) -> None:
        """`claim_idle` in seconds, None claims nothing; `count` entries a read."""
        self._group = group
        self._claim_idle = claim_idle
        self._count = count
        self._wait = wait
        self._created = False
        # The own entries after this id are read again; None reads new ones.
        self._pending_after: str | None = "0"
        self._newest = "0"
        self._next_claim = 0.0

    async def batch(self) -> list[Entry]:
        """Return the next entries, none where the wait ended without any. Waits for a Redis that is away."""
        failures = 0
        while True:
            stop_if_cancelled()
            try:
                if not self._created:
                    await self._group.create()
                    self._created = True
                entries = await self._read()
            except AuthenticationError:
                raise
            except UNREACHABLE as error:
                failures += 1
                # The reply that was lost may have handed out entries: they wait behind the newest one seen.
                if self._pending_after is None:
                    self._pending_after = self._newest
                await wait_for_redis(failures, error)
            except ResponseError as error:
                if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                    raise
                # The stream is gone, and its group with it: all that a new stream holds is new.
                await persistently(lambda: self._group.create("0"))
                self._pending_after = self._newest = "0"
            else:
                return entries

    async def _read(self) -> list[Entry]:
        if self._pending_after is not None:
            entries = await self._group.read(self._pending_after, self._count, 0)
            if entries:
                self._pending_after = entries[-1][0].decode()
                return entries
            self._newest, self._pending_after = self._pending_after, None
        claimed = await self._claim()
        if claimed:
            return claimed
        entries = await self._group.read(">", self._count, self._wait.seconds())
        if entries:
            self._newest = entries[-1][0].decode()
        return entries

    async def _claim(self) -> list[Entry]:
        if self._claim_idle is None or time.monotonic() < self._next_claim:
            return []
        after = b"0-0"
        while True:
            after, entries = await self._group.claim_idle(self._claim_idle, after, self._count)
            if entries:
                # There may be more: the next batch begins with another look.
                return entries
            if after == b"0-0":
                # A quarter: what was left behind waits little longer than it has to.
                self._next_claim = time.monotonic() + self._claim_idle / 4
                return []


async def read_group_events(
    group: Group,
    *,
    claim_idle: float | None,
    types: Collection[str] | None,
    block: float | None,
    count: int,
    longest: float,
) -> AsyncIterator[Event]:
    """Do what LocationClient.group_events() does."""
    wanted = None if types is None else {name.encode() for name in types}
    wait = _Wait(block, longest if claim_idle is None else min(longest, max(claim_idle / 4, 0.05)))
    reader = GroupReader(group, claim_idle=claim_idle, count=count, wait=wait)
    while True:
        entries = await reader.batch()
        # An entry without fields was trimmed or erased while it waited; one of another type is not wanted.
        wanted_entries = [
            entry for entry in entries if entry[1] and (wanted is None or entry[1].get(b"type") in wanted)
        ]
        if len(wanted_entries) < len(entries):
            kept = {stream_id for stream_id, _ in wanted_entries}
            done = [stream_id for stream_id, _ in entries if stream_id not in kept]
            await persistently(lambda done=done: group.acknowledge(done))  # type: ignore[misc]
        for stream_id, fields in wanted_entries:
            yield Event(stream_id, fields, group)
        if entries:
            wait.restart()
        elif wait.over():
            return
