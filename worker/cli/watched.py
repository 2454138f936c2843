"""What is known of a watched chat, in the words of `status`."""

from typing import Any

from worker.domain.share import Share
from worker.domain.timestamp import format_time

_NANO = 1_000_000_000


def describe_share(chat_id: str, share: Share, due: float | None, now: float) -> dict[str, Any]:
    """Describe a share at `now` (seconds since 1970, UTC); durations in seconds, None where there is none.

    `position_age` is the age of the newest position shown in the chat.
    """
    people = [
        {
            "handle": person.handle,
            "sharing": person.sharing,
            "position_age": _age(person.updated_at, person.seen_at, now),
            "began_at": _time(person.began_at),
            "ends_at": _time(person.ends_at),
        }
        for person in share.people
    ]
    ages = [age for person in people if person["sharing"] and isinstance(age := person["position_age"], float)]
    return {
        "chat_id": chat_id,
        "share_id": share.share_id,
        "reference": share.reference,
        "phase": share.phase if share.ended is None else f"ended: {share.ended}",
        "next_read_in": None if due is None or share.ended is not None else round(max(0.0, due - now), 1),
        "rule": share.rule,
        "position_age": min(ages, default=None),
        "last_read_ago": None if share.read_at is None else round(now - share.read_at, 1),
        "failures": share.failures,
        "prompts": share.prompts,
        "events": share.sequence,
        "people": people,
    }


def in_words(seconds: float | None) -> str:
    """Say a duration for people: `12 s`, `3 min`, `2 h`; empty for None."""
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _age(updated_at: int | None, seen_at: float | None, now: float) -> float | None:
    at = updated_at / _NANO if updated_at is not None else seen_at
    return None if at is None else round(now - at, 1)


def _time(nanoseconds: int | None) -> str | None:
    return None if nanoseconds is None else format_time(nanoseconds)
