"""Sending a pin through Chert, once (docs/reference/chert.md)."""

from typing import Any, Self

import msgspec
import structlog

from worker.decoding import decode_object
from worker.http import ErrorEnvelope, Reply, build_client, error_detail, exchange, parse_error, read_error

_log = structlog.get_logger(__name__)

_TIMEOUT_SECONDS = 10.0
_CONNECTIONS = 20

# The secret or the clock is wrong: no pin is accepted until a person acts, and none has to be lost.
_UNAUTHORIZED = frozenset({2004, 2012, 2013})
_NOT_CONFIGURED = 3003  # a 500 that must not be retried (docs/reference/chert.md, Errors)
# Chert's own words that no line took the pin: rate limit, no line now, all lines busy.
_NOT_SENT = _UNAUTHORIZED | {_NOT_CONFIGURED, 1007, 3002, 4002}


class Queued(msgspec.Struct, frozen=True):
    """The line accepted the pin; the recipient has seen nothing yet. `location` as Chert gave it, empty if absent."""

    message_id: str
    phone_line_id: str | None
    location: dict[str, Any]


class Failed(msgspec.Struct, frozen=True):
    """Refused for good. `code` is Chert's or None, `detail` is for people; `account_wide`: every pin will be.

    `possibly_sent` as in Retry.
    """

    code: int | None
    detail: str
    account_wide: bool
    possibly_sent: bool = False


class Retry(msgspec.Struct, frozen=True):
    """Not queued now; only the identical body may be tried again, after `after` seconds (None: not given).

    `code` is Chert's or None; `possibly_sent`: it is unknown whether this attempt sent the pin.
    """

    reason: str
    after: float | None = None
    code: int | None = None
    possibly_sent: bool = False


PinOutcome = Queued | Failed | Retry


class ChertClient:
    """Chert's API. Every call is bounded: 10 s (5 s to connect), 1 MiB, no redirect; nothing here retries."""

    def __init__(self, *, base_url: str, signing_secret: str, tenant: str | None = None) -> None:
        """Keep `base_url`, as in `CHERT_BASE_URL`, the secret, and `tenant`, which only multi-tenant accounts need."""
        self._base = f"{base_url.rstrip('/')}/api/v1"
        self._client = build_client(
            base_url=base_url,
            api_key=signing_secret,
            connections=_CONNECTIONS,
            timeout=_TIMEOUT_SECONDS,
            headers={"x-chert-tenant": tenant} if tenant else None,
        )

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def send(self, body: bytes) -> PinOutcome:
        """Send a pin's body. Raises nothing but CancelledError."""
        request = self._client.build_request(
            "POST", f"{self._base}/locations", content=body, headers={"Content-Type": "application/json"}
        )
        reply = await exchange(self._client, request, timeout=_TIMEOUT_SECONDS)
        outcome = pin_outcome(reply)
        _log.debug(
            "chert call",
            route="/api/v1/locations",
            status=reply.status,
            failure=reply.failure,
            trace_id=reply.trace_id,
            outcome=type(outcome).__name__.lower(),
        )
        return outcome

    async def probe(self) -> Reply:
        """Make the cheapest authenticated call (the lines), which shows whether secret and tenant are accepted."""
        request = self._client.build_request("GET", f"{self._base}/phone-numbers")
        return await exchange(self._client, request, timeout=_TIMEOUT_SECONDS)


def pin_outcome(reply: Reply) -> PinOutcome:
    """Return what a reply to POST /api/v1/locations means.

    An error's `retryable` says what to do, whatever the status. A refusal without Chert's envelope comes from something
    in between; only a 401 counts all the same, as no pin is lost by it.
    """
    status = reply.status
    error = _error(reply.body)
    if status == 0:
        return Retry(reply.failure or "broken", possibly_sent=reply.failure != "connect")
    if status < 400 and error is None:
        return _queued(reply) if 200 <= status < 300 else Retry(f"HTTP {status}", possibly_sent=True)
    code = error.code if error else None
    account_wide = status == 401 or code in _UNAUTHORIZED
    if not account_wide and _is_retryable(status, error):
        reason = f"HTTP {status}" if code is None else f"HTTP {status}, code {code}"
        after = error.retry_after if error is not None and reply.retry_after is None else reply.retry_after
        return Retry(reason, after, code, possibly_sent=not 400 <= status < 500 and code not in _NOT_SENT)
    detail = error_detail(error.message if error else None, status)
    return Failed(code, detail, account_wide, possibly_sent=status < 400 and code not in _NOT_SENT)


def _is_retryable(status: int, error: ErrorEnvelope | None) -> bool:
    if error is None:
        return True
    if error.retryable is not None:
        return error.retryable
    return error.code != _NOT_CONFIGURED and (status < 400 or status in {408, 425, 429} or status >= 500)


def _queued(reply: Reply) -> PinOutcome:
    body = decode_object(reply.body) or {}
    message_id = body.get("message_id")
    if not isinstance(message_id, str) or not message_id:
        return Retry("malformed reply: no message_id", possibly_sent=True)
    phone_line_id, location = body.get("phone_line_id"), body.get("location")
    return Queued(
        message_id,
        phone_line_id if isinstance(phone_line_id, str) else None,
        location if isinstance(location, dict) else {},
    )


def _error(body: bytes) -> ErrorEnvelope | None:
    """Return Chert's error, in the envelope or in the flat form of its other routes; None if the body is neither."""
    envelope = parse_error(body)
    if envelope is not None:
        return envelope
    reply = decode_object(body) or {}
    flat = reply.get("success") is False or reply.get("status") == "failed" or isinstance(reply.get("retryable"), bool)
    return read_error(reply) if flat else None
