"""The place events that must be published, derived from the published positions; imports nothing of worker/."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

EARTH_RADIUS = 6_371_008.8  # metres, mean
MIN_LEAVE, LEAVE_SHARE = 30.0, 0.1  # docs/reference/events.md: metres outside, and as a share of the radius
ROUNDING = 0.1  # metres: `distance` is rounded to one decimal, and coordinates are rounded, too

Place = Mapping[str, Any]


class Crossing(NamedTuple):
    """Somebody came into a place (`entered`) or left it (`left`)."""

    kind: str
    name: str


class Crossed(NamedTuple):
    """What one position shows: crossings that must be published, and those that may if the state before is unknown."""

    certain: set[Crossing]
    possible: set[Crossing]


class Presence:
    """Who is inside which of the places, according to the published positions in their order."""

    def __init__(self, places: Iterable[Place]) -> None:
        self._places = list(places)
        self._inside: dict[str, dict[str, bool | None]] = {}  # by handle and place; None: not known

    def begin(self, handle: str) -> None:
        """Note that a handle begins to share: it is inside no place so far."""
        self._inside.pop(handle, None)

    def doubt(self) -> None:
        """Forget who is inside which place, because the worker may have fallen back to an older state."""
        for inside in self._inside.values():
            inside.update(dict.fromkeys(inside))

    def is_first(self, handle: str) -> bool:
        """Return whether the next position is the first one of a sharing."""
        return handle not in self._inside

    def move(self, handle: str, coordinates: Sequence[float]) -> Crossed:
        """Take in a position; return what it shows."""
        certain: set[Crossing] = set()
        possible: set[Crossing] = set()
        is_null_island = tuple(coordinates[:2]) == (0, 0)
        if is_null_island and all(metres(coordinates, place) > place["radius"] for place in self._places):
            return Crossed(certain, possible)
        inside = self._inside.setdefault(handle, {place["name"]: False for place in self._places})
        for place in self._places:
            name, was = place["name"], inside[place["name"]]
            distance = metres(coordinates, place)
            if distance <= place["radius"]:
                now, crossing = True, Crossing("entered", name)
            elif distance > place["radius"] + max(MIN_LEAVE, LEAVE_SHARE * place["radius"]):
                now, crossing = False, Crossing("left", name)
            else:
                continue
            if was is None:
                possible.add(crossing)
            elif was != now:
                certain.add(crossing)
            inside[name] = now
        return Crossed(certain, possible)


def metres(coordinates: Sequence[float], place: Place) -> float:
    """Return the distance on a sphere of a position (longitude, latitude) from the centre of a place."""
    here, there = _unit(*coordinates[:2]), _unit(place["longitude"], place["latitude"])
    return EARTH_RADIUS * 2 * math.asin(min(1.0, math.dist(here, there) / 2))


def _unit(longitude: float, latitude: float) -> tuple[float, float, float]:
    east, north = math.radians(longitude), math.radians(latitude)
    return math.cos(north) * math.cos(east), math.cos(north) * math.sin(east), math.sin(north)


def proves(position: Mapping[str, Any], crossed: Mapping[str, Any]) -> bool:
    """Return whether a `location.updated` shows what the place event after it says (the data of both)."""
    said = position["properties"]
    return (
        all(said[name] == crossed[name] for name in ("handle", "updated_at", "received_at", "share_id"))
        and abs(metres(position["geometry"]["coordinates"], crossed["place"]) - crossed["distance"]) <= ROUNDING
    )


def check_crossings(entries: Sequence[tuple[str, str, Mapping[str, Any]]], places: Sequence[Place]) -> None:
    """Compare the place events of one share, whose places never changed, with its positions.

    `entries`: type, subject and data of each event, in order. Raises AssertionError.
    """
    presence = Presence(places)
    awaited: set[Crossing] = set()
    position: Mapping[str, Any] = {}
    initial = False
    for kind, handle, data in entries:
        if kind.startswith("location.place."):
            crossing = Crossing(kind.rpartition(".")[2], data["place"]["name"])
            assert crossing in awaited, f"{crossing} without the position that shows it directly before it"
            assert proves(position, data)
            assert data["place"] in [dict(place) for place in places]
            assert data["initial"] == initial
            awaited.remove(crossing)
            continue
        assert not awaited, f"{awaited} was not published after the position that shows it"
        if kind == "location.sharing.started":
            presence.begin(handle)
        elif kind == "location.updated":
            initial = presence.is_first(handle)
            position = data
            awaited = presence.move(handle, data["geometry"]["coordinates"]).certain
    assert not awaited, f"{awaited} was not published after the position that shows it"
