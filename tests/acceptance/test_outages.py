"""Redis is killed, frozen, away, full, or refuses writes while workers run: they need no restart."""

import asyncio
import time
from typing import Any

from simulator.embedded_redis import EmbeddedRedis
from tests.support import oracle
from tests.support.stage import Stage

FROZEN_SECONDS = 6.0  # longer than the worker waits for a reply from Redis
MEBIBYTE = 2**20


async def follow(stage: Stage, count: int = 10) -> list[str]:
    """Add people and follow them; return their chats."""
    chats = stage.people(count)
    async for _, result in stage.client.results(await stage.request_all(chats)):
        assert isinstance(result, dict)
    await stage.more_positions(chats)
    return chats


async def see_nothing_ended(stage: Stage, chats: list[str]) -> None:
    """Check that the same processes go on with the same shares, and take new jobs."""
    await stage.more_positions(chats, more=2, deadline=60)
    [newcomer] = stage.people(1)
    assert (await stage.request(newcomer))["status"] == "requested"
    await stage.published(newcomer, "location.updated")
    assert all(worker.runs for worker in stage.workers.started)
    shares = await stage.finish()
    assert len(shares) == len(chats) + 1
    assert oracle.count(shares.values(), lambda kind: kind.endswith(("ended", "stopped"))) == 0


async def test_a_redis_that_is_killed_and_started_again(own_stage: Stage, own_redis: EmbeddedRedis) -> None:
    workers = await asyncio.gather(own_stage.workers.start(), own_stage.workers.start())
    chats = await follow(own_stage)
    began = time.time()
    server = own_redis._server
    assert server is not None
    server.kill()
    server.wait()
    await asyncio.gather(*(worker.logged("redis_away") for worker in workers))
    own_redis.restart()
    await asyncio.gather(*(worker.logged("redis_back") for worker in workers))
    own_stage.disturbed(began)
    await see_nothing_ended(own_stage, chats)


async def test_a_redis_that_hangs_for_a_while(own_stage: Stage, own_redis: EmbeddedRedis) -> None:
    await own_stage.workers.start()
    chats = await follow(own_stage)
    began = time.time()
    own_redis.pause()
    await asyncio.sleep(FROZEN_SECONDS)
    own_redis.resume()
    await own_stage.more_positions(chats, deadline=60)
    own_stage.disturbed(began)
    await see_nothing_ended(own_stage, chats)


async def test_a_redis_that_is_away_when_the_worker_starts(own_stage: Stage, own_redis: EmbeddedRedis) -> None:
    own_redis.halt()
    worker = own_stage.workers.launch()
    await worker.logged("redis_away")
    own_redis.restart()
    await worker.logged("redis_back")
    await see_nothing_ended(own_stage, await follow(own_stage))


async def test_scripts_that_redis_has_forgotten_are_loaded_again(own_stage: Stage) -> None:
    await own_stage.workers.start()
    chats = await follow(own_stage)
    for _ in range(3):
        await own_stage.redis.script_flush()
        await own_stage.more_positions(chats[:1])
    # No disturbance is noted for the oracle: nothing may be missing.
    await see_nothing_ended(own_stage, chats)


async def test_connections_that_are_cut_lose_nothing_that_counts(own_stage: Stage) -> None:
    await own_stage.workers.start()
    chats = await follow(own_stage)
    for _ in range(3):
        began = time.time()
        await own_stage.redis.client_kill_filter(_type="normal", skipme=True)
        await own_stage.more_positions(chats[:1])
        own_stage.disturbed(began)
    await see_nothing_ended(own_stage, chats)


async def test_a_redis_that_refuses_writes_for_a_while(own_stage: Stage, own_redis: EmbeddedRedis) -> None:
    worker = await own_stage.workers.start()
    chats = await follow(own_stage)
    began = time.time()
    await own_stage.redis.config_set("min-replicas-to-write", 1)
    await worker.logged("redis_refuses")
    before = len(own_stage.requests("read"))
    await asyncio.sleep(2)
    # While nothing can be written, nothing is read, except for requests already under way.
    assert len(own_stage.requests("read")) - before <= len(chats)
    await own_stage.redis.config_set("min-replicas-to-write", 0)
    await worker.logged("redis_back")
    own_stage.disturbed(began)
    [line] = worker.lines("redis_refuses")
    assert "NOREPLICAS" in line["cause"]
    assert line["remedy"]
    await see_nothing_ended(own_stage, chats)
    assert "Traceback" not in worker.log()


async def test_a_full_redis_is_emptied_by_its_workers(own_stage: Stage, own_redis: EmbeddedRedis) -> None:
    retention = 40
    worker = await own_stage.workers.start(EVENTS_RETENTION_SECONDS=str(retention))
    chats = await follow(own_stage, 5)
    # Ten mebibytes that soon exceed the retention, on a stream without events.
    old = int((time.time() - retention + 6) * 1000)
    for number in range(40):
        fields: dict[Any, Any] = {"kind": "job", "payload": "x" * (MEBIBYTE // 4)}
        await own_stage.redis.xadd(f"{own_stage.prefix}:dead-letters", fields, id=f"{old}-{number}")
    began = time.time()
    used = (await own_stage.redis.info("memory"))["used_memory"]
    await own_stage.redis.config_set("maxmemory", used - MEBIBYTE)
    await worker.logged("redis_refuses")
    assert "OOM" in worker.lines("redis_refuses")[0]["cause"]
    await worker.logged("redis_back")
    own_stage.disturbed(began)
    await own_stage.more_positions(chats, more=2)
    assert await own_stage.redis.xlen(f"{own_stage.prefix}:dead-letters") == 0
    assert time.time() - began < retention - 5, "else events would be missing, too"
    await see_nothing_ended(own_stage, chats)


async def test_a_password_that_is_changed_and_put_back_is_waited_out(
    own_stage: Stage, own_redis: EmbeddedRedis
) -> None:
    async def let_in(password: str) -> None:
        user: dict[str, Any] = {"enabled": True, "keys": ["*"], "commands": ["+@all"], "reset_passwords": True}
        await own_stage.redis.acl_setuser("worker", passwords=[f"+{password}"], **user)
        await own_stage.redis.client_kill_filter(_type="normal", skipme=True)

    await let_in("first-secret")
    url = own_redis.url.replace("unix://", "unix://worker:first-secret@")
    refused = own_stage.workers.launch(REDIS_URL=url.replace("first", "wrong"))
    worker = await own_stage.workers.start(REDIS_URL=url)
    chats = await follow(own_stage)
    began = time.time()
    await let_in("second-secret")
    await worker.logged("redis_refuses")
    assert "WRONGPASS" in worker.lines("redis_refuses")[0]["cause"]
    await let_in("first-secret")
    await worker.logged("redis_back")
    own_stage.disturbed(began)
    # A worker that is refused when it starts does not wait: it exits.
    assert await refused.status() == 1
    [line] = refused.log().splitlines()
    assert "WRONGPASS" in line
    assert refused.lines("redis_unusable")[0]["remedy"]
    assert "secret" not in refused.log() + worker.log()
    own_stage.workers.started.remove(refused)
    await see_nothing_ended(own_stage, chats)
