"""Redis is killed, frozen, away, or forgets the scripts while workers run: nobody has to restart them."""

import asyncio
import time

from simulator.embedded_redis import EmbeddedRedis
from tests.support import oracle
from tests.support.stage import Stage

FROZEN_SECONDS = 6.0  # longer than a reply of Redis is waited for


async def follow(stage: Stage, count: int = 10) -> list[str]:
    """Have people followed; return their chats."""
    chats = stage.people(count)
    async for _, result in stage.client.results(await stage.request_all(chats)):
        assert isinstance(result, dict)
    await stage.more_positions(chats)
    return chats


async def see_nothing_ended(stage: Stage, chats: list[str]) -> None:
    """See the same processes go on with the same shares, and take new jobs."""
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
    # No disturbance: nothing may be missing.
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
