"""Places: who is inside which, and how soon somebody may cross the edge of one.

Linq gives no accuracy, so leaving takes more than entering: being outside by 30 m or a tenth of the radius, whichever
is larger. Distances are on a sphere of the Earth's mean radius, accurate to 0.6 %. A position at (0, 0), which devices
send when they know none, says nothing about places unless one of them is there.
"""

import math
from typing import NamedTuple, Self

from worker.domain import events
from worker.domain.decision import Decision
from worker.domain.freshness import is_null_island
from worker.domain.observation import Position
from worker.domain.share import Person, Place, Share
from worker.domain.timestamp import NANOSECONDS, format_milliseconds, format_time

EARTH_RADIUS = 6_371_008.8  # metres, mean
MIN_LEAVE = 30.0  # metres outside
LEAVE_SHARE = 0.1  # of the radius
SIDEWAYS = 0.3  # of the speed counts as approach whatever the direction: roads bend
MIN_SPEED = 0.05  # metres per second: slower is the jitter of a phone that lies still
REACH_GRACE = 120.0  # seconds of silence beyond the time to the edge, after which somebody is taken to stand still


class Sight(NamedTuple):
    """Where and when somebody was last seen: degrees, seconds since 1970 (UTC); None where never."""

    longitude: float | None
    latitude: float | None
    at: float

    @classmethod
    def of(cls, person: Person) -> Self:
        """Return what the last published position of a person says."""
        at = (person.seen_at or 0.0) if person.updated_at is None else person.updated_at / NANOSECONDS
        return cls(person.longitude, person.latitude, at)


def metres(longitude: float, latitude: float, place: Place) -> float:
    """Return the distance on the ground from a point to the centre of a place (haversine)."""
    return _haversine(longitude, latitude, place.longitude, place.latitude)


def _haversine(longitude: float, latitude: float, other_longitude: float, other_latitude: float) -> float:
    here, there = math.radians(latitude), math.radians(other_latitude)
    north = math.sin((there - here) / 2)
    east = math.sin(math.radians(other_longitude - longitude) / 2)
    chord = north * north + math.cos(here) * math.cos(there) * east * east
    return 2 * EARTH_RADIUS * math.asin(min(1.0, math.sqrt(chord)))


def outer_radius(place: Place) -> float:
    """Return the distance from the centre in metres beyond which somebody has left."""
    return place.radius + max(MIN_LEAVE, LEAVE_SHARE * place.radius)


def observe(decision: Decision, person: Person, position: Position, before: Sight, *, moment: str) -> bool:
    """Publish what a new position shows to be entered and left; return whether the share's `until` was entered.

    `before`: where the person was seen before it. The position itself has just been published with this `moment`.
    """
    share = decision.share
    distances = [metres(position.longitude, position.latitude, place) for place in share.places]
    if is_null_island(position) and all(
        distance > place.radius for distance, place in zip(distances, share.places, strict=True)
    ):
        return False
    initial = person.inside is None
    inside = person.inside or []
    entered = [
        number
        for number, place in enumerate(share.places)
        if number not in inside and distances[number] <= place.radius
    ]
    left = [number for number in inside if distances[number] > outer_radius(share.places[number])]
    crossed: list[tuple[type[events.PlaceCrossed], list[int]]] = [
        (events.PlaceLeft, left),
        (events.PlaceEntered, entered),
    ]
    for kind, numbers in crossed:
        for number in numbers:
            place, distance = share.places[number], distances[number]
            _emit(decision, kind, person, position, moment=moment, place=place, distance=distance, initial=initial)
    person.inside = sorted({*inside, *entered}.difference(left))
    person.reach = _reach(share, person, position, before, distances)
    return any(share.places[number].name == share.until for number in entered)


def _emit(
    decision: Decision,
    kind: type[events.PlaceCrossed],
    person: Person,
    position: Position,
    *,
    moment: str,
    place: Place,
    distance: float,
    initial: bool,
) -> None:
    updated_at = position.updated_at
    where = f"{place.latitude} {place.longitude} {place.radius} {place.name}"
    decision.emit(
        kind(
            decision.chat_id,
            decision.share.share_id,
            person.handle,
            events.Circle(place.name, place.latitude, place.longitude, place.radius),
            round(distance, 1),
            None if updated_at is None else format_time(updated_at),
            format_milliseconds(decision.now),
            initial,
        ),
        subject=person.handle,
        moment=f"{moment} {where}",
        at=None if updated_at is None else updated_at / NANOSECONDS,
    )


def _reach(share: Share, person: Person, position: Position, before: Sight, distances: list[float]) -> float | None:
    """Return the seconds to the nearest edge that matters, at the pace of the last step; None: none will be crossed."""
    if before.longitude is None or before.latitude is None or before.longitude == before.latitude == 0:
        return None
    elapsed = Sight.of(person).at - before.at
    if not elapsed > 0.0:
        return person.reach
    speed = _haversine(before.longitude, before.latitude, position.longitude, position.latitude) / elapsed
    soonest: float | None = None
    for number, place in enumerate(share.places):
        if number in (person.inside or ()):
            if place.name != share.until:
                continue  # the next position shows a departure soon enough
            edge = outer_radius(place)
        else:
            edge = place.radius
        gap = abs(distances[number] - edge)
        closing = (abs(metres(before.longitude, before.latitude, place) - edge) - gap) / elapsed
        pace = max(closing, SIDEWAYS * speed)
        if pace > MIN_SPEED and (soonest is None or gap / pace < soonest):
            soonest = gap / pace
    return soonest


def soonest(decision: Decision) -> float | None:
    """Return in how many seconds somebody who shares may cross an edge, at the pace last shown; None: nobody will."""
    found = [
        person.reach
        for person in decision.share.people
        if person.sharing
        and person.reach is not None
        and decision.now - Sight.of(person).at <= person.reach + REACH_GRACE
    ]
    return min(found, default=None)


def replace(decision: Decision, new: list[Place], until: str | None) -> None:
    """Replace the share's places. People inside an unchanged place stay inside; other places are new to everybody.

    Nothing is published: only positions that come later show arrivals and departures.
    """
    share = decision.share
    known = {place: number for number, place in enumerate(share.places)}
    for person in share.people:
        if not person.sharing:
            continue
        if person.inside is None and person.listed:
            person.inside = []
        if person.inside is not None:
            person.inside = [number for number, place in enumerate(new) if known.get(place) in person.inside]
        person.reach = None
    share.places = new
    share.until = until
    decision.read_now("places")
