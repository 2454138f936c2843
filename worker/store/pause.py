"""The pause of all requests to one vendor while it refuses the account."""

from collections.abc import Awaitable
from typing import Literal, NamedTuple, cast

from redis.asyncio import Redis

from worker.store.scripts import Scripts

PROBE_SECONDS = 60.0  # one probe a minute while everything is paused


class PauseState(NamedTuple):
    """Why everything is paused, and since when; `since` and `probe_at` in seconds since 1970 (UTC)."""

    reason: str
    since: float
    probe_at: float


class Pause:
    """The pause kept under `key`, shared by every worker on this Redis.

    With `ttl` (seconds) it ends by itself if it is not begun again for that long: there is nothing left to probe with.
    """

    def __init__(self, redis: Redis, key: str, *, ttl: int | None = None) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._key = key
        self._ttl = ttl

    async def begin(self, reason: str) -> bool:
        """Pause everything; return whether it was not paused before."""
        begun: int = await self._scripts.begin_pause(keys=[self._key], args=[reason, repr(PROBE_SECONDS)])
        if self._ttl is not None:
            await self._redis.expire(self._key, self._ttl)
        return begun == 1

    async def end(self) -> bool:
        """End the pause; return whether there was one."""
        removed: int = await self._redis.delete(self._key)
        return removed == 1

    async def state(self) -> PauseState | None:
        """Return what is known of the pause, None if there is none."""
        # redis-py's stubs mix its two clients: what is awaited here is always awaitable.
        kept = await cast("Awaitable[dict[bytes, bytes]]", self._redis.hgetall(self._key))
        if not kept:
            return None
        return PauseState(kept[b"reason"].decode(), float(kept[b"since"]), float(kept[b"probe_at"]))

    async def permit(self) -> float | Literal["probe"]:
        """Return 0 to send now, "probe" to send as the one that tries for all, or the seconds to wait."""
        answer: bytes = await self._scripts.check_pause(keys=[self._key], args=[repr(PROBE_SECONDS)])
        if answer == b"probe":
            return "probe"
        return float(answer or 0.0)
