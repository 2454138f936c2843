"""Read locations with httpx: through a proxy, or with POLL_CLIENT=httpx.

Unlike the worker's own client, it does not notice an unrequested reply sent along with another, and takes it for the
next one.
"""

import asyncio
import contextlib
from functools import partial

import httpx

from worker.http import IDLE_SECONDS, build_client, exchange
from worker.linq.reply import ACCEPT, Reply, no_reply

# The time httpx's pool takes grows with the square of the requests in flight: several small pools instead of
# one.
_CONNECTIONS = 4
_SWEEP_SECONDS = 1.0


class _Pool:
    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.reads = 0  # under way
        self.used_at = 0.0  # the loop's time


class HttpxPoller:
    """A `Poller` on httpx, with as many clients of four connections as the reads under way need, up to `window`."""

    def __init__(self, *, base_url: str, api_key: str, timeout: float, window: int) -> None:
        """`timeout` (seconds) bounds a whole read; `window`: reads under way at a time.

        Raises CertificatesError, and SettingsError for a proxy that cannot be used.
        """
        self._prefix = f"{base_url.rstrip('/')}/v3/chats/"
        self._timeout = timeout
        self._most = -(-window // _CONNECTIONS)
        self._build = partial(
            build_client,
            base_url=base_url,
            api_key=api_key,
            connections=_CONNECTIONS,
            timeout=timeout,
            headers={"Accept": ACCEPT},
        )
        self._pools = [_Pool(self._build())]
        self._tasks: set[asyncio.Task[Reply]] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._closed = False

    def fetch(self, chat_id: str) -> asyncio.Future[Reply]:
        """GET /v3/chats/{chat_id}/location, once; the future has no exception."""
        task = asyncio.get_running_loop().create_task(self._read(chat_id))
        # A loop keeps no task alive.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _read(self, chat_id: str) -> Reply:
        if self._closed:
            return no_reply("broken")
        pool = self._choose()
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._close_idle())
        try:
            request = pool.client.build_request("GET", f"{self._prefix}{chat_id}/location")
        except (httpx.InvalidURL, ValueError):
            return no_reply("broken")
        pool.reads += 1
        try:
            return await exchange(pool.client, request, timeout=self._timeout)
        finally:
            pool.reads -= 1
            pool.used_at = asyncio.get_running_loop().time()

    async def close(self) -> None:
        """Close the connections."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait({self._sweeper})
        for pool in self._pools:
            await pool.client.aclose()

    def _choose(self) -> _Pool:
        # The first free one, so that those at the end grow old.
        for pool in self._pools:
            if pool.reads < _CONNECTIONS:
                return pool
        if len(self._pools) >= self._most:
            return min(self._pools, key=lambda pool: pool.reads)
        self._pools.append(_Pool(self._build()))
        return self._pools[-1]

    async def _close_idle(self) -> None:
        """Close the connections of unused pools; httpx by itself would do so only at the next read."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            before = asyncio.get_running_loop().time() - IDLE_SECONDS
            idle = [pool for pool in self._pools if not pool.reads and pool.used_at < before]
            self._pools = [pool for pool in self._pools if pool not in idle]
            for pool in idle:
                with contextlib.suppress(httpx.HTTPError, OSError, RuntimeError):  # one that breaks is closed as well
                    await pool.client.aclose()
