"""The floor of our own client: the same GETs in a bare loop, each answer turned into a `Reply`."""

from itertools import cycle

import uvloop

from benchmarks.contenders.loop import CHAT_IDS, STUB_URL, endlessly
from worker.linq.socket_poller import SocketPoller


async def main() -> None:
    chat_ids = cycle(CHAT_IDS)
    poller = SocketPoller(base_url=STUB_URL, api_key="benchmark", timeout=10)
    await endlessly(lambda: poller.fetch(next(chat_ids)))


uvloop.run(main())
