"""Connections to the configured Redis (made by location_client/connection.py), and what the worker wants to know about
the server.
"""

from typing import Any, NamedTuple

from arq.connections import ArqRedis
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from config.settings import Settings
from location_client import connection
from location_client.address import RedisAddress, parse_address
from location_client.connection import SOCKET_TIMEOUT

OLDEST_VERSION = (6, 2)


class ServerError(Exception):
    """The server cannot serve this project; the text says why and what to do."""


class ServerReport(NamedTuple):
    """What is known about the server: its version, and a sentence for everything an operator should know."""

    version: str
    warnings: tuple[str, ...]


def connect(settings: Settings, *, decode_responses: bool = False, socket_timeout: float = SOCKET_TIMEOUT) -> Redis:
    """Build a client of the configured Redis, not yet connected; close it with `aclose()`.

    `socket_timeout`: seconds that one reply may take, unless REDIS_URL says otherwise; a blocking read must ask the
    server to wait for less. Raises ValueError without a REDIS_URL.
    """
    return connection.connect(_address(settings), decode_responses=decode_responses, socket_timeout=socket_timeout)


def arq_pool(settings: Settings, **arguments: Any) -> ArqRedis:
    """Build the same for arq; `arguments` are ArqRedis' own (`job_serializer`, `expires_extra_ms`, …)."""
    arguments.setdefault("default_queue_name", settings.queue_name)
    client = ArqRedis(connection.make_pool(_address(settings)), **arguments)
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


def _address(settings: Settings) -> RedisAddress:
    if settings.redis_url is None:
        raise ValueError("REDIS_URL is not set")
    return parse_address(settings.redis_url)
