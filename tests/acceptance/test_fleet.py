"""Several workers on one Redis."""

import asyncio

import pytest

from tests.support import oracle
from tests.support.stage import Stage
from tests.support.waiting import wait_until

CHATS = 200
RATE = 60.0


@pytest.mark.parametrize("count", [2, 3])
async def test_workers_share_the_chats_and_publish_each_position_once(stage: Stage, count: int) -> None:
    chats = stage.people(CHATS)
    workers = await asyncio.gather(*(stage.workers.start() for _ in range(count)))
    jobs = await stage.request_all(chats, max_interval=3.0)
    results = [result async for _, result in stage.client.results(jobs, timeout=60)]
    assert len(results) == CHATS
    assert all(isinstance(result, dict) and result["status"] == "requested" for result in results)
    await stage.more_positions(chats, more=2, deadline=60)
    await wait_until(lambda: all(worker.lines("poll") for worker in workers), "a poll by each worker", deadline=20)
    shares = await stage.finish()
    assert len(shares) == CHATS
    assert oracle.count(shares.values(), lambda kind: kind == "location.tracking.ended") == 0
    assert [stage.simulator.prompts(chat) for chat in chats] == [1] * CHATS


async def test_the_same_request_queued_many_times_at_once_asks_once(stage: Stage) -> None:
    [chat] = stage.people(1)
    await asyncio.gather(stage.workers.start(), stage.workers.start())
    jobs = await stage.request_all([chat] * 20)
    results = [result async for _, result in stage.client.results(jobs, timeout=60)]
    statuses = sorted(result["status"] for result in results if isinstance(result, dict))
    assert statuses == ["already_tracked"] * 19 + ["requested"]
    await stage.published(chat, "location.updated")
    [share] = (await stage.finish()).values()
    assert share.types().count("location.requested") == 1
    assert stage.simulator.prompts(chat) == 1


async def test_the_request_budget_is_never_exceeded(stage: Stage) -> None:
    """Prompts and reads together want more than the budget allows, and one worker is killed and replaced."""
    stage.workers.settings["LINQ_REQUESTS_PER_SECOND"] = str(RATE)
    chats = stage.people(CHATS)
    killed, *_ = await asyncio.gather(*(stage.workers.start() for _ in range(2)))
    await stage.request_all(chats)
    await wait_until(lambda: len(stage.simulator.request_times()) > 3 * RATE, "requests", deadline=60)
    await stage.kill(killed)
    await stage.workers.start()
    await wait_until(lambda: len(stage.simulator.request_times()) > 8 * RATE, "more requests", deadline=60)
    await stage.finish()
    oracle.check_budget(stage.simulator.request_times(), RATE)
