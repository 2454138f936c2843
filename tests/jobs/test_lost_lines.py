"""An API key that loses its lines ends no share: chats wait, one is read a minute, and all resume by themselves."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog

from config.settings import Settings
from simulator.harness import SimulatorServer
from tests.support.jobs import RunJob
from tests.support.waiting import wait_until
from worker.domain.handle import handle_digest
from worker.jobs.services import Services
from worker.processes import worker as worker_process
from worker.store.keys import ALL_LINES

LINE = "+14155550100"
OTHER_LINE = "+14155550101"
SHORT = 0.5  # seconds between two reads, and the least between two refusals of one chat


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"min_poll_seconds": SHORT, "max_poll_seconds": SHORT})


@pytest.fixture(autouse=True)
async def polling(services: Services, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Keep polling, as a worker does beside its jobs."""
    monkeypatch.setattr(worker_process, "POLL_SECONDS", 0.2)
    monkeypatch.setattr(worker_process, "TICK_SECONDS", 0.05)
    stop = asyncio.Event()
    task = asyncio.create_task(worker_process._poll_always(services.need_engine(), services.store, stop))
    yield
    stop.set()
    await task


async def types(services: Services, chats: list[str]) -> list[str]:
    rows = await services.store.redis.xrange(services.store.keys.events)
    return [
        fields[b"type"].decode().removeprefix("location.")
        for _, fields in rows
        if fields[b"source"].decode().rpartition("/")[2] in chats
    ]


async def track(
    run_job: RunJob, simulator: SimulatorServer, count: int, line: str = LINE, *, known: bool = True
) -> list[str]:
    """Track `count` chats of contacts who are sharing; with `known`, by contact and line, so that the line is known."""
    chats = []
    for number in range(count):
        contact = f"+1202555{int(line[-1]) * 100 + number:04}"
        chats.append(simulator.add_person(contact, sharing=True, line=line))
        chat: dict[str, Any] = {"to": contact, "from": line} if known else {"chat_id": chats[-1]}
        await run_job("track_location", job_id=chats[-1], **chat)
    return chats


async def all_were_read(simulator: SimulatorServer, chats: list[str], status: int = 200) -> None:
    """Wait until each of the chats has been read again, with this status."""
    number = simulator.answers()[-1].number if simulator.answers() else 0

    def read() -> bool:
        answers = simulator.answers(endpoint="read", after=number)
        return {answer.chat_id for answer in answers if answer.status == status} >= set(chats)

    await wait_until(read, f"every chat is read with {status}", deadline=30)


async def all_wait(services: Services, chats: list[str], line: str) -> None:
    async def wait() -> bool:
        found = {lost.line: lost.chats for lost in await services.store.lost_lines.states()}
        return found == {line: len(chats)}

    await wait_until(wait, "all chats of the line wait", deadline=60)


async def a_minute_later(services: Services, line: str) -> None:
    key = services.store.keys.lost_line(line)
    await services.store.redis.hset(key, "probe_at", "0")  # type: ignore[misc]  # redis-py's stubs


@pytest.mark.parametrize(("code", "known"), [(2005, True), (2001, False)])
async def test_the_chats_of_a_lost_line_wait_and_go_on(
    simulator: SimulatorServer, run_job: RunJob, services: Services, code: int, known: bool
) -> None:
    chats = await track(run_job, simulator, 6, known=known)
    line = handle_digest(LINE) if known else ALL_LINES
    await all_were_read(simulator, chats)
    with structlog.testing.capture_logs() as logs:
        simulator.lose_line(code=code)
        await all_wait(services, chats, line)

        # One of them is read each minute, and no other.
        last = simulator.answers()[-1].number
        await asyncio.sleep(3 * SHORT)
        assert simulator.answers(endpoint="read", after=last) == []
        await a_minute_later(services, line)
        await wait_until(lambda: simulator.answers(endpoint="read", after=last), "the probe")
        await asyncio.sleep(3 * SHORT)
        assert len(simulator.answers(endpoint="read", after=last)) == 1

        simulator.lose_line(code=None)
        await a_minute_later(services, line)
        await all_were_read(simulator, chats)
    assert "tracking.ended" not in await types(services, chats)
    assert await services.store.lost_lines.states() == []
    said = [line["event"] for line in logs if line["event"].startswith("line_")]
    assert said == ["line_lost", "line_still_lost", "line_back"]


async def test_only_the_chats_of_the_lost_line_wait(
    simulator: SimulatorServer, run_job: RunJob, services: Services
) -> None:
    lost = await track(run_job, simulator, 5)
    others = await track(run_job, simulator, 7, OTHER_LINE)
    await all_were_read(simulator, [*lost, *others])
    simulator.lose_line(LINE)
    await all_wait(services, lost, handle_digest(LINE))
    await all_were_read(simulator, others)
    assert "tracking.ended" not in await types(services, [*lost, *others])
    for chat in [*lost, *others]:
        await run_job("untrack_location", chat_id=chat)
    await a_minute_later(services, handle_digest(LINE))

    async def forgotten() -> bool:
        return await services.store.lost_lines.states() == []

    await wait_until(forgotten, "a line that nobody waits for is let go")


async def test_a_few_chats_that_have_gone_end_as_ever(
    simulator: SimulatorServer, run_job: RunJob, services: Services
) -> None:
    chats = await track(run_job, simulator, 8)
    await all_were_read(simulator, chats)
    gone = chats[:4]
    for chat in gone:
        simulator.change_chat(chat, deleted=True)

    async def ended() -> bool:
        return (await types(services, gone)).count("tracking.ended") == 4

    await wait_until(ended, "the shares of the chats that have gone end", deadline=30)
    await all_were_read(simulator, chats[4:])
    assert "tracking.ended" not in await types(services, chats[4:])
    assert await services.store.lost_lines.states() == []
