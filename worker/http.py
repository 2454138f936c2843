"""What all calls to other services have in common: the reply, its limits, errors and waiting times."""

import asyncio
import re
import ssl
import zlib
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, Literal, NamedTuple

import httpx
import msgspec

from worker.decoding import decode_object
from worker.proxies import find_proxy

# Reading a larger reply is given up half-way, so that no server can fill the memory.
REPLY_LIMIT = 1024 * 1024
CONNECT_SECONDS = 5.0
IDLE_SECONDS = 4.0  # of a connection; servers that announce nothing close after 5 s (uvicorn) or later
USER_AGENT = "location-worker"

Failure = Literal["timeout", "connect", "broken", "too_large", "redirect"]

# Nobody means a wait of more than a month, and the number would be too large elsewhere.
_MAX_WAIT_SECONDS = 30 * 86400.0
_MAX_HEADER = 1000  # characters of a Retry-After that are read
_SECONDS = re.compile(r"\d+(\.\d*)?", re.ASCII)
_CODE = re.compile(r"(\d{1,9})(?:\.0+)?", re.ASCII)
_MAX_CODE = 999_999_999
# Control characters and the line separators of Unicode.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_MAX_DETAIL_LENGTH = 500
_GZIP = b"\x1f\x8b"


class CertificatesError(Exception):
    """No CA certificates can be read, without which TLS is impossible."""

    def __init__(self) -> None:
        super().__init__(
            "no certificates of authorities can be read: let SSL_CERT_FILE name a file in PEM form, or leave it unset "
            "and install the system's (ca-certificates)"
        )


class Reply(msgspec.Struct, frozen=True, gc=False):
    """One answer, or its absence.

    `status` is 0 if no complete answer came (`timeout`, `connect`, `broken`); a reply that is too large or redirects
    keeps its status but not its body. `retry_after` is in seconds, from the header or else from the body, and read only
    from refusals (status 400 and above). `trace_id` is the header `X-Trace-ID`, or else `X-Request-ID`.
    """

    status: int
    body: bytes
    retry_after: float | None
    trace_id: str | None
    failure: Failure | None


class ErrorEnvelope(NamedTuple):
    """The relevant parts of `{"success": false, "error": {…}}`; None where absent or of a wrong type."""

    code: int | None
    message: str | None
    retry_after: float | None
    retryable: bool | None


def no_reply(failure: Failure) -> Reply:
    """Return the reply that stands for no answer."""
    return Reply(0, b"", None, None, failure)


def build_reply(status: int, body: bytes, retry_after: str | None, trace_id: str | None) -> Reply:
    """Return the reply of an answer whose body, encoded as it came, was read up to one byte over `REPLY_LIMIT`."""
    if 300 <= status < 400 and status != 304:
        return Reply(status, b"", None, trace_id, "redirect")
    if body[:2] == _GZIP:
        # The clients ask for no compression and unpack none; a proxy that compresses nevertheless is
        # understood.
        body = _unpack(body)
    if len(body) > REPLY_LIMIT:
        return Reply(status, b"", parse_retry_after(retry_after), trace_id, "too_large")
    if status < 400:
        return Reply(status, body, None, trace_id, None)
    wait = parse_retry_after(retry_after)
    if wait is None and (envelope := parse_error(body)) is not None:
        wait = envelope.retry_after
    return Reply(status, body, wait, trace_id, None)


def _unpack(body: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(body, REPLY_LIMIT + 1)
    except zlib.error:
        return body


def parse_retry_after(text: str | None, *, now: float | None = None) -> float | None:
    """Read a `Retry-After` header: seconds (decimals too) or an HTTP date, as seconds to wait, at most 30 days.

    Of several values joined by commas, the longest readable wait counts. Return None for anything else, for negative
    numbers and times in the past. `now`: seconds since 1970, by default from the clock.
    """
    # The comma in a date only splits off the day of the week, which is not needed.
    waits = [_read_wait(part.strip(), now) for part in (text or "")[:_MAX_HEADER].split(",")]
    return max((wait for wait in waits if wait is not None), default=None)


def _read_wait(text: str, now: float | None) -> float | None:
    if _SECONDS.fullmatch(text):
        return _wait(float(text))
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        start = datetime.now(UTC).timestamp() if now is None else now
        return _wait(moment.timestamp() - start)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _wait(seconds: float) -> float | None:
    return float(min(seconds, _MAX_WAIT_SECONDS)) if seconds >= 0 else None


def parse_error(body: bytes) -> ErrorEnvelope | None:
    """Return the error in a refusal, None if the body is not the vendors' envelope.

    A proxy's answer is not, even if it is JSON with an `error`: the vendors send `success: false` or a code from 1000,
    of which one that can be read is enough.
    """
    reply = decode_object(body)
    if reply is None or reply.get("success") is True:
        return None
    error = reply.get("error")
    if not isinstance(error, dict):
        return None
    envelope = read_error(error)
    return envelope if reply.get("success") is False or (envelope.code or 0) >= 1000 else None


def read_error(error: dict[str, Any]) -> ErrorEnvelope:
    """Return the parts of the error object itself."""
    message, retryable = error.get("message"), error.get("retryable")
    retry_after = error.get("retry_after")
    return ErrorEnvelope(
        _read_code(error.get("code")),
        message if isinstance(message, str) else None,
        _wait(retry_after) if type(retry_after) is int or type(retry_after) is float else None,
        retryable if isinstance(retryable, bool) else None,
    )


def _read_code(value: object) -> int | None:
    """Return a code from an int, a float or a text: Chert's own SDK expects all three."""
    if isinstance(value, str):
        code = _CODE.fullmatch(value.strip())
        return int(code[1]) if code else None
    if type(value) is int or (type(value) is float and value.is_integer()):
        return int(value) if 0 <= value <= _MAX_CODE else None
    return None


def error_detail(message: str | None, status: int) -> str:
    """Return the vendor's message for people, at most 500 characters on one line; the status if there is none."""
    text = _CONTROL.sub(" ", message or "").strip()[:_MAX_DETAIL_LENGTH]
    return text or f"HTTP {status}"


def build_client(
    *, base_url: str, api_key: str, connections: int, timeout: float, headers: dict[str, str] | None = None
) -> httpx.AsyncClient:
    """Return an httpx client for one service, for all its calls: bearer token, no redirects, no compression.

    `timeout` (seconds) bounds each step; `exchange` bounds the whole. Proxies and certificates come from the usual
    environment variables (HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE …). Raises CertificatesError, and SettingsError for a
    proxy that cannot be used.
    """
    proxy = find_proxy(base_url)
    return httpx.AsyncClient(
        headers={
            "Authorization": f"Bearer {api_key}",
            "Accept-Encoding": "identity",
            "User-Agent": USER_AGENT,
            **(headers or {}),
        },
        timeout=httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout), pool=None),
        limits=httpx.Limits(
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=IDLE_SECONDS
        ),
        follow_redirects=False,
        verify=certificates(),
        proxy=None if proxy is None else _secured(proxy.url),
        trust_env=False,  # httpx would fail on variables that do not concern this service
    )


def _secured(url: str) -> httpx.Proxy:
    # httpcore refuses certificates where there is no TLS.
    return httpx.Proxy(url, ssl_context=certificates() if url.lower().startswith("https:") else None)


@cache
def certificates() -> ssl.SSLContext:
    """Return the TLS context for SSL_CERT_FILE and SSL_CERT_DIR. Raises CertificatesError."""
    # Loading them takes tens of milliseconds; the many small pools of the httpx poller share them.
    try:
        context = httpx.create_ssl_context()
    except OSError:
        raise CertificatesError from None
    # Python before 3.11.4 takes any end of a connection for one that TLS has confirmed, and so a part for the whole.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)  # OpenSSL before 3 has no such option
    return context


async def exchange(client: httpx.AsyncClient, request: httpx.Request, *, timeout: float) -> Reply:
    """Send once, and read within the limits: `timeout` seconds for everything, `REPLY_LIMIT` bytes.

    Raises nothing but CancelledError.
    """
    try:
        async with asyncio.timeout(timeout):
            response = await client.send(request, stream=True)
            try:
                body = bytearray()
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > REPLY_LIMIT:
                        break
            finally:
                await response.aclose()
    except (TimeoutError, httpx.TimeoutException) as error:
        return no_reply("connect" if isinstance(error, httpx.ConnectTimeout) else "timeout")
    except (httpx.ConnectError, httpx.ProxyError):
        return no_reply("connect")
    except (httpx.HTTPError, httpx.StreamError, RuntimeError):
        # RuntimeError: the client has been closed.
        return no_reply("broken")
    headers = response.headers
    trace_id = headers.get("x-trace-id") or headers.get("x-request-id")
    return build_reply(response.status_code, bytes(body), headers.get("retry-after"), trace_id)
