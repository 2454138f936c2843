"""What `hear_webhook` makes of an event while Linq cannot be asked about chats, and of data that is no event."""

import time
import uuid
from typing import Any

import pytest
from redis.asyncio import Redis

from simulator.harness import SimulatorServer
from tests.support.jobs import RunJob
from worker.jobs.arguments import InvalidJobError
from worker.jobs.handlers import WEBHOOK_TRIES
from worker.jobs.services import Services

ANNA, EMAIL = "+12025550147", "anna@example.org"
LINE = "+14155550100"


def heard(shared_by: str = ANNA, *, chat_id: str | None = None, **times: int | None) -> dict[str, Any]:
    """Return an event as the web process stores it; `began_at` and the like in ns since 1970 UTC."""
    now = time.time_ns()
    event = {"shared_by": shared_by, "shared_with": LINE, "chat_id": chat_id, "created_at": now, "began_at": None}
    return event | times


async def types(redis: Redis, prefix: str) -> list[str]:
    return [fields[b"type"].decode()[9:] for _, fields in await redis.xrange(f"{prefix}:events")]


@pytest.fixture
async def shown(simulator: SimulatorServer, services: Services, run_job: RunJob) -> str:
    """Return a chat that is tracked and shows a position of Anna's."""
    chat_id = simulator.add_person(ANNA, sharing=True)
    await run_job("track_location", job_id=str(uuid.uuid4()), chat_id=chat_id)
    await services.need_engine().poll_now(chat_id)
    return chat_id


async def test_a_stop_of_an_unknown_line_is_left_to_the_reads(
    simulator: SimulatorServer, run_job: RunJob, redis: Redis, prefix: str, shown: str
) -> None:
    simulator.fault("error", endpoint="chat", code=4004, replies=None)
    event = heard(ended_at=time.time_ns()) | {"shared_with": "+14155550101"}
    done = await run_job("hear_webhook", kind="stopped", event=event)
    assert (done.result, len(done.waits)) == ({"status": "not_tracked"}, WEBHOOK_TRIES - 1)
    assert await types(redis, prefix) == ["sharing.started", "updated"]


@pytest.mark.parametrize("fault", [{"kind": "error", "code": 2005}, {"kind": "html", "status": 404}])
async def test_a_stop_counts_where_linq_does_not_say_of_which_line_the_chat_is(
    simulator: SimulatorServer, run_job: RunJob, shown: str, fault: dict[str, Any]
) -> None:
    simulator.fault(**fault, endpoint="chat", replies=None)
    done = await run_job("hear_webhook", kind="stopped", event=heard(ended_at=time.time_ns()))
    assert done == ({"status": "updated"}, [])


async def test_nobody_is_asked_for_a_line_that_a_webhook_has_told(
    simulator: SimulatorServer, run_job: RunJob, shown: str
) -> None:
    started = heard(chat_id=shown, began_at=time.time_ns(), ends_at=None)
    assert (await run_job("hear_webhook", kind="started", event=started)).result == {"status": "updated"}
    of_another = heard(ended_at=time.time_ns()) | {"shared_with": "+14155550101"}
    assert (await run_job("hear_webhook", kind="stopped", event=of_another)).result == {"status": "not_tracked"}
    stopped = heard(ended_at=time.time_ns())
    assert (await run_job("hear_webhook", kind="stopped", event=stopped)).result == {"status": "updated"}
    assert simulator.answers(endpoint="chat") == []


async def test_a_start_of_an_unknown_line_counts_because_it_costs_a_read_only(
    simulator: SimulatorServer, run_job: RunJob, shown: str
) -> None:
    simulator.fault("error", endpoint="chat", code=2005, replies=None)
    simulator.fault("error", endpoint="chats", code=2005, replies=None)
    done = await run_job("hear_webhook", kind="started", event=heard(ends_at=None))
    assert done.result == {"status": "updated"}


async def test_an_email_share_is_reported_when_no_answer_comes_about_another_chat(
    simulator: SimulatorServer, run_job: RunJob, redis: Redis, prefix: str, shown: str
) -> None:
    simulator.fault("error", endpoint="chats", code=4004, replies=None)
    event = heard(EMAIL, chat_id=shown, began_at=time.time_ns(), ends_at=None)
    done = await run_job("hear_webhook", kind="started", event=event)
    assert (done.result, len(done.waits)) == ({"status": "unreadable"}, WEBHOOK_TRIES - 1)
    # The same job, run again as after a crash, publishes nothing twice.
    assert (await run_job("hear_webhook", kind="started", event=event)).result == {"status": "unchanged"}
    assert (await types(redis, prefix)).count("sharing.unreadable") == 1


async def test_the_stop_of_an_unreadable_share_ends_nothing(
    simulator: SimulatorServer, run_job: RunJob, services: Services, shown: str
) -> None:
    event = heard(EMAIL, chat_id=shown, began_at=time.time_ns(), ends_at=None)
    assert (await run_job("hear_webhook", kind="started", event=event)).result == {"status": "unreadable"}
    event = heard(EMAIL, chat_id=shown, began_at=event["began_at"], ended_at=time.time_ns())
    assert (await run_job("hear_webhook", kind="stopped", event=event)).result == {"status": "not_tracked"}
    assert (await services.store.shares.load(shown)).live is not None


async def test_a_chat_whose_members_linq_does_not_tell_is_taken_at_its_word(
    simulator: SimulatorServer, run_job: RunJob, shown: str
) -> None:
    simulator.fault("error", endpoint="chat", code=2005, replies=None)
    event = heard(EMAIL, chat_id=shown, began_at=time.time_ns(), ends_at=None)
    assert (await run_job("hear_webhook", kind="started", event=event)).result == {"status": "updated"}


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"kind": "paused", "event": heard()},
        {"kind": "started", "event": None},
        {"kind": "started", "event": {}},
        {"kind": "stopped", "event": heard() | {"ended_at": "soon"}},
        {"kind": "stopped", "event": heard() | {"shared_by": 7}},
    ],
)
async def test_what_is_no_event_fails_in_words(run_job: RunJob, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidJobError) as failure:
        await run_job("hear_webhook", **arguments)
    assert ANNA not in str(failure.value)
