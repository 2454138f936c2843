"""Server-sent events, read from a real connection as the specification says."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx


class Received(NamedTuple):
    """One event as a browser would dispatch it; `last_event_id` is what it would send to reconnect."""

    type: str
    data: Any
    last_event_id: str


class EventSource:
    """One open connection. Comments are counted, `last_event_id` is kept up to date."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.last_event_id = ""
        self.comments: list[float] = []
        self._lines = response.aiter_lines()

    async def next(self, *, within: float = 20) -> Received:
        """Return the next event; raise StopAsyncIteration if the server ends the connection."""
        kind, data = "message", list[str]()
        async with asyncio.timeout(within):
            async for line in self._lines:
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if line.startswith(":"):
                    self.comments.append(time.monotonic())
                elif name == "id":
                    self.last_event_id = value
                elif name == "event":
                    kind = value
                elif name == "data":
                    data.append(value)
                elif not line:
                    if data:
                        return Received(kind, json.loads("\n".join(data)), self.last_event_id)
                    kind = "message"
        raise StopAsyncIteration

    async def take(self, count: int, *, within: float = 20) -> list[Received]:
        """Return the next events."""
        return [await self.next(within=within) for _ in range(count)]

    async def nothing(self, *, within: float) -> None:
        """Assert that no event comes in this time. The connection cannot be used afterwards."""
        with contextlib.suppress(TimeoutError):
            raise AssertionError(f"came unexpectedly: {await self.next(within=within)}")


@contextlib.asynccontextmanager
async def event_source(client: httpx.AsyncClient, url: str, **headers: str) -> AsyncIterator[EventSource]:
    """Open a connection that must be admitted."""
    async with client.stream("GET", url, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        yield EventSource(response)
