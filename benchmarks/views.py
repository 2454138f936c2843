"""Connections to `/events`: what a thousand cost a web process and Redis, and what they do to webhooks meanwhile."""

import asyncio
import base64
import contextlib
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table
from standardwebhooks import Webhook

from benchmarks.process import cpu_seconds, free_port, resident_bytes
from benchmarks.redis_server import RedisServer, running_redis

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "benchmark-" * 2
SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()
READERS = 1_000
EVENTS_PER_SECOND = 20
WEBHOOKS_PER_SECOND = 20
_START_SECONDS = 30.0
_BODY = (
    b'{"event_type": "location.sharing.stopped", "event_id": "%d", "created_at": "2026-10-12T09:30:04Z", '
    b'"data": {"shared_by": "+12025550147", "shared_with": "+14155550100", "ended_at": "2026-10-12T09:30:04Z"}}'
)


@dataclass(slots=True)
class Round:
    """What was seen with one number of readers: seconds a webhook took, seconds until the last reader had an event."""

    readers: int
    webhooks: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    received: int = 0
    sent: int = 0
    mebibytes: float = 0.0
    cpu: float = 0.0
    redis_reads: float = 0.0
    redis_clients: int = 0


def compare(console: Console, *, quick: bool = False) -> dict[str, Any]:
    """Serve none, then many readers, while events and webhooks come. Returns plain data for JSON."""
    seconds, readers = (3.0, 200) if quick else (15.0, READERS)
    with running_redis() as redis, _running_web(redis) as (pid, port):
        rounds = [asyncio.run(_measure(redis, pid, port, count, seconds)) for count in (0, readers)]
    table = Table(
        title=f"{EVENTS_PER_SECOND} events and {WEBHOOKS_PER_SECOND} webhooks a second for {seconds:g} s",
        title_justify="left",
    )
    for heading in (
        "readers",
        "MiB",
        "CPU",
        "webhook ms, median (99 %)",
        "event ms to all, median (99 %)",
        "received",
        "Redis connections",
    ):
        table.add_column(heading, justify="right")
    for found in rounds:
        table.add_row(
            f"{found.readers:,}",
            f"{found.mebibytes:.0f}",
            f"{found.cpu:.0%}",
            _spread(found.webhooks),
            _spread(found.delays),
            f"{found.received:,} of {found.sent * found.readers:,}",
            str(found.redis_clients),
        )
    console.print(table)
    alone, crowded = rounds
    console.print(f"{readers:,} connections cost {crowded.mebibytes - alone.mebibytes:.0f} MiB")
    return {"rounds": [{name: getattr(found, name) for name in Round.__slots__} for found in rounds]}


def _spread(seconds: list[float]) -> str:
    if not seconds:
        return ""
    ordered = sorted(seconds)
    return f"{statistics.median(ordered) * 1000:.1f} ({ordered[int(len(ordered) * 0.99)] * 1000:.1f})"


@contextlib.contextmanager
def _running_web(redis: RedisServer) -> Iterator[tuple[int, int]]:
    port = free_port()
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "REDIS_URL": redis.url,
        "PORT": str(port),
        "VIEW_TOKEN": TOKEN,
        "LINQ_WEBHOOK_SECRET": SECRET,
        "LOG_LEVEL": "ERROR",
    }
    process = subprocess.Popen([sys.executable, "-m", "worker", "web"], env=environment, cwd=ROOT)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200:
                    break
            if time.monotonic() > deadline:
                raise TimeoutError(f"web did not answer within {_START_SECONDS:g} s")
            time.sleep(0.1)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(30)


async def _measure(redis: RedisServer, pid: int, port: int, readers: int, seconds: float) -> Round:
    found = Round(readers)
    arrivals: dict[int, list[float]] = {}
    async with _reading(port, readers, arrivals):
        found.mebibytes = resident_bytes(pid) / 2**20
        cpu, work = cpu_seconds(pid), redis.work()
        publishing = asyncio.create_task(_publish(redis, seconds))
        # In a process of its own: this one is busy with the readers, and its delays would be blamed on the receiver.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as sender:
            found.webhooks = await asyncio.get_running_loop().run_in_executor(sender, deliver, port, seconds)
        published = await publishing
        await asyncio.sleep(1.0)
        found.mebibytes = max(found.mebibytes, resident_bytes(pid) / 2**20)
        found.cpu = (cpu_seconds(pid) - cpu) / (seconds + 1.0)
        found.redis_reads = redis.work().since(work).reads / (seconds + 1.0)
        clients: Any = redis.client.client_list()
        found.redis_clients = len(clients) - 1  # this benchmark's own
    found.sent = len(published)
    found.received = sum(len(arrived) for arrived in arrivals.values())
    found.delays = [max(arrivals[number]) - at for number, at in published.items() if arrivals.get(number)]
    return found


@contextlib.asynccontextmanager
async def _reading(port: int, count: int, arrivals: dict[int, list[float]]) -> AsyncIterator[None]:
    head = f"GET /events HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode()
    tasks = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        await reader.readuntil(b"\r\n\r\n")
        tasks.append(asyncio.create_task(_note(reader, writer, arrivals)))
    await asyncio.sleep(1.0)
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, arrivals: dict[int, list[float]]) -> None:
    try:
        while line := await reader.readline():
            if line.startswith(b"data: "):
                number = int(line.partition(b'"sequence":"')[2].partition(b'"')[0])
                arrivals.setdefault(number, []).append(time.monotonic())
    finally:
        writer.transport.abort()


async def _publish(redis: RedisServer, seconds: float) -> dict[int, float]:
    published = {}
    began = time.monotonic()
    feature = (
        '{"type":"Feature","geometry":{"type":"Point","coordinates":[13.4,52.5]},"properties":'
        '{"handle":"+12025550147","address":"' + "x" * 300 + '"}}'
    )
    for number in range(int(seconds * EVENTS_PER_SECOND)):
        await asyncio.sleep(max(0.0, began + number / EVENTS_PER_SECOND - time.monotonic()))
        fields = {
            "specversion": "1.0",
            "id": f"share:{number}",
            "source": "/linq/chats/3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13",
            "type": "location.updated",
            "sequence": str(number),
            "data": feature,
        }
        published[number] = time.monotonic()
        await asyncio.to_thread(redis.client.xadd, "location:events", fields)  # type: ignore[arg-type]  # redis-py's stubs want any value
    return published


def deliver(port: int, seconds: float) -> list[float]:
    """Send webhooks at a steady pace; return how many seconds each took. Raises httpx.HTTPError."""
    took = []
    with httpx.Client(trust_env=False, timeout=30) as client:
        began = time.monotonic()
        for number in range(int(seconds * WEBHOOKS_PER_SECOND)):
            time.sleep(max(0.0, began + number / WEBHOOKS_PER_SECOND - time.monotonic()))
            body, name = _BODY % number, f"benchmark-{time.monotonic_ns()}"
            moment = int(time.time())
            signature = Webhook(SECRET).sign(name, datetime.fromtimestamp(moment, UTC), body.decode())
            headers = {"webhook-id": name, "webhook-timestamp": str(moment), "webhook-signature": signature}
            sent = time.monotonic()
            client.post(f"http://127.0.0.1:{port}/webhooks/linq", content=body, headers=headers).raise_for_status()
            took.append(time.monotonic() - sent)
    return took
