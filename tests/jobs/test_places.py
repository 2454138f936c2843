"""Places of a share: what a job names, what is published of them, and how they change."""

import json
from typing import Any

import pytest

from simulator.harness import SimulatorServer
from tests.support.jobs import RunJob, everything
from tests.support.oracle import Entry, read_entries
from tests.support.waiting import wait_until
from worker.jobs.arguments import InvalidJobError
from worker.jobs.services import Services

LONGITUDE, LATITUDE = 13.4, 52.5
DEPOT = {"name": "depot", "latitude": LATITUDE, "longitude": LONGITUDE, "radius": 200}
PORT = {"name": "port", "latitude": LATITUDE + 0.1, "longitude": LONGITUDE, "radius": 200}
OFTEN: dict[str, Any] = {"min_interval": 0.1, "max_interval": 0.2}  # seconds between two reads


async def entries(services: Services) -> list[Entry]:
    return read_entries(await services.store.redis.xrange(services.store.keys.events))


async def crossings(services: Services) -> list[tuple[str, str]]:
    return [
        (entry["type"].rpartition(".")[2], json.loads(entry["data"])["place"]["name"])
        for entry in await entries(services)
        if entry["type"].startswith("location.place.")
    ]


async def polled_until(services: Services, expected: list[tuple[str, str]]) -> None:
    """Poll until these crossings, and no others, are on the stream."""

    async def told() -> bool:
        await services.need_engine().poll_due(0.3)
        return await crossings(services) == expected

    await wait_until(told, f"crossings {expected}", deadline=20)


async def test_arrivals_and_departures_are_published_until_the_share_arrives(
    services: Services, simulator: SimulatorServer, run_job: RunJob
) -> None:
    chat = simulator.add_person(sharing=True)
    simulator.set_position(chat, None, LONGITUDE, LATITUDE)
    await run_job("track_location", chat_id=chat, places=[DEPOT, PORT], until="port", **OFTEN)
    await polled_until(services, [("entered", "depot")])
    simulator.set_position(chat, None, LONGITUDE, LATITUDE + 0.05)
    await polled_until(services, [("entered", "depot"), ("left", "depot")])
    simulator.set_position(chat, None, LONGITUDE, LATITUDE + 0.1)
    await polled_until(services, [("entered", "depot"), ("left", "depot"), ("entered", "port")])
    last = (await entries(services))[-1]
    assert (last["type"], json.loads(last["data"])["reason"]) == ("location.tracking.ended", "arrived")


async def test_places_change_while_a_chat_is_tracked(
    services: Services, simulator: SimulatorServer, run_job: RunJob
) -> None:
    chat = simulator.add_person(sharing=True)
    simulator.set_position(chat, None, LONGITUDE, LATITUDE)
    assert (await run_job("set_places", chat_id=chat, places=[DEPOT])).result == {"status": "not_tracked"}
    await run_job("track_location", chat_id=chat, **OFTEN)
    await polled_until(services, [])
    assert (await run_job("set_places", chat_id=chat, places=[DEPOT])).result == {"status": "set"}
    simulator.set_position(chat, None, LONGITUDE, LATITUDE + 0.0001)
    await polled_until(services, [("entered", "depot")])
    assert (await run_job("set_places", chat_id=chat, places=[])).result == {"status": "set"}
    simulator.set_position(chat, None, LONGITUDE, LATITUDE + 0.05)
    await polled_until(services, [("entered", "depot")])


async def test_forgetting_a_person_erases_arrivals_too(
    services: Services, simulator: SimulatorServer, run_job: RunJob, prefix: str
) -> None:
    chat = simulator.add_person(sharing=True)
    simulator.set_position(chat, None, LONGITUDE, LATITUDE)
    await run_job("track_location", chat_id=chat, places=[DEPOT], **OFTEN)
    await polled_until(services, [("entered", "depot")])
    handle = simulator.handle_of(chat)
    await run_job("forget_handle", handle=handle, job_id="forget")
    assert handle not in str(await everything(services.store.redis, prefix))
    assert await crossings(services) == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"places": [{**DEPOT, "radius": 19}]}, "places.0.radius"),
        ({"places": [{**DEPOT, "radius": 100_001}]}, "places.0.radius"),
        ({"places": [{**DEPOT, "latitude": 91}]}, "places.0.latitude"),
        ({"places": [{**DEPOT, "longitude": "13.4"}]}, "places.0.longitude"),
        ({"places": [{**DEPOT, "name": ""}]}, "places.0.name"),
        ({"places": [{**DEPOT, "name": "a\nb"}]}, "places.0.name"),
        ({"places": [PORT, {**DEPOT, "note": "x"}]}, "places.1.note"),
        ({"places": [{name: DEPOT[name] for name in ("name", "latitude", "longitude")}]}, "places.0.radius"),
        ({"places": ["depot"]}, "places.0"),
        ({"places": "depot:52.5,13.4,200"}, "places"),
        ({"places": [{**DEPOT, "name": str(number)} for number in range(17)]}, "places"),
        ({"places": [DEPOT, DEPOT]}, "places"),
        ({"places": DEPOT}, "places"),
        ({"places": [DEPOT], "until": "port"}, "until"),
        ({"until": "depot"}, "until"),
    ],
)
async def test_what_is_no_place_is_refused_without_repeating_where_it_is(
    run_job: RunJob, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidJobError) as refused:
        await run_job("track_location", chat_id="3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13", **changes)
    [fault] = refused.value.detail
    assert fault["field"] == field
    is_wrong_radius = field.endswith("radius") and not fault["message"].startswith("missing")
    assert ("given" in fault) is is_wrong_radius, "name and coordinates say where somebody is"
