"""Reading resumes by itself after Redis was away, full, not the master, or refused us for a while."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from location_client import Event, LocationClient
from simulator.embedded_redis import EmbeddedRedis
from tests.support.waiting import wait_until

STREAM = "location:events"
Change = Callable[[Redis], Awaitable[object]]


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    """Start a Redis for one test only, which may be stopped and changed."""
    with EmbeddedRedis(tcp=True, persistence=True) as server:
        yield server


@pytest.fixture
async def admin(server: EmbeddedRedis) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url) as redis:
        await redis.ping()
        yield redis


async def add(redis: Redis) -> str:
    stream_id = await redis.xadd(STREAM, {"type": "location.updated", "data": "{}"})
    return stream_id.decode() if isinstance(stream_id, bytes) else str(stream_id)


async def settings(redis: Redis, **values: str) -> None:
    for name, value in values.items():
        await redis.config_set(name.replace("_", "-"), value)


async def fail_to_save(redis: Redis) -> None:
    """Make a snapshot fail, as on a full disk: from then on writes are refused."""
    await settings(redis, save="3600 1", stop_writes_on_bgsave_error="yes")
    directory, name = [(await redis.config_get(setting))[setting] for setting in ("dir", "dbfilename")]
    (Path(directory) / name).mkdir()
    await redis.bgsave()
    await wait_until(lambda: has_failed_to_save(redis), "the snapshot has failed")


async def has_failed_to_save(redis: Redis) -> bool:
    return bool((await redis.info("persistence"))["rdb_last_bgsave_status"] == "err")


async def become_replica(redis: Redis) -> None:
    await redis.execute_command("REPLICAOF", "127.0.0.1", "1")  # type: ignore[no-untyped-call]


async def become_silent_replica(redis: Redis) -> None:
    await settings(redis, replica_serve_stale_data="no")
    await become_replica(redis)


async def become_master(redis: Redis) -> None:
    await redis.execute_command("REPLICAOF", "NO", "ONE")  # type: ignore[no-untyped-call]


async def change_password(redis: Redis) -> None:
    await settings(redis, requirepass="another")
    await redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # type: ignore[no-untyped-call]


REFUSALS: dict[str, tuple[Change, Change]] = {
    "MISCONF": (fail_to_save, lambda redis: settings(redis, save="")),
    "NOREPLICAS": (
        lambda redis: settings(redis, min_replicas_to_write="1"),
        lambda redis: settings(redis, min_replicas_to_write="0"),
    ),
    "READONLY": (become_replica, become_master),
    "MASTERDOWN": (become_silent_replica, become_master),
    "NOAUTH": (change_password, lambda redis: settings(redis, requirepass="")),
}


async def next_of(events: AsyncIterator[Event]) -> str:
    async with asyncio.timeout(60):
        return (await anext(events)).stream_id


async def test_reading_goes_on_after_redis_was_away(
    server: EmbeddedRedis, admin: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async with LocationClient(server.url) as client:
        before = await add(admin)
        plain = client.events(after="0")
        grouped = client.group_events("group", "one", start="0")
        assert await next_of(plain) == before
        event = await anext(grouped)
        server.halt()
        acknowledging = asyncio.create_task(event.acknowledge())
        waiting = [asyncio.create_task(next_of(events)) for events in (plain, grouped)]
        await wait_until(lambda: caplog.text.count("Redis is away") == 3, "all three have met the outage")
        server.restart()
        async with Redis.from_url(server.url) as connected_anew:
            after = await add(connected_anew)
        for task in waiting:
            assert await task == after
        await acknowledging
        pending = await client.redis.xpending("location:events", "group")
        assert pending["pending"] == 1


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_group_is_read_on_when_redis_serves_again(
    server: EmbeddedRedis, admin: Redis, refusal: str, caplog: pytest.LogCaptureFixture
) -> None:
    refuse, restore = REFUSALS[refusal]
    async with LocationClient(server.url) as client:
        events = client.group_events("group", "one", start="0")
        first = await add(admin)
        assert await next_of(events) == first
        await refuse(admin)
        waiting = asyncio.create_task(next_of(events))
        await wait_until(lambda: "trying until it serves again" in caplog.text, "the reader has met the refusal")
        assert not waiting.done()
        await restore(admin)
        second = await add(admin)
        assert await waiting == second


async def test_a_group_that_cannot_be_created_in_a_full_redis_is_created_later(
    server: EmbeddedRedis, admin: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    await settings(admin, maxmemory="1")
    async with LocationClient(server.url) as client:
        waiting = asyncio.create_task(next_of(client.group_events("group", "one", start="0")))
        await wait_until(lambda: "OutOfMemoryError" in caplog.text, "the reader has met the refusal")
        await settings(admin, maxmemory="0")
        first = await add(admin)
        assert await waiting == first


async def test_missing_rights_are_an_error_and_not_waited_for(server: EmbeddedRedis, admin: Redis) -> None:
    await admin.acl_setuser("reader", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-xgroup"])
    async with LocationClient(server.url.replace("redis://", "redis://reader:secret@")) as client:
        with pytest.raises(NoPermissionError):
            await anext(client.group_events("group", "one"))


async def test_a_wrong_password_at_the_start_is_an_error_and_not_waited_for(
    server: EmbeddedRedis, admin: Redis
) -> None:
    await settings(admin, requirepass="right")
    async with LocationClient(server.url.replace("redis://", "redis://:wrong@")) as client:
        with pytest.raises(AuthenticationError):
            await anext(client.events())
        with pytest.raises(AuthenticationError):
            await anext(client.group_events("group", "one"))
