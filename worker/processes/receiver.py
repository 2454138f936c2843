"""The routes of the web process: Linq's webhooks, health and metrics (docs/reference/http.md).

A delivery is verified, parsed and stored as a job for a worker. The answer is 204 only once it is stored; if it cannot
be, the answer is 503, and Linq sends it again.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Mapping
from typing import Literal

import msgspec
import structlog
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from redis.exceptions import RedisError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from config.logging import SummedLine
from config.redis_errors import explain
from config.settings import Settings
from location_client.outages import error_code
from worker import metrics
from worker.domain.share import PHASES, Phase
from worker.linq.webhook import (
    AccountEvent,
    Ignored,
    NotAnEventError,
    SharingStarted,
    SignatureError,
    parse_event,
    verify,
)
from worker.store.account_events import Announced
from worker.store.store import Store

MAX_BODY_BYTES = 256 * 1024
ANSWER_SECONDS = 1.5
LINGER_SECONDS = 2.0
READ_SECONDS = 10.0  # after this long Linq itself gives a delivery up and sends it again
PROBE_SECONDS = 3.0  # how old the result of the last trial write may be

ACCOUNT_REMEDY = "see Linq's dashboard and `location-worker doctor`"

log = structlog.get_logger("web")


class _UnreadResponse(JSONResponse):
    """An answer to a request whose body was not read to its end; it ends the connection.

    For a moment the rest is read and discarded: closing at once would reset the connection, and a client that is still
    sending would never see the answer.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        self.headers["connection"] = "close"
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while (message := await receive())["type"] != "http.disconnect" and message.get("more_body"):
                    pass
        await send({"type": "http.response.body"})


class Receiver:
    """The routes of the web process."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._secrets = settings.linq_webhook_secrets
        self._store = store
        self._refused = SummedLine(log.warning, "webhook_refused")
        self._not_stored = SummedLine(log.error, "webhook_not_stored", consequence="Linq sends them again")
        self._probing = asyncio.Lock()
        self._probed_at = -math.inf  # monotonic
        self._trouble = ""  # why Redis refused the last trial write

    async def receive(self, request: Request) -> Response:
        """POST /webhooks/linq."""
        status, outcome = await self._take_in(request)
        metrics.WEBHOOKS.labels(outcome).inc()
        log.debug("webhook", outcome=outcome)
        if status == 204:
            return Response(status_code=204)
        answer = _UnreadResponse if outcome in ("too_large", "too_slow", "no_secret_set") else JSONResponse
        return answer({"error": outcome}, status)

    async def _take_in(self, request: Request) -> tuple[int, metrics.WebhookOutcome]:
        if not self._secrets:
            return 503, "no_secret_set"
        try:
            async with asyncio.timeout(READ_SECONDS):
                body = await _read_body(request)
        except ClientDisconnect:
            return 400, "disconnected"
        except TimeoutError:
            return 503, "too_slow"
        if body is None:
            return 413, "too_large"
        try:
            event_id = verify(self._secrets, request.headers, body)
        except SignatureError as error:
            self._refused.add(str(error))
            return 401, "bad_signature"
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._store_delivery(event_id, body)
        except (RedisError, OSError) as error:
            self._not_stored.add(_cause(error))
            return 503, "not_stored"

    async def _store_delivery(self, event_id: str, body: bytes) -> tuple[int, metrics.WebhookOutcome]:
        """Store what a delivery says, or keep it as a dead letter. Raises redis-py's errors."""
        try:
            event = parse_event(body, now=time.time())
        except NotAnEventError as error:
            return await self._keep(body, str(error))
        if isinstance(event, Ignored):
            return 204, "ignored"
        if isinstance(event, AccountEvent):
            return await self._note(event)
        kind: Literal["started", "stopped"] = "started" if isinstance(event, SharingStarted) else "stopped"
        new = await self._store.inbox.put(event_id, kind, msgspec.to_builtins(event))
        return 204, "accepted" if new else "duplicate"

    async def _note(self, event: AccountEvent) -> tuple[int, metrics.WebhookOutcome]:
        """Log what changed in the account: it may explain refusals that follow."""
        announced = Announced(event.event_type, event.at / 1e9, event.status)
        if await self._store.account_events.put(announced):
            log.warning("account_event", type=event.event_type, status=event.status or None, remedy=ACCOUNT_REMEDY)
        return 204, "account_event"

    async def _keep(self, body: bytes, fault: str) -> tuple[int, metrics.WebhookOutcome]:
        await self._store.dead_letters.add("webhook", "not_an_event", payload=body, detail={"fault": fault})
        metrics.DEAD_LETTERS.labels("webhook").inc()
        return 400, "not_an_event"

    async def alive(self, _: Request) -> Response:
        """GET /healthz."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _: Request) -> Response:
        """GET /readyz."""
        reasons = []
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                pause = await self._store.account_pause.state()
                if pause is not None:
                    reasons.append(f"polling is paused: {pause.reason}")
                reasons += [
                    f"{line.chats} chats of a line wait: {line.pause.reason}"
                    for line in await self._store.lost_lines.states()
                ]
                trouble = await self._write_trouble()
        except (RedisError, OSError) as error:
            trouble = _cause(error)
        if trouble:
            reasons.append(trouble)
        return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def _write_trouble(self) -> str:
        """Return why Redis accepts no writes, empty if it does; tried at most once every PROBE_SECONDS.

        Raises RedisError where it is away.
        """
        async with self._probing:
            if time.monotonic() - self._probed_at > PROBE_SECONDS:
                try:
                    await self._store.outage.probe()
                except RedisError as error:
                    if not error_code(error):
                        raise
                    self._trouble = _cause(error)
                else:
                    self._trouble = ""
                self._probed_at = time.monotonic()
        return self._trouble

    def close(self) -> None:
        """Write the log lines that are still being summed up."""
        self._refused.flush()
        self._not_stored.flush()

    async def show_metrics(self, _: Request) -> Response:
        """GET /metrics: this process' counters, and the fleet's gauges from Redis (NaN while Redis does not answer)."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                overview = await self._store.shares.overview()
                paused = await self._store.account_pause.state() is not None
                paused = paused or bool(await self._store.lost_lines.states())
                rate = await self._store.budget.rate()
        except (RedisError, OSError):
            _show_fleet(dict.fromkeys(PHASES, math.nan), lag=math.nan, rate=math.nan, paused=math.nan)
        else:
            _show_fleet(overview.phases, lag=overview.lag, rate=rate, paused=paused)
        return Response(generate_latest(metrics.WEB), media_type=CONTENT_TYPE_LATEST)


def _cause(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        # Our own timeout, not the connection's: this process may be the slow one.
        return f"no answer of Redis within {ANSWER_SECONDS:g} s: it is slow or away, or this process is overloaded"
    return f"Redis {explain(error).cause}"


def _show_fleet(phases: Mapping[Phase, float], *, lag: float, rate: float, paused: float) -> None:
    metrics.DUE_LAG_SECONDS.set(lag)
    for phase, count in phases.items():
        metrics.SHARES.labels(phase).set(count)
    metrics.RATE_LIMIT.set(rate)
    metrics.PAUSED.set(paused)


async def _read_body(request: Request) -> bytes | None:
    """Read the body; return None as soon as it exceeds the limit."""
    with contextlib.suppress(ValueError):
        if int(request.headers.get("content-length", "0")) > MAX_BODY_BYTES:
            return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)
