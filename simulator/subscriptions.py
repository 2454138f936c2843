"""Webhook subscriptions (docs/reference/linq.md, Webhook subscriptions)."""

from __future__ import annotations

import base64
import ipaddress
import secrets
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from simulator.clock import rfc3339
from simulator.failures import ApiError, JsonObject

EVENT_TYPES = (
    "location.sharing.started",
    "location.sharing.stopped",
    "message.sent",
    "message.received",
    "message.delivered",
    "message.read",
    "message.failed",
    "participant.added",
    "participant.removed",
    "phone_number.assigned",
    "phone_number.released",
    "phone_number.status_updated",
    "api_token.expiry_scheduled",
    "api_token.expired",
    "environment.line_moved",
    "webhook_subscription.disabled",
    "zero_day_retention.updated",
)
"""The event types that the reference names; Linq has more."""


@dataclass(slots=True)
class Subscription:
    """One receiver of webhooks. `phone_numbers`: only events of these lines; None or empty: all."""

    id: str
    target_url: str
    subscribed_events: list[str]
    phone_numbers: list[str] | None
    signing_secret: str
    created_at: float
    updated_at: float
    is_active: bool = True

    def wants(self, event_type: str, line: str) -> bool:
        """Return whether such an event is delivered here; one of an unknown type goes to everyone."""
        if not self.is_active or (self.phone_numbers and line not in self.phone_numbers):
            return False
        return event_type in self.subscribed_events or event_type not in EVENT_TYPES

    def wire(self, *, with_secret: bool = False) -> JsonObject:
        """Return it as JSON; the secret only in the reply to its creation."""
        wire: JsonObject = {
            "id": self.id,
            "target_url": self.target_url,
            "subscribed_events": self.subscribed_events,
            "phone_numbers": self.phone_numbers,
            "is_active": self.is_active,
            "routing_key_header": None,
            "routing_id_header": None,
            "created_at": rfc3339(self.created_at),
            "updated_at": rfc3339(self.updated_at),
        }
        if with_secret:
            wire["signing_secret"] = self.signing_secret
        return wire


class Subscriptions:
    """The account's subscriptions."""

    def __init__(self) -> None:
        self.all: dict[str, Subscription] = {}

    def create(self, body: JsonObject, now: float, *, secret: str | None = None) -> Subscription:
        """Add a subscription from the body of the call. Raises ApiError."""
        for field in ("target_url", "subscribed_events"):
            if not body.get(field):
                raise ApiError(1001, message=f"{field} is required")
        self._check(body, None)
        subscription = Subscription(
            str(uuid.uuid4()),
            body["target_url"],
            body["subscribed_events"],
            body.get("phone_numbers"),
            secret or "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
            now,
            now,
        )
        self.all[subscription.id] = subscription
        return subscription

    def get(self, subscription_id: str) -> Subscription:
        """Return a subscription. Raises ApiError 404/2010 if there is none."""
        if subscription_id not in self.all:
            raise ApiError(2010)
        return self.all[subscription_id]

    def update(self, subscription_id: str, body: JsonObject, now: float) -> Subscription:
        """Change only what the body names."""
        subscription = self.get(subscription_id)
        self._check(body, subscription_id)
        for field in ("target_url", "subscribed_events", "phone_numbers", "is_active"):
            if field in body:
                setattr(subscription, field, body[field])
        subscription.updated_at = now
        return subscription

    def delete(self, subscription_id: str) -> None:
        """Remove a subscription. Raises ApiError 404/2010 if there is none."""
        del self.all[self.get(subscription_id).id]

    def _check(self, body: JsonObject, own_id: str | None) -> None:
        if "target_url" in body:
            url = body["target_url"]
            if not isinstance(url, str) or not _acceptable(url):
                raise ApiError(1005, message="target_url must be an https URL")
            if any(other.target_url == url and other.id != own_id for other in self.all.values()):
                raise ApiError(1005, message="target_url is in use by another subscription")
        if "subscribed_events" in body:
            events: Any = body["subscribed_events"]
            if not isinstance(events, list) or not events or not set(map(str, events)) <= set(EVENT_TYPES):
                raise ApiError(1005, message="subscribed_events holds an unknown event type, or none")
        if not isinstance(body.get("phone_numbers") or [], list):
            raise ApiError(1003)
        if not isinstance(body.get("is_active", True), bool):
            raise ApiError(1003)


def _acceptable(url: str) -> bool:
    """HTTPS as Linq wants it, and plain HTTP to this machine, where tests and the demo listen."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(parts.hostname)
    if parts.scheme != "http" or not parts.hostname:
        return False
    try:
        return ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        return parts.hostname == "localhost"
