"""Webhooks from Linq's delivery to the event stream: the simulator, a web process and a worker, all real."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from config.settings import Settings
from simulator.clock import rfc3339
from simulator.embedded_redis import EmbeddedRedis
from simulator.harness import SimulatorServer
from simulator.world import Habits
from tests.support.oracle import Entry
from tests.support.process import WorkerProcess
from tests.support.stage import Stage, open_stage
from tests.support.waiting import wait_until
from tests.support.web import SECRET, STARTED, STOPPED, WebProcess, WebProcesses
from worker.store.store import Store

SPEED = 20.0  # an hour of simulated time in three minutes; Linq's retries are faster by the same factor
ANNA, BERT = "+12025550147", "+12025550148"
EMAIL = "anna@example.org"
OTHER_LINE = "+14155550101"
# While a request waits, at most one read every five seconds: anything found sooner was found by a webhook.
SELDOM = {"MIN_POLL_SECONDS": "20", "MAX_POLL_SECONDS": "60", "REQUEST_COOLDOWN_SECONDS": "600"}

pytestmark = pytest.mark.usefixtures("redis")  # at the end the fixture checks for keys that would never expire


class Setting(NamedTuple):
    """The processes of one test."""

    stage: Stage
    simulator: SimulatorServer
    web: WebProcess
    worker: WorkerProcess

    async def heard(self, count: int) -> list[str]:
        """Wait until `count` webhooks were applied; return the outcome of each."""
        await self.worker.logged("webhook_applied", times=count)
        return [line["outcome"] for line in self.worker.lines("webhook_applied")]

    async def types(self, chat_id: str) -> list[str]:
        return [entry["type"].removeprefix("location.") for entry in await self.stage.entries(chat_id)]

    async def ended(self, chat_id: str, *, deadline: float = 30) -> list[str]:
        """Wait for the end of the chat's share; return the types of its events, a run of positions as one."""
        await self.stage.published(chat_id, "location.tracking.ended", deadline=deadline)
        types = await self.types(chat_id)
        return [kind for index, kind in enumerate(types) if kind != "updated" or types[index - 1] != "updated"]

    def announce(self, event_type: str, handle: str, **data: Any) -> None:
        """Have an event delivered that did not happen in the simulator."""
        line = self.simulator.world.lines[0]
        self.simulator.announce(event_type, {"shared_by": handle, "shared_with": line} | data)


@pytest.fixture
def simulator() -> Iterator[SimulatorServer]:
    with SimulatorServer(habits=Habits(speed=SPEED), lines=("+14155550100", OTHER_LINE)) as server:
        yield server


@pytest.fixture
def environment_of_worker() -> dict[str, str]:
    """Return settings of the worker; tests parametrize them."""
    return SELDOM


@pytest.fixture
async def setting(
    simulator: SimulatorServer,
    redis_url: str,
    prefix: str,
    tmp_path: Path,
    environment_of_worker: dict[str, str],
) -> AsyncIterator[Setting]:
    webs = WebProcesses(tmp_path, REDIS_URL=redis_url, KEY_PREFIX=prefix)
    async with open_stage(simulator, redis_url, prefix, tmp_path) as stage:
        try:
            web = webs.launch()
            worker = await stage.workers.start(**environment_of_worker)
            await web.serves()
            simulator.subscribe(web.hook, secret=SECRET)
            yield Setting(stage, simulator, web, worker)
            for private in (ANNA, BERT, EMAIL):
                assert private not in web.log() + worker.log()
                assert private.removeprefix("+") not in web.log() + worker.log()
            await stage.workers.stop()
        finally:
            await webs.close()


def data_of(entry: Entry) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(entry["data"])
    return data


async def test_a_beginning_and_an_end_are_on_the_stream_by_their_webhooks(setting: Setting) -> None:
    simulator = setting.simulator
    chat = simulator.add_person(ANNA, accepts_after=2, shares_for=36_000)
    assert (await setting.stage.request(chat, reference="order-1"))["prompt"] == "sent"
    [started] = await setting.stage.published(chat, STARTED)
    share = simulator.world.shares[ANNA, simulator.world.lines[0]]
    assert data_of(started)["detected_by"] == "webhook"
    assert data_of(started)["began_at"] == rfc3339(share.began_at)
    assert data_of(started)["ends_at"] == rfc3339(share.ends_at or 0)
    assert started["subject"] == ANNA
    # Without the webhook the first position would be read 20 s later.
    await setting.stage.published(chat, "location.updated")
    simulator.stop_sharing(ANNA)
    assert await setting.ended(chat) == ["requested", "sharing.started", "updated", "sharing.stopped", "tracking.ended"]
    [stopped] = await setting.stage.entries(chat, STOPPED)
    assert data_of(stopped)["reason"] == "stopped"
    assert data_of(stopped)["ended_at"] == stopped["time"]
    assert simulator.prompts(chat) == 1


@pytest.mark.parametrize("environment_of_worker", [{"MIN_POLL_SECONDS": "0.3", "MAX_POLL_SECONDS": "1"}])
@pytest.mark.parametrize("kind", ["lose", "duplicate", "delay", "hold"])
async def test_lost_doubled_late_and_reordered_webhooks_end_in_the_same_share(setting: Setting, kind: Any) -> None:
    simulator = setting.simulator
    simulator.disturb(kind, events=None, seconds=1.5)
    chat = simulator.add_person(ANNA)
    await setting.stage.request(chat)
    await setting.stage.published(chat, "location.updated")
    simulator.stop_sharing(ANNA)
    assert await setting.ended(chat) == ["requested", "sharing.started", "updated", "sharing.stopped", "tracking.ended"]
    [ended] = await setting.stage.entries(chat, "location.tracking.ended")
    assert data_of(ended)["reason"] == "sharing_stopped"
    simulator.settle_deliveries()
    if kind != "lose":
        await setting.heard(2)
    assert (await setting.types(chat))[-1] == "tracking.ended"


async def test_a_start_that_comes_after_its_stop_begins_nothing(setting: Setting) -> None:
    simulator = setting.simulator
    chat = simulator.add_person(ANNA, accepts_after=None)
    await setting.stage.request(chat)
    now = time.time()
    times = {"began_at": rfc3339(now - 50), "chat_id": chat}
    setting.announce(STOPPED, ANNA, ended_at=rfc3339(now - 10), **times)
    await setting.heard(1)
    setting.announce(STARTED, ANNA, **times)
    assert (await setting.heard(2))[1] == "unchanged"
    assert await setting.types(chat) == ["requested"]
    # The contact may begin again later.
    setting.announce(STARTED, ANNA, began_at=rfc3339(time.time()), chat_id=chat)
    await setting.stage.published(chat, STARTED)


async def test_the_stop_of_an_older_share_ends_nothing(setting: Setting) -> None:
    simulator = setting.simulator
    chat = simulator.add_person(ANNA)
    await setting.stage.request(chat)
    await setting.stage.published(chat, "location.updated")
    share = simulator.world.shares[ANNA, simulator.world.lines[0]]
    for times in (
        {"began_at": rfc3339(share.began_at - 3600), "ended_at": rfc3339(time.time())},
        {"began_at": rfc3339(share.began_at - 3600), "chat_id": None},
        {"began_at": rfc3339(share.began_at - 0.001), "ended_at": rfc3339(share.began_at + 1), "chat_id": None},
    ):
        setting.announce(STOPPED, ANNA, **({"chat_id": chat} | times))
    assert await setting.heard(4) == ["updated", "unchanged", "unchanged", "unchanged"]
    assert "sharing.stopped" not in await setting.types(chat)
    simulator.stop_sharing(ANNA)
    assert (await setting.ended(chat))[-2:] == ["sharing.stopped", "tracking.ended"]


async def test_a_stop_ends_the_handles_share_in_every_tracked_chat_and_nobody_elses(setting: Setting) -> None:
    stage, simulator = setting.stage, setting.simulator
    chat = simulator.add_person(ANNA, sharing=True)
    simulator.add_person(BERT, sharing=True)
    both = simulator.add_chat([ANNA, BERT])
    alone = simulator.add_chat([ANNA, "+12025550149"])
    for tracked in (chat, both, alone):
        await (await stage.client.track_location(chat_id=tracked)).result()
        await stage.published(tracked, "location.updated", times=2 if tracked == both else 1)
    simulator.disturb("duplicate", seconds=0.5)
    simulator.stop_sharing(ANNA)
    for tracked in (chat, alone):
        assert (await setting.ended(tracked))[-2:] == ["sharing.stopped", "tracking.ended"]
    [stopped] = await stage.published(both, STOPPED)
    assert stopped["subject"] == ANNA
    assert (await setting.types(both))[-1] == "sharing.stopped"
    simulator.stop_sharing(BERT)
    assert (await setting.ended(both)).count("sharing.stopped") == 2
    for tracked in (chat, alone, both):
        assert (await setting.types(tracked)).count("tracking.ended") == 1


@pytest.mark.parametrize("marks_line", [True, False])
async def test_a_stop_with_another_line_ends_nothing(setting: Setting, marks_line: bool) -> None:
    stage, simulator = setting.stage, setting.simulator
    chat = simulator.add_person(ANNA, sharing=True)
    other = simulator.add_chat([ANNA], line=OTHER_LINE)
    simulator.start_sharing(ANNA, line=OTHER_LINE, chat_id=other)
    for tracked in (chat, other):
        await (await stage.client.track_location(chat_id=tracked)).result()
        await stage.published(tracked, "location.updated")
    simulator.stop_sharing(ANNA, line=OTHER_LINE)
    await setting.ended(other)
    assert await setting.types(chat) == ["sharing.started", "updated"]


async def test_without_a_chat_id_the_chat_is_found_by_the_pair(setting: Setting) -> None:
    stage, simulator = setting.stage, setting.simulator
    chat = simulator.add_person(ANNA, accepts_after=None)
    simulator.add_chat([ANNA, BERT])
    await stage.request(chat)
    simulator.start_sharing(ANNA)
    [started] = await stage.published(chat, STARTED)
    assert data_of(started)["detected_by"] == "webhook"
    await stage.published(chat, "location.updated")
    simulator.stop_sharing(ANNA)
    assert (await setting.ended(chat))[-2:] == ["sharing.stopped", "tracking.ended"]


async def test_a_share_announced_for_a_chat_that_nobody_tracks_begins_in_the_one_that_is(setting: Setting) -> None:
    stage, simulator = setting.stage, setting.simulator
    chat = simulator.add_person(ANNA, accepts_after=None)
    group = simulator.add_chat([ANNA, BERT])
    await stage.request(chat)
    simulator.start_sharing(ANNA, chat_id=group)
    await stage.published(chat, "location.updated")
    assert await setting.types(group) == []


async def test_a_prolonged_share_has_its_new_end_and_no_new_beginning(
    setting: Setting, redis_url: str, prefix: str
) -> None:
    stage, simulator = setting.stage, setting.simulator
    chat = simulator.add_person(ANNA, shares_for=36_000)
    await stage.request(chat)
    await stage.published(chat, "location.updated")
    store = Store(stage.redis, Settings(redis_url=redis_url, key_prefix=prefix))

    async def end() -> int | None:
        share = (await store.shares.load(chat)).live
        return None if share is None else share.people[0].ends_at

    before = await wait_until(end, "the planned end is known") or 0
    simulator.change_person(ANNA, shares_for=72_000)
    simulator.start_sharing(ANNA, chat_id=chat)

    async def is_later() -> bool:
        return (await end() or 0) > before

    await wait_until(is_later, "the planned end is later")
    simulator.change_person(ANNA, shares_for=None)
    simulator.start_sharing(ANNA, chat_id=chat)

    async def open_ended() -> bool:
        return await end() is None

    await wait_until(open_ended, "there is no planned end")
    assert (await setting.types(chat)).count("sharing.started") == 1


async def test_an_email_share_is_followed_in_the_chat_with_that_address_under_the_same_reference(
    setting: Setting,
) -> None:
    stage, simulator = setting.stage, setting.simulator
    readable = simulator.add_person(EMAIL)
    chat = simulator.add_person(ANNA, shares_as=EMAIL)
    await stage.request(chat, reference="order-9")
    [started] = await stage.published(readable, STARTED)
    assert (started["reference"], started["subject"]) == ("order-9", EMAIL)
    [updated] = await stage.published(readable, "location.updated")
    assert updated["reference"] == "order-9"
    assert "sharing.unreadable" not in await setting.types(chat)
    simulator.stop_sharing(ANNA)
    assert (await setting.ended(readable))[-2:] == ["sharing.stopped", "tracking.ended"]
    assert await setting.types(chat) == ["requested"]


async def test_an_email_share_that_no_chat_shows_is_reported_once_and_can_be_cured(setting: Setting) -> None:
    stage, simulator = setting.stage, setting.simulator
    chat = simulator.add_person(ANNA, shares_as=EMAIL, shares_for=3600)
    await stage.request(chat)
    [unreadable] = await stage.published(chat, "location.sharing.unreadable")
    assert data_of(unreadable)["shared_by"] == unreadable["subject"] == EMAIL
    assert "Messages" in data_of(unreadable)["remedy"]
    simulator.start_sharing(ANNA, chat_id=chat)  # a prolonged share is no news
    assert (await setting.heard(2))[1] == "unchanged"
    # The remedy: stop, and share again from the conversation.
    simulator.stop_sharing(ANNA)
    await setting.heard(3)
    simulator.change_person(ANNA, shares_as=None)
    simulator.start_sharing(ANNA, chat_id=chat)
    await stage.published(chat, "location.updated")
    assert await setting.types(chat) == ["requested", "sharing.unreadable", "sharing.started", "updated"]


async def test_an_unrequested_share_is_left_alone_unless_told_otherwise(setting: Setting) -> None:
    chat = setting.simulator.add_person(ANNA)
    setting.simulator.start_sharing(ANNA, chat_id=chat)
    setting.simulator.stop_sharing(ANNA)
    assert await setting.heard(2) == ["not_tracked", "not_tracked"]
    assert await setting.types(chat) == []
    assert setting.simulator.answers() == []  # nothing is tracked, so Linq is not asked


@pytest.mark.parametrize("environment_of_worker", [SELDOM | {"FOLLOW_UNREQUESTED": "true"}])
async def test_an_unrequested_share_is_followed_where_wanted(setting: Setting) -> None:
    stage, simulator = setting.stage, setting.simulator
    chat = simulator.add_person(ANNA)
    simulator.start_sharing(ANNA)  # without a chat id
    [started] = await stage.published(chat, STARTED)
    assert started["sequence"] == "1"
    assert "reference" not in started
    await stage.published(chat, "location.updated")
    simulator.stop_sharing(ANNA)
    assert await setting.ended(chat) == ["sharing.started", "updated", "sharing.stopped", "tracking.ended"]
    assert simulator.prompts(chat) == 0
    # Late webhooks of a share that is over change nothing, nor does a share that ended before it was heard of.
    now = time.time()
    outcomes: list[str] = []
    for began, ended in ((now - 60, now - 1), (now + 1, now + 2)):
        setting.announce(STOPPED, ANNA, began_at=rfc3339(began), ended_at=rfc3339(ended), chat_id=chat)
        outcomes = await setting.heard(max(2, len(outcomes)) + 1)
        setting.announce(STARTED, ANNA, began_at=rfc3339(began), chat_id=chat)
        outcomes = await setting.heard(len(outcomes) + 1)
    assert outcomes[2:] == ["not_tracked", "late"] * 2
    assert (await setting.types(chat))[-1] == "tracking.ended"


async def test_a_webhook_may_overtake_the_answer_to_the_prompt(setting: Setting) -> None:
    stage, simulator = setting.stage, setting.simulator
    simulator.fault("slow", endpoint="request", delay=3)
    chat = simulator.add_person(ANNA)
    result = await stage.request(chat)
    assert result["status"] == "requested"
    await stage.published(chat, "location.updated")
    await wait_until(lambda: simulator.answers(endpoint="request"), "the prompt is answered")
    assert simulator.prompts(chat) == 1
    simulator.stop_sharing(ANNA)
    assert await setting.ended(chat) == ["requested", "sharing.started", "updated", "sharing.stopped", "tracking.ended"]
    assert simulator.prompts(chat) == 1


@pytest.mark.parametrize("environment_of_worker", [SELDOM | {"FOLLOW_UNREQUESTED": "true"}])
@pytest.mark.parametrize("code", [1007, 3006, 2005])
async def test_a_webhook_waits_for_linq_where_it_has_to_ask(setting: Setting, code: int) -> None:
    simulator = setting.simulator
    chat = simulator.add_person(ANNA)
    simulator.fault("error", endpoint="chats", code=code, retry_after=1 if code == 1007 else None)
    simulator.start_sharing(ANNA)
    if code == 2005:
        assert await setting.heard(1) == ["not_tracked"]
        return
    await setting.stage.published(chat, "location.updated")


async def test_ending_a_share_through_linq_ends_it_on_the_stream(setting: Setting) -> None:
    stage, simulator = setting.stage, setting.simulator
    chat = simulator.add_person(ANNA)
    await stage.request(chat)
    await stage.published(chat, "location.updated")
    assert await (await stage.client.stop_sharing(chat, ANNA)).result() == {"status": "stopping"}
    assert (await setting.ended(chat))[-2:] == ["sharing.stopped", "tracking.ended"]
    [stopped] = await stage.entries(chat, STOPPED)
    assert data_of(stopped)["reason"] == "stopped"
    assert await (await stage.client.stop_sharing(chat, ANNA)).result() == {"status": "not_sharing"}


async def test_deliveries_while_redis_is_away_are_sent_again_and_taken_in(
    simulator: SimulatorServer, prefix: str, tmp_path: Path
) -> None:
    with EmbeddedRedis(persistence=True) as redis:
        webs = WebProcesses(tmp_path, REDIS_URL=redis.url, KEY_PREFIX=prefix)
        async with open_stage(simulator, redis.url, prefix, tmp_path) as stage:
            try:
                web = await webs.start()
                worker = await stage.workers.start(**SELDOM)
                setting = Setting(stage, simulator, web, worker)
                simulator.subscribe(web.hook, secret=SECRET)
                chat = simulator.add_person(ANNA, accepts_after=None)
                await stage.request(chat)
                redis.halt()
                simulator.start_sharing(ANNA, chat_id=chat)
                await wait_until(lambda: {a.status for a in simulator.attempts()} == {503}, "a delivery is put off")
                redis.restart()
                [started] = await stage.published(chat, STARTED, deadline=60)
                assert started["subject"] == ANNA
                await stage.published(chat, "location.updated", deadline=60)
                redis.pause()
                simulator.stop_sharing(ANNA)
                await wait_until(lambda: 503 in [a.status for a in simulator.attempts()[-1:]], "a delivery is put off")
                redis.resume()
                assert (await setting.ended(chat, deadline=60))[-2:] == ["sharing.stopped", "tracking.ended"]
                assert await setting.ended(chat) == [
                    "requested",
                    "sharing.started",
                    "updated",
                    "sharing.stopped",
                    "tracking.ended",
                ]
                await stage.workers.stop()
            finally:
                await webs.close()
