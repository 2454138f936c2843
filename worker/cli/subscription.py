"""What the `webhooks` commands subscribe to, and the sample they send."""

import json
import uuid
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

EVENTS = ("location.sharing.started", "location.sharing.stopped")
PAYLOAD_VERSION = "2026-02-03"
"""The newest payload version; pinned, so that Linq's changes do not surprise us."""

_MEANINGS = {
    401: "the endpoint has a different LINQ_WEBHOOK_SECRET from this command, or its clock is off by over 5 minutes",
    404: "nothing answers at this path: the route is /webhooks/linq",
    503: "the endpoint has no LINQ_WEBHOOK_SECRET, or cannot reach Redis",
}


def pinned(url: str) -> str:
    """Return the URL with the payload version pinned. Raises ValueError with the message for the person."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.fragment:
        raise ValueError(
            f"{url!r} is not an address that Linq can call: expected https://HOST/webhooks/linq, public, without #"
        )
    if "version" in parse_qs(parts.query):
        return url
    return f"{url}{'&' if parts.query else '?'}version={PAYLOAD_VERSION}"


def sample(now: float) -> bytes:
    """Make a delivery about the end of a share that does not exist. `now` in seconds since 1970 (UTC)."""
    at = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = {
        "api_version": "v3",
        "webhook_version": PAYLOAD_VERSION,
        "event_type": "location.sharing.stopped",
        "event_id": str(uuid.uuid4()),
        "created_at": at,
        "trace_id": uuid.uuid4().hex,
        "partner_id": "location-worker-test",
        "data": {
            "shared_by": "nobody@location-worker.invalid",
            "shared_with": "+12025550100",
            "began_at": at,
            "ended_at": at,
            "chat_id": None,
        },
    }
    return json.dumps(body).encode()


def send_sample(url: str, secret: str, now: float) -> tuple[bool, str]:
    """Deliver a signed sample as Linq would; return whether it was accepted, and what the answer means."""
    import httpx  # noqa: PLC0415  # takes a while to import
    from standardwebhooks import Webhook  # noqa: PLC0415

    body = sample(now)
    event_id = json.loads(body)["event_id"]
    signature = Webhook(secret).sign(event_id, datetime.fromtimestamp(int(now), UTC), body.decode())
    headers = {
        "content-type": "application/json",
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": signature,
    }
    try:
        status = httpx.post(url, content=body, headers=headers, timeout=10, trust_env=False).status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return False, f"{url} does not answer ({type(error).__name__}): is `location-worker web` running there?"
    if status == 204:
        return True, f"{url} accepted a signed sample (204)"
    return False, f"{url} answered {status}: {_MEANINGS.get(status, 'expected 204')}"
