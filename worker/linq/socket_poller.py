"""Read locations on non-blocking sockets of our own: the poll path, where every microsecond counts.

A read is one `send` and one `recv` on the loop's own thread (`connection.py`).
"""

import asyncio
import re
import socket
from typing import Any
from urllib.parse import quote, urlsplit

from worker.http import CONNECT_SECONDS, USER_AGENT, certificates
from worker.linq.connection import Connection, connect
from worker.linq.reply import ACCEPT, Reply, no_reply

LOOK_SECONDS = 0.1  # after this long without use, check a connection first: the server may have closed it
SWEEP_SECONDS = 1.0  # between two looks at all idle connections

_UUID = re.compile(r"[0-9a-f-]{36}").fullmatch


class SocketPoller:
    """A `Poller` over HTTP/1.1, with TLS or without, that knows no proxies. One connection for each read under way."""

    def __init__(self, *, base_url: str, api_key: str, timeout: float) -> None:
        """`timeout` (seconds) bounds a whole read, connecting (at most 5 s) included."""
        url = urlsplit(base_url.rstrip("/"))
        self._host = url.hostname or ""
        self._tls = certificates() if url.scheme == "https" else None
        self._port = url.port or (80 if self._tls is None else 443)
        self._before = f"GET {url.path}/v3/chats/".encode()
        self._after = (
            f"/location HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: Bearer {api_key}\r\n"
            f"Accept: {ACCEPT}\r\nAccept-Encoding: identity\r\nUser-Agent: {USER_AGENT}\r\n\r\n"
        ).encode()
        self._timeout = timeout
        self._connect_timeout = min(CONNECT_SECONDS, timeout)
        self._idle: list[Connection] = []  # in order of use, the latest last
        self._open: set[Connection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._lookup: asyncio.Task[list[Any]] | None = None
        # Closed from the start if the URL leads nowhere; the settings refuse such URLs.
        self._closed = not self._host or url.scheme not in ("http", "https")

    def fetch(self, chat_id: str) -> asyncio.Future[Reply]:
        """GET /v3/chats/{chat_id}/location, once; the future has no exception."""
        loop = asyncio.get_running_loop()
        awaited: asyncio.Future[Reply] = loop.create_future()
        try:
            # A UUID needs no quoting.
            part = chat_id if _UUID(chat_id) else quote(chat_id, safe="")
            request = b"".join((self._before, part.encode(), self._after))
        except UnicodeEncodeError:
            awaited.set_result(no_reply("broken"))
            return awaited
        now = loop.time()
        connection = self._take_idle(now)
        if connection is not None:
            connection.send(request, awaited, now + self._timeout)
        elif self._closed:
            awaited.set_result(no_reply("broken"))
        else:
            # A loop keeps no task alive.
            task = loop.create_task(self._connect_and_send(request, awaited, now + self._timeout))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)
        return awaited

    async def close(self) -> None:
        """Close the connections; reads under way fail as `broken`."""
        self._closed = True
        if self._lookup is not None:
            self._lookup.cancel()  # the thread that it waits for ends by itself
        for connection in [*self._open]:
            connection.close()
            self._open.discard(connection)
        self._idle.clear()
        if self._sweep is not None:
            self._sweep.cancel()
        for task in self._connecting:
            task.cancel()
        if self._connecting:
            await asyncio.wait(self._connecting)

    def _take_idle(self, now: float) -> Connection | None:
        idle = self._idle
        while idle:
            connection = idle.pop()  # the one used last, so that surplus connections grow old
            unused = now - connection.used_at
            if unused > LOOK_SECONDS and unused < connection.idle_seconds:
                connection.read()
            if connection.usable and unused < connection.idle_seconds:
                return connection
            self._drop(connection)
        return None

    def _release(self, connection: Connection) -> None:
        """Take back a connection that no longer waits for anything."""
        if not connection.usable:
            self._open.discard(connection)
            return
        self._idle.append(connection)
        if self._sweep is None:
            loop = asyncio.get_running_loop()
            self._sweep = loop.call_later(SWEEP_SECONDS, self._close_idle, loop)

    def _close_idle(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close connections that have been idle for long enough, and drop those that the server has closed."""
        now = loop.time()
        kept = [one for one in self._idle if one.usable and now - one.used_at < one.idle_seconds]
        for connection in set(self._idle).difference(kept):
            self._drop(connection)
        self._idle = kept
        self._sweep = loop.call_later(SWEEP_SECONDS, self._close_idle, loop) if kept else None

    def _drop(self, connection: Connection) -> None:
        self._open.discard(connection)
        connection.close()

    async def _connect_and_send(self, request: bytes, awaited: asyncio.Future[Reply], deadline: float) -> None:
        try:
            async with asyncio.timeout(self._connect_timeout):
                addresses = await self._addresses(asyncio.get_running_loop())
                connection = await connect(addresses, self._tls, self._host, self._release)
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 (of many kinds: OSError, ValueError, RuntimeError …)
            # Only `close` cancels.
            if not awaited.done():
                awaited.set_result(no_reply("broken" if self._closed else "connect"))
            return
        self._open.add(connection)
        connection.send(request, awaited, deadline)
        if self._closed:  # if what was awaited above swallowed the cancellation
            self._drop(connection)

    async def _addresses(self, loop: asyncio.AbstractEventLoop) -> list[Any]:
        # One lookup for all connections made meanwhile: a loop has few threads for lookups.
        if self._lookup is None:
            self._lookup = loop.create_task(_look_up(loop, self._host, self._port))
            self._lookup.add_done_callback(self._forget_lookup)
        lookup = self._lookup
        await asyncio.wait({lookup})  # a caller that is cancelled leaves it to the others
        if lookup.cancelled():
            raise ConnectionAbortedError
        return lookup.result()

    def _forget_lookup(self, lookup: "asyncio.Task[list[Any]]") -> None:
        self._lookup = None
        if not lookup.cancelled():
            lookup.exception()  # retrieved, even if nobody waits any more


async def _look_up(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[Any]:
    return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
