"""Addresses of Redis are parsed without ever showing a password."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from location_client import LocationClient
from location_client.address import parse_address, show_url


@given(
    password=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8).map("hunter2".__add__),
    form=st.sampled_from(["redis://:{}@host:6379/0", "redis://user:{}@host", "unix://{}@/socket", "redis:{}@host"]),
)
def test_no_password_gets_through_the_mask(password: str, form: str) -> None:
    assert "hunter2" not in show_url(form.format(password))


def test_a_query_cannot_make_redis_py_repeat_commands_or_shape_replies() -> None:
    url = "redis://h?retry_on_timeout=yes&decode_responses=yes&protocol=3&encoding=latin-1&socket_timeout=2"
    assert parse_address(url).options == {"host": "h", "socket_timeout": 2.0}


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://host", "it does not begin with one of these schemes"),
        ("redis://:secret@/0", "the host is missing"),
        ("redis+sentinel://:secret@host:26379/0", "the name of the master that Sentinel watches, is missing"),
        ("redis://:secret@host?timeout=x", "accepted: redis://"),
    ],
)
def test_the_client_says_what_is_wrong_with_an_address_and_keeps_its_password(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        LocationClient(url)
    assert "secret" not in str(caught.value)
