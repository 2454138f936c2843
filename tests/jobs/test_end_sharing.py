"""`end_sharing`: what the end of a share with `stop_when_done` queues, and what is known where Linq refuses it."""

import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from simulator.faults import Kind
from simulator.harness import SimulatorServer
from tests.support.jobs import RunJob
from tests.support.waiting import wait_until
from worker import metrics
from worker.jobs.services import Services
from worker.linq.client import LinqError

CONTACT = "+12025550147"
SHARE = "5b1e8a0c-6a36-4d06-8a5b-0c8f6f6f2a11"


@pytest.fixture
def chat_id(simulator: SimulatorServer) -> str:
    """Return the chat of a contact who is sharing."""
    return simulator.add_person(CONTACT, sharing=True)


@pytest.fixture
def order(chat_id: str) -> dict[str, Any]:
    return {"chat_id": chat_id, "handle": CONTACT, "share_id": SHARE}


async def letters(services: Services) -> list[dict[bytes, bytes]]:
    return [fields for _, fields in await services.store.redis.xrange(services.store.keys.dead_letters)]


async def poll_until(services: Services, is_true: Callable[[], Awaitable[bool]]) -> None:
    async def polled() -> bool:
        await services.need_engine().poll_due(0.3)
        return await is_true()

    await wait_until(polled, "what a poll brings", deadline=20)


async def test_linq_is_asked_to_end_it(simulator: SimulatorServer, run_job: RunJob, order: dict[str, Any]) -> None:
    assert (await run_job("end_sharing", **order)).result == {"status": "stopping"}
    assert (await run_job("end_sharing", **order)).result == {"status": "not_sharing"}
    assert len(simulator.answers(endpoint="stop")) == 2


@pytest.mark.parametrize("fault", [{"code": 3006}, {"code": 1007, "retry_after": 38}, {"status": 503}], ids=str)
async def test_what_may_pass_is_tried_again(
    simulator: SimulatorServer, run_job: RunJob, services: Services, order: dict[str, Any], fault: dict[str, Any]
) -> None:
    simulator.fault("error", endpoint="stop", **fault)
    done = await run_job("end_sharing", **order)
    assert (done.result, len(done.waits)) == ({"status": "stopping"}, 1)
    assert await letters(services) == []


async def test_a_chat_that_is_tracked_again_keeps_its_sharing_and_tells_of_its_end(
    simulator: SimulatorServer, run_job: RunJob, services: Services, chat_id: str, order: dict[str, Any]
) -> None:
    await run_job("track_location", chat_id=chat_id, job_id=str(uuid.uuid4()))
    assert (await run_job("end_sharing", **order)).result == {"status": "still_needed"}
    assert simulator.answers(endpoint="stop") == []


async def test_a_contact_whom_another_tracked_chat_shows_goes_on_sharing(
    simulator: SimulatorServer, run_job: RunJob, services: Services, order: dict[str, Any]
) -> None:
    group = simulator.add_chat([CONTACT, "+12025550199"])
    await run_job("track_location", chat_id=group)

    async def is_shown() -> bool:
        return group in await services.store.shares.shown_in(CONTACT)

    await poll_until(services, is_shown)
    assert (await run_job("end_sharing", **order)).result == {"status": "still_needed"}


@pytest.mark.parametrize(
    ("kind", "fault"),
    [("error", {"code": 2005}), ("html", {"status": 403, "after_work": False, "replies": None})],
    ids=["Linq's word", "a page in between"],
)
async def test_a_refusal_is_a_dead_letter_that_carries_the_reference(
    *,
    simulator: SimulatorServer,
    run_job: RunJob,
    services: Services,
    chat_id: str,
    kind: Kind,
    fault: dict[str, Any],
) -> None:
    simulator.fault(kind, endpoint="stop", **fault)
    before = metrics.DEAD_LETTERS.labels("job")._value.get()
    tracked = await run_job(
        "track_location", chat_id=chat_id, follow=False, reference="order 7", job_id=str(uuid.uuid4())
    )

    async def has_ended() -> bool:
        return (await services.store.shares.load(chat_id)).live is None

    await poll_until(services, has_ended)
    share_id = tracked.result["share_id"]
    with pytest.raises(LinqError, match="403"):
        await run_job("end_sharing", chat_id=chat_id, handle=CONTACT, share_id=share_id)
    [letter] = await letters(services)
    assert (letter[b"kind"], letter[b"reason"], letter[b"reference"]) == (b"job", b"sharing_not_ended", b"order 7")
    assert json.loads(letter[b"payload"])["k"] == {"chat_id": chat_id, "handle": CONTACT, "share_id": share_id}
    assert "403" in json.loads(letter[b"detail"])["fault"]
    assert metrics.DEAD_LETTERS.labels("job")._value.get() == before + 1
