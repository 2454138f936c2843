"""The account's limits, shared by every worker on this Redis: the request budget, its throttling, and the pause."""

from collections.abc import Awaitable
from typing import NamedTuple, cast

from redis.asyncio import Redis

from worker.store.keys import Keys
from worker.store.scripts import Scripts
from worker.store.shares import PROBE_SECONDS, rate_at

MAX_BLOCK_SECONDS = 60.0  # one reply never silences everybody for longer; its own chat waits as long as it says


class Pause(NamedTuple):
    """Why and since when everything is paused; `since` and `probe_at` in seconds since 1970 (UTC)."""

    reason: str
    since: float
    probe_at: float


class Budget:
    """The request budget under one KEY_PREFIX; `ceiling` in requests per second."""

    def __init__(self, redis: Redis, keys: Keys, *, ceiling: float) -> None:
        self._redis = redis
        self._keys = keys
        self._scripts = Scripts(redis)
        self._ceiling = ceiling

    async def take(self) -> float | None:
        """Take a token for one command: None when it may be sent now, else the seconds to wait before asking again.

        Infinity while everything is paused.
        """
        answer: bytes = await self._scripts.take_token(
            keys=[self._keys.budget, self._keys.pause], args=[repr(self._ceiling)]
        )
        if answer == b"paused":
            return float("inf")
        return float(answer) if answer else None

    async def take_probe(self) -> bool:
        """Take this minute's probe of a pause, with a token, for a command; return whether there was one to take.

        There is only while no chat is tracked: else a read finds out whether the account works again.
        """
        answer: bytes = await self._scripts.take_token(
            keys=[self._keys.budget, self._keys.pause, self._keys.due],
            args=[repr(self._ceiling), repr(PROBE_SECONDS)],
        )
        return answer == b"probe"

    async def throttle(self, retry_after: float | None) -> None:
        """Slow everybody down after a 429 on a read, which tells of no limit of the chat's own (linq-api.md 4)."""
        seconds = min(MAX_BLOCK_SECONDS, retry_after or 0.0)
        await self._scripts.throttle_budget(keys=[self._keys.budget], args=[repr(self._ceiling), repr(seconds)])

    async def pause(self, reason: str) -> bool:
        """Pause everything that goes to Linq; return whether it was not paused before."""
        answer: int = await self._scripts.begin_pause(keys=[self._keys.pause], args=[reason, repr(PROBE_SECONDS)])
        return answer == 1

    async def resume(self) -> bool:
        """End the pause; return whether there was one."""
        removed: int = await self._redis.delete(self._keys.pause)
        return removed == 1

    async def paused(self) -> Pause | None:
        """Return the pause, None when there is none."""
        # redis-py's stubs mix its two clients: what is awaited here is always awaitable.
        kept = await cast("Awaitable[dict[bytes, bytes]]", self._redis.hgetall(self._keys.pause))
        if not kept:
            return None
        return Pause(kept[b"reason"].decode(), float(kept[b"since"]), float(kept[b"probe_at"]))

    async def rate(self) -> float:
        """Return the requests per second allowed now."""
        # No MULTI: a full Redis refuses it where plain reads are answered.
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.time()
            pipeline.hmget(self._keys.budget, ["rate", "limited_at"])
            (seconds, microseconds), kept = await pipeline.execute()
        return rate_at(seconds + microseconds / 1e6, self._ceiling, *kept)
