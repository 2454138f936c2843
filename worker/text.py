"""Events and shares in words, for `tail`, `status`, the demo and the map."""

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from location_client import AnyEvent, Feature
    from worker.domain.share import Share

# The policy's rules in words; docs/architecture.md explains each.
RULES = {
    "already-sharing": "may share already; this read tells",
    "approach": "near a place, so it is read more often",
    "backoff": "a fault: tried again at growing intervals",
    "confirm": "somebody is missing; the next read confirms it",
    "fleet-cap": "never much more rarely than others",
    "forgotten": "somebody in the group was forgotten",
    "last-read": "stopped; one last read",
    "maximum": "as rarely as the settings allow",
    "minimum": "as often as the settings allow",
    "paused": "reads are refused for now",
    "pending": "waits for an answer",
    "pending-stretched": "waits for an answer, as many others do",
    "places": "its places were just changed",
    "planned-end": "the share is about to end",
    "prompt": "is about to be asked",
    "quiet-time": "this phone never publishes again so soon",
    "square-root": "as often as its positions change makes worthwhile",
    "stale": "about to be called stale",
    "throttled": "Linq asked for fewer requests; this one waits",
    "time-limit": "its time is about to be over",
    "webhook": "a webhook announced something new",
}


def clean(text: object) -> str:
    """Return foreign text without the control characters that a terminal would obey."""
    return "".join(character if character.isprintable() else "�" for character in str(text))


def counted(number: int, noun: str) -> str:
    """Return a count with its noun, whose plural takes an s: `1 chat`, `2,500 chats`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def describe_event(event: "AnyEvent", *, who: str | None = None) -> str:
    """Return one line for people: when it was published (UTC), type, chat, person, and what the type adds.

    `who` is a name to show in place of chat, handle and reference.
    """
    begin = [_published(event.stream_id), event.type.removeprefix("location.").ljust(18)]
    if who is not None:
        return clean("  ".join([*begin, who.ljust(7), _details(event)]).rstrip())
    fields = [
        *begin,
        (event.chat_id or "chert")[:8].ljust(8),
        (event.subject or "").ljust(16),
        _details(event),
        f"[{event.reference}]" if event.reference else "",
    ]
    return clean("  ".join(fields).rstrip())


def _published(stream_id: str) -> str:
    """Return the time of a stream id, so that lines in the order of the stream are in the order of time."""
    return datetime.fromtimestamp(int(stream_id.partition("-")[0]) / 1000, UTC).strftime("%H:%M:%S")


def _details(event: "AnyEvent") -> str:
    try:
        data = event.data
        if event.type == "location.updated":
            return describe_position(data)
        if event.type in {"location.place.entered", "location.place.left"}:
            return f"{data['place']['name']}, {data['distance']:.0f} m from its centre"
        said = {
            name: value
            for name, value in data.items()
            if name not in {"chat_id", "share_id", "handle"} and value is not None
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return "not one of this project's events"
    return ", ".join(f"{name} {value}" for name, value in said.items())


def describe_position(data: "Feature") -> str:
    """Return in words where a position is, and how old."""
    longitude, latitude = data["geometry"]["coordinates"][:2]
    known = data["properties"]
    age = seconds_between(known["updated_at"], known["received_at"])
    parts = [f"{latitude:.5f}, {longitude:.5f}", known["locality"] or known["address"] or ""]
    if not math.isnan(age):
        parts.append(f"{age:.0f} s old")
    return "  ".join(part for part in parts if part)


def seconds_between(earlier: str | None, later: str | None) -> float:
    """Return the seconds from one RFC 3339 time to another; NaN where one is missing or unreadable."""
    try:
        return (_moment(later) - _moment(earlier)).total_seconds()
    except (TypeError, ValueError):
        return math.nan


def _moment(text: str | None) -> datetime:
    if text is None:
        raise ValueError("no time")
    return datetime.fromisoformat(text).astimezone(UTC)


def describe_share(chat_id: str, share: "Share", due: float | None, now: float) -> dict[str, Any]:
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
    """Return a duration in words: `12 s`, `3 min`, `2 h`; empty for None."""
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _age(updated_at: int | None, seen_at: float | None, now: float) -> float | None:
    from worker.domain.timestamp import NANOSECONDS  # noqa: PLC0415  # `--help` does without it

    at = updated_at / NANOSECONDS if updated_at is not None else seen_at
    return None if at is None else round(now - at, 1)


def _time(nanoseconds: int | None) -> str | None:
    from worker.domain.timestamp import format_time  # noqa: PLC0415  # `--help` does without it

    return None if nanoseconds is None else format_time(nanoseconds)
