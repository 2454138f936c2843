"""What a webhook says about a share. It only brings a read forward: polling finds the same without it."""

from worker.domain import events
from worker.domain.decision import Decision
from worker.domain.freshness import known_end
from worker.domain.handle import handle_digest
from worker.domain.timestamp import NANOSECONDS

FIRST_LOOK_SECONDS = 2.0  # when a webhook may bring forward only one read, wait until a position should be there
HINT_EVERY_SECONDS = 10.0  # duplicates of a webhook cost nothing


def apply_started(
    decision: Decision, handle: str, *, began_at: int | None, ends_at: int | None, created_at: int
) -> bool:
    """Apply that sharing began (times: ns since 1970 UTC); return whether it changed anything.

    It may come before the prompt's own answer, twice, late, or after the end.
    """
    share = decision.share
    if share.ended is not None or handle_digest(handle) in share.excluded:
        return False
    person = decision.person(handle)
    began = created_at if began_at is None else began_at
    if began <= known_end(person) or (person.announced_at is not None and created_at < person.announced_at):
        return False
    if person.sharing and person.began_at is not None and began < person.began_at:
        return False
    fresh = not person.sharing
    if not fresh and (person.began_at, person.ends_at, person.stopping_at) == (began, ends_at, None):
        return False
    person.announced_at = created_at
    person.began_at = began
    person.ends_at = ends_at
    person.stopping_at = None
    if fresh:
        decision.start_sharing(person, detected_by="webhook")
        if share.hint_at is None or decision.now - share.hint_at >= HINT_EVERY_SECONDS:
            share.hint_at = decision.now
    decision.read_now("webhook")
    if fresh and share.lower is not None and share.lower > FIRST_LOOK_SECONDS:
        decision.due = decision.now + FIRST_LOOK_SECONDS  # the one read that a webhook may bring forward
    return True


def apply_stopped(
    decision: Decision, handle: str, *, began_at: int | None, ended_at: int | None, created_at: int
) -> bool:
    """Apply that sharing stopped; return whether it changed anything. The end follows after one last read."""
    share = decision.share
    if share.ended is not None or handle_digest(handle) in share.excluded:
        return False
    person = decision.person(handle)
    end = created_at if ended_at is None else ended_at
    if end <= known_end(person):
        return False
    if not person.sharing:
        decision.read_now("webhook")
        if (
            began_at is None
            or began_at == person.began_at  # reported as unreadable
            or began_at <= max(known_end(person), share.begun_at * NANOSECONDS)
        ):
            # It may have overtaken its `started`, which must then be recognized as late.
            person.stopped_at = end
            return True
        # It began and ended unseen within this share: treated as if its `started` had come first.
        person.announced_at = created_at
        person.began_at = began_at
        person.ends_at = None
        decision.start_sharing(person, detected_by="webhook")
    elif began_at is not None and person.began_at is not None:
        if began_at < person.began_at:
            return False
    elif person.announced_at is not None and created_at < person.announced_at:
        return False
    person.stopping_at = end
    decision.read_now("webhook")
    return True


def report_unreadable(decision: Decision, shared_by: str, remedy: str, *, began_at: int) -> bool:
    """Publish that the contact shares under a handle that this chat does not have; return whether that is new.

    It is new once for each beginning (`began_at`: ns since 1970 UTC).
    """
    share = decision.share
    if share.ended is not None:
        decision.due = None
        return False
    if handle_digest(shared_by) in share.excluded:
        return False
    person = decision.person(shared_by)
    if person.began_at is not None and began_at <= person.began_at:
        return False
    person.began_at = began_at
    decision.emit(
        events.SharingUnreadable(decision.chat_id, share.share_id, shared_by, remedy),
        subject=shared_by,
        moment=f"{began_at}",
    )
    decision.read_now("webhook")
    return True
