"""The narrow door through which locations are read: one GET per chat, with a choice of HTTP client."""

from typing import Literal, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import structlog

from worker.linq.httpx_poller import HttpxPoller
from worker.linq.pyreqwest_poller import PyreqwestPoller
from worker.linq.reply import Reply
from worker.linq.socket_poller import SocketPoller

log = structlog.get_logger("poller")


class Poller(Protocol):
    """Reads locations; safe to use from many tasks of one event loop."""

    async def fetch(self, chat_id: str) -> Reply:
        """GET /v3/chats/{chat_id}/location, once. Raises nothing but CancelledError."""
        ...

    async def close(self) -> None:
        """Close the connections; reads under way fail as `broken`."""
        ...


def make_poller(
    kind: Literal["pyreqwest", "httpx", "socket"], *, base_url: str, api_key: str, timeout: float, window: int
) -> Poller:
    """Return the poller that `POLL_CLIENT` names.

    `base_url` as in `LINQ_API_V3_BASE_URL`; `timeout` (seconds) bounds a whole read, connecting (at most 5 s)
    included; `window` is the number of reads that will be under way at a time. All clients use the proxies
    and certificates of the environment (HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE, SSL_CERT_DIR),
    follow no redirect, ask for no compression and keep no cookies. `socket` leaves proxies to pyreqwest.
    """
    if kind == "httpx":
        return HttpxPoller(base_url=base_url, api_key=api_key, timeout=timeout, window=window)
    if kind == "socket":
        if not _is_proxied(base_url):
            return SocketPoller(base_url=base_url, api_key=api_key, timeout=timeout)
        log.warning("poll_client", wanted=kind, taken="pyreqwest", cause="a proxy is set")
    return PyreqwestPoller(base_url=base_url, api_key=api_key, timeout=timeout)


def _is_proxied(url: str) -> bool:
    parts = urlsplit(url)
    proxies = getproxies()
    return bool(proxies.get(parts.scheme) or proxies.get("all")) and not proxy_bypass(parts.netloc)
