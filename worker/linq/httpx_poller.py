"""Reading locations with httpx: through a proxy, or where the client on sockets of our own is not wanted."""

import math
from collections import deque
from itertools import cycle

import httpx

from worker.http import build_client, exchange
from worker.linq.reply import ACCEPT, Reply, no_reply

# The time httpx's pool takes grows with the square of the requests in flight: several small pools instead of
# one.
_CONNECTIONS = 4


class HttpxPoller:
    """A `Poller` on httpx: as many clients of four connections as `window` reads at a time need."""

    def __init__(self, *, base_url: str, api_key: str, timeout: float, window: int) -> None:
        """`timeout` (seconds) bounds a whole read; `window`: reads under way at a time."""
        self._prefix = f"{base_url.rstrip('/')}/v3/chats/"
        self._timeout = timeout
        self._clients = [
            build_client(
                base_url=base_url,
                api_key=api_key,
                connections=_CONNECTIONS,
                timeout=timeout,
                headers={"Accept": ACCEPT},
            )
            for _ in range(max(1, math.ceil(window / _CONNECTIONS)))
        ]
        # Each client stands here once per free connection, so that no read waits behind a slow one.
        self._free: deque[httpx.AsyncClient] = deque(self._clients * _CONNECTIONS)
        self._any = cycle(self._clients)

    async def fetch(self, chat_id: str) -> Reply:
        """GET /v3/chats/{chat_id}/location, once. Raises nothing but CancelledError."""
        client = self._free.popleft() if self._free else None
        try:
            chosen = client or next(self._any)
            try:
                request = chosen.build_request("GET", f"{self._prefix}{chat_id}/location")
            except (httpx.InvalidURL, ValueError):
                return no_reply("broken")
            return await exchange(chosen, request, timeout=self._timeout)
        finally:
            if client is not None:
                self._free.append(client)

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.aclose()
