"""The life of a share: what each observation means for it, what is published, and when it is looked at next.

One `Decision`: a share as it was stored, the moment, and what is known of the fleet go in; the changed
share, its events, the changes of the latest view and the next due time come out. The engine, the jobs and the webhook
receiver all decide here and nowhere else, so that the contract's guarantees (section 4) are kept in one place. It is
written in floors: decision.py (publishing, starting, ending), schedule.py (when next), asking.py (prompts),
reading.py (reads), and here what comes from outside: webhooks and the wish to be forgotten.
"""

from typing import Literal

from worker.domain import events
from worker.domain.decision import Context, Limits, View
from worker.domain.freshness import NANO, known_end
from worker.domain.handle import handle_digest
from worker.domain.reads import Reading
from worker.domain.share import Prompt

__all__ = ["Action", "Context", "Decision", "Limits", "View"]

FIRST_LOOK_SECONDS = 2.0  # where a webhook may bring one read forward only, a position should be there by then
CALL_SECONDS = 12.0  # a prompt's answer comes within 10 s or never; a webhook may have a read made meanwhile
HINT_EVERY_SECONDS = 10.0  # polling-policy.md: duplicates of a webhook cost nothing

Action = Literal["read", "prompt", "end"]


class Decision(Reading):
    """One decision about one share; DecisionBase says what goes in and what comes out."""

    __slots__ = ()

    def next_action(self) -> Action:
        """Say what the share needs now; a prompt whose worker did not live to see the answer becomes uncertain."""
        share = self.share
        if share.prompt is Prompt.CALLING and self.now >= (share.prompted_at or 0.0) + CALL_SECONDS:
            self._mark_prompt_uncertain()
        if share.follow_until is not None and self.now >= share.follow_until:
            return "end"
        return "prompt" if self._prompt_is_due() else "read"

    def apply_started(self, handle: str, *, began_at: int | None, ends_at: int | None, created_at: int) -> bool:
        """Take in that sharing began (times: ns since 1970 UTC); return whether it changed anything.

        It may come before the prompt's own answer, twice, late, or after the end (linq-api.md 13).
        """
        share = self.share
        if share.ended is not None or handle_digest(handle) in share.excluded:
            return False
        person = self._person(handle)
        began = created_at if began_at is None else began_at
        if began <= known_end(person) or (person.heard_at is not None and created_at < person.heard_at):
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

    def apply_stopped(self, handle: str, *, began_at: int | None, ended_at: int | None, created_at: int) -> bool:
        """Take in that sharing stopped; return whether it changed anything. The end follows after one last read."""
        share = self.share
        if share.ended is not None or handle_digest(handle) in share.excluded:
            return False
        person = self._person(handle)
        end = created_at if ended_at is None else ended_at
        if end <= known_end(person):
            return False
        if not person.sharing:
            self._read_now()
            if (
                began_at is None
                or began_at == person.began_at  # reported as unreadable
                or began_at <= max(known_end(person), share.begun_at * NANO)
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
        """Say that the contact shares under a handle that this chat does not have; return whether that is news.

        With `began_at` (ns since 1970 UTC) it is once for each beginning.
        """
        if self.share.ended is not None:
            self.due = None
            return False
        if handle_digest(shared_by) in self.share.excluded:
            return False
        person = self._person(shared_by)
        if began_at is not None and person.began_at == began_at:
            return False
        person.began_at = began_at
        self._emit(events.SharingUnreadable(self.chat_id, self.share.share_id, shared_by, remedy), subject=shared_by)
        self._read_now()
        return True

    def forget(self, handle: str, *, ends_share: bool) -> bool:
        """Leave a handle out from now on; return whether the share knew it. A 1:1 share ends."""
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
        if digest not in share.excluded:
            share.excluded.append(digest)
        self.views.append(View(handle, None, 0.0, 0.0))
        self._read_now()
        return bool(known)
