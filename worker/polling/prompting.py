"""Prompting: asks a contact to share, and stores what became of it, whatever happens meanwhile."""

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
    """Prompts for the engine, which commits for it and knows Redis' time.

    `fences` says of each chat that is being prompted until when it is held: longer than its lease.
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
        self._waits = False  # for a replica, as the log has said

    async def prompt(self, claimed: Claimed, decision: Decision) -> None:
        """Ask the contact. The intention is stored before the call, so that a crash never asks twice in a row."""
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
            return  # so late that other workers count this prompt as sent
        left_at = self._now()
        reply = await self._linq.request_location(claimed.chat_id)
        outcome = prompt_outcome(reply)
        metrics.REQUESTS.labels(_OUTCOMES[type(outcome)]).inc()
        name = type(outcome).__name__.lower()
        log.info("location_requested", chat_id=claimed.chat_id, outcome=name, trace_id=reply.trace_id)
        # What is known of a prompt must not be lost to a Redis that is away.
        await outage.wait_out(lambda: apply_to_account(self._store, outcome))
        await outage.wait_out(lambda: self._settle(claimed.chat_id, outcome, decision.share, left_at))

    async def _put_off(self, chat_id: str, asked: Share) -> None:
        """Put off a prompt that a failover would forget: it would be sent a second time."""
        if not self._waits:
            log.warning("prompts_wait", cause="no replica of Redis takes what is written", remedy="start a replica")
        self._waits = True
        later = Later("not_replicated", REPLICA_SECONDS)
        await self._store.outage.wait_out(lambda: self._settle(chat_id, later, asked))

    async def _settle(self, chat_id: str, outcome: PromptOutcome, asked: Share, left_at: float | None = None) -> None:
        """Store what became of a prompt, on the share as it is now: a webhook may have overtaken the answer.

        `asked` is the share as it was when the prompt left; an answer so late that another prompt followed is dropped.
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
