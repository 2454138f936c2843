"""Names of fields that Linq sends and this version does not read, so that each is reported once per installation."""

from collections.abc import Iterable

from redis.asyncio import Redis

from worker.store.keys import UNKNOWN_FIELDS_TTL_SECONDS, Keys

MAX_NAMES = 100


class UnknownFields:
    """The names known under one KEY_PREFIX; the list expires when none of them has appeared for a month."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._key = keys.unknown_fields

    async def add(self, names: Iterable[str]) -> list[str]:
        """Remember names; return those that are new. Beyond MAX_NAMES none is remembered."""
        known = await self.names()
        new = [name for name in names if name not in known][: max(0, MAX_NAMES - len(known))]
        async with self._redis.pipeline() as pipeline:
            for name in new:
                pipeline.hset(self._key, name, "")
            pipeline.expire(self._key, UNKNOWN_FIELDS_TTL_SECONDS)
            added = await pipeline.execute()
        # Another worker may have been faster.
        return [name for name, is_new in zip(new, added, strict=False) if is_new]

    async def names(self) -> list[str]:
        """Return the names, in ascending order."""
        # redis-py's annotation says "awaitable or not" for both of its clients at once.
        kept = await self._redis.hkeys(self._key)  # type: ignore[misc]
        return sorted(name.decode() for name in kept)
