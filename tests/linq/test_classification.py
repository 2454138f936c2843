"""What each reply of Linq means."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from worker.domain.observation import (
    AlreadySharing,
    Fault,
    Features,
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
from worker.http import Failure, Reply, parse_error
from worker.linq.classification import prompt_outcome, read_observation

NOW = 1_791_797_500.0
HTML = b"<html><h1>Something else answered</h1></html>"


def refusal(status: int, code: int | None = None, message: str = "No.", *, wait: float | None = None) -> Reply:
    error: dict[str, object] = {"status": status, "message": message}
    if code is not None:
        error["code"] = code
    body = json.dumps({"success": False, "error": error, "trace_id": "7d1f"}).encode()
    return Reply(status, body, wait, "7d1f", None)


def page(status: int) -> Reply:
    return Reply(status, HTML, None, None, None)


def absence(failure: Failure) -> Reply:
    return Reply(0, b"", None, None, failure)


@pytest.mark.parametrize(
    ("reply", "observation"),
    [
        (refusal(401, 2004), Suspended(401, 2004)),
        (page(401), Suspended(401, None)),
        (refusal(403, 2011), Suspended(403, 2011)),
        (refusal(403, 2005), Refused("forbidden", 403, 2005)),
        (refusal(403, 2024), Refused("forbidden", 403, 2024)),
        (refusal(403), Refused("forbidden", 403, None)),
        (page(403), Fault("unexpected", "HTTP 403")),
        (refusal(404, 2001), Refused("chat_not_found", 404, 2001)),
        (refusal(404, 9999), Refused("chat_not_found", 404, 9999)),
        (refusal(404), Refused("chat_not_found", 404, None)),
        (page(404), Fault("unexpected", "HTTP 404")),
        (refusal(409, 2013), Refused("chat_unavailable", 409, 2013)),
        (refusal(409, 2009), Fault("unexpected", "HTTP 409, code 2009")),
        (page(409), Fault("unexpected", "HTTP 409")),
        (refusal(400, 1002), Fault("unexpected", "HTTP 400, code 1002")),
        (page(410), Fault("unexpected", "HTTP 410")),
        (refusal(429, 1007, wait=38.0), Throttled(38.0)),
        (page(429), Throttled(None)),
        (page(408), Fault("server_error", "HTTP 408")),
        (page(425), Fault("server_error", "HTTP 425")),
        (refusal(500, 3006), Fault("server_error", "HTTP 500")),
        (page(502), Fault("server_error", "HTTP 502")),
        (refusal(503, 4004, wait=30.0), Fault("server_error", "HTTP 503")),
        (Reply(304, b"", None, None, None), Fault("unexpected", "HTTP 304")),
        (Reply(302, b"", None, None, "redirect"), Fault("unexpected", "HTTP 302")),
        (Reply(200, b"", None, None, "too_large"), Fault("malformed", "the reply is larger than 1 MiB")),
        (Reply(404, b"", None, None, "too_large"), Fault("unexpected", "HTTP 404")),
        (Reply(401, b"", None, None, "too_large"), Suspended(401, None)),
        (Reply(200, HTML, None, None, None), Fault("malformed", "the reply is not a JSON object")),
        (Reply(204, b"", None, None, None), Fault("malformed", "the reply is not a JSON object")),
        (absence("timeout"), Fault("timeout", "no complete reply in time")),
        (absence("broken"), Fault("broken", "the connection broke")),
        (absence("connect"), Fault("broken", "no connection")),
    ],
)
def test_a_read_is_sorted(reply: Reply, observation: ReadObservation) -> None:
    assert read_observation(reply, now=NOW) == observation


@pytest.mark.parametrize("status", [200, 202, 299])
def test_any_success_of_a_read_is_read(status: int) -> None:
    reply = Reply(status, b'{"success": true, "data": {"features": []}}', None, None, None)
    assert read_observation(reply, now=NOW) == Features([], [])


# A page and JSON as gateways and load balancers send them.
NOT_LINQS = [
    HTML,
    b"",
    b"[]",
    b'{"success": true, "error": {"code": 2001}}',
    b'{"error": "gone"}',
    b'{"message": "Forbidden"}',
    b'{"error": {"code": 404, "message": "No route matched", "status": "NOT_FOUND"}}',
    b'{"error": {"code": "ResourceNotFound", "message": "No."}}',
    b'{"success": false, "errors": [{"code": 2001}]}',
    b'{"success": false, "error": "not found"}',
]


@pytest.mark.parametrize("body", NOT_LINQS)
@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 410, 413, 422, 451])
def test_a_refusal_that_is_not_linqs_ends_nothing(status: int, body: bytes) -> None:
    reply = Reply(status, body, 7.0, None, None)
    assert read_observation(reply, now=NOW) == Fault("unexpected", f"HTTP {status}")
    assert prompt_outcome(reply) == Later("refused_by_proxy", 7.0)


@pytest.mark.parametrize("damage", [rb"\ud83d", b"\xe9", b"\n", rb"\x"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(
    ("whole", "observation", "outcome"),
    [
        (refusal(403, 2011, "HERE"), Suspended(403, 2011), Suspended),
        (refusal(404, 2001, "HERE"), Refused("chat_not_found", 404, 2001), Rejected),
        (refusal(409, 2009, "HERE"), Fault("unexpected", "HTTP 409, code 2009"), Later),
        (refusal(409, 2013, "HERE"), Refused("chat_unavailable", 409, 2013), Rejected),
    ],
)
def test_a_damaged_message_does_not_void_the_code(
    damage: bytes, bom: bytes, whole: Reply, observation: ReadObservation, outcome: type
) -> None:
    reply = structs.replace(whole, body=bom + whole.body.replace(b"HERE", b"No " + damage))
    assert read_observation(reply, now=NOW) == observation
    assert type(prompt_outcome(reply)) is outcome


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (Reply(200, b'{"success": true}', None, None, None), Sent()),
        (Reply(202, HTML, None, None, None), Sent()),
        (Reply(204, b"", None, None, None), Sent()),
        (Reply(200, b"", None, None, "too_large"), Sent()),
        (refusal(409, 2009, wait=3.0), Later("chat_being_created", 3.0)),
        (refusal(409, 2009), Later("chat_being_created", None)),
        (refusal(409, 2013), Rejected("chat_unavailable", 409, 2013, "No.")),
        (refusal(409, 2016), Rejected("group_chat", 409, 2016, "No.")),
        (refusal(409, 2017), Rejected("not_imessage", 409, 2017, "No.")),
        (refusal(409, 2015), AlreadySharing()),
        (refusal(409, 2099), AlreadySharing()),
        (refusal(409), AlreadySharing()),
        (refusal(429, 1007, wait=38.0), Later("throttled", 38.0)),
        (refusal(401, 2004), Suspended(401, 2004)),
        (page(401), Suspended(401, None)),
        (refusal(403, 2011), Suspended(403, 2011)),
        (refusal(403, 2008), Rejected("recipient_not_allowed", 403, 2008, "No.")),
        (refusal(403, 2024), Rejected("opted_out", 403, 2024, "No.")),
        (refusal(403, 2026), Rejected("blocked", 403, 2026, "No.")),
        (refusal(403, 2027), Rejected("line_not_eligible", 403, 2027, "No.")),
        (refusal(403, 2005), Rejected("forbidden", 403, 2005, "No.")),
        (refusal(404, 2001), Rejected("chat_not_found", 404, 2001, "No.")),
        (refusal(400, 1002), Rejected("invalid_request", 400, 1002, "No.")),
        (refusal(422, 2013), Rejected("invalid_request", 422, 2013, "No.")),
        (page(408), Uncertain(True, "HTTP 408")),
        (page(425), Uncertain(True, "HTTP 425")),
        (refusal(500, 4001), Uncertain(True, "HTTP 500")),
        (page(504), Uncertain(True, "HTTP 504")),
        (Reply(302, b"", None, None, "redirect"), Uncertain(True, "HTTP 302")),
        (Reply(304, b"", None, None, None), Uncertain(True, "HTTP 304")),
        (absence("timeout"), Uncertain(True, "timeout")),
        (absence("broken"), Uncertain(True, "broken")),
        (absence("connect"), Uncertain(False, "connect")),
    ],
)
def test_a_prompt_is_sorted(reply: Reply, outcome: PromptOutcome) -> None:
    assert prompt_outcome(reply) == outcome


def test_the_detail_is_one_line_of_at_most_500_characters() -> None:
    outcome = prompt_outcome(refusal(400, 1002, "Not\x00 valid:\r\n" + "é" * 1000 + "\u2028"))
    assert isinstance(outcome, Rejected)
    assert outcome.detail == "Not  valid: " + "é" * 488


@pytest.mark.parametrize("code", ["2011", 2011.0, "2011.0", " 2011 "])
def test_a_code_is_one_as_text_or_float_too(code: object) -> None:
    reply = Reply(403, json.dumps({"success": False, "error": {"code": code}}).encode(), None, None, None)
    assert read_observation(reply, now=NOW) == prompt_outcome(reply) == Suspended(403, 2011)


@pytest.mark.parametrize("code", [True, None, [2011], 2011.5, "2011x", -2011, 10**400, "9" * 20])
def test_a_code_that_is_no_whole_number_counts_as_absent(code: object) -> None:
    error = {"code": code, "message": 5, "retry_after": "x", "retryable": 1}
    reply = Reply(403, json.dumps({"success": False, "error": error}).encode(), None, None, None)
    assert read_observation(reply, now=NOW) == Refused("forbidden", 403, None)
    assert prompt_outcome(reply) == Rejected("forbidden", 403, None, "HTTP 403")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(["success", "error", "code", "message", "retry_after", "data", "features"]), children
        )
    ),
    max_leaves=10,
)


@given(
    st.one_of(st.just(0), st.integers(200, 999)),
    st.one_of(st.binary(), st.builds(lambda value: json.dumps(value).encode(), json_values)),
    st.sampled_from([None, "timeout", "connect", "broken", "too_large", "redirect"]),
)
def test_no_reply_at_all_raises_and_no_fault_of_a_read_ends_a_share(
    status: int, body: bytes, failure: Failure | None
) -> None:
    reply = Reply(status, body, None, None, failure)
    observation = read_observation(reply, now=NOW)
    assert isinstance(observation, ReadObservation)
    if status >= 500 or status in {0, 401, 429}:
        assert not isinstance(observation, Refused | Features)
    outcome = prompt_outcome(reply)
    assert isinstance(outcome, PromptOutcome)
    if 200 <= status < 300:
        assert outcome == Sent()
    if parse_error(body) is None:
        assert not isinstance(observation, Refused)
        assert not isinstance(outcome, Rejected | AlreadySharing)
