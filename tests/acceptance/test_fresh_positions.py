"""One fresh position from a real worker: what the client returns, and that the contact's share ends afterwards."""

import json
import time
from asyncio import gather

import pytest

from location_client import NotLocatedError
from tests.support.stage import Stage
from tests.support.waiting import wait_until

AN_HOUR = 3600.0
DEPOT = (13.4, 52.5)


async def test_the_client_waits_for_the_live_position_and_ends_the_sharing_once(stage: Stage) -> None:
    [chat] = stage.people(1, recording=None)
    stage.simulator.set_position(chat, None, *DEPOT, updated_at=time.time() - AN_HOUR)
    await stage.workers.start()
    locating = stage.client.locate(chat, max_age=120, timeout=30, stop_when_done=True)

    async def the_phone_wakes_up() -> None:
        await stage.published(chat, "location.updated")
        stage.simulator.set_position(chat, None, 13.5, 52.6)

    found, _ = await gather(locating, the_phone_wakes_up())
    assert found["geometry"]["coordinates"] == [13.5, 52.6]
    entries = await stage.published(chat, "location.tracking.ended")
    assert '"first_position"' in entries[0]["data"]
    await wait_until(lambda: stage.requests("stop"), "the order to end the share", deadline=20)
    [worker] = stage.workers.started
    await worker.logged("sharing_ended")
    assert len(stage.requests("stop")) == 1
    assert [handle for one in stage.simulator.state()["chats"] for handle in one["sharing"]] == []


async def test_a_share_that_somebody_else_needs_is_not_ended(stage: Stage) -> None:
    [chat] = stage.people(1, sharing=True)
    handle = stage.simulator.handle_of(chat)
    group = stage.simulator.add_chat([handle, "+12025550199"])
    worker = await stage.workers.start()
    await (await stage.client.track_location(chat_id=group, min_interval=0.3)).result()
    await stage.published(group, "location.updated")
    await stage.client.locate(chat, timeout=30, stop_when_done=True)
    await worker.logged("sharing_ended")
    assert worker.lines("sharing_ended")[0]["outcome"] == "still_needed"
    assert stage.requests("stop") == []


async def test_a_contact_who_shows_nothing_fresh_is_not_located(stage: Stage) -> None:
    [chat] = stage.people(1, recording=None)
    stage.simulator.set_position(chat, None, *DEPOT, updated_at=time.time() - AN_HOUR)
    await stage.workers.start()
    with pytest.raises(NotLocatedError) as failure:
        await stage.client.locate(chat, max_age=120, timeout=30, accept_within=3)
    assert failure.value.reason == "request_expired"
    assert failure.value.last is not None
    assert failure.value.last["geometry"]["coordinates"] == list(DEPOT)


async def test_a_refused_request_says_why(stage: Stage) -> None:
    [chat] = stage.people(1, service="SMS")
    await stage.workers.start()
    with pytest.raises(NotLocatedError) as failure:
        await stage.client.locate(chat, timeout=30)
    assert failure.value.reason == "not_imessage"


async def test_the_command_line_prints_the_position_itself(stage: Stage) -> None:
    [chat, silent] = stage.people(2, recording=None)
    stage.simulator.set_position(chat, None, *DEPOT)
    stage.simulator.set_position(silent, None, *DEPOT, updated_at=time.time() - AN_HOUR)
    await stage.workers.start()
    wanted = ["--once", "--max-age", "120", "--accept-within", "3", "--wait"]
    shown = await stage.workers.command("request", *wanted, chat)
    assert (shown.returncode, "52.50000, 13.40000" in shown.stdout) == (0, True)
    [other] = stage.people(1, recording=None)
    stage.simulator.set_position(other, None, *DEPOT)
    shown = await stage.workers.command("request", *wanted, "--json", other)
    assert json.loads(shown.stdout)["geometry"] == {"type": "Point", "coordinates": [13.4, 52.5]}
    shown = await stage.workers.command("request", *wanted, "--json", silent)
    assert shown.returncode == 1
    assert json.loads(shown.stdout)["result"]["reason"] == "request_expired"
