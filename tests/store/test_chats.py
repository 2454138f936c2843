"""What is remembered of chats: no handle in any key, and only for a while."""

import pytest
from redis.asyncio import Redis

from tests.support.stored import new_chat, open_store
from worker.store.store import Store

ANNA, LINE = "+12025550147", "+14155550100"


@pytest.fixture
def store(redis: Redis, redis_url: str, prefix: str) -> Store:
    return open_store(redis, redis_url, prefix)


async def test_the_end_of_an_older_share_that_comes_late_does_not_replace_a_newer_one(store: Store) -> None:
    assert await store.chats.end_of(ANNA, LINE) is None
    await store.chats.put_end(ANNA, LINE, 200)
    await store.chats.put_end(ANNA, LINE, 100)
    assert await store.chats.end_of(ANNA, LINE) == 200
    await store.chats.put_end(ANNA, LINE, 300)
    assert await store.chats.end_of(ANNA, LINE) == 300


async def test_no_key_and_no_value_holds_a_handle(store: Store) -> None:
    chat = new_chat()
    await store.chats.put_end(ANNA, LINE, 200)
    await store.chats.put_between(ANNA, LINE, chat)
    await store.chats.put(chat, is_group=False, line=LINE, contacts=[ANNA])
    assert await store.chats.between(ANNA, LINE) == chat
    kept = [key async for key in store.redis.scan_iter(match=f"{store.keys.prefix}:*")]
    values = [await store.redis.get(key) for key in kept]
    assert len(kept) == 3
    for text in (*kept, *values):
        assert ANNA[1:].encode() not in text
        assert LINE[1:].encode() not in text
    assert all([0 < await store.redis.ttl(key) <= 86_400 for key in kept])
