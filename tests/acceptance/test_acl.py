"""The Redis rights in docs/operations.md suffice: everything runs as exactly those users, and nothing is denied."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from location_client import Job, JobFailed, LocationClient
from simulator.embedded_redis import EmbeddedRedis, bundled_server, find_server
from simulator.harness import SimulatorServer
from simulator.movement import Cadence
from simulator.world import Habits
from tests.support.server_sent import event_source
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"
TOKEN = "a-token-of-the-page-of-rights"
SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
HABITS = Habits(speed=60.0, cadence=Cadence(moving=(20.0, 60.0), still=(20.0, 60.0)))
NOT_IN_7_0 = " +client|setinfo"
# Every server at hand: what one version lacks or requires, another may not.
SERVERS = sorted({str(server) for server in (find_server(), bundled_server()) if server is not None})


def rules(name: str) -> str:
    """Return the rules of the page's ACL SETUSER command, with a password filled in."""
    text = PAGE.read_text().replace("\\\n", " ")
    match = re.search(rf"^ACL SETUSER {name} (.*)$", text, re.MULTILINE)
    assert match is not None, f"docs/operations.md has no user {name}"
    return " ".join(match[1].split()).replace(">PASSWORD", ">word")


@pytest.fixture(params=SERVERS, ids=lambda path: Path(path).name)
def server(request: pytest.FixtureRequest) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(binary=Path(request.param), tcp=True) as running:
        yield running


@pytest.fixture
async def admin(server: EmbeddedRedis) -> AsyncIterator[Redis]:
    """Connect as the default user, and create the page's two users."""
    async with Redis.from_url(server.url) as client:
        for name in ("location-worker", "location-client"):
            rule = rules(name)
            version = (await client.info("server"))["redis_version"]
            if version.startswith(("6.", "7.0.")):
                rule = rule.replace(NOT_IN_7_0, "")
            await client.execute_command("ACL", "SETUSER", name, *rule.split())
        yield client


@pytest.fixture
def simulator() -> Iterator[SimulatorServer]:
    with SimulatorServer(habits=HABITS) as running:
        yield running


class Installation:
    """A worker, a web process and commands, all run as the page's user."""

    def __init__(self, server: EmbeddedRedis, simulator: SimulatorServer, directory: Path) -> None:
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "REDIS_URL": server.url.replace("redis://", "redis://location-worker:word@"),
            "LINQ_API_V3_API_KEY": simulator.api_key,
            "LINQ_API_V3_BASE_URL": simulator.base_url,
            "LINQ_WEBHOOK_SECRET": SECRET,
            "VIEW_TOKEN": TOKEN,
            "CHERT_SIGNING_SECRET": simulator.chert_secret,
            "CHERT_BASE_URL": simulator.chert_base_url,
            "PORT": str(self.port),
            "MIN_POLL_SECONDS": "0.3",
            "MAX_POLL_SECONDS": "1",
            "REQUEST_COOLDOWN_SECONDS": "3",
        }

    def start(self, command: str) -> None:
        with (self._directory / f"{command}.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "worker", command],
                    env=self._environment,
                    cwd=self._directory,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )

    async def run(self, *words: str) -> tuple[int, str]:
        """Run a command; return its status and what it printed."""
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "worker", *words],
            env=self._environment,
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def stop(self) -> list[int]:
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        statuses = [process.wait(30) for process in self._processes]
        self._processes = []
        return statuses

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def installation(server: EmbeddedRedis, simulator: SimulatorServer, tmp_path: Path) -> Iterator[Installation]:
    made = Installation(server, simulator, tmp_path)
    yield made
    made.close()


async def denied(admin: Redis) -> list[str]:
    """Return what the server refused: user, command or key."""
    entries: list[Any] = await admin.acl_log()
    return [f"{_text(entry['username'])} {_text(entry['reason'])} {_text(entry['object'])}" for entry in entries]


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def viewer_of(port: int) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {TOKEN}"}
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False)


async def _is_ready(port: int) -> bool:
    async with httpx.AsyncClient(trust_env=False) as http:
        with contextlib.suppress(httpx.HTTPError):
            return (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
    return False


async def _is_dropped(admin: Redis, chat_id: str) -> bool:
    return await admin.zscore("location:due", chat_id) is None


async def _all_is_needed(admin: Redis) -> bool:
    used = {name.removeprefix("cmdstat_") for name in await admin.info("commandstats")}
    granted = {right.removeprefix("+") for right in rules("location-worker").split() if right.startswith("+")}
    # Three commands are needed only by chance: where a state changes while a handle is removed from it (UNWATCH), where
    # a share ends just as it is to be forgotten (SREM), or where one changes while the sums are recounted (SISMEMBER).
    assert granted - used <= {"client|setinfo", "unwatch", "srem", "sismember"}, "a right that nothing needs"
    return True


async def test_a_whole_service_runs_with_the_rights_of_the_page(
    server: EmbeddedRedis, admin: Redis, simulator: SimulatorServer, installation: Installation
) -> None:
    walker = simulator.add_person("+12025550147", recording="gpxpy-korita")
    leaver = simulator.add_person("+12025550148", recording="gpxpy-korita", shares_for=120.0)
    simulator.subscribe(f"http://127.0.0.1:{installation.port}/webhooks/linq", secret=SECRET)
    installation.start("worker")
    installation.start("web")
    await wait_until(lambda: _is_ready(installation.port), "the web process is ready", deadline=30)
    async with LocationClient(server.url.replace("redis://", "redis://location-client:word@")) as client:
        # What a service does: jobs, results, events, views.
        asked = await client.request_location(chat_id=walker, reference="order-7")
        assert (await asked.result())["status"] == "requested"
        other = await client.request_location(chat_id=leaver, follow=True)
        await other.result()
        tracked = await client.track_location(to="+12025550148", **{"from": "+14155550100"})  # type: ignore[arg-type]
        assert (await tracked.result())["status"] == "already_tracked"
        kinds = set()
        async with asyncio.timeout(40):
            async for event in client.group_events("acl", "one", start="0", claim_idle=0.1):
                await event.acknowledge()
                kinds.add(event.type)
                if kinds >= {"location.sharing.stopped", "location.updated"}:
                    break
        async with asyncio.timeout(10):
            await anext(client.events("0"))
        await client.last_event_id()
        ((longitude, latitude),) = [
            feature["geometry"]["coordinates"][:2] for feature in (await client.latest(walker)).values()
        ]
        assert await client.nearby(longitude, latitude, 1000)
        async with viewer_of(installation.port) as viewer:
            for box in ("", f"&bbox={longitude - 1},{latitude - 1},{longitude + 1},{latitude + 1}"):
                shown = (await viewer.get(f"/latest?limit=10{box}")).json()["features"]
                assert walker in {feature["properties"]["chat_id"] for feature in shown}
            async with event_source(viewer, "/events?after=0") as source:
                await source.next()
        pin = await client.send_pin(phone="+12025550149", latitude=1.5, longitude=2.5)
        assert (await pin.result())["status"] == "queued"
        # Unusable input: a job, an entry of the queue, a webhook, a reply.
        await admin.set("arq:job:no-json", b"\x80", px=60_000)
        await admin.zadd("location:jobs", {"no-json": time.time() * 1000})
        await admin.zadd("location:jobs", {b"\xff bad id": time.time() * 1000, b"infinite": float("inf")})
        simulator.fault("malformed", endpoint="read", chat_id=walker)
        simulator.announce("location.sharing.started", {"shared_by": 1})
        await wait_until(lambda: admin.xlen("location:dead-letters"), "a dead letter", deadline=20)
        await admin.set(f"location:share:{leaver}", b"no share")
        await admin.zadd("location:due", {leaver: 0})
        await wait_until(lambda: _is_dropped(admin, leaver), "an unreadable state is let go", deadline=20)
        # The account's limits.
        simulator.fault("error", endpoint="read", status=429, code=1007, retry_after=1)
        throttled = "the slower pace"
        await wait_until(lambda: admin.hexists("location:budget", "limited_at"), throttled, deadline=20)
        key = simulator.api_key
        simulator.use_api_key("another")
        await wait_until(lambda: admin.exists("location:pause"), "the pause", deadline=20)
        simulator.use_api_key(key)
        await admin.hset("location:pause", "probe_at", "0")  # type: ignore[misc]  # redis-py's two clients
        await wait_until(lambda: _is_ready(installation.port), "the end of the pause", deadline=20)
        # The API key loses a line, early enough to affect the two chats whose line is known, too.
        for _ in range(6):
            await (await client.track_location(chat_id=simulator.add_person(sharing=True))).result()
        simulator.lose_line()
        await wait_until(lambda: admin.exists("location:lost-line:all"), "the chats wait", deadline=30)
        simulator.lose_line(code=None)
        for lost in await admin.smembers("location:lost-lines"):  # type: ignore[misc]  # redis-py's two clients
            await admin.hset(f"location:lost-line:{lost.decode()}", "probe_at", "0")  # type: ignore[misc]  # the same
        await wait_until(lambda: _is_ready(installation.port), "the line is back", deadline=30)
        # What people do at the command line.
        for words in (
            ("status",),
            ("status", walker),
            ("tail", "--from", "beginning", "--count", "1"),
            ("tail", "--from", "beginning", "--count", "1", "--group", "people"),
            ("request", "--wait", walker),
            ("untrack", "--wait", walker),
            ("track", "--wait", walker),
            ("forget", "--wait", "+12025550147"),
            ("forget", "--wait", "+12025550148"),
            ("stop-sharing", "--wait", walker, "+12025550147"),
            ("webhooks", "list"),
        ):
            status, printed = await installation.run(*words)
            assert status == 0, f"{words}: {printed}"
        _, printed = await installation.run("doctor")
        assert "NOPERM" not in printed
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(f"http://127.0.0.1:{installation.port}/metrics")).status_code == 200
        with pytest.raises(JobFailed):
            await (await client.queue(Job("untrack_location", {"chat_id": "no uuid"}))).result()
    # Trimming and recounting run on the clock, the rarest of them once a minute.
    await wait_until(lambda: _all_is_needed(admin), "every right has been used", deadline=75)
    assert await asyncio.to_thread(installation.stop) == [0, 0]
    assert await denied(admin) == []
