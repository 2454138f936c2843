"""How costs grow with the number of tracked chats: claim and commit, memory, a worker's start, `status`."""

import asyncio
import random
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.installation import always_due, environment, opened_store, running_worker
from benchmarks.measure import ROOT
from benchmarks.preload import preload
from benchmarks.redis_server import RedisServer, running_redis
from benchmarks.stub import Stub, running_stub
from worker.domain import reads
from worker.domain.decision import Decision
from worker.domain.observation import Features, Position
from worker.store.store import Store

_COUNTS = (1_000, 100_000, 1_000_000)
_QUICK_COUNTS = (1_000, 50_000)
BATCH = 128
POLLED = 12_800  # polls per size without HTTP: enough for a median
_STATUS_SECONDS = 30.0  # `status` is given up after this
_SCALED_SECONDS = 6.0
_COMMANDS_SHOWN = 9


@dataclass(frozen=True, slots=True)
class Growth:
    """Figures at one number of tracked chats: microseconds per poll (Redis' by command, too), bytes, seconds."""

    chats: int
    claim: float
    commit: float
    redis_cpu: float
    commands: dict[str, float]
    bytes_idle: float
    bytes_sharing: float
    worker_start: float
    status: float | None


def compare(console: Console, *, quick: bool = False) -> dict[str, Any]:
    """Measure at each size and print. Returns plain data for JSON."""
    found: list[Growth] = []
    with running_stub() as stub:
        for count in _QUICK_COUNTS if quick else _COUNTS:
            # A Redis of its own for each: the memory of one size is not the garbage of another.
            with running_redis() as redis, console.status(f"{count:,} tracked chats"):
                found.append(asyncio.run(_measure(count, stub, redis)))
    table = Table(title="by number of tracked chats", title_justify="left")
    for heading in (
        "chats",
        "claim, µs a poll",
        "commit, µs a poll",
        "Redis CPU, µs a poll",
        "bytes a chat, nobody shares",
        "… sharing, with latest view and geo",
        "worker start to first poll, s",
        "status, s",
    ):
        table.add_column(heading, justify="right")
    for growth in found:
        table.add_row(
            f"{growth.chats:,}",
            f"{growth.claim:.1f}",
            f"{growth.commit:.1f}",
            f"{growth.redis_cpu:.1f}",
            f"{growth.bytes_idle:.0f}",
            f"{growth.bytes_sharing:.0f}",
            f"{growth.worker_start:.2f}",
            f"over {_STATUS_SECONDS:.0f}" if growth.status is None else f"{growth.status:.2f}",
        )
    console.print(table)
    _print_commands(console, found)
    with running_stub() as stub, running_redis() as redis, console.status("one worker, two workers"):
        workers = {number: _throughput(number, stub, redis) for number in (1, 2)}
    for number, (rate, published) in workers.items():
        console.print(
            f"{number} worker{'s' if number > 1 else ''}: {rate:,.0f} polls/s, {published:.3f} events per poll "
            "(every reply is new: clearly less than 1 would mean that chats were polled twice)"
        )
    return {
        "sizes": [asdict(growth) for growth in found],
        "workers": {
            number: {"polls_per_second": found[0], "events_per_poll": found[1]} for number, found in workers.items()
        },
    }


def _print_commands(console: Console, found: list[Growth]) -> None:
    table = Table(title="Redis' time in single commands, µs a poll (INFO commandstats)", title_justify="left")
    table.add_column("command")
    for growth in found:
        table.add_column(f"{growth.chats:,}", justify="right")
    last = found[-1].commands
    for name in sorted(last, key=last.__getitem__, reverse=True)[:_COMMANDS_SHOWN]:
        table.add_row(name, *(f"{growth.commands.get(name, 0.0):.2f}" for growth in found))
    console.print(table)


def _throughput(number: int, stub: Stub, redis: RedisServer) -> tuple[float, float]:
    """Return polls per second of `number` workers on chats that are always due, and events per poll."""
    variables = environment(redis.url, stub.base_url("every"))
    redis.client.flushall()
    asyncio.run(_begin(variables))
    with ExitStack() as stack:
        for _ in range(number):
            stack.enter_context(running_worker(variables))
        time.sleep(4.0)  # start, and the first poll of each chat, which publishes two events
        polls, events, began = stub.requests(), redis.events("location:events"), time.monotonic()
        time.sleep(_SCALED_SECONDS)
        polls_after, events_after, ended = stub.requests(), redis.events("location:events"), time.monotonic()
    polled = polls_after - polls - 1
    return polled / (ended - began), (events_after - events) / polled


async def _begin(variables: dict[str, str]) -> None:
    async with opened_store(variables) as store:
        await preload(store, 10_000, interval=0.5)


async def _measure(count: int, stub: Stub, redis: RedisServer) -> Growth:
    variables = always_due(redis.url, stub.base_url("fifth"))
    async with opened_store(variables) as store:
        empty = redis.memory()
        await preload(store, count)
        bytes_idle = (redis.memory() - empty) / count
        # First polls differ from later ones: contacts begin to share, and keys are created.
        await poll_without_http(store, count)
        redis.client.config_resetstat()
        before = redis.work()
        claims, commits = await poll_without_http(store, POLLED)
        work = redis.work().since(before)
        commands = {name: spent / (len(claims) * BATCH) for name, spent in redis.microseconds().items()}
        # Leave out the stream, which has a cap of its own: the cost of a chat is what is measured.
        redis.client.delete(store.keys.events)
        bytes_sharing = (redis.memory() - empty) / count
        worker_start = await asyncio.to_thread(_time_start, variables, stub)
        status = await asyncio.to_thread(_time_status, variables)
    return Growth(
        chats=count,
        claim=statistics.median(claims) * 1e6,
        commit=statistics.median(commits) * 1e6,
        redis_cpu=work.cpu / (len(claims) * BATCH) * 1e6,
        commands=commands,
        bytes_idle=bytes_idle,
        bytes_sharing=bytes_sharing,
        worker_start=worker_start,
        status=status,
    )


async def poll_without_http(store: Store, polls: int) -> tuple[list[float], list[float]]:
    """Claim, decide and commit without HTTP; return seconds per chat of each claim and each commit."""
    claims: list[float] = []
    commits: list[float] = []
    polled = 0
    while polled < polls:
        began = time.perf_counter()
        claim = await store.shares.claim(BATCH)
        claimed = time.perf_counter()
        if not claim.chats:
            break
        items = []
        for chat in claim.chats:
            decision = Decision(chat.share, chat.chat_id, now=claim.now, context=claim.context, random_unit=0.5)
            reads.observe(decision, Features([made_position(chat.chat_id, claim.now, chat.share.sequence)], []))
            items.append(store.shares.item(decision, chat.lease, chat.before))
        committing = time.perf_counter()
        await store.shares.commit(items)
        commits.append((time.perf_counter() - committing) / len(items))
        claims.append((claimed - began) / len(items))
        polled += len(items)
    return claims, commits


def made_position(chat_id: str, now: float, number: int) -> Position:
    """Return a position as Linq's documentation shows them (four decimals, whole seconds), each the newest.

    People are spread over the world, and each is within a hundred metres of where they were last seen.
    """
    person = int(chat_id[-12:], 16)
    home = random.Random(person)
    return Position(
        handle=f"+1415{person % 10**7:07d}",
        longitude=round(home.uniform(-180, 179) + random.uniform(0, 0.001), 4),
        latitude=round(home.uniform(-80, 80) + random.uniform(0, 0.001), 4),
        altitude=None,
        address="Riverside Building, County Hall, London SE1 7PB, England",
        locality="London",
        updated_at=(int(now) - 60 + number) * 1_000_000_000,
    )


def _time_start(variables: dict[str, str], stub: Stub) -> float:
    """Return the seconds from starting a worker process to its first poll."""
    before = stub.requests()
    asked = 1
    began = time.monotonic()
    with running_worker(variables):
        while stub.requests() - before <= asked:
            asked += 1
            if time.monotonic() - began > 60:
                message = "the worker did not poll within 60 s"
                raise TimeoutError(message)
            time.sleep(0.01)
        return time.monotonic() - began


def _time_status(variables: dict[str, str]) -> float | None:
    began = time.monotonic()
    try:
        subprocess.run(
            [sys.executable, "-m", "worker", "status"],
            cwd=ROOT,
            env=variables,
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=_STATUS_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return None
    return time.monotonic() - began
