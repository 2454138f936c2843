"""When a share is looked at next: the policy's interval, brought forward by what cannot wait for it."""

from worker.domain import policy
from worker.domain.decision import DecisionBase
from worker.domain.freshness import NANO
from worker.domain.share import Prompt

EXPIRY_GRACE_SECONDS = 60.0  # contract 4: after `ends_at`, a newer position may come this long
BEFORE_END_SECONDS = 2.0  # polling-policy.md: one read just before a planned end
# A first position takes a second or two (linq-api.md 5.2).
HINT_OFFSETS = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0)
MAX_PROMPTS = 2  # an uncertain prompt is repeated once (contract 3)


class Schedule(DecisionBase):
    """Sets `due` and the name of the rule that chose it."""

    __slots__ = ()

    def _read_now(self) -> None:
        """Be due at once: a change from outside voids a read that is under way, so that another has to be made."""
        self.due = self.now
        self.share.rule = "webhook"

    def _bounds(self) -> tuple[float, float]:
        """Return the least and the largest interval of this share's scheduled reads while it is followed."""
        share = self.share
        limits = self.context.limits
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
        self._apply_deadlines(lower)

    def _wait(self, lower: float, upper: float) -> tuple[float, str]:
        """Return the interval while nobody shares yet, within the bounds of contract 2 and the caller's own."""
        share = self.share
        context = self.context
        since = share.begun_at
        if share.asked and share.prompted_at is not None and share.prompted_at > since:
            since = share.prompted_at
        for person in share.people:
            if person.sharing and person.seen_at is not None and person.seen_at > since:
                since = person.seen_at
        age = max(0.0, self.now - since)
        seconds, rule = policy.wait(
            age,
            context.fleet,
            lower=lower,
            upper=upper,
            announced=context.announced,
            spread=0.98 + 0.04 * self.random_unit,
        )
        share.wanted_rate = policy.wanted_rate(age, announced=context.announced, lower=lower, upper=upper)
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

    def _apply_deadlines(self, lower: float) -> None:
        """Bring the next due time forward to what cannot wait for it."""
        share = self.share
        limits = self.context.limits
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

    def _prompt_waits(self) -> bool:
        share = self.share
        return (
            share.prompt in (Prompt.WAITING, Prompt.UNCERTAIN)
            and share.prompts < MAX_PROMPTS
            and share.prompt_after is not None
            and not self._anybody_shares()
        )
