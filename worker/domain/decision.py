"""One decision about a share, in the making: the changed share, its events, the changes of the latest view, when next.

What all decisions share stands here: how sharing starts, a position is published, sharing stops, the share ends.
"""

from typing import NamedTuple

import msgspec

from worker.domain import events, policy
from worker.domain.freshness import NANO, checksum
from worker.domain.observation import Position
from worker.domain.share import Person, Share
from worker.domain.timestamp import format_milliseconds, format_time

CONFIRM_SECONDS = 30.0  # contract 4: two reads that do not list a handle lie at least this far apart


class Limits(msgspec.Struct, frozen=True):
    """The settings that decisions depend on, in seconds, and the policy's price floor and head room (policy.py)."""

    min_poll: float = 60.0
    max_poll: float = 600.0
    cooldown: float = 600.0
    stale_after: float = 1800.0
    price_floor: float = policy.PRICE_FLOOR
    head_room: float = policy.HEAD_ROOM

    @property
    def confirm(self) -> float:
        """Least time between two reads that say the same before it is believed."""
        return min(CONFIRM_SECONDS, self.max_poll)


class Context(msgspec.Struct, frozen=True):
    """What a decision depends on beside the share: the fleet's sums, the settings, and how well webhooks announce."""

    fleet: policy.Fleet
    limits: Limits
    announced: float = 0.0


class View(NamedTuple):
    """A change of the latest view: `data` None removes the handle."""

    handle: str
    data: str | None
    longitude: float
    latitude: float


class DecisionBase:
    """A share as it was stored and the moment go in; what is to be stored comes out. `share` is changed in place.

    `now` is in seconds since 1970 (UTC, Redis' clock), `random_unit` uniform in 0 to 1. Afterwards `events`, `views`
    and `due` (None: the share has ended) say what is to be stored; `positions` are those published.
    """

    __slots__ = (
        "accepted",
        "chat_id",
        "context",
        "due",
        "events",
        "now",
        "positions",
        "random_unit",
        "share",
        "views",
    )

    def __init__(self, share: Share, chat_id: str, *, now: float, context: Context, random_unit: float) -> None:
        self.share = share
        self.chat_id = chat_id
        self.now = now
        self.context = context
        self.random_unit = random_unit
        self.events: list[events.Event] = []
        self.views: list[View] = []
        self.positions: list[Position] = []
        self.due: float | None = now
        self.accepted: tuple[int, int] | None = None  # a request was accepted: 1, and whether a webhook announced it

    def expire(self) -> None:
        """Let a share go that has been followed for as long as was asked."""
        self._finish("time_limit")

    def end(self, reason: events.EndReason) -> None:
        """End the share for a reason of ours; nothing changes upstream."""
        self._finish(reason)

    def _person(self, handle: str) -> Person:
        for person in self.share.people:
            if person.handle == handle:
                return person
        person = Person(handle)
        # A new list: the default one belongs to nobody.
        self.share.people = [*self.share.people, person]
        return person

    def _anybody_shares(self) -> bool:
        return any(person.sharing for person in self.share.people)

    def _start(self, person: Person, *, detected_by: events.DetectedBy) -> None:
        share = self.share
        if share.asked and share.pace is None and not self._anybody_shares():
            self.accepted = (1, int(detected_by == "webhook"))
        if detected_by == "poll":
            person.began_at = person.ends_at = None
        person.sharing = True
        person.seen_at = self.now
        person.listed = False
        person.missing_since = None
        person.stale = False
        if share.follow_until is None:
            share.follow_until = self.now + share.follow_for
        began = None if person.began_at is None else format_time(person.began_at)
        ends = None if person.ends_at is None else format_time(person.ends_at)
        self._emit(
            events.SharingStarted(self.chat_id, share.share_id, person.handle, began, ends, detected_by),
            subject=person.handle,
            at=None if person.began_at is None else person.began_at / NANO,
        )

    def _publish(self, person: Person, position: Position) -> None:
        share = self.share
        received_at = format_milliseconds(self.now)
        longitude, latitude, altitude = position.longitude, position.latitude, position.altitude
        updated_at = None if position.updated_at is None else format_time(position.updated_at)
        coordinates = (longitude, latitude) if altitude is None else (longitude, latitude, altitude)
        made = self._emit(
            events.Updated(
                events.Point(coordinates),
                events.PositionProperties(
                    self.chat_id,
                    share.share_id,
                    person.handle,
                    latitude,
                    longitude,
                    altitude,
                    position.address,
                    position.locality,
                    updated_at,
                    received_at,
                ),
            ),
            subject=person.handle,
            at=None if position.updated_at is None else position.updated_at / NANO,
        )
        self.positions.append(position)
        self.views.append(View(person.handle, made.data, longitude, latitude))
        if position.updated_at is not None:
            person.updated_at = position.updated_at
        person.content = checksum(position)
        person.longitude = longitude
        person.latitude = latitude
        person.seen_at = self.now
        person.stale = False
        share.hint_at = None

    def _stop(self, person: Person, reason: events.StopReason, ended_at: int) -> None:
        person.sharing = False
        person.stopped_at = ended_at
        person.stopping_at = None
        # What two reads did not list has been unlisted; after a webhook or a timer an old feature may linger on.
        person.unlisted = person.missing_since is not None
        person.missing_since = None
        person.ends_at = None
        self.views.append(View(person.handle, None, 0.0, 0.0))
        self._emit(
            events.SharingStopped(self.chat_id, self.share.share_id, person.handle, format_time(ended_at), reason),
            subject=person.handle,
            at=ended_at / NANO,
        )

    def _expire_request(self) -> None:
        share = self.share
        waited = round(self.now - share.begun_at, 3)
        self._emit(events.RequestExpired(self.chat_id, share.share_id, waited))
        self._finish("request_expired")

    def _finish(self, reason: events.EndReason) -> None:
        share = self.share
        self.due = None
        if share.ended is not None:
            return
        for person in share.people:
            if person.sharing:
                self.views.append(View(person.handle, None, 0.0, 0.0))
        self._emit(events.TrackingEnded(self.chat_id, share.share_id, reason))
        share.ended = reason
        share.pace = None
        share.wanted_rate = None
        share.rule = ""

    def _emit(self, data: msgspec.Struct, *, subject: str = "", at: float | None = None) -> events.Event:
        share = self.share
        share.sequence += 1
        made = events.make_event(
            data,
            scope=share.share_id,
            source=f"/linq/chats/{self.chat_id}",
            subject=subject,
            time=format_milliseconds(self.now if at is None else at),
            sequence=share.sequence,
            reference=share.reference,
        )
        self.events.append(made)
        return made
