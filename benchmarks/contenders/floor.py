"""The floor: the same GETs by the fastest client in a bare loop. Nothing is validated, kept or published."""

import asyncio
import os
from itertools import cycle
from uuid import UUID

import uvloop
from pyreqwest.client import ClientBuilder

# More in flight than a queue has: at 64 a GET costs this client least.
IN_FLIGHT = 64


async def main() -> None:
    urls = [
        f"{os.environ['STUB_URL']}/v3/chats/{UUID(int=number)}/location"
        for number in range(1, int(os.environ["CHATS"]) + 1)
    ]
    client = ClientBuilder().http1_only().default_headers({"Authorization": "Bearer benchmark"}).build()
    async with client:
        endless = cycle(urls)

        async def fetch() -> None:
            while True:
                reply = await client.get(next(endless)).build().send()
                await reply.bytes()

        await asyncio.gather(*(fetch() for _ in range(IN_FLIGHT)))


uvloop.run(main())
