"""Commands to Redis that may be repeated, and waiting until Redis serves them."""

import asyncio
import logging
import random
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from location_client.outages import is_login_refused, passes_by_itself

logger = logging.getLogger("location_client")

_MAX_PAUSE_SECONDS = 5.0
_MAX_SHOWN_LENGTH = 200


class Commands:
    """Sends commands to one Redis, and knows which of its errors to wait out."""

    def __init__(self, redis: Redis) -> None:
        """`redis` stays open."""
        self.redis = redis
        self._was_let_in = False

    async def send(self, *arguments: str | bytes | float) -> Any:
        """Send one command and return its answer as bytes, even if the connection decodes replies."""
        answer = await self.redis.execute_command(*arguments, NEVER_DECODE=True)  # type: ignore[no-untyped-call]
        self._was_let_in = True
        return answer

    def passes(self, error: Exception) -> bool:
        """Return whether to wait an error out: an outage, or a refused login after a successful one."""
        return passes_by_itself(error) or (self._was_let_in and is_login_refused(error))

    async def persistently(self, *arguments: str | bytes | float) -> Any:
        """Send one command that may be repeated, until Redis serves it; log once that it waits."""
        outage = Outage()
        while True:
            stop_if_cancelled()
            try:
                answer = await self.send(*arguments)
            except (RedisError, OSError) as error:
                if not self.passes(error):
                    raise
                await outage.wait(error)
            else:
                outage.end()
                return answer


class Outage:
    """One outage: how long to pause, and what to log once."""

    def __init__(self) -> None:
        """Begin without a failure."""
        self._failures = 0
        self._cause = ""

    async def wait(self, error: Exception) -> None:
        """Sleep before the next try: longer with each failure, at most 5 s, never all clients at once."""
        self._failures += 1
        # For an answer the text counts, for a broken connection the type: its texts differ from try to try.
        cause = f"{type(error).__name__}: {error}" if isinstance(error, ResponseError) else type(error).__name__
        if cause != self._cause:
            what = "Redis refuses for now" if isinstance(error, ResponseError) else "Redis is away"
            logger.warning("%s (%s); trying until it serves again", what, cause[:_MAX_SHOWN_LENGTH])
            self._cause = cause
        await asyncio.sleep(random.uniform(0.05, min(_MAX_PAUSE_SECONDS, 0.1 * 2 ** min(self._failures, 6))))

    def end(self) -> None:
        """Log that Redis serves again, if it did not before."""
        if self._failures:
            logger.warning("Redis serves again")


def stop_if_cancelled() -> None:
    """Raise CancelledError if a cancellation of this task was swallowed.

    redis-py sends under asyncio.wait_for, which before Python 3.12 swallows a cancellation that comes at the moment of
    success.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
