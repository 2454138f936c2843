"""Names of unknown fields are remembered once for an installation, in a bounded number, and only for a while."""

import pytest
from redis.asyncio import Redis

from tests.support.stored import open_store
from worker.store.keys import UNKNOWN_FIELDS_TTL_SECONDS
from worker.store.store import Store
from worker.store.unknown_fields import MAX_NAMES


@pytest.fixture
def store(redis: Redis, redis_url: str, prefix: str) -> Store:
    return open_store(redis, redis_url, prefix)


async def test_a_name_is_new_once_whoever_saw_it(store: Store, redis: Redis, redis_url: str, prefix: str) -> None:
    assert await store.unknown_fields.add(["id", "properties.speed"]) == ["id", "properties.speed"]
    another = open_store(redis, redis_url, prefix)
    assert await another.unknown_fields.add(["properties.accuracy", "properties.speed"]) == ["properties.accuracy"]
    assert await store.unknown_fields.names() == ["id", "properties.accuracy", "properties.speed"]


async def test_names_go_when_none_has_turned_up_for_a_month(store: Store, redis: Redis) -> None:
    await store.unknown_fields.add(["properties.speed"])
    await redis.expire(store.keys.unknown_fields, 100)
    await store.unknown_fields.add(["properties.speed"])
    assert await redis.ttl(store.keys.unknown_fields) > UNKNOWN_FIELDS_TTL_SECONDS - 60


async def test_beyond_the_limit_no_name_is_taken(store: Store) -> None:
    names = [f"properties.p{number}" for number in range(MAX_NAMES + 5)]
    assert len(await store.unknown_fields.add(names)) == MAX_NAMES
    assert await store.unknown_fields.add(["properties.speed"]) == []
    assert len(await store.unknown_fields.names()) == MAX_NAMES
