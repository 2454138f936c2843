"""Pins in Redis: how far each job's pin has come."""

from typing import Any, NamedTuple, cast

import msgspec
from arq.constants import job_key_prefix
from redis.asyncio import Redis

from worker.domain.events import Event
from worker.store.keys import PIN_TTL_SECONDS, Keys
from worker.store.scripts import Scripts

# arq drops a job's data 24 h after its due time; its result has to be written well before that.
SPARE_SECONDS = 3600.0


class Opened(NamedTuple):
    """A job's pin: the result if an earlier run has settled it, and the seconds that the job may still wait.

    `code`: the last one that Chert gave, or None. `possibly_sent`: whether an earlier run may have sent the pin.
    """

    result: dict[str, Any] | None
    patience: float
    code: int | None
    possibly_sent: bool


class Tries(NamedTuple):
    """How many retries a pin has had, including the next one; `unadvised`: those for which Chert named no wait."""

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
        """Begin a run: read what is stored about a job's pin, and store that this run may send it."""
        key = self._keys.pin + job_id
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hmget(key, ["result", "code", "possibly_sent"])
            pipeline.pttl(job_key_prefix + job_id)
            pipeline.hset(key, "possibly_sent", "1")
            pipeline.expire(key, PIN_TTL_SECONDS)
            (result, code, possibly_sent), milliseconds, *_ = await pipeline.execute()
        # A job that runs without arq has no key, and no time limit.
        patience = float("inf") if milliseconds < 0 else milliseconds / 1000 - SPARE_SECONDS
        return Opened(
            None if result is None else msgspec.json.decode(result),
            patience,
            int(code) if code else None,
            possibly_sent == b"1",
        )

    async def put_off(self, job_id: str, *, code: int | None, possibly_sent: bool) -> None:
        """End a run without a result: store what the next one has to know."""
        await self._redis.hset(  # type: ignore[misc]  # redis-py's stubs mix its two clients
            self._keys.pin + job_id, mapping={"code": code or "", "possibly_sent": int(possibly_sent)}
        )

    async def count_retry(self, job_id: str, *, advised: bool) -> Tries:
        """Count one more retry; `advised`: Chert said how long to wait."""
        key = self._keys.pin + job_id
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hincrby(key, "retries", 1)
            pipeline.hincrby(key, "unadvised", 0 if advised else 1)
            retries, unadvised = await pipeline.execute()
        return Tries(retries, unadvised)

    async def settle(self, job_id: str, result: dict[str, Any], event: Event) -> dict[str, Any]:
        """Store the job's result and publish its event in one step; return the result that counts.

        A second run of the same job gets the first one's result, and publishes nothing.
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
