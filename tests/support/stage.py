"""The stage of a whole-process test: simulator, Redis, workers, and what has been published so far."""

import contextlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from config.redis import connect
from config.settings import Settings
from location_client import Job, LocationClient, QueuedJob
from simulator.harness import SimulatorServer
from tests.support import oracle
from tests.support.crossings import Place
from tests.support.oracle import Disturbance, Entry, Share
from tests.support.process import WorkerProcess, Workers, leaks, private_texts
from tests.support.waiting import wait_until

RECORDING = "georust-garmin-long"
OFTEN = {"min_interval": 0.3, "max_interval": 0.6}  # seconds between two reads, also while a request waits


class Stage:
    """The parts of one test. `disturbances`: when something was killed or away, for the oracle."""

    def __init__(self, simulator: SimulatorServer, redis: Redis, prefix: str, workers: Workers) -> None:
        self.simulator = simulator
        self.redis = redis
        self.prefix = prefix
        self.workers = workers
        self.client = LocationClient(redis, key_prefix=prefix)
        self.references: dict[str, str] = {}
        self.places: dict[str, Sequence[Place]] = {}
        self.disturbances: list[Disturbance] = []

    def people(self, count: int, **arguments: Any) -> list[str]:
        """Add contacts on journeys of their own, who accept when asked; return their chats."""
        return [
            self.simulator.add_person(**{"recording": RECORDING, "offset": 97.0 * number, **arguments})
            for number in range(count)
        ]

    async def request(self, chat_id: str, **arguments: Any) -> dict[str, Any]:
        """Queue `request_location`, and return its result."""
        reference = self.references.setdefault(chat_id, f"order {len(self.references)}")
        self.places[chat_id] = arguments.get("places", ())
        job = await self.client.request_location(**{"chat_id": chat_id, "reference": reference, **OFTEN, **arguments})
        return dict(await job.result(timeout=60))

    async def request_all(self, chats: Sequence[str], **arguments: Any) -> list[QueuedJob[Any]]:
        """Queue `request_location` for many chats, without waiting for the results."""
        self.references |= {chat: f"order {number}" for number, chat in enumerate(chats)}
        self.places |= dict.fromkeys(chats, arguments.get("places", ()))
        return await self.client.queue_many(
            Job.request_location(**{"chat_id": chat, "reference": self.references[chat], **OFTEN, **arguments})
            for chat in chats
        )

    async def kill(self, worker: WorkerProcess) -> None:
        worker.kill()
        self.disturbed(time.time())

    def disturbed(self, since: float) -> None:
        """Note a disturbance from `since` (seconds since 1970 UTC) until now."""
        self.disturbances.append(Disturbance(since, time.time()))

    async def entries(self, chat_id: str | None = None, kind: str | None = None) -> list[Entry]:
        """Return the stream so far: of one chat, of one type."""
        raw = await self.redis.xrange(f"{self.prefix}:events")
        return [
            entry
            for entry in oracle.read_entries(raw)
            if (chat_id is None or entry["source"].endswith(chat_id)) and kind in (None, entry["type"])
        ]

    async def published(self, chat_id: str, kind: str, *, times: int = 1, deadline: float = 30) -> list[Entry]:
        """Wait until that many events of a type are there for a chat, and return them."""

        async def enough() -> list[Entry]:
            found = await self.entries(chat_id, kind)
            return found if len(found) >= times else []

        return await wait_until(enough, f"{times} x {kind}", deadline=deadline)

    async def more_positions(self, chats: Sequence[str], *, more: int = 1, deadline: float = 40) -> None:
        """Wait until each chat has `more` positions beyond those it has now."""
        seen = await self._positions()

        async def enough() -> bool:
            now = await self._positions()
            return all(now.get(chat, 0) >= seen.get(chat, 0) + more for chat in chats)

        await wait_until(enough, f"{more} more positions of each of {len(chats)} chats", deadline=deadline)

    async def _positions(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for entry in await self.entries(kind="location.updated"):
            chat_id = entry["source"].rpartition("/")[2]
            counts[chat_id] = counts.get(chat_id, 0) + 1
        return counts

    async def finish(self, **arguments: Any) -> dict[str, Share]:
        """End the workers, and compare the stream, the latest view and the requests with the simulator's answers."""
        await self.workers.stop()
        shares = oracle.check(
            await self.entries(),
            self.simulator.answers(),
            disturbances=self.disturbances,
            superseded=set().union(*(worker.superseded_reads() for worker in self.workers.started)),
            references=self.references,
            places=self.places,
            **arguments,
        )
        for share in shares.values():
            if share.ended_at == float("inf"):
                await self._see_latest(share)
        return shares

    async def _see_latest(self, share: Share) -> None:
        latest: dict[str, str] = {}
        for entry in share.entries:
            if entry["type"] == "location.updated":
                latest[entry["subject"]] = entry["data"]
            elif entry["type"] == "location.sharing.stopped":
                latest.pop(entry["subject"], None)
        key = f"{self.prefix}:latest:{share.chat_id}"
        # redis-py's annotation says "awaitable or not" for both of its clients at once.
        kept = await self.redis.hgetall(key)  # type: ignore[misc]
        assert {name.decode(): json.loads(value) for name, value in kept.items()} == {
            name: json.loads(value) for name, value in latest.items()
        }

    def requests(self, endpoint: Any, chat_id: str | None = None) -> list[Any]:
        """Return the simulator's answers so far."""
        return self.simulator.answers(endpoint=endpoint, chat_id=chat_id)


@contextlib.asynccontextmanager
async def open_stage(simulator: SimulatorServer, redis_url: str, prefix: str, directory: Path) -> AsyncIterator[Stage]:
    """Open a stage; at its end, end the workers, and check that no log holds anything private."""
    workers = Workers(redis_url=redis_url, prefix=prefix, simulator=simulator, directory=directory)
    redis = connect(Settings(redis_url=redis_url))
    try:
        yield Stage(simulator, redis, prefix, workers)
    finally:
        workers.close()
        await redis.aclose()
    for worker in workers.started:
        assert not leaks(worker.log(), private_texts(simulator)), "a log holds something private"
