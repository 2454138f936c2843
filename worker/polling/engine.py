"""The engine: claim what is due, fetch it, let the domain decide, and commit the decisions.

This is the only loop whose speed matters. It knows neither arq nor any key's name. A bounded number of reads is under
way at a time. The callback that brings a reply decides on it, without a task, and begins the next read. Decisions are
committed in small batches, by count and by time, so that a slow reply delays no other chat. A worker that dies leaves
leases behind; whichever worker claims those chats next reads them again and publishes what was not committed.
"""

import asyncio
import contextlib
import contextvars
import logging
import random
import time
from collections import deque
from collections.abc import Coroutine, Iterable
from functools import partial
from typing import Any, Self

import msgspec
import structlog
from redis.exceptions import RedisError

from worker import metrics
from worker.domain import prompts, reads
from worker.domain.decision import Decision
from worker.domain.observation import Fault, Features, ReadObservation, Refused, Throttled
from worker.domain.timestamp import NANOSECONDS
from worker.linq.classification import read_observation
from worker.linq.client import LinqClient
from worker.linq.poller import Poller
from worker.linq.reply import Reply
from worker.polling import lost_lines
from worker.polling.account import apply_to_account
from worker.polling.bad_replies import keep_bad_reply
from worker.polling.poll_log import PollLog
from worker.polling.prompting import Prompter
from worker.polling.unknown_fields import FieldWatch
from worker.store.shares import Claim, Claimed, Item
from worker.store.store import Store

MIN_READS = 64  # under way at once, at least; with quick replies, more would cost a fifth more CPU a read
MAX_READS = 512  # with replies of 90 ms enough for 5,600 polls a second
READS_PER_SECOND = 10_000  # more than one process can do; with the latency it gives the number of reads under way
QUICK_REPLY = 0.05  # of a lease: replies up to this are quick enough to claim ahead of them
LATENCY_WEIGHT = 0.05  # of the newest reply in the running mean
BUDGET_AHEAD_SECONDS = 0.25
MAX_AHEAD = 192  # chats claimed beyond those being read: to be read next, or decided and not yet committed
MAX_CLAIMED = 256  # per script call: larger ones hold Redis for over 10 ms
MIN_CLAIMED = 64  # below, it is cheaper to wait for the next commit
COMMIT_COUNT = 128
COMMIT_SECONDS = 0.02
IDLE_SECONDS = 1.0  # if nothing is due for this long, the next tick takes over
WOKEN_SECONDS = 5.0  # a chat that was woken is often due again within a second or two: a first position is near
CLAIM_PAUSE_SECONDS = 0.02  # between two claims that found less than they asked for
CANCEL_AGAIN_SECONDS = 0.1
GIVE_BACK_SECONDS = 2.0  # at most, of the time for stopping: for committing decisions and giving claims back

log = structlog.get_logger("engine")


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until each has ended: a cancellation can get lost if what is awaited ends at that moment."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        ended, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)
        for task in ended:
            if not task.cancelled():
                task.exception()  # retrieved, so that asyncio does not warn


class EngineStoppedError(RuntimeError):
    """The engine claims nothing any more; another worker has to go on."""


class Engine:
    """Polls what is due, on one event loop. Use it as an async context manager; `wake` may be called at any time."""

    def __init__(
        self,
        store: Store,
        poller: Poller,
        linq: LinqClient,
        *,
        poll_log: PollLog | None = None,
    ) -> None:
        self._store = store
        self._shares = store.shares
        self._outage = store.outage
        self._poller = poller
        self._prompter = Prompter(store, linq, commit=self._commit, now=self.now)
        self._poll_log = poll_log
        self.fields = FieldWatch(store.unknown_fields)
        self._rate = 0.0  # requests per second, at the last claim
        self._latency = 0.0  # seconds a reply takes, running mean
        self._replied_at = 0.0  # monotonic
        self._waiting: deque[tuple[Claimed, Claim]] = deque()  # claimed and not begun
        self._max_reads = MIN_READS
        self._under_way = 0  # chats that are being read, or prompted
        self._tasks: set[asyncio.Task[None]] = set()  # of chats that need more than a reply
        self._held: dict[str, Claimed] = {}
        self._decided: list[Item] = []
        self._committer: asyncio.Task[None] | None = None
        self._woken: asyncio.Task[None] | None = None
        self._flush = asyncio.Event()
        self._flush_timer: asyncio.TimerHandle | None = None
        self._progress = asyncio.Event()
        self._claiming = asyncio.Lock()
        self._polling = False
        self._deadline = 0.0  # of the polling, monotonic
        self._stopping = False
        self._ended = False
        self._clock_offset = 0.0
        self._logs_polls = log.is_enabled_for(logging.DEBUG)  # looked up once: every poll needs it

    async def __aenter__(self) -> Self:
        self._committer = asyncio.create_task(self._commit_batches())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop(0.0)

    # Stopping

    async def stop(self, grace: float) -> None:
        """Claim nothing more, let running reads finish within `grace` seconds, and give the other claims back.

        Only once: the second time there is nothing left to do.
        """
        if self._ended:
            return
        self._stopping = True
        self._progress.set()
        last = min(GIVE_BACK_SECONDS, grace / 2)
        deadline = time.monotonic() + grace - last
        while self._held and time.monotonic() < deadline:
            self._progress.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._progress.wait(), deadline - time.monotonic())
        if self._woken is not None:
            # Not cancelled at once: an interrupted claim would leave leases behind.
            await asyncio.wait({self._woken}, timeout=max(0.0, deadline - time.monotonic()))
        self._ended = True
        await end_tasks(task for task in (*self._tasks, self._committer, self._woken) if task is not None)
        self._committer = self._woken = None
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(last or GIVE_BACK_SECONDS):
                await self._give_back()
        self._progress.set()
        if self._poll_log is not None:
            self._poll_log.close()

    async def _give_back(self) -> None:
        if self._decided:
            await self._shares.commit(self._decided)
            self._decided = []
        held = [
            msgspec.structs.replace(claimed, lease=self._prompter.fences.get(claimed.chat_id, claimed.lease))
            for claimed in self._held.values()
        ]
        for start in range(0, len(held), MAX_CLAIMED):
            await self._shares.release(held[start : start + MAX_CLAIMED])
        self._held.clear()

    # Claiming

    async def poll_due(self, seconds: float) -> None:
        """Poll what is due until nothing is for a second, for at most `seconds`. Called while it runs, prolong that."""
        deadline = time.monotonic() + seconds
        if self._polling:
            self._deadline = max(self._deadline, deadline)
            self.wake()
            return
        self._polling = True
        self._deadline = deadline
        try:
            await self._poll_until_deadline()
        finally:
            self._polling = False

    def wake(self) -> None:
        """Look for due chats at once, whether a tick is polling now or not."""
        self._progress.set()
        if not self._polling and not self._stopping and (self._woken is None or self._woken.done()):
            # Not in the context of a job, with whose id the log would name every chat from here on.
            self._woken = asyncio.create_task(self._poll_once(), context=contextvars.Context())

    async def _poll_once(self) -> None:
        with contextlib.suppress(RedisError):  # the next tick tries again
            await self.poll_due(WOKEN_SECONDS)

    async def _poll_until_deadline(self) -> None:
        while not self._stopping and time.monotonic() < self._deadline:
            # While decisions cannot be written, nothing more should be read.
            await self._outage.end()
            ahead = self._ahead()
            free = self._max_reads + ahead - len(self._held)
            if free < (MIN_CLAIMED if ahead == MAX_AHEAD else 1):
                await self._sleep(IDLE_SECONDS)
                continue
            limit = min(free, MAX_CLAIMED)
            held = bool(self._held)
            claim = await self._claim(limit)
            if len(claim.chats) == limit:
                continue
            if claim.paused and not claim.probe:
                return
            if claim.tokens < 1:
                missing = (1 - claim.tokens) / claim.context.fleet.rate
                await asyncio.sleep(max(CLAIM_PAUSE_SECONDS, min(IDLE_SECONDS, missing)))
            elif claim.chats:
                await asyncio.sleep(CLAIM_PAUSE_SECONDS)
            elif claim.next_due is not None and claim.next_due - claim.now < IDLE_SECONDS:
                await self._sleep(max(0.001, claim.next_due - claim.now))
            elif self._held:
                await self._sleep(IDLE_SECONDS)
            elif not held:  # otherwise something was committed during the claim, and may be due sooner than it says
                return

    def _ahead(self) -> int:
        """Return how many chats may be claimed beyond those being read; allow more reads if replies are slow."""
        latency = max(self._latency, time.monotonic() - self._replied_at) if self._held else self._latency
        # Early, because fewer than MIN_CLAIMED are not claimed, and one reply that never comes would block everything.
        if len(self._held) + MIN_CLAIMED > self._max_reads:
            self._max_reads = max(self._max_reads, min(MAX_READS, int(latency * READS_PER_SECOND)))
            self._begin_waiting()
        # A chat that waits for slow reads here could outlive its lease; another worker may have room.
        if latency >= QUICK_REPLY * self._shares.lease:
            return 0
        # Claimed chats have their tokens: delayed and then sent at once, they must not exceed a second's budget.
        return min(MAX_AHEAD, int(self._rate * BUDGET_AHEAD_SECONDS))

    async def _sleep(self, seconds: float) -> None:
        """Sleep until something is committed or `wake` is called, for at most `seconds`."""
        self._progress.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._progress.wait(), seconds)

    async def _claim(self, limit: int, *, only: str = "") -> Claim:
        # One at a time: `poll_now` has to know what the claim before it brought.
        async with self._claiming:
            return await self._claim_alone(limit, only)

    async def _claim_alone(self, limit: int, only: str) -> Claim:
        claim = await self._shares.claim(limit, only=only)
        self._clock_offset = claim.now - time.monotonic()
        self._rate = claim.context.fleet.rate
        if self._stopping:
            # The order to stop came during the claim: these chats would not be polled.
            await self._shares.release(claim.chats)
            return claim._replace(chats=[])
        for chat_id, stored in claim.unreadable:
            await self._drop_unreadable(chat_id, stored)
        for claimed in claim.chats:
            self._held[claimed.chat_id] = claimed
            self._waiting.append((claimed, claim))
        self._begin_waiting()
        if self._committer is not None and self._committer.done():
            log.error("committer_replaced")
            self._committer = asyncio.create_task(self._commit_batches())
        return claim

    async def poll_now(self, chat_id: str) -> Claim:
        """Claim this chat if it is due, or find it claimed here already, and wait until the decision is committed.

        Raises EngineStoppedError once `stop` has been called, and redis-py's errors, also where the commit waits for
        a Redis that is away.
        """
        if self._stopping:
            raise EngineStoppedError
        claim = await self._claim(1, only=chat_id)
        awaited = [*claim.chats, *(held for held in (self._held.get(chat_id),) if held is not None)]
        while any(claimed is self._held.get(claimed.chat_id) for claimed in awaited):
            await self._sleep(IDLE_SECONDS)
            self._outage.check()
        return claim

    async def _drop_unreadable(self, chat_id: str, stored: bytes) -> None:
        """Stop tracking a chat whose state is lost or cannot be read, and log it."""
        log.error("share_state_unreadable", chat_id=chat_id, bytes=len(stored))
        await self._store.shares.drop(chat_id)

    # Fetching and deciding

    def now(self) -> float:
        """Return Redis' time, as of the last claim plus what has passed since."""
        return time.monotonic() + self._clock_offset

    def _begin_waiting(self) -> None:
        """Begin with chats that were claimed, as long as more may be under way."""
        while self._waiting and self._under_way < self._max_reads and not self._ended:
            claimed, claim = self._waiting.popleft()
            try:
                if self._begin(claimed, claim):
                    self._under_way += 1
            except Exception:
                # The lease runs out and the chat is read again.
                log.exception("poll_failed", chat_id=claimed.chat_id)
                self._let_go(claimed)

    def _begin(self, claimed: Claimed, claim: Claim) -> bool:
        """Begin with a chat; return whether something is under way now."""
        now = max(self.now(), claim.now)
        if now + self._latency > claimed.lease:
            # It has waited so long that another worker may read it while this one does, and one of them in vain.
            self._let_go(claimed)
            return False
        decision = Decision(
            claimed.share,
            claimed.chat_id,
            now=now,
            context=claim.context,
            random_unit=random.random(),
        )
        action = "read" if claim.probe else prompts.next_action(decision)
        if action == "read":
            reply = self._poller.fetch(claimed.chat_id)
            reply.add_done_callback(partial(self._take_reply, claimed, claim, decision, time.monotonic()))
        elif action == "prompt":
            self._go_on(claimed, self._prompt(claimed, decision))
        else:
            decision.end("time_limit")
            self._add_decision(self._shares.item(decision, claimed.lease, claimed.before))
            return False
        return True

    def _take_reply(
        self, claimed: Claimed, claim: Claim, decision: Decision, began: float, future: asyncio.Future[Reply]
    ) -> None:
        if self._ended:
            return  # the claim has been given back
        try:
            rest = self._decide(claimed, claim, decision, began, future.result())
        except Exception:
            log.exception("poll_failed", chat_id=claimed.chat_id)
            self._let_go(claimed)
        else:
            if rest is not None:
                self._go_on(claimed, rest)
                return
        self._under_way -= 1
        self._begin_waiting()

    def _decide(
        self, claimed: Claimed, claim: Claim, decision: Decision, began: float, reply: Reply
    ) -> Coroutine[Any, Any, None] | None:
        """Decide on a reply; if that needs more than the reply, return a coroutine that does the rest."""
        self._replied_at = time.monotonic()
        seconds = self._replied_at - began
        self._latency += LATENCY_WEIGHT * (seconds - self._latency)
        metrics.POLL_SECONDS.observe(seconds)
        decision.now = max(self.now(), claim.now)
        observation = read_observation(reply, now=decision.now)
        usual = isinstance(observation, Features) and not observation.invalid
        share = decision.share
        if claim.probe or not usual or share.parked or share.pending_refusal is not None:
            return self._decide_on_unusual(claimed, claim, decision, observation, reply)
        reads.observe(decision, observation)
        self._record(decision, observation, reply)
        self._add_decision(self._shares.item(decision, claimed.lease, claimed.before, answered=True))
        return None

    async def _decide_on_unusual(
        self, claimed: Claimed, claim: Claim, decision: Decision, observation: ReadObservation, reply: Reply
    ) -> None:
        await self._outage.wait_out(lambda: apply_to_account(self._store, observation, probe=claim.probe))
        seen = await self._outage.wait_out(lambda: lost_lines.consider(self._store.lost_lines, decision, observation))
        reads.observe(decision, seen)
        self._record(decision, seen, reply)
        await keep_bad_reply(self._store.dead_letters, decision, seen, reply)
        answered = isinstance(seen, Features)
        self._add_decision(self._shares.item(decision, claimed.lease, claimed.before, answered=answered))

    async def _prompt(self, claimed: Claimed, decision: Decision) -> None:
        await self._prompter.prompt(claimed, decision)
        self._let_go(claimed)

    def _go_on(self, claimed: Claimed, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)  # a loop keeps no task alive
        task.add_done_callback(partial(self._finish, claimed))

    def _finish(self, claimed: Claimed, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("poll_failed", chat_id=claimed.chat_id, exc_info=error)
            self._let_go(claimed)
        self._under_way -= 1
        self._begin_waiting()

    def _record(self, decision: Decision, observation: ReadObservation, reply: Reply) -> None:
        outcome = _outcome(observation, decision)
        metrics.POLLS.inc(outcome)
        for position in decision.positions:
            metrics.POSITIONS.inc()
            if position.updated_at is not None:
                metrics.STALENESS_SECONDS.observe(max(0.0, decision.now - position.updated_at / NANOSECONDS))
        if self.fields.reply is None and isinstance(observation, Features) and observation.positions:
            self.fields.reply = reply.body
        if self._logs_polls:
            log.debug(
                "poll",
                chat_id=decision.chat_id,
                outcome=outcome,
                status=reply.status,
                trace_id=reply.trace_id,
                rule=decision.share.rule,
                next_in=None if decision.due is None else round(decision.due - decision.now, 3),
            )
        if self._poll_log is not None:
            self._poll_log.write(decision)

    # Committing

    def _add_decision(self, item: Item) -> None:
        self._decided.append(item)
        if len(self._decided) >= COMMIT_COUNT:
            self._flush.set()
        elif self._flush_timer is None:
            self._flush_timer = asyncio.get_running_loop().call_later(COMMIT_SECONDS, self._flush.set)

    def _let_go(self, claimed: Claimed) -> None:
        self._no_longer_held(claimed.chat_id, claimed.lease)
        self._progress.set()

    def _no_longer_held(self, chat_id: str, lease: float) -> None:
        """Forget a claim, unless the chat has been claimed again."""
        held = self._held.get(chat_id)
        if held is not None and held.lease == lease:
            del self._held[chat_id]
            self._prompter.fences.pop(chat_id, None)

    async def _commit_batches(self) -> None:
        while True:
            await self._flush.wait()
            self._flush.clear()
            if self._flush_timer is not None:
                self._flush_timer.cancel()
                self._flush_timer = None
            batch, self._decided = self._decided, []
            try:
                for start in range(0, len(batch), MAX_CLAIMED):
                    items = batch[start : start + MAX_CLAIMED]
                    accepted = await self._commit(items)
                    if not all(accepted):
                        superseded = [item[0] for item, fits in zip(items, accepted, strict=True) if not fits]
                        log.debug("superseded", chat_ids=superseded)
            except asyncio.CancelledError:
                self._decided = [*batch, *self._decided]
                raise
            except Exception:
                log.exception("commit_lost", chats=len(batch), consequence="they are polled again after their leases")
            for item in batch:
                self._no_longer_held(item[0], item[1])
            self._progress.set()
            if self._poll_log is not None:
                self._poll_log.flush()

    async def _commit(self, items: list[Item]) -> list[bool]:
        """Commit a batch as soon as Redis accepts it. Repeating it is safe: what took effect no longer applies."""
        return await self._outage.wait_out(lambda: self._shares.commit(items))


def _outcome(observation: ReadObservation, decision: Decision) -> metrics.PollOutcome:
    """Return the outcome of a read, as the label of location_polls_total."""
    if isinstance(observation, Features):
        if decision.positions:
            return "new"
        if decision.corrected:
            return "corrected"
        return "unchanged" if observation.positions else "empty"
    if isinstance(observation, Fault):
        return observation.kind
    if isinstance(observation, Refused):
        return observation.reason
    return "throttled" if isinstance(observation, Throttled) else "suspended"
