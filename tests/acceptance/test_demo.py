"""`location-worker demo`: contacts are asked, accept and move, and nothing is left behind."""

import asyncio
import re
import signal
import subprocess
from collections.abc import Callable
from io import StringIO
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis
from rich.console import Console

from location_client import Event, TypedEvent
from tests.location_client.samples import CHAT
from tests.support.ports import free_port
from tests.support.waiting import wait_until
from worker.demo.view import Contact, Scene

Start = Callable[..., "subprocess.Popen[str]"]


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def processes_of(marker: str) -> list[str]:
    """Return the ids of processes whose environment contains `marker`; none on a system without /proc."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if marker.encode() in environment.read_bytes():
                found.append(environment.parent.name)
        except OSError:
            continue
    return found


@pytest.mark.timeout(180)
async def test_the_demo_shows_contacts_asked_and_their_positions_and_cleans_up(
    start: Start, redis: Redis, tmp_path: Path
) -> None:
    process = start("demo", "--seconds", "20", "--people", "4", TMPDIR=str(tmp_path), REDIS_URL="")
    output, errors = await asyncio.to_thread(process.communicate, timeout=120)
    assert (process.returncode, errors) == (0, "")
    assert re.match(r"Map: http://127\.0\.0\.1:\d+/map\?token=[\w-]{16,}\n", output)
    assert re.search(r"requested .*\[Ada\]", output)
    assert re.search(r"sharing\.started .*\[Ada\]", output)
    assert re.search(r"updated .*\[Ada\]", output)
    assert re.search(r"place\.entered .* bakery, \d+ m from its centre  \[Ada\]", output)
    assert re.search(r"4 contacts: .*\n\d+ positions from \d+ polls; [1-4] contacts? moved", output)
    times = re.findall(r"^(\d\d:\d\d:\d\d)  \w", output, re.MULTILINE)
    assert sum(earlier > later for earlier, later in pairwise(times)) <= 1  # 1 if the run crosses midnight
    assert re.search(r"\n +4 location\.requested\n", output)
    assert left_in(tmp_path) == []
    assert processes_of(f"TMPDIR={tmp_path}") == []


@pytest.mark.timeout(180)
async def test_ctrl_c_ends_the_demo_with_its_summary_and_a_given_redis_as_it_was(start: Start, redis: Redis) -> None:
    port, token = free_port(), "a-token-of-somebody-with-settings"
    process = start("demo", "--people", "2", HOST="127.0.0.1", PORT=str(port), VIEW_TOKEN=token)
    assert process.stdout is not None
    shown = ""
    async with asyncio.timeout(60):
        while "requested" not in shown:
            line = await asyncio.to_thread(process.stdout.readline)
            assert line, f"the demo ended after {shown!r}"
            shown += line
    address = f"http://127.0.0.1:{port}/map?token={token}"
    assert shown.startswith(f"Map: {address}\n")
    async with httpx.AsyncClient(trust_env=False, follow_redirects=True) as browser:
        assert (await browser.get(address)).status_code == 200
    process.send_signal(signal.SIGINT)
    output, errors = await asyncio.to_thread(process.communicate, timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "2 contacts: " in output
    assert [key async for key in redis.scan_iter(match="demo-*")] == []


@pytest.mark.timeout(180)
async def test_nothing_stays_of_a_demo_that_was_killed(start: Start, redis: Redis, tmp_path: Path) -> None:
    process = start("demo", "--people", "2", TMPDIR=str(tmp_path), REDIS_URL="")
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while "requested" not in await asyncio.to_thread(process.stdout.readline):
            assert process.poll() is None
    process.kill()
    await asyncio.to_thread(process.communicate, timeout=60)
    await wait_until(lambda: not processes_of(f"TMPDIR={tmp_path}"), "the end of all its processes")
    await wait_until(lambda: not left_in(tmp_path), "the end of its directories")


def event(kind: str, data: str) -> Event:
    fields = {"source": f"/linq/chats/{CHAT}", "type": kind, "time": "2026-10-12T09:31:18.000Z", "data": data}
    return TypedEvent(b"1-1", {name.encode(): value.encode() for name, value in fields.items()})


def position(longitude: float, updated_at: str) -> Event:
    times = f'"updated_at": "{updated_at}", "received_at": "2026-10-12T09:31:30.000Z"'
    return event(
        "location.updated",
        f'{{"geometry": {{"coordinates": [{longitude}, 0]}}, '
        f'"properties": {{{times}, "locality": null, "address": null}}}}',
    )


def test_the_view_learns_from_events() -> None:
    contact = Contact("Ada", "+12025550100", CHAT)
    scene = Scene({CHAT: contact})
    scene.take(event("location.requested", "{}"))
    assert contact.state == "asked"
    scene.take(position(13.0, "2026-10-12T09:31:18Z"))
    scene.take(position(13.001, "2026-10-12T09:31:28Z"))
    assert (contact.state, contact.positions, round(contact.moved)) == ("shares", 2, 111)
    scene.take(event("location.request.rejected", '{"reason": "group_chat"}'))
    scene.take(event("location.tracking.ended", "{}"))
    assert (contact.state, contact.last_event) == ("refused: group_chat", "tracking.ended")
    assert "2 positions from 0 polls; 1 contact moved" in scene.summary()
    assert "median age of a position when it was published: 2.0 s" in scene.summary()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 45)])
def test_the_view_fits_the_terminal_and_ends_with_the_newest_event(width: int, height: int) -> None:
    contacts = {str(number): Contact(f"Chloe {number}", "+12025550100", str(number)) for number in range(11)}
    scene = Scene({**contacts, CHAT: Contact("Ada", "+12025550100", CHAT)})
    scene.take(event("location.request.rejected", '{"reason": "not_imessage"}'))
    for second in range(10, 60):
        scene.take(position(13.0, f"2026-10-12T09:31:{second}Z"))
    console = Console(width=width, file=StringIO())
    console.print(scene.view(1_791_797_518, width=width, height=height))
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    assert height - 4 <= len(lines) < height
    assert max(map(len, lines)) <= width
    assert lines[1].split()[:5] == ["contact", "state", "position", "moved", "positions"]
    assert re.search(r"updated +Ada +0\.00000, 13\.00000 ", lines[-1])


def test_the_view_says_what_the_rules_mean_that_chose_the_next_reads() -> None:
    scene = Scene({str(number): Contact(f"Kim {number}", "+12025550100", str(number)) for number in range(3)})
    for contact, rule in zip(scene.contacts.values(), ("pending", "pending", "square-root"), strict=True):
        contact.rule = rule
    console = Console(width=140, file=StringIO())
    console.print(scene.view(1_791_797_518, width=140, height=45))
    assert isinstance(console.file, StringIO)
    shown = console.file.getvalue()
    assert shown.index("pending: waits for an answer") < shown.index("square-root: as often as its positions change")
