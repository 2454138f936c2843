"""GET /events: the event stream as server-sent events."""

import asyncio
import time
from collections.abc import AsyncIterator

from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from worker.domain.events import EVENT_TYPES
from worker.store.event_stream import EventStream, StreamId
from worker.views.feed import BehindError, Feed
from worker.views.messages import Wanted, make_comment, make_gap, make_message
from worker.views.parameters import read_chat_id, read_position, read_query, read_reference, read_types

PARAMETERS = ("after", "types", "chat_id", "reference")
PAGE = 200
MAX_PAGES_AT_ONCE = 4
"""How many connections catch up at the same time: their reads are work for Redis and this process."""
PAGE_SECONDS = 3.0  # then the connection gets a comment, and tries again
SILENT_SECONDS = 8.0  # and with one more beat still below the 15 s that docs/reference/http.md promises

# Nginx would keep events until its buffer is full.
_HEADERS = {"content-type": "text/event-stream", "x-accel-buffering": "no"}


class Events:
    """The route, over one feed."""

    def __init__(self, stream: EventStream, feed: Feed) -> None:
        self._stream = stream
        self._feed = feed
        self._pages = asyncio.Semaphore(MAX_PAGES_AT_ONCE)

    async def show(self, request: Request) -> Response:
        """GET /events."""
        query = read_query(request, PARAMETERS)
        chat_id = read_chat_id(query)
        wanted = Wanted(
            read_types(query, EVENT_TYPES),
            None if chat_id is None else f"/linq/chats/{chat_id}",
            read_reference(query),
        )
        after = read_position("after", query.get("after"))
        # A browser that reconnects repeats the query, too: the header is newer.
        after = read_position("Last-Event-ID", request.headers.get("last-event-id") or None) or after
        if request.method == "HEAD":
            return Response(headers=_HEADERS)
        reader = Reader(self._stream, self._feed, self._pages, wanted, after)
        # Before the head is sent: what is published once the reader is connected will come.
        await reader.open()
        return StreamingResponse(follow(reader, self._feed), headers=_HEADERS)


async def follow(reader: "Reader", feed: Feed) -> AsyncIterator[bytes]:
    """Yield what a reader should get, until it is cut off or the feed is closed; comments keep the connection alive."""
    sent_at = time.monotonic()
    while not (reader.ended or feed.closed):
        try:
            chunk = await reader.read()
            idle = reader.idle
        except (RedisError, OSError):
            chunk, idle = b"", True
        if not chunk and time.monotonic() - sent_at >= SILENT_SECONDS:
            chunk = reader.make_comment()
        if chunk:
            yield chunk
            sent_at = time.monotonic()
        elif idle:
            await feed.wait()


class Reader:
    """One connection's progress through the stream: first in pages from Redis, then with the feed."""

    def __init__(
        self,
        stream: EventStream,
        feed: Feed,
        pages: asyncio.Semaphore,
        wanted: Wanted,
        after: StreamId | None,
    ) -> None:
        """`after` None: from now on."""
        self._stream = stream
        self._feed = feed
        self._pages = pages
        self._wanted = wanted
        self._after = after
        self._position: StreamId | None = None
        self._gap: StreamId | None = None
        # The id with which a browser would reconnect now.
        self._told: StreamId | None = after
        # The feed's generation, once this reader uses the feed.
        self._generation = 0
        self.idle = False
        """Whether there was nothing more, and it is time to wait for the feed."""
        self.ended = False

    async def open(self) -> None:
        """Find the position to begin at; while Redis is away, that is done later."""
        try:
            await self._find_place()
        except (RedisError, OSError):
            if self._after is None:
                self._position = self._feed.end

    async def read(self) -> bytes:
        """Return the next messages, joined, or nothing. Raises RedisError and OSError."""
        if self._gap is not None:
            gap, self._gap = make_gap(self._gap), None
            return gap
        if self._position is None:
            await self._find_place()
            return b""
        if not self._generation:
            return await self._catch_up(self._position)
        try:
            self._position, chunk = self._feed.take(self._position, self._generation, self._wanted)
        except BehindError as error:
            self.ended = True
            return make_gap(error.first)
        self.idle = not chunk
        if chunk:
            self._told = self._position
        return chunk

    def make_comment(self) -> bytes:
        """Return a comment, or the new position if it has moved on over entries that were not wanted."""
        moved = self._position is not None and self._position != self._told
        self._told = self._position or self._told
        return make_comment(self._position if moved else None)

    async def _find_place(self) -> None:
        async with asyncio.timeout(PAGE_SECONDS):
            bounds = await self._stream.bounds()
        if self._after is None:
            self._position = bounds.last
        else:
            self._position = min(self._after, bounds.last)
            self._gap = bounds.gap_after(self._after)

    async def _catch_up(self, position: StreamId) -> bytes:
        """Read a page. After one that is not full the feed has everything that follows."""
        # Taken before the page is read, so that the page contains everything up to here.
        end, generation = self._feed.end, self._feed.generation
        async with asyncio.timeout(PAGE_SECONDS), self._pages:
            entries = await self._stream.after(position, PAGE)
            chunk = b"".join(make_message(*entry).data for entry in entries if self._wanted.wants(entry[1]))
        if entries:
            position = entries[-1][0]
        if len(entries) < PAGE:
            self.idle = end is None
            if end is not None:
                position = max(position, end)
                self._generation = generation
        self._position = position
        if chunk:
            self._told = position
        return chunk
