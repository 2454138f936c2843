"""How queued jobs are started: many at a time, each by one worker."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from arq import utils as arq_utils
from arq.connections import ArqRedis
from arq.worker import Worker

from tests.support.waiting import wait_until
from worker.jobs import arq_worker
from worker.jobs.serialization import write_job
from worker.jobs.services import Services

LATER = 3_600_000  # milliseconds


@pytest.fixture
async def pool(services: Services) -> AsyncIterator[ArqRedis]:
    async with arq_worker.open_pool(services.settings) as opened:
        yield opened


async def put(
    services: Services,
    pool: ArqRedis,
    count: int,
    *,
    delay: int = 0,
    function: str = "untrack_location",
    **arguments: str,
) -> list[bytes]:
    """Queue `count` jobs about chats that nobody tracks, to be run after `delay` milliseconds; return their ids."""
    now = int(time.time() * 1000)
    names = [str(uuid.uuid4()) for _ in range(count)]
    for name in names:
        job: dict[str, Any] = {
            "t": None,
            "f": function,
            "a": [],
            "k": {"chat_id": str(uuid.uuid4()), **arguments},
            "et": now,
        }
        await pool.set(f"arq:job:{name}", write_job(job), px=LATER)
        await pool.zadd(services.settings.queue_name, {name: now + delay})
    return [name.encode() for name in names]


def worker_of(services: Services, pool: ArqRedis) -> Worker:
    return arq_worker.make_worker(services.settings, services, pool)


async def marks(pool: ArqRedis, names: list[bytes]) -> int:
    return int(await pool.exists(*(b"arq:in-progress:" + name for name in names)))


async def test_more_jobs_than_slots_are_run_one_batch_after_the_other(services: Services, pool: ArqRedis) -> None:
    names = await put(services, pool, 3 * arq_worker.MAX_JOBS)
    worker = worker_of(services, pool)
    left = names
    while left:
        # As arq's loop does: jobs that get no slot in time are left for the next round.
        await worker.start_jobs(left)
        left = [name for name in names if name.decode() not in worker.tasks]
    await wait_until(lambda: not arq_worker.running(worker), "the end of all jobs")
    assert await pool.zcard(services.settings.queue_name) == 0
    assert (worker.job_counter, await marks(pool, names)) == (0, 0)
    assert len(worker.tasks) == 3 * arq_worker.MAX_JOBS


async def test_jobs_of_others_of_later_and_of_the_past_are_left_out(services: Services, pool: ArqRedis) -> None:
    [mine, elsewhere, done] = await put(services, pool, 3)
    [later] = await put(services, pool, 1, delay=LATER)
    await pool.psetex(b"arq:in-progress:" + elsewhere, LATER, b"1")
    await pool.zrem(services.settings.queue_name, done)
    worker = worker_of(services, pool)
    await worker.start_jobs([elsewhere, mine, done, later])
    assert list(worker.tasks) == [mine.decode()]
    await wait_until(lambda: not arq_worker.running(worker), "the end of the job")
    assert await marks(pool, [mine, done, later]) == 0
    await pool.delete(b"arq:in-progress:" + elsewhere, b"arq:job:" + elsewhere, b"arq:job:" + done, b"arq:job:" + later)


async def test_two_workers_share_a_queue_and_run_each_job_once(services: Services, pool: ArqRedis) -> None:
    names = await put(services, pool, 120)
    workers = [worker_of(services, pool) for _ in range(2)]
    await asyncio.gather(*(worker.start_jobs(names) for worker in workers))
    started = [name for worker in workers for name in worker.tasks]
    assert sorted(started) == sorted(name.decode() for name in names)
    await wait_until(lambda: not any(map(arq_worker.running, workers)), "the end of all jobs")


async def test_a_worker_that_is_told_to_stop_while_it_starts_jobs_leaves_them_to_the_others(
    services: Services, pool: ArqRedis
) -> None:
    names = await put(services, pool, 20)
    stopping, other = worker_of(services, pool), worker_of(services, pool)
    starting = asyncio.create_task(stopping.start_jobs(names))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    stopping.allow_pick_jobs = False
    starting.cancel()
    await asyncio.wait({starting, *arq_worker.running(stopping)})
    assert (list(stopping.tasks), await marks(pool, names)) == ([], 0)
    await other.start_jobs(names)
    assert len(other.tasks) == 20
    await wait_until(lambda: not arq_worker.running(other), "the end of all jobs")


@pytest.mark.parametrize("behind", [600, -600])
async def test_a_wrong_clock_neither_delays_jobs_nor_hastens_them(
    services: Services, pool: ArqRedis, behind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong() -> float:
        return time.time() - behind

    monkeypatch.setattr(arq_utils, "time", wrong)
    monkeypatch.setattr(arq_worker, "time", SimpleNamespace(time=wrong, monotonic=time.monotonic))
    [due] = await put(services, pool, 1)
    [later] = await put(services, pool, 1, delay=60_000)
    worker = worker_of(services, pool)
    await worker._poll_iteration()
    assert list(worker.tasks) == [due.decode()]
    await wait_until(lambda: not arq_worker.running(worker), "the end of the job")
    await pool.delete(b"arq:job:" + later)


async def test_a_wrong_clock_puts_a_job_off_as_long_as_a_right_one(
    services: Services, pool: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong() -> float:
        return time.time() - 600

    [name] = await put(services, pool, 1, function="stop_sharing", handle="+12025550147")
    monkeypatch.setattr(arq_utils, "time", wrong)
    monkeypatch.setattr(arq_worker, "time", SimpleNamespace(time=wrong, monotonic=time.monotonic))
    await services.store.account_pause.begin("Linq answered 401")
    worker = worker_of(services, pool)
    await worker._poll_iteration()
    await wait_until(lambda: not arq_worker.running(worker), "the end of the run")
    score = await pool.zscore(services.settings.queue_name, name)
    seconds, _ = await pool.time()
    assert score is not None
    assert score / 1000 - seconds == pytest.approx(60, abs=5)  # the minute until the next probe of the account
    await services.store.account_pause.end()
    await pool.zrem(services.settings.queue_name, name)
    await pool.delete(b"arq:job:" + name, b"arq:retry:" + name)
