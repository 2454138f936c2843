"""Whether a position is news, and whether it may start sharing again: questions about one person and one position."""

import math
import zlib

import msgspec

from worker.domain.observation import Position
from worker.domain.share import Person, Share
from worker.domain.timestamp import NANOSECONDS

MOVED_DEGREES_SQUARED = (100 / 111_195) ** 2  # 100 m in degrees of latitude

_pack_content = msgspec.msgpack.Encoder().encode


def may_start(person: Person, position: Position) -> bool:
    """Return whether sharing may start again: by a newer position than the end, or once a read did not list it."""
    if person.stopped_at is None or person.unlisted:
        return True
    return position.updated_at is not None and not _lingers(person, position.updated_at)


def _lingers(person: Person, updated_at: int) -> bool:
    """Return whether a position may be the last one of a share that is over, listed still."""
    if person.stopped_at is None or person.unlisted:
        return False
    return updated_at <= max(person.stopped_at, person.updated_at or 0)


def known_end(person: Person) -> int:
    """Return the newest end that is known (ns), the one that a last read is to confirm included; 0: none."""
    return max(person.stopped_at or 0, person.stopping_at or 0)


def is_news(person: Person, position: Position) -> bool:
    """Return whether a position is news: a later `updated_at`; without one, other coordinates, address or locality."""
    updated_at = position.updated_at
    if updated_at is not None:
        if _lingers(person, updated_at):
            return False
        if person.updated_at is not None and person.content is not None:
            return updated_at > person.updated_at
        return person.content is None or not is_null_island(position) or _was_null_island(person)
    if person.content is None:
        return True
    if is_null_island(position) and not _was_null_island(person):
        return False
    return checksum(position) != person.content


def is_fresh(share: Share, position: Position, now: float) -> bool:
    """Return whether news is fresh enough to end a share that wants one position.

    News without a time is fresh: the read before did not list it.
    """
    if share.max_age is None or position.updated_at is None:
        return True
    return now - position.updated_at / NANOSECONDS <= share.max_age


def is_null_island(position: Position) -> bool:
    """Return whether a position is (0, 0), what devices give that know none: only a newer one replaces a real one."""
    return position.longitude == 0 and position.latitude == 0


def _was_null_island(person: Person) -> bool:
    return person.longitude == 0 and person.latitude == 0


def checksum(position: Position) -> int:
    said = (position.longitude, position.latitude, position.altitude, position.address, position.locality)
    return zlib.crc32(_pack_content(said))


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
