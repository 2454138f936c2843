"""Both clients of the poll path, and a way to let one read from a server that misbehaves as scripted."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from tests.support.rawserver import RawServer, Script, raw_server
from worker.http import Reply
from worker.linq.poller import Poller, make_poller

Kind = Literal["socket", "httpx"]
CHAT = "3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13"
EMPTY = b'{"success":true,"data":{"type":"FeatureCollection","features":[]}}'
READ = Reply(200, EMPTY, None, None, None)
BROKEN = Reply(0, b"", None, None, "broken")
NO_CONNECTION = Reply(0, b"", None, None, "connect")


@asynccontextmanager
async def polling(kind: Kind, url: str, *, timeout: float = 10, window: int = 8) -> AsyncIterator[Poller]:
    """Make a poller, and close it when the block ends."""
    poller = make_poller(kind, base_url=url, api_key="lk_example", timeout=timeout, window=window)
    try:
        yield poller
    finally:
        await poller.close()


async def fetch(kind: Kind, script: Script, *, timeout: float = 10) -> tuple[Reply, RawServer]:
    """Read once from a server that follows the script; return the reply, and the requests that the server got."""
    async with raw_server(script) as server, polling(kind, server.url, timeout=timeout) as poller:
        return await poller.fetch(CHAT), server
