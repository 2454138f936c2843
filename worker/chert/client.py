"""Sending a pin through Chert, once (reference: chert-api.md, sections 2 to 4)."""

from typing import Any, Self

import msgspec
import structlog

from worker.http import ErrorEnvelope, Reply, build_client, decode_object, error_detail, exchange, read_error

_log = structlog.get_logger(__name__)

_TIMEOUT_SECONDS = 10.0
_CONNECTIONS = 20

# The secret or the clock is wrong: no pin passes until a person acts, and none needs to be lost by it (section 12, 9).
_UNAUTHORIZED = frozenset({2004, 2012, 2013})
_NOT_CONFIGURED = 3003  # a 500 that must not be retried (section 12, 5)


class Queued(msgspec.Struct, frozen=True):
    """The line took the pin; the recipient has seen nothing yet. `location` as Chert gave it, empty
    where absent.
    """

    message_id: str
    phone_line_id: str | None
    location: dict[str, Any]


class Failed(msgspec.Struct, frozen=True):
    """Refused for good. `code` is Chert's or None, `detail` for people; `account_wide`: every pin will
    fail so.
    """

    code: int | None
    detail: str
    account_wide: bool


class Retry(msgspec.Struct, frozen=True):
    """Not sent now; the same body may be tried again after `after` seconds (None: not said)."""

    after: float | None
    reason: str


class Uncertain(msgspec.Struct, frozen=True):
    """No usable answer: the pin may have been sent. Only the identical body may be tried again."""

    reason: str


PinOutcome = Queued | Failed | Retry | Uncertain


class ChertClient:
    """Chert's API. Every call is bounded: 10 s (5 s to connect), 1 MiB, no redirect; nothing here retries."""

    def __init__(self, *, base_url: str, signing_secret: str, tenant: str | None = None) -> None:
        """`base_url` as in `CHERT_BASE_URL`; `tenant` is needed by multi-tenant accounts only."""
        self._base = f"{base_url.rstrip('/')}/api/v1"
        self._client = build_client(
            base_url=base_url,
            api_key=signing_secret,
            connections=_CONNECTIONS,
            timeout=_TIMEOUT_SECONDS,
            headers={"x-chert-tenant": tenant} if tenant else None,
        )

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def send(self, body: bytes) -> PinOutcome:
        """Send what `Pin.body` gave. Raises nothing but CancelledError."""
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
        """Make the cheapest authenticated read (the lines), which shows whether the secret and the tenant are
        accepted.
        """
        request = self._client.build_request("GET", f"{self._base}/phone-numbers")
        return await exchange(self._client, request, timeout=_TIMEOUT_SECONDS)


def pin_outcome(reply: Reply) -> PinOutcome:
    """Return what a reply to POST /api/v1/locations means: `retryable` decides, and the status where it is
    absent.
    """
    status = reply.status
    if status == 0:
        if reply.failure == "connect":
            return Retry(None, "connect")
        return Uncertain(reply.failure or "broken")
    if 200 <= status < 300:
        return _queued(reply)
    if status < 400:
        return Retry(None, f"HTTP {status}")
    error = _error(reply.body)
    retryable = error.retryable
    if retryable is None:
        transient = status in {408, 425, 429} or status >= 500
        retryable = transient and error.code != _NOT_CONFIGURED
    if retryable:
        reason = f"HTTP {status}" if error.code is None else f"HTTP {status}, code {error.code}"
        return Retry(error.retry_after if reply.retry_after is None else reply.retry_after, reason)
    account_wide = error.code in _UNAUTHORIZED or (error.code is None and status == 401)
    return Failed(error.code, error_detail(error.message, status), account_wide)


def _queued(reply: Reply) -> PinOutcome:
    body = decode_object(reply.body) or {}
    message_id = body.get("message_id")
    if not isinstance(message_id, str) or not message_id:
        return Uncertain("malformed reply: no message_id")
    phone_line_id, location = body.get("phone_line_id"), body.get("location")
    return Queued(
        message_id,
        phone_line_id if isinstance(phone_line_id, str) else None,
        location if isinstance(location, dict) else {},
    )


def _error(body: bytes) -> ErrorEnvelope:
    """Return the error of the envelope, or of the flat form that other routes of Chert use."""
    reply = decode_object(body) or {}
    error = reply.get("error")
    return read_error(error if isinstance(error, dict) else reply)
