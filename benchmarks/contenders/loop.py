"""What both floors share: the same GETs without end, many in flight, on one CPU."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from uuid import UUID

# More in flight than a queue has: pyreqwest's cost per GET is lowest at 64.
IN_FLIGHT = 64

STUB_URL = os.environ["STUB_URL"]
CHAT_IDS = [str(UUID(int=number)) for number in range(1, int(os.environ["CHATS"]) + 1)]

# pyreqwest runs a thread of its own; spread over two CPUs, each of its GETs costs a tenth more. Threads that are
# started from here on stay on the same CPU, too.
os.sched_setaffinity(0, {random.choice(sorted(os.sched_getaffinity(0)))})


async def endlessly(fetch: Callable[[], Awaitable[object]]) -> None:
    """Fetch forever, `IN_FLIGHT` at a time."""

    async def repeat() -> None:
        while True:
            await fetch()

    await asyncio.gather(*(repeat() for _ in range(IN_FLIGHT)))
