"""Connections to Redis, made one way everywhere, and what the worker wants to know about the server.

No command is ever sent twice by the connection: redis-py cannot know whether a script that got no answer has run.
Only connecting is repeated (the first command after an outage, and the PING that checks an idle connection), so
errors in the middle of a command reach the caller, who knows whether the command may be repeated.
"""

import asyncio
import socket
from typing import Any, NamedTuple

from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, Connection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import FullJitterBackoff
from redis.exceptions import AuthenticationError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from config.address import parse_address
from config.settings import Settings

OLDEST_VERSION = (6, 2)

# Longer than any script of this project runs, shorter than the smallest sensible lease.
SOCKET_TIMEOUT = 5.0
_CONNECT_TIMEOUT = 3.0
# An idle connection is tried with a PING before it is used again: firewalls drop idle ones without a word.
_HEALTH_CHECK_INTERVAL = 15
_CONNECT_RETRIES = 2
_RETRY_BASE = 0.05
_RETRY_CAP = 0.5


class ServerError(Exception):
    """The server cannot serve this project; the text says why and what to do."""


class ServerReport(NamedTuple):
    """What is known about the server: its version, and a sentence for everything an operator should know."""

    version: str
    warnings: tuple[str, ...]


def connect(settings: Settings, *, decode_responses: bool = False, socket_timeout: float = SOCKET_TIMEOUT) -> Redis:
    """A client of the configured Redis, not yet connected; close it with `aclose()`.

    `socket_timeout`: seconds that one reply may take, unless REDIS_URL says otherwise; a blocking read must ask the
    server to wait for less. Raises ValueError without a REDIS_URL.
    """
    client: Redis = Redis(connection_pool=_pool(settings, decode_responses, socket_timeout))
    client.auto_close_connection_pool = True
    return client


def arq_pool(settings: Settings, **arguments: Any) -> ArqRedis:
    """The same connection as arq wants it; `arguments` are ArqRedis' own (`job_serializer`, `expires_extra_ms`, …)."""
    arguments.setdefault("default_queue_name", settings.queue_name)
    client = ArqRedis(_pool(settings, False, SOCKET_TIMEOUT), **arguments)
    client.auto_close_connection_pool = True
    return client


async def check_server(redis: Redis) -> ServerReport:
    """Look at version, eviction policy and persistence.

    Raises ServerError for a version below 6.2, and redis-py's ConnectionError or TimeoutError where it is away. What an
    ACL hides is unknown, which is a warning at most.
    """
    server = await _ask(redis.info("server"))
    version = str(server.get("redis_version", "unknown"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if len(numbers) == len(OLDEST_VERSION) and numbers < OLDEST_VERSION:
        raise ServerError(
            f"this Redis is version {version}; accepted: Redis 6.2 or newer, or Valkey; upgrade the server"
        )
    memory = await _ask(redis.info("memory"))
    warnings = [_about_version(numbers), _about_eviction(memory.get("maxmemory_policy"))]
    warnings.append(await _about_persistence(redis))
    return ServerReport(str(server.get("valkey_version", version)), tuple(warning for warning in warnings if warning))


async def _ask(question: Any) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = await question
    except ResponseError:
        return {}
    return answer


def _about_version(numbers: tuple[int, ...]) -> str:
    return "" if numbers else "the version of this Redis is hidden (INFO is forbidden); 6.2 or newer is needed"


def _about_eviction(policy: str | None) -> str:
    if policy == "noeviction":
        return ""
    if policy is None:
        return "maxmemory-policy is hidden (INFO is forbidden); it should be noeviction"
    return (
        f"maxmemory-policy is {policy}: a full Redis may drop shares, jobs and events without a word; "
        "set it to noeviction"
    )


async def _about_persistence(redis: Redis) -> str:
    persistence = await _ask(redis.info("persistence"))
    if persistence.get("aof_enabled"):
        return ""
    saves = (await _ask(redis.config_get("save"))).get("save")
    if saves:
        return (
            "persistence is by snapshots only: what changed since the last one (shares, jobs, events) is lost when "
            "Redis crashes; appendonly yes loses a second at most"
        )
    if saves is None or not persistence:
        return "whether Redis keeps its data over a restart is hidden (INFO or CONFIG is forbidden)"
    return "persistence is off: every share, job and event is lost when Redis restarts; set appendonly yes"


def _pool(settings: Settings, decode_responses: bool, socket_timeout: float) -> ConnectionPool:
    if settings.redis_url is None:
        raise ValueError("REDIS_URL is not set")
    address = parse_address(settings.redis_url)
    arguments: dict[str, Any] = {
        "decode_responses": decode_responses,
        "socket_timeout": socket_timeout,
        "socket_connect_timeout": min(_CONNECT_TIMEOUT, socket_timeout),
        # redis-py also asks this object about failed commands, but repeats none while retry_on_error is empty.
        "retry": Retry(
            FullJitterBackoff(cap=_RETRY_CAP, base=_RETRY_BASE),
            _CONNECT_RETRIES,
            # Refused, closed, not there, not resolved. Not a time-out: the caller has waited long enough.
            supported_errors=(RedisConnectionError, ConnectionError, FileNotFoundError, socket.gaierror),  # type: ignore[arg-type] # redis-py means any exception
        ),
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
        # On a Unix socket redis-py logs in past `_greet`, and nothing on the way drops idle connections.
        arguments.pop("health_check_interval", None)
    if not address.sentinels:
        return ConnectionPool(**arguments)
    return _SentinelPool(  # type: ignore[no-untyped-call] # redis-py has no types here
        address.master, _sentinel(address.sentinels, arguments), **arguments
    )


async def _greet(connection: AbstractConnection) -> None:
    """Log in on a new connection, without redis-py's health check.

    redis-py 5.3 would check the health of the connection that it is making; where that fails (a server that hangs or
    refuses us) it would connect again and check again, one call within the other, for ever.
    """
    now = asyncio.get_running_loop().time()
    connection.next_health_check = now + connection.health_check_interval
    await connection.on_connect()


def _keepalive_options() -> dict[int, int]:
    """Seconds until a silent peer is tried, between two tries, and their number; not every system knows each."""
    wanted = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
    return {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}


def _sentinel(hosts: tuple[tuple[str, int], ...], arguments: dict[str, Any]) -> Sentinel:
    """Sentinels reached with the same user, password and time-outs as the master, which redis-py would leave out."""
    shared = {name: value for name, value in arguments.items() if name not in {"db", "decode_responses", "retry"}}
    sentinel = Sentinel([])  # type: ignore[no-untyped-call] # redis-py has no types here
    for host, port in hosts:
        client: Redis = Redis(connection_pool=ConnectionPool(_SentinelConnection, host=host, port=port, **shared))
        client.auto_close_connection_pool = True
        sentinel.sentinels.append(client)
    return sentinel


class _SentinelConnection(Connection):
    """A connection to a sentinel, which often has no password though its master has one."""

    async def connect(self) -> None:
        try:
            await super().connect()  # type: ignore[no-untyped-call] # redis-py has no types here
        except AuthenticationError as error:
            if "without any password" not in str(error):
                raise
            self.username = self.password = None
            await super().connect()  # type: ignore[no-untyped-call] # redis-py has no types here


class _SentinelPool(SentinelConnectionPool):
    """Closes the connections to the sentinels together with those to the master."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        if inuse_connections:
            for sentinel in self.sentinel_manager.sentinels:
                await sentinel.aclose()
