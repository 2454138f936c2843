"""Webhook deliveries: signed, retried and, on demand, lost, late, doubled or out of order."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import random
import secrets
import time
import uuid
from collections import deque
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, get_args

import httpx

from simulator.clock import rfc3339
from simulator.subscriptions import Subscription, Subscriptions
from simulator.world import Event

RETRY_AFTER = (2, 4, 8, 16, 32, 64, 128, 256, 512, 600)
"""Seconds from each attempt to the next, before a variation of ±20 % and the speed."""

Disorder = Literal["lose", "duplicate", "delay", "hold"]


@dataclass(slots=True)
class Disturbance:
    """What happens to the next `events` events (None: all until cleared) of that type (None: any).

    `lose`: never sent. `delay`: sent `seconds` later. `duplicate`: sent again `seconds` later, with the same id.
    `hold`: sent after the next event that is not held, so that the two swap places. Seconds are real ones.
    """

    kind: Disorder
    event_type: str | None = None
    events: int | None = 1
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError for an unknown kind."""
        if self.kind not in get_args(Disorder):
            raise ValueError(f"kind {self.kind!r} is none of {', '.join(get_args(Disorder))}")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to deliver one event to one subscription. `status`: the receiver's, None without a reply."""

    event_id: str
    event_type: str
    subscription_id: str
    attempt: int
    sent_at: float
    status: int | None

    def wire(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def signed_headers(
    secret: str, event_id: str, timestamp: int, body: bytes, *, event_type: str = "", subscription_id: str = ""
) -> dict[str, str]:
    """Return the headers of a delivery: the Standard Webhooks ones and the legacy ones."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    current = hmac.digest(key, f"{event_id}.{timestamp}.".encode() + body, hashlib.sha256)
    legacy = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return {
        "Content-Type": "application/json",
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": "v1," + base64.b64encode(current).decode(),
        "X-Webhook-Event": event_type,
        "X-Webhook-Subscription-ID": subscription_id,
        "X-Webhook-Timestamp": str(timestamp),
        "X-Webhook-Signature": legacy.hexdigest(),
    }


def envelope(event: Event, event_id: str) -> bytes:
    """Return the body of a delivery."""
    content = {
        "api_version": "v3",
        "webhook_version": "2026-02-03",
        "event_type": event.event_type,
        "event_id": event_id,
        "created_at": rfc3339(event.created_at),
        "trace_id": secrets.token_hex(16),
        "partner_id": "simulated-partner",
        "data": event.data,
    }
    return json.dumps(content, separators=(",", ":")).encode()


class Deliveries:
    """Sends events to the subscriptions that want them. Lives on one event loop."""

    def __init__(self, subscriptions: Subscriptions, speed: float, *, timeout: float = 10.0) -> None:
        self.subscriptions = subscriptions
        self.speed = speed
        self.timeout = timeout
        self.disturbances: list[Disturbance] = []
        self.attempts: deque[Attempt] = deque(maxlen=100_000)
        self._held: list[tuple[Event, str]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._client: httpx.AsyncClient | None = None
        self._closed = False

    def announce(self, event: Event, *, event_id: str | None = None) -> str:
        """Send an event unless a disturbance prevents it; return its id, which is random unless given.

        An event of a type that Linq does not have goes to every subscription, as if all had asked for it.
        """
        event_id = event_id or str(uuid.uuid4())
        disturbance = self._disturbance(event.event_type)
        match disturbance.kind if disturbance else None:
            case "lose":
                return event_id
            case "hold":
                self._held.append((event, event_id))
                return event_id
            case "delay":
                self._send(event, event_id, after=disturbance.seconds if disturbance else 0.0)
            case "duplicate":
                self._send(event, event_id)
                self._send(event, event_id, after=disturbance.seconds if disturbance else 0.0)
            case None:
                self._send(event, event_id, then=self._held)
                self._held = []
        return event_id

    def disturb(self, disturbance: Disturbance) -> None:
        """Set a disturbance; the oldest one that matches an event applies."""
        self.disturbances.append(disturbance)

    def settle(self) -> None:
        """Remove all disturbances and send what was held."""
        self.disturbances = []
        held, self._held = self._held, []
        for event, event_id in held:
            self._send(event, event_id)

    async def close(self) -> None:
        """Give up what is under way, and send nothing more."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _disturbance(self, event_type: str) -> Disturbance | None:
        for disturbance in self.disturbances:
            if disturbance.event_type in (None, event_type):
                if disturbance.events is not None:
                    disturbance.events -= 1
                    if disturbance.events <= 0:
                        self.disturbances.remove(disturbance)
                return disturbance
        return None

    def _send(
        self, event: Event, event_id: str, *, after: float = 0.0, then: list[tuple[Event, str]] | None = None
    ) -> None:
        if self._closed:
            return
        body = envelope(event, event_id)
        for subscription in list(self.subscriptions.all.values()):
            if subscription.wants(event.event_type, event.line):
                task = asyncio.create_task(self._deliver(event, event_id, body, subscription, after))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                if then:
                    # Held events follow the end of the attempt that overtakes them, not its start.
                    task.add_done_callback(partial(self._release, then))
                    then = None

    def _release(self, held: list[tuple[Event, str]], _overtaken: asyncio.Task[None]) -> None:
        for event, event_id in held:
            self._send(event, event_id)

    async def _deliver(
        self, event: Event, event_id: str, body: bytes, subscription: Subscription, after: float
    ) -> None:
        await asyncio.sleep(after)
        for number, wait in enumerate((*RETRY_AFTER, None), start=1):
            timestamp = time.time()
            status = await self._post(subscription, event, event_id, body, int(timestamp))
            self.attempts.append(Attempt(event_id, event.event_type, subscription.id, number, timestamp, status))
            final = status is not None and status < 500 and status != 429
            if final or wait is None:
                return
            await asyncio.sleep(wait * random.uniform(0.8, 1.2) / self.speed)

    async def _post(
        self, subscription: Subscription, event: Event, event_id: str, body: bytes, timestamp: int
    ) -> int | None:
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=self.timeout, trust_env=False)
        headers = signed_headers(
            subscription.signing_secret,
            event_id,
            timestamp,
            body,
            event_type=event.event_type,
            subscription_id=subscription.id,
        )
        try:
            reply = await self._client.post(subscription.target_url, content=body, headers=headers)
        except httpx.HTTPError:
            return None
        return reply.status_code
