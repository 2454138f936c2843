"""Connections to Redis, the same for the client and the worker.

A connection never sends a command twice: redis-py cannot know whether a script that got no answer has run. Only
connecting is repeated (before the first command after an outage, and for the PING that checks an idle connection). So
errors during a command reach the caller, who knows whether the command may be repeated.
"""

import asyncio
import socket
from typing import Any

import redis
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import FullJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from location_client.address import RedisAddress
from location_client.sentinel import MasterPool

# Longer than any script of this project runs, shorter than the smallest sensible lease.
SOCKET_TIMEOUT = 5.0
_CONNECT_TIMEOUT = 3.0
# After this long, an idle connection is checked with a PING before use: firewalls drop idle ones silently.
_HEALTH_CHECK_INTERVAL = 15
_CONNECT_RETRIES = 2
_RETRY_BASE = 0.05
_RETRY_CAP = 0.5


def connect(address: RedisAddress, *, decode_responses: bool = False, socket_timeout: float = SOCKET_TIMEOUT) -> Redis:
    """Return a client of the Redis at an address, not yet connected; close it with `aclose()`.

    `socket_timeout`: seconds that one reply may take, unless the address says otherwise; a blocking read has to block
    for less.
    """
    client: Redis = Redis(connection_pool=make_pool(address, decode_responses, socket_timeout))
    client.auto_close_connection_pool = True
    return client


def make_pool(
    address: RedisAddress, decode_responses: bool = False, socket_timeout: float = SOCKET_TIMEOUT
) -> ConnectionPool:
    """Return the pool behind `connect`, for clients of another class."""
    arguments: dict[str, Any] = {
        "decode_responses": decode_responses,
        "socket_timeout": socket_timeout,
        "socket_connect_timeout": min(_CONNECT_TIMEOUT, socket_timeout),
        "retry": _retry(),
    }
    if "path" not in address.options:
        arguments |= {
            "socket_keepalive": True,
            "socket_keepalive_options": _keepalive_options(),
            "health_check_interval": _HEALTH_CHECK_INTERVAL,
            "redis_connect_func": _greet,
        }
    arguments |= address.options
    if "path" in address.options:
        # On a Unix socket redis-py logs in without `_greet`, and nothing in between drops idle connections.
        arguments.pop("health_check_interval", None)
    if not address.sentinels:
        return ConnectionPool(**arguments)
    return MasterPool(address.sentinels, address.master, **arguments)


def _retry() -> Retry:
    # Up to version 5 redis-py also asks this object about failed commands, but repeats none while retry_on_error is
    # empty. From 6 on it repeats them as often as connecting, so neither may be repeated there.
    repeats_commands = int(redis.__version__.partition(".")[0]) >= 6
    return Retry(
        FullJitterBackoff(cap=_RETRY_CAP, base=_RETRY_BASE),
        0 if repeats_commands else _CONNECT_RETRIES,
        # Refused, closed, absent, not resolved. Not a timeout: then the caller has waited long enough.
        supported_errors=(RedisConnectionError, ConnectionError, FileNotFoundError, socket.gaierror),  # type: ignore[arg-type] # redis-py means any exception
    )


async def _greet(connection: AbstractConnection) -> None:
    """Log in on a new connection, without redis-py's health check.

    redis-py 5.3 would check the health of the connection that it is making. If that fails (a server that hangs or
    refuses us), it would connect again and check again, recursively, for ever.
    """
    now = asyncio.get_running_loop().time()
    connection.next_health_check = now + connection.health_check_interval
    await connection.on_connect()


def _keepalive_options() -> dict[int, int]:
    """Return the keep-alive options of this system: seconds of silence, seconds between probes, number of probes."""
    wanted = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
    return {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}
