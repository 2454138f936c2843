"""An event's id follows from the fact: if Redis loses its last moments, dropping repeats by id loses nothing.

A story of two contacts is played once; at some point the worker falls back to an older state and goes on from there,
while the world has moved on. What was lost is found again as far as it can still be seen.
"""

import copy
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.tracking import ANNA, BERT, TrackedChat, listing, ns, position
from worker.domain.events import Event
from worker.domain.observation import Fault, Position, Sent
from worker.domain.share import Place
from worker.domain.webhooks import report_unreadable

Fact = tuple[Any, ...]
PLACES = ((13.4, 52.5), (13.5, 52.5), (13.4, 52.6))
MOMENT = 0.01  # seconds between two steps, so that no two happen at once

handles = st.sampled_from([ANNA, BERT])
steps = st.one_of(
    st.just(("read",)),
    st.just(("read",)),
    st.just(("read",)),
    st.just(("fault",)),
    st.tuples(st.just("wait"), st.sampled_from([5.0, 31.0, 31.0, 700.0, 2000.0])),
    st.tuples(st.just("share"), handles, st.sampled_from([None, None, 1800.0])),
    st.tuples(st.just("move"), handles, st.sampled_from(PLACES), st.sampled_from([True, True, False])),
    st.tuples(st.just("locate"), handles),
    st.tuples(st.just("end"), handles),
    st.tuples(st.just("tell"), handles, st.integers(0, 9)),
)


@dataclass
class Upstream:
    """What Linq shows and says of one contact, read or not. Times are seconds after the beginning."""

    handle: str
    shown: Position | None = None
    began: float = 0.0
    said: list[tuple[str, dict[str, float | None]]] = field(default_factory=list)

    def share(self, now: float, seconds: float | None) -> None:
        if self.shown is None:
            self.began = now
            ends = None if seconds is None else now + seconds
            self.said.append(("started", {"began": now, "ends": ends, "created": now}))
            self.shown = position(self.handle, now)

    def move(self, now: float, place: tuple[float, float], *, timed: bool) -> None:
        if self.shown is not None:
            self.shown = position(self.handle, now if timed else None, longitude=place[0], latitude=place[1])

    def locate(self) -> None:
        if self.shown is not None:
            shown = self.shown
            self.shown = Position(
                shown.handle, shown.longitude, shown.latitude, None, "Riverside Building", None, shown.updated_at
            )

    def end(self, now: float) -> None:
        if self.shown is not None:
            self.shown = None
            self.said.append(("stopped", {"began": self.began, "ended": now, "created": now}))


@dataclass
class World:
    """Both contacts, the worker's share, and what is done next."""

    chat: TrackedChat
    people: dict[str, Upstream] = field(default_factory=lambda: {handle: Upstream(handle) for handle in (ANNA, BERT)})

    def play(self, story: Iterable[tuple[Any, ...]]) -> None:
        for step in story:
            self.chat.wait(MOMENT)
            now = self.chat.now
            match step:
                case ("wait", seconds):
                    self.chat.wait(seconds)
                case ("share", handle, seconds):
                    self.people[handle].share(now, seconds)
                case ("move", handle, place, timed):
                    self.people[handle].move(now, place, timed=timed)
                case ("locate", handle):
                    self.people[handle].locate()
                case ("end", handle):
                    self.people[handle].end(now)
                case ("read",):
                    self.chat.read(listing(*(each.shown for each in self.people.values() if each.shown is not None)))
                case ("fault",):
                    self.chat.read(Fault("timeout", ""))
                case ("tell", handle, number):
                    self.tell(self.people[handle], number)

    def tell(self, person: Upstream, number: int) -> None:
        """Deliver one of the webhooks so far, late or repeated."""
        if person.said:
            kind, times = person.said[number % len(person.said)]
            deliver = self.chat.started if kind == "started" else self.chat.stopped
            deliver(person.handle, **times)

    def fall_back(self, older: TrackedChat) -> None:
        """Lose what the worker has stored since; the clock goes on."""
        now = self.chat.now
        self.chat = copy.deepcopy(older)
        self.chat.now = now


def facts(events: list[Event]) -> list[Fact]:
    """Return what each event of one history says has happened, in terms of what upstream says."""
    found: list[Fact] = []
    shown: dict[str, Fact] = {}  # by handle: the position last published
    stops: dict[str, Fact] = {}  # by handle: the last stop
    for event in events:
        data, handle = json.loads(event.data), event.subject
        fact: Fact = (event.type, handle)
        match event.type.removeprefix("location."):
            case "updated":
                said = data["properties"]
                shown[handle] = (said["updated_at"],)
                if said["updated_at"] is None:
                    shown[handle] = (*data["geometry"]["coordinates"], said["address"], said["received_at"])
                fact += (shown[handle], said["address"] is None)
            case "place.entered" | "place.left":
                fact += (shown[handle], data["place"]["name"])
            case "sharing.started":
                by_webhook = data["detected_by"] == "webhook"
                fact += (data["began_at"],) if by_webhook else ("after", stops.get(handle))
            case "sharing.stale":
                fact += (shown.get(handle), stops.get(handle))
            case "sharing.stopped":
                gone = data["reason"] == "disappeared"
                fact += (shown.get(handle), stops.get(handle)) if gone else (data["ended_at"],)
                stops[handle] = fact
        found.append(fact)
    return found


def count(events: list[Event], event_type: str, handle: str) -> int:
    return sum((event.type, event.subject) == (f"location.{event_type}", handle) for event in events)


def last(events: list[Event], handle: str, *types: str) -> str:
    """Return the type of the handle's last event that is one of these."""
    return next(
        (
            event.type.removeprefix("location.")
            for event in reversed(events)
            if event.subject == handle and event.type.removeprefix("location.") in types
        ),
        "",
    )


@given(
    asked=st.booleans(),
    before=st.lists(steps, max_size=25),
    lost=st.lists(steps, max_size=15),
    after=st.lists(steps, max_size=25),
)
def test_what_is_found_again_has_its_id_again_and_nothing_else_has(
    asked: bool, before: list[tuple[Any, ...]], lost: list[tuple[Any, ...]], after: list[tuple[Any, ...]]
) -> None:
    world = World(TrackedChat(asked=asked, places=(Place("depot", 52.5, 13.4, 100.0),)))
    if asked:
        world.chat.prompt(Sent())
    world.play(before)
    older = copy.deepcopy(world.chat)
    world.play(lost)
    first = world.chat.events
    world.fall_back(older)
    world.play([*after, ("read",), ("wait", 31.0), ("read",)])
    second = world.chat.events
    kept_before = len(older.events)
    delivered = [*first, *second[kept_before:]]

    said = [*zip(facts(first), first, strict=True), *zip(facts(second), second, strict=True)]
    assert len({(fact, event.id) for fact, event in said}) == len({fact for fact, _ in said}), "a fact with two ids"
    assert len({(fact, event.id) for fact, event in said}) == len({event.id for _, event in said}), "an id of two facts"

    kept = list({event.id: event for event in reversed(delivered)}.values())[::-1]
    assert len(kept) == len({fact for fact, _ in said}), "what a consumer keeps is each fact once"

    gone = first[kept_before:]
    for handle in (ANNA, BERT):
        # A stop or a start that was lost and can no longer be seen cannot be told from the next one.
        if last(second, handle, "sharing.started", "sharing.stopped") == "sharing.started":
            if not count(gone, "sharing.stopped", handle):
                assert last(kept, handle, "sharing.started", "sharing.stopped") == "sharing.started"
        elif last(second, handle, "sharing.stopped") and not count(gone, "sharing.started", handle):
            assert last(kept, handle, "updated", "sharing.stopped") == "sharing.stopped"


def test_an_end_that_is_found_later_the_second_time_is_the_same_end() -> None:
    world = World(TrackedChat(asked=False))
    world.play([("share", ANNA, None), ("read",), ("move", ANNA, PLACES[1], True), ("read",)])
    older = copy.deepcopy(world.chat)
    gone = [("end", ANNA), ("read",), ("wait", 31.0), ("read",)]
    world.play(gone)
    first = world.chat.events[-2:]
    world.fall_back(older)
    world.play([("wait", 500.0), *gone])
    second = world.chat.events[-2:]
    assert [event.type for event in first] == ["location.sharing.stopped", "location.tracking.ended"]
    assert [event.id for event in second] == [event.id for event in first]
    assert [event.time for event in second] != [event.time for event in first]


def test_a_position_without_a_time_is_told_from_the_same_one_read_at_another_time() -> None:
    chat = TrackedChat(asked=False)
    for longitude in (1.0, 2.0, 1.0):
        chat.wait(10).read(listing(position(at=None, longitude=longitude)))
    told = [event.id for event in chat.events if event.type == "location.updated"]
    assert len(set(told)) == 3


def test_each_beginning_under_an_unreadable_handle_has_its_own_id() -> None:
    chat = TrackedChat(asked=False)
    told = []
    for began in (10, 20, 10):
        decision = chat.decision()
        told.append(report_unreadable(decision, BERT, "share from Messages", began_at=ns(began)))
        chat.keep(decision)
    assert told == [True, True, False]
    assert len({event.id for event in chat.events}) == 2
