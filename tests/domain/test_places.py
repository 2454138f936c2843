"""Arrivals at places and departures: what positions show, and what they do not."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tracking import ANNA, BERT, TrackedChat, listing, position
from worker.domain import places
from worker.domain.decision import Limits
from worker.domain.events import Event
from worker.domain.observation import Position
from worker.domain.share import Place

METRE = 1 / 111_195  # degrees of latitude
DEPOT = Place("depot", 52.5, 13.4, 200.0)
YARD = Place("yard", 52.5, 13.4, 50.0)  # inside the depot
PORT = Place("port", 52.5 + 500 * METRE, 13.4, 210.0)


def north(metres: float, *, handle: str = ANNA, at: float | None = 0.0, address: str | None = None) -> Position:
    """Return a position this many metres north of the depot's centre."""
    return position(handle, at, latitude=52.5 + metres * METRE, address=address)


def tracked(*watched: Place, until: str | None = None, **arguments: Any) -> TrackedChat:
    return TrackedChat(asked=False, places=watched, until=until, **arguments)


def crossings(chat: TrackedChat) -> list[tuple[str, str]]:
    """Return what was entered and left, in order."""
    return [
        (event.type.rpartition(".")[2], json.loads(event.data)["place"]["name"])
        for event in chat.events
        if event.type.startswith("location.place.")
    ]


def walk(chat: TrackedChat, *metres: float) -> TrackedChat:
    """Show one position after the other, a minute apart."""
    for distance in metres:
        chat.wait(60).read(listing(north(distance, at=chat.now)))
    return chat


def test_coming_into_a_place_and_leaving_it_follow_the_position_that_shows_it() -> None:
    chat = walk(tracked(DEPOT), 1000, 150, 1000)
    assert chat.types == [
        "sharing.started",
        "updated",
        "updated",
        "place.entered",
        "updated",
        "place.left",
    ]
    [entered] = chat.data("place.entered")
    assert entered["handle"] == ANNA
    assert entered["place"] == {"name": "depot", "latitude": 52.5, "longitude": 13.4, "radius": 200.0}
    assert entered["distance"] == pytest.approx(150, abs=1)
    assert entered["updated_at"] == chat.data("updated")[1]["properties"]["updated_at"]
    assert entered["initial"] is False
    crossing = next(event for event in chat.events if event.type == "location.place.entered")
    assert (crossing.subject, crossing.time) == (ANNA, chat.events[2].time)


@pytest.mark.parametrize(("place", "edge"), [(DEPOT, 230.0), (Place("town", 52.5, 13.4, 5000.0), 5500.0)])
def test_leaving_takes_30_metres_or_a_tenth_of_the_radius_more(place: Place, edge: float) -> None:
    chat = walk(tracked(place), 0, edge - 2)
    assert crossings(chat) == [("entered", place.name)]
    assert crossings(walk(chat, edge + 2)) == [("entered", place.name), ("left", place.name)]


def test_a_first_position_inside_is_told_as_initial_in_each_sharing() -> None:
    chat = walk(tracked(DEPOT), 0, 1000, 0)
    assert [data["initial"] for data in chat.data("place.entered")] == [True, False]
    for _ in range(2):  # somebody else goes on sharing, so that the share does not end
        chat.wait(31).read(listing(north(1000, handle=BERT, at=chat.now)))
    assert chat.types[-1] == "sharing.stopped"
    assert [data["initial"] for data in walk(chat, 0).data("place.entered")] == [True, False, True]


def test_the_end_of_a_share_is_no_departure() -> None:
    chat = walk(tracked(DEPOT), 0)
    for _ in range(2):
        chat.wait(31).read(listing())
    assert chat.types[-2:] == ["sharing.stopped", "tracking.ended"]
    assert crossings(chat) == [("entered", "depot")]


def test_nested_and_overlapping_places_are_told_one_by_one() -> None:
    chat = walk(tracked(DEPOT, YARD, PORT), 1000, 300, 190, 0, 1000)
    assert crossings(chat) == [
        ("entered", "port"),
        ("left", "port"),
        ("entered", "depot"),
        ("entered", "yard"),
        ("left", "depot"),
        ("left", "yard"),
    ]


def jump(chat: TrackedChat) -> TrackedChat:
    """Show (0, 0), which devices send when they know no position."""
    chat.wait(60).read(listing(position(at=chat.now, longitude=0.0, latitude=0.0)))
    assert chat.types[-1] == "updated"
    return chat


def test_a_jump_to_null_island_is_no_departure() -> None:
    assert crossings(walk(jump(walk(tracked(DEPOT), 0)), 0)) == [("entered", "depot")]


def test_a_jump_to_null_island_is_no_first_position() -> None:
    [entered] = walk(jump(tracked(DEPOT)), 0).data("place.entered")
    assert entered["initial"] is True


def test_a_jump_to_null_island_and_back_makes_nobody_quick() -> None:
    chat = walk(jump(walk(tracked(DEPOT), 3000, 3000)), 3000)
    [anna] = chat.share.people
    assert anna.reach is None


def test_null_island_is_arrived_at_where_a_place_is_there() -> None:
    chat = tracked(Place("buoy", 0.0005, 0.0, 100.0), until="buoy")
    for latitude in (1.0, 0.0):
        chat.wait(60).read(listing(position(at=chat.now, longitude=0.0, latitude=latitude)))
    assert chat.types[-3:] == ["updated", "place.entered", "tracking.ended"]
    assert chat.data("place.entered")[0]["distance"] == pytest.approx(55.6, abs=0.1)


def test_positions_that_come_twice_or_late_change_nothing() -> None:
    chat = walk(tracked(DEPOT), 1000, 0)
    chat.wait(60).read(listing(north(0, at=120.0)))
    chat.wait(60).read(listing(north(1000, at=60.0)))
    assert crossings(chat) == [("entered", "depot")]


def test_each_contact_of_a_group_comes_and_goes_alone() -> None:
    chat = tracked(DEPOT)
    chat.wait(60).read(listing(north(0, at=60.0), north(1000, handle=BERT, at=60.0)))
    chat.wait(60).read(listing(north(0, at=60.0), north(0, handle=BERT, at=120.0)))
    assert [data["handle"] for data in chat.data("place.entered")] == [ANNA, BERT]


@pytest.mark.parametrize(
    ("place", "inside", "outside"),
    [
        (Place("date line", 0.0, 179.9999, 100.0), (-179.9999, 0.0), (-179.99, 0.0)),
        (Place("north pole", 90.0, 0.0, 1000.0), (120.0, 89.995), (-120.0, 89.98)),
    ],
)
def test_places_on_the_antimeridian_and_at_a_pole(
    place: Place, inside: tuple[float, float], outside: tuple[float, float]
) -> None:
    chat = tracked(place)
    for longitude, latitude in (outside, inside, outside):
        chat.wait(60).read(listing(position(at=chat.now, longitude=longitude, latitude=latitude)))
    assert crossings(chat) == [("entered", place.name), ("left", place.name)]


def test_the_share_ends_where_until_says() -> None:
    chat = walk(tracked(DEPOT, PORT, until="port"), 0, 300)
    assert chat.types[-3:] == ["place.left", "place.entered", "tracking.ended"]
    assert chat.data("tracking.ended") == [{**chat.data("tracking.ended")[0], "reason": "arrived"}]
    assert chat.due is None


def test_somebody_else_in_the_same_reply_is_published_before_the_share_ends() -> None:
    chat = tracked(DEPOT, until="depot")
    chat.wait(60).read(listing(north(0, at=60.0), north(1000, handle=BERT, at=60.0)))
    assert chat.types.count("updated") == 2
    assert chat.types[-1] == "tracking.ended"


def test_places_may_change_while_somebody_is_inside() -> None:
    chat = walk(tracked(DEPOT), 0)
    decision = chat.decision()
    places.replace(decision, [YARD, DEPOT], None)
    chat.keep(decision)
    assert crossings(chat) == [("entered", "depot")]
    assert crossings(walk(chat, 1)) == [("entered", "depot"), ("entered", "yard")]
    assert [data["initial"] for data in chat.data("place.entered")] == [True, False]
    assert crossings(walk(chat, 1000))[-2:] == [("left", "yard"), ("left", "depot")]


def test_until_may_name_a_place_later_and_waits_for_who_comes_into_it() -> None:
    chat = walk(tracked(DEPOT), 0)
    decision = chat.decision()
    places.replace(decision, [DEPOT], "depot")
    chat.keep(decision)
    walk(chat, 1)
    assert chat.share.ended is None, "who is inside does not come in"
    assert walk(chat, 1000, 0).types[-2:] == ["place.entered", "tracking.ended"]


def test_an_ended_share_keeps_no_places() -> None:
    chat = walk(tracked(DEPOT, until="depot"), 0)
    assert (chat.share.ended, chat.share.places, chat.share.until) == ("arrived", [], None)


COMING = (3000.0, 2700.0, 2400.0, 2100.0, 1800.0, 1500.0, 1200.0, 900.0, 600.0)  # 5 m/s, read once a minute
OFTEN = Limits(min_poll=1.0)


def test_who_comes_near_is_read_sooner() -> None:
    near, plain = walk(tracked(DEPOT, limits=OFTEN), *COMING), walk(tracked(limits=OFTEN), *COMING)
    assert near.due_in < plain.due_in
    assert near.share.rule == "approach"


def test_who_stands_still_or_goes_away_is_read_as_anybody_else() -> None:
    for path in ([3000.0] * 6, COMING[::-1]):
        watched, plain = walk(tracked(PORT, limits=OFTEN), *path), walk(tracked(limits=OFTEN), *path)
        assert watched.due_in == pytest.approx(plain.due_in, rel=0.25)
        assert watched.share.rule == plain.share.rule


def test_silence_after_the_expected_arrival_lowers_the_price_again() -> None:
    chat = walk(tracked(DEPOT, limits=OFTEN), *COMING)
    assert chat.share.rule == "approach"
    for _ in range(3):
        chat.wait(80).read(listing(north(600, at=540.0)))
    assert chat.share.rule != "approach"


def test_the_minimum_interval_holds_for_who_comes_near_too() -> None:
    chat = walk(tracked(DEPOT, lower=40.0), *COMING, 230)
    assert chat.due_in == 40.0


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [((0.0, 0.0), (0.0, 1.0), 111_195), ((0.0, 0.0), (180.0, 0.0), 20_015_115), ((13.4, 52.5), (13.4, 52.5), 0)],
)
def test_distances_are_those_of_a_sphere(one: tuple[float, float], other: tuple[float, float], expected: float) -> None:
    centre = Place("", other[1], other[0], 100.0)
    assert places.metres(*one, centre) == pytest.approx(expected, rel=1e-5, abs=1e-6)


steps = st.lists(
    st.tuples(
        st.sampled_from([ANNA, BERT]),
        st.sampled_from([0.0, 40.0, 79.0, 81.0, 199.0, 201.0, 229.0, 231.0, 300.0, 480.0, 3000.0]),
        st.booleans(),  # whether the position has a time
    ),
    max_size=30,
)


@given(steps)
def test_crossings_are_exactly_what_the_published_positions_show(walked: list[tuple[str, float, bool]]) -> None:
    """A model that knows only docs/reference/events.md replays the published positions and finds the same crossings."""
    chat = tracked(DEPOT, YARD, PORT)
    for handle, metres, timed in walked:
        chat.wait(20).read(
            listing(*_last(chat, but=handle), north(metres, handle=handle, at=chat.now if timed else None))
        )
    assert _told(chat.events) == _expected(chat.events)


def _last(chat: TrackedChat, *, but: str) -> list[Position]:
    """Return the last positions of the other contacts, which are still shown."""
    shown = {}
    for data in chat.data("updated"):
        known = data["properties"]
        shown[known["handle"]] = known
    return [
        position(handle, None, longitude=known["longitude"], latitude=known["latitude"])
        for handle, known in shown.items()
        if handle != but
    ]


def _told(events: list[Event]) -> list[tuple[str, str, str]]:
    return [
        (event.type, event.subject, json.loads(event.data)["place"]["name"])
        for event in events
        if event.type.startswith("location.place.")
    ]


def _expected(events: list[Event]) -> list[tuple[str, str, str]]:
    inside: set[tuple[str, str]] = set()
    found = []
    for event in events:
        if event.type != "location.updated":
            continue
        known = json.loads(event.data)["properties"]
        crossed = {"left": [], "entered": []}  # type: dict[str, list[str]]
        for place in (DEPOT, YARD, PORT):
            metres = abs(known["latitude"] - place.latitude) / METRE
            pair = (event.subject, place.name)
            if pair in inside and metres > place.radius + max(30.0, place.radius / 10):
                inside.discard(pair)
                crossed["left"].append(place.name)
            elif pair not in inside and metres <= place.radius:
                inside.add(pair)
                crossed["entered"].append(place.name)
        found += [(f"location.place.{kind}", event.subject, name) for kind, names in crossed.items() for name in names]
    return found


def test_reach_is_finite_for_whatever_is_shown() -> None:
    chat = walk(tracked(DEPOT), 0, 4_000_000, -9_000_000, 231, 1e-9)
    [anna] = chat.share.people
    assert anna.reach is None or math.isfinite(anna.reach)
