"""The shares in Redis: who is due, who holds which chat, what was decided.

All times are float seconds since 1970 (UTC) by Redis' clock; due times carry microseconds, so that a lease differs from
every other due time of its chat.
"""

import contextlib
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
from redis.asyncio import Redis

from location_client.jobs import JOB_KEY, LIFE_MILLISECONDS, Job
from worker.domain.decision import Context, Decision, Limits
from worker.domain.handle import handle_digest
from worker.domain.policy import MAX_ANNOUNCED, Fleet
from worker.domain.share import NOTHING, PHASES, Phase, Share, Tally, tally
from worker.store.batcher import Batcher
from worker.store.budget import rate_at
from worker.store.keys import ENDED_SHARE_TTL_SECONDS, PROBE_TTL_SECONDS, Keys
from worker.store.packing import pack, unpack
from worker.store.pause import PROBE_SECONDS
from worker.store.scripts import Scripts

CHANGE_TRIES = 50  # a chat changes at most a few times a second
REPLICA_MILLISECONDS = 300  # for a replica; on the same network it takes one or two
ACCEPTS_BEFORE_TRUST = 5  # accepted requests needed before webhooks are trusted to announce most of them

Answer = TypeVar("Answer")

_pack_items = msgspec.msgpack.Encoder().encode


class BusyError(RuntimeError):
    """A chat changed during every attempt to change it."""


class Claimed(msgspec.Struct, frozen=True):
    """A chat held by this worker until `lease`; `before` is what it added to the fleet's sums."""

    chat_id: str
    share: Share
    lease: float
    before: Tally


class Claim(NamedTuple):
    """The result of a claim; `next_due` is None if nothing else is tracked, `tokens` is what is left of the budget."""

    now: float
    chats: list[Claimed]
    unreadable: list[tuple[str, bytes]]
    context: Context
    tokens: float
    next_due: float | None
    paused: bool
    probe: bool


class Loaded(NamedTuple):
    """A chat as it is stored: its last share (None: unknown), due time (None: not tracked), and Redis' time.

    `live` is the share if it is tracked; `before` what it added to the fleet's sums.
    """

    chat_id: str
    share: Share | None
    stored: bytes
    due: float | None
    now: float
    context: Context
    live: Share | None
    before: Tally

    def decide_on(self, share: Share) -> Decision:
        """Begin a decision about a share of this chat; `Shares.change` stores it."""
        return Decision(share, self.chat_id, now=self.now, context=self.context, random_unit=random.random())


class Overview(NamedTuple):
    """The fleet in numbers: tracked shares by phase, and the seconds by which the most overdue one is late.

    `tracked` are the chats in the schedule, `now` is Redis' time.
    """

    phases: dict[Phase, int]
    lag: float
    tracked: int = 0
    now: float = 0.0


class Shares:
    """The tracked chats under one KEY_PREFIX."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        *,
        limits: Limits,
        lease: float,
        ceiling: float,
        events_maxlen: int = 0,
        queue_name: str = "",
        replicated: bool = False,
    ) -> None:
        """With `replicated`, a replica may replace this Redis, and has to know what must not happen twice."""
        self._redis = redis
        self._keys = keys
        self._scripts = Scripts(redis)
        self._limits = limits
        self.lease = lease  # seconds that a claimed chat is held
        self._ceiling = ceiling
        self._maxlen = events_maxlen
        self._queue_name = queue_name
        self._replicated = replicated
        self._ended_ttl = int(max(ENDED_SHARE_TTL_SECONDS, limits.cooldown)) + 1
        self._loads = Batcher(self._load_all)
        self._changes = Batcher(self.commit)

    async def claim(self, limit: int, *, only: str = "") -> Claim:
        """Claim up to `limit` due chats, most overdue first; with `only`, that chat alone if it is due."""
        keys = self._keys
        answer: list[Any] = await self._scripts.claim_chats(
            keys=[keys.due, keys.budget, keys.pause, keys.fleet],
            args=[keys.share, limit, repr(self.lease), repr(self._ceiling), only, repr(PROBE_SECONDS)],
        )
        now = float(answer[0])
        lease = now + self.lease
        chats: list[Claimed] = []
        unreadable: list[tuple[str, bytes]] = []
        for index in range(10, len(answer), 2):
            chat_id, stored = answer[index].decode(), answer[index + 1]
            try:
                share = unpack(stored)
            except msgspec.MsgspecError:
                unreadable.append((chat_id, stored))
                continue
            chats.append(Claimed(chat_id, share, lease, tally(share)))
        return Claim(
            now=now,
            chats=chats,
            unreadable=unreadable,
            context=self._context(float(answer[1]), answer[5:10]),
            tokens=float(answer[2]),
            next_due=float(answer[4]) if answer[4] else None,
            paused=answer[3] != 0,
            probe=answer[3] == 2,
        )

    async def load(self, chat_id: str) -> Loaded:
        """Read what is stored about a chat, without claiming it."""
        return await self._loads.ask(chat_id)

    async def _load_all(self, chat_ids: Sequence[str]) -> list[Loaded]:
        keys = self._keys
        answer: list[Any] = await self._scripts.load_chats(
            keys=[keys.due, keys.budget, keys.fleet], args=[keys.share, *chat_ids]
        )
        now = int(answer[0]) + int(answer[1]) / 1e6
        context = self._context(
            rate_at(now, self._ceiling, answer[7], answer[8]), [value or 0 for value in answer[2:7]]
        )
        return [
            _loaded(chat_id, stored, due, now, context)
            for chat_id, stored, due in zip(chat_ids, answer[9::2], answer[10::2], strict=True)
        ]

    async def commit(self, items: Sequence["Item"]) -> list[bool]:
        """Write decisions in one step; return for each whether it took effect, as nothing newer had happened."""
        keys = self._keys
        answer = await self._scripts.commit_decisions(
            keys=[keys.due, keys.events, keys.geo, keys.fleet, self._queue_name],
            args=[
                keys.share,
                keys.latest,
                keys.handles,
                self._maxlen,
                _pack_items(items),
                JOB_KEY,
                LIFE_MILLISECONDS,
                keys.answered,
            ],
        )
        return [bool(accepted) for accepted in answer]

    def item(
        self,
        decision: Decision,
        expected: float | None,
        before: Tally,
        *,
        stored: bytes | None = None,
        answered: bool = False,
    ) -> "Item":
        """Return a decision in the form for a commit. `expected` is the due time it was based on (None: not tracked).

        With `stored`, the decision holds only if the chat's state is still exactly that. `answered`: it is based on a
        successful read.
        """
        share = decision.share
        after = tally(share)
        changes: list[int] = []
        if after != before or decision.accepted:
            changes = [new - old for new, old in zip(after, before, strict=True)]
            changes.extend(decision.accepted or ())
        return (
            decision.chat_id,
            False if expected is None else expected,
            False if stored is None else _text(stored),
            _text(pack(share)),
            False if decision.due is None else decision.due,
            # Ending a share always publishes an event; a share that had ended before keeps its lifetime.
            self._ended_ttl if decision.events or decision.due is not None else False,
            changes,
            decision.events,
            _views(decision) if decision.views else [],
            share.line if answered else False,
            *((_stop_jobs(decision),) if decision.stops else ()),
        )

    async def update(self, chat_id: str, decide: Callable[[Loaded], tuple[Decision | None, Answer]]) -> Answer:
        """Change a chat's share: load, decide, store, and repeat if it changed meanwhile; return `decide`'s answer.

        `decide` returns a decision, or None to leave the chat as it is, together with the answer. It may be called
        again, so it must have no side effects. Raises BusyError.
        """
        for _ in range(CHANGE_TRIES):
            loaded = await self.load(chat_id)
            decision, answer = decide(loaded)
            if decision is None or await self.change(loaded, decision):
                return answer
        raise BusyError("the chat changes too often; the job may be queued again")

    async def change(self, loaded: Loaded, decision: Decision) -> bool:
        """Write a decision about a chat that was loaded, not claimed; return False if it has changed meanwhile."""
        item = self.item(decision, loaded.due, loaded.before, stored=loaded.stored)
        return await self._changes.ask(item)

    async def discard(self, loaded: Loaded) -> bool:
        """Remove an unreadable state of a chat that is not tracked; return False if it has changed meanwhile."""
        return await self._changes.ask((loaded.chat_id, False, _text(loaded.stored), False, False, 0, [], [], []))

    async def is_replicated(self, chat_id: str, due: float) -> bool:
        """Return whether the commit with this due time is in effect, and a replica has it.

        True without Sentinel: then no replica takes over.
        """
        if not self._replicated:
            return True
        async with self._redis.pipeline(transaction=False) as pipeline:
            # WAIT counts from the last write of its own connection, which the commit may not have used.
            pipeline.set(self._keys.probe, b"", ex=PROBE_TTL_SECONDS)
            pipeline.wait(1, REPLICA_MILLISECONDS)
            # The commit may have gone to a server that is no longer the master.
            pipeline.zscore(self._keys.due, chat_id)
            _, replicas, score = await pipeline.execute()
        return bool(replicas) and score == due

    async def release(self, held: Sequence[Claimed]) -> None:
        """Give claims back unchanged: the chats are due at once."""
        seconds, microseconds = await self._redis.time()
        now = seconds + microseconds / 1e6
        await self.commit([(claimed.chat_id, claimed.lease, False, False, now, 0, [], [], []) for claimed in held])

    async def drop(self, chat_id: str) -> None:
        """Stop tracking a chat whose state cannot be read, and remove its latest view."""
        shown = await cast("Awaitable[list[bytes]]", self._redis.hkeys(self._keys.latest + chat_id))
        views = [(handle.decode(), handle_digest(handle.decode()), False, 0.0, 0.0) for handle in shown]
        await self._redis.zrem(self._keys.due, chat_id)
        await self.commit([(chat_id, False, False, False, False, self._ended_ttl, [], [], views)])

    async def shown_in(self, handle: str) -> list[str]:
        """Return the tracked chats that show a handle's position now."""
        # redis-py's stubs mix its two clients: what is awaited here is always awaitable.
        found = await cast("Awaitable[bytes | None]", self._redis.hget(self._keys.handles, handle_digest(handle)))
        return sorted((found or b"").decode().split())

    async def tracked(self, page: int = 500) -> AsyncIterator[list[tuple[str, Share, float]]]:
        """Yield all tracked chats, most overdue first, as (chat id, share, due time)."""
        start = 0
        while True:
            rows: list[tuple[bytes, float]] = await self._redis.zrange(
                self._keys.due, start, start + page - 1, withscores=True
            )
            if not rows:
                return
            states = await self._redis.mget([self._keys.share.encode() + chat for chat, _ in rows])
            readable: list[tuple[str, Share, float]] = []
            for (chat, due), state in zip(rows, states, strict=True):
                with contextlib.suppress(msgspec.MsgspecError):  # dropped when it is claimed
                    readable.append((chat.decode(), unpack(state or b""), due))
            yield readable
            start += page

    async def overview(self) -> Overview:
        """Return how many chats are tracked, and how late the most overdue one is."""
        # No MULTI: a full Redis refuses it where plain reads are answered.
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hmget(self._keys.fleet, list(PHASES))
            pipeline.zrange(self._keys.due, 0, 0, withscores=True)
            pipeline.zcard(self._keys.due)
            pipeline.time()
            counts, first, tracked, time = await pipeline.execute()
        now = time[0] + time[1] / 1e6
        phases = {phase: int(count or 0) for phase, count in zip(PHASES, counts, strict=True)}
        return Overview(phases, max(0.0, now - first[0][1]) if first else 0.0, tracked, now)

    def _context(self, rate: float, sums: Iterable[Any]) -> Context:
        weights, tracking, wanted, accepted, announced = (float(value) for value in sums)
        trust = min(MAX_ANNOUNCED, announced / (accepted + ACCEPTS_BEFORE_TRUST))
        fleet = Fleet(weights / 1e6, int(tracking), wanted / 1e6, rate, self._ceiling)
        return Context(fleet, self._limits, trust)


END_SHARING = "end_sharing"  # the job of worker/jobs/handlers.py
_STOPS = uuid.UUID("0b7d6d0a-5f0e-5b1c-9d55-1f5a9f5f6c22")

Item = tuple[Any, ...]


def _stop_jobs(decision: Decision) -> list[tuple[str, str]]:
    """Return the jobs, id and content, that ask Linq to end shares that have served their purpose.

    The commit that ends the share queues them, so that none is lost; the same fact makes the same job.
    """
    share_id = decision.share.share_id
    jobs: list[Job[Any]] = [
        Job(
            END_SHARING,
            {"chat_id": decision.chat_id, "handle": handle, "share_id": share_id},
            str(uuid.uuid5(_STOPS, f"{share_id} {handle}")),
        )
        for handle in decision.stops
    ]
    return [(job.id, job.encode(int(time.time() * 1000)).decode()) for job in jobs]


def _loaded(chat_id: str, stored: bytes | None, due: bytes | None, now: float, context: Context) -> Loaded:
    try:
        share = None if stored is None else unpack(stored)
    except msgspec.MsgspecError:
        share = None
    live = share if due is not None and share is not None and share.ended is None else None
    return Loaded(
        chat_id,
        share,
        stored or b"",
        None if due is None else float(due),
        now,
        context,
        live,
        NOTHING if live is None else tally(live),
    )


def _views(decision: Decision) -> list[tuple[str, str, int | bool, float, float]]:
    """Return changes of the latest view in the form for a commit: the data shown is that of an event, by its number."""
    numbers = {event.data: number for number, event in enumerate(decision.events, start=1)}
    return [
        (handle, handle_digest(handle), False if data is None else numbers[data], longitude, latitude)
        for handle, data, longitude, latitude in decision.views
    ]


def _text(data: bytes) -> msgspec.Raw:
    """Pack bytes as msgpack text: Redis' cmsgpack knows no other kind, and its strings hold any byte."""
    return msgspec.Raw(b"\xdb" + len(data).to_bytes(4, "big") + data)
