"""One request and its reply: authentication, the work, a fault that may spoil it, and the entry in the log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import select
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from simulator.answers import Answer, Outcome
from simulator.failures import ApiError, JsonObject
from simulator.faults import CHERT_ENDPOINTS, Endpoint, Fault, damaged, malformed
from simulator.simulation import Simulation

HTML = b"<!doctype html><html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>"

DRIPS = 20
"""Pieces of a dripping body."""


@dataclass(slots=True)
class Call:
    """The input of an endpoint's work. `now`: seconds since 1970 UTC."""

    simulation: Simulation
    request: Request
    chat_id: str
    body: bytes
    now: float

    def json(self) -> JsonObject:
        """Return the body, which must be a JSON object. Raises ApiError 1003 (Linq) if it is not."""
        try:
            content = json.loads(self.body)
        except ValueError:
            raise ApiError(1003) from None
        if not isinstance(content, dict):
            raise ApiError(1003)
        return content


@dataclass(slots=True)
class Reply:
    """An endpoint's answer when nothing goes wrong. `content` None: no body."""

    content: Any
    status: int = 200
    prompted: bool = False


Work = Callable[[Call], Reply]


@dataclass(slots=True)
class _Draft:
    """A reply on its way out."""

    status: int | None
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    code: int | None = None
    worked: bool = False
    prompted: bool = False
    outcome: Outcome = "complete"
    content: Any = None
    decided_at: float = 0.0
    drip: float = 0.0


def exchange(simulation: Simulation, endpoint: Endpoint, work: Work) -> Callable[[Request], Awaitable[Response]]:
    """Return a Starlette endpoint around `work`."""

    async def answer(request: Request) -> Response:
        received = (time.time(), time.monotonic())
        trace_id = secrets.token_hex(16)
        chat_id: str | None = request.path_params.get("chat_id")
        if chat_id is not None:
            chat_id = request.path_params["chat_id"] = chat_id.lower()
        try:
            body = await request.body()
        except ClientDisconnect:
            return Response(status_code=499)
        fault = simulation.faults.take(endpoint, chat_id)
        draft = _Draft(None, decided_at=time.time())
        if fault is None or fault.works:
            draft = await _carry_out(simulation, endpoint, work, request, trace_id)
        if fault is not None:
            _spoil(draft, fault, endpoint, trace_id)
            if fault.kind != "drip":
                await _pause(fault.delay, simulation.closing)
        if _has_gone(request.state.transport):
            draft.status, draft.outcome = None, "abandoned"
        simulation.answers.add(
            Answer(
                number=simulation.answers.next_number(),
                endpoint=endpoint,
                method=request.method,
                path=request.url.path,
                chat_id=chat_id,
                received_at=received[0],
                received_monotonic=received[1],
                decided_at=draft.decided_at,
                sent_at=time.time(),
                sent_monotonic=time.monotonic(),
                status=draft.status,
                code=draft.code,
                outcome=draft.outcome,
                worked=draft.worked,
                prompted=draft.prompted,
                features=_features(draft.content),
                fault=fault.kind if fault else None,
                trace_id=trace_id,
                request=_request_json(body),
            )
        )
        response = _Sent(draft, simulation.closing)
        response.headers["X-Trace-ID"] = trace_id
        return response

    return answer


class _Sent(Response):
    """A reply that may be cut, withheld or replaced by a reset of the connection."""

    def __init__(self, draft: _Draft, closing: asyncio.Event) -> None:
        super().__init__(draft.body, status_code=draft.status or 500, headers=draft.headers)
        self._outcome = draft.outcome
        self._drip = draft.drip
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._outcome == "complete":
            await super().__call__(scope, receive, send)
            return
        if self._outcome == "dripped":
            await self._dribble(send)
            return
        transport: asyncio.Transport = scope["state"]["transport"]
        if self._outcome == "hung":
            await self._hang(receive)
            transport.abort()
        elif self._outcome == "reset":
            connection: socket.socket = transport.get_extra_info("socket")
            # With a linger time of zero, closing sends RST instead of FIN.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        elif self._outcome == "cut":
            headers = b"".join(name + b": " + value + b"\r\n" for name, value in self.raw_headers)
            half = bytes(self.body)[: len(self.body) // 2]
            transport.write(f"HTTP/1.1 {self.status_code} Cut\r\n".encode() + headers + b"\r\n" + half)
            transport.close()
        # The server would answer 500 to a request left without a reply; it does not once the client has gone.
        while (await receive())["type"] != "http.disconnect":
            pass

    async def _dribble(self, send: Send) -> None:
        body = bytes(self.body)
        size = max(len(body) // DRIPS, 1)
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for piece in pieces:
            await _pause(self._drip / len(pieces), self._closing)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _hang(self, receive: Receive) -> None:
        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        waits = [asyncio.create_task(gone()), asyncio.create_task(self._closing.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


def _has_gone(transport: asyncio.Transport) -> bool:
    """Return whether the client has closed the connection, even if the loop has not noticed yet."""
    if transport.is_closing():
        return True
    look = select.poll()
    # Except on Linux, only a connection closed in both directions is noticed this early.
    look.register(transport.get_extra_info("socket").fileno(), getattr(select, "POLLRDHUP", 0))
    return bool(look.poll(0))


async def _pause(seconds: float, closing: asyncio.Event) -> None:
    if seconds > 0:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(closing.wait(), seconds)


async def _carry_out(simulation: Simulation, endpoint: Endpoint, work: Work, request: Request, trace_id: str) -> _Draft:
    body = await request.body()
    now = simulation.now()
    draft = _Draft(None, decided_at=now)
    try:
        _authenticate(simulation, endpoint, request)
        reply = work(Call(simulation, request, request.path_params.get("chat_id", ""), body, now))
        draft.status, draft.content, draft.worked = reply.status, reply.content, True
        draft.prompted = reply.prompted
    except ApiError as failure:
        _refuse(draft, failure, endpoint, trace_id)
    if draft.content is not None:
        draft.body = json.dumps(draft.content, separators=(",", ":")).encode()
        draft.headers["Content-Type"] = "application/json"
    simulation.settle()
    return draft


def _authenticate(simulation: Simulation, endpoint: Endpoint, request: Request) -> None:
    given = request.headers.get("Authorization", "")
    if not _is_chert(endpoint):
        if given != f"Bearer {simulation.api_key}":
            raise ApiError(2004)
        return
    if not given:
        raise ApiError(2012)
    if given != f"Bearer {simulation.chert_secret}":
        raise ApiError(2004)
    if simulation.chert_tenant is not None and request.headers.get("x-chert-tenant") != simulation.chert_tenant:
        raise ApiError(2001)


def _is_chert(endpoint: Endpoint) -> bool:
    return endpoint in CHERT_ENDPOINTS


def _refuse(draft: _Draft, failure: ApiError, endpoint: Endpoint, trace_id: str) -> None:
    render = failure.chert if _is_chert(endpoint) else failure.linq
    draft.status, draft.content = render(trace_id)
    draft.code = failure.code
    draft.body = json.dumps(draft.content, separators=(",", ":")).encode()
    draft.headers = {"Content-Type": "application/json"}
    if failure.header is not None:
        draft.headers["Retry-After"] = failure.header


def _spoil(draft: _Draft, fault: Fault, endpoint: Endpoint, trace_id: str) -> None:
    match fault.kind:
        case "error":
            failure = ApiError(
                fault.code,
                status=fault.status,
                message=fault.message,
                retry_after=fault.retry_after,
                retryable=fault.retryable,
            )
            _refuse(draft, failure, endpoint, trace_id)
        case "reset":
            draft.outcome, draft.status, draft.content = "reset", None, None
        case "hang":
            draft.outcome, draft.status, draft.content = "hung", None, None
        case "cut":
            draft.outcome, draft.content = "cut", None
            draft.body = draft.body or b"{}"
        case "drip":
            draft.outcome, draft.drip = "dripped", fault.delay
        case "slow":
            pass
        case "html":
            draft.status, draft.body, draft.content = fault.status or 502, HTML, None
            draft.headers = {"Content-Type": "text/html"}
        case "redirect":
            draft.status, draft.body, draft.content = fault.status or 302, b"", None
            draft.headers = {"Location": fault.location}
        case "empty" if draft.status == 200 and _features(draft.content) is not None:
            draft.content["data"]["features"] = []
            draft.body = json.dumps(draft.content, separators=(",", ":")).encode()
        case "malformed":
            draft.body = malformed(fault.shape, draft.content)
            draft.content = None
            draft.status = draft.status or 200
    if fault.damage is not None:
        draft.body = damaged(fault.damage, draft.body)


def _features(content: Any) -> list[Any] | None:
    if not isinstance(content, dict) or not isinstance(content.get("data"), dict):
        return None
    features = content["data"].get("features")
    # A copy: a scripted list may change later, but the log must not.
    return list(features) if isinstance(features, list) else None


def _request_json(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body[:4096].decode("utf-8", "replace")
