"""Pins in Redis: how far each job's pin has come, and the pause while Chert refuses the account."""

from collections.abc import Awaitable
from typing import Any, Literal, NamedTuple, cast

import msgspec
from arq.constants import job_key_prefix
from redis.asyncio import Redis

from worker.domain.events import Event
from worker.store.budget import Pause
from worker.store.keys import Keys
from worker.store.scripts import Scripts
from worker.store.shares import PROBE_SECONDS

PIN_TTL_SECONDS = 86_400  # as long as arq keeps a job
# arq drops a job's data 24 h after it was to run; what is to be said about a job is said in time before that.
SPARE_SECONDS = 3600.0


class Opened(NamedTuple):
    """A job's pin: the result, where an earlier run has settled it, and the seconds that the job may still wait."""

    result: dict[str, Any] | None
    patience: float


class Tries(NamedTuple):
    """How many retries a pin has had or is about to have, this one included; `unadvised`: no wait was named."""

    all: int
    unadvised: int


class Pins:
    """The pins under one KEY_PREFIX."""

    def __init__(self, redis: Redis, keys: Keys, *, events_maxlen: int) -> None:
        self._redis = redis
        self._keys = keys
        self._scripts = Scripts(redis)
        self._maxlen = events_maxlen

    async def open(self, job_id: str) -> Opened:
        """Read what is kept of a job's pin."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hget(self._keys.pin + job_id, "result")
            pipeline.pttl(job_key_prefix + job_id)
            kept, milliseconds = await pipeline.execute()
        # A job that runs without arq has no key, and all the time of the world.
        patience = float("inf") if milliseconds < 0 else milliseconds / 1000 - SPARE_SECONDS
        return Opened(None if kept is None else msgspec.json.decode(kept), patience)

    async def count_retry(self, job_id: str, *, advised: bool) -> Tries:
        """Count one more retry; `advised`: Chert said how long to wait."""
        key = self._keys.pin + job_id
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hincrby(key, "retries", 1)
            pipeline.hincrby(key, "unadvised", 0 if advised else 1)
            pipeline.expire(key, PIN_TTL_SECONDS)
            retries, unadvised, _ = await pipeline.execute()
        return Tries(retries, unadvised)

    async def settle(self, job_id: str, result: dict[str, Any], event: Event) -> dict[str, Any]:
        """Keep the job's result and publish its event in one step; return the result that counts.

        A second run of the same job gets the first one's, and publishes nothing.
        """
        kept: bytes = await self._scripts.settle_pin(
            keys=[self._keys.pin + job_id, self._keys.events],
            args=[msgspec.msgpack.encode(event), self._maxlen, msgspec.json.encode(result), PIN_TTL_SECONDS],
        )
        return cast("dict[str, Any]", msgspec.json.decode(kept))

    async def now(self) -> float:
        """Return Redis' time in seconds since 1970 (UTC)."""
        seconds, microseconds = await self._redis.time()
        return float(seconds + microseconds / 1e6)

    # The pause

    async def permit(self) -> float | Literal["probe"]:
        """Ask whether a pin may be sent now: 0 if it may, "probe" if it is to try for all, else seconds to wait."""
        answer: bytes = await self._scripts.check_pause(keys=[self._keys.pins_pause], args=[repr(PROBE_SECONDS)])
        if answer == b"probe":
            return "probe"
        return float(answer or 0.0)

    async def pause(self, reason: str) -> bool:
        """Pause all pins; return whether they were not paused before."""
        key = self._keys.pins_pause
        begun: int = await self._scripts.begin_pause(keys=[key], args=[reason, repr(PROBE_SECONDS)])
        # Each failed probe prolongs it; when no pin is left to try, the pause is forgotten.
        await self._redis.expire(key, PIN_TTL_SECONDS)
        return begun == 1

    async def resume(self) -> bool:
        """End the pause; return whether there was one."""
        removed: int = await self._redis.delete(self._keys.pins_pause)
        return removed == 1

    async def paused(self) -> Pause | None:
        """Return the pause, None when there is none."""
        # redis-py's stubs mix its two clients: what is awaited here is always awaitable.
        kept = await cast("Awaitable[dict[bytes, bytes]]", self._redis.hgetall(self._keys.pins_pause))
        if not kept:
            return None
        return Pause(kept[b"reason"].decode(), float(kept[b"since"]), float(kept[b"probe_at"]))
