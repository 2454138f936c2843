"""The first contact with Redis: wait while it is away, give up if it refuses us."""

import asyncio
import random
from collections.abc import Callable

from redis.exceptions import RedisError

from config.redis_errors import Trouble, explain_refusal
from location_client.address import RedisAddress
from worker.store.store import Store

FIRST_PAUSE_SECONDS = 0.2
MAX_PAUSE_SECONDS = 5.0


class RedisUnusableError(Exception):
    """Redis answers with a refusal that waiting will not change; `cause` and `remedy` are for people."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause}; {remedy}")
        self.cause = cause
        self.remedy = remedy


async def reach_redis(store: Store, address: RedisAddress, *, on_away: Callable[[], None] = lambda: None) -> None:
    """Wait until Redis answers, and log it if that takes a while; `on_away` is called before each wait.

    Raises RedisUnusableError where it refuses us: password, user, rights, certificate, TLS or none.
    """
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            await store.redis.ping()
            break
        except (RedisError, OSError) as error:
            _give_up(await explain_refusal(error, address))
            store.outage.tell(error)
        on_away()
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(MAX_PAUSE_SECONDS, 2 * pause)
    store.outage.tell_end()
    try:
        await store.outage.probe()
    except (RedisError, OSError) as error:
        _give_up(await explain_refusal(error, address))
        store.outage.meet(error)


def _give_up(trouble: Trouble) -> None:
    if trouble.final:
        raise RedisUnusableError(f"Redis {trouble.cause}", trouble.remedy)
