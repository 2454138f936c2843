"""Outages of Redis, and refused writes: all callers wait here, one of them tries again, and the log tells it once."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from config.redis_errors import explain
from location_client.outages import error_code, is_login_refused, passes_by_itself
from worker.store.keys import PROBE_TTL_SECONDS, Keys

FULL_SECONDS = 3.0  # between two tries on a full Redis, which is trimmed every 10 s
FIRST_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 2.0
QUIET_SECONDS = 60.0  # between two log lines about a Redis that is full, takes a few writes and is full again

Done = TypeVar("Done")

log = structlog.get_logger("redis")


def is_waited_out(error: BaseException) -> bool:
    """Return whether to wait, if Redis was reached before: also for a password that is being rotated."""
    return passes_by_itself(error) or is_login_refused(error)


class Outage:
    """What one process knows about outages and refused writes."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._key = keys.probe
        self._met: Exception | None = None
        self._told = ""  # the cause in the latest log line
        self._told_at: dict[str, float] = {}  # monotonic
        self._looking = asyncio.Lock()

    def check(self) -> None:
        """Raise ConnectionError while an outage lasts, for callers that come back later instead of waiting."""
        if self._met is not None:
            raise RedisConnectionError("Redis is away or refuses writes") from self._met

    async def probe(self) -> None:
        """Make a write that changes nothing. Raises what redis-py raises if Redis is away or refuses it."""
        await self._redis.set(self._key, b"", ex=PROBE_TTL_SECONDS)

    def meet(self, error: Exception) -> None:
        """Record an error or the lack of an answer. Raises it if waiting does not help."""
        if not is_waited_out(error):
            raise error
        self._met = error
        if error_code(error):
            self.tell(error)
        # Otherwise it may be only one broken connection: `end` checks before anything is logged.

    def explains(self, error: Exception) -> bool:
        """Record an error for a loop that tries again anyway; return False if it is not about the state of Redis.

        A missing right is logged, too; nothing more follows from it.
        """
        if is_waited_out(error):
            self.meet(error)
            return True
        if error_code(error) == "NOPERM":
            self.tell(error)
            return True
        return False

    async def end(self) -> None:
        """Wait until Redis accepts writes; return at once if nothing is known to be wrong.

        Raises errors that are no outage.
        """
        if self._met is None:
            return
        async with self._looking:
            pause = 0.0
            while self._met is not None:
                await asyncio.sleep(FULL_SECONDS if error_code(self._met) == "OOM" else pause)
                try:
                    await self.probe()
                except (RedisError, OSError) as error:
                    self.meet(error)
                    self.tell(error)
                    pause = min(MAX_PAUSE_SECONDS, 2 * pause or FIRST_PAUSE_SECONDS)
                else:
                    self._met = None
                    self.tell_end()

    async def wait_out(self, write: Callable[[], Awaitable[Done]]) -> Done:
        """Repeat work that may be done twice until it succeeds. Raises errors that are no outage."""
        pause = 0.0
        while True:
            try:
                return await write()
            except (RedisError, OSError) as error:
                self.meet(error)
            await self.end()
            # Also if a probe succeeds and this does not.
            await asyncio.sleep(pause)
            pause = min(MAX_PAUSE_SECONDS, 2 * pause or FIRST_PAUSE_SECONDS)

    def tell(self, error: Exception) -> None:
        """Log what is wrong, once."""
        trouble = explain(error)
        if trouble.cause == self._told:
            return
        refuses = bool(error_code(error))
        now = time.monotonic()
        if refuses and now - self._told_at.get(trouble.cause, -QUIET_SECONDS) < QUIET_SECONDS:
            return
        self._told = trouble.cause
        self._told_at[trouble.cause] = now
        name = "redis_refuses" if refuses else "redis_away"
        log.warning(name, cause=f"Redis {trouble.cause}", remedy=trouble.remedy)

    def tell_end(self) -> None:
        """Log that all is well again, if the log says that something is wrong."""
        if self._told:
            self._told = ""
            log.warning("redis_back")
