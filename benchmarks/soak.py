"""A million shares for ten minutes on two workers under a budget: does everything stay stable?"""

import asyncio
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.installation import environment, opened_store, running_worker
from benchmarks.preload import preload
from benchmarks.process import cpu_seconds, resident_bytes
from benchmarks.redis_server import RedisServer, running_redis
from benchmarks.stub import Stub, running_stub

_CHATS, _SECONDS, _RATE = 1_000_000, 600, 4_000
_QUICK_CHATS, _QUICK_SECONDS, _QUICK_RATE = 50_000, 40, 2_000
_EVERY = 10.0
_LARGEST = 600.0  # MAX_POLL_SECONDS


@dataclass(frozen=True, slots=True)
class Reading:
    """One sample: seconds since the start, polls a second since the last, lag in seconds, MiB, and CPU of one core."""

    at: float
    polls_per_second: float
    overdue: float
    worker_mebibytes: float
    redis_mebibytes: float
    worker_cpu: float
    redis_cpu: float


def compare(console: Console, *, quick: bool = False) -> dict[str, Any]:
    """Run it and print what was seen each minute. Returns plain data for JSON."""
    chats, seconds, rate = (_QUICK_CHATS, _QUICK_SECONDS, _QUICK_RATE) if quick else (_CHATS, _SECONDS, _RATE)
    with running_stub() as stub, running_redis() as redis:
        # The stream is capped lower than by default, so that it has reached its size long before the end.
        variables = environment(
            redis.url,
            stub.base_url("fifth"),
            LINQ_REQUESTS_PER_SECOND=str(rate),
            EVENTS_MAXLEN="100000",
            LOG_LEVEL="WARNING",
            MAX_POLL_SECONDS=str(_LARGEST),
        )
        with console.status(f"beginning {chats:,} shares"):
            asyncio.run(_begin(variables, chats, spread=chats / rate))
        readings = _watch(console, variables, stub, redis, seconds)
    table = Table(title=f"{chats:,} shares, two workers, {rate:,} requests a second", title_justify="left")
    for heading in (
        "s",
        "polls/s",
        "most overdue, s",
        "workers, MiB",
        "Redis, MiB",
        "workers, cores",
        "Redis, cores",
    ):
        table.add_column(heading, justify="right")
    shown = readings if quick else readings[::6] + readings[-1:]
    for reading in shown:
        table.add_row(
            f"{reading.at:.0f}",
            f"{reading.polls_per_second:,.0f}",
            f"{reading.overdue:.1f}",
            f"{reading.worker_mebibytes:.0f}",
            f"{reading.redis_mebibytes:.0f}",
            f"{reading.worker_cpu:.2f}",
            f"{reading.redis_cpu:.2f}",
        )
    console.print(table)
    return {"chats": chats, "rate": rate, "readings": [asdict(reading) for reading in readings]}


async def _begin(variables: dict[str, str], chats: int, *, spread: float) -> None:
    async with opened_store(variables) as store:
        await preload(store, chats, spread=spread)


def _watch(
    console: Console, variables: dict[str, str], stub: Stub, redis: RedisServer, seconds: float
) -> list[Reading]:
    readings: list[Reading] = []
    with ExitStack() as stack:
        pids = [stack.enter_context(running_worker(variables)).pid for _ in range(2)]
        progress = stack.enter_context(Progress(console=console, transient=True))
        bar = progress.add_task("soak", total=seconds)
        began = time.monotonic()
        last_at, last_polls, last_cpu, last_redis = began, stub.requests(), 0.0, redis.work().cpu
        while time.monotonic() - began < seconds:
            time.sleep(_EVERY)
            now, polls = time.monotonic(), stub.requests()
            cpu, redis_cpu = sum(map(cpu_seconds, pids)), redis.work().cpu
            readings.append(
                Reading(
                    at=now - began,
                    polls_per_second=(polls - last_polls - 1) / (now - last_at),
                    overdue=_overdue(redis),
                    worker_mebibytes=sum(map(resident_bytes, pids)) / 2**20,
                    redis_mebibytes=redis.memory() / 2**20,
                    worker_cpu=(cpu - last_cpu) / (now - last_at),
                    redis_cpu=(redis_cpu - last_redis) / (now - last_at),
                )
            )
            last_at, last_polls, last_cpu, last_redis = now, polls, cpu, redis_cpu
            progress.update(bar, completed=now - began)
    return readings


def _overdue(redis: RedisServer) -> float:
    """Return how late the most overdue share is, in seconds; 0 when none is."""
    client: Any = redis.client
    nearest: list[tuple[bytes, float]] = client.zrange("location:due", 0, 0, withscores=True)
    now: tuple[int, int] = client.time()
    return max(0.0, now[0] + now[1] / 1e6 - nearest[0][1])
