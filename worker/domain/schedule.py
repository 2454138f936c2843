"""When a share is read next: after the policy's interval, or earlier for what cannot wait."""

from worker.domain import policy
from worker.domain.decision import Decision
from worker.domain.share import Prompt
from worker.domain.timestamp import NANOSECONDS

EXPIRY_GRACE_SECONDS = 60.0  # a newer position may still come this long after `ends_at`
BEFORE_END_SECONDS = 2.0  # one read just before a planned end
LAST_READ_GRACE_SECONDS = 300.0  # that an unanswered request waits at most for its last read to succeed
HINT_OFFSETS = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0)  # seconds; a first position takes a second or two
MAX_PROMPTS = 2  # an uncertain prompt is repeated once


def set_next(decision: Decision) -> None:
    """Set the next due time when no new answer of a tracked share determines it."""
    share = decision.share
    if share.ended is not None:
        decision.due = None
        return
    if any(person.stopping_at is not None for person in share.people):
        decision.read_now("webhook")
        return
    lower, upper = bounds(decision)
    if share.pace is not None:
        seconds, share.rule = lower, "minimum"
    else:
        seconds, share.rule = _pending_interval(decision, lower, upper)
    decision.due = decision.now + seconds
    apply_deadlines(decision, lower)


def set_after_fault(decision: Decision, seconds: float) -> None:
    """Be due after `seconds`, or at the time limit, which needs no answer."""
    decision.due = decision.now + seconds
    until = decision.share.follow_until
    if until is not None and until < decision.due:
        decision.due = max(decision.now, until)


def bounds(decision: Decision) -> tuple[float, float]:
    """Return the least and the largest interval of this share's scheduled reads while it is tracked."""
    share = decision.share
    limits = decision.context.limits
    if share.lower is None and share.upper is None:
        return limits.min_poll, limits.max_poll
    lower = share.lower if share.lower is not None else min(limits.min_poll, share.upper or limits.min_poll)
    upper = share.upper if share.upper is not None else max(limits.max_poll, lower)
    return lower, upper


def _pending_interval(decision: Decision, lower: float, upper: float) -> tuple[float, str]:
    """Return the interval and its rule while nobody shares yet, within the settings' bounds and the caller's own."""
    share = decision.share
    context = decision.context
    since = share.begun_at
    if share.asked and share.prompted_at is not None and share.prompted_at > since:
        since = share.prompted_at
    for person in share.people:
        if person.sharing and person.seen_at is not None and person.seen_at > since:
            since = person.seen_at
    age = max(0.0, decision.now - since)
    seconds, rule = policy.pending_interval(
        age,
        context.fleet,
        lower=lower,
        upper=upper,
        announced=context.announced,
        spread=0.98 + 0.04 * decision.random_unit,
    )
    share.wanted_rate = policy.wanted_rate(age, announced=context.announced, lower=lower, upper=upper)
    if not share.asked:
        return max(lower, min(upper, seconds)), rule
    if share.lower is not None:
        seconds = max(seconds, share.lower)
    if share.upper is not None:
        seconds = min(seconds, share.upper)
    return seconds, rule


def apply_deadlines(decision: Decision, lower: float) -> None:
    """Bring the next due time forward to what cannot wait for it."""
    share = decision.share
    limits = decision.context.limits
    now = decision.now
    due = now if decision.due is None else decision.due
    for person in share.people:
        if not person.sharing:
            continue
        if person.missing_since is not None:
            soon, rule = person.missing_since + limits.confirm, "confirm"
        elif person.ends_at is not None:
            soon, rule = person.ends_at / NANOSECONDS - BEFORE_END_SECONDS, "planned-end"
            if soon <= now:
                soon = person.ends_at / NANOSECONDS + EXPIRY_GRACE_SECONDS
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
    if prompt_waits(decision) and share.prompt_after is not None:
        soon = max(now, share.prompt_after)
        if share.look_first and (share.read_at is None or share.read_at < share.prompt_after):
            soon = max(soon, earliest)
        if soon < due:
            due, share.rule = soon, "prompt"
    expires_at = expiry(decision)
    if expires_at is not None and now < expires_at < due:
        soon = max(expires_at, earliest)
        if soon < due:
            due, share.rule = soon, "last-read"
    if share.follow_until is not None and share.follow_until < due:
        due, share.rule = max(now, share.follow_until), "time-limit"
    decision.due = due


def expiry(decision: Decision) -> float | None:
    """Return when the request expires; None if it does not, because it was accepted."""
    share = decision.share
    if share.max_age is None and (share.pace is not None or decision.anybody_shares()):
        return None
    return share.expires_at


def left_for_last_read(decision: Decision) -> float | None:
    """Return the seconds in which the last read of a request may still succeed; None if the request does not expire.

    They are as many as the request waits for, at most LAST_READ_GRACE_SECONDS, after its end.
    """
    expires_at = expiry(decision)
    if expires_at is None:
        return None
    grace = min(LAST_READ_GRACE_SECONDS, expires_at - decision.share.begun_at)
    return expires_at + grace - decision.now


def prompt_waits(decision: Decision) -> bool:
    """Return whether a prompt is still to be sent, now or later."""
    share = decision.share
    return (
        share.prompt in (Prompt.WAITING, Prompt.UNCERTAIN)
        and share.prompts < MAX_PROMPTS
        and share.prompt_after is not None
        and not decision.anybody_shares()
    )
