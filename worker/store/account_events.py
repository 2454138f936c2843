"""What Linq announced about the account: the last event of each type, for a month."""

from collections.abc import Awaitable
from typing import NamedTuple, cast

from redis.asyncio import Redis

from worker.store.keys import ACCOUNT_EVENTS_TTL_SECONDS, Keys


class Announced(NamedTuple):
    """An event's type, its time (seconds since 1970, UTC), and what it says, as far as that names nobody."""

    event_type: str
    at: float
    note: str


class AccountEvents:
    """The account's events under one KEY_PREFIX."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._key = keys.account_events

    async def put(self, event: Announced) -> bool:
        """Remember an event; return whether it is newer than the one remembered of the same type."""
        # redis-py's stubs mix its two clients; this one always returns an awaitable.
        known = await cast("Awaitable[bytes | None]", self._redis.hget(self._key, event.event_type))
        if known is not None and float(known.split()[0]) >= event.at:
            return False
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(self._key, event.event_type, f"{event.at!r} {event.note}")
            pipeline.expire(self._key, ACCOUNT_EVENTS_TTL_SECONDS)
            await pipeline.execute()
        return True

    async def all(self) -> list[Announced]:
        """Return what is remembered, newest first."""
        kept = await cast("Awaitable[dict[bytes, bytes]]", self._redis.hgetall(self._key))
        found = []
        for event_type, value in kept.items():
            at, _, note = value.decode().partition(" ")
            found.append(Announced(event_type.decode(), float(at), note))
        return sorted(found, key=lambda event: -event.at)
