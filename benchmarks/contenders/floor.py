"""The floor of our own: the same GETs with the worker's client in a bare loop, a `Reply` made of each answer."""

from itertools import cycle

import uvloop

from benchmarks.contenders.loop import CHAT_IDS, STUB_URL, endlessly
from worker.linq.socket_poller import SocketPoller


async def main() -> None:
    chat_ids = cycle(CHAT_IDS)
    poller = SocketPoller(base_url=STUB_URL, api_key="benchmark", timeout=10)
    await endlessly(lambda: poller.fetch(next(chat_ids)))


uvloop.run(main())
