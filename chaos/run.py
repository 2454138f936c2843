"""One run: a whole installation on a cluster that can fail over, people who share, and things that break at random."""

import asyncio
import contextlib
import os
import secrets
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from chaos.actions import ACTIONS, Action
from chaos.cluster import Cluster, Node
from chaos.judge import Delivery, Trouble, Verdict, judge
from config.redis import connect
from config.settings import Settings
from location_client import Event, Job, JobExists, LocationClient, Place
from simulator.harness import SimulatorServer
from simulator.movement import recording, recording_names
from simulator.world import Habits
from tests.support.ports import free_port
from tests.support.process import QUICK, ROOT, WorkerProcess, leaks, private_texts
from tests.support.waiting import wait_until
from tests.support.web import SECRET
from worker.store.store import Store

POLL_CLIENTS = ("socket", "httpx")  # of the workers
RATE = 100.0
COOLDOWN_SECONDS = 5.0
SPEED = 10.0  # of the people: phones publish every 2 to 9 s
STORM_ACTIONS = (2, 4)  # in each storm, at least and at most
HOLD_SECONDS = (0.2, 4.0)  # how long something stays broken
PLACES_AHEAD_SECONDS = (0.0, 120.0, 300.0)  # of the story
UNTIL_SHARE = 0.3  # of those with places
STOP_WHEN_DONE_SHARE = 0.5  # of those
DOUBTFUL_EVERY = 4  # of so many requests one gets no answer to its prompt, and its contact takes a while
DOUBTFUL_ACCEPT_AFTER = (100.0, 200.0)  # of the story: beyond the cool-down, so that a second prompt is due
CALM_SECONDS = 6.0  # after a storm: what is seen now is judged without mercy
SETTLED_SECONDS = 4.0  # after the end of an action until it counts as over: a lease and a read
HEALED_WITHIN = 60.0
END_WITHIN = 90.0
LOST_AFTER_SECONDS = 20.0  # without any event of a request in calm, its job is lost
KEY_PREFIX = "chaos"
FAULTS_OF_OURS = (
    "Traceback",
    '"poll_failed"',
    '"polling_failed"',
    '"committer_replaced"',
    '"stopping_takes_too_long"',
)

Say = Callable[[str], None]


@dataclass
class Run:
    """The parts of a run, and what has happened. Times in seconds since 1970 UTC."""

    seed: int
    people: int
    folder: Path
    say: Say
    random: Random = field(init=False)
    cluster: Cluster = field(init=False)
    client: LocationClient = field(init=False)
    simulator: SimulatorServer = field(init=False)
    workers: list[WorkerProcess] = field(default_factory=list)
    web: WorkerProcess = field(init=False)
    clocks: list[Path] = field(default_factory=list)
    chats: list[str] = field(default_factory=list)
    places: dict[str, list[Place]] = field(default_factory=dict)
    until: dict[str, str] = field(default_factory=dict)
    stop_when_done: set[str] = field(default_factory=set)
    deliveries: list[Delivery] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    actions: int = 0
    begun: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    logs: list[WorkerProcess] = field(default_factory=list)
    _environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)

    async def go(self, seconds: float) -> Verdict:
        """Run for about `seconds`, let everything end, and judge."""
        async with contextlib.AsyncExitStack() as stack:
            self.cluster = await stack.enter_async_context(Cluster())
            self.simulator = await stack.enter_async_context(
                SimulatorServer(habits=Habits(speed=SPEED, prompt_interval=0.0))
            )
            self._prepare()
            stack.callback(self._close)
            self.client = await stack.enter_async_context(LocationClient(self.cluster.url, key_prefix=KEY_PREFIX))
            consumer = asyncio.create_task(self._consume())
            stack.push_async_callback(_end, consumer)
            playing = asyncio.create_task(self._play(seconds))
            stack.push_async_callback(_end, playing)
            await asyncio.wait({playing, consumer}, return_when=asyncio.FIRST_COMPLETED)
            if not playing.done():
                raise RuntimeError("the consumer has ended") from consumer.exception()
            return playing.result()

    async def _play(self, seconds: float) -> Verdict:
        for number in range(len(POLL_CLIENTS)):
            await self.start_worker(number)
        await self.start_web()
        await asyncio.gather(self._request_all(over=seconds * 0.6), self._storms(time.monotonic() + seconds))
        await self._finish()
        await asyncio.gather(*(self._stop(worker) for worker in [*self.workers, self.web]))
        return await self._judge()

    # Parts

    def _prepare(self) -> None:
        names = recording_names()
        for number in range(self.people):
            journey = names[number % len(names)]
            delays = DOUBTFUL_ACCEPT_AFTER if _is_doubtful(number) else (0.0, 5.0, 20.0, 40.0)
            self.chats.append(
                self.simulator.add_person(
                    recording=journey,
                    offset=number * 977 % recording(journey).times[-1],
                    accepts_after=self.random.choice(delays),
                    stored_age=self.random.choice([None, None, 3600.0]),
                    address_after=self.random.choice([0.0, 10.0, None]),
                )
            )
        for chat_id in self.chats[: self.people * 2 // 3]:
            self._place(chat_id)
        self.clocks = [self.folder / f"clock-{number}" for number in range(len(POLL_CLIENTS))]
        port = free_port()
        self.simulator.subscribe(f"http://127.0.0.1:{port}/webhooks/linq", secret=SECRET)
        self._environment = {
            **QUICK,
            "PYTHONPATH": str(ROOT),
            "REDIS_URL": self.cluster.url,
            "KEY_PREFIX": KEY_PREFIX,
            "LINQ_API_V3_API_KEY": self.simulator.api_key,
            "LINQ_API_V3_BASE_URL": self.simulator.base_url,
            "LINQ_REQUESTS_PER_SECOND": str(RATE),
            "LINQ_WEBHOOK_SECRET": SECRET,
            "MAX_POLL_SECONDS": "2",
            "REQUEST_COOLDOWN_SECONDS": str(COOLDOWN_SECONDS),
            "LOG_LEVEL": "INFO",
            "HOST": "127.0.0.1",
            "PORT": str(port),
        }

    def _place(self, chat_id: str) -> None:
        """Name places to arrive at: at the beginning, on the way, and for some the place where the share ends."""
        for number, seconds in enumerate(PLACES_AHEAD_SECONDS):
            fix = self.simulator.place_ahead(chat_id, seconds)
            radius = self.random.choice([40, 150])
            place = Place(name=f"stop {number}", latitude=fix.latitude, longitude=fix.longitude, radius=radius)
            self.places.setdefault(chat_id, []).append(place)
        if self.random.random() < UNTIL_SHARE:
            self.until[chat_id] = f"stop {len(PLACES_AHEAD_SECONDS) - 1}"
            if self.random.random() < STOP_WHEN_DONE_SHARE:
                self.stop_when_done.add(chat_id)

    async def start_worker(self, number: int) -> None:
        """Start a worker in this place."""
        environment = {**os.environ, **self._environment, "CHAOS_CLOCK": str(self.clocks[number])}
        environment["POLL_CLIENT"] = POLL_CLIENTS[number]
        log = self.folder / f"worker-{len(self.logs)}.log"
        worker = WorkerProcess(environment, log, command=("chaos.skewed", "worker"))
        self.logs.append(worker)
        self.workers[number : number + 1] = [worker]

    async def start_web(self) -> None:
        """Start the webhook receiver."""
        self.web = WorkerProcess(
            {**os.environ, **self._environment}, self.folder / f"web-{len(self.logs)}.log", command=("worker", "web")
        )
        self.logs.append(self.web)

    async def master(self) -> Node:
        """Return the present master; waits for one."""
        return cast("Node", await wait_until(self.cluster.master, "a master", deadline=HEALED_WITHIN))

    def sharing_handles(self) -> list[str]:
        """Return who shares now."""
        return [handle for chat in self.simulator.state()["chats"] for handle in chat["sharing"]]

    def tracked(self) -> list[str]:
        """Return the chats that are tracked, by what the consumer has seen."""
        return [chat_id for chat_id in self.chats if chat_id in self.begun - self.ended]

    def expect(self, kept: bool, fault: str) -> None:
        """Record a broken promise that is noticed during the run."""
        if not kept:
            self.faults.append(fault)

    async def _stop(self, worker: WorkerProcess) -> None:
        status = await worker.stop()
        self.expect(status == 0, f"a process ended with status {status} on SIGTERM")

    def _close(self) -> None:
        for worker in self.logs:
            worker.close()

    # What users do

    async def _request_all(self, *, over: float) -> None:
        for number, chat_id in enumerate(self.chats):
            if _is_doubtful(number):
                reached = number % (2 * DOUBTFUL_EVERY) == 0
                self.simulator.fault("reset", endpoint="request", chat_id=chat_id, after_work=reached)
            await self._request(chat_id, str(uuid.UUID(int=self.random.getrandbits(128), version=4)))
            await asyncio.sleep(over / len(self.chats))

    async def _request(self, chat_id: str, job_id: str) -> None:
        """Queue a request until Redis has it; the id is the same each time."""
        arguments = {
            "chat_id": chat_id,
            "reference": chat_id[:8],
            "min_interval": 0.5,
            "max_interval": 2.0,
            "places": self.places.get(chat_id),
            "until": self.until.get(chat_id),
            "stop_when_done": chat_id in self.stop_when_done,
        }
        job = Job.checked("request_location", arguments, job_id)
        while True:
            try:
                await self.client.queue(job)
            except JobExists:
                return
            except (RedisError, OSError):
                await asyncio.sleep(0.2)
            else:
                return

    async def order_stop(self) -> None:
        """Have Linq asked to end the share of somebody who is tracked."""
        sharing = set(self.sharing_handles())
        handles = {chat_id: self.simulator.handle_of(chat_id) for chat_id in self.tracked()}
        sharing_chats = [chat_id for chat_id, handle in handles.items() if handle in sharing]
        if sharing_chats:
            chat_id = self.random.choice(sharing_chats)
            with contextlib.suppress(RedisError, OSError):
                await self.client.stop_sharing(chat_id, handles[chat_id])

    async def _consume(self) -> None:
        """Read as a service would: in a group, acknowledging each event when it is done."""
        async for event in self.client.group_events("judges", "judge-1", start="0", claim_idle=5.0):
            delivery = _delivery(event)
            self.deliveries.append(delivery)
            self.begun.add(delivery.chat_id)
            if delivery.type == "location.tracking.ended":
                self.ended.add(delivery.chat_id)
            await event.acknowledge()

    # What goes wrong

    async def _storms(self, deadline: float) -> None:
        await self._calm()
        while time.monotonic() < deadline:
            for _ in range(self.random.randint(*STORM_ACTIONS)):
                await self._act(self._choose())
            await self._heal()
            await self._calm()

    def _choose(self) -> Action:
        return self.random.choices(ACTIONS, weights=[action.weight for action in ACTIONS])[0]

    async def _act(self, action: Action) -> None:
        seconds = self.random.uniform(*HOLD_SECONDS)
        self.say(f"{action.name} ({seconds:.1f} s)")
        self.actions += 1
        begin = time.time()
        async with action.start(self):
            await asyncio.sleep(seconds)
        if action.rollback:
            await self._heal()
            begin -= 1.0  # the append-only file is written every second
        if action.disturbs:
            self.troubles.append(Trouble(begin, time.time() + SETTLED_SECONDS, rollback=action.rollback))

    async def _heal(self) -> None:
        self.simulator.clear_faults()
        await self.cluster.revive()
        await wait_until(self.cluster.is_healed, "a cluster in order", deadline=HEALED_WITHIN)

    async def _calm(self) -> None:
        await asyncio.sleep(SETTLED_SECONDS + CALM_SECONDS)

    # The end

    async def _finish(self) -> None:
        self.say("calm: everybody stops sharing")
        deadline = time.monotonic() + END_WITHIN
        lost_jobs: set[str] = set()
        while (missing := set(self.chats) - self.ended) and time.monotonic() < deadline:
            for handle in self.sharing_handles():
                self.simulator.stop_sharing(handle)
            for chat_id in missing:
                if chat_id not in self.begun and time.monotonic() > deadline - END_WITHIN + LOST_AFTER_SECONDS:
                    # The job was lost with Redis' last moments: its caller sees no result and queues it again.
                    lost_jobs.add(chat_id)
                    await self._request(chat_id, str(uuid.uuid5(uuid.NAMESPACE_OID, chat_id)))
                elif time.monotonic() > deadline - END_WITHIN / 2:
                    # The contact was asked, but did not answer or never got the prompt.
                    with contextlib.suppress(RedisError, OSError, JobExists):
                        await self.client.untrack_location(chat_id, job_id=str(uuid.uuid5(uuid.NAMESPACE_URL, chat_id)))
            await asyncio.sleep(2.0)
        await wait_until(self._is_queue_empty, "every job is done", deadline=END_WITHIN)
        if lost_jobs:
            self.say(f"{len(lost_jobs)} jobs were lost with Redis' data and queued again")

    async def _is_queue_empty(self) -> bool:
        return int(await self.client.redis.zcard(self.client.queue_name)) == 0

    async def _judge(self) -> Verdict:
        settings = Settings(redis_url=self.cluster.url, key_prefix=KEY_PREFIX)
        redis: Redis = connect(settings)
        try:
            store = Store(redis, settings)
            present = {}
            for chat_id in self.chats:
                share = (await store.shares.load(chat_id)).share
                present[chat_id] = None if share is None else share.share_id
        finally:
            await redis.aclose()
        lost = {
            delivery.share_id
            for delivery in self.deliveries
            if delivery.chat_id in present and present[delivery.chat_id] != delivery.share_id
        }
        verdict = judge(
            self.deliveries,
            self.simulator.answers(),
            self.troubles,
            chats=self.chats,
            lost_shares=lost,
            cooldown=COOLDOWN_SECONDS,
            rate=RATE,
            request_times=self.simulator.request_times(),
            places=self.places,
            until=self.until,
            stop_when_done=self.stop_when_done,
        )
        verdict.faults += self.faults + self._complaints()
        verdict.figures["actions"] = self.actions
        return verdict

    def _complaints(self) -> list[str]:
        """Return what must not be in the logs: our own faults, and anything private."""
        found = []
        private = list(private_texts(self.simulator))
        for worker in self.logs:
            text = worker.log()
            if leaks(text, iter(private)):
                found.append(f"logs: {worker.log_path.name} holds something private")
            found += [f"logs: {worker.log_path.name} holds {sign}" for sign in FAULTS_OF_OURS if sign in text]
        return found


def _is_doubtful(number: int) -> bool:
    return number % DOUBTFUL_EVERY == 0


def _delivery(event: Event) -> Delivery:
    return Delivery(
        id=event.id,
        type=event.type,
        chat_id=event.chat_id or "",
        share_id=event.share_id or "",
        subject=event.subject or "",
        data=cast("dict[str, Any]", event.data),
        at=time.time(),
    )


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def new_seed() -> int:
    """Return a random seed."""
    return secrets.randbelow(2**31)


def tell(verdict: Verdict) -> Sequence[str]:
    """Return the verdict as lines."""
    width = max(map(len, verdict.figures), default=0)
    lines = [f"  {name:{width}}  {verdict.figures[name]}" for name in sorted(verdict.figures)]
    return [*lines, *(f"BROKEN  {fault}" for fault in verdict.faults)]
