"""Prompting: ask a contact to share, and store the outcome, whatever happens meanwhile."""

from collections.abc import Awaitable, Callable

import structlog

from worker import metrics
from worker.domain import prompts
from worker.domain.decision import Decision
from worker.domain.observation import AlreadySharing, Later, PromptOutcome, Rejected, Sent, Suspended, Uncertain
from worker.domain.share import Prompt, Share
from worker.linq.classification import prompt_outcome
from worker.linq.client import LinqClient
from worker.polling.account import apply_to_account
from worker.store.shares import Claimed, Item, Loaded
from worker.store.store import Store

PROMPT_LEASE_SECONDS = 15.0  # a prompt may take 10 s
REPLICA_SECONDS = 5.0  # until a prompt looks again for a replica

_OUTCOMES: dict[type, metrics.PromptOutcome] = {
    Sent: "sent",
    AlreadySharing: "conflict",
    Later: "later",
    Uncertain: "uncertain",
    Rejected: "rejected",
    Suspended: "suspended",
}

log = structlog.get_logger("engine")


class Prompter:
    """Sends prompts for the engine, which commits for it and knows Redis' time.

    `fences`: until when each chat that is being prompted is held, which is longer than its lease.
    """

    def __init__(
        self,
        store: Store,
        linq: LinqClient,
        *,
        commit: Callable[[list[Item]], Awaitable[list[bool]]],
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._linq = linq
        self._commit = commit
        self._now = now
        self.fences: dict[str, float] = {}
        self._waits = False  # for a replica; logged already

    async def prompt(self, claimed: Claimed, decision: Decision) -> None:
        """Ask the contact. The intention is stored before the call, so that a crash cannot lead to a second prompt."""
        shares, outage = self._store.shares, self._store.outage
        prompts.mark_sending(decision)
        fence = decision.now + max(shares.lease, PROMPT_LEASE_SECONDS)
        decision.due = fence
        fenced = await self._commit([shares.item(decision, claimed.lease, claimed.before)])
        if not fenced[0]:
            return  # something newer happened
        self.fences[claimed.chat_id] = fence
        if not await outage.wait_out(lambda: shares.is_replicated(claimed.chat_id, fence)):
            await self._put_off(claimed.chat_id, decision.share)
            return
        self._waits = False
        if self._now() >= fence:
            return  # too late: other workers count this prompt as sent by now
        left_at = self._now()
        reply = await self._linq.request_location(claimed.chat_id)
        outcome = prompt_outcome(reply)
        metrics.REQUESTS.labels(_OUTCOMES[type(outcome)]).inc()
        name = type(outcome).__name__.lower()
        log.info("location_requested", chat_id=claimed.chat_id, outcome=name, trace_id=reply.trace_id)
        # The outcome of a prompt must survive an outage of Redis.
        await outage.wait_out(lambda: apply_to_account(self._store, outcome))
        await outage.wait_out(lambda: self._settle(claimed.chat_id, outcome, decision.share, left_at))

    async def _put_off(self, chat_id: str, asked: Share) -> None:
        """Put off a prompt that a failover would forget, and that would then be sent a second time."""
        if not self._waits:
            log.warning("prompts_wait", cause="no replica of Redis has the latest writes", remedy="start a replica")
        self._waits = True
        later = Later("not_replicated", REPLICA_SECONDS)
        await self._store.outage.wait_out(lambda: self._settle(chat_id, later, asked))

    async def _settle(self, chat_id: str, outcome: PromptOutcome, asked: Share, left_at: float | None = None) -> None:
        """Store the outcome of a prompt in the share as it is now: a webhook may have overtaken the answer.

        `asked` is the share as it was when the prompt was sent; an answer is dropped if another prompt has followed.
        """

        def decide(loaded: Loaded) -> tuple[Decision | None, None]:
            share = loaded.live
            if share is None or (share.share_id, share.prompted_at) != (asked.share_id, asked.prompted_at):
                return None, None
            if share.prompt not in (Prompt.CALLING, Prompt.UNCERTAIN):
                return None, None
            decision = loaded.decide_on(share)
            prompts.apply_outcome(decision, outcome, left_at=left_at)
            return decision, None

        await self._store.shares.update(chat_id, decide)
