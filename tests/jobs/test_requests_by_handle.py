"""`request_location` and `track_location` by `to` and `from`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from simulator.harness import SimulatorServer
from tests.support.jobs import RunJob
from tests.support.waiting import wait_until
from worker.domain.handle import handle_digest
from worker.jobs.arq_worker import MAX_TRIES
from worker.jobs.handlers import CREATION_SECONDS
from worker.jobs.services import Services
from worker.linq.client import LinqError
from worker.store.budget import Budget

CONTACT = "+12025550147"
LINE = "+14155550100"
OTHER_LINE = "+14155550101"
PAIR: dict[str, Any] = {"to": CONTACT, "from": LINE}
NOT_FOUND = {"status": "rejected", "reason": "chat_not_found", "code": None}
HELLO = "Hello! May we ask where you are?"


Published = Callable[[], Awaitable[list[str]]]


@pytest.fixture
def published(redis: Redis, prefix: str) -> Published:
    """Return the types of the events so far, in order."""

    async def read() -> list[str]:
        return [fields[b"type"].decode() for _, fields in await redis.xrange(f"{prefix}:events")]

    return read


def created(simulator: SimulatorServer) -> list[Any]:
    return simulator.answers(endpoint="create_chat")


async def test_the_direct_chat_is_found_behind_pages_of_groups(simulator: SimulatorServer, run_job: RunJob) -> None:
    others = [f"+1202555{number:04}" for number in range(230)]
    for other in others:
        simulator.add_chat([CONTACT, other])
    chat_id = simulator.add_person(CONTACT, accepts_after=None)
    done = await run_job("request_location", **PAIR, reference="order-1")
    assert done.result["status"] == "requested"
    assert (done.result["chat_id"], done.result["prompt"]) == (chat_id, "sent")
    assert simulator.prompts(chat_id) == 1
    assert len(simulator.answers(endpoint="chats")) == 3


async def test_each_page_of_a_lookup_counts_in_the_budget(
    simulator: SimulatorServer, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0
    take = Budget.take

    async def counted(self: Budget) -> float | None:
        nonlocal taken
        taken += 1
        return await take(self)

    monkeypatch.setattr(Budget, "take", counted)
    for number in range(230):
        simulator.add_chat([CONTACT, f"+1202555{number:04}"])
    assert (await run_job("track_location", **PAIR)).result == NOT_FOUND
    assert taken == len(simulator.answers(endpoint="chats")) == 3


async def test_the_chat_is_of_the_line_that_was_named(simulator: SimulatorServer, run_job: RunJob) -> None:
    simulator.add_person(CONTACT, accepts_after=None, line=OTHER_LINE)
    assert (await run_job("request_location", **PAIR)).result == NOT_FOUND
    chat_id = simulator.add_chat([CONTACT], line=LINE)
    assert (await run_job("track_location", **PAIR)).result["chat_id"] == chat_id


async def test_the_own_line_is_known_by_its_number(
    simulator: SimulatorServer, run_job: RunJob, services: Services
) -> None:
    elsewhere = simulator.add_person(CONTACT, accepts_after=None, line=OTHER_LINE)
    chat_id = simulator.add_chat([CONTACT], line=LINE)
    for chat in (elsewhere, chat_id):
        simulator.change_chat(chat, marks_line=False)
    assert (await run_job("track_location", **PAIR)).result["chat_id"] == chat_id
    known = await services.store.chats.get(chat_id)
    assert known is not None
    assert (known.line, known.contacts) == (handle_digest(LINE), [handle_digest(CONTACT)])


async def test_of_several_direct_chats_the_one_over_imessage_is_asked(
    simulator: SimulatorServer, run_job: RunJob
) -> None:
    simulator.add_person(CONTACT, accepts_after=None, service="SMS")
    chat_id = simulator.add_chat([CONTACT])
    assert (await run_job("request_location", **PAIR)).result["chat_id"] == chat_id


async def test_a_chat_that_was_found_is_remembered(simulator: SimulatorServer, run_job: RunJob) -> None:
    chat_id = simulator.add_person(CONTACT, accepts_after=None)
    for number in range(3):
        done = await run_job("track_location", job_id=f"job-{number}", **PAIR)
        assert done.result["chat_id"] == chat_id
    assert done.result["status"] == "already_tracked"
    assert len(simulator.answers(endpoint="chats")) == 1


async def test_handles_in_any_form_are_the_same(simulator: SimulatorServer, run_job: RunJob) -> None:
    chat_id = simulator.add_person("anna@example.org", accepts_after=None)
    pair: dict[str, Any] = {"to": "Anna@Example.ORG", "from": "+1 (415) 555-0100"}
    done = await run_job("track_location", **pair)
    assert done.result["chat_id"] == chat_id


async def test_without_a_direct_chat_it_is_rejected_and_nothing_begins(
    simulator: SimulatorServer, run_job: RunJob, redis: Redis, prefix: str, published: Published
) -> None:
    simulator.add_chat([CONTACT, "+12025550148"])
    assert (await run_job("request_location", **PAIR)).result == NOT_FOUND
    assert (await run_job("track_location", **PAIR)).result == NOT_FOUND
    assert await published() == []
    assert await redis.zcard(f"{prefix}:due") == 0
    # A chat may appear at any time, so its absence is not remembered.
    chat_id = simulator.add_person(CONTACT, accepts_after=None)
    assert (await run_job("request_location", **PAIR)).result["chat_id"] == chat_id


async def test_a_chat_that_has_gone_is_looked_for_again(
    simulator: SimulatorServer, run_job: RunJob, published: Published
) -> None:
    gone = simulator.add_person(CONTACT, accepts_after=None)
    assert (await run_job("track_location", job_id="job-1", **PAIR)).result["chat_id"] == gone
    await run_job("untrack_location", chat_id=gone)
    simulator.change_chat(gone, deleted=True)
    done = await run_job("request_location", job_id="job-2", **PAIR)
    assert (done.result["status"], done.result["reason"], done.result["code"]) == ("rejected", "chat_not_found", 2001)
    assert (await published())[-2:] == ["location.request.rejected", "location.tracking.ended"]
    chat_id = simulator.add_chat([CONTACT])
    assert (await run_job("request_location", job_id="job-3", **PAIR)).result["chat_id"] == chat_id


async def test_with_a_message_the_chat_is_created_and_asked_once_it_is_there(
    simulator: SimulatorServer, run_job: RunJob, services: Services, job_id: str, published: Published
) -> None:
    simulator.change_habits(creating_for=0.5)
    done = await run_job("request_location", **PAIR, message=HELLO, reference="order-7")
    chat_id = done.result["chat_id"]
    assert (done.result["status"], done.result["prompt"]) == ("requested", "waiting")
    (answer,) = created(simulator)
    assert answer.request["from"] == LINE
    assert answer.request["to"] == [CONTACT]
    assert answer.request["message"] == {
        "parts": [{"type": "text", "value": HELLO}],
        "preferred_service": "iMessage",
        "idempotency_key": job_id,
    }
    assert simulator.prompts(chat_id) == 0
    assert await published() == ["location.requested"]

    async def prompted() -> bool:
        await services.need_engine().poll_due(1)
        return simulator.prompts(chat_id) == 1

    await wait_until(prompted, "the prompt goes out", deadline=30)
    codes = [answer.code for answer in simulator.answers(endpoint="request")]
    assert codes == [2009, None]


async def test_a_chat_that_is_there_gets_no_message(simulator: SimulatorServer, run_job: RunJob) -> None:
    chat_id = simulator.add_person(CONTACT, accepts_after=None)
    assert (await run_job("request_location", **PAIR, message=HELLO)).result["chat_id"] == chat_id
    assert created(simulator) == []


@pytest.mark.parametrize("kind", ["reset", "cut", "html"])
async def test_a_created_chat_whose_answer_was_lost_gets_no_second_message(
    simulator: SimulatorServer, run_job: RunJob, kind: Any
) -> None:
    simulator.fault(kind, endpoint="create_chat", after_work=True)
    done = await run_job("request_location", **PAIR, message=HELLO)
    assert done.result["status"] == "requested"
    assert len(created(simulator)) == 1


async def test_one_job_at_a_time_creates_a_chat(
    simulator: SimulatorServer, run_job: RunJob, services: Services
) -> None:
    assert await services.store.chats.reserve_between(CONTACT, LINE, "another-job")
    waiting = await run_job("request_location", **PAIR, message=HELLO, runs=1)
    assert (waiting.result, waiting.waits) == (None, [CREATION_SECONDS])
    assert created(simulator) == []
    await services.store.chats.forget_between(CONTACT, LINE)
    assert (await run_job("request_location", **PAIR, message=HELLO)).result["status"] == "requested"
    assert len(created(simulator)) == 1


async def test_a_message_is_sent_again_under_the_same_key(
    simulator: SimulatorServer, run_job: RunJob, job_id: str
) -> None:
    simulator.fault("error", endpoint="create_chat", code=4004)
    simulator.fault("error", endpoint="create_chat", code=1007, retry_after=7)
    done = await run_job("request_location", **PAIR, message=HELLO)
    assert done.result["status"] == "requested"
    assert [answer.request["message"]["idempotency_key"] for answer in created(simulator)] == [job_id] * 3
    assert 7 <= done.waits[1] < 10


async def test_a_job_that_is_run_again_after_a_crash_sends_no_second_message(
    simulator: SimulatorServer, run_job: RunJob, published: Published
) -> None:
    running = asyncio.create_task(run_job("request_location", **PAIR, message=HELLO))
    await wait_until(lambda: created(simulator), "the chat is created")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    done = await run_job("request_location", **PAIR, message=HELLO)
    assert done.result["status"] == "requested"
    assert len(created(simulator)) == 1
    assert await published() == ["location.requested"]


async def test_a_job_outlasts_a_pause_of_hours(simulator: SimulatorServer, run_job: RunJob, services: Services) -> None:
    simulator.use_api_key("another")
    done = await run_job("request_location", **PAIR, message=HELLO, runs=MAX_TRIES)
    assert done.waits == sorted(done.waits)
    assert 60 == done.waits[0] < done.waits[-1] <= 900
    assert sum(done.waits) > 12 * 3600
    await services.store.account_pause.end()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (2008, "recipient_not_allowed"),
        (2024, "opted_out"),
        (2026, "blocked"),
        (2027, "line_not_eligible"),
        (2006, "forbidden"),
        (1005, "invalid_request"),
    ],
)
async def test_a_refused_message_rejects_the_request(
    simulator: SimulatorServer, run_job: RunJob, published: Published, code: int, reason: str
) -> None:
    simulator.fault("error", endpoint="create_chat", code=code)
    done = await run_job("request_location", **PAIR, message=HELLO)
    assert done.result == {"status": "rejected", "reason": reason, "code": code}
    assert done.waits == []
    assert await published() == []


async def test_a_lookup_waits_for_faults_to_pass(simulator: SimulatorServer, run_job: RunJob) -> None:
    chat_id = simulator.add_person(CONTACT, accepts_after=None)
    simulator.fault("error", endpoint="chats", code=3006)
    simulator.fault("reset", endpoint="chats")
    simulator.fault("malformed", endpoint="chats", shape="list")
    simulator.fault("error", endpoint="chats", code=1007, retry_after=30 * 86_400)
    done = await run_job("track_location", **PAIR)
    assert done.result["chat_id"] == chat_id
    assert len(done.waits) == 4
    assert done.waits[3] <= 3600  # the job itself expires after a day


async def test_a_lookup_that_is_refused_for_good_fails_with_the_reason(
    simulator: SimulatorServer, run_job: RunJob
) -> None:
    simulator.fault("error", endpoint="chats", code=2005)
    with pytest.raises(LinqError, match="HTTP 403, code 2005"):
        await run_job("track_location", **PAIR)


async def test_a_refused_account_pauses_everything_until_a_command_finds_it_works_again(
    simulator: SimulatorServer, run_job: RunJob, services: Services, redis: Redis, prefix: str
) -> None:
    simulator.add_person(CONTACT, accepts_after=None)
    simulator.use_api_key("another")
    done = await run_job("track_location", **PAIR, runs=5)
    assert done.waits[0] == 60
    assert await services.store.account_pause.state() is not None
    assert len(simulator.answers(endpoint="chats")) == 1  # one refusal is enough
    await redis.hset(f"{prefix}:pause", "probe_at", "0")  # type: ignore[misc]  # the annotation is of both clients
    done = await run_job("track_location", **PAIR, runs=5)
    assert len(simulator.answers(endpoint="chats")) == 2
    simulator.use_api_key(services.settings.linq_api_key.get_secret_value() if services.settings.linq_api_key else "")
    await redis.hset(f"{prefix}:pause", "probe_at", "0")  # type: ignore[misc]
    assert (await run_job("track_location", **PAIR)).result["status"] == "tracking"
    assert await services.store.account_pause.state() is None


async def test_the_first_page_of_a_lookup_finds_out_that_the_account_works_again(
    simulator: SimulatorServer, run_job: RunJob, services: Services, redis: Redis, prefix: str
) -> None:
    for number in range(130):
        simulator.add_chat([CONTACT, f"+1202555{number:04}"])
    await services.store.account_pause.begin("test")
    await redis.hset(f"{prefix}:pause", "probe_at", "0")  # type: ignore[misc]  # the annotation is of both clients
    done = await run_job("track_location", **PAIR)
    assert (done.result, done.waits) == (NOT_FOUND, [2.0])


async def test_while_a_chat_is_tracked_no_command_ends_a_pause(
    simulator: SimulatorServer, run_job: RunJob, services: Services, redis: Redis, prefix: str
) -> None:
    chat_id = simulator.add_person(CONTACT, accepts_after=None)
    assert (await run_job("track_location", job_id="job-1", chat_id=chat_id)).result["status"] == "tracking"
    engine = services.need_engine()
    await wait_until(lambda: not engine._polling, "nobody polls, who would try it by a read")
    await services.store.account_pause.begin("Linq answered 403/2011")
    await redis.hset(f"{prefix}:pause", "probe_at", "0")  # type: ignore[misc]  # the annotation is of both clients
    assert (await run_job("track_location", job_id="job-2", **PAIR, runs=3)).result is None
    assert simulator.answers(endpoint="chats") == []
    await services.store.account_pause.end()
