"""The floor: the same GETs in a bare loop. Nothing is validated, kept or published.

By pyreqwest, the fastest library, or with POLL_CLIENT=socket by the worker's own client.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from itertools import cycle
from uuid import UUID

import uvloop
from pyreqwest.client import ClientBuilder

from worker.linq.socket_poller import SocketPoller
from worker.polling.placement import stay_on_one_cpu

# More in flight than a queue has: at 64 a GET costs pyreqwest least.
IN_FLIGHT = 64

CHAT_IDS = [str(UUID(int=number)) for number in range(1, int(os.environ["CHATS"]) + 1)]


async def with_pyreqwest() -> None:
    urls = cycle([f"{os.environ['STUB_URL']}/v3/chats/{chat_id}/location" for chat_id in CHAT_IDS])
    async with ClientBuilder().http1_only().default_headers({"Authorization": "Bearer benchmark"}).build() as client:

        async def fetch() -> None:
            reply = await client.get(next(urls)).build().send()
            await reply.bytes()

        await endlessly(fetch)


async def with_sockets() -> None:
    chat_ids = cycle(CHAT_IDS)
    poller = SocketPoller(base_url=os.environ["STUB_URL"], api_key="benchmark", timeout=10)

    async def fetch() -> None:
        await poller.fetch(next(chat_ids))

    await endlessly(fetch)


async def endlessly(fetch: Callable[[], Awaitable[None]]) -> None:
    async def repeat() -> None:
        while True:
            await fetch()

    # Its threads on one CPU, as the worker keeps its own: spread over two, a GET of pyreqwest costs a tenth more.
    await asyncio.gather(stay_on_one_cpu(), *(repeat() for _ in range(IN_FLIGHT)))


uvloop.run(with_sockets() if os.environ.get("POLL_CLIENT") == "socket" else with_pyreqwest())
