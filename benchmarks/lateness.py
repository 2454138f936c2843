"""How late an event is, end to end: from when a position could be read to its place on the stream.

`python -m benchmarks lateness`: real worker and web processes against the simulator, in real time, about seven
minutes (`--quick`: three). The simulator knows when a position became readable; the id of a stream entry says when it
got there; both clocks are this machine's. Tracked contacts are compared with a replay on the simulated clock: the same
updates, the same first reads, the same settings.
"""

import asyncio
import base64
import contextlib
import json
import math
import random
import secrets
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import simulated, waiting
from benchmarks.followers import Worker
from benchmarks.installation import environment, running_web, running_worker
from benchmarks.redis_server import RedisServer, running_redis
from benchmarks.simulated import Fleet, follow, quantile
from location_client import Job, LocationClient
from simulator.harness import SimulatorServer
from worker.domain.decision import Limits
from worker.domain.timestamp import parse_time

SEEDS = 5
MIN_POLL_SECONDS = (60.0, 15.0)  # the default, and the earlier default
TAIL = 60.0  # seconds at the end, in which no position's delay is counted
LINGER = 3.0  # seconds for reads that are under way at the end
MAX_WAIT_SECONDS = 240.0  # seconds after which a first position is given up
ACCEPT_LATEST = 150.0  # seconds after the prompt: requests of the scenarios that are accepted later would take too long
# (from, to): seconds between two updates of one phone, and metres between two positions
WALKING = ((20.0, 90.0), 150.0)
RESTING = ((90.0, 300.0), 5.0)
DEGREE = 111_195.0  # metres


class Seen(NamedTuple):
    """A position on the stream: its `updated_at`, when it was read, the time in the entry's id (seconds since 1970)."""

    chat_id: str
    updated_at: float
    received_at: float
    streamed_at: float


class Row(msgspec.Struct, frozen=True):
    """Delays of one part in seconds; `committed_p95` covers only the way from `received_at` to the stream.

    `requests` counts reads; `expected_…` are the results of a replay, None where there is none.
    """

    part: str
    positions: int
    mean: float
    p50: float
    p95: float
    committed_p95: float
    requests: int
    expected_mean: float | None = None
    expected_p95: float | None = None
    expected_requests: float | None = None


class Part:
    """One installation: a prefix on the shared Redis, a simulator and a worker of its own."""

    def __init__(self, redis: RedisServer, simulator: SimulatorServer, prefix: str, folder: Path, **more: str) -> None:
        self.redis = redis
        self.simulator = simulator
        self.prefix = prefix
        self.log = folder / f"{prefix}.log"
        self.variables = environment(
            redis.url, simulator.base_url, LINQ_API_V3_API_KEY=simulator.api_key, KEY_PREFIX=prefix, **more
        )

    @contextlib.asynccontextmanager
    async def queued(self, jobs: list[Job[Any]]) -> AsyncIterator[None]:
        """Run a worker that has these jobs to do."""
        with running_worker(self.variables, log=self.log):
            async with LocationClient(self.redis.url, key_prefix=self.prefix) as client:
                results = [job async for job, _ in client.results(await client.queue_many(jobs), timeout=60)]
            if len(results) != len(jobs):
                raise TimeoutError(self.complaint(f"{len(jobs) - len(results)} jobs had no result in a minute"))
            yield

    def complaint(self, what: str) -> str:
        """Return a message that says what went wrong, with the end of the worker's log."""
        return f"{self.prefix}: {what}\n{self.log.read_text(errors='replace')[-2000:]}"

    def seen(self) -> list[Seen]:
        """Return the positions that are on the stream."""
        # redis-py types its answers for both of its clients, blocking and asyncio.
        entries: Any = self.redis.client.xrange(f"{self.prefix}:events")
        found = []
        for entry_id, fields in entries:
            if fields[b"type"] != b"location.updated":
                continue
            told = json.loads(fields[b"data"])["properties"]
            streamed_at = int(entry_id.partition(b"-")[0]) / 1e3
            found.append(
                Seen(told["chat_id"], _seconds(told["updated_at"]), _seconds(told["received_at"]), streamed_at)
            )
        return found


def compare(console: Console, *, quick: bool = False) -> dict[str, Any]:
    """Measure all parts at the same time, print a table. Returns plain data for JSON."""
    seconds, people, requests = (150.0, 200, 60) if quick else (360.0, 400, 200)
    with running_redis() as redis, TemporaryDirectory(prefix="location-lateness-") as folder:

        async def measure() -> list[Row]:
            place = Path(folder)
            return await asyncio.gather(
                _announced(redis, place, requests),
                _unannounced(redis, place, requests, latest=60.0 if quick else ACCEPT_LATEST),
                *(
                    _tracked(redis, place, budget, people, rate, seconds, min_poll)
                    for min_poll in MIN_POLL_SECONDS
                    for budget, rate in (("tracking", 20.0), ("tracking, short budget", people / 90.0))
                ),
            )

        with console.status(f"people share and move for {seconds:.0f} s"):
            rows = asyncio.run(measure())
    _print(console, rows)
    return {"rows": msgspec.to_builtins(rows)}


async def _announced(redis: RedisServer, folder: Path, count: int) -> Row:
    """Ask people who accept within a minute, announced by webhooks."""
    with SimulatorServer() as simulator:
        chats = [simulator.add_person(accepts_after=random.uniform(5.0, 60.0)) for _ in range(count)]
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        part = Part(redis, simulator, "announced", folder, LINQ_REQUESTS_PER_SECOND="100", LINQ_WEBHOOK_SECRET=secret)
        with running_web(part.variables, log=folder / "web.log") as url:
            simulator.subscribe(f"{url}/webhooks/linq", secret=secret)
            jobs: list[Job[Any]] = [Job.request_location(chat_id=chat, follow=False) for chat in chats]
            vary = asyncio.create_task(_vary_first_position(simulator))
            try:
                async with part.queued(jobs):
                    delays, seen = await _first_positions(part, chats)
            finally:
                vary.cancel()
        return _row("first position, with webhooks", delays, seen, len(simulator.answers(endpoint="read")))


async def _unannounced(redis: RedisServer, folder: Path, count: int, *, latest: float) -> Row:
    """Ask people who accept as late as those of the published scenarios, without webhooks."""
    scenarios = [waiting.load(name) for name in ("pending-nohook", "pending-heavy")]
    accepts = [chat.accepted_at for scenario in scenarios for chat in scenario.chats if chat.accepted_at is not None]
    soon = [accepted_at for accepted_at in accepts if accepted_at <= latest][:count]
    with SimulatorServer() as simulator:
        chats = {simulator.add_person(accepts_after=accepted_at): accepted_at for accepted_at in soon}
        part = Part(redis, simulator, "unannounced", folder, LINQ_REQUESTS_PER_SECOND="100")
        jobs: list[Job[Any]] = [Job.request_location(chat_id=chat, follow=False) for chat in chats]
        async with part.queued(jobs):
            delays, seen = await _first_positions(part, list(chats))
        reads = len(simulator.answers(endpoint="read"))
        after = simulator.world.habits.first_position_after
    asked = [waiting.Request("", at, at + after, []) for at in soon]
    same = msgspec.structs.replace(scenarios[0], chats=asked)
    results = [waiting.await_all(same, random.Random(seed)) for seed in range(SEEDS)]
    mean, p95, polls, _ = (sum(values) / SEEDS for values in zip(*results, strict=True))
    return _row("first position, without", delays, seen, reads, mean, p95, polls * len(soon))


async def _vary_first_position(simulator: SimulatorServer) -> None:
    """Let a first position take one to two seconds, as in reality."""
    while True:
        simulator.change_habits(first_position_after=random.uniform(1.0, 2.0))
        await asyncio.sleep(0.05)


async def _first_positions(part: Part, chats: list[str]) -> tuple[list[float], list[Seen]]:
    """Wait until each chat has shown its first position; return how late each was, and the positions."""
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while len(seen := part.seen()) < len(chats):
        if time.monotonic() > deadline:
            raise TimeoutError(part.complaint(f"{len(chats) - len(seen)} first positions never came"))
        await asyncio.sleep(0.5)
    readable_at = {share.chat_id: share.first_position_at for share in part.simulator.world.shares.values()}
    return [position.streamed_at - readable_at[position.chat_id] for position in seen], seen


class _Phone(NamedTuple):
    chat_id: str
    shown: float  # the `updated_at` of what it shows at first, seconds after the beginning
    updates: list[tuple[float, float]]  # seconds after the beginning, metres from the last position


async def _tracked(  # noqa: PLR0917 (one line for each part in `compare`)
    redis: RedisServer, folder: Path, budget: str, count: int, rate: float, seconds: float, min_poll: float
) -> Row:
    """Track people whose phones publish at known times, and replay the same updates."""
    name = f"{budget}, MIN_POLL_SECONDS={min_poll:g}"
    with SimulatorServer() as simulator:
        generator = random.Random(budget)
        chats = [simulator.add_person(sharing=True) for _ in range(count)]
        phones = [_Phone(chat, generator.uniform(-60.0, 0.0), _updates(generator, seconds)) for chat in chats]
        prefix = f"{budget.replace(', ', '-').replace(' ', '-')}-{min_poll:g}"
        part = Part(redis, simulator, prefix, folder, MIN_POLL_SECONDS=repr(min_poll))
        part.variables["LINQ_REQUESTS_PER_SECOND"] = repr(rate)
        begin = time.time()
        for number, phone in enumerate(phones):
            simulator.set_position(phone.chat_id, None, number * 0.1, 50.0, updated_at=begin + phone.shown)
        publishing = asyncio.create_task(_publish(simulator, begin, phones))
        async with part.queued([Job.track_location(chat_id=chat) for chat in chats]):
            await asyncio.sleep(begin + seconds + LINGER - time.time())
        published = await publishing
        reads = [answer for answer in simulator.answers(endpoint="read") if answer.decided_at < begin + seconds]
        seen = part.seen()
    starts: dict[str, float] = {}
    for answer in reads:
        starts.setdefault(answer.chat_id or "", answer.decided_at - begin)
    scenario = _scenario(begin, seconds, rate, phones, published, starts)
    delays = _delays(scenario, [entry._replace(streamed_at=entry.streamed_at - begin) for entry in seen], begin)
    limits = Limits(min_poll=min_poll)
    expected = [_replayed(scenario, rate, limits, seed) for seed in range(SEEDS)]
    mean, p95, requests = (sum(values) / SEEDS for values in zip(*expected, strict=True))
    return _row(name, delays, seen, len(reads), mean, p95, requests)


class _Noting(Worker):
    """Records what its reads show, as if it were on the stream at once."""

    def __init__(self, scenario: simulated.Scenario, rate: float, limits: Limits, seed: int) -> None:
        super().__init__(rate, random.Random(seed), limits=limits)
        self._scenario = scenario
        self.seen: list[Seen] = []

    def told(self, chat: int, now: float, answer: simulated.Answer, rate: float) -> None:
        if answer.updated_at is not None:
            self.seen.append(Seen(self._scenario.chats[chat].id, answer.updated_at, now, now))
        super().told(chat, now, answer, rate)


def _replayed(scenario: simulated.Scenario, rate: float, limits: Limits, seed: int) -> tuple[float, float, float]:
    """Return mean and 95th percentile of the delays, and the reads, on the simulated clock."""
    follower = _Noting(scenario, rate, limits, seed)
    result = follow(Fleet(scenario), follower, rate)
    delays = sorted(_delays(scenario, follower.seen, 0.0))
    return sum(delays) / len(delays), quantile(delays, 0.95), result.requests


def _updates(generator: random.Random, seconds: float) -> list[tuple[float, float]]:
    (shortest, longest), metres = WALKING if generator.random() < 0.7 else RESTING
    updates = []
    at = generator.uniform(0.0, longest)
    while at < seconds:
        updates.append((at, metres))
        at += generator.uniform(shortest, longest)
    return updates


async def _publish(simulator: SimulatorServer, begin: float, phones: list[_Phone]) -> dict[str, list[float]]:
    """Show every update when it is time; return when each could be read, in seconds since 1970."""
    agenda = sorted((at, number, metres) for number, phone in enumerate(phones) for at, metres in phone.updates)
    places = [number * 0.1 for number in range(len(phones))]
    published: dict[str, list[float]] = defaultdict(list)
    for at, number, metres in agenda:
        await asyncio.sleep(max(0.0, begin + at - time.time()))
        places[number] += metres / DEGREE / math.cos(math.radians(50.0))
        chat_id = phones[number].chat_id
        simulator.set_position(chat_id, None, places[number], 50.0, updated_at=begin + at)
        published[chat_id].append(time.time())
    return published


def _scenario(  # noqa: PLR0917 (what `_tracked` has at hand, split off for length only)
    begin: float,
    seconds: float,
    rate: float,
    phones: list[_Phone],
    published: dict[str, list[float]],
    starts: dict[str, float],
) -> simulated.Scenario:
    chats = []
    for phone in phones:
        start = starts[phone.chat_id]
        # What the first read shows; never counted, because the share begins after it.
        updates = [(phone.shown, 0.0, 0.0)]
        updates += [
            (at, readable_at - begin - at, metres)
            for (at, metres), readable_at in zip(phone.updates, published[phone.chat_id], strict=True)
        ]
        chats.append(simulated.Chat(phone.chat_id, start, None, end_known=False, updates=updates))
    return simulated.Scenario(
        name="simulated people",
        horizon_s=seconds,
        warmup_s=0.0,
        burst=max(1.0, rate),
        mean_alive=len(phones),
        rates={},
        throttle=[],
        chats=chats,
        reference={},
        bounds={},
    )


def _delays(scenario: simulated.Scenario, seen: list[Seen], begin: float) -> list[float]:
    """Return each position's delay until it, or one that replaces it, was on the stream.

    Only positions that appear while the share is followed count, and none from the last seconds, as their delays are
    not known. In `seen`, `updated_at` counts from `begin`, `streamed_at` from the scenario's start.
    """
    entries: dict[str, list[Seen]] = defaultdict(list)
    for position in seen:
        entries[position.chat_id].append(position)
    delays = []
    for chat in scenario.chats:
        times = [position.updated_at - begin for position in entries[chat.id]]
        for updated_at, lag, _ in chat.updates:
            readable = updated_at + lag
            if not chat.start + 1.0 <= readable < scenario.horizon_s - TAIL:
                continue
            index = bisect_left(times, updated_at - 0.0006)  # `updated_at` is sent in milliseconds
            streamed = entries[chat.id][index].streamed_at if index < len(times) else math.inf
            delays.append(min(streamed, scenario.horizon_s) - readable)
    return delays


def _row(  # noqa: PLR0917 (a row of a table)
    part: str,
    delays: list[float],
    seen: list[Seen],
    requests: int,
    mean: float | None = None,
    p95: float | None = None,
    expected_requests: float | None = None,
) -> Row:
    ordered = sorted(delays)
    return Row(
        part=part,
        positions=len(delays),
        mean=sum(delays) / len(delays),
        p50=quantile(ordered, 0.5),
        p95=quantile(ordered, 0.95),
        committed_p95=quantile(sorted(entry.streamed_at - entry.received_at for entry in seen), 0.95),
        requests=requests,
        expected_mean=mean,
        expected_p95=p95,
        expected_requests=expected_requests,
    )


def _print(console: Console, rows: list[Row]) -> None:
    table = Table(title="From readable to on the stream, in seconds: measured / replayed", title_justify="left")
    for heading in ("", "positions", "mean", "median", "p95", "received_at to stream, p95", "reads"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=not heading)
    for row in rows:
        table.add_row(
            row.part,
            str(row.positions),
            _pair(row.mean, row.expected_mean, 2),
            f"{row.p50:.2f}",
            _pair(row.p95, row.expected_p95, 2),
            f"{row.committed_p95:.3f}",
            _pair(row.requests, row.expected_requests, 0),
        )
    console.print(table)


def _pair(measured: float, expected: float | None, digits: int) -> str:
    if expected is None:
        return f"{measured:.{digits}f}"
    return f"{measured:.{digits}f} / {expected:.{digits}f}\n{measured / expected - 1:+.1%}"


def _seconds(text: str) -> float:
    return parse_time(text) / 1e9
