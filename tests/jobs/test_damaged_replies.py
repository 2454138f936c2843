"""Replies that are damaged, or not Linq's: what they do to the job's result and the stream."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, get_args

import pytest
from redis.asyncio import Redis

from config.settings import Settings
from simulator.faults import Damage
from simulator.harness import SimulatorServer
from tests.support.jobs import RunJob
from tests.support.waiting import wait_until
from worker.domain import prompts
from worker.jobs.services import Services
from worker.linq.client import LinqError

CONTACT = "+12025550147"
LINE = "+14155550100"
PAIR: dict[str, Any] = {"to": CONTACT, "from": LINE}
OTHER_PAIR: dict[str, Any] = {"to": "+12025550199", "from": LINE}
DAMAGES = get_args(Damage)
COOLDOWN = 0.5


Published = Callable[[], Awaitable[list[tuple[str, dict[str, Any]]]]]


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(prompts, "UNSENT_SECONDS", 0.0)  # the least wait, which is longer than this cool-down
    return settings.model_copy(update={"min_poll_seconds": 0.1, "request_cooldown_seconds": COOLDOWN})


@pytest.fixture
def published(redis: Redis, prefix: str) -> Published:
    """Return the types of the events so far, in order, with their data."""

    async def read() -> list[tuple[str, dict[str, Any]]]:
        rows = await redis.xrange(f"{prefix}:events")
        return [(fields[b"type"].decode().removeprefix("location."), json.loads(fields[b"data"])) for _, fields in rows]

    return read


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_read_shows_its_position(
    simulator: SimulatorServer, run_job: RunJob, services: Services, published: Published, damage: Damage
) -> None:
    chat = simulator.add_person(CONTACT, sharing=True)
    simulator.fault("damaged", endpoint="read", damage=damage, replies=None)
    await run_job("track_location", chat_id=chat, follow=False)
    await services.need_engine().poll_now(chat)
    assert [kind for kind, _ in await published()] == ["sharing.started", "updated", "tracking.ended"]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_refusal_keeps_its_code(
    simulator: SimulatorServer, run_job: RunJob, services: Services, damage: Damage
) -> None:
    chat = simulator.add_person(CONTACT, accepts_after=None)
    simulator.fault("error", endpoint="request", code=2009, retry_after=60, damage=damage)
    assert (await run_job("request_location", chat_id=chat)).result["prompt"] == "waiting"
    group = simulator.add_chat([CONTACT, "+12025550148"])
    simulator.fault("error", endpoint="request", code=2016, damage=damage)
    assert (await run_job("request_location", job_id="group", chat_id=group)).result["reason"] == "group_chat"
    simulator.fault("error", endpoint="stop", code=2011, damage=damage)
    assert (await run_job("stop_sharing", job_id="stop", chat_id=chat, handle=CONTACT, runs=1)).result is None
    assert await services.store.account_pause.state() is not None
    await services.store.account_pause.end()


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_page_of_chats_is_read(simulator: SimulatorServer, run_job: RunJob, damage: Damage) -> None:
    chat = simulator.add_person(CONTACT, accepts_after=None)
    simulator.fault("damaged", endpoint="chats", damage=damage)
    assert (await run_job("track_location", **PAIR)).result["chat_id"] == chat


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_answer_of_cherts_is_a_pin_that_was_sent(
    simulator: SimulatorServer, run_job: RunJob, damage: Damage
) -> None:
    simulator.fault("damaged", endpoint="pin", damage=damage)
    done = await run_job("send_pin", phone=CONTACT, latitude=51.5, longitude=-0.1, label="London Eye")
    assert (done.result["status"], done.waits) == ("queued", [])


async def test_a_device_without_a_fix_costs_nobody_else_anything(
    simulator: SimulatorServer, run_job: RunJob, services: Services, published: Published
) -> None:
    bert = "+12025550148"
    for handle in (CONTACT, bert):
        simulator.add_person(handle, sharing=True)
    group = simulator.add_chat([CONTACT, bert])
    simulator.fault("malformed", endpoint="read", shape="no_fix")
    await run_job("track_location", chat_id=group)
    await services.need_engine().poll_now(group)
    events = await published()
    assert [kind for kind, _ in events] == ["sharing.started", "updated"]
    assert events[0][1]["handle"] == bert
    store = services.store
    [(_, letter)] = await store.redis.xrange(store.keys.dead_letters)
    assert CONTACT not in letter[b"detail"].decode()


@pytest.mark.parametrize("status", [400, 403, 404, 409, 410])
async def test_a_prompt_that_a_proxy_refused_was_not_sent_and_goes_out_after_the_cool_down(
    simulator: SimulatorServer, run_job: RunJob, services: Services, published: Published, status: int
) -> None:
    chat = simulator.add_person(CONTACT, accepts_after=None)
    simulator.fault("html", endpoint="request", status=status, after_work=False)
    done = await run_job("request_location", chat_id=chat)
    assert (done.result["status"], done.result["prompt"]) == ("requested", "waiting")

    def prompted() -> int:
        services.need_engine().wake()
        return simulator.prompts(chat)

    await wait_until(prompted, "the prompt has been sent")
    refused, sent = simulator.answers(endpoint="request")
    assert sent.received_monotonic - refused.sent_monotonic >= COOLDOWN - 0.05
    assert [kind for kind, _ in await published()] == ["requested"]


@pytest.mark.parametrize("endpoint", ["chats", "create_chat"])
async def test_a_proxy_neither_finds_nor_refuses_a_chat(
    simulator: SimulatorServer, run_job: RunJob, endpoint: Any
) -> None:
    simulator.fault("html", endpoint=endpoint, status=404, after_work=False)
    done = await run_job("request_location", **PAIR, message="Hello!")
    assert (done.result["status"], len(done.waits)) == ("requested", 1)
    simulator.fault("html", endpoint=endpoint, status=403, after_work=False, replies=None)
    with pytest.raises(LinqError, match="HTTP 403"):
        await run_job("request_location", job_id="another", **OTHER_PAIR, message="Hello!")
