"""Reading events: how fast `LocationClient` goes through `location.updated`, and what a slow reader costs a worker."""

import json
import statistics
import time
from collections.abc import AsyncIterator
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.growth import poll_without_http
from benchmarks.installation import environment, opened_store
from benchmarks.measure import run
from benchmarks.preload import preload
from benchmarks.redis_server import RedisServer, running_redis
from benchmarks.speed import OURS, contenders
from benchmarks.stub import Stub, running_stub
from location_client import Event, LocationClient

_COUNT = 200_000
_QUICK_COUNT = 50_000


def compare(console: Console, *, quick: bool = False) -> dict[str, Any]:
    """Fill a stream, read it in three ways, print rates. Returns plain data for JSON."""
    count = _QUICK_COUNT if quick else _COUNT
    with running_redis() as redis:
        uvloop.run(_fill(redis, count))
        rates = {name: [uvloop.run(read(redis, count)) for _ in range(3)] for name, read in _WAYS.items()}
    table = Table(title=f"{count:,} location.updated events, one reader", title_justify="left")
    for heading in ("read", "events a second, median (lowest to highest)"):
        table.add_column(heading, justify="left" if heading == "read" else "right")
    for name, found in rates.items():
        table.add_row(name, f"{statistics.median(found):,.0f} ({min(found):,.0f} to {max(found):,.0f})")
    console.print(table)
    with running_stub() as stub, running_redis() as redis:
        slow = _beside_a_slow_reader(stub, redis, rounds=1 if quick else 3)
    console.print(
        f"a worker publishes every poll: {slow['alone']:.3f} ms of CPU a poll alone, "
        f"{slow['beside']:.3f} beside a group whose reader never acknowledges"
    )
    return {"count": count, "rates": rates, "slow_reader": slow}


async def _fill(redis: RedisServer, count: int) -> None:
    """Take one real event from a real commit and repeat it."""
    async with opened_store(environment(redis.url, "http://127.0.0.1:9")) as store:
        await preload(store, 128)
        await poll_without_http(store, 128)
        entries = await store.redis.xrange(store.keys.events)
        fields = next(values for _, values in entries if values[b"type"] == b"location.updated")
        await store.redis.delete(store.keys.events)
        for start in range(0, count, 1000):
            async with store.redis.pipeline(transaction=False) as pipe:
                for _ in range(start, min(start + 1000, count)):
                    pipe.xadd(store.keys.events, fields)
                await pipe.execute()


async def _only_iterated(redis: RedisServer, count: int) -> float:
    async with LocationClient(redis.url) as client:
        return await _rate(client.events("0", block=1), count, look=False)


async def _with_data(redis: RedisServer, count: int) -> float:
    async with LocationClient(redis.url) as client:
        return await _rate(client.events("0", block=1), count, look=True)


async def _in_group(redis: RedisServer, count: int) -> float:
    """Read as a consumer is meant to: decode the data, acknowledge in batches."""
    name = f"benchmark-{time.monotonic_ns()}"
    async with LocationClient(redis.url) as client:
        began = time.monotonic()
        batch: list[Event] = []
        seen = 0
        async for event in client.group_events(name, "reader", start="0", block=1):
            _look(event)
            batch.append(event)
            seen += 1
            if len(batch) == 500 or seen == count:
                await client.acknowledge(batch)
                batch = []
            if seen == count:
                break
        return seen / (time.monotonic() - began)


async def _rate(events: AsyncIterator[Event], count: int, *, look: bool) -> float:
    began = time.monotonic()
    seen = 0
    async for event in events:
        if look:
            _look(event)
        seen += 1
        if seen == count:
            break
    return seen / (time.monotonic() - began)


def _look(event: Event) -> None:
    if event.type == "location.updated" and not event.data["properties"]["handle"]:
        message = f"event {event.id} has no handle: {json.dumps(event.data)}"
        raise ValueError(message)


def _beside_a_slow_reader(stub: Stub, redis: RedisServer, *, rounds: int) -> dict[str, float]:
    (ours,) = (contender for contender in contenders() if contender.name == OURS[0])

    def stall() -> None:
        client: Any = redis.client
        client.xgroup_create(ours.events_key, "slow", id="0", mkstream=True)
        client.xreadgroup("slow", "reader", {ours.events_key: ">"}, count=100_000)

    alone, beside = [], []
    for _ in range(rounds):
        alone.append(run(ours, "every", stub, redis, seconds=3.0).cpu)
        beside.append(run(ours, "every", stub, redis, seconds=3.0, meanwhile=stall).cpu)
    return {"alone": statistics.median(alone), "beside": statistics.median(beside)}


_WAYS = {
    "events()": _only_iterated,
    "events(), data of each": _with_data,
    "group_events(), data of each, acknowledged": _in_group,
}
