"""How many acknowledged writes Redis loses when a server fails, and what it costs to lose fewer."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import uvloop
from redis.asyncio import Redis
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table

from location_client.address import parse_address
from location_client.connection import connect
from simulator.embedded_redis import EmbeddedRedis
from simulator.sentinels import RedisWithSentinels

_PAYLOAD = "x" * 900  # as much as a `location.updated`
_STREAM = "entries"
_WRITERS = 4
_PAUSE = 0.002  # between two entries of a writer: a few thousand a second are enough to see a millisecond
_HANG_SECONDS = 5.0
_EVERYSEC = ["--appendonly", "yes", "--appendfsync", "everysec"]
_ALWAYS = ["--appendonly", "yes", "--appendfsync", "always"]
_NEEDS_REPLICA = ["--min-replicas-to-write", "1", "--min-replicas-max-lag", "1"]

Write = Callable[[Redis], Awaitable[Any]]


class Loss(NamedTuple):
    """How many entries were acknowledged and how many of those are gone; the time they span, and the longest pause."""

    acknowledged: int
    lost: int
    span: float  # seconds from the first lost entry to the last
    gap: float  # seconds, the longest without an acknowledgement


def compare(console: Console, *, quick: bool = False) -> dict[str, Any]:
    """Break servers while entries are written, then measure what a write costs. Returns plain data for JSON."""
    rounds = 1 if quick else 5
    losses = {name: [uvloop.run(scenario()) for _ in range(rounds)] for name, scenario in _SCENARIOS.items()}
    console.print(_loss_table(losses, rounds))
    costs = {
        name: uvloop.run(_cost(options, replica, write, 1.0 if quick else 3.0))
        for name, options, replica, write in _SETTINGS
    }
    console.print(_cost_table(costs))
    return {
        "losses": {name: [loss._asdict() for loss in found] for name, found in losses.items()},
        "costs": costs,
    }


# Losses


class _Writing:
    """Writers that append entry after entry, and when each entry was acknowledged."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.acknowledged: dict[bytes, float] = {}
        self._over = False

    async def run(self, name: str) -> None:
        number = 0
        while not self._over:
            number += 1
            entry = f"{name} {number}".encode()
            with contextlib.suppress(RedisError, OSError):
                await self._redis.xadd(_STREAM, {"entry": entry, "data": _PAYLOAD})
                self.acknowledged[entry] = time.monotonic()
            await asyncio.sleep(_PAUSE)

    async def judge(self) -> Loss:
        """Stop the writers and return what was lost."""
        self._over = True
        await asyncio.sleep(0.5)
        kept = {fields[b"entry"] for _, fields in await self._redis.xrange(_STREAM)}
        lost = sorted(moment for entry, moment in self.acknowledged.items() if entry not in kept)
        moments = sorted(self.acknowledged.values())
        gap = max(after - before for before, after in pairwise(moments))
        return Loss(len(moments), len(lost), lost[-1] - lost[0] if lost else 0.0, gap)

    async def more(self, seconds: float = 30.0) -> None:
        """Wait until entries are acknowledged again."""
        begun = len(self.acknowledged)
        async with asyncio.timeout(seconds):
            while len(self.acknowledged) < begun + 100:  # noqa: ASYNC110 (a twentieth of a second is near enough)
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def _writing(url: str) -> AsyncIterator[_Writing]:
    async with connect(parse_address(url)) as redis:
        writing = _Writing(redis)
        tasks = [asyncio.create_task(writing.run(f"writer {number}")) for number in range(_WRITERS)]
        await writing.more()
        yield writing
        await asyncio.gather(*tasks)


async def _planned() -> Loss:
    with RedisWithSentinels(options=_EVERYSEC) as servers:
        async with _writing(servers.url) as writing:
            old = servers.master()
            await asyncio.to_thread(servers.fail_over)
            await _until(lambda: servers.master() is not old)
            await writing.more()
            return await writing.judge()


async def _killed() -> Loss:
    with RedisWithSentinels(options=_EVERYSEC) as servers:
        async with _writing(servers.url) as writing:
            old = servers.master()
            old.kill()
            await _until(lambda: servers.master() is not old)
            await writing.more()
            return await writing.judge()


def _replica_hangs(*options: str) -> Callable[[], Coroutine[Any, Any, Loss]]:
    """Let the replica fall behind; then the master dies and the replica takes its place."""

    async def scenario() -> Loss:
        with RedisWithSentinels(options=[*_EVERYSEC, *options]) as servers:
            async with _writing(servers.url) as writing:
                old, replica = servers.servers
                replica.pause()
                await asyncio.sleep(_HANG_SECONDS)
                old.kill()
                replica.resume()
                await _until(lambda: servers.master() is not old)
                if options:
                    # No replica is left, so the new master would refuse every write.
                    async with connect(parse_address(servers.url)) as redis:
                        await redis.config_set("min-replicas-to-write", 0)
                await writing.more()
                return await writing.judge()

    return scenario


async def _alone() -> Loss:
    with EmbeddedRedis(tcp=True, persistence=True, options=_EVERYSEC) as server:
        async with _writing(server.url) as writing:
            server.kill()
            server.restart()
            await writing.more()
            return await writing.judge()


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110 (the sentinels tell nobody here)
            await asyncio.sleep(0.05)


_SCENARIOS: dict[str, Callable[[], Coroutine[Any, Any, Loss]]] = {
    "one server, everysec: its process is killed, started again": _alone,
    "Sentinel: planned failover, the old master lives": _planned,
    "Sentinel: the master is killed": _killed,
    f"Sentinel: the replica hangs {_HANG_SECONDS:g} s, then the master is killed": _replica_hangs(),
    "the same with min-replicas-to-write 1, min-replicas-max-lag 1": _replica_hangs(*_NEEDS_REPLICA),
}


# Costs


async def _append(redis: Redis) -> None:
    await redis.xadd(_STREAM, {"data": _PAYLOAD}, maxlen=100_000)


async def _append_and_wait(redis: Redis) -> None:
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.xadd(_STREAM, {"data": _PAYLOAD}, maxlen=100_000)
        pipeline.wait(1, 1000)
        await pipeline.execute()


_SETTINGS: tuple[tuple[str, Sequence[str], bool, Write], ...] = (
    ("appendfsync everysec", _EVERYSEC, False, _append),
    ("appendfsync always", _ALWAYS, False, _append),
    ("everysec, a replica", _EVERYSEC, True, _append),
    ("everysec, a replica, min-replicas-to-write 1", [*_EVERYSEC, *_NEEDS_REPLICA], True, _append),
    ("everysec, a replica, WAIT 1 after each write", _EVERYSEC, True, _append_and_wait),
)


async def _cost(options: Sequence[str], replica: bool, write: Write, seconds: float) -> dict[str, float]:
    """Measure one write after the other, then 64 at a time."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(EmbeddedRedis(tcp=True, options=options))
        if replica:
            follow = [*_EVERYSEC, "--replicaof", f"127.0.0.1 {server.port}"]
            stack.enter_context(EmbeddedRedis(tcp=True, options=follow))
        async with connect(parse_address(server.url)) as redis:
            await _until_written(redis)
            alone = await _timed(redis, write, 1, seconds)
            many = await _timed(redis, write, 64, seconds)
    cuts = statistics.quantiles(alone, n=100)
    return {
        "median_ms": 1000 * statistics.median(alone),
        "p99_ms": 1000 * cuts[98],
        "at_a_time_1": len(alone) / seconds,
        "at_a_time_64": len(many) / seconds,
    }


async def _until_written(redis: Redis) -> None:
    """Wait for the replica where one is needed."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(RedisError):
                await _append(redis)
                if not (await redis.info("replication"))["connected_slaves"] or await redis.wait(1, 1000):
                    return
            await asyncio.sleep(0.1)


async def _timed(redis: Redis, write: Write, at_a_time: int, seconds: float) -> list[float]:
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def go_on() -> None:
        while (began := time.perf_counter()) < end:
            await write(redis)
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(go_on() for _ in range(at_a_time)))
    return took


# Tables


def _loss_table(losses: dict[str, list[Loss]], rounds: int) -> Table:
    title = f"Acknowledged entries that are gone afterwards; {rounds} rounds, lowest to highest"
    table = Table(title=title, title_justify="left")
    for heading in ("what fails", "lost", "written within (s)", "no writes for (s)"):
        table.add_column(heading, justify="left" if heading == "what fails" else "right")
    for name, found in losses.items():
        table.add_row(
            name,
            _range([loss.lost for loss in found], "{:,.0f}"),
            _range([loss.span for loss in found], "{:.1f}"),
            _range([loss.gap for loss in found], "{:.1f}"),
        )
    return table


def _range(values: Sequence[float], form: str) -> str:
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low} to {high}"


def _cost_table(costs: dict[str, dict[str, float]]) -> Table:
    table = Table(title="What an entry of 900 bytes costs", title_justify="left")
    for heading in ("setting", "median (ms)", "99 in 100 (ms)", "a second, one by one", "64 at a time"):
        table.add_column(heading, justify="left" if heading == "setting" else "right")
    for name, cost in costs.items():
        table.add_row(
            name,
            f"{cost['median_ms']:.2f}",
            f"{cost['p99_ms']:.2f}",
            f"{cost['at_a_time_1']:,.0f}",
            f"{cost['at_a_time_64']:,.0f}",
        )
    return table
