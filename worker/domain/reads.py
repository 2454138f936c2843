"""What a read shows about a share: who shares, what is new, who has gone; a fault changes none of it."""

from collections.abc import Set as AbstractSet

from worker.domain import events, places, policy, schedule
from worker.domain.decision import Decision
from worker.domain.freshness import fingerprint, has_moved, is_fresh, judge, last_moment, may_start, newest_at
from worker.domain.handle import handle_digest
from worker.domain.observation import Fault, Features, LineLost, ReadObservation, Refused, Suspended, Throttled
from worker.domain.prompts import MAX_RETRY_AFTER_SECONDS, THROTTLED_SECONDS
from worker.domain.schedule import EXPIRY_GRACE_SECONDS
from worker.domain.share import Person
from worker.domain.timestamp import NANOSECONDS, format_time

FIRST_POSITION_SECONDS = 600.0  # a share that was announced but never listed is not "gone" before this
PARKED_SECONDS = 6 * 3600.0  # until a chat whose line is lost is read all the same
_NOBODY: frozenset[str | None] = frozenset()


def observe(decision: Decision, observation: ReadObservation) -> None:
    """Apply the outcome of a read."""
    share = decision.share
    if share.ended is not None:
        decision.due = None
        return
    if isinstance(observation, Features):
        _observe_features(decision, observation)
        return
    if any(person.stopping_at is not None for person in share.people):
        _stop_those_announced(decision)
        if decision.due is None:
            return
    if not isinstance(observation, Refused):
        share.pending_refusal = share.pending_refusal_since = None
    match observation:
        case Fault():
            share.failures += 1
            lower, upper = schedule.bounds(decision)
            seconds = policy.backoff(share.failures, lower=lower, upper=upper, random_unit=decision.random_unit)
            share.rule = "backoff"
            left = schedule.left_for_last_read(decision)
            if left is not None:
                if left <= 0:
                    decision.expire_request()
                    return
                seconds = min(seconds, max(left, share.lower or 0.0))
        case Throttled(retry_after=retry_after):
            lower, upper = schedule.bounds(decision)
            usual = min(THROTTLED_SECONDS, upper) if retry_after is None else retry_after
            seconds = max(lower, min(usual, MAX_RETRY_AFTER_SECONDS))
            share.rule = "throttled"
        case Suspended():
            # Everything is paused: the chat is due as soon as polling resumes.
            seconds = 0.0
            share.rule = "paused"
        case LineLost():
            # Not read again before another chat of the line can be, or a deadline comes.
            seconds = PARKED_SECONDS * (0.75 + 0.5 * decision.random_unit)
            share.rule = "paused"
            share.parked = True
            left = schedule.left_for_last_read(decision)
            if left is not None:
                if left <= 0:
                    decision.expire_request()
                    return
                seconds = min(seconds, left)
        case Refused(reason=reason, final=final):
            share.parked = False
            confirm = decision.context.limits.confirm
            seconds = max(confirm, share.lower or 0.0)
            share.rule = "confirm"
            if share.pending_refusal != reason or share.pending_refusal_since is None:
                share.pending_refusal = reason
                share.pending_refusal_since = decision.now
            elif final and decision.now - share.pending_refusal_since >= confirm:
                decision.end(reason)
                return
    schedule.set_after_fault(decision, seconds)


def _observe_features(decision: Decision, observation: Features) -> None:
    share = decision.share
    share.failures = 0
    share.pending_refusal = share.pending_refusal_since = None
    share.parked = False
    share.read_at = decision.now
    newest: float | None = None
    moved = arrived = False
    listed: set[str] = set()
    for position in observation.positions:
        handle = position.handle
        if share.excluded and handle_digest(handle) in share.excluded:
            continue
        person = decision.person(handle)
        listed.add(handle)
        if not person.sharing:
            if not may_start(person, position):
                continue
            decision.start_sharing(person, detected_by="poll")
        person.listed = True
        person.missing_since = None
        if person.stopping_at is not None and (position.updated_at or 0) > person.stopping_at:
            person.stopping_at = None  # still sharing after the announced end, which was that of an older share
        novelty = judge(person, position)
        if novelty == "known":
            continue
        if novelty == "corrected":
            person.corrected = fingerprint(position)
            decision.corrected = True
            continue
        moved = moved or has_moved(person, position)
        before = places.Sight.of(person) if share.places and novelty == "new" else None
        moment = decision.publish(person, position, again=novelty == "located")
        if before is not None:
            arrived = places.observe(decision, person, position, before, moment=moment) or arrived
        if position.updated_at is not None:
            newest = max(newest or 0.0, position.updated_at / NANOSECONDS)
        elif newest is None:
            # It appeared between the last read and this one: the middle is the unbiased guess.
            newest = (share.pace.polled_at + decision.now) / 2 if share.pace is not None else decision.now
    if arrived:
        decision.end("arrived")
        return
    if decision.positions and not share.follow:
        if any(is_fresh(share, position, decision.now) for position in decision.positions):
            decision.end("first_position")
            return
        share.hint_at = decision.now  # an old position is shown first; the live one often comes seconds later
    unusable = {feature.handle for feature in observation.invalid} if observation.invalid else _NOBODY
    _observe_absences(decision, listed, unusable)
    if decision.due is None:
        return
    expires_at = schedule.expiry(decision)
    if expires_at is not None and decision.now >= expires_at:
        decision.expire_request()
        return
    if share.pace is None and not any(person.seen_at is not None and person.listed for person in share.people):
        schedule.set_next(decision)
        return
    if share.pace is None:
        share.pace = policy.Pace()
        share.wanted_rate = None
    lower, upper = schedule.bounds(decision)
    limits = decision.context.limits
    seconds, share.rule = policy.tracking_interval(
        share.pace,
        decision.context.fleet,
        now=decision.now,
        updated_at=newest,
        moved=moved,
        lower=lower,
        upper=upper,
        spread=0.98 + 0.04 * decision.random_unit,
        reach=places.soonest(decision) if share.places else None,
        price_floor=limits.price_floor,
        head_room=limits.head_room,
    )
    decision.due = decision.now + seconds
    schedule.apply_deadlines(decision, lower)


def _observe_absences(decision: Decision, listed: AbstractSet[str], unusable: AbstractSet[str | None]) -> None:
    """Find people who are no longer listed, whose planned end has passed, or who have gone stale.

    `unusable`: the handles whose features could not be used; None among them may be anybody.
    """
    share = decision.share
    now = decision.now
    limits = decision.context.limits
    stopped = False
    for person in share.people:
        present = person.handle in listed or person.handle in unusable
        absent = not present and None not in unusable
        if not person.sharing:
            if absent:
                person.unlisted = True
            continue
        if not absent:
            person.missing_since = None
        elif person.missing_since is None:
            person.missing_since = now
        ends_at = person.ends_at
        if ends_at is not None and newest_at(person) > ends_at:
            person.ends_at = ends_at = None  # newer positions keep coming: it was prolonged
        if person.stopping_at is not None:
            decision.stop_sharing(person, "stopped", person.stopping_at)
            stopped = True
        elif ends_at is not None and (
            now >= ends_at / NANOSECONDS + EXPIRY_GRACE_SECONDS or (absent and now >= ends_at / NANOSECONDS)
        ):
            decision.stop_sharing(person, "expired", ends_at)
            stopped = True
        elif absent and person.missing_since is not None and _is_gone(decision, person, person.missing_since):
            missing_since = round(person.missing_since * 1000) * NANOSECONDS // 1000
            decision.stop_sharing(person, "disappeared", missing_since)
            stopped = True
        elif (
            present
            and limits.stale_after
            and not person.stale
            and person.seen_at is not None
            and now - person.seen_at >= limits.stale_after
        ):
            person.stale = True
            last = None if person.updated_at is None else format_time(person.updated_at)
            decision.emit(
                events.SharingStale(decision.chat_id, share.share_id, person.handle, last),
                subject=person.handle,
                moment=last_moment(person),
            )
    if stopped and not decision.anybody_shares():
        decision.end("sharing_stopped")


def _is_gone(decision: Decision, person: Person, missing_since: float) -> bool:
    if decision.now - missing_since < decision.context.limits.confirm:
        return False
    return person.listed or person.seen_at is None or decision.now - person.seen_at >= FIRST_POSITION_SECONDS


def _stop_those_announced(decision: Decision) -> None:
    for person in decision.share.people:
        if person.stopping_at is not None:
            decision.stop_sharing(person, "stopped", person.stopping_at)
    if not decision.anybody_shares():
        decision.end("sharing_stopped")
