"""Jobs run as arq runs them, but without the waits between their runs; and a dump of what Redis holds."""

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

import arq
from redis.asyncio import Redis

from worker.jobs.handlers import JOBS
from worker.jobs.services import Services

MAX_RUNS = 50


class Done(NamedTuple):
    """The outcome of a job: its result (None if it would still wait), and the waits between its runs in seconds."""

    result: Any
    waits: list[float]


class RunJob(Protocol):
    """Run a job of that name to its end, or at most `runs` times."""

    async def __call__(
        self, function: str, /, *, job_id: str | None = ..., runs: int = ..., **arguments: Any
    ) -> Done: ...


def run_in(services: Services, default_id: str) -> RunJob:
    """Return a function that runs jobs in these services; without a `job_id` it uses `default_id`."""

    async def run(function: str, /, *, job_id: str | None = None, runs: int = MAX_RUNS, **arguments: Any) -> Done:
        waits: list[float] = []
        redis, key = services.store.redis, f"arq:job:{job_id or default_id}"
        is_queued = await redis.set(key, json.dumps({"f": function, "k": arguments}), nx=True)
        try:
            for number in range(runs):
                context = {
                    "services": services,
                    "job_id": job_id or default_id,
                    "job_try": number + 1,
                    "enqueue_time": datetime.now(UTC),
                }
                try:
                    return Done(await JOBS[function](context, **arguments), waits)
                except arq.Retry as again:
                    waits.append((again.defer_score or 0) / 1000)
            return Done(None, waits)
        finally:
            if is_queued:
                await redis.delete(key)

    return run


async def everything(redis: Redis, prefix: str) -> dict[str, str]:
    """Return the content of every key under a prefix as text; invalid bytes are replaced."""
    contents = {}
    async for key in redis.scan_iter(match=f"{prefix}:*", count=1000):
        # redis-py's annotation says "awaitable or not" for both of its clients at once.
        match await redis.type(key):
            case b"string":
                content: Any = await redis.get(key)
            case b"hash":
                content = await redis.hgetall(key)  # type: ignore[misc]
            case b"set":
                content = await redis.smembers(key)  # type: ignore[misc]
            case b"zset":
                content = await redis.zrange(key, 0, -1, withscores=True)
            case b"stream":
                content = await redis.xrange(key)
            case kind:
                raise AssertionError(f"a key of type {kind!r}")
        contents[key.decode()] = repr(content)
    return contents
