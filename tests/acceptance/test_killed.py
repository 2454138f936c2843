"""Workers killed without warning: nobody is asked twice, nothing is lost, nothing is published twice."""

import asyncio
import random
import signal
import time

from simulator.answers import Answer
from tests.support import oracle
from tests.support.stage import Stage
from tests.support.waiting import wait_until

COOLDOWN = 3.0  # REQUEST_COOLDOWN_SECONDS of tests/support/process.py
ROUNDS = 5


def hung(stage: Stage, endpoint: str) -> list[Answer]:
    """Return the requests that the simulator left without a reply."""
    return [answer for answer in stage.requests(endpoint) if answer.outcome == "hung"]


async def test_a_chat_claimed_by_a_killed_worker_is_read_by_another_after_the_lease(stage: Stage) -> None:
    [chat] = stage.people(1)
    first = await stage.workers.start()
    await stage.request(chat)
    await stage.published(chat, "location.updated", times=2)
    stage.simulator.fault("hang", endpoint="read", chat_id=chat)
    await wait_until(lambda: hung(stage, "read"), "a read under way", deadline=20)
    await stage.kill(first)
    await stage.workers.start()
    await stage.more_positions([chat], more=2)
    [share] = (await stage.finish()).values()
    assert "location.tracking.ended" not in share.types()


async def test_a_prompt_whose_worker_was_killed_is_repeated_only_if_a_read_after_the_cooldown_finds_nobody(
    stage: Stage,
) -> None:
    """One prompt reached the phone but its reply is lost; the other prompt itself is lost."""
    reached, lost = stage.people(2)
    first = await stage.workers.start()
    stage.simulator.fault("hang", endpoint="request", chat_id=reached, after_work=True)
    stage.simulator.fault("hang", endpoint="request", chat_id=lost, after_work=False)
    jobs = await stage.request_all([reached, lost])
    await wait_until(lambda: len(hung(stage, "request")) == 2, "two prompts under way", deadline=20)
    await stage.kill(first)
    # The jobs were cut short, too. arq runs them again after 40 s; the test makes that now.
    assert await stage.redis.delete(*(f"arq:in-progress:{job.id}" for job in jobs)) == 2
    await stage.workers.start()
    results = [result async for _, result in stage.client.results(jobs)]
    for chat in (reached, lost):
        await stage.published(chat, "location.updated", times=2, deadline=60)
    shares = await stage.finish()
    assert {result["share_id"] for result in results if isinstance(result, dict)} == set(shares)
    assert len(shares) == 2
    assert oracle.check_prompts(stage.simulator.answers(), reached, cooldown=COOLDOWN) == 1
    assert oracle.check_prompts(stage.simulator.answers(), lost, cooldown=COOLDOWN) == 2


async def test_nothing_is_lost_or_doubled_when_workers_are_killed_at_any_moment(stage: Stage) -> None:
    chats = stage.people(40)
    steady = await stage.workers.start()
    async for job, result in stage.client.results(await stage.request_all(chats)):
        assert isinstance(result, dict), f"job {job.id}: {result}"
    chance = random.Random()
    for _ in range(ROUNDS):
        victim = await stage.workers.start()
        await victim.logged("poll")
        await asyncio.sleep(chance.uniform(0, 0.3))
        await stage.kill(victim)
    await stage.more_positions(chats, more=2)
    assert steady.runs
    shares = await stage.finish()
    assert len(shares) == len(chats)
    assert oracle.count(shares.values(), lambda kind: kind == "location.tracking.ended") == 0
    for chat in chats:
        assert oracle.check_prompts(stage.simulator.answers(), chat, cooldown=COOLDOWN) <= 2


async def test_what_a_worker_brings_that_was_frozen_past_its_leases_is_dropped(stage: Stage) -> None:
    """The other way to be too late: the worker is alive, but its decisions rest on a state that has since changed."""
    chats = stage.people(20)
    frozen = await stage.workers.start()
    async for _, result in stage.client.results(await stage.request_all(chats)):
        assert isinstance(result, dict)
    await stage.more_positions(chats)
    stage.simulator.fault("hang", endpoint="read", replies=3)
    await wait_until(lambda: len(hung(stage, "read")) == 3, "reads under way", deadline=20)
    began = time.time()
    frozen.tell(signal.SIGSTOP)
    await stage.workers.start()
    await stage.more_positions(chats, more=2)
    frozen.tell(signal.SIGCONT)
    await frozen.logged("superseded")
    stage.disturbed(began)
    await stage.more_positions(chats)
    shares = await stage.finish()
    assert len(shares) == len(chats)
