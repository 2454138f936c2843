"""The request budget, shared by every worker on this Redis, and its throttling."""

from redis.asyncio import Redis

from worker.domain.policy import recovered_rate
from worker.store.keys import Keys
from worker.store.pause import PROBE_SECONDS
from worker.store.scripts import Scripts

MAX_BLOCK_SECONDS = 60.0  # one reply never stops all reads for longer; its own chat waits as long as it says


class Budget:
    """The request budget under one KEY_PREFIX; `ceiling` in requests per second."""

    def __init__(self, redis: Redis, keys: Keys, *, ceiling: float) -> None:
        self._redis = redis
        self._keys = keys
        self._scripts = Scripts(redis)
        self._ceiling = ceiling

    async def take(self) -> float | None:
        """Take a token for one command: return None if it may be sent now, else the seconds to wait.

        Infinity while everything is paused.
        """
        answer: bytes = await self._scripts.take_token(
            keys=[self._keys.budget, self._keys.pause], args=[repr(self._ceiling)]
        )
        if answer == b"paused":
            return float("inf")
        return float(answer) if answer else None

    async def take_probe(self) -> bool:
        """Take this minute's probe of a pause, with a token, for a command; return whether there was one.

        There is one only while no chat is tracked: otherwise a read finds out whether the account works again.
        """
        answer: bytes = await self._scripts.take_token(
            keys=[self._keys.budget, self._keys.pause, self._keys.due],
            args=[repr(self._ceiling), repr(PROBE_SECONDS)],
        )
        return answer == b"probe"

    async def throttle(self, retry_after: float | None) -> None:
        """Slow all requests down after a 429 on a read, which is not a limit of the chat's own."""
        seconds = min(MAX_BLOCK_SECONDS, retry_after or 0.0)
        await self._scripts.throttle_budget(keys=[self._keys.budget], args=[repr(self._ceiling), repr(seconds)])

    async def rate(self) -> float:
        """Return the requests per second allowed now."""
        # No MULTI: a full Redis refuses it, but answers plain reads.
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.time()
            pipeline.hmget(self._keys.budget, ["rate", "limited_at"])
            (seconds, microseconds), kept = await pipeline.execute()
        return rate_at(seconds + microseconds / 1e6, self._ceiling, *kept)


def rate_at(now: float, ceiling: float, rate: bytes | None, limited_at: bytes | None) -> float:
    """Return the requests per second allowed now, from the budget's hash."""
    if rate is None or limited_at is None:
        return ceiling
    return recovered_rate(float(rate), ceiling=ceiling, calm=now - float(limited_at))
