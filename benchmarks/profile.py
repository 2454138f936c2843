"""Where the CPU of a poll goes: each step alone in this process, beside the whole of a worker process."""

import asyncio
import gc
import os
import socket
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import cycle
from typing import Any

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.gets import GETS, IN_FLIGHT, chat_ids
from benchmarks.growth import BATCH, poll_without_http
from benchmarks.installation import always_due, opened_store
from benchmarks.measure import run
from benchmarks.preload import preload
from benchmarks.redis_server import RedisServer, running_redis
from benchmarks.speed import DEFAULT, contenders
from benchmarks.stub import Stub, running_stub
from worker import metrics
from worker.domain import prompts, reads
from worker.domain.decision import Decision
from worker.domain.share import Person
from worker.domain.timestamp import format_time
from worker.linq.classification import read_observation
from worker.linq.reply import Reply
from worker.linq.socket_poller import SocketPoller
from worker.store.store import Store

_CHATS = 4_096
_SECOND = 1_000_000_000  # ns

KINDS = ("unchanged", "new")
STEPS = {
    "kernel": "send, receive, event loop",
    "client": "client: request, reply, future",
    "claim": "claim (of 128)",
    "begin": "begin a decision",
    "read": "read the reply",
    "observe": "observe: policy, events",
    "record": "metrics",
    "item": "pack for the commit",
    "commit": "commit (of 128)",
}


def compare(console: Console, *, quick: bool = False) -> dict[str, Any]:
    """Measure all steps in turn and the whole, print medians; return every figure as plain data for JSON."""
    rounds = 4 if quick else 20
    with running_stub() as stub, running_redis() as redis:
        found = uvloop.run(_measure(stub, redis, rounds))
        ours = next(contender for contender in contenders() if contender.name == DEFAULT)
        for kind, mode in zip(KINDS, ("none", "every"), strict=True):
            for _ in range(1 if quick else 3):
                found["whole", kind].append(run(ours, mode, stub, redis, seconds=4.0).cpu * 1e3)
    _print(console, found)
    return {f"{step}, {kind}": costs for (step, kind), costs in found.items()}


Found = dict[tuple[str, str], list[float]]


async def _measure(stub: Stub, redis: RedisServer, rounds: int) -> Found:
    found: Found = defaultdict(list)
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    url = stub.base_url("none")
    async with opened_store(always_due(redis.url)) as store, _poller(url) as poller:
        await preload(store, _CHATS)
        # First polls differ from later ones; after these, every share has a pace and a person.
        await poll_without_http(store, 3 * _CHATS)
        # As the worker process does.
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        for _ in range(rounds):
            bare = await _exchange(url)
            found["kernel", ""].append(bare)
            found["client", ""].append(await _fetch(poller) - bare)
            for kind in KINDS:
                await _decide(store, kind, found)
    os.sched_setaffinity(0, allowed)
    return found


@asynccontextmanager
async def _poller(url: str) -> AsyncIterator[SocketPoller]:
    poller = SocketPoller(base_url=url, api_key="benchmark", timeout=10)
    try:
        yield poller
    finally:
        await poller.close()


async def _many(begin: Callable[[Callable[[], None]], None]) -> float:
    """Measure exchanges, many in flight; `begin` begins one, and calls its argument when the reply has come."""
    left = GETS
    done = asyncio.get_running_loop().create_future()

    def go_on() -> None:
        nonlocal left
        left -= 1
        if left >= IN_FLIGHT:
            begin(go_on)
        elif not left:
            done.set_result(None)

    before = time.process_time()
    for _ in range(IN_FLIGHT):
        begin(go_on)
    await done
    return (time.process_time() - before) / GETS * 1e6


async def _fetch(poller: SocketPoller) -> float:
    chats = cycle(chat_ids())
    return await _many(lambda go_on: poller.fetch(next(chats)).add_done_callback(lambda _: go_on()))


async def _exchange(url: str) -> float:
    """Measure the same bytes on sockets, without parsing them."""
    loop = asyncio.get_running_loop()
    authority, _, path = url.removeprefix("http://").partition("/")
    request = (
        f"GET /{path}/v3/chats/{chat_ids()[0]}/location HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer k\r\n"
        "Accept: application/geo+json, application/json\r\nAccept-Encoding: identity\r\nUser-Agent: worker\r\n\r\n"
    ).encode()
    host, _, port = authority.partition(":")
    waiting: dict[socket.socket, Callable[[], None]] = {}
    idle: list[socket.socket] = []

    def receive(connected: socket.socket) -> None:
        connected.recv(65536)
        idle.append(connected)
        waiting[connected]()

    def begin(go_on: Callable[[], None]) -> None:
        connected = idle.pop()
        waiting[connected] = go_on
        connected.send(request)

    for _ in range(IN_FLIGHT):
        connected = socket.create_connection((host, int(port)))
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop.add_reader(connected, receive, connected)
        idle.append(connected)
    cost = await _many(begin)
    for connected in idle:
        loop.remove_reader(connected)
        connected.close()
    return cost


async def _decide(store: Store, kind: str, found: Found) -> None:
    """Poll a batch of chats without HTTP, step by step."""
    last = time.process_time()

    def lap(step: str) -> None:
        nonlocal last
        now = time.process_time()
        found[step, kind].append((now - last) / len(claim.chats) * 1e6)
        last = time.process_time()

    claim = await store.shares.claim(BATCH)
    lap("claim")
    replies = [Reply(200, _body(chat.share.people[0], new=kind == "new"), None, None, None) for chat in claim.chats]
    last = time.process_time()
    decisions = [
        Decision(chat.share, chat.chat_id, now=claim.now, context=claim.context, random_unit=0.5)
        for chat in claim.chats
    ]
    for decision in decisions:
        prompts.next_action(decision)
    lap("begin")
    observations = [read_observation(reply, now=claim.now) for reply in replies]
    lap("read")
    for decision, observation in zip(decisions, observations, strict=True):
        reads.observe(decision, observation)
    lap("observe")
    for _ in decisions:
        metrics.POLLS.inc("unchanged")
        metrics.POLL_SECONDS.observe(0.01)
    lap("record")
    items = [
        store.shares.item(decision, chat.lease, chat.before)
        for decision, chat in zip(decisions, claim.chats, strict=True)
    ]
    lap("item")
    await store.shares.commit(items)
    lap("commit")


def _body(person: Person, *, new: bool) -> bytes:
    """Return the reply that shows a person where they were last, or there again a second later."""
    properties = {
        "handle": person.handle,
        "address": "Riverside Building, County Hall, London SE1 7PB, England",
        "locality": "London",
        "updated_at": format_time((person.updated_at or 0) + new * _SECOND),
    }
    geometry = {"type": "Point", "coordinates": [person.longitude, person.latitude]}
    features = [{"type": "Feature", "geometry": geometry, "properties": properties}]
    return msgspec.json.encode({"success": True, "data": {"type": "FeatureCollection", "features": features}})


def _print(console: Console, found: Found) -> None:
    table = Table(title="microseconds of CPU a poll, medians; Redis' own are not in it", title_justify="left")
    table.add_column("step")
    for kind in KINDS:
        table.add_column(kind, justify="right")
    sums = dict.fromkeys(KINDS, 0.0)
    for step, name in STEPS.items():
        costs = [statistics.median(found.get((step, kind)) or found[step, ""]) for kind in KINDS]
        for kind, cost in zip(KINDS, costs, strict=True):
            sums[kind] += cost
        table.add_row(name, *(f"{cost:.1f}" for cost in costs))
    whole = {kind: statistics.median(found["whole", kind]) for kind in KINDS}
    table.add_row("the rest: book-keeping, garbage, timers", *(f"{whole[kind] - sums[kind]:.1f}" for kind in KINDS))
    table.add_row("a worker process, whole", *(f"{whole[kind]:.1f}" for kind in KINDS))
    console.print(table)
