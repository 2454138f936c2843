"""Arrivals and departures of people who move, through real workers that are killed, and where places may show up."""

import json
import time
from typing import Any

import httpx

from simulator.movement import lively_offsets
from tests.support.ports import free_port
from tests.support.process import leaks
from tests.support.stage import RECORDING, Stage
from tests.support.waiting import wait_until

AHEAD = (0.0, 120.0, 300.0)  # seconds of simulated time, 60 of which pass in a real second
NAME = "Zimtschneckenhaus"
SECRET_PLACE = {"name": NAME, "latitude": 52.548213, "longitude": 13.467129, "radius": 8321.25}


def places_ahead(stage: Stage, chat: str) -> list[dict[str, Any]]:
    """Return places where the chat's contact is at first and passes later."""
    fixes = [stage.simulator.place_ahead(chat, seconds) for seconds in AHEAD]
    return [
        {"name": f"stop {number}", "latitude": fix.latitude, "longitude": fix.longitude, "radius": 60}
        for number, fix in enumerate(fixes)
    ]


async def test_who_passes_places_is_told_once_though_workers_are_killed(stage: Stage) -> None:
    offsets = lively_offsets(RECORDING)
    chats = [stage.people(1, offset=offsets[number * 3 % len(offsets)])[0] for number in range(8)]
    workers = [await stage.workers.start() for _ in range(2)]
    for chat in chats:
        assert (await stage.request(chat, places=places_ahead(stage, chat)))["status"] == "requested"

    async def crossed(times: int) -> None:
        async def enough() -> bool:
            kinds = [entry["type"] for entry in await stage.entries()]
            counts = [kinds.count(f"location.place.{kind}") for kind in ("entered", "left")]
            return min(counts) >= times

        await wait_until(enough, f"{times} arrivals and departures", deadline=60)

    await crossed(4)
    await stage.kill(workers[0])
    await stage.workers.start()
    await crossed(8)
    since = time.time()
    await stage.more_positions(chats)
    await stage.kill(workers[1])
    await stage.workers.start()
    await stage.more_positions(chats, more=2)
    stage.disturbed(since)
    await stage.finish()


async def test_a_share_ends_where_it_was_to_end_and_the_sharing_with_it(stage: Stage) -> None:
    [chat] = stage.people(1, offset=lively_offsets(RECORDING)[0])
    [start, _, last] = places_ahead(stage, chat)
    await stage.workers.start()
    await stage.request(chat, places=[start, last], until=last["name"], stop_when_done=True)
    [ended] = await stage.published(chat, "location.tracking.ended", deadline=60)
    assert json.loads(ended["data"])["reason"] == "arrived"
    entered = await stage.published(chat, "location.place.entered", times=2)
    told = [(data["place"]["name"], data["initial"]) for data in (json.loads(entry["data"]) for entry in entered)]
    assert told == [(start["name"], True), (last["name"], False)]
    await wait_until(lambda: stage.requests("stop"), "the order to end the share", deadline=20)
    await stage.finish()


async def test_each_share_arrives_once_though_workers_are_killed_on_the_way(stage: Stage) -> None:
    offsets = lively_offsets(RECORDING)
    chats = [stage.people(1, offset=offsets[number * 3 % len(offsets)])[0] for number in range(8)]
    workers = [await stage.workers.start() for _ in range(2)]
    for number, chat in enumerate(chats):
        # So wide that no read can miss a contact who passes, and each a little further along than the last.
        fix = stage.simulator.place_ahead(chat, 120.0 + 90.0 * number)
        goal = {"name": "goal", "latitude": fix.latitude, "longitude": fix.longitude, "radius": 250}
        await stage.request(chat, places=[goal], until="goal")

    async def arrived(times: int) -> None:
        async def enough() -> bool:
            return len(await stage.entries(kind="location.tracking.ended")) >= times

        await wait_until(enough, f"{times} shares have ended", deadline=60)

    await arrived(1)
    await stage.kill(workers[0])
    await stage.workers.start()
    await arrived(len(chats) // 2)
    await stage.kill(workers[1])
    await stage.workers.start()
    await arrived(len(chats))
    shares = await stage.finish()
    assert len(shares) == len(chats)
    for share in shares.values():
        ended = json.loads(share.entries[-1]["data"])
        assert ended["reason"] == "arrived"
        assert share.types()[-2:] == ["location.place.entered", "location.tracking.ended"]
        assert [share.types().count(kind) for kind in set(share.types()[-2:])] == [1, 1]


async def test_no_log_metric_key_or_status_tells_a_place(stage: Stage) -> None:
    """LOG_LEVEL is DEBUG here, so that the workers log all they can."""
    port = free_port()
    [chat, other] = stage.people(2, sharing=True)
    worker = await stage.workers.start(METRICS_PORT=str(port))
    await stage.request(chat, places=[SECRET_PLACE])
    await stage.published(chat, "location.place.entered")
    shown = str(SECRET_PLACE["name"]), "52.548213", "13.467129", "8321.25"
    spelt = f"{NAME}:52.548213,13.467129,8321.25"
    printed = [
        await stage.workers.command("track", other, "--place", spelt, "--until", NAME, "--wait"),
        await stage.workers.command("set-places", chat, "--place", spelt, "--wait"),
        await stage.workers.command("set-places", chat, "--place", spelt.replace("8321.25", "3"), "--wait"),
        await stage.workers.command("status", "--all"),
        await stage.workers.command("status", "--json", chat),
        await stage.workers.command("doctor"),
    ]
    await stage.published(other, "location.tracking.ended")
    # A job written by hand, so that neither the client nor the command line checks it.
    refused = {**SECRET_PLACE, "radius": -1}
    job: dict[str, Any] = {
        "t": None,
        "f": "set_places",
        "a": [],
        "k": {"chat_id": chat, "places": [refused, refused]},
        "et": 0,
    }
    await stage.redis.set(f"arq:job:{stage.prefix}", json.dumps(job), px=60_000)
    await stage.redis.zadd(f"{stage.prefix}:jobs", {stage.prefix: 0})
    await worker.logged("job failed")
    async with httpx.AsyncClient(trust_env=False) as http:
        metrics = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
    assert "location_positions_total" in metrics
    keys = [key.decode() async for key in stage.redis.scan_iter(f"{stage.prefix}:*")]
    for text in (worker.log(), metrics, "\n".join(keys), *(one.stdout + one.stderr for one in printed)):
        assert leaks(text, iter(shown)) == set(), text
    assert printed[0].returncode == 0
