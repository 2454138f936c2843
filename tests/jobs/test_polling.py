"""Polling goes on by itself, beside the queue, as long as anything is due."""

import asyncio

import pytest
import structlog
from msgspec.structs import replace
from redis.exceptions import ConnectionError as RedisConnectionError

from simulator.harness import SimulatorServer
from tests.support.jobs import RunJob
from tests.support.waiting import wait_until
from worker.jobs import arq_worker
from worker.jobs.services import Services
from worker.jobs.tracking import track
from worker.polling import engine
from worker.processes import worker as worker_process

ROUND = 0.2  # seconds
SHORT = 0.05  # seconds


async def reads_for(simulator: SimulatorServer, seconds: float) -> None:
    """Wait until the first and the newest read are this many seconds apart."""

    def far_apart() -> bool:
        reads = simulator.answers(endpoint="read")
        return bool(reads) and reads[-1].decided_at - reads[0].decided_at > seconds

    await wait_until(far_apart, f"reads for {seconds} s", deadline=20)


async def test_where_much_is_due_one_round_of_polling_follows_the_other(
    services: Services, simulator: SimulatorServer, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "POLL_SECONDS", ROUND)
    monkeypatch.setattr(worker_process, "TICK_SECONDS", 3600.0)
    chat = simulator.add_person(sharing=True)
    await track(services, job_id=job_id, chat_id=chat, asked=False, min_interval=SHORT, max_interval=SHORT)
    stop = asyncio.Event()
    polling = asyncio.create_task(worker_process._poll_always(services.need_engine(), services.store, stop))
    await reads_for(simulator, 4 * ROUND)
    stop.set()
    await polling


async def test_what_a_job_made_due_is_read_again_before_the_next_tick(
    simulator: SimulatorServer, run_job: RunJob
) -> None:
    chat = simulator.add_person(sharing=True)
    await run_job("track_location", chat_id=chat, min_interval=SHORT, max_interval=SHORT)  # no tick runs in this test
    await reads_for(simulator, 1.5 * engine.IDLE_SECONDS)


async def test_a_tick_prolongs_a_poll_that_a_job_has_begun(
    services: Services, simulator: SimulatorServer, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "WOKEN_SECONDS", ROUND)
    chat = simulator.add_person(sharing=True)
    await run_job("track_location", chat_id=chat, min_interval=SHORT, max_interval=SHORT)
    await services.need_engine().poll_due(3600.0)  # as a tick does
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as logged:
        await reads_for(simulator, 4 * ROUND)
    polls = [entry for entry in logged if entry["event"] == "poll"]
    assert polls
    assert not any("job_id" in entry for entry in polls)


async def test_serving_a_chat_that_is_being_read_waits_for_that_read(
    services: Services, simulator: SimulatorServer, job_id: str
) -> None:
    chat = simulator.add_person(sharing=True)
    simulator.fault("slow", endpoint="read", chat_id=chat, delay=0.5)
    await track(services, job_id=job_id, chat_id=chat, asked=False)
    engine = services.need_engine()
    engine.wake()
    await asyncio.sleep(0)  # the poll that was woken begins its claim
    await engine.poll_now(chat)
    assert await services.store.shares.shown_in(simulator.handle_of(chat)) == [chat]


async def test_a_read_under_way_is_finished_also_where_the_queue_does_not_run_when_it_is_to_stop(
    services: Services, simulator: SimulatorServer, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = simulator.add_person(sharing=True)
    simulator.fault("slow", endpoint="read", chat_id=chat, delay=0.5)
    await track(services, job_id=job_id, chat_id=chat, asked=False)

    def fail(*_: object) -> None:
        raise RedisConnectionError

    monkeypatch.setattr(arq_worker, "make_worker", fail)
    stop = asyncio.Event()
    stopping = asyncio.create_task(stop.wait())
    supervising = asyncio.create_task(worker_process._supervise(services.settings, services, stop, stopping))
    engine = services.need_engine()
    engine.wake()
    await wait_until(lambda: engine._under_way, "a read under way")
    stop.set()
    await supervising
    assert await services.store.shares.shown_in(simulator.handle_of(chat)) == [chat]


async def test_a_chat_whose_claim_has_run_out_while_it_waited_is_left_to_others(
    services: Services, simulator: SimulatorServer, job_id: str
) -> None:
    chat = simulator.add_person(sharing=True)
    await track(services, job_id=job_id, chat_id=chat, asked=False)
    engine = services.need_engine()
    claim = await services.store.shares.claim(1)
    [claimed] = claim.chats
    engine._held[chat] = late = replace(claimed, lease=claim.now - 0.1)
    engine._waiting.append((late, claim))
    engine._begin_waiting()
    assert not engine._held
    assert engine._under_way == 0
    assert simulator.answers(endpoint="read") == []
