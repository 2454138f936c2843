"""Handles are brought into one form."""

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
        ("\u2068ann@example.org\u2069", "ann@example.org"),
        ("\u200e\u202aAnn@Example.org\u202c ", "ann@example.org"),
        ("mailto:Ann@example.org", "ann@example.org"),
        ("<ann@example.org>", "ann@example.org"),
        (" <MAILTO:ann%2Bhome@example.org?subject=Hi> ", "ann+home@example.org"),
        ("tel:+1-202-555-0147", "+12025550147"),
        ("<tel:+12025550147>", "+12025550147"),
        (" +4402079460018 ", "+4402079460018"),
        ("a" * 242 + "@example.org", "a" * 242 + "@example.org"),
    ],
)
def test_handles_get_their_normal_form(text: str, handle: str) -> None:
    assert normalize_handle(text) == handle
    assert normalize_handle(handle) == handle
    assert normalize_handle(text, lenient=True) == handle


@pytest.mark.parametrize(
    ("text", "handle"),
    [
        ("+44 (0)20 7946 0018", "+442079460018"),
        ("+44(0)20-7946-0018", "+442079460018"),
        ("(+44) (0) 20 7946 0018", "+442079460018"),
        ("\u202a+44 \u2066(0)\u2069 20 7946 0018\u202c", "+442079460018"),
        ("+44 (020) 7946 0018", "+442079460018"),
        ("+49 (0)30 123456", "+4930123456"),
        ("+353 (0)1 234 5678", "+35312345678"),
        ("tel:+44(0)20-7946-0018", "+442079460018"),
        ("+36 (06) 1 234 5678", "+3612345678"),
        ("+7 (8) 495 123-45-67", "+74951234567"),
        ("+7 (812) 123-45-67", "+78121234567"),
        ("+46 (8) 123 456 78", "+46812345678"),
        ("+39 06 698 12345", "+390669812345"),
        ("+39 (06) 698 12345", "+390669812345"),
        ("+225 07 12 34 56 78", "+2250712345678"),
    ],
)
def test_a_trunk_prefix_is_no_part_of_the_number(text: str, handle: str) -> None:
    assert normalize_handle(text) == normalize_handle(text, lenient=True) == handle


def test_a_vendors_number_without_plus_may_have_a_trunk_prefix() -> None:
    assert normalize_handle("44 (0)20 7946 0018", lenient=True) == "+442079460018"


@pytest.mark.parametrize("text", ["+39 (0)6 698 12345", "+225 (0)7 12 34 56 78", "+44 (00)20 7946 0018", "+36 (0)0 1"])
def test_a_zero_that_may_or_may_not_belong_to_the_number_is_refused(text: str) -> None:
    for lenient in (False, True):
        with pytest.raises(ValueError, match=r"^not a handle: (whether|leave out)"):
            normalize_handle(text, lenient=lenient)


@pytest.mark.parametrize("text", ["+44 020 7946 0018", "+44-0-20-7946-0018", "+353 01 234 5678", "+1 0202 555 0147"])
def test_a_zero_in_front_of_the_area_code_is_told_to_people_and_left_to_vendors(text: str) -> None:
    with pytest.raises(ValueError, match="leave out the 0"):
        normalize_handle(text)
    digits = "".join(character for character in text if character.isdigit())
    assert normalize_handle(text, lenient=True) == f"+{digits}"


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
        "an\ufffdn@example.org",
        "+1202555014\ufffd7",
        "Ann <ann@example.org>",
        "<ann@example.org",
        "ann@<example.org>",
        "mailto:",
        "mailto:ann%FF@example.org",
        "an\u200en@example.org",
        "sms:+12025550147",
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
