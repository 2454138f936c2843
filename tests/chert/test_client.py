"""Sending pins: what goes out, and what each answer means."""

import json

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tests.support.rawserver import Exchange, answering, http_answer, raw_server
from worker.chert.client import ChertClient, Failed, PinOutcome, Queued, Retry, pin_outcome
from worker.http import Failure, Reply

SECRET = "00112233445566778899aabbccddeeff"
BODY = b'{"phone":"+12025550147","latitude":51.5033,"longitude":-0.1196,"idempotency_key":"pin-7f3a"}'
LOCATION = {"latitude": 51.5033, "longitude": -0.1196, "mode": "balloon"}
ACCEPTED = {
    "message_id": "msg_01JA6Z0Q6N0V",
    "status": "queued",
    "phone_line_id": "pl_14155550100",
    "location": LOCATION,
}


def refusal(
    status: int, code: float | str | None = None, *, retryable: object = None, wait: float | None = None
) -> Reply:
    error = {"status": status, "code": code, "message": "No.", "retryable": retryable, "retry_after": wait}
    body = json.dumps({"success": False, "error": error}).encode()
    return Reply(status, body, None, None, None)


async def test_the_body_goes_out_as_it_is_with_secret_and_tenant() -> None:
    answer = http_answer(json.dumps(ACCEPTED).encode(), status="202 Accepted")
    async with raw_server(answering(answer)) as server:
        async with ChertClient(base_url=f"{server.url}/", signing_secret=SECRET, tenant="acme") as client:
            outcome = await client.send(BODY)
        async with ChertClient(base_url=server.url, signing_secret=SECRET) as client:
            await client.send(BODY)
    assert outcome == Queued("msg_01JA6Z0Q6N0V", "pl_14155550100", LOCATION)
    assert server.bodies == [BODY, BODY]
    first, second = (head.decode().lower() for head in server.requests)
    assert first.startswith("post /api/v1/locations http/1.1\r\n")
    assert f"authorization: bearer {SECRET}\r\n" in first
    assert "content-type: application/json\r\n" in first
    assert "x-chert-tenant: acme\r\n" in first
    assert "x-chert-tenant" not in second


async def test_a_pin_is_sent_once_whatever_happens() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.reset()

    async with (
        raw_server(script) as server,
        ChertClient(base_url=server.url, signing_secret=SECRET) as client,
    ):
        assert await client.send(BODY) == Retry("broken", possibly_sent=True)
    assert len(server.requests) == 1


async def test_nobody_listening_means_that_nothing_was_sent() -> None:
    async with ChertClient(base_url="http://127.0.0.1:1", signing_secret=SECRET) as client:
        assert await client.send(BODY) == Retry("connect")


async def test_the_header_says_how_long_to_wait() -> None:
    body = b'{"success": false, "error": {"code": 1007, "retryable": true, "retry_after": 3}}'
    answer = http_answer(body, status="429 Too Many Requests", headers=(("Retry-After", "5"),))
    async with (
        raw_server(answering(answer)) as server,
        ChertClient(base_url=server.url, signing_secret=SECRET) as client,
    ):
        assert await client.send(BODY) == Retry("HTTP 429, code 1007", 5.0, 1007)


async def test_the_probe_reads_the_lines() -> None:
    async with (
        raw_server(answering(http_answer(b'{"phone_numbers": []}'))) as server,
        ChertClient(base_url=server.url, signing_secret=SECRET) as client,
    ):
        assert (await client.probe()).status == 200
    assert server.requests[0].startswith(b"GET /api/v1/phone-numbers HTTP/1.1\r\n")


async def test_the_log_line_has_no_recipient_coordinate_or_secret() -> None:
    with structlog.testing.capture_logs() as lines:
        async with (
            raw_server(answering(http_answer(json.dumps(ACCEPTED).encode(), status="202 Accepted"))) as server,
            ChertClient(base_url=server.url, signing_secret=SECRET) as client,
        ):
            await client.send(BODY)
    (line,) = lines
    assert (line["log_level"], line["status"], line["outcome"]) == ("debug", 202, "queued")
    for private in ("2025550147", "51.5033", SECRET):
        assert private not in str(line)


def bare(status: int, body: bytes = b"<html>", *, wait: float | None = None, failure: Failure | None = None) -> Reply:
    return Reply(status, body, wait, None, failure)


DOUBTFUL = Retry("malformed reply: no message_id", possibly_sent=True)


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (bare(202, b'{"message_id": "m", "location": null, "new": 1}'), Queued("m", None, {})),
        (bare(200, b'{"message_id": "m", "phone_line_id": 7}'), Queued("m", None, {})),
        (bare(202, b'\xef\xbb\xbf{"message_id": "m", "odd": "\\ud83d"}'), Queued("m", None, {})),
        (bare(202, b'{"message_id": "m\xe9", "odd": NaN}'), Queued("m\ufffd", None, {})),
        (bare(202, b"{}"), DOUBTFUL),
        (bare(202, b'{"message_id": ""}'), DOUBTFUL),
        (bare(202, b'{"message_id": 7}'), DOUBTFUL),
        (bare(202), DOUBTFUL),
        (bare(202, b"", failure="too_large"), DOUBTFUL),
        (bare(0, b"", failure="timeout"), Retry("timeout", possibly_sent=True)),
        (bare(302, b"", failure="redirect"), Retry("HTTP 302", possibly_sent=True)),
        (bare(304, b""), Retry("HTTP 304", possibly_sent=True)),
        (refusal(400, 1002, retryable=False), Failed(1002, "No.", False)),
        (refusal(422, 4099, retryable=False), Failed(4099, "No.", False)),
        (refusal(422, "4099", retryable=False), Failed(4099, "No.", False)),
        (refusal(422, 4099.0, retryable=False), Failed(4099, "No.", False)),
        (refusal(429, 1007, retryable=True, wait=9), Retry("HTTP 429, code 1007", 9.0, 1007)),
        (refusal(502, 4001, retryable=True), Retry("HTTP 502, code 4001", None, 4001, True)),
        (refusal(502, 4001, retryable=False), Failed(4001, "No.", False)),
        (refusal(500, 3001, retryable=True), Retry("HTTP 500, code 3001", None, 3001, True)),
        (refusal(500, 3003, retryable=False), Failed(3003, "No.", False)),
        (refusal(500, 3003), Failed(3003, "No.", False)),
        (refusal(500, "3003"), Failed(3003, "No.", False)),
        (refusal(400, 1001, retryable=True), Retry("HTTP 400, code 1001", None, 1001)),
        (refusal(401, 2004, retryable=False), Failed(2004, "No.", True)),
        (refusal(404, 2001, retryable=False), Failed(2001, "No.", False)),
        (refusal(403, 2005, retryable=False), Failed(2005, "No.", False)),
        (refusal(403, 2007, retryable=False), Failed(2007, "No.", False)),
        (refusal(402, 2008, retryable=False), Failed(2008, "No.", False)),
        (refusal(401, 2012, retryable=False), Failed(2012, "No.", True)),
        (refusal(401, 2013, retryable=False), Failed(2013, "No.", True)),
        (refusal(401, 2099, retryable=True), Failed(2099, "No.", True)),
        (refusal(400, 2006, retryable=False), Failed(2006, "No.", False)),
        (refusal(404), Failed(None, "No.", False)),
        (refusal(503, 3002, retryable="yes"), Retry("HTTP 503, code 3002", None, 3002)),
        (refusal(503, 4002, retryable=True, wait=2), Retry("HTTP 503, code 4002", 2.0, 4002)),
        (refusal(200, 1007, retryable=True, wait=2), Retry("HTTP 200, code 1007", 2.0, 1007)),
        (refusal(202, 4001), Retry("HTTP 202, code 4001", None, 4001, True)),
        (refusal(202), Retry("HTTP 202", possibly_sent=True)),
        (refusal(200, 4099, retryable=False), Failed(4099, "No.", False, True)),
        (refusal(200, 2004, retryable=False), Failed(2004, "No.", True)),
        (bare(202, b'{"success": false, "message_id": "m"}'), Retry("HTTP 202", possibly_sent=True)),
        (bare(202, b'{"status": "failed", "code": 3001}'), Retry("HTTP 202, code 3001", None, 3001, True)),
        (bare(401), Failed(None, "HTTP 401", True)),
        (bare(403), Retry("HTTP 403")),
        (bare(404), Retry("HTTP 404")),
        (bare(404, b'{"message": "no Route matched with those values"}'), Retry("HTTP 404")),
        (bare(408, b""), Retry("HTTP 408")),
        (bare(425, b""), Retry("HTTP 425")),
        (bare(429, wait=4.0), Retry("HTTP 429", 4.0)),
        (bare(503), Retry("HTTP 503", possibly_sent=True)),
        (
            bare(422, b'{"status":"failed","code":4099,"message":"No.","retryable":false}'),
            Failed(4099, "No.", False),
        ),
        (
            bare(503, b'{"status":"failed","code":4002,"retryable":true,"retry_after":2}'),
            Retry("HTTP 503, code 4002", 2.0, 4002),
        ),
        (bare(422, b'{"code":"4099","message":"N\\ud83d","retryable":false}'), Failed(4099, "N\ufffd", False)),
    ],
)
def test_an_answer_is_sorted(reply: Reply, outcome: PinOutcome) -> None:
    assert pin_outcome(reply) == outcome


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(["success", "error", "code", "message", "retry_after", "retryable", "message_id"]),
            children,
        )
    ),
    max_leaves=10,
)


@given(
    st.one_of(st.just(0), st.integers(200, 999)),
    st.one_of(st.binary(), st.builds(lambda value: json.dumps(value).encode(), json_values)),
    st.sampled_from([None, "timeout", "connect", "broken", "too_large", "redirect"]),
)
def test_no_reply_at_all_raises(status: int, body: bytes, failure: Failure | None) -> None:
    assert isinstance(pin_outcome(Reply(status, body, None, None, failure)), PinOutcome)
