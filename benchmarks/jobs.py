"""Intake of jobs: `track_location` beside arq's own jobs that do nothing, while polling goes on."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

from rich.console import Console
from rich.table import Table

from benchmarks.installation import environment, running_worker
from benchmarks.measure import ROOT
from benchmarks.redis_server import RedisServer, running_redis
from benchmarks.stub import running_stub

_COUNT = 100_000
_QUICK_COUNT = 20_000
_SECONDS = 15.0
_QUICK_SECONDS = 5.0
_QUEUE = "location:jobs"
_POLLS_PER_SECOND = 100  # the budget, which polling should use up whether there are jobs or not


def compare(console: Console, *, quick: bool = False) -> dict[str, Any]:
    """Queue the jobs, let a worker take them in, print rates. Returns plain data for JSON."""
    count = _QUICK_COUNT if quick else _COUNT
    seconds = _QUICK_SECONDS if quick else _SECONDS
    rates: dict[str, list[float]] = {"arq, no-op": [], "track_location": []}
    polls: list[float] = []
    with running_stub() as stub, running_redis() as redis:
        variables = environment(
            redis.url, stub.base_url("fifth"), LINQ_REQUESTS_PER_SECOND=str(_POLLS_PER_SECOND), LOG_LEVEL="WARNING"
        )
        for turn in range(1 if quick else 2):
            with console.status(f"jobs, round {turn + 1}"):
                redis.client.flushall()
                _queue(redis, count, "noop")
                with _noop_worker(redis):
                    rates["arq, no-op"].append(_rate(redis, seconds))
                redis.client.flushall()
                _queue(redis, count, "track_location")
                with running_worker(variables):
                    before, began = stub.requests(), time.monotonic()
                    rates["track_location"].append(_rate(redis, seconds))
                    polls.append((stub.requests() - before) / (time.monotonic() - began))
    table = Table(title=f"{count:,} jobs queued at once: jobs a second, one worker", title_justify="left")
    for heading in ("jobs", "median (lowest to highest)"):
        table.add_column(heading, justify="left" if heading == "jobs" else "right")
    for name, found in rates.items():
        table.add_row(name, f"{statistics.median(found):,.0f} ({min(found):,.0f} to {max(found):,.0f})")
    console.print(table)
    ratio = statistics.median(rates["track_location"]) / statistics.median(rates["arq, no-op"])
    console.print(
        f"ratio {ratio:.2f}; meanwhile {statistics.median(polls):.0f} polls a second of a budget of {_POLLS_PER_SECOND}"
    )
    return {"count": count, "rates": rates, "ratio": ratio, "polls_per_second": polls, "budget": _POLLS_PER_SECOND}


def _queue(redis: RedisServer, count: int, function: str) -> None:
    """Queue as docs/reference/jobs.md (Wire format) says, many at a time."""
    now = int(time.time() * 1000)
    for start in range(0, count, 1000):
        with redis.client.pipeline(transaction=False) as pipe:
            for number in range(start, min(start + 1000, count)):
                arguments = {"chat_id": str(UUID(int=number + 1))}
                job: dict[str, Any] = {"t": None, "f": function, "a": [], "k": arguments, "et": now}
                name = str(uuid4())
                pipe.set(f"arq:job:{name}", json.dumps(job), px=86_400_000)
                pipe.zadd(_QUEUE, {name: now})
            pipe.execute()


def _rate(redis: RedisServer, seconds: float) -> float:
    """Return the jobs per second that leave the queue, counted after the first thousand."""
    queued = _left(redis)
    deadline = time.monotonic() + 60
    while _left(redis) > queued - 1000:
        if time.monotonic() > deadline:
            message = "no worker took 1,000 jobs within 60 s"
            raise TimeoutError(message)
        time.sleep(0.05)
    before, began = _left(redis), time.monotonic()
    while (left := _left(redis)) > 100 and time.monotonic() - began < seconds:
        time.sleep(0.05)
    return (before - left) / (time.monotonic() - began)


def _left(redis: RedisServer) -> int:
    answer: Any = redis.client.zcard(_QUEUE)
    return int(answer)


@contextlib.contextmanager
def _noop_worker(redis: RedisServer) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.contenders.arq_noop"],
        cwd=ROOT,
        env={**os.environ, "REDIS_URL": redis.url, "QUEUE_NAME": _QUEUE},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()
