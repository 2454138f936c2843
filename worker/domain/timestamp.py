"""Points in time as text (RFC 3339) and as numbers (nanoseconds or seconds since 1970, UTC)."""

import re
from datetime import UTC, date, datetime
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_SECONDS_UNTIL_YEAR_10000 = 253_402_300_800
NANOSECONDS = 1_000_000_000  # in a second

_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(?:\.(\d+))?"
    r"(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))",
    re.ASCII,
)

# Looking up "T09:31:" and "18" takes a third of the time of formatting three numbers; publishing formats two times a
# position.
_MINUTES = [f"T{minute // 60:02}:{minute % 60:02}:" for minute in range(1440)]
_SECONDS = [f"{second:02}" for second in range(60)]


def parse_time(text: str) -> int:
    """Return the nanoseconds since 1970 (UTC) of an RFC 3339 time with any offset, in the years 1970 to 9999.

    Digits after the ninth of a fraction are cut off. A leap second (`:60`) is the second after `:59`.
    Raises ValueError, which does not repeat the text.
    """
    # The shapes Linq's positions have, `2026-10-12T09:31:18Z` and `2026-10-12T09:31:18.512Z`. fromisoformat alone would
    # let other ISO 8601 forms through (week dates, basic format, a comma): the punctuation rules them out.
    length = len(text)
    if (
        (length == 20 or (22 <= length <= 27 and text[19] == "."))  # to the microsecond, all that it keeps
        and text[-1] == "Z"
        and text[10] == "T"
        and text[4] == text[7] == "-"
        and text[13] == text[16] == ":"
        and text[11:13] != "24"  # midnight for Python 3.14, nothing for RFC 3339
    ):
        try:
            since = datetime.fromisoformat(text) - _EPOCH
        except ValueError:
            return _parse_any(text)
        if since.days >= 0:
            return (since.days * 86400 + since.seconds) * NANOSECONDS + since.microseconds * 1000
    return _parse_any(text)


def _parse_any(text: str) -> int:
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise ValueError("not an RFC 3339 time: expected a shape like 2026-10-12T09:31:18Z")
    day, hour, minute, second, fraction, sign, offset_hours, offset_minutes = match.groups()
    try:
        days = date.fromisoformat(day).toordinal() - _EPOCH_DAY
    except ValueError:
        raise ValueError("not an RFC 3339 time: there is no such day") from None
    seconds = days * 86400 + int(hour) * 3600 + int(minute) * 60 + int(second)
    if sign:
        offset = int(offset_hours) * 3600 + int(offset_minutes) * 60
        seconds += offset if sign == "-" else -offset
    if not 0 <= seconds < _SECONDS_UNTIL_YEAR_10000:
        raise ValueError("not a time between the years 1970 and 9999 (UTC)")
    return seconds * NANOSECONDS + (int(fraction[:9].ljust(9, "0")) if fraction else 0)


def format_time(nanoseconds: int) -> str:
    """Return nanoseconds since 1970 as RFC 3339 in UTC with `Z` and the fewest of 0, 3, 6 or 9 digits of a second.

    Raises ValueError outside the years 1970 to 9999.
    """
    seconds, fraction = divmod(nanoseconds, NANOSECONDS)
    if not fraction:
        return f"{_whole(seconds)}Z"
    if fraction % 1_000_000 == 0:
        return f"{_whole(seconds)}.{fraction // 1_000_000:03}Z"
    if fraction % 1000 == 0:
        return f"{_whole(seconds)}.{fraction // 1000:06}Z"
    return f"{_whole(seconds)}.{fraction:09}Z"


def format_milliseconds(seconds: float) -> str:
    """Return seconds since 1970 as RFC 3339 in UTC with exactly three digits and `Z` (`time`, `received_at` of events).

    Raises ValueError outside the years 1970 to 9999 and for what is not finite.
    """
    try:
        whole, milliseconds = divmod(round(seconds * 1000), 1000)
    except OverflowError:
        raise ValueError("not a time between the years 1970 and 9999 (UTC)") from None
    return f"{_whole(whole)}.{milliseconds:03}Z"


def _whole(seconds: int) -> str:
    days, second_of_day = divmod(seconds, 86400)
    minute, second = divmod(second_of_day, 60)
    return f"{_day(days)}{_MINUTES[minute]}{_SECONDS[second]}"


@lru_cache(maxsize=64)
def _day(days: int) -> str:
    if not 0 <= days * 86400 < _SECONDS_UNTIL_YEAR_10000:
        raise ValueError("not a time between the years 1970 and 9999 (UTC)")
    return date.fromordinal(_EPOCH_DAY + days).isoformat()
