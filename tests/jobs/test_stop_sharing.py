"""`stop_sharing`: Linq is asked to end a contact's sharing."""

import uuid
from typing import Any

import pytest

from simulator.harness import SimulatorServer
from tests.support.jobs import RunJob
from worker.jobs.services import Services
from worker.linq.client import LinqError

CONTACT = "+12025550147"


@pytest.fixture
def chat_id(simulator: SimulatorServer) -> str:
    """Return the chat of a contact who is sharing."""
    return simulator.add_person(CONTACT, sharing=True)


def stops(simulator: SimulatorServer) -> list[Any]:
    return simulator.answers(endpoint="stop")


async def test_linq_takes_the_order(simulator: SimulatorServer, run_job: RunJob, chat_id: str) -> None:
    assert (await run_job("stop_sharing", chat_id=chat_id, handle=CONTACT)).result == {"status": "stopping"}
    (answer,) = stops(simulator)
    assert (answer.method, answer.chat_id, answer.request) == ("DELETE", chat_id, {"handle": CONTACT})


async def test_nothing_shared_is_said_so(simulator: SimulatorServer, run_job: RunJob, chat_id: str) -> None:
    simulator.stop_sharing(CONTACT)
    assert (await run_job("stop_sharing", chat_id=chat_id, handle=CONTACT)).result == {"status": "not_sharing"}
    unknown = str(uuid.uuid4())
    assert (await run_job("stop_sharing", chat_id=unknown, handle=CONTACT)).result == {"status": "not_sharing"}


@pytest.mark.parametrize("fault", [{"code": 3006}, {"code": 4004}, {"status": 408}], ids=str)
async def test_what_may_pass_is_tried_again(
    simulator: SimulatorServer, run_job: RunJob, chat_id: str, fault: dict[str, Any]
) -> None:
    simulator.fault("error", endpoint="stop", **fault)
    simulator.fault("reset", endpoint="stop")
    done = await run_job("stop_sharing", chat_id=chat_id, handle=CONTACT)
    assert (done.result, len(done.waits)) == ({"status": "stopping"}, 2)


async def test_a_page_of_something_in_between_is_not_linqs_word(
    simulator: SimulatorServer, run_job: RunJob, chat_id: str
) -> None:
    simulator.fault("html", endpoint="stop", status=404, after_work=False, replies=3)
    done = await run_job("stop_sharing", chat_id=chat_id, handle=CONTACT)
    assert (done.result, len(done.waits)) == ({"status": "stopping"}, 3)


@pytest.mark.parametrize("status", [400, 403, 404, 409, 410])
async def test_a_page_that_stays_fails_the_job_with_its_status(
    simulator: SimulatorServer, run_job: RunJob, chat_id: str, status: int
) -> None:
    simulator.fault("html", endpoint="stop", status=status, after_work=False, replies=None)
    with pytest.raises(LinqError, match=f"HTTP {status}"):
        await run_job("stop_sharing", chat_id=chat_id, handle=CONTACT)
    assert len(stops(simulator)) == 4


async def test_a_page_with_401_pauses_everything(
    simulator: SimulatorServer, run_job: RunJob, services: Services, chat_id: str
) -> None:
    simulator.fault("html", endpoint="stop", status=401, after_work=False)
    assert (await run_job("stop_sharing", chat_id=chat_id, handle=CONTACT, runs=1)).result is None
    assert await services.store.account_pause.state() is not None
    await services.store.account_pause.end()


async def test_an_order_whose_answer_was_lost_ends_well(
    simulator: SimulatorServer, run_job: RunJob, chat_id: str
) -> None:
    simulator.fault("reset", endpoint="stop", after_work=True)
    assert (await run_job("stop_sharing", chat_id=chat_id, handle=CONTACT)).result == {"status": "not_sharing"}


async def test_a_retry_after_is_obeyed(simulator: SimulatorServer, run_job: RunJob, chat_id: str) -> None:
    simulator.fault("error", endpoint="stop", code=1007, retry_after=38)
    done = await run_job("stop_sharing", chat_id=chat_id, handle=CONTACT)
    assert (done.result, done.waits) == ({"status": "stopping"}, [38])


@pytest.mark.parametrize("code", [2004, 2011])
async def test_a_refused_account_pauses_everything(
    simulator: SimulatorServer, run_job: RunJob, services: Services, chat_id: str, code: int
) -> None:
    simulator.fault("error", endpoint="stop", code=code)
    done = await run_job("stop_sharing", chat_id=chat_id, handle=CONTACT, runs=3)
    assert (done.result, done.waits[0]) == (None, 60)
    pause = await services.store.account_pause.state()
    assert pause is not None
    assert str(code) in pause.reason
    assert len(stops(simulator)) == 1
    await services.store.account_pause.end()


@pytest.mark.parametrize("code", [1002, 2005, 2013])
async def test_a_refusal_fails_with_its_code_and_without_the_handle(
    simulator: SimulatorServer, run_job: RunJob, chat_id: str, code: int
) -> None:
    simulator.fault("error", endpoint="stop", code=code, message=f"{CONTACT} cannot be stopped")
    with pytest.raises(LinqError, match=f"code {code}") as refusal:
        await run_job("stop_sharing", chat_id=chat_id, handle=CONTACT)
    assert CONTACT not in str(refusal.value)


@pytest.mark.parametrize("handle", ["", "5550147", "nobody", 7, None])
async def test_what_is_no_handle_is_refused_before_linq_is_asked(
    simulator: SimulatorServer, run_job: RunJob, chat_id: str, handle: Any
) -> None:
    with pytest.raises(ValueError, match="handle"):
        await run_job("stop_sharing", chat_id=chat_id, handle=handle)
    assert stops(simulator) == []
