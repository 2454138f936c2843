"""Asking a contact to share: the beginning of a share, its prompts, and what becomes of them."""

from worker.domain import events
from worker.domain.observation import AlreadySharing, Later, PromptOutcome, Rejected, Sent, Suspended, Uncertain
from worker.domain.schedule import Schedule
from worker.domain.share import Person, Prompt, Share
from worker.domain.timestamp import format_milliseconds

THROTTLED_SECONDS = 60.0  # 429 without Retry-After: Linq's example waits are of this size
CREATING_SECONDS = 3.0  # 409/2009: "a few seconds" (linq-api.md 3.3)
MAX_WAIT_SECONDS = 86_400.0  # what a Retry-After is obeyed up to
UNSENT_SECONDS = 5.0  # least time between two prompts that may not have reached Linq, if there is no cool-down


class Asking(Schedule):
    """Begins a share and prompts. Never twice within the cool-down, never again without a look after uncertainty."""

    __slots__ = ()

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
        if share.prompted_at is not None and self.now < share.prompted_at + self.context.limits.cooldown:
            share.prompt_after = share.prompted_at + self.context.limits.cooldown
            share.look_first = True
        self._emit(events.Requested(self.chat_id, share.share_id, format_milliseconds(share.expires_at)))

    def mark_prompt_sending(self) -> None:
        """Record that a prompt is about to leave: this has to be stored before the call is made."""
        share = self.share
        share.prompt = Prompt.CALLING
        share.prompts += 1
        share.prompted_before = share.prompted_at
        share.prompted_at = self.now

    def apply_prompt_outcome(self, outcome: PromptOutcome) -> None:
        """Take in what became of a prompt that `mark_prompt_sending` recorded.

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
                self._mark_prompt_uncertain()
                if not possibly_sent:
                    share.prompts -= 1
            case Later(reason=reason, retry_after=retry_after):
                self._withdraw_prompt()
                usual = THROTTLED_SECONDS if reason == "throttled" else CREATING_SECONDS
                seconds = usual if retry_after is None else retry_after
                share.prompt_after = self.now + max(CREATING_SECONDS, min(seconds, MAX_WAIT_SECONDS))
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

    def _mark_prompt_uncertain(self) -> None:
        share = self.share
        share.prompt = Prompt.UNCERTAIN
        cooldown = max(self.context.limits.cooldown, UNSENT_SECONDS)
        share.prompt_after = (share.prompted_at or self.now) + cooldown
        share.look_first = True

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
