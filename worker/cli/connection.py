"""A LocationClient of the configured Redis, for one command."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from config.settings import Settings
    from location_client import LocationClient

T = TypeVar("T")


def with_client(work: "Callable[[LocationClient], Awaitable[T]]", settings: "Settings | None" = None) -> T:
    """Run `work` with a client whose Redis answers. Raises SettingsError, redis.RedisError."""
    # Both take a while to import.
    from config.redis import connect  # noqa: PLC0415
    from config.settings import load_settings  # noqa: PLC0415
    from location_client import LocationClient  # noqa: PLC0415

    known = settings or load_settings("client")

    async def run() -> T:
        async with connect(known) as redis:
            await redis.ping()
            return await work(LocationClient(redis, key_prefix=known.key_prefix, queue_name=known.queue_name))

    return asyncio.run(run())
