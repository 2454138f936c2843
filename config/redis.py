"""Connections to the configured Redis, made by location_client/connection.py."""

from typing import Any

from arq.connections import ArqRedis
from redis.asyncio import Redis

from config.settings import Settings
from location_client import connection
from location_client.address import RedisAddress, parse_address
from location_client.connection import SOCKET_TIMEOUT


def connect(settings: Settings, *, decode_responses: bool = False, socket_timeout: float = SOCKET_TIMEOUT) -> Redis:
    """Build a client of the configured Redis, not yet connected; close it with `aclose()`.

    `socket_timeout`: seconds that one reply may take, unless REDIS_URL says otherwise; a blocking read has to block for
    less. Raises ValueError without a REDIS_URL.
    """
    return connection.connect(redis_address(settings), decode_responses=decode_responses, socket_timeout=socket_timeout)


def arq_pool(settings: Settings, **arguments: Any) -> ArqRedis:
    """Build the same for arq; `arguments` are ArqRedis' own (`job_serializer`, `expires_extra_ms`, …)."""
    arguments.setdefault("default_queue_name", settings.queue_name)
    client = ArqRedis(connection.make_pool(redis_address(settings)), **arguments)
    client.auto_close_connection_pool = True
    return client


def redis_address(settings: Settings) -> RedisAddress:
    if settings.redis_url is None:
        raise ValueError("REDIS_URL is not set")
    return parse_address(settings.redis_url)
