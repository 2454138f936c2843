"""Whether a position is new, and whether it may start sharing again: questions about one person and one position."""

import math
from typing import Literal
from zlib import crc32

import msgspec

from worker.domain.observation import Position
from worker.domain.share import Person, Share
from worker.domain.timestamp import NANOSECONDS

MOVED_DEGREES_SQUARED = (100 / 111_195) ** 2  # 100 m in degrees of latitude

CHECKSUM = (1 << 29) - 1  # the bits of a fingerprint that stand for the content of a position
UNTIMED = 1 << 29
NO_ADDRESS = 1 << 30
NO_LOCALITY = 1 << 31
UNLOCATED = NO_ADDRESS | NO_LOCALITY
_LOCATED = {(True, True): "", (True, False): " locality", (False, True): " address", (False, False): " both"}

Novelty = Literal["new", "located", "corrected", "known"]
"""A new position; the last one with an added address or locality; the last one with other changes; nothing new."""

_pack_content = msgspec.msgpack.Encoder().encode


def may_start(person: Person, position: Position) -> bool:
    """Return whether sharing may start again: with a position newer than the end, or once a read did not list one."""
    if person.stopped_at is None or person.unlisted:
        return True
    return position.updated_at is not None and not _lingers(person, position.updated_at)


def _lingers(person: Person, updated_at: int) -> bool:
    """Return whether a position may be the last one of a share that is over and still listed."""
    if person.stopped_at is None or person.unlisted:
        return False
    return updated_at <= max(person.stopped_at, person.updated_at or 0)


def known_end(person: Person) -> int:
    """Return the newest known end (ns), including one that a last read has yet to confirm; 0: none."""
    return max(person.stopped_at or 0, person.stopping_at or 0)


def judge(person: Person, position: Position) -> Novelty:
    """Return how a position compares with the one last published of its handle (docs/reference/events.md)."""
    updated_at = position.updated_at
    content = person.content
    if content is not None and updated_at is not None and updated_at == person.updated_at:
        # First, because nearly every read shows it.
        if _checksum(position) == content & CHECKSUM:
            return "known"
        return _judge_change(person, position, content)
    if updated_at is None:
        if content is None:
            return "new"
        if is_null_island(position) and not _was_null_island(person):
            return "known"
        return "new" if _checksum(position) != content & CHECKSUM else "known"
    if _lingers(person, updated_at):
        return "known"
    if content is None:
        return "new"
    if person.updated_at is None:
        return "new" if not is_null_island(position) or _was_null_island(person) else "known"
    return "new" if updated_at > person.updated_at else "known"


def _judge_change(person: Person, position: Position, content: int) -> Novelty:
    """Judge a position with the last one's time but other content."""
    shown = fingerprint(position)
    if content & UNTIMED or shown == person.corrected or _lingers(person, position.updated_at or 0):
        return "known"
    missing, still_missing = content & UNLOCATED, shown & UNLOCATED
    # Never with less than was published: consumers have seen that id.
    return "located" if still_missing != missing and still_missing & missing == still_missing else "corrected"


def is_fresh(share: Share, position: Position, now: float) -> bool:
    """Return whether a new position is fresh enough to end a share that wants one position.

    One without a time is fresh: the read before did not list it.
    """
    if share.max_age is None or position.updated_at is None:
        return True
    return now - position.updated_at / NANOSECONDS <= share.max_age


def is_null_island(position: Position) -> bool:
    """Return whether a position is (0, 0), which devices send when they know none."""
    return position.longitude == 0 and position.latitude == 0


def _was_null_island(person: Person) -> bool:
    return person.longitude == 0 and person.latitude == 0


def fingerprint(position: Position) -> int:
    """Return a checksum of a position: 29 bits, and one flag each for no time, no address and no locality."""
    made = _checksum(position)
    if position.updated_at is None:
        made |= UNTIMED
    if position.address is None:
        made |= NO_ADDRESS
    if position.locality is None:
        made |= NO_LOCALITY
    return made


def _checksum(position: Position) -> int:
    said = (position.longitude, position.latitude, position.altitude, position.address, position.locality)
    return crc32(_pack_content(said)) >> 3


def position_moment(position: Position, read_at: float, number: int) -> str:
    """Return what identifies a position among those of its handle, for ids of events.

    This is its `updated_at`; without it, its content, when it was read (seconds since 1970, UTC) and its `number` in
    that read.
    """
    return f"{fingerprint(position)} {read_at!r} {number}" if position.updated_at is None else f"{position.updated_at}"


def located(position: Position) -> str:
    """Return which of address and locality a position has: either may arrive later and is then published once."""
    return _LOCATED[position.address is None, position.locality is None]


def last_moment(person: Person) -> str:
    """Return what identifies a moment of a handle's sharing until another position is published, for ids of events.

    It has to be the same when the fact is found again from an older state, so it is made of the last published position
    and the stop before it: after a stop, an old position may be listed again.
    """
    content = person.content
    if person.updated_at is not None and not (content is not None and content & UNTIMED):
        shown = f"{person.updated_at}"
    elif content is not None:
        shown = f"{content} {person.seen_at!r}"
    else:
        shown = f"{person.began_at}"
    return f"{shown} after {person.last_stop}"


def has_moved(person: Person, position: Position) -> bool:
    if person.longitude is None or person.latitude is None:
        return False
    north = position.latitude - person.latitude
    east = (position.longitude - person.longitude) * math.cos(math.radians(position.latitude))
    return north * north + east * east > MOVED_DEGREES_SQUARED


def newest_at(person: Person) -> int:
    """Return the time of the newest position in ns; where Linq gave none, when it was seen."""
    if person.updated_at is not None:
        return person.updated_at
    return int((person.seen_at or 0.0) * NANOSECONDS) if person.content is not None else 0
