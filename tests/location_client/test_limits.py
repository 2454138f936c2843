"""Every form accepts what the worker can use, and refuses what can never be valid."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from location_client import limits
from location_client.limits import Form
from worker.domain.handle import normalize_handle

FORMS = {name: form for name, form in vars(limits).items() if isinstance(form, Form)}
CHAT = limits.EXAMPLE_CHAT_ID


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (limits.CHAT_ID, CHAT),
        (limits.CHAT_ID, CHAT.upper()),
        (limits.REFERENCE, "Bestellung № 7"),
        (limits.REFERENCE, "x" * 128),
        (limits.HANDLE, "+1 (202) 555-0147"),
        (limits.HANDLE, "+44 (0)20 7946 0018"),
        (limits.HANDLE, " Anna@Example.org "),
        (limits.SECONDS, 0.001),
        (limits.SECONDS, limits.MAX_SECONDS),
        (limits.LATITUDE, -90),
        (limits.RADIUS, 20),
        (limits.MESSAGE, "Where are you?\nWe are here."),
        (limits.PIN_URL, "https://maps.example.org/?q=1"),
        (limits.PIN_TIME, "2026-10-12T20:00:00.5+02:00"),
        (limits.IDEMPOTENCY_KEY, "k" * 200),
    ],
)
def test_what_the_worker_can_use_is_accepted(form: Form, value: object) -> None:
    assert form.accepts(value)


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (limits.CHAT_ID, CHAT.replace("-", "")),
        (limits.CHAT_ID, CHAT + "\n"),
        (limits.CHAT_ID, CHAT.replace("3", "٣")),
        (limits.REFERENCE, "x" * 129),
        (limits.REFERENCE, "a\tb"),
        (limits.HANDLE, "12025550147"),
        (limits.HANDLE, "+1202"),
        (limits.HANDLE, "anna@"),
        (limits.HANDLE, "a" * 400 + "@example.org"),
        (limits.SECONDS, 0),
        (limits.SECONDS, limits.MAX_SECONDS + 1),
        (limits.SECONDS, True),
        (limits.LATITUDE, 90.5),
        (limits.LATITUDE, math.nan),
        (limits.RADIUS, 10**400),
        (limits.MESSAGE, " "),
        (limits.MESSAGE, "x" * 10_001),
        (limits.PIN_URL, "maps.example.org"),
        (limits.PIN_TIME, "2026-10-12 20:00"),
        (limits.FALLBACK_MODE, "vcard"),
        (limits.IDEMPOTENCY_KEY, "k" * 201),
        (limits.IDEMPOTENCY_KEY, "ключ"),
    ],
)
def test_what_it_cannot_use_is_refused(form: Form, value: object) -> None:
    assert not form.accepts(value)


@given(
    before=st.sampled_from(["", " ", "\u202a", "<", "tel:", "mailto:", "<MAILTO:"]),
    address=st.one_of(
        st.from_regex(r"\+(44|36|7|1|39)( ?\((0|06|8)\))?( ?[0-9]{2,4}){2,4}", fullmatch=True),
        st.emails(),
        st.emails().map(lambda email: f"{email}?subject=from {email}"),
    ),
    after=st.sampled_from(["", "\n", "\u202c", ">"]),
)
def test_whatever_the_worker_reads_as_a_handle_has_the_form_of_one(before: str, address: str, after: str) -> None:
    text = before + address + after
    try:
        normalize_handle(text)
    except ValueError:
        return
    assert limits.HANDLE.accepts(text)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("value", [None, "", [], {}, b"x", object()], ids=lambda value: type(value).__name__)
def test_a_value_of_another_kind_is_refused_without_an_exception(form: Form, value: object) -> None:
    assert not form.accepts(value)
