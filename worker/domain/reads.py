"""What a read tells of a share: who shares, what is new, who has gone; and what a fault leaves as it was."""

from worker.domain import events, policy
from worker.domain.freshness import NANO, has_moved, is_news, may_start, newest_at
from worker.domain.handle import handle_digest
from worker.domain.observation import Fault, Features, ReadObservation, Refused, Suspended, Throttled
from worker.domain.prompts import MAX_WAIT_SECONDS, THROTTLED_SECONDS, Asking
from worker.domain.schedule import EXPIRY_GRACE_SECONDS
from worker.domain.share import Person
from worker.domain.timestamp import format_time

FIRST_POSITION_SECONDS = 600.0  # a share that was announced but never listed is not "gone" before this
LAST_READ_GRACE_SECONDS = 300.0  # an unanswered request is let go after this when even the last read fails


class Reading(Asking):
    """Takes in the outcome of a read."""

    __slots__ = ()

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
                seconds = policy.backoff(share.failures, lower=lower, upper=upper, random_unit=self.random_unit)
                share.rule = "backoff"
                waiting = share.expires_at is not None and share.pace is None and not self._anybody_shares()
                if waiting and self.now >= (share.expires_at or 0.0) + LAST_READ_GRACE_SECONDS:
                    self._expire_request()
                    return
            case Throttled(retry_after=retry_after):
                lower, upper = self._bounds()
                usual = min(THROTTLED_SECONDS, upper) if retry_after is None else retry_after
                seconds = max(lower, min(usual, MAX_WAIT_SECONDS))
                share.rule = "throttled"
            case Suspended():
                # Everything is paused: the chat is due again as soon as it goes on.
                seconds = 0.0
                share.rule = "paused"
            case Refused(reason=reason):
                confirm = self.context.limits.confirm
                seconds = max(confirm, share.lower or 0.0)
                share.rule = "confirm"
                if share.pending_refusal != reason or share.pending_refusal_since is None:
                    share.pending_refusal = reason
                    share.pending_refusal_since = self.now
                elif self.now - share.pending_refusal_since >= confirm:
                    self._finish(reason)
                    return
        self._due_in(seconds)

    def _observe_features(self, observation: Features) -> None:
        share = self.share
        share.failures = 0
        share.pending_refusal = share.pending_refusal_since = None
        share.read_at = self.now
        newest: float | None = None
        moved = False
        listed: set[str] = set()
        for position in observation.positions:
            handle = position.handle
            if share.excluded and handle_digest(handle) in share.excluded:
                continue
            person = self._person(handle)
            listed.add(handle)
            if not person.sharing:
                if not may_start(person, position):
                    continue
                self._start(person, detected_by="poll")
            person.listed = True
            person.missing_since = None
            if person.stopping_at is not None and (position.updated_at or 0) > person.stopping_at:
                person.stopping_at = None  # alive after the end that was announced: it was an older share's
            if not is_news(person, position):
                continue
            moved = moved or has_moved(person, position)
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
            share.wanted_rate = None
        lower, upper = self._bounds()
        limits = self.context.limits
        seconds, share.rule = policy.follow(
            share.pace,
            self.context.fleet,
            now=self.now,
            updated_at=newest,
            moved=moved,
            lower=lower,
            upper=upper,
            spread=0.98 + 0.04 * self.random_unit,
            price_floor=limits.price_floor,
            head_room=limits.head_room,
        )
        self.due = self.now + seconds
        self._apply_deadlines(lower)

    def _observe_absences(self, listed: set[str], *, complete: bool) -> None:
        """Find those who are no longer listed, whose planned end has passed, or who have gone stale.

        Where the reply is not `complete`, whoever is missing may be the one whose feature could not be read.
        """
        share = self.share
        limits = self.context.limits
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
            if ends_at is not None and newest_at(person) > ends_at:
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
                self._stop(person, "disappeared", round(person.missing_since * 1000) * NANO // 1000)
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
        if self.now - missing_since < self.context.limits.confirm:
            return False
        return person.listed or person.seen_at is None or self.now - person.seen_at >= FIRST_POSITION_SECONDS

    def _stop_those_announced(self) -> None:
        for person in self.share.people:
            if person.stopping_at is not None:
                self._stop(person, "stopped", person.stopping_at)
        if not self._anybody_shares():
            self._finish("sharing_stopped")
