"""Waiting times and errors in vendors' replies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.http import (
    REPLY_LIMIT,
    ErrorEnvelope,
    build_reply,
    error_detail,
    parse_error,
    parse_retry_after,
)

NOW = 1_791_797_405.0  # Mon, 12 Oct 2026 09:30:05 GMT


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("38", 38.0),
        ("0", 0.0),
        (" 2.5 ", 2.5),
        ("3.", 3.0),
        ("2592000", 2_592_000.0),
        # The longest wait is 30 days.
        ("2592001", 2_592_000.0),
        ("9" * 400, 2_592_000.0),
        ("Mon, 12 Oct 2126 09:31:05 GMT", 2_592_000.0),
        # A header that was sent several times, joined into one.
        ("3, 38, 7", 38.0),
        ("soon, 38", 38.0),
        ("Mon, 12 Oct 2026 09:31:05 GMT, 7", 60.0),
        ("Monday, 12-Oct-26 09:31:05 GMT, Mon, 12 Oct 2026 09:32:05 GMT", 120.0),
        ("Mon, 12 Oct 2026 09:31:05 GMT", 60.0),
        ("Monday, 12-Oct-26 09:31:05 GMT", 60.0),
        ("Mon Oct 12 09:31:05 2026", 60.0),
        ("Mon, 12 Oct 2026 11:31:05 +0200", 60.0),
    ],
)
def test_seconds_and_dates_are_read(text: str, seconds: float) -> None:
    assert parse_retry_after(text, now=NOW) == seconds


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "-1",
        "+1",
        "1e3",
        "nan",
        "inf",
        "Infinity",
        "soon",
        "1 minute",
        "٣",
        ",",
        "-1, soon",
        "Mon, 12 Oct 2026 09:30:04 GMT",
        "Mon, 32 Oct 2026 09:31:05 GMT",
        "Mon, 12 Oct 99999 09:31:05 GMT",
        "Mon, 12 Oct 2026 09:31:05 +9999999999",
        "2026-10-12T09:31:05Z",
    ],
)
def test_anything_else_is_no_wait(text: str | None) -> None:
    assert parse_retry_after(text, now=NOW) is None


@given(st.text())
def test_arbitrary_headers_never_raise(text: str) -> None:
    seconds = parse_retry_after(text, now=NOW)
    assert seconds is None or 0 <= seconds <= 30 * 86400


def test_the_clock_is_the_default() -> None:
    assert parse_retry_after("Mon, 12 Oct 2015 09:31:05 GMT") is None


@given(st.binary())
def test_arbitrary_bodies_never_raise(body: bytes) -> None:
    parse_error(body)
    reply = build_reply(429, body, None, None)
    assert reply.failure is None


@given(st.binary(max_size=200))
def test_damaged_packing_is_handed_on_or_unpacked(tail: bytes) -> None:
    assert build_reply(200, b"\x1f\x8b" + tail, None, None).status == 200


def test_the_body_is_asked_only_where_the_header_says_nothing() -> None:
    body = b'{"success": false, "error": {"retry_after": 7}}'
    assert build_reply(429, body, "38", None).retry_after == 38.0
    assert build_reply(429, body, None, None).retry_after == 7.0
    assert build_reply(200, body, "38", None).retry_after is None
    assert build_reply(429, b"a" * (REPLY_LIMIT + 1), "38", None).retry_after == 38.0


def test_the_envelope_is_read_and_wrong_types_count_as_absent() -> None:
    body = b'{"success": false, "error": {"code": 1007, "message": "Slow.", "retry_after": 3, "retryable": true}}'
    assert parse_error(body) == ErrorEnvelope(1007, "Slow.", 3.0, True)
    odd = b'{"success": false, "error": {"code": [1007], "message": 1, "retry_after": true, "retryable": "yes"}}'
    assert parse_error(odd) == ErrorEnvelope(None, None, None, None)
    assert parse_error(b'{"success": false, "error": {"retry_after": -1}}') == ErrorEnvelope(None, None, None, None)
    far = b'{"success": false, "error": {"retry_after": 1' + b"0" * 400 + b"}}"
    assert parse_error(far) == ErrorEnvelope(None, None, 2_592_000.0, None)
    assert parse_error(b"{}") is None


def test_a_detail_is_never_empty() -> None:
    assert error_detail(None, 404) == error_detail(" \n", 404) == "HTTP 404"
