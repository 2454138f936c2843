"""Deliveries of Linq's webhooks: their signatures and their content (docs/reference/linq.md)."""

import base64
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec
from standardwebhooks import Webhook, WebhookVerificationError

from worker.decoding import REPLACEMENT, decode_object
from worker.domain.handle import normalize_handle
from worker.domain.timestamp import NANOSECONDS, parse_time

STARTED = "location.sharing.started"
STOPPED = "location.sharing.stopped"
ACCOUNT_EVENTS = (
    "environment.line_moved",
    "api_token.expiry_scheduled",
    "webhook_subscription.disabled",
    "phone_number.status_updated",
)
"""Events about the account, which warn that reads or webhooks are about to be refused."""

_TOLERANCE_SECONDS = 300
_LATEST = 2**63 - 1  # nanoseconds since 1970: in the year 2262
_STATUS = re.compile(r"[A-Z_]{1,20}")
_INTEGER = re.compile(r"\d{1,15}", re.ASCII)
# 32 bytes of HMAC-SHA256 in base64. One entry of another shape would make the library refuse them all. Entries are
# separated by a space, or by what a proxy inserts when it joins several headers.
_SIGNATURE = re.compile(r"(?<![^\s,])v1,[A-Za-z0-9+/]{43}=(?![^\s,])")


class WebhookError(Exception):
    """Why a delivery is refused.

    SignatureError
        MissingSignatureError, BadSignatureError, StaleSignatureError
    NotAnEventError
    """


class SignatureError(WebhookError):
    """It is not proven that Linq sent this."""


class MissingSignatureError(SignatureError):
    """A header of the signature is absent or empty."""


class BadSignatureError(SignatureError):
    """The time is not a number of seconds, or no signature fits any secret."""


class StaleSignatureError(SignatureError):
    """Signed more than 300 s ago, or that far in the future: a replay, or a clock that is off."""


class NotAnEventError(WebhookError):
    """Signed, but not JSON, not an event, or a location event without usable handles."""


class SharingStarted(msgspec.Struct, frozen=True):
    """A contact (`shared_by`) shares with a line (`shared_with`), both in normal form.

    Times are in nanoseconds since 1970 (UTC), None if unknown; `created_at` is the time of reception if the delivery
    does not tell. `chat_id`: the chat in which sharing began, in lower case; None if unknown.
    """

    shared_by: str
    shared_with: str
    chat_id: str | None
    began_at: int | None
    ends_at: int | None
    created_at: int


class SharingStopped(msgspec.Struct, frozen=True):
    """A share ended; fields as in SharingStarted. `ended_at` is when Linq saw the end."""

    shared_by: str
    shared_with: str
    chat_id: str | None
    began_at: int | None
    ended_at: int | None
    created_at: int


class AccountEvent(msgspec.Struct, frozen=True):
    """Something changed in the account at `at` (nanoseconds since 1970, UTC); `status` is a line's, or empty."""

    event_type: str
    at: int
    status: str


class Ignored(msgspec.Struct, frozen=True):
    """An event of a type that the worker does not use."""

    event_type: str


def verify(secrets: Sequence[str], headers: Mapping[str, str], body: bytes) -> str:
    """Return the event id (`webhook-id`) of a delivery that Linq signed with one of the secrets (`whsec_…`).

    `headers` may hold a name twice. `body` is the raw body. Raises SignatureError, and ValueError if a secret cannot be
    decoded.
    """
    event_id, timestamp = _once(headers, "webhook-id"), _once(headers, "webhook-timestamp")
    signatures = ", ".join(_all(headers, "webhook-signature"))
    if not event_id or not timestamp or not signatures:
        raise MissingSignatureError("webhook-id, webhook-timestamp and webhook-signature must all be there")
    if not _INTEGER.fullmatch(timestamp):
        raise BadSignatureError("webhook-timestamp is not a number of seconds since 1970")
    if abs(time.time() - int(timestamp)) > _TOLERANCE_SECONDS:
        raise StaleSignatureError("signed more than 5 minutes ago or ahead: is this machine's clock right?")
    entries = _SIGNATURE.findall(signatures)
    signed = {
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(entries),
    }
    if entries:
        for secret in secrets:
            try:
                _webhook(secret).verify(body, signed, json_parse=False)
            except WebhookVerificationError:
                continue
            except UnicodeError:
                if not _fits(secret, f"{event_id}.{timestamp}.".encode() + body, entries):
                    continue
            return event_id
    raise BadSignatureError("no signature fits: is LINQ_WEBHOOK_SECRET that of this subscription?")


def _all(headers: Mapping[str, str], name: str) -> list[str]:
    """Return the values of a header, one for each of its lines if the mapping keeps them apart."""
    return [text for given, text in headers.items() if given.lower() == name]


def _once(headers: Mapping[str, str], name: str) -> str:
    """Return the value of a header that a proxy may have repeated."""
    return ", ".join(dict.fromkeys(_all(headers, name)))


def _fits(secret: str, signed: bytes, entries: list[str]) -> bool:
    """Return whether an entry signs these bytes. The library accepts only text, but bytes are what is signed."""
    key = base64.b64decode(secret.removeprefix("whsec_") + "==")
    digest = b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256"))
    return any(hmac.compare_digest(digest, entry.encode()) for entry in entries)


@lru_cache(maxsize=16)
def _webhook(secret: str) -> Webhook:
    return Webhook(secret)


def parse_event(body: bytes, *, now: float) -> SharingStarted | SharingStopped | AccountEvent | Ignored:
    """Return the event in a verified delivery; `now`: when it came, in seconds since 1970.

    Only the two handles are required; any other field that is absent, null or malformed counts as unknown. Raises
    NotAnEventError.
    """
    event = decode_object(body)
    if event is None:
        raise NotAnEventError("the body is not a JSON object")
    if not isinstance(event_type := event.get("event_type"), str) or REPLACEMENT in event_type:
        raise NotAnEventError("the body has no event_type that can be read")
    data = event.get("data")
    if event_type in ACCOUNT_EVENTS:
        return _account_event(event_type, event, now=now)
    if event_type not in {STARTED, STOPPED}:
        return Ignored(event_type)
    if not isinstance(data, dict):
        raise NotAnEventError("the event has no data")
    shared_by, shared_with = _handle(data, "shared_by"), _handle(data, "shared_with")
    chat_id, began_at = _chat_id(data.get("chat_id")), _time(data.get("began_at"))
    created_at = _time(event.get("created_at"))
    if created_at is None:
        created_at = int(now * NANOSECONDS)
    if event_type == STARTED:
        return SharingStarted(shared_by, shared_with, chat_id, began_at, _time(data.get("ends_at")), created_at)
    return SharingStopped(shared_by, shared_with, chat_id, began_at, _time(data.get("ended_at")), created_at)


def _account_event(event_type: str, event: dict[str, Any], *, now: float) -> AccountEvent:
    """Read only the fields that cannot name people: the others are not for logs."""
    data = event.get("data")
    if not isinstance(data, dict):
        data = {}
    times = (_time(data.get("occurred_at")), _time(data.get("changed_at")), _time(event.get("created_at")))
    at = next((time for time in times if time is not None), int(now * 1_000_000_000))
    status = data.get("new_status")
    return AccountEvent(event_type, at, status if isinstance(status, str) and _STATUS.fullmatch(status) else "")


def _handle(data: dict[str, Any], name: str) -> str:
    text = data.get(name)
    try:
        return normalize_handle(text if isinstance(text, str) else "", lenient=True)
    except ValueError:
        raise NotAnEventError(f"{name} is neither a phone number nor an e-mail address") from None


def _time(text: object) -> int | None:
    try:
        time_ns = parse_time(text) if isinstance(text, str) else None
    except ValueError:
        return None
    # A time that does not fit the stored form of a share is centuries away: it counts as unknown, or as no end.
    return None if time_ns is None or time_ns > _LATEST else time_ns


def _chat_id(text: object) -> str | None:
    try:
        return str(UUID(text)) if isinstance(text, str) else None
    except ValueError:
        return None
