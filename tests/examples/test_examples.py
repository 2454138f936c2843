"""Each example does what it says, beside a real worker."""

import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from geojson_pydantic import Feature, Point

from tests.examples.conftest import EXAMPLES, TOKEN, Start, printed
from tests.support.cloudevents import read_events
from tests.support.node import MODULES, NODE, requires_node
from tests.support.ports import free_port
from tests.support.process import ROOT
from tests.support.stage import Stage
from tests.support.waiting import wait_until

pytestmark = pytest.mark.acceptance

FOLLOWING = [
    pytest.param([NODE, "follow.mjs"], "node", id="node", marks=requires_node),
    pytest.param([sys.executable, "follow.py"], "python", id="python"),
    pytest.param(
        ["sh", "follow.sh"],
        "shell",
        id="shell",
        marks=pytest.mark.skipif(shutil.which("redis-cli") is None, reason="redis-cli (redis-tools) is missing"),
    ),
]


def folder_of(example: str, tmp_path: Path) -> Path:
    """Copy an example to where a user would have it, beside the packages that it needs."""
    folder = shutil.copytree(EXAMPLES / example, tmp_path / example)
    if example == "node":
        (folder / "node_modules").symlink_to(MODULES)
    return folder


@pytest.mark.parametrize(("words", "example"), FOLLOWING)
async def test_who_follows_gets_every_event_once_until_the_share_ends(
    stage: Stage, start: Start, tmp_path: Path, words: list[str], example: str
) -> None:
    [chat] = stage.people(1)
    reference = "order 7"
    program = start(*words, chat, reference, folder=folder_of(example, tmp_path))
    await printed(program, '"location.updated"', times=2)
    assert "requested" in program.errors(), "the result of the job is told"
    [(_, first), *_] = await stage.redis.xrange(f"{stage.prefix}:events")
    await stage.redis.xadd(f"{stage.prefix}:events", first)  # published again, as after a failover
    await stage.client.untrack_location(chat)
    assert await program.finish() == 0

    events = read_events(program.lines())
    types = [event["type"] for event in events]
    assert types[:3] == ["location.requested", "location.sharing.started", "location.updated"]
    assert types[-1] == "location.tracking.ended"
    assert {event["reference"] for event in events} == {reference}
    ids = [event["id"] for event in events]
    assert ids == list(dict.fromkeys(entry["id"] for entry in await stage.entries(chat)))


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing")
async def test_who_listens_over_http_goes_on_where_the_connection_broke(
    stage: Stage, start: Start, tmp_path: Path
) -> None:
    [chat] = stage.people(1)
    port = str(free_port())
    serve = (sys.executable, "-m", "worker", "web")
    settings = {"PORT": port, "VIEW_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)}
    url = f"http://127.0.0.1:{port}"
    program = start("sh", "listen.sh", url, folder=EXAMPLES / "shell", VIEW_TOKEN=TOKEN)
    web = start(*serve, folder=tmp_path, **settings)
    await stage.request(chat)
    await printed(program, '"location.updated"', times=2)
    web.process.send_signal(signal.SIGTERM)
    assert await web.finish() == 0
    await stage.more_positions([chat], more=2)
    start(*serve, folder=tmp_path, **settings)
    await printed(program, '"location.updated"', times=6)

    events = read_events(program.lines())
    kept = [entry["id"] for entry in await stage.entries(chat)]
    assert [event["id"] for event in events] == kept[: len(events)], "nothing is missing, nothing comes twice"


async def test_the_service_knows_where_each_order_is(stage: Stage, start: Start) -> None:
    chat, nearby = stage.people(2)
    [at_the_door] = stage.people(1, recording=None)
    port = free_port()
    program = start(
        *(sys.executable, "-m", "uvicorn", "app:app", "--port", str(port)),
        folder=EXAMPLES / "service",
        PYTHONPATH=str(ROOT),
    )
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as client:

        async def position() -> httpx.Response | None:
            assert program.process.poll() is None, program.errors()
            try:
                return await client.get("/orders/7/position")
            except httpx.TransportError:
                return None

        await wait_until(position, "the service answers", deadline=30)
        asked = await client.post(f"/orders/7/courier/{chat}")
        assert (asked.status_code, asked.json()) == (202, {"status": "requested", "prompt": "sent"})

        async def known() -> Any:
            found = await position()
            return found.json() if found is not None and found.status_code == 200 else None

        found = await wait_until(known, "a position", deadline=30)
        feature = Feature[Point, dict[str, Any]].model_validate(found)
        assert feature.properties is not None
        assert feature.properties["chat_id"] == chat
        assert (await client.post("/orders/8/courier/none")).status_code == 422
        gone = await client.post("/orders/8/courier/00000000-0000-4000-8000-000000000000")
        assert (gone.status_code, gone.json()) == (409, {"detail": "chat_not_found"})

        there = await client.get(f"/couriers/{nearby}/now")
        assert there.status_code == 200, there.text
        assert Feature.model_validate(there.json())
        assert await stage.published(nearby, "location.tracking.ended"), "one position is enough"

        door = stage.simulator.place_ahead(at_the_door, 0.0)
        at = {"latitude": door.latitude, "longitude": door.longitude}
        assert (await client.post(f"/orders/9/delivery/{at_the_door}", params=at | {"latitude": 91})).status_code == 422
        assert (await client.get("/orders/9/arrival")).status_code == 404
        assert (await client.post(f"/orders/9/delivery/{at_the_door}", params=at)).status_code == 202

        async def arrived() -> str | None:
            answer = await client.get("/orders/9/arrival")
            return answer.json()["arrived_at"] if answer.status_code == 200 else None

        arrived_at = await wait_until(arrived, "the arrival", deadline=30)
        [entered] = await stage.entries(at_the_door, "location.place.entered")
        assert arrived_at == entered["time"]

        await stage.client.untrack_location(chat)

        async def forgotten() -> bool:
            answer = await position()
            return answer is not None and answer.status_code == 404

        await wait_until(forgotten, "no position any more", deadline=30)


def test_every_example_is_named_on_the_page() -> None:
    page = (EXAMPLES / "README.md").read_text()
    files = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.glob("*/*") if path.is_file()}
    assert files
    assert {name for name in files if f"]({name})" not in page} == set()
