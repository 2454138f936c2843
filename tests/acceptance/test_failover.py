"""A live master behind Sentinel is replaced, or loses its replica: nobody is asked a third time."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from simulator.harness import SimulatorServer
from simulator.sentinels import RedisWithSentinels
from tests.support import oracle
from tests.support.process import QUICK
from tests.support.stage import Stage, open_stage
from tests.support.waiting import wait_until

COOLDOWN = float(QUICK["REQUEST_COOLDOWN_SECONDS"])
SLACK_SECONDS = 2.0  # for a slow machine, on top of the second or two that a failover takes


@pytest.fixture
def servers() -> Iterator[RedisWithSentinels]:
    # Two replicas, so that the one that is not promoted follows the new master at once.
    with RedisWithSentinels(replicas=2) as running:
        yield running


@pytest.fixture
async def sentinel_stage(
    simulator: SimulatorServer, servers: RedisWithSentinels, prefix: str, tmp_path: Path
) -> AsyncIterator[Stage]:
    async with open_stage(simulator, servers.url, prefix, tmp_path) as opened:
        yield opened


async def test_a_failover_whose_old_master_lives_loses_nothing_and_asks_nobody_again(
    sentinel_stage: Stage, servers: RedisWithSentinels
) -> None:
    stage = sentinel_stage
    worker = await stage.workers.start()
    chats, doubtful = stage.people(10), stage.people(10)
    for chat in doubtful:
        # Nobody knows whether this prompt was sent, so the second one is due after the cool-down.
        stage.simulator.fault("error", endpoint="request", chat_id=chat, status=503, replies=1)
    async for _, result in stage.client.results(await stage.request_all([*chats, *doubtful])):
        assert isinstance(result, dict)
    await stage.more_positions(chats)
    prompted = [stage.requests("request", chat)[0].received_at for chat in doubtful]

    old = servers.master()
    # The failover takes about a second; the second prompts become due meanwhile.
    await asyncio.sleep(max(0.0, min(prompted) + COOLDOWN - 0.5 - time.time()))
    began = time.time()
    servers.fail_over()
    await wait_until(lambda: servers.master() is not old, "the sentinels name another master")
    switched = time.monotonic()
    await stage.more_positions(chats[:1])
    assert time.monotonic() - switched < 2 + SLACK_SECONDS
    stage.disturbed(began)

    for chat in doubtful:
        await stage.published(chat, "location.updated")
    await stage.more_positions([*chats, *doubtful], more=2)
    answers = stage.simulator.answers()
    assert [oracle.check_prompts(answers, chat, cooldown=COOLDOWN) for chat in chats] == [1] * len(chats)
    assert all(oracle.check_prompts(answers, chat, cooldown=COOLDOWN) <= 2 for chat in doubtful)
    assert worker.runs
    shares = await stage.finish()
    assert len(shares) == len(chats) + len(doubtful)
    assert oracle.count(shares.values(), lambda kind: kind.endswith(("ended", "stopped"))) == 0


async def test_no_prompt_leaves_before_a_replica_knows_of_it(
    sentinel_stage: Stage, servers: RedisWithSentinels
) -> None:
    stage = sentinel_stage
    worker = await stage.workers.start()
    for replica in servers.servers[1:]:
        replica.pause()
    [chat] = stage.people(1)
    result = await stage.request(chat)
    assert (result["status"], result["prompt"]) == ("requested", "waiting")
    await worker.logged("prompts_wait")
    assert stage.requests("request") == []
    for replica in servers.servers[1:]:
        replica.resume()
    await stage.published(chat, "location.updated")
    assert stage.simulator.prompts(chat) == 1
    await stage.finish()
