"""Deliveries of Linq's webhooks: signature and content."""

import base64
import contextlib
import hmac
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from linq import LinqAPIV3
from standardwebhooks import Webhook
from starlette.datastructures import Headers

from worker.linq.webhook import (
    ACCOUNT_EVENTS,
    AccountEvent,
    BadSignatureError,
    Ignored,
    MissingSignatureError,
    NotAnEventError,
    SharingStarted,
    SharingStopped,
    SignatureError,
    StaleSignatureError,
    parse_event,
    verify,
)

# A vector worked out by hand from the description of Standard Webhooks.
SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OTHER = "whsec_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
EVENT_ID = "5b0f6a1e-3d0c-4c55-9a7e-1f4f0a7c9e21"
TIMESTAMP = 1_791_797_405
SIGNATURE = "v1,/qFDdQG2W2/DWbah+3dCQzz+I0EJYxg7h7BcG3GEXKw="
BODY = (
    b'{"api_version":"v3","webhook_version":"2026-02-03","event_type":"location.sharing.started",'
    b'"event_id":"5b0f6a1e-3d0c-4c55-9a7e-1f4f0a7c9e21","created_at":"2026-10-12T09:30:04.512Z",'
    b'"trace_id":"0b9d6f5a4c3e2d1f8a7b6c5d4e3f2a1b","partner_id":"acme-partner","data":{"shared_by":"+12025550147",'
    b'"shared_with":"+14155550100","began_at":"2026-10-12T09:30:03Z","ends_at":"2026-10-12T10:30:03Z",'
    b'"chat_id":"3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13"}}'
)
HEADERS = {"webhook-id": EVENT_ID, "webhook-timestamp": str(TIMESTAMP), "webhook-signature": SIGNATURE}
NOW = float(TIMESTAMP)
CREATED = 1_791_797_404_512_000_000
BEGAN = 1_791_797_403_000_000_000


def sign(body: bytes, *, secret: str = SECRET, at: float | None = None) -> dict[str, str]:
    moment = datetime.fromtimestamp(int(time.time() if at is None else at), UTC)
    return {
        "Webhook-Id": EVENT_ID,
        "Webhook-Timestamp": str(int(moment.timestamp())),
        "Webhook-Signature": Webhook(secret).sign(EVENT_ID, moment, body.decode()),
    }


@pytest.fixture
def october(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock at the time of the test vector, for our code and for the library."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Clock":
            return cls.fromtimestamp(TIMESTAMP, tz)

    monkeypatch.setattr(time, "time", lambda: NOW)
    monkeypatch.setattr("standardwebhooks.webhooks.datetime", Clock)


@pytest.mark.usefixtures("october")
def test_the_vector_of_the_reference_is_accepted() -> None:
    assert len(BODY) == 436
    assert verify([SECRET], HEADERS, BODY) == EVENT_ID


def test_the_vector_is_what_the_library_signs() -> None:
    assert sign(BODY, at=TIMESTAMP)["Webhook-Signature"] == SIGNATURE


def test_what_the_library_of_the_sdk_signs_is_accepted_and_the_sdk_accepts_the_same() -> None:
    headers = sign(BODY)
    assert verify([SECRET], headers, BODY) == EVENT_ID
    sdk = LinqAPIV3(api_key="lk_example", webhook_secret=SECRET)
    assert sdk.webhooks.unwrap(BODY.decode(), headers=headers).event_type == "location.sharing.started"


def test_any_secret_will_do_while_one_is_replaced_by_another() -> None:
    assert verify([OTHER, SECRET], sign(BODY), BODY) == EVENT_ID
    assert verify([SECRET, OTHER], sign(BODY, secret=OTHER), BODY) == EVENT_ID


def test_any_of_several_signatures_will_do_among_whatever_else() -> None:
    headers = sign(BODY)
    good = headers["Webhook-Signature"]
    wrong = sign(BODY, secret=OTHER)["Webhook-Signature"]
    headers["Webhook-Signature"] = f"v2,abc nonsense v1,short v1a,x , {wrong} {good} v1,é="
    assert verify([SECRET], headers, BODY) == EVENT_ID


@pytest.mark.parametrize(
    "joined", ["{good}, {wrong}", "{wrong}, {good}", "{good},{wrong}", "{wrong} ,\t{good},", "{good}"]
)
def test_signatures_that_a_proxy_has_joined_are_told_apart(joined: str) -> None:
    headers = sign(BODY)
    good, wrong = headers["Webhook-Signature"], sign(BODY, secret=OTHER)["Webhook-Signature"]
    headers["Webhook-Signature"] = joined.format(good=good, wrong=wrong)
    assert verify([SECRET], headers, BODY) == EVENT_ID
    headers["Webhook-Signature"] = joined.format(good=wrong, wrong=wrong)
    with pytest.raises(BadSignatureError):
        verify([SECRET], headers, BODY)


@pytest.mark.parametrize("turned", [False, True])
def test_headers_in_two_lines_lose_no_event(turned: bool) -> None:
    headers = sign(BODY)
    lines = [*headers.items(), *headers.items(), ("Webhook-Signature", sign(BODY, secret=OTHER)["Webhook-Signature"])]
    raw = [(name.lower().encode(), text.encode()) for name, text in (reversed(lines) if turned else lines)]
    assert verify([SECRET], Headers(raw=raw), BODY) == EVENT_ID


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp"])
def test_two_different_ids_or_times_are_refused(name: str) -> None:
    raw = [(given.lower().encode(), text.encode()) for given, text in sign(BODY).items()]
    with pytest.raises(BadSignatureError):
        verify([SECRET], Headers(raw=[*raw, (name.encode(), b"7")]), BODY)


@pytest.mark.parametrize("name", ["Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"])
@pytest.mark.parametrize("text", [None, ""])
def test_a_missing_header_is_refused(name: str, text: str | None) -> None:
    headers = sign(BODY)
    del headers[name]
    if text is not None:
        headers[name] = text
    with pytest.raises(MissingSignatureError):
        verify([SECRET], headers, BODY)


@pytest.mark.parametrize("signature", ["v1,", "v1", "x", "v1," + "A" * 43 + "=", "v1,é", "v2," + SIGNATURE[3:]])
def test_a_signature_that_does_not_fit_is_refused(signature: str) -> None:
    with pytest.raises(BadSignatureError):
        verify([SECRET], {**sign(BODY), "Webhook-Signature": signature}, BODY)


def test_another_body_id_secret_or_none_at_all_is_refused() -> None:
    with pytest.raises(BadSignatureError):
        verify([SECRET], sign(BODY), BODY + b" ")
    with pytest.raises(BadSignatureError):
        verify([SECRET], {**sign(BODY), "Webhook-Id": "other"}, BODY)
    with pytest.raises(BadSignatureError):
        verify([OTHER], sign(BODY), BODY)
    with pytest.raises(BadSignatureError):
        verify([], sign(BODY), BODY)


def test_the_signature_is_one_of_bytes_whether_or_not_they_are_utf_8() -> None:
    """A signed body that is not text gets 400 and is kept, like every signed body that is not an event."""
    body = b"\xff" + BODY
    headers = sign(BODY)
    signed = f"{EVENT_ID}.{headers['Webhook-Timestamp']}.".encode() + body
    digest = hmac.digest(bytes(range(32)), signed, "sha256")
    with pytest.raises(BadSignatureError):
        verify([SECRET], headers, body)
    headers["Webhook-Signature"] = f"v1,{base64.b64encode(digest).decode()}"
    assert verify([OTHER, SECRET], headers, body) == EVENT_ID
    with pytest.raises(BadSignatureError):
        verify([OTHER], headers, body)
    with pytest.raises(NotAnEventError):
        parse_event(body, now=NOW)


@pytest.mark.parametrize("seconds", [-310, 310])
def test_an_old_or_early_signature_is_stale(seconds: int) -> None:
    with pytest.raises(StaleSignatureError):
        verify([SECRET], sign(BODY, at=time.time() + seconds), BODY)


@pytest.mark.parametrize("text", ["now", "1.5e9", "-1", "1791797405.0", "٣", "9" * 300])
def test_a_time_that_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(BadSignatureError):
        verify([SECRET], {**sign(BODY), "Webhook-Timestamp": text}, BODY)


def test_no_error_shows_the_secret_or_the_body() -> None:
    with pytest.raises(SignatureError) as caught:
        verify([SECRET], sign(BODY, secret=OTHER), BODY)
    assert "whsec_" not in str(caught.value)
    assert "2025550147" not in str(caught.value)


@given(st.dictionaries(st.sampled_from(list(HEADERS)), st.text(max_size=60)), st.binary(max_size=60))
def test_arbitrary_deliveries_are_refused_in_words_of_ours(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(SignatureError):
        verify([SECRET], headers, body)


def event(event_type: str = "location.sharing.started", **data: object) -> bytes:
    handles = {"shared_by": "+12025550147", "shared_with": "+14155550100"}
    return json.dumps(
        {"event_type": event_type, "created_at": "2026-10-12T09:30:04.512Z", "data": {**handles, **data}}
    ).encode()


def test_a_started_event_is_read() -> None:
    assert parse_event(BODY, now=NOW) == SharingStarted(
        "+12025550147",
        "+14155550100",
        "3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13",
        BEGAN,
        BEGAN + 3600 * 1_000_000_000,
        CREATED,
    )


def test_a_stopped_event_is_read() -> None:
    body = event(
        "location.sharing.stopped",
        shared_by="Ann@iCloud.com",
        chat_id="3F1C9A52-7D0E-4B8A-9A41-6C2B5E0D7F13",
        began_at="2026-10-12T09:30:03Z",
        ended_at="2026-10-12T09:30:03.000000001Z",
    )
    assert parse_event(body, now=NOW) == SharingStopped(
        "ann@icloud.com", "+14155550100", "3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13", BEGAN, BEGAN + 1, CREATED
    )


@pytest.mark.parametrize("value", [None, "", "soon", 7, [], {}, True, "2026-13-12T09:30:03Z"])
def test_optional_fields_that_cannot_be_used_count_as_unknown(value: object) -> None:
    odd: Any = {"chat_id": value, "began_at": value, "ends_at": value, "ended_at": value}
    assert parse_event(event(**odd), now=NOW) == SharingStarted(
        "+12025550147", "+14155550100", None, None, None, CREATED
    )
    assert parse_event(event("location.sharing.stopped", **odd), now=NOW) == SharingStopped(
        "+12025550147", "+14155550100", None, None, None, CREATED
    )


@pytest.mark.parametrize("created_at", ["null", '"soon"', "7"])
def test_an_event_without_a_time_was_made_when_it_came(created_at: str) -> None:
    body = event().replace(b'"2026-10-12T09:30:04.512Z"', created_at.encode())
    started = parse_event(body, now=NOW)
    assert isinstance(started, SharingStarted)
    assert started.created_at == TIMESTAMP * 1_000_000_000


def test_handles_are_normalized_leniently() -> None:
    started = parse_event(event(shared_by="1 (202) 555-0147", shared_with="+1 415 555 0100"), now=NOW)
    assert isinstance(started, SharingStarted)
    assert (started.shared_by, started.shared_with) == ("+12025550147", "+14155550100")


@pytest.mark.parametrize("event_type", ACCOUNT_EVENTS)
def test_events_about_the_account_are_read_without_what_names_somebody(event_type: str) -> None:
    data = {"occurred_at": "2026-10-12T09:30:03Z", "summary": "Anna moved +14155550100", "new_status": "FLAGGED"}
    body = json.dumps({"event_type": event_type, "created_at": "2026-10-12T09:30:04.512Z", "data": data}).encode()
    assert parse_event(body, now=NOW) == AccountEvent(event_type, BEGAN, "FLAGGED")


@pytest.mark.parametrize("data", [None, [], {}, {"occurred_at": 7, "new_status": "no status, but Anna's words"}])
def test_an_event_about_the_account_needs_no_data(data: object) -> None:
    body = {"event_type": "environment.line_moved", "created_at": "2026-10-12T09:30:04.512Z", "data": data}
    assert parse_event(json.dumps(body).encode(), now=NOW) == AccountEvent("environment.line_moved", CREATED, "")


def test_events_of_other_types_are_ignored_whatever_they_hold() -> None:
    assert parse_event(b'{"event_type": "message.received", "data": 7}', now=NOW) == Ignored("message.received")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b"{}",
        b'{"event_type": 7}',
        b'{"event_type": "location.sharing.started"}',
        b'{"event_type": "location.sharing.started", "data": []}',
        event(shared_by=None),
        event(shared_with=""),
        event(shared_by=12025550147),
        event(shared_by="somebody"),
        b"\xff",
        b"[" * 200_000,
    ],
)
def test_what_is_no_event_of_use_is_named_so(body: bytes) -> None:
    with pytest.raises(NotAnEventError) as caught:
        parse_event(body, now=NOW)
    assert "somebody" not in str(caught.value)


@pytest.mark.parametrize("damage", [rb"\ud83d", rb"\ude00x", b"\xe9", b"\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_a_bad_character_in_a_field_that_nobody_reads_loses_no_event(damage: bytes, bom: bytes) -> None:
    body = bom + event(display_name="HERE", number=7).replace(b"HERE", damage).replace(b'"number": 7', b'"number": NaN')
    assert isinstance(parse_event(body, now=NOW), SharingStarted)


def test_a_bad_character_costs_the_field_it_is_in() -> None:
    body = event(began_at="HERE", ends_at="2026-10-12T10:30:03Z", chat_id="HERE").replace(b"HERE", rb"\ud83d")
    started = parse_event(body, now=NOW)
    assert isinstance(started, SharingStarted)
    assert (started.chat_id, started.began_at, started.ends_at) == (None, None, BEGAN + 3600 * 1_000_000_000)
    with pytest.raises(NotAnEventError):
        parse_event(event(shared_by="ann@icloud.com").replace(b"ann", rb"an\ud83d"), now=NOW)
    with pytest.raises(NotAnEventError):
        parse_event(event("location.sharing.HERE").replace(b"HERE", rb"\ud83d"), now=NOW)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {
            "event_type": st.sampled_from(["location.sharing.started", "location.sharing.stopped", 7]) | json_values,
            "created_at": json_values,
            "data": json_values
            | st.dictionaries(
                st.sampled_from(["shared_by", "shared_with", "began_at", "ended_at", "ends_at", "chat_id"]),
                json_values | st.just("+12025550147"),
            ),
        }
    )
)
def test_events_of_any_shape_give_an_event_or_not_an_event(body: dict[str, object]) -> None:
    with contextlib.suppress(NotAnEventError):
        parse_event(json.dumps(body).encode(), now=NOW)


@given(st.binary())
def test_arbitrary_bytes_are_no_event(body: bytes) -> None:
    with pytest.raises(NotAnEventError):
        parse_event(body, now=NOW)


def test_the_secret_of_the_vector_is_the_bytes_0_to_31() -> None:
    assert base64.b64decode(SECRET.removeprefix("whsec_")) == bytes(range(32))
