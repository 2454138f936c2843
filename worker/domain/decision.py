"""One decision about a share: the changed share, its events, the changes of the latest view, and when it is due next.

Into a `Decision` go the stored share, the time and the state of the fleet; out comes what is to be stored. The other
modules work on it: prompts.py (asking the contact), reads.py (what a read shows), webhooks.py (what a webhook says),
schedule.py (when to read next). What they have in common is here: how sharing starts, how a position is published, how
sharing stops, how the share ends. The engine, the jobs and the receiver of webhooks decide nothing themselves, so that
the guarantees of docs/reference/events.md are kept in one place.
"""

from typing import NamedTuple

import msgspec

from location_client.data import EndReason, StopReason
from worker.domain import events, policy
from worker.domain.freshness import fingerprint, last_moment, located, position_moment
from worker.domain.handle import handle_digest
from worker.domain.observation import Position
from worker.domain.share import Person, Share
from worker.domain.timestamp import NANOSECONDS, format_milliseconds, format_time

CONFIRM_SECONDS = 30.0  # at least this long between two reads that must agree before they are believed


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
        """The least time between two reads that must agree before they are believed."""
        return min(CONFIRM_SECONDS, self.max_poll)


class Context(msgspec.Struct, frozen=True):
    """What a decision depends on besides the share: the fleet's sums, the settings, how reliable webhooks are."""

    fleet: policy.Fleet
    limits: Limits
    announced: float = 0.0


class View(NamedTuple):
    """A change of the latest view: `data` None removes the handle."""

    handle: str
    data: str | None
    longitude: float
    latitude: float


DONE: frozenset[EndReason] = frozenset({"first_position", "arrived", "time_limit"})
"""Reasons to end a share that has served its purpose; with the others, nothing is left to end or a caller chose it."""


class Decision:
    """A decision about a share, which is changed in place.

    In: `share`; `now`, in seconds since 1970 (UTC, Redis' clock); `random_unit`, uniform in 0 to 1. Out: `events`,
    `views` and `due` (None: the share has ended) are to be stored; `positions` are the published ones; `corrected`: a
    known position was shown again with other changes; `stops` are the handles whose share Linq is to be asked to end;
    `accepted` is set when a request was accepted.
    """

    __slots__ = (
        "accepted",
        "chat_id",
        "context",
        "corrected",
        "due",
        "events",
        "now",
        "positions",
        "random_unit",
        "share",
        "stops",
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
        self.stops: list[str] = []
        self.corrected = False
        self.due: float | None = now
        self.accepted: tuple[int, int] | None = None  # 1, and whether a webhook announced it

    def person(self, handle: str) -> Person:
        """Return what is known of a handle: a new person if nothing is."""
        for person in self.share.people:
            if person.handle == handle:
                return person
        person = Person(handle)
        # A new list: the default is shared by all instances.
        self.share.people = [*self.share.people, person]
        return person

    def anybody_shares(self) -> bool:
        """Return whether somebody shares in this chat now."""
        return any(person.sharing for person in self.share.people)

    def start_sharing(self, person: Person, *, detected_by: events.DetectedBy) -> None:
        """Publish that a person began to share."""
        share = self.share
        if share.asked and share.pace is None and not self.anybody_shares():
            self.accepted = (1, int(detected_by == "webhook"))
        if detected_by == "poll":
            person.began_at = person.ends_at = None
        person.sharing = True
        person.seen_at = self.now
        person.listed = False
        person.missing_since = None
        person.stale = False
        person.inside = person.reach = None
        if share.follow_until is None:
            share.follow_until = self.now + share.follow_for
        began = None if person.began_at is None else format_time(person.began_at)
        ends = None if person.ends_at is None else format_time(person.ends_at)
        self.emit(
            events.SharingStarted(self.chat_id, share.share_id, person.handle, began, ends, detected_by),
            subject=person.handle,
            # A read does not show when sharing began, only that it was after the last stop.
            moment=f"after {person.last_stop}" if person.began_at is None else f"{person.began_at}",
            at=None if person.began_at is None else person.began_at / NANOSECONDS,
        )

    def publish(self, person: Person, position: Position, *, again: bool = False) -> str:
        """Publish a new position, or the last one `again` because its address has arrived; return its moment."""
        share = self.share
        received_at = format_milliseconds(self.now)
        longitude, latitude, altitude = position.longitude, position.latitude, position.altitude
        updated_at = None if position.updated_at is None else format_time(position.updated_at)
        coordinates = (longitude, latitude) if altitude is None else (longitude, latitude, altitude)
        moment = position_moment(position, self.now, len(self.positions))
        made = self.emit(
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
            moment=moment + located(position),
            at=None if position.updated_at is None else position.updated_at / NANOSECONDS,
        )
        self.positions.append(position)
        self.views.append(View(person.handle, made.data, longitude, latitude))
        if position.updated_at is not None:
            person.updated_at = position.updated_at
        person.content = fingerprint(position)
        person.corrected = None
        person.longitude = longitude
        person.latitude = latitude
        if not again:
            person.seen_at = self.now
            person.stale = False
            share.hint_at = None
        return moment

    def stop_sharing(self, person: Person, reason: StopReason, ended_at: int) -> None:
        """Publish that a person no longer shares; `ended_at` in ns since 1970 (UTC)."""
        # Later than all beginnings and ends so far, whatever Linq says: otherwise two events could get the same id.
        end = max(ended_at, (person.stopped_at or 0) + 1)
        # Unknown is when a contact disappeared; known is only after which position.
        moment = f"{end}" if reason != "disappeared" else last_moment(person)
        person.sharing = False
        person.stopped_at = max(end, person.began_at or 0)
        person.stopping_at = None
        # Two reads without the handle have unlisted it; after a webhook or a timer, an old feature may still be listed.
        person.unlisted = person.missing_since is not None
        person.missing_since = None
        person.ends_at = None
        self._hide(person.handle)
        made = self.emit(
            events.SharingStopped(self.chat_id, self.share.share_id, person.handle, format_time(ended_at), reason),
            subject=person.handle,
            moment=moment,
            at=ended_at / NANOSECONDS,
        )
        person.last_stop = events.id_digest(made)

    def expire_request(self) -> None:
        """End a share whose request nobody accepted in time."""
        share = self.share
        waited = round(self.now - share.begun_at, 3)
        self.emit(events.RequestExpired(self.chat_id, share.share_id, waited))
        self.end("request_expired")

    def end(self, reason: EndReason) -> None:
        """End the share here; nothing changes at Linq."""
        share = self.share
        self.due = None
        if share.ended is not None:
            return
        sharing = [person.handle for person in share.people if person.sharing]
        for handle in sharing:
            self._hide(handle)
        self.emit(events.TrackingEnded(self.chat_id, share.share_id, reason))
        share.ended = reason
        if share.stop_when_done and reason in DONE:
            self.stops = sharing
        share.pace = None
        share.wanted_rate = None
        share.rule = ""
        share.places, share.until = [], None  # they say where somebody was expected

    def forget(self, handle: str, *, ends_share: bool) -> bool:
        """Exclude a handle from now on; return whether the share knew it. A 1:1 share ends."""
        share = self.share
        known = any(person.handle == handle for person in share.people)
        share.people = [person for person in share.people if person.handle != handle]
        if share.ended is not None:
            self.due = None
            return known
        if ends_share:
            if known:
                self._hide(handle)
            self.end("forgotten")
            return True
        digest = handle_digest(handle)
        if digest not in share.excluded:
            share.excluded.append(digest)
        self._hide(handle)
        self.read_now("forgotten")
        return known

    def read_now(self, rule: str) -> None:
        """Be due at once: a read under way predates the change from outside, so another one is needed."""
        self.due = self.now
        self.share.rule = rule

    def emit(
        self, data: msgspec.Struct, *, subject: str = "", moment: str = "", at: float | None = None
    ) -> events.Event:
        """Add an event to those to be published.

        `moment` distinguishes it from others of its type and handle in this share (events.make_event); `at` is in
        seconds since 1970 (UTC), by default now.
        """
        share = self.share
        share.sequence += 1
        made = events.make_event(
            data,
            scope=share.share_id,
            source=f"/linq/chats/{self.chat_id}",
            subject=subject,
            moment=moment,
            time=format_milliseconds(self.now if at is None else at),
            sequence=share.sequence,
            reference=share.reference,
        )
        self.events.append(made)
        return made

    def _hide(self, handle: str) -> None:
        self.views.append(View(handle, None, 0.0, 0.0))
