"""One fresh position from a real worker: what the client returns, and that the contact's sharing ends afterwards."""

import json
import time
import uuid
from datetime import datetime

import pytest

from location_client import Feature, NotLocatedError, QueuedJob
from simulator.addresses import address_of
from simulator.movement import Fix
from tests.support.stage import Stage
from tests.support.waiting import wait_until

AN_HOUR = 3600.0
DEPOT = (13.4, 52.5)
SPEED = 60.0  # of the simulated time: times given to the simulator are in its seconds


def sharing(stage: Stage) -> list[str]:
    """Return the handles of the contacts who are sharing."""
    return [handle for chat in stage.simulator.state()["chats"] for handle in chat["sharing"]]


def end_of(stage: Stage, position: Feature) -> QueuedJob[dict[str, str]]:
    """Return the job that ends the sharing, by its id as in docs/reference/jobs.md."""
    told = position["properties"]
    namespace = uuid.UUID("0b7d6d0a-5f0e-5b1c-9d55-1f5a9f5f6c22")
    return QueuedJob(str(uuid.uuid5(namespace, f"{told['share_id']} {told['handle']}")), stage.client)


async def test_the_client_waits_for_the_live_position_and_ends_the_sharing_once(stage: Stage) -> None:
    stage.simulator.change_habits(live_after=4 * SPEED, stop_takes=2 * SPEED)
    [chat] = stage.people(1, stored_age=AN_HOUR * SPEED)
    await stage.workers.start()
    asked_at = time.time()
    found = await stage.client.locate(
        chat, max_age=120, timeout=30, stop_when_done=True, min_interval=0.2, max_interval=0.2
    )
    old, live = [json.loads(entry["data"]) for entry in await stage.published(chat, "location.updated", times=2)]
    assert found == live
    ages = [asked_at - datetime.fromisoformat(one["properties"]["updated_at"]).timestamp() for one in (old, live)]
    assert ages[0] > AN_HOUR - 60
    assert ages[1] < 0, "the phone spoke after the job was queued"
    assert [one["properties"]["address"] for one in (old, live)] == [
        address_of(Fix(*one["geometry"]["coordinates"]))[0] for one in (old, live)
    ]
    entries = await stage.published(chat, "location.tracking.ended")
    assert '"first_position"' in entries[0]["data"]
    await wait_until(lambda: stage.requests("stop"), "the order to end the share", deadline=20)
    [worker] = stage.workers.started
    await worker.logged("sharing_ended")
    assert await end_of(stage, live).result(timeout=20) == {"status": "stopping"}
    await wait_until(lambda: not sharing(stage), "the end of sharing", deadline=20)
    await stage.finish()
    assert len(stage.requests("stop")) == 1


async def test_positions_go_on_until_the_phone_has_carried_out_the_order_to_stop(stage: Stage) -> None:
    stage.simulator.change_habits(stop_takes=5 * SPEED)
    [chat] = stage.people(1, sharing=True)
    handle = stage.simulator.handle_of(chat)
    await stage.workers.start()
    await stage.request(chat)
    await stage.published(chat, "location.updated")
    ordered = await (await stage.client.stop_sharing(chat_id=chat, handle=handle)).result()
    assert ordered["status"] == "stopping"
    await stage.more_positions([chat])
    assert sharing(stage) == [handle]
    [stopped] = await stage.published(chat, "location.sharing.stopped")
    assert json.loads(stopped["data"])["reason"] == "disappeared"
    await stage.published(chat, "location.tracking.ended")
    await stage.finish()


async def test_an_address_that_comes_later_than_its_position_is_news_once(stage: Stage) -> None:
    [later] = stage.people(1, recording=None, address_after=3 * SPEED)
    [never] = stage.people(1, address_after=None)
    await stage.workers.start()
    for chat in (later, never):
        await stage.request(chat)
    told = [json.loads(entry["data"]) for entry in await stage.published(later, "location.updated", times=2)]
    address, locality = address_of(Fix(*told[1]["geometry"]["coordinates"]))
    said = [(one["properties"]["address"], one["properties"]["locality"]) for one in told]
    assert said == [(None, None), (address, locality)]
    assert told[0]["properties"]["updated_at"] == told[1]["properties"]["updated_at"]
    seen = len(stage.requests("read", later))
    await stage.more_positions([never], more=3)
    await wait_until(lambda: len(stage.requests("read", later)) > seen + 3, "more reads", deadline=30)
    assert len(await stage.entries(later, "location.updated")) == 2
    known = [json.loads(entry["data"]) for entry in await stage.entries(never, "location.updated")]
    assert all(one["properties"]["address"] is None for one in known)
    await stage.finish()


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
        await stage.client.locate(chat, max_age=120, timeout=5)
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


async def test_the_command_line_waits_no_longer_than_there_is_something_to_wait_for(stage: Stage) -> None:
    [refused] = stage.people(1, service="SMS")
    [silent] = stage.people(1, recording=None, accepts_after=None)
    await stage.workers.start()
    wanted = ["request", "--once", "--max-age", "120", "--wait", "--timeout"]
    shown = await stage.workers.command(*wanted, "1000", refused)
    assert (shown.returncode, "not_imessage" in shown.stdout) == (1, True)
    shown = await stage.workers.command(*wanted, "1", silent)
    assert (shown.returncode, "1 fresh position not there within 1 s" in shown.stderr) == (1, True)


async def test_the_command_line_takes_what_is_known_of_a_chat_that_is_tracked_already(stage: Stage) -> None:
    [chat] = stage.people(1, recording=None, sharing=True)
    stage.simulator.set_position(chat, None, *DEPOT)
    await stage.workers.start()
    await stage.request(chat)
    await stage.published(chat, "location.updated")
    shown = await stage.workers.command("request", "--once", "--max-age", "120", "--wait", "--json", chat)
    assert json.loads(shown.stdout)["geometry"]["coordinates"] == list(DEPOT)
