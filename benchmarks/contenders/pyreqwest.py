"""The floor: the same GETs in a bare loop with the fastest library. Nothing is validated, kept or published."""

# The package lives in benchmarks/.venv only.
# mypy: disable-error-code="import-not-found"

from itertools import cycle

import uvloop
from pyreqwest.client import ClientBuilder

from benchmarks.contenders.loop import CHAT_IDS, STUB_URL, endlessly


async def main() -> None:
    urls = cycle([f"{STUB_URL}/v3/chats/{chat_id}/location" for chat_id in CHAT_IDS])
    async with ClientBuilder().http1_only().default_headers({"Authorization": "Bearer benchmark"}).build() as client:

        async def fetch() -> None:
            reply = await client.get(next(urls)).build().send()
            await reply.bytes()

        await endlessly(fetch)


uvloop.run(main())
