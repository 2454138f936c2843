"""People, the positions that their phones show, and their shares."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import Any

from simulator.addresses import address_of
from simulator.clock import rfc3339
from simulator.movement import Cadence, Fix, Journey, recording

HANDLE = re.compile(r"\+[1-9][0-9]{6,14}|[^@\s]+@[^@\s]+\.[^@\s]+")
"""What Linq takes as a handle: E.164 with `+` and digits only, or an e-mail address."""


def normal_handle(handle: str) -> str:
    """Return the form in which handles are compared: `+` and digits, or lower-case e-mail."""
    if "@" in handle:
        return handle.strip().lower()
    return "+" + re.sub(r"[^0-9]", "", handle)


@dataclass(frozen=True, slots=True)
class Position:
    """What the API shows of a phone. `updated_at` is sent unchanged; None leaves the field out."""

    fix: Fix
    updated_at: str | None
    address: str | None = None
    locality: str | None = None


@dataclass(slots=True)
class Person:
    """A contact. All durations are seconds of the story, which the world's speed shortens.

    `accepts_after`: from the prompt to the acceptance; None: never. `shares_for`: None is open-ended.
    `shares_as`: the handle of the share, if it is not the person's own (an Apple ID e-mail address).
    `recording`: the journey to replay, which begins at `place` and is turned by `course` degrees; None stands still
    there and publishes one position per share.
    `stored_age`: a share first shows a position of this age, as Linq knows it; None: a live one at once.
    `address_after`: from a position's publication until it has an address; None: it never has one.
    """

    handle: str
    accepts_after: float | None = 0.0
    shares_for: float | None = None
    shares_as: str | None = None
    recording: str | None = None
    offset: float = 0.0
    place: Fix = field(default_factory=lambda: Fix(13.4, 52.5))
    course: float = 0.0
    stored_age: float | None = None
    address_after: float | None = 0.0
    scripted: Position | None = None

    @property
    def sharing_handle(self) -> str:
        """The handle of this person's shares."""
        return self.shares_as or self.handle


@dataclass(slots=True)
class Share:
    """One contact's share with one line; exists from `began_at` to `ended_at`. Seconds since 1970 UTC.

    `first_position_at`: when the first live position is readable; `stored_at`: when an old one is, if there is one.
    """

    person: Person
    shared_by: str
    line: str
    chat_id: str | None
    began_at: float
    ends_at: float | None
    first_position_at: float
    stored_at: float
    ended_at: float | None = None
    journey: Journey | None = None

    def position(self, now: float, speed: float) -> Position | None:
        """Return what is readable at `now`; None before the first position."""
        if self.person.scripted is not None:
            return self.person.scripted
        if self.ended_at is not None:
            now = min(now, self.ended_at)
        age = self.person.stored_age
        journey = self.journey
        if now >= self.first_position_at:
            if journey is not None:
                journey.advance((now - self.first_position_at) * speed)
            fix = self.person.place if journey is None else journey.fix
            published_at = self.first_position_at + (0.0 if journey is None else journey.published_at / speed)
            return self._told(fix, published_at, (now - published_at) * speed)
        if age is None or now < self.stored_at:
            return None
        fix = self.person.place if journey is None else journey.at(-age)
        return self._told(fix, self.stored_at - age / speed, (now - self.stored_at) * speed)

    def _told(self, fix: Fix, updated_at: float, shown_for: float) -> Position:
        after = self.person.address_after
        told = (None, None) if after is None or shown_for < after else address_of(fix)
        return Position(fix, rfc3339(updated_at), *told)


def journey_of(person: Person, cadence: Cadence) -> Journey | None:
    """Return the journey that a new share of this person replays, which is always the same."""
    if person.recording is None:
        return None
    chance = random.Random(person.handle)
    return Journey(recording(person.recording), person.offset, cadence, chance, person.place, person.course)


def feature(handle: str, position: Position) -> dict[str, Any]:
    """Return a GeoJSON feature as a read shows it (docs/reference/linq.md, Reading positions)."""
    fix = position.fix
    coordinates = [fix.longitude, fix.latitude]
    if fix.altitude is not None:
        coordinates.append(fix.altitude)
    properties: dict[str, Any] = {"handle": handle}
    optional = {
        "address": position.address,
        "locality": position.locality,
        "updated_at": position.updated_at,
    }
    properties.update({name: value for name, value in optional.items() if value is not None})
    return {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": coordinates},
        "properties": properties,
    }
