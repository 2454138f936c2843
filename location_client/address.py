"""Parse REDIS_URL: what redis-py accepts, and Sentinel, for which redis-py has no URL."""

import re
from typing import Any, NamedTuple, cast
from urllib.parse import unquote, urlsplit

from redis.asyncio.connection import URL_QUERY_ARGUMENT_PARSERS, Connection, parse_url
from redis.exceptions import RedisError

ACCEPTED = (
    "redis://[user:password@]host[:port][/db], rediss:// (TLS), unix:///path/to/socket or "
    "redis+sentinel://[:password@]host:port,host:port/db?master=NAME, with special characters of a "
    "password URL-quoted"
)

# What a query may set: redis-py takes any argument of its classes, but most cannot be given as text.
_OPTIONS = {
    *("host", "port", "path", "db", "username", "password", "connection_class", "client_name"),
    *("socket_timeout", "socket_connect_timeout", "socket_keepalive", "health_check_interval", "max_connections"),
    *(
        "ssl_cert_reqs",
        "ssl_check_hostname",
        "ssl_ca_certs",
        "ssl_ca_data",
        "ssl_certfile",
        "ssl_keyfile",
        "ssl_ciphers",
    ),
}
# What this project depends on, and a query cannot change: the shape of replies, and that no command is sent twice
# (after a timeout redis-py would repeat a script that has run).
_OURS = {"decode_responses", "encoding", "encoding_errors", "protocol", "retry_on_error", "retry_on_timeout"}

_CERTIFICATE_CHECKS = ("none", "optional", "required")
_SENTINEL_SCHEME = "redis+sentinel"
_SENTINEL_PORT = 26379


class RedisAddress(NamedTuple):
    """Where Redis is.

    `options`: keyword arguments of a redis-py connection pool, with host and port or path unless Sentinel names the
    server. `sentinels`: (host, port) pairs; without Sentinel they are empty, and so is `master`.
    """

    options: dict[str, Any]
    sentinels: tuple[tuple[str, int], ...] = ()
    master: str = ""


def parse_address(url: str) -> RedisAddress:
    """Parse a REDIS_URL. Raises ValueError, whose text never contains the password."""
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in {"redis", "rediss", "unix", _SENTINEL_SCHEME}:
        raise ValueError("it does not begin with one of these schemes")
    address = _sentinel(url) if scheme == _SENTINEL_SCHEME else RedisAddress(_options(url))
    # Impossible values only show when redis-py builds a connection: build one.
    arguments = dict(address.options)
    if not set(arguments) <= _OPTIONS:
        raise ValueError("an option after the ? is unknown")
    if arguments.get("ssl_cert_reqs", "none") not in _CERTIFICATE_CHECKS:
        # These words are redis-py's; CERT_NONE and the like are Python's.
        raise ValueError(f"ssl_cert_reqs is not one of {', '.join(_CERTIFICATE_CHECKS)}")
    arguments.pop("max_connections", None)
    connection_class = arguments.pop("connection_class", Connection)
    try:
        connection_class(**arguments)
    except (TypeError, ValueError, NameError, RedisError, OSError) as error:
        # redis-py's messages can repeat values from the URL, such as a password.
        raise ValueError("an option after the ? has a wrong value, or is not for this kind of connection") from error
    return address


def show_url(url: str) -> str:
    """Return the URL for people: without user, password and unknown query values, even if it is not a valid URL."""
    scheme, separator, rest = url.partition("://")
    if not re.fullmatch(r"[a-z+]+", scheme):
        scheme, separator, rest = "", "", url
    # Up to the last @: a password that is not URL-quoted may contain @, /, ? and #.
    user, at, rest = rest.rpartition("@")
    rest, question, query = rest.partition("?")
    # Without an @, what looks like the port may be a password.
    rest = re.sub(r":(?!\d+(?=[,/#]|$))[^,/#\[\]]+(?![^\[]*\])", ":•••", rest)
    options = "&".join(_show_option(option) for option in query.split("&"))
    return f"{scheme}{separator}{'•••' if user else ''}{at}{rest}{question}{options}"


def _show_option(option: str) -> str:
    name, equals, value = option.partition("=")
    harmless = name == "master" or name in URL_QUERY_ARGUMENT_PARSERS
    return name + equals + (value if harmless or not value else "•••")


def _options(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the port is not a number from 1 to 65535, or the password is not URL-quoted") from None
    if parts.fragment:
        raise ValueError("it contains a #, which must be URL-quoted (%23) in a password")
    if parts.scheme == "unix":
        if not parts.path:
            raise ValueError("the path of the socket is missing")
    elif not parts.hostname:
        raise ValueError("the host is missing")
    elif port == 0:
        raise ValueError("the port is 0")
    elif not re.fullmatch(r"/?|/\d{1,9}/?", parts.path, re.ASCII):
        # redis-py would silently take database 0.
        raise ValueError("the database after the host is not a number")
    options = cast("dict[str, Any]", dict(parse_url(url)))
    for name in _OURS & set(options):
        del options[name]
    for name in ("socket_timeout", "socket_connect_timeout"):
        if name in options and not 0 < options[name] < float("inf"):
            raise ValueError(f"{name} is not a number of seconds above 0")
    if options.get("db", 0) < 0:
        raise ValueError("the database is below 0")
    if options.get("max_connections", 1) < 1:
        raise ValueError("max_connections is below 1")
    return options


def _sentinel(url: str) -> RedisAddress:
    # By hand: in newer Pythons, urlsplit refuses an IPv6 address that is not the only host.
    place, rest = re.fullmatch(r"[^:]*://([^/?#]*)(.*)", url, re.DOTALL).groups()  # type: ignore[union-attr] # it matches
    user, at, hosts = place.rpartition("@")
    sentinels = tuple(_sentinel_host(host) for host in hosts.split(","))
    options = _options(f"redis://{user}{at}sentinel{rest}")
    master = str(options.pop("master", ""))
    del options["host"]
    if not master:
        raise ValueError("?master=NAME, the name of the master that Sentinel watches, is missing")
    return RedisAddress(options, sentinels, master)


def _sentinel_host(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("the port of a sentinel is not a number from 1 to 65535") from None
    if not host or port == 0:
        raise ValueError("the host or port of a sentinel is missing")
    return unquote(host), port or _SENTINEL_PORT
