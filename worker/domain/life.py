"""The life of a share: what each observation means for it, what is published, and when it is looked at next.

One `Turn` is one decision: a share as it was stored, the moment, and what is known of the fleet go in; the changed
share, its events, the changes of the latest view and the next due time come out. The engine, the jobs and the webhook
receiver all decide here and nowhere else, so that the contract's guarantees (section 4) are kept in one place.
"""

import math
import zlib
from typing import Literal, NamedTuple

import msgspec

from worker.domain import events, policy
from worker.domain.handle import handle_digest
from worker.domain.observation import (
    AlreadySharing,
    Fault,
    Features,
    Later,
    Position,
    PromptOutcome,
    ReadObservation,
    Refused,
    Rejected,
    Sent,
    Suspended,
    Throttled,
    Uncertain,
)
from worker.domain.share import Person, Prompt, Share
from worker.domain.timestamp import format_milliseconds, format_time

_pack_content = msgspec.msgpack.Encoder().encode

NANO = 1_000_000_000
CONFIRM_SECONDS = 30.0  # contract 4: two reads that do not list a handle lie at least this far apart
EXPIRY_GRACE_SECONDS = 60.0  # contract 4: after `ends_at`, a newer position may come this long
BEFORE_END_SECONDS = 2.0  # polling-policy.md: one read just before a planned end
HINT_OFFSETS = (
    1.0,
    2.0,
    3.0,
    5.0,
    8.0,
    12.0,
    20.0,
)  # a first position takes a second or two (linq-api.md 5.2)
FIRST_LOOK_SECONDS = 2.0  # where a webhook may bring one read forward only, a position should be there by then
HINT_EVERY_SECONDS = 10.0  # polling-policy.md: duplicates of a webhook cost nothing
FIRST_POSITION_SECONDS = 600.0  # a share that was announced but never listed is not "gone" before this
LAST_READ_GRACE_SECONDS = 300.0  # an unanswered request is let go after this when even the last read fails
THROTTLED_SECONDS = 60.0  # 429 without Retry-After: Linq's example waits are of this size
CREATING_SECONDS = 3.0  # 409/2009: "a few seconds" (linq-api.md 3.3)
LONGEST_WAIT_SECONDS = 86_400.0  # what a Retry-After is obeyed up to
UNSENT_SECONDS = 5.0  # least time between two prompts that may not have reached Linq, if there is no cool-down
MOVED_DEGREES_SQUARED = (100 / 111_195) ** 2  # 100 m in degrees of latitude
MOST_PROMPTS = 2  # an uncertain prompt is repeated once (contract 3)


class Limits(msgspec.Struct, frozen=True):
    """The settings that decisions depend on, in seconds, and the policy's price floor and head room (policy.py)."""

    min_poll: float = 15.0
    max_poll: float = 600.0
    cooldown: float = 600.0
    stale_after: float = 1800.0
    price_floor: float = policy.PRICE_FLOOR
    head_room: float = policy.HEAD_ROOM

    @property
    def confirm(self) -> float:
        """Least time between two reads that say the same before it is believed."""
        return min(CONFIRM_SECONDS, self.max_poll)


class Circumstances(msgspec.Struct, frozen=True):
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


Action = Literal["read", "prompt", "end"]


class Turn:
    """One decision about one share; `share` is changed in place.

    `now` is in seconds since 1970 (UTC, Redis' clock), `chance` uniform in 0 to 1. Afterwards `events`, `views` and
    `due` (None: the share has ended) say what is to be stored; `positions` are those published.
    """

    __slots__ = (
        "accepted",
        "chance",
        "chat_id",
        "circumstances",
        "due",
        "events",
        "now",
        "positions",
        "share",
        "views",
    )

    def __init__(self, share: Share, chat_id: str, *, now: float, circumstances: Circumstances, chance: float) -> None:
        self.share = share
        self.chat_id = chat_id
        self.now = now
        self.circumstances = circumstances
        self.chance = chance
        self.events: list[events.Event] = []
        self.views: list[View] = []
        self.positions: list[Position] = []
        self.due: float | None = now
        self.accepted: tuple[int, int] | None = None  # a request was accepted: 1, and whether a webhook announced it

    # What is to be done with a chat that is due

    def next_action(self) -> Action:
        """Say what the share needs now; a prompt whose worker did not live to see the answer becomes uncertain."""
        share = self.share
        if share.prompt is Prompt.CALLING:
            self._doubt_prompt()
        if share.follow_until is not None and self.now >= share.follow_until:
            return "end"
        return "prompt" if self._prompt_is_due() else "read"

    def end_of_time(self) -> None:
        """Let a share go that has been followed for as long as was asked."""
        self._finish("time_limit")

    def end(self, reason: events.EndReason) -> None:
        """End the share for a reason of ours; nothing changes upstream."""
        self._finish(reason)

    # The beginning

    def begin(self, *, accept_within: float, previous: Share | None) -> None:
        """Begin the share: due at once; `previous` is what is still known of the chat's last share."""
        share = self.share
        if previous is not None:
            share.prompted_at = previous.prompted_at
            # An old last position may still be listed after its end: it must not start a share again.
            share.people = [
                Person(
                    person.handle,
                    updated_at=person.updated_at,
                    stopped_at=person.stopped_at,
                    unlisted=person.unlisted,
                )
                for person in previous.people
                if person.stopped_at is not None
            ]
        if not share.asked:
            share.follow_until = self.now + share.follow_for
            return
        share.expires_at = self.now + accept_within
        share.prompt = Prompt.WAITING
        share.prompt_after = self.now
        if share.prompted_at is not None and self.now < share.prompted_at + self.circumstances.limits.cooldown:
            share.prompt_after = share.prompted_at + self.circumstances.limits.cooldown
            share.look_first = True
        self._emit(events.Requested(self.chat_id, share.share_id, format_milliseconds(share.expires_at)))

    # Prompts

    def call_prompt(self) -> None:
        """Record that a prompt is about to leave: this has to be stored before the call is made."""
        share = self.share
        share.prompt = Prompt.CALLING
        share.prompts += 1
        share.prompted_before = share.prompted_at
        share.prompted_at = self.now

    def settle_prompt(self, outcome: PromptOutcome) -> None:
        """Take in what became of a prompt that `call_prompt` recorded.

        It may come late: where the share has gone on meanwhile, only what is still of use is taken.
        """
        share = self.share
        if share.ended is not None or share.prompt not in (Prompt.CALLING, Prompt.UNCERTAIN):
            self._schedule()
            return
        late = share.prompt is Prompt.UNCERTAIN
        match outcome:
            case Sent() | AlreadySharing():
                share.prompt = Prompt.SENT
                share.prompt_after = None
            case Uncertain(possibly_sent=possibly_sent):
                self._doubt_prompt()
                if not possibly_sent:
                    share.prompts -= 1
            case Later(reason=reason, retry_after=retry_after):
                self._withdraw_prompt()
                usual = THROTTLED_SECONDS if reason == "throttled" else CREATING_SECONDS
                seconds = usual if retry_after is None else retry_after
                share.prompt_after = self.now + max(CREATING_SECONDS, min(seconds, LONGEST_WAIT_SECONDS))
                share.look_first = reason == "throttled"
            case Suspended():
                self._withdraw_prompt()
                share.prompt_after = self.now
                share.look_first = False
            case Rejected():
                self._withdraw_prompt()
                if not self._anybody_shares():
                    self._reject(outcome)
                    return
                share.prompt = Prompt.SENT
        if isinstance(outcome, AlreadySharing):
            share.conflict = True
            share.rule = "already-sharing"
            self.due = self.now
        elif late:
            self._read_now()
        else:
            self._schedule()

    def _withdraw_prompt(self) -> None:
        share = self.share
        share.prompt = Prompt.WAITING
        share.prompts -= 1
        share.prompted_at = share.prompted_before

    def _doubt_prompt(self) -> None:
        share = self.share
        share.prompt = Prompt.UNCERTAIN
        cooldown = max(self.circumstances.limits.cooldown, UNSENT_SECONDS)
        share.prompt_after = (share.prompted_at or self.now) + cooldown
        share.look_first = True

    def _prompt_waits(self) -> bool:
        share = self.share
        return (
            share.prompt in (Prompt.WAITING, Prompt.UNCERTAIN)
            and share.prompts < MOST_PROMPTS
            and share.prompt_after is not None
            and not self._anybody_shares()
        )

    def _prompt_is_due(self) -> bool:
        share = self.share
        if not self._prompt_waits() or share.prompt_after is None or self.now < share.prompt_after:
            return False
        if share.expires_at is not None and self.now >= share.expires_at:
            return False
        return not share.look_first or (share.read_at is not None and share.read_at >= share.prompt_after)

    def _reject(self, outcome: Rejected) -> None:
        share = self.share
        share.refusal = (outcome.reason, outcome.code)
        self._emit(
            events.RequestRejected(
                self.chat_id, share.share_id, outcome.status, outcome.code, outcome.reason, outcome.detail
            )
        )
        self._finish("request_rejected")

    # Reads

    def observe(self, observation: ReadObservation) -> None:
        """Take in the outcome of a read."""
        share = self.share
        if share.ended is not None:
            self.due = None
            return
        if isinstance(observation, Features):
            self._observe_features(observation)
            return
        if any(person.stopping_at is not None for person in share.people):
            self._stop_those_announced()
            if self.due is None:
                return
        match observation:
            case Fault():
                share.failures += 1
                lower, upper = self._bounds()
                seconds = policy.backoff(share.failures, lower=lower, upper=upper, chance=self.chance)
                share.rule = "backoff"
                waiting = share.expires_at is not None and share.pace is None and not self._anybody_shares()
                if waiting and self.now >= (share.expires_at or 0.0) + LAST_READ_GRACE_SECONDS:
                    self._expire_request()
                    return
            case Throttled(retry_after=retry_after):
                lower, upper = self._bounds()
                usual = min(THROTTLED_SECONDS, upper) if retry_after is None else retry_after
                seconds = max(lower, min(usual, LONGEST_WAIT_SECONDS))
                share.rule = "throttled"
            case Suspended():
                # Everything is paused: the chat is due again as soon as it goes on.
                seconds = 0.0
                share.rule = "paused"
            case Refused(reason=reason):
                confirm = self.circumstances.limits.confirm
                seconds = max(confirm, share.lower or 0.0)
                share.rule = "confirm"
                if share.doubt != reason or share.doubt_since is None:
                    share.doubt = reason
                    share.doubt_since = self.now
                elif self.now - share.doubt_since >= confirm:
                    self._finish(reason)
                    return
        self._due_in(seconds)

    def _observe_features(self, observation: Features) -> None:
        share = self.share
        share.failures = 0
        share.doubt = share.doubt_since = None
        share.read_at = self.now
        newest: float | None = None
        moved = False
        listed: set[str] = set()
        for position in observation.positions:
            handle = position.handle
            if share.left_out and handle_digest(handle) in share.left_out:
                continue
            person = self._person(handle)
            listed.add(handle)
            if not person.sharing:
                if not _may_start(person, position):
                    continue
                self._start(person, detected_by="poll")
            person.listed = True
            person.missing_since = None
            if person.stopping_at is not None and (position.updated_at or 0) > person.stopping_at:
                person.stopping_at = None  # alive after the end that was announced: it was an older share's
            if not _is_news(person, position):
                continue
            moved = moved or _has_moved(person, position)
            self._publish(person, position)
            if position.updated_at is not None:
                newest = max(newest or 0.0, position.updated_at / NANO)
            elif newest is None:
                # Somewhere between the last read and this one: the middle is the unbiased guess.
                newest = (share.pace.polled_at + self.now) / 2 if share.pace is not None else self.now
        if self.positions and not share.follow:
            self._finish("first_position")
            return
        self._observe_absences(listed, complete=not observation.invalid)
        if self.due is None:
            return
        if share.expires_at is not None and self.now >= share.expires_at and not self._anybody_shares():
            self._expire_request()
            return
        if share.pace is None and not any(person.seen_at is not None and person.listed for person in share.people):
            self._schedule()
            return
        if share.pace is None:
            share.pace = policy.Pace()
            share.wanted = None
        lower, upper = self._bounds()
        limits = self.circumstances.limits
        seconds, share.rule = policy.follow(
            share.pace,
            self.circumstances.fleet,
            now=self.now,
            updated_at=newest,
            moved=moved,
            lower=lower,
            upper=upper,
            spread=0.98 + 0.04 * self.chance,
            price_floor=limits.price_floor,
            head_room=limits.head_room,
        )
        self.due = self.now + seconds
        self._heed_timers(lower)

    def _observe_absences(self, listed: set[str], *, complete: bool) -> None:
        """Find those who are no longer listed, whose planned end has passed, or who have gone stale.

        Where the reply is not `complete`, whoever is missing may be the one whose feature could not be read.
        """
        share = self.share
        limits = self.circumstances.limits
        stopped = False
        for person in share.people:
            present = person.handle in listed
            absent = complete and not present
            if not person.sharing:
                if absent:
                    person.unlisted = True
                continue
            if absent and person.missing_since is None:
                person.missing_since = self.now
            ends_at = person.ends_at
            if ends_at is not None and _newest_at(person) > ends_at:
                person.ends_at = ends_at = None  # newer positions keep coming: it was prolonged
            if person.stopping_at is not None:
                self._stop(person, "stopped", person.stopping_at)
                stopped = True
            elif ends_at is not None and (
                self.now >= ends_at / NANO + EXPIRY_GRACE_SECONDS or (absent and self.now >= ends_at / NANO)
            ):
                self._stop(person, "expired", ends_at)
                stopped = True
            elif absent and person.missing_since is not None and self._is_gone(person, person.missing_since):
                self._stop(person, "disappeared", int(person.missing_since * NANO))
                stopped = True
            elif (
                present
                and limits.stale_after
                and not person.stale
                and person.seen_at is not None
                and self.now - person.seen_at >= limits.stale_after
            ):
                person.stale = True
                last = None if person.updated_at is None else format_time(person.updated_at)
                self._emit(
                    events.SharingStale(self.chat_id, share.share_id, person.handle, last),
                    subject=person.handle,
                )
        if stopped and not self._anybody_shares():
            self._finish("sharing_stopped")

    def _is_gone(self, person: Person, missing_since: float) -> bool:
        if self.now - missing_since < self.circumstances.limits.confirm:
            return False
        return person.listed or person.seen_at is None or self.now - person.seen_at >= FIRST_POSITION_SECONDS

    def _stop_those_announced(self) -> None:
        for person in self.share.people:
            if person.stopping_at is not None:
                self._stop(person, "stopped", person.stopping_at)
        if not self._anybody_shares():
            self._finish("sharing_stopped")

    # Webhooks

    def hear_started(self, handle: str, *, began_at: int | None, ends_at: int | None, created_at: int) -> bool:
        """Take in that sharing began (times: ns since 1970 UTC); give whether it changed anything.

        It may come before the prompt's own answer, twice, late, or after the end (linq-api.md 13).
        """
        share = self.share
        if share.ended is not None or handle_digest(handle) in share.left_out:
            return False
        person = self._person(handle)
        began = created_at if began_at is None else began_at
        if began <= _known_end(person) or (person.heard_at is not None and created_at < person.heard_at):
            return False
        if person.sharing and person.began_at is not None and began < person.began_at:
            return False
        fresh = not person.sharing
        if not fresh and (person.began_at, person.ends_at, person.stopping_at) == (began, ends_at, None):
            return False
        person.heard_at = created_at
        person.began_at = began
        person.ends_at = ends_at
        person.stopping_at = None
        if fresh:
            self._start(person, detected_by="webhook")
            if share.hint_at is None or self.now - share.hint_at >= HINT_EVERY_SECONDS:
                share.hint_at = self.now
        self._read_now()
        if fresh and share.lower is not None and share.lower > FIRST_LOOK_SECONDS:
            self.due = self.now + FIRST_LOOK_SECONDS  # the one read that a webhook may bring forward (contract 3)
        return True

    def hear_stopped(self, handle: str, *, began_at: int | None, ended_at: int | None, created_at: int) -> bool:
        """Take in that sharing stopped; give whether it changed anything. The end follows after one last read."""
        share = self.share
        if share.ended is not None or handle_digest(handle) in share.left_out:
            return False
        person = self._person(handle)
        end = created_at if ended_at is None else ended_at
        if end <= _known_end(person):
            return False
        if not person.sharing:
            self._read_now()
            if (
                began_at is None
                or began_at == person.began_at  # reported as unreadable
                or began_at <= max(_known_end(person), share.begun_at * NANO)
            ):
                # Perhaps it overtook its `started`: that one is to be known for a latecomer.
                person.stopped_at = end
                return True
            # It began and ended unseen within this share: the same as if its `started` had come first.
            person.heard_at = created_at
            person.began_at = began_at
            person.ends_at = None
            self._start(person, detected_by="webhook")
        elif began_at is not None and person.began_at is not None:
            if began_at < person.began_at:
                return False
        elif person.heard_at is not None and created_at < person.heard_at:
            return False
        person.stopping_at = end
        self._read_now()
        return True

    def report_unreadable(self, shared_by: str, remedy: str, *, began_at: int | None = None) -> bool:
        """Say that the contact shares under a handle that this chat does not have; give whether that is news.

        With `began_at` (ns since 1970 UTC) it is once for each beginning.
        """
        if self.share.ended is not None:
            self.due = None
            return False
        if handle_digest(shared_by) in self.share.left_out:
            return False
        person = self._person(shared_by)
        if began_at is not None and person.began_at == began_at:
            return False
        person.began_at = began_at
        self._emit(events.SharingUnreadable(self.chat_id, self.share.share_id, shared_by, remedy), subject=shared_by)
        self._read_now()
        return True

    def forget(self, handle: str, *, ends_share: bool) -> bool:
        """Leave a handle out from now on; give whether the share knew it. A 1:1 share ends."""
        share = self.share
        known = [person for person in share.people if person.handle == handle]
        share.people = [person for person in share.people if person.handle != handle]
        if share.ended is not None:
            self.due = None
            return bool(known)
        if ends_share:
            self.views.extend(View(person.handle, None, 0.0, 0.0) for person in known)
            self._finish("forgotten")
            return True
        digest = handle_digest(handle)
        if digest not in share.left_out:
            share.left_out.append(digest)
        self.views.append(View(handle, None, 0.0, 0.0))
        self._read_now()
        return bool(known)

    # Shared by all of these

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
        person.content = _content(position)
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
        share.wanted = None
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

    # When to look next

    def _read_now(self) -> None:
        """Be due at once: a change from outside voids a read that is under way, so that another has to be made."""
        self.due = self.now
        self.share.rule = "webhook"

    def _bounds(self) -> tuple[float, float]:
        """Give the least and the largest interval of this share's scheduled reads while it is followed."""
        share = self.share
        limits = self.circumstances.limits
        if share.lower is None and share.upper is None:
            return limits.min_poll, limits.max_poll
        lower = share.lower if share.lower is not None else min(limits.min_poll, share.upper or limits.min_poll)
        upper = share.upper if share.upper is not None else max(limits.max_poll, lower)
        return lower, upper

    def _schedule(self) -> None:
        """Set the next due time where no new answer of a followed share says it."""
        share = self.share
        if share.ended is not None:
            self.due = None
            return
        if any(person.stopping_at is not None for person in share.people):
            self._read_now()
            return
        lower, upper = self._bounds()
        if share.pace is not None:
            seconds, share.rule = lower, "minimum"
        else:
            seconds, share.rule = self._wait(lower, upper)
        self.due = self.now + seconds
        self._heed_timers(lower)

    def _wait(self, lower: float, upper: float) -> tuple[float, str]:
        """Give the interval while nobody shares yet, within the bounds of contract 2 and the caller's own."""
        share = self.share
        circumstances = self.circumstances
        since = share.begun_at
        if share.asked and share.prompted_at is not None and share.prompted_at > since:
            since = share.prompted_at
        for person in share.people:
            if person.sharing and person.seen_at is not None and person.seen_at > since:
                since = person.seen_at
        age = max(0.0, self.now - since)
        seconds, rule = policy.wait(
            age,
            circumstances.fleet,
            lower=lower,
            upper=upper,
            announced=circumstances.announced,
            spread=0.98 + 0.04 * self.chance,
        )
        share.wanted = policy.wanted(age, announced=circumstances.announced, lower=lower, upper=upper)
        if not share.asked:
            return max(lower, min(upper, seconds)), rule
        if share.lower is not None:
            seconds = max(seconds, share.lower)
        if share.upper is not None:
            seconds = min(seconds, share.upper)
        return seconds, rule

    def _due_in(self, seconds: float) -> None:
        """Be due after a fault; a time limit needs no answer, so that it is kept all the same."""
        self.due = self.now + seconds
        until = self.share.follow_until
        if until is not None and until < self.due:
            self.due = max(self.now, until)

    def _heed_timers(self, lower: float) -> None:
        """Bring the next due time forward to what cannot wait for it."""
        share = self.share
        limits = self.circumstances.limits
        now = self.now
        due = now if self.due is None else self.due
        for person in share.people:
            if not person.sharing:
                continue
            if person.missing_since is not None:
                soon, rule = person.missing_since + limits.confirm, "confirm"
            elif person.ends_at is not None:
                soon, rule = person.ends_at / NANO - BEFORE_END_SECONDS, "planned-end"
                if soon <= now:
                    soon = person.ends_at / NANO + EXPIRY_GRACE_SECONDS
            elif limits.stale_after and not person.stale and person.seen_at is not None:
                soon, rule = person.seen_at + limits.stale_after, "stale"
            else:
                continue
            soon = max(soon, now + lower) if soon > now else due
            if soon < due:
                due, share.rule = soon, rule
        if share.hint_at is not None:
            elapsed = now - share.hint_at
            for offset in HINT_OFFSETS:
                if offset > elapsed:
                    soon = max(share.hint_at + offset, now + (share.lower or 0.0))
                    if soon < due:
                        due, share.rule = soon, "webhook"
                    break
            else:
                share.hint_at = None
        earliest = now if share.read_at is None else share.read_at + (share.lower or 0.0)
        if self._prompt_waits() and share.prompt_after is not None:
            soon = max(now, share.prompt_after)
            if share.look_first and (share.read_at is None or share.read_at < share.prompt_after):
                soon = max(soon, earliest)
            if soon < due:
                due, share.rule = soon, "prompt"
        if share.expires_at is not None and share.pace is None and now < share.expires_at < due:
            soon = max(share.expires_at, earliest)
            if soon < due:
                due, share.rule = soon, "last-read"
        if share.follow_until is not None and share.follow_until < due:
            due, share.rule = max(now, share.follow_until), "time-limit"
        self.due = due


def _may_start(person: Person, position: Position) -> bool:
    """Contract 4: after a stop, only a position newer than the end or a read that did not list it starts again."""
    if person.stopped_at is None or person.unlisted:
        return True
    return position.updated_at is not None and not _lingers(person, position.updated_at)


def _lingers(person: Person, updated_at: int) -> bool:
    """Say whether a position may be the last one of a share that is over, listed still."""
    if person.stopped_at is None or person.unlisted:
        return False
    return updated_at <= max(person.stopped_at, person.updated_at or 0)


def _known_end(person: Person) -> int:
    """Give the newest end that is known (ns), the one that a last read is to confirm included; 0: none."""
    return max(person.stopped_at or 0, person.stopping_at or 0)


def _is_news(person: Person, position: Position) -> bool:
    """Contract 4: another `updated_at`, later than the last; without one, other coordinates, address or locality."""
    updated_at = position.updated_at
    if updated_at is not None:
        if _lingers(person, updated_at):
            return False
        if person.updated_at is not None and person.content is not None:
            return updated_at > person.updated_at
        return person.content is None or not _is_null_island(position) or _was_null_island(person)
    if person.content is None:
        return True
    if _is_null_island(position) and not _was_null_island(person):
        return False
    return _content(position) != person.content


def _is_null_island(position: Position) -> bool:
    return position.longitude == 0 and position.latitude == 0


def _was_null_island(person: Person) -> bool:
    return person.longitude == 0 and person.latitude == 0


def _content(position: Position) -> int:
    said = (position.longitude, position.latitude, position.altitude, position.address, position.locality)
    return zlib.crc32(_pack_content(said))


def _has_moved(person: Person, position: Position) -> bool:
    if person.longitude is None or person.latitude is None:
        return False
    north = position.latitude - person.latitude
    east = (position.longitude - person.longitude) * math.cos(math.radians(position.latitude))
    return north * north + east * east > MOVED_DEGREES_SQUARED


def _newest_at(person: Person) -> int:
    """Give the time of the newest position in ns; where Linq gave none, when it was seen."""
    if person.updated_at is not None:
        return person.updated_at
    return int((person.seen_at or 0.0) * NANO) if person.content is not None else 0
