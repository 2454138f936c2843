"""Times as text and as numbers."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.timestamp import format_milliseconds, format_time, parse_time

NOON = 1_791_797_405_000_000_000  # 2026-10-12T09:30:05Z
LAST = 253_402_300_799_999_999_999


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("2026-10-12T09:30:05Z", NOON),
        ("2026-10-12t09:30:05z", NOON),
        ("2026-10-12 09:30:05Z", NOON),
        ("2026-10-12T09:30:05.5Z", NOON + 500_000_000),
        ("2026-10-12T09:30:05.512904118Z", NOON + 512_904_118),
        ("2026-10-12T09:30:05.51290411899999Z", NOON + 512_904_118),
        ("2026-10-12T11:30:05+02:00", NOON),
        ("2026-10-12T04:00:05.25-05:30", NOON + 250_000_000),
        ("2026-10-12T09:30:05-00:00", NOON),
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:30:00+00:30", 0),
        ("1969-12-31T23:00:00-01:00", 0),
        ("9999-12-31T23:59:59.999999999Z", LAST),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000_000_000),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000_000_000),
    ],
)
def test_rfc_3339_times_are_read(text: str, nanoseconds: int) -> None:
    assert parse_time(text) == nanoseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-10-11",
        "2026-10-12T09:30:05",
        "2026-10-12T09:30Z",
        "20261012T093005Z",
        "2026-W42-1T09:30:05Z",
        "2026-W42-1T09:30:0Z",
        "2026-10-12T24:00:00Z",
        "2026-10-12T09:60:00Z",
        "2026-10-12T09:30:61Z",
        "2026-02-30T09:30:05Z",
        "2025-02-29T09:30:05Z",
        "2026-13-01T09:30:05.1Z",
        "2026-10-12T09:30:05.Z",
        "2026-10-12T09:30:05+0200",
        "2026-10-12T09:30:05+24:00",
        "2026-10-12T09:30:05Z\n",
        " 2026-10-12T09:30:05Z",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+00:01",
        "9999-12-31T23:59:60Z",
        "9999-12-31T23:59:59-00:01",
        "0000-01-01T00:00:00Z",
        "٢٠٢٦-10-12T09:30:05Z",
        "2026-10-12T0९:30:05Z",
    ],
)
def test_anything_else_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not a") as caught:
        parse_time(text)
    assert not text or text not in str(caught.value)


@given(st.text())
def test_arbitrary_text_gives_a_number_or_a_value_error(text: str) -> None:
    try:
        nanoseconds = parse_time(text)
    except ValueError:
        return
    assert 0 <= nanoseconds <= LAST


@given(st.from_regex(r"[0-9]{4}-[0-9W]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]{1,7})?Z", fullmatch=True))
def test_the_quick_way_agrees_with_the_thorough_one(text: str) -> None:
    slow = text.replace("Z", "+00:00")
    try:
        expected = parse_time(slow)
    except ValueError:
        with pytest.raises(ValueError, match=r"^not a"):
            parse_time(text)
    else:
        assert parse_time(text) == expected


@given(st.integers(0, LAST))
def test_every_time_survives_being_written_and_read(nanoseconds: int) -> None:
    assert parse_time(format_time(nanoseconds)) == nanoseconds


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30)),  # noqa: DTZ001 - hypothesis wants naive bounds
    st.integers(-1439, 1439),
)
def test_every_offset_is_understood(local: datetime, minutes: int) -> None:
    moment = local.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    assert parse_time(moment.isoformat()) == since // timedelta(microseconds=1) * 1000


@pytest.mark.parametrize(
    "text",
    [
        "2026-10-12T09:30:05Z",
        "2026-10-12T09:30:05.512Z",
        "2026-10-12T09:30:05.512904Z",
        "2026-10-12T09:30:05.512904118Z",
        "1970-01-01T00:00:00Z",
    ],
)
def test_usual_texts_come_back_as_they_were(text: str) -> None:
    assert format_time(parse_time(text)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_791_797_405, "2026-10-12T09:30:05.000Z"),
        (1_791_797_405.0504, "2026-10-12T09:30:05.050Z"),
        (1_791_797_405.9996, "2026-10-12T09:30:06.000Z"),
    ],
)
def test_milliseconds_always_have_three_digits(seconds: float, text: str) -> None:
    assert format_milliseconds(seconds) == text


@pytest.mark.parametrize("seconds", [-1.0, 1e300, float("inf"), float("nan"), 253_402_300_800.0])
def test_moments_outside_the_calendar_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"cannot convert|not a time"):
        format_milliseconds(seconds)


@pytest.mark.parametrize("nanoseconds", [-1, LAST + 1])
def test_nanoseconds_outside_the_calendar_are_refused(nanoseconds: int) -> None:
    with pytest.raises(ValueError, match="not a time"):
        format_time(nanoseconds)
