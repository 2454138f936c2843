"""What Linq's replies mean (docs/reference/linq.md)."""

from location_client.data import RejectionReason
from worker.domain.observation import (
    AlreadySharing,
    Fault,
    Later,
    PromptOutcome,
    ReadObservation,
    Refused,
    Rejected,
    Sent,
    Suspended,
    Throttled,
    Uncertain,
)
from worker.http import error_detail, parse_error
from worker.linq.positions import read_features
from worker.linq.reply import Reply

# Statuses that are transient whatever the code: request time-out and too early. 5xx is a range of its own.
_TRANSIENT = frozenset({408, 425})

_FORBIDDEN: dict[int | None, RejectionReason] = {
    2008: "recipient_not_allowed",
    2024: "opted_out",
    2026: "blocked",
    2027: "line_not_eligible",
}
_CONFLICT: dict[int | None, RejectionReason] = {
    2013: "chat_unavailable",
    2016: "group_chat",
    2017: "not_imessage",
}


def read_observation(reply: Reply, *, now: float) -> ReadObservation:
    """Return what a reply to GET …/location shows; `now` in seconds since 1970 (UTC).

    A refusal counts as Linq's only with Linq's error envelope: without it, a proxy may have answered, so it is a fault,
    and a fault never ends a share. Only a 401 is believed whatever its body, because it ends nothing.
    """
    status = reply.status
    if status == 200 and reply.failure is None:
        return read_features(reply.body, now=now)
    if status == 0:
        if reply.failure == "timeout":
            return Fault("timeout", "no complete reply in time")
        return Fault("broken", "no connection" if reply.failure == "connect" else "the connection broke")
    envelope = parse_error(reply.body)
    code = envelope.code if envelope else None
    if status == 401:
        return Suspended(status, code)
    if status == 429:
        # Whoever sent it: slowing down costs little, and ends nothing.
        return Throttled(reply.retry_after)
    if status >= 500 or status in _TRANSIENT:
        return Fault("server_error", f"HTTP {status}")
    if 200 <= status < 300:
        if reply.failure == "too_large":
            return Fault("malformed", "the reply is larger than 1 MiB")
        return read_features(reply.body, now=now)
    if envelope is None:
        return Fault("unexpected", f"HTTP {status}")
    if status == 403:
        return Suspended(status, code) if code == 2011 else Refused("forbidden", status, code)
    if status == 404:
        return Refused("chat_not_found", status, code)
    if status == 409 and code == 2013:
        return Refused("chat_unavailable", status, code)
    return Fault("unexpected", f"HTTP {status}, code {code}")


def prompt_outcome(reply: Reply) -> PromptOutcome:
    """Return what a reply to POST …/location/request means for the prompt.

    A refusal without Linq's error envelope comes from something in between: the prompt did not reach Linq.
    """
    status = reply.status
    if status == 0:
        return Uncertain(possibly_sent=reply.failure != "connect", detail=reply.failure or "broken")
    if 200 <= status < 300:
        return Sent()
    if status < 400 or status >= 500 or status in _TRANSIENT:
        return Uncertain(possibly_sent=True, detail=f"HTTP {status}")
    envelope = parse_error(reply.body)
    code = envelope.code if envelope else None
    if status == 401 or (status == 403 and code == 2011):
        return Suspended(status, code)
    if envelope is None:
        return Later("refused_by_proxy", reply.retry_after)
    if status == 429:
        return Later("throttled", reply.retry_after)
    if status == 409:
        if code == 2009:
            return Later("chat_being_created", reply.retry_after)
        if code not in _CONFLICT:
            return AlreadySharing()
    return Rejected(rejection(status, code), status, code, error_detail(envelope.message, status))


def rejection(status: int, code: int | None) -> RejectionReason:
    """Return why Linq refused for good, in the words of `location.request.rejected`."""
    if status == 403:
        return _FORBIDDEN.get(code, "forbidden")
    if status == 404:
        return "chat_not_found"
    if status == 409:
        return _CONFLICT.get(code, "invalid_request")
    return "invalid_request"
