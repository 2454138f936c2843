"""A handle is found however it is written; another handle that merely looks like it is not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.mentions import Mentions

PHONE = Mentions("+12025550147")
EMAIL = Mentions("anna@example.org")


@pytest.mark.parametrize(
    "text",
    [
        "+12025550147",
        '"to": "+12025550147"',
        "12025550147",
        "0012025550147",
        "+1 (202) 555-0147",
        "1.202.555.0147",
        "+1.2025550147",
        "1-202-555-0147/2",
        "+1 202 555\u20110147",
        "(+1)202/555 01 47.",
        json.dumps("+1\u202f202\u00a0555\u20110147"),
        json.dumps(json.dumps("+1\u202f202\u00a0555\u20110147")),
        json.dumps(repr("+1\xa0202\xa05550147")),
        "iMessage;-;+12025550147",
        "https://example.org/?to=%2B1%20202%20555%200147",
    ],
)
def test_a_phone_number_is_found_in_every_usual_form(text: str) -> None:
    assert PHONE.loosely(text)


@pytest.mark.parametrize(
    "text",
    [
        "+120255501470",
        "112025550147",
        "+1202555014",
        "12.025550147",
        "[-1.2025550147, 35.1]",
        "0.12025550147",
        "12025550147.5",
        "2025550147",
        "1202555, 0147",
        "",
    ],
)
def test_a_longer_number_or_a_coordinate_is_another_thing(text: str) -> None:
    assert not PHONE.loosely(text)
    assert not PHONE.exactly(text)


@pytest.mark.parametrize(
    ("handle", "text"),
    [
        ("+442079460018", "+44 (0)20 7946 0018"),
        ("+442079460018", "+44 (020) 7946 0018"),
        ("+442079460018", "(+44) 0 20-7946-0018"),
        ("+35312345678", "+353(0)1 234 5678"),
        ("+74951234567", "+7 (8) 495 123-45-67"),
        ("+3612345678", "+36 (06) 1 234 5678"),
        ("anna@example.org", "mailto:Anna@example.org?subject=Hi"),
        ("anna@example.org", "\u2068<anna@example.org>\u2069"),
    ],
)
def test_a_handle_is_found_with_all_that_is_read_around_and_in_it(handle: str, text: str) -> None:
    assert Mentions(handle).loosely(text)
    assert Mentions(handle).loosely(json.dumps(text))


def test_exactly_is_the_normal_form_alone() -> None:
    assert PHONE.exactly('{"handle": "+12025550147"}')
    assert not PHONE.exactly("12025550147")
    assert not PHONE.exactly("+1 202 555 0147")
    assert EMAIL.exactly("mail:anna@example.org.")
    assert not EMAIL.exactly("Anna@Example.org")


@pytest.mark.parametrize(
    "text", ["anna@example.org", "<Anna@EXAMPLE.org>", '"anna@example.org"', "to=anna%40example.org&"]
)
def test_an_address_is_found_in_any_case(text: str) -> None:
    assert EMAIL.loosely(text)


@pytest.mark.parametrize(
    "text",
    ["joanna@example.org", "x.anna@example.org", "anna@example.org.uk", "anna@example.organic", "anna+a@example.org"],
)
def test_an_address_within_another_one_is_another_one(text: str) -> None:
    assert not EMAIL.loosely(text)
    assert not EMAIL.exactly(text)


def test_an_address_that_json_escapes_is_found() -> None:
    odd = Mentions('a"b@example.org')
    assert odd.exactly(json.dumps({"handle": 'a"b@example.org'}))


@given(st.text(st.sampled_from(" ()-./\u00a0\u2011"), max_size=3), st.sampled_from(["", "a", " ", '"', ","]))
def test_separators_between_digits_hide_nothing(separator: str, around: str) -> None:
    written = around + separator.join("12025550147") + around
    assert PHONE.loosely(written)
    assert PHONE.loosely(json.dumps(written))


@pytest.mark.parametrize(
    "piece", ["\\", "1", "1 ", "1.2-0 2 ", "a", "a@", "anna@example.orgx ", "%20", "12.025550147 "]
)
def test_hostile_texts_take_no_longer_than_others(piece: str) -> None:
    """A quadratic search of this text would take longer than a test may."""
    text = piece * (1_000_000 // len(piece))
    assert not PHONE.loosely(text)
    assert not EMAIL.loosely(text)


@given(st.text())
def test_any_text_can_be_searched(text: str) -> None:
    PHONE.loosely(text)
    EMAIL.loosely(text)
