"""Which proxy requests to a service go through, by the environment's usual variables."""

import contextlib
import os
from ipaddress import ip_address, ip_network
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from config.settings import SettingsError


class Proxy(NamedTuple):
    """A proxy's URL (`http://` or `https://`, perhaps with user and password), and the variable that names it."""

    url: str
    variable: str


def find_proxy(url: str) -> Proxy | None:
    """Return the proxy for requests to a base URL, or None where they go straight to its host.

    HTTP_PROXY or HTTPS_PROXY, ALL_PROXY and NO_PROXY decide, in upper or lower case; without them, the system's
    settings on macOS. Variables that do not concern this host are ignored. Raises SettingsError for a proxy that would
    apply but cannot be used.
    """
    parts = urlsplit(url)
    proxies = getproxies()
    kind = parts.scheme if proxies.get(parts.scheme) else "all"
    text = proxies.get(kind)
    if not text or proxy_bypass(parts.netloc) or _is_listed(parts.hostname or "", proxies.get("no", "")):
        return None
    variable = _variable(f"{kind}_proxy", text)
    proxy = text if "://" in text else f"http://{text}"
    try:
        parsed = httpx.URL(proxy)
        usable = parsed.scheme in {"http", "https"} and parsed.host and (parsed.port is None or 0 < parsed.port < 65536)
    except httpx.InvalidURL:
        usable = False
    if not usable:
        _, at, address = text.rpartition("@")
        shown = f"•••@{address}" if at else address
        line = (
            f"{variable}: given {shown!r}; accepted: http://HOST:PORT or https://HOST:PORT, with USER:PASSWORD@ before "
            f"HOST where the proxy asks for them; to do without one, add {parts.hostname} to NO_PROXY"
        )
        raise SettingsError([line])
    return Proxy(proxy, variable)


def _is_listed(host: str, no_proxy: str) -> bool:
    """Return whether NO_PROXY names a host's address, or a network around it, neither of which urllib handles."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    for entry in no_proxy.replace(",", " ").replace("[", "").replace("]", "").split():
        with contextlib.suppress(ValueError):  # a name, or nonsense
            if address in ip_network(entry, strict=False):
                return True
    return False


def _variable(name: str, text: str) -> str:
    named = (variable for variable, value in os.environ.items() if variable.lower() == name and value == text)
    return next(named, "the system's proxy")
