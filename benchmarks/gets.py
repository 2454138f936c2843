"""What one GET costs with many in flight, as in the floors of the part `speed`."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

IN_FLIGHT = 64
GETS = 6_400
_CHATS = 500


def chat_ids() -> list[str]:
    """Return the chats that are asked for, one after the other."""
    return [str(UUID(int=number)) for number in range(1, _CHATS + 1)]


async def timed(fetch: Callable[[], Awaitable[object]]) -> float:
    """Return what one call of `fetch`, a GET, costs: microseconds of this process' CPU, all its threads."""

    async def repeat(count: int) -> None:
        for _ in range(count):
            await fetch()

    await asyncio.gather(*(repeat(10) for _ in range(IN_FLIGHT)))  # connections open
    before = time.process_time()
    await asyncio.gather(*(repeat(GETS // IN_FLIGHT) for _ in range(IN_FLIGHT)))
    return (time.process_time() - before) / GETS * 1e6
