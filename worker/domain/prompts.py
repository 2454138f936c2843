"""Asking a contact to share: the beginning of a share, its prompts, and what becomes of them.

Never two prompts within the cool-down, and none after an uncertain one without a read in between.
"""

from typing import Literal

from worker.domain import events, schedule
from worker.domain.decision import Decision
from worker.domain.observation import AlreadySharing, Later, PromptOutcome, Rejected, Sent, Suspended, Uncertain
from worker.domain.share import Person, Prompt, Share
from worker.domain.timestamp import format_milliseconds

THROTTLED_SECONDS = 60.0  # 429 without Retry-After: the wait in Linq's examples
CREATING_SECONDS = 3.0  # 409/2009: Linq says "a few seconds"
MAX_RETRY_AFTER_SECONDS = 86_400.0  # the longest Retry-After that is obeyed
UNSENT_SECONDS = 5.0  # without a cool-down, the least time between two prompts that may not have reached Linq
CALL_SECONDS = 12.0  # a prompt's answer comes within 10 s or never; a webhook may have a read made meanwhile

Action = Literal["read", "prompt", "end"]


def begin(decision: Decision, *, accept_within: float, previous: Share | None) -> None:
    """Begin the share, due at once; `previous` is what is still known of the chat's last share."""
    share = decision.share
    now = decision.now
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
        share.follow_until = now + share.follow_for
        return
    share.expires_at = now + accept_within
    share.prompt = Prompt.WAITING
    share.prompt_after = now
    cooldown = decision.context.limits.cooldown
    if share.prompted_at is not None and now < share.prompted_at + cooldown:
        share.prompt_after = share.prompted_at + cooldown
        share.look_first = True
    decision.emit(events.Requested(decision.chat_id, share.share_id, format_milliseconds(share.expires_at)))


def next_action(decision: Decision) -> Action:
    """Return what the share needs now; a prompt whose worker died before the answer becomes uncertain."""
    share = decision.share
    if share.prompt is Prompt.CALLING and decision.now >= (share.prompted_at or 0.0) + CALL_SECONDS:
        _mark_uncertain(decision, left_by=decision.now)
    if share.follow_until is not None and decision.now >= share.follow_until:
        return "end"
    # A prompt over a lost line would only be refused.
    return "prompt" if _is_due(decision) and not share.parked else "read"


def mark_sending(decision: Decision) -> None:
    """Record that a prompt is about to be sent; this has to be stored before the call is made."""
    share = decision.share
    share.prompt = Prompt.CALLING
    share.prompts += 1
    share.prompted_before = share.prompted_at
    share.prompted_at = decision.now


def apply_outcome(decision: Decision, outcome: PromptOutcome, *, left_at: float | None = None) -> None:
    """Apply the outcome of a prompt that `mark_sending` recorded.

    It may come late: if the share has changed meanwhile, only what is still of use is applied. `left_at`: when the
    prompt was sent, in seconds since 1970 (UTC); None: when `mark_sending` recorded it, which may be much earlier.
    """
    share = decision.share
    if share.ended is not None or share.prompt not in (Prompt.CALLING, Prompt.UNCERTAIN):
        schedule.set_next(decision)
        return
    late = share.prompt is Prompt.UNCERTAIN
    if left_at is not None:
        share.prompted_at = left_at
    match outcome:
        case Sent() | AlreadySharing():
            share.prompt = Prompt.SENT
            share.prompt_after = None
        case Uncertain(possibly_sent=possibly_sent):
            _mark_uncertain(decision, left_by=share.prompted_at or decision.now)
            if not possibly_sent:
                share.prompts -= 1
        case Later(reason=reason, retry_after=retry_after):
            _withdraw(share)
            least = usual = CREATING_SECONDS
            if reason == "throttled":
                usual = THROTTLED_SECONDS
            elif reason == "refused_by_proxy":
                least = usual = max(decision.context.limits.cooldown, UNSENT_SECONDS)
            seconds = usual if retry_after is None else retry_after
            share.prompt_after = decision.now + max(least, min(seconds, MAX_RETRY_AFTER_SECONDS))
            share.look_first = reason in ("throttled", "refused_by_proxy")
        case Suspended():
            _withdraw(share)
            share.prompt_after = decision.now
            share.look_first = False
        case Rejected():
            _withdraw(share)
            if not decision.anybody_shares():
                _reject(decision, outcome)
                return
            share.prompt = Prompt.SENT
    if isinstance(outcome, AlreadySharing):
        share.conflict = True
        decision.read_now("already-sharing")
    elif late:
        decision.read_now("webhook")
    else:
        schedule.set_next(decision)


def _withdraw(share: Share) -> None:
    share.prompt = Prompt.WAITING
    share.prompts -= 1
    share.prompted_at = share.prompted_before


def _mark_uncertain(decision: Decision, *, left_by: float) -> None:
    share = decision.share
    share.prompt = Prompt.UNCERTAIN
    cooldown = max(decision.context.limits.cooldown, UNSENT_SECONDS)
    share.prompt_after = left_by + cooldown
    share.look_first = True


def _is_due(decision: Decision) -> bool:
    share = decision.share
    if not schedule.prompt_waits(decision) or share.prompt_after is None or decision.now < share.prompt_after:
        return False
    if share.expires_at is not None and decision.now >= share.expires_at:
        return False
    return not share.look_first or (share.read_at is not None and share.read_at >= share.prompt_after)


def _reject(decision: Decision, outcome: Rejected) -> None:
    share = decision.share
    share.refusal = (outcome.reason, outcome.code)
    decision.emit(
        events.RequestRejected(
            decision.chat_id, share.share_id, outcome.status, outcome.code, outcome.reason, outcome.detail
        )
    )
    decision.end("request_rejected")
