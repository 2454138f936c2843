"""Bounds for the connections of `web`: clients that send or read nothing must not shut others out.

A request head must arrive within HEAD_SECONDS. Beyond the limit of connections, the one that has waited longest for a
head is closed; if all are being answered, a new request gets 503. The kernel drops clients that have not read for
UNREAD_SECONDS.
"""

import asyncio
import socket
import sys
from collections.abc import Iterable
from typing import Any, ClassVar

import structlog
from starlette.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from config.logging import SummedLine

if sys.platform != "win32":
    import resource

HEAD_SECONDS = 10.0
UNREAD_SECONDS = 60.0
SEND_BUFFER_BYTES = 128 * 1024
MAX_CONNECTIONS = 10_000
_WANTED_DESCRIPTORS = 65_536
# Files, listeners, the event loop.
_OTHER_DESCRIPTORS = 64

log = structlog.get_logger("web")

_busy = JSONResponse({"error": "too_many_connections"}, 503, {"connection": "close", "retry-after": "1"})


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol with a time-out for heads, and a limit of connections; use a class of `bounded_protocol`."""

    limit: ClassVar[int]
    refused: ClassVar[SummedLine]
    # Connections without a request under way, longest first.
    waiting: ClassVar[dict["BoundedProtocol", None]]

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Wait for a head, and make room if there are too many connections."""
        super().connection_made(transport)
        self.waiting[self] = None
        self._start_timer()
        if len(self.connections) > self.limit:
            oldest = next(iter(self.waiting))
            if oldest is not self:
                self.refused.add("waited longest for a request")
                oldest.leave()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; a new head, or the rest of one, must arrive in time."""
        super().data_received(data)
        if self in self.waiting and not self.transport.is_closing():
            self._start_timer()

    def handle_events(self) -> None:
        """Begin to answer, or refuse with 503 if there is no room."""
        self.app = self.config.loaded_app if len(self.connections) <= self.limit else self._refuse
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for another request; uvicorn's own timer ends a connection that stays idle."""
        self.waiting[self] = None
        super().on_response_complete()

    def leave(self) -> None:
        """Close this connection at once, so that the next one to make room picks another."""
        self._stop_waiting()
        self.connections.discard(self)
        self.transport.abort()

    def _start_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        self.waiting.pop(self, None)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self.transport.close()

    async def _refuse(self, scope: Any, receive: Any, send: Any) -> None:
        self.refused.add("all connections are being answered")
        await _busy(scope, receive, send)


def bounded_protocol() -> type[BoundedProtocol]:
    """Return a protocol for one server; the limit is what this process may open."""
    return type(
        "BoundedProtocol",
        (BoundedProtocol,),
        {
            "limit": _connection_limit(),
            "refused": SummedLine(log.warning, "connection_refused", consequence="the sender must try again"),
            "waiting": {},
        },
    )


def bound_sending(listeners: Iterable[socket.socket]) -> None:
    """Bound how much the kernel buffers for each connection of these listeners, and for how long."""
    for listener in listeners:
        if listener.family in (socket.AF_INET, socket.AF_INET6):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNREAD_SECONDS * 1000))


def _connection_limit() -> int:
    """Return how many connections fit; half of the descriptors are for Redis: every delivery needs one."""
    if sys.platform == "win32":
        return MAX_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_WANTED_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, (soft - _OTHER_DESCRIPTORS) // 2))
