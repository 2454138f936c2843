"""The director: everything that a test or the demo can make the simulation do, and ask it afterwards.

The same methods serve Python (from any thread) and the control API (`POST /_simulator/METHOD`, arguments as JSON).
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, fields
from typing import Any

from simulator.answers import Answer
from simulator.chats import Chat
from simulator.clock import rfc3339
from simulator.deliveries import Attempt, Disorder, Disturbance
from simulator.faults import CHERT_ENDPOINTS, Area, Damage, Endpoint, Fault, Kind, Shape
from simulator.loops import Guest, on_loop
from simulator.movement import Fix
from simulator.people import Person, Position, journey_of, normal_handle
from simulator.pins import Pin
from simulator.subscriptions import Subscription
from simulator.world import Event, Habits

CENTRE = Fix(13.4, 52.5)
"""People without a place of their own are around here, in a city, so that a map of them makes sense."""
GOLDEN_ANGLE = 137.508
"""Degrees; by it seeds are spread in a sunflower, and people here, however many there are."""
BEGAN_EARLIER = 60.0
"""How many seconds ago a share that "already" runs has begun."""


class Director(Guest):
    """Commands and questions to one simulation."""

    @on_loop
    def add_person(
        self,
        handle: str | None = None,
        *,
        chat_id: str | None = None,
        line: str | None = None,
        service: str | None = "iMessage",
        accepts_after: float | None = 0.0,
        sharing: bool = False,
        shares_for: float | None = None,
        shares_as: str | None = None,
        recording: str | None = None,
        offset: float = 0.0,
        longitude: float | None = None,
        latitude: float | None = None,
        stored_age: float | None = None,
        address_after: float | None = 0.0,
    ) -> str:
        """Add a contact with a 1:1 chat; return the chat's id. See `Person` for the arguments.

        `sharing`: the contact has shared for a minute, with a position. Without `handle` a number is made up, without
        coordinates a place.
        """
        number = len(self.simulation.world.people)
        own = _own_place(number)
        person = Person(
            handle or f"+1202{5_550_100 + number:07d}",
            accepts_after=accepts_after,
            shares_for=shares_for,
            shares_as=shares_as,
            recording=recording,
            offset=offset,
            place=Fix(
                own.longitude if longitude is None else longitude,
                own.latitude if latitude is None else latitude,
            ),
            # People with the same recording do not walk side by side.
            course=number * GOLDEN_ANGLE % 360,
            stored_age=stored_age,
            address_after=address_after,
        )
        world = self.simulation.world
        world.add_person(person)
        chat = world.add_chat([person.handle], time.time(), chat_id=chat_id, line=line, service=service)
        if sharing:
            world.start_sharing(person.handle, time.time(), line=chat.line, chat_id=chat.id, since=BEGAN_EARLIER)
            world.outbox.pop()
        return chat.id

    @on_loop
    def add_chat(
        self,
        handles: list[str],
        *,
        chat_id: str | None = None,
        line: str | None = None,
        service: str | None = "iMessage",
        is_group: bool | None = None,
    ) -> str:
        """Add a chat with contacts, known or not; several make a group. Return the chat's id."""
        world = self.simulation.world
        chat = world.add_chat(handles, time.time(), chat_id=chat_id, line=line, service=service, is_group=is_group)
        return chat.id

    @on_loop
    def handle_of(self, chat_id: str) -> str:
        """Return the chat's first contact."""
        return self.simulation.world.chats[chat_id].handles[0]

    @on_loop
    def place_ahead(self, chat_id: str, seconds: float) -> Fix:
        """Return where the chat's first contact gets to, `seconds` of the story after their first position."""
        world = self.simulation.world
        person = world.people[normal_handle(world.chats[chat_id].handles[0])]
        journey = journey_of(person, world.habits.cadence)
        return person.place if journey is None else journey.at(seconds)

    @on_loop
    def change_person(self, handle: str, /, **changes: Any) -> None:
        """Change fields of a `Person`, for what happens from now on."""
        _change(self.simulation.world.people[normal_handle(handle)], changes)

    @on_loop
    def change_chat(self, chat_id: str, /, **changes: Any) -> None:
        """Change fields of a `Chat`: `available`, `deleted`, `refuses_with`, `service`, `features`, `ready_at` …"""
        _change(self.simulation.world.chats[chat_id], changes)

    @on_loop
    def join(self, chat_id: str, handle: str) -> None:
        """Have the contact join a group, or come back to it."""
        self.simulation.world.add_participant(chat_id, handle)

    @on_loop
    def leave(self, chat_id: str, handle: str) -> None:
        """Have the contact leave a group; what they share is not readable there any more."""
        self.simulation.world.chats[chat_id].left.add(handle)

    @on_loop
    def refuse_line(self, line: str, code: int | None = 2027) -> None:
        """Refuse every request and message over this line with the code, None: no longer. Reads go on."""
        self.simulation.world.refused_lines.pop(line, None)
        if code is not None:
            self.simulation.world.refused_lines[line] = code

    @on_loop
    def lose_line(self, line: str | None = None, code: int | None = 2005) -> None:
        """Move a line out of the key's reach: refuse its chats with the code and do not list it; None: move it back."""
        line = line or self.simulation.world.lines[0]
        self.simulation.world.lost_lines.pop(line, None)
        if code is not None:
            self.simulation.world.lost_lines[line] = code

    @on_loop
    def change_habits(self, /, **changes: Any) -> None:
        """Change fields of `Habits`, except the speed, which is fixed when the server is made."""
        if "speed" in changes:
            raise ValueError("the speed is fixed when the server is made")
        _change(self.simulation.world.habits, changes)

    @on_loop
    def set_position(
        self,
        chat_id: str,
        handle: str | None,
        longitude: float,
        latitude: float,
        *,
        altitude: float | None = None,
        updated_at: float | str | None = "now",
        address: str | None = None,
        locality: str | None = None,
    ) -> str | None:
        """Set what the contact's phone shows from now on while they share; return the `updated_at` that is sent.

        `handle` None: the chat's first contact. `updated_at`: seconds since 1970 UTC, a text sent as it stands,
        "now", or None to leave it out. `change_person(handle, scripted=None)` lets the phone speak for itself again.
        """
        if handle is None:
            handle = self.simulation.world.chats[chat_id].handles[0]
        moment = time.time() if updated_at == "now" else updated_at
        text = moment if moment is None or isinstance(moment, str) else rfc3339(moment)
        person = self._person(handle)
        person.scripted = Position(Fix(longitude, latitude, altitude), text, address, locality)
        return text

    @on_loop
    def set_features(self, chat_id: str, features: list[Any] | None) -> None:
        """Make every read of the chat answer exactly these features; None: what people share again."""
        self.simulation.world.chats[chat_id].features = features

    @on_loop
    def start_sharing(self, handle: str, *, line: str | None = None, chat_id: str | None = None) -> None:
        """Have the contact accept, share on their own account, or prolong."""
        self.simulation.world.start_sharing(handle, time.time(), line=line, chat_id=chat_id)

    @on_loop
    def stop_sharing(self, handle: str, *, line: str | None = None, announce: bool = True) -> None:
        """Have the contact stop; without `announce`, no webhook is sent."""
        self.simulation.world.stop_sharing(handle, time.time(), line=line, announce=announce)

    @on_loop
    def fault(
        self,
        kind: Kind,
        *,
        endpoint: Endpoint | Area | None = None,
        chat_id: str | None = None,
        replies: int | None = 1,
        probability: float = 1.0,
        status: int | None = None,
        code: int | None = None,
        message: str | None = None,
        retry_after: float | str | None = None,
        retryable: bool | None = None,
        delay: float = 0.0,
        after_work: bool | None = None,
        shape: Shape = "features_null",
        location: str = "http://127.0.0.1:9/",
        damage: Damage | None = None,
    ) -> None:
        """Set a fault; see `Fault` for the arguments."""
        self.simulation.faults.add(
            Fault(
                kind,
                endpoint,
                chat_id,
                replies,
                probability,
                status,
                code,
                message,
                retry_after,
                retryable,
                delay,
                after_work,
                shape,
                location,
                damage,
            )
        )

    @on_loop
    def clear_faults(self, endpoint: Endpoint | Area | None = None, chat_id: str | None = None) -> None:
        """Remove faults; without arguments all."""
        self.simulation.faults.clear(endpoint, chat_id)

    @on_loop
    def subscribe(self, target_url: str, events: list[str] | None = None, *, secret: str | None = None) -> Subscription:
        """Subscribe a receiver without a request, by default to the two location events."""
        wanted = events or ["location.sharing.started", "location.sharing.stopped"]
        body = {"target_url": target_url, "subscribed_events": wanted}
        return self.simulation.subscriptions.create(body, time.time(), secret=secret)

    @on_loop
    def announce(
        self,
        event_type: str,
        data: dict[str, Any],
        *,
        line: str | None = None,
        created_at: float | None = None,
        event_id: str | None = None,
    ) -> str:
        """Deliver any event to the subscriptions that want it, one of an unknown type to all; return its id."""
        event = Event(event_type, data, created_at or time.time(), line or self.simulation.world.lines[0])
        return self.simulation.deliveries.announce(event, event_id=event_id)

    @on_loop
    def disturb(
        self, kind: Disorder, event_type: str | None = None, *, events: int | None = 1, seconds: float = 0.0
    ) -> None:
        """Disturb deliveries; see `Disturbance`."""
        self.simulation.deliveries.disturb(Disturbance(kind, event_type, events, seconds))

    @on_loop
    def settle_deliveries(self) -> None:
        """End all disturbances and send what was held."""
        self.simulation.deliveries.settle()

    @on_loop
    def use_api_key(self, api_key: str) -> None:
        """Let Linq accept only this key from now on."""
        self.simulation.api_key = api_key

    @on_loop
    def answers(self, *, endpoint: Endpoint | None = None, chat_id: str | None = None, after: int = 0) -> list[Answer]:
        """Return the replies given, oldest first, with numbers above `after`."""
        return self.simulation.answers.select(endpoint=endpoint, chat_id=chat_id, after=after)

    @on_loop
    def attempts(self) -> list[Attempt]:
        """Return every attempt to deliver every webhook."""
        return list(self.simulation.deliveries.attempts)

    @on_loop
    def pins(self) -> list[Pin]:
        """Return the pins that were really sent."""
        return list(self.simulation.pins.sent)

    @on_loop
    def prompts(self, chat_id: str) -> int:
        """Return how many prompts the contact of this chat has seen."""
        return self.simulation.world.chats[chat_id].prompts

    @on_loop
    def request_times(self, api: Area = "linq") -> list[float]:
        """Return when requests arrived (seconds since 1970 UTC), in order, for checks of a request budget."""
        answers = self.simulation.answers.answers
        return sorted(a.received_at for a in answers if (a.endpoint in CHERT_ENDPOINTS) == (api == "chert"))

    @on_loop
    def state(self) -> dict[str, Any]:
        """Return chats with their contacts and shares, and counts of requests and prompts."""
        world, answers = self.simulation.world, self.simulation.answers
        return {
            "habits": asdict(world.habits),
            "lines": list(world.lines),
            "chats": [self._chat_state(chat) for chat in world.chats.values()],
            "requests": dict(answers.requests),
            "prompts": {chat.id: chat.prompts for chat in world.chats.values() if chat.prompts},
            "faults": [asdict(fault) for fault in self.simulation.faults.faults],
        }

    def _person(self, handle: str) -> Person:
        """Return the contact with that handle, or the one whose shares hang on it."""
        wanted = normal_handle(handle)
        people = self.simulation.world.people
        if wanted in people:
            return people[wanted]
        for person in people.values():
            if normal_handle(person.sharing_handle) == wanted:
                return person
        raise KeyError("no such person; add_person comes first")

    def _chat_state(self, chat: Chat) -> dict[str, Any]:
        shares = self.simulation.world.shares
        sharing = [handle for handle in chat.handles if (normal_handle(handle), chat.line) in shares]
        return {
            "chat_id": chat.id,
            "line": chat.line,
            "handles": chat.handles,
            "service": chat.service,
            "is_group": chat.is_group,
            "sharing": sharing,
        }


def _own_place(number: int) -> Fix:
    """Return a place for the person of this number, 300 m and more from the others."""
    distance, angle = 0.003 * math.sqrt(number), math.radians(number * GOLDEN_ANGLE)
    east = distance * math.sin(angle) / math.cos(math.radians(CENTRE.latitude))
    return Fix(round(CENTRE.longitude + east, 6), round(CENTRE.latitude + distance * math.cos(angle), 6))


def _change(thing: Person | Chat | Habits, changes: dict[str, Any]) -> None:
    known = [field.name for field in fields(thing)]
    for name, value in changes.items():
        if name not in known:
            raise ValueError(f"{type(thing).__name__} has no {name!r}; it has {', '.join(known)}")
        setattr(thing, name, value)
