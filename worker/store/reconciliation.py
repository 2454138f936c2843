"""The reconciliation: count again what all shares add to the fleet's sums, and correct the sums.

The commit script keeps the sums exact. But keys can be lost (through eviction, people, other programs), and an error
would stay for ever. Counting takes many pages, between which shares go on changing. So a run remembers which chats it
has counted, and a commit also adds its changes to the count if its chat has been counted (or begins now). At the end
the count is exact at that very moment, and replaces the sums.
"""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from redis.asyncio import Redis

from worker.domain.share import Tally, tally
from worker.store.keys import RECONCILIATION_TTL_SECONDS, Keys
from worker.store.packing import unpack
from worker.store.scripts import Scripts

PAGE = 500  # keys looked at in one step
MAX_SECONDS = 3600  # a reconciliation that takes longer begins anew: what it remembers expires
REST_SECONDS = 600  # between two of them
CHANGE_TRIES = 20  # a chat changes at most a few times a second


class Repair(NamedTuple):
    """What one step repaired: chats put back into the schedule and, at the end only, what was missing in each sum."""

    rescued: int
    drift: dict[str, int]


class Reconciliation:
    """The reconciliation under one KEY_PREFIX. Every step may be repeated, left out, or run twice at once."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._scripts = Scripts(redis)
        self._pattern = "".join(f"\\{letter}" if letter in "*?[]\\" else letter for letter in keys.share) + "*"

    async def run(self, seconds: float, *, rest: float = REST_SECONDS) -> Repair:
        """Count in pages for some seconds; begin if nothing is under way; rest for `rest` seconds after the end."""
        deadline = time.monotonic() + seconds
        cursor = await self._open()
        if cursor is None:
            return Repair(0, {})
        rescued = 0
        while True:
            cursor, found = await self._redis.scan(cursor, match=self._pattern, count=PAGE)
            more, counted = await self._count([key.removeprefix(self._keys.share.encode()) for key in found], cursor)
            rescued += more
            if counted and cursor == 0:
                return Repair(rescued, await self._finish(rest))
            if not counted or time.monotonic() > deadline:
                return Repair(rescued, {})

    async def _open(self) -> int | None:
        """Return the cursor to go on from; None while there is nothing to do."""
        keys = self._keys
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hmget(keys.reconciliation, ["began_at", "cursor"])
            pipeline.exists(keys.reconciliation_rests)
            pipeline.time()
            (began_at, cursor), rests, (now, _) = await pipeline.execute()
        if began_at is not None and now - int(began_at) < MAX_SECONDS:
            return int(cursor)
        if began_at is not None:
            await self._finish(1, whole=False)
            return None
        if rests:
            return None
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(keys.reconciliation, mapping={"began_at": now, "cursor": 0})
            pipeline.expire(keys.reconciliation, RECONCILIATION_TTL_SECONDS)
            await pipeline.execute()
        return 0

    async def _count(self, chats: Sequence[bytes], cursor: int) -> tuple[int, bool]:
        """Count the shares of these chats, each as it is at one moment, and store the cursor to go on from.

        Returns how many were put back into the schedule, and whether all were counted: if not, the page is repeated.
        """
        rescued = 0
        for _ in range(CHANGE_TRIES):
            states = await self._redis.mget([self._keys.share.encode() + chat for chat in chats]) if chats else []
            arguments: list[Any] = [self._keys.share, ""]
            for chat, state in zip(chats, states, strict=True):
                part = _part(state)
                if part is not None:
                    arguments += [chat, state, *part]
            answer = await self._scripts.count_shares(keys=[self._keys.due, self._keys.reconciliation], args=arguments)
            rescued += answer[0] if answer else 0
            chats = answer[1:]
            if not chats:
                await self._scripts.count_shares(
                    keys=[self._keys.due, self._keys.reconciliation], args=[self._keys.share, cursor]
                )
                return rescued, True
        return rescued, False

    async def _finish(self, rest: float, *, whole: bool = True) -> dict[str, int]:
        keys = self._keys
        answer = await self._scripts.finish_reconciliation(
            keys=[keys.fleet, keys.reconciliation, keys.reconciliation_rests], args=[max(1, int(rest)), int(whole)]
        )
        return {name: int(wrong) for name, wrong in zip(Tally._fields, answer, strict=False) if int(wrong)}


def _part(state: bytes | None) -> Tally | None:
    """Return what a share adds to the sums; None if it has ended or cannot be read."""
    try:
        share = unpack(state or b"")
    except msgspec.MsgspecError:
        return None
    return None if share.ended is not None else tally(share)
