"""What could not be used is kept: readable, bounded, and without secrets."""

import json
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from config.settings import Settings
from tests.support.stored import new_chat, open_store
from worker.store.store import Store

KEY = "lk_0123456789abcdef"
WEBHOOK = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def store(redis: Redis, redis_url: str, prefix: str) -> Store:
    settings = Settings(
        redis_url=redis_url, key_prefix=prefix, linq_api_key=SecretStr(KEY), linq_webhook_secrets=(WEBHOOK,)
    )
    return Store(redis, settings)


async def letters(store: Store) -> list[dict[str, Any]]:
    return [
        {name.decode(): value.decode() for name, value in fields.items()}
        for _, fields in await store.redis.xrange(store.keys.dead_letters)
    ]


async def test_a_letter_has_exactly_the_contracts_fields(store: Store) -> None:
    assert await store.dead_letters.add(
        "job", "invalid_arguments", payload=b'{"f": "x"}', detail={"field": "chat_id"}, reference="order 7"
    )
    [letter] = await letters(store)
    assert list(letter) == ["time", "kind", "reason", "detail", "payload", "reference"]
    assert letter["time"].endswith("Z")
    assert json.loads(letter["detail"]) == {"field": "chat_id"}
    assert (letter["kind"], letter["reason"], letter["payload"], letter["reference"]) == (
        "job",
        "invalid_arguments",
        '{"f": "x"}',
        "order 7",
    )


async def test_secrets_are_masked_wherever_they_turn_up(store: Store) -> None:
    bare = WEBHOOK.removeprefix("whsec_")
    await store.dead_letters.add(
        "webhook",
        f"reason {KEY}",
        payload=f'{{"key": "{KEY}", "secret": "{WEBHOOK}", "again": "{bare}"}}'.encode() + b"\xff",
        detail={KEY: [f"Bearer {KEY}", bare]},
        reference=KEY,
    )
    text = json.dumps(await letters(store), ensure_ascii=False)
    assert KEY not in text
    assert bare not in text
    assert text.count("•••") == 8


async def test_a_secret_that_the_limit_would_cut_in_two_is_masked_first(store: Store) -> None:
    await store.dead_letters.add("job", "too_large", payload="a" * 65_530 + KEY)
    [letter] = await letters(store)
    assert "lk_" not in letter["payload"]


@pytest.mark.parametrize("filler", ["a", "é", "€", "😀"])
async def test_a_payload_is_cut_at_64_kib_without_half_characters(store: Store, filler: str) -> None:
    await store.dead_letters.add("job", "too_large", payload=("x" + filler * 70_000).encode())
    [letter] = await letters(store)
    size = len(letter["payload"].encode())
    assert 65_536 - 3 <= size <= 65_536
    assert letter["payload"] == "x" + filler * (len(letter["payload"]) - 1)


async def test_what_is_not_utf_8_is_replaced(store: Store) -> None:
    await store.dead_letters.add("api_reply", "malformed", payload=b"a\xff\xfeb")
    await store.dead_letters.add("job", "not_a_job", payload="a\ud800b", reference="\udfff")
    first, second = await letters(store)
    assert first["payload"] == "a\ufffd\ufffdb"
    assert (second["payload"], second["reference"]) == ("a?b", "?")


async def test_of_one_chat_at_most_one_reply_a_minute_is_kept(store: Store) -> None:
    chat, other = new_chat(), new_chat()
    assert await store.dead_letters.add("api_reply", "malformed", payload=b"1", chat_id=chat)
    assert not await store.dead_letters.add("api_reply", "malformed", payload=b"2", chat_id=chat)
    assert await store.dead_letters.add("api_reply", "malformed", payload=b"3", chat_id=other)
    assert [letter["payload"] for letter in await letters(store)] == ["1", "3"]
    assert 0 < await store.redis.ttl(store.keys.muted(chat)) <= 60


async def test_there_are_about_ten_thousand_letters_at_most(redis: Redis, redis_url: str, prefix: str) -> None:
    store = open_store(redis, redis_url, prefix)
    for _ in range(21):
        async with redis.pipeline(transaction=False) as pipeline:
            for _ in range(500):
                pipeline.xadd(store.keys.dead_letters, {"kind": "job"})
            await pipeline.execute()
    await store.dead_letters.add("job", "not_a_job", payload="")
    assert 10_000 <= await redis.xlen(store.keys.dead_letters) <= 10_200
