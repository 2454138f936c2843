"""Handles in one form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.handle import handle_digest, normalize_handle


@pytest.mark.parametrize(
    ("text", "handle"),
    [
        ("+12025550147", "+12025550147"),
        ("+1 202 555 0123", "+12025550123"),
        ("+1 (202) 555-0123", "+12025550123"),
        ("+1.202.555.0123", "+12025550123"),
        ("+1\u00a0202\u202f555\u20110123", "+12025550123"),
        ("\u202a+1 (202) 555-0123\u202c", "+12025550123"),
        ("+49 30/1234567", "+49301234567"),
        ("+1234567", "+1234567"),
        ("+123456789012345", "+123456789012345"),
        ("Ann.Example@iCloud.com", "ann.example@icloud.com"),
        (" ann@example.org\n", "ann@example.org"),
        ("jürgen@münchen.example", "jürgen@münchen.example"),
        ("+1@example.org", "+1@example.org"),
        ("a" * 242 + "@example.org", "a" * 242 + "@example.org"),
    ],
)
def test_handles_get_their_normal_form(text: str, handle: str) -> None:
    assert normalize_handle(text) == handle
    assert normalize_handle(handle) == handle
    assert normalize_handle(text, lenient=True) == handle


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+",
        "+123456",
        "+1234567890123456",
        "+0123456789",
        "++12025550147",
        "1+2025550147",
        "+1202555o147",
        "+١٢٣٤٥٦٧٨٩",
        "+1 202 555 0147 ext 5",
        "Ann",
        "@example.org",
        "ann@",
        "ann@example@org",
        "ann lee@example.org",
        "ann\u00a0lee@example.org",
        "ann\x00@example.org",
        "ann\ud800@example.org",
        "a" * 243 + "@example.org",
        "+1" + " " * 500 + "2025550147",
    ],
)
def test_what_is_no_handle_is_refused_without_being_repeated(text: str) -> None:
    for lenient in (False, True):
        with pytest.raises(ValueError, match=r"^not a handle: expected a phone number") as caught:
            normalize_handle(text, lenient=lenient)
        assert len(text) < 5 or text not in str(caught.value)


def test_digits_without_plus_are_taken_only_from_vendors() -> None:
    assert normalize_handle("1 202 555 0147", lenient=True) == "+12025550147"
    with pytest.raises(ValueError, match="country code"):
        normalize_handle("1 202 555 0147")


@given(st.text(), st.booleans())
def test_arbitrary_text_gives_a_stable_handle_or_a_value_error(text: str, lenient: bool) -> None:
    try:
        handle = normalize_handle(text, lenient=lenient)
    except ValueError:
        return
    assert normalize_handle(handle) == handle


def test_digests_are_short_tell_apart_and_hide_the_handle() -> None:
    digest = handle_digest("+12025550147")
    assert len(digest) == 20
    assert int(digest, 16) >= 0
    assert digest == handle_digest("+12025550147") != handle_digest("+12025550148")
