"""The interface for reading locations, one GET per chat, and the choice of its HTTP client."""

import asyncio
from typing import Literal, Protocol

import structlog

from worker.linq.httpx_poller import HttpxPoller
from worker.linq.reply import Reply
from worker.linq.socket_poller import SocketPoller
from worker.proxies import find_proxy

log = structlog.get_logger("poller")


class Poller(Protocol):
    """Reads locations; safe to use from many tasks of one event loop."""

    def fetch(self, chat_id: str) -> asyncio.Future[Reply]:
        """GET /v3/chats/{chat_id}/location, once; the future has no exception."""
        ...

    async def close(self) -> None:
        """Close the connections; reads under way fail as `broken`."""
        ...


def make_poller(
    kind: Literal["socket", "httpx"], *, base_url: str, api_key: str, timeout: float, window: int
) -> Poller:
    """Return the poller that `POLL_CLIENT` names, or the httpx one if the environment sets a proxy.

    `base_url` as in `LINQ_API_V3_BASE_URL`; `timeout` (seconds) bounds a whole read, including connecting (at most
    5 s); `window` is the number of reads under way at a time. Both clients use the environment's certificates
    (SSL_CERT_FILE, SSL_CERT_DIR), follow no redirects, ask for no compression and keep no cookies. Raises
    CertificatesError, and SettingsError for a proxy that cannot be used.
    """
    if kind == "socket":
        proxy = find_proxy(base_url)
        if proxy is None:
            return SocketPoller(base_url=base_url, api_key=api_key, timeout=timeout)
        log.warning("poll_client", wanted=kind, taken="httpx", cause=f"a proxy applies: {proxy.variable}")
    return HttpxPoller(base_url=base_url, api_key=api_key, timeout=timeout, window=window)
