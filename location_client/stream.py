"""Read the event stream, with or without a consumer group, through outages of Redis."""

import time
from collections.abc import AsyncIterator, Collection, Iterable
from typing import Any

from redis.exceptions import RedisError, ResponseError

from location_client.commands import Commands, Outage, stop_if_cancelled
from location_client.events import Event, TypedEvent

Entry = tuple[bytes, dict[bytes, bytes]]

_MAX_BLOCK_SECONDS = 2.0
_GROUP_IS_GONE = ("NOGROUP", "UNBLOCKED the stream key no longer exists")
_ACKNOWLEDGED_AT_ONCE = 1000


class Group:
    """A consumer of a consumer group of one stream."""

    def __init__(self, commands: Commands, stream: str, group: str, consumer: str, start: str) -> None:
        """Use `start`, `$` or `0`, as the beginning of a group that does not exist yet."""
        self.commands = commands
        self._stream = stream
        self._group = group
        self._consumer = consumer
        self._start = start

    async def create(self, start: str | None = None) -> None:
        """Create the group, and the stream if it is missing; leave an existing group as it is."""
        where = (self._stream, self._group, start or self._start)
        try:
            await self.commands.send("XGROUP", "CREATE", *where, "MKSTREAM")
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def read(self, after: str, count: int, block: float) -> list[Entry]:
        """Read new entries (`after` is `>`), or this consumer's unacknowledged ones after an id."""
        waiting = ("BLOCK", round(block * 1000)) if after == ">" and block >= 0.001 else ()
        reader = ("GROUP", self._group, self._consumer)
        where = ("STREAMS", self._stream, after)
        reply = await self.commands.send("XREADGROUP", *reader, "COUNT", count, *waiting, *where)
        return _entries_of_only_stream(reply)

    async def claim_idle(self, idle: float, after: bytes, count: int) -> tuple[bytes, list[Entry]]:
        """Take over entries that nobody acknowledged for `idle` seconds; return where to go on, and the entries."""
        reader = (self._stream, self._group, self._consumer)
        reply = await self.commands.send("XAUTOCLAIM", *reader, round(idle * 1000), after, "COUNT", count)
        # Redis 6.2 returns None for an entry that was deleted meanwhile; later versions leave it out.
        return reply[0], [entry for entry in reply[1] if entry[0] is not None]

    async def acknowledge(self, stream_ids: Iterable[str | bytes]) -> None:
        """Mark entries as done; waits for a Redis that is away."""
        ids = list(stream_ids)
        for begin in range(0, len(ids), _ACKNOWLEDGED_AT_ONCE):
            some = ids[begin : begin + _ACKNOWLEDGED_AT_ONCE]
            await self.commands.persistently("XACK", self._stream, self._group, *some)


def _entries_of_only_stream(reply: Any) -> list[Entry]:
    if not reply:
        return []
    # RESP3 answers with a map of lists of lists, RESP2 with a list of pairs.
    if isinstance(reply, dict):
        (batches,) = reply.values()
        return [entry for batch in batches for entry in batch]
    entries: list[Entry] = reply[0][1]
    return entries


class _Wait:
    """The time that a reader may still wait for the next event; `limit` None: for ever."""

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


def _longest_block(commands: Commands) -> float:
    """Return for how many seconds one command may block: well below the socket's timeout."""
    timeout = commands.redis.connection_pool.connection_kwargs.get("socket_timeout")
    return min(_MAX_BLOCK_SECONDS, timeout / 2) if timeout else _MAX_BLOCK_SECONDS


async def last_stream_id(commands: Commands, stream: str) -> str:
    """Return the id of the newest entry, `0-0` if there is none; waits for a Redis that is away."""
    newest = await commands.persistently("XREVRANGE", stream, "+", "-", "COUNT", 1)
    return newest[0][0].decode() if newest else "0-0"


async def read_events(
    commands: Commands, stream: str, after: str, *, types: Collection[str] | None, block: float | None, count: int
) -> AsyncIterator[Event]:
    """Yield events; see LocationClient.events()."""
    wanted = None if types is None else {name.encode() for name in types}
    if after == "$":
        after = await last_stream_id(commands, stream)
    wait = _Wait(block, _longest_block(commands))
    while True:
        seconds = wait.seconds()
        waiting = ("BLOCK", round(seconds * 1000)) if seconds >= 0.001 else ()
        reply = await commands.persistently("XREAD", "COUNT", count, *waiting, "STREAMS", stream, after)
        entries = _entries_of_only_stream(reply)
        if entries:
            after = entries[-1][0].decode()
        for stream_id, fields in entries:
            if wanted is None or fields.get(b"type") in wanted:
                yield TypedEvent(stream_id, fields)
        if entries:
            wait.restart()
        elif wait.over():
            return


class GroupReader:
    """Reads as one consumer: first what it has not acknowledged, then what is new, and at times what others left."""

    def __init__(self, group: Group, *, claim_idle: float | None, count: int, wait: _Wait) -> None:
        """Claim entries idle for `claim_idle` seconds, None: none; read up to `count` entries at a time."""
        self._group = group
        self._claim_idle = claim_idle
        self._count = count
        self._wait = wait
        self._created = False
        # Own entries after this id are read again; None: read new ones.
        self._pending_after: str | None = "0"
        self._newest = "0"
        self._next_claim = 0.0

    async def batch(self) -> list[Entry]:
        """Return the next entries, none if the wait ended without any. Waits for a Redis that is away."""
        outage = Outage()
        start: str | None = None
        while True:
            stop_if_cancelled()
            try:
                if not self._created:
                    await self._group.create(start)
                    self._created = True
                entries = await self._next_entries()
            except (RedisError, OSError) as error:
                if str(error).startswith(_GROUP_IS_GONE):
                    # The stream is gone, and its group with it: everything in a new stream is new.
                    self._created, start = False, "0"
                    self._pending_after = self._newest = "0"
                    continue
                if not self._group.commands.passes(error):
                    raise
                await outage.wait(error)
                # The lost reply may have handed out entries: they come after the newest one seen.
                if self._pending_after is None:
                    self._pending_after = self._newest
            else:
                outage.end()
                return entries

    async def _next_entries(self) -> list[Entry]:
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
                # A quarter: abandoned entries wait little longer than necessary.
                self._next_claim = time.monotonic() + self._claim_idle / 4
                return []


async def read_group_events(
    group: Group, *, claim_idle: float | None, types: Collection[str] | None, block: float | None, count: int
) -> AsyncIterator[Event]:
    """Yield events as a consumer of a group; see LocationClient.group_events()."""
    wanted = None if types is None else {name.encode() for name in types}
    longest = _longest_block(group.commands)
    wait = _Wait(block, longest if claim_idle is None else min(longest, max(claim_idle / 4, 0.05)))
    reader = GroupReader(group, claim_idle=claim_idle, count=count, wait=wait)
    while True:
        entries = await reader.batch()
        # An entry without fields was trimmed or erased while it waited; entries of other types are not wanted.
        wanted_entries = [
            entry for entry in entries if entry[1] and (wanted is None or entry[1].get(b"type") in wanted)
        ]
        if len(wanted_entries) < len(entries):
            kept = {stream_id for stream_id, _ in wanted_entries}
            await group.acknowledge(stream_id for stream_id, _ in entries if stream_id not in kept)
        for stream_id, fields in wanted_entries:
            yield TypedEvent(stream_id, fields, group)
        if entries:
            wait.restart()
        elif wait.over():
            return
