"""LocationClient: other Python services queue jobs, read events and look up the latest positions with it.

    async with LocationClient("redis://localhost:6379/0") as client:
        job = await client.request_location(chat_id="3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13", reference="7")
        print(await job.result(timeout=60))
        async for event in client.group_events("billing", "billing-1"):
            ...
            await event.acknowledge()

It needs only Redis, nothing else of this project. docs/reference/jobs.md and events.md describe what it writes and
reads.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, Unpack

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from location_client import events as client_events
from location_client import stream
from location_client.address import ACCEPTED, parse_address, show_url
from location_client.arguments import Chat, Pin, Request
from location_client.commands import Commands, stop_if_cancelled
from location_client.connection import connect
from location_client.data import Feature, Place
from location_client.events import Event
from location_client.jobs import (
    FIRST_PAUSE_SECONDS,
    JOB_KEY,
    LIFE_MILLISECONDS,
    RESULT_KEY,
    Job,
    JobExists,
    JobFailed,
    Pace,
    decode_result,
)
from location_client.limits import LATITUDE, LONGITUDE, is_number
from location_client.locating import locate
from location_client.results import (
    ForgetResult,
    PinResult,
    PlacesResult,
    RequestResult,
    StopResult,
    TrackResult,
    UntrackResult,
)

ResultT = TypeVar("ResultT")

# Jobs in one MULTI/EXEC: enough to make the round trip cheap, few enough to hold Redis for a few milliseconds
# only.
_BATCH = 500

# How long neither job nor result may be visible before the job counts as lost. Generous: a worker writes the result as
# it deletes the job.
_LOST_AFTER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class QueuedJob(Generic[ResultT]):
    """A job that was queued."""

    id: str
    client: "LocationClient"

    async def result(self, *, timeout: float | None = 60.0) -> ResultT:
        """Wait for the job's answer, at most `timeout` seconds (None: for ever), and return it.

        Raises JobFailed if the job failed or is lost, TimeoutError if there is no answer in time.
        """
        async for _, outcome in self.client.results([self], timeout=timeout):
            if isinstance(outcome, JobFailed):
                raise outcome
            return outcome
        raise TimeoutError(f"job {self.id} has no result after {timeout:g} s: does a worker serve this queue?")


class LocationClient:
    """Queue jobs and read events. One client serves a whole program; its methods may run concurrently."""

    def __init__(
        self, redis_or_url: Redis | str, *, key_prefix: str = "location", queue_name: str | None = None
    ) -> None:
        """Use a URL as in the worker's REDIS_URL, also `redis+sentinel://`, or a Redis client, which stays open.

        `key_prefix` and `queue_name`: KEY_PREFIX and QUEUE_NAME of the workers. Raises ValueError for an invalid URL.
        """
        self._owns_redis = isinstance(redis_or_url, str)
        self.redis = _connect(redis_or_url) if isinstance(redis_or_url, str) else redis_or_url
        self._commands = Commands(self.redis)
        self.key_prefix = key_prefix
        self.queue_name = queue_name or f"{key_prefix}:jobs"
        self._stream = f"{key_prefix}:events"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections, unless a Redis client was passed in."""
        if self._owns_redis:
            await self.redis.aclose()

    # Jobs

    async def request_location(
        self, *, job_id: str | None = None, **arguments: Unpack[Request]
    ) -> QueuedJob[RequestResult]:
        """Ask the contact of a 1:1 chat to share, and track the share."""
        return await self.queue(Job.request_location(job_id=job_id, **arguments))

    async def locate(
        self, chat_id: str | None = None, /, *, timeout: float = 60.0, **arguments: Unpack[Request]
    ) -> Feature:
        """Ask the contact and return one position, at most `max_age` seconds old when it was read.

        Without `max_age`, any position will do. Raises NotLocatedError if Linq refused, or the contact did not accept
        in time or shared nothing fresh enough: the request lives for `accept_within` seconds, by default a little less
        than `timeout`. Raises TimeoutError if no worker has said so within `timeout`; JobFailed and ValueError as
        `request_location`.
        """
        if chat_id is not None:
            arguments["chat_id"] = chat_id
        return await locate(self, timeout=timeout, **arguments)

    async def track_location(self, *, job_id: str | None = None, **arguments: Unpack[Chat]) -> QueuedJob[TrackResult]:
        """Track a chat without a prompt: a group, or a contact who shares already."""
        return await self.queue(Job.track_location(job_id=job_id, **arguments))

    async def set_places(
        self, chat_id: str, places: list[Place], *, until: str | None = None, job_id: str | None = None
    ) -> QueuedJob[PlacesResult]:
        """Change the places of a tracked share; `until` names the one whose entering ends it."""
        return await self.queue(Job.set_places(chat_id, places, until=until, job_id=job_id))

    async def untrack_location(self, chat_id: str, *, job_id: str | None = None) -> QueuedJob[UntrackResult]:
        """Stop tracking a chat; nothing changes for the contact."""
        return await self.queue(Job.untrack_location(chat_id, job_id=job_id))

    async def stop_sharing(self, chat_id: str, handle: str, *, job_id: str | None = None) -> QueuedJob[StopResult]:
        """Ask Linq to end the contact's share."""
        return await self.queue(Job.stop_sharing(chat_id, handle, job_id=job_id))

    async def send_pin(self, *, job_id: str | None = None, **arguments: Unpack[Pin]) -> QueuedJob[PinResult]:
        """Send a one-time pin through Chert."""
        return await self.queue(Job.send_pin(job_id=job_id, **arguments))

    async def forget_handle(self, handle: str, *, job_id: str | None = None) -> QueuedJob[ForgetResult]:
        """Erase what is kept about a handle."""
        return await self.queue(Job.forget_handle(handle, job_id=job_id))

    async def queue(self, job: Job[ResultT]) -> QueuedJob[ResultT]:
        """Queue one job. Raises JobExists if its id is in use, redis.RedisError if it was not written."""
        (queued,) = await self.queue_many([job])
        return queued

    async def queue_many(
        self, jobs: Iterable[Job[ResultT]], *, progress: Callable[[int], object] | None = None
    ) -> list[QueuedJob[ResultT]]:
        """Queue any number of jobs, a few hundred at a time; `progress` is called with the size of each batch.

        Raises JobExists if ids are in use (the other jobs of that batch are queued), redis.RedisError if Redis is away:
        writing the same jobs again is safe as long as none of them has run.
        """
        queued: list[QueuedJob[ResultT]] = []
        for batch in _batches(jobs, _BATCH):
            await self._write(batch)
            queued += [QueuedJob(job.id, self) for job in batch]
            if progress is not None:
                progress(len(batch))
        return queued

    async def _write(self, jobs: Sequence[Job[Any]]) -> None:
        # By Redis' clock, which is common to all machines: a client whose clock is fast must not delay its jobs.
        looking = self.redis.pipeline(transaction=False)
        looking.execute_command("TIME")
        for job in jobs:
            looking.execute_command("EXISTS", RESULT_KEY + job.id)
        (seconds, microseconds), *finished = await looking.execute()
        now = int(seconds) * 1000 + int(microseconds) // 1000
        writing = self.redis.pipeline(transaction=True)
        written = []
        for job, is_finished in zip(jobs, finished, strict=True):
            if not is_finished:
                written.append(job)
                # NX: a job with the same id stays as it is, and so does its place in the queue.
                body = job.encode(now)
                writing.execute_command("SET", JOB_KEY + job.id, body, "PX", LIFE_MILLISECONDS, "NX")
                writing.execute_command("ZADD", self.queue_name, "NX", now, job.id)
        answers = await writing.execute() if written else []
        refused = [job.id for job, is_finished in zip(jobs, finished, strict=True) if is_finished]
        refused += [job.id for job, is_set in zip(written, answers[::2], strict=True) if not is_set]
        if refused:
            raise JobExists(f"job id in use: {', '.join(refused)}; an id is free again one hour after its job has run")

    async def results(
        self, jobs: Iterable[QueuedJob[ResultT]], *, timeout: float | None = 60.0
    ) -> AsyncIterator[tuple[QueuedJob[ResultT], ResultT | JobFailed]]:
        """Yield the answers of many jobs as they come; end when all have come or `timeout` seconds have passed."""
        waiting = {job.id: job for job in jobs}
        missing_since: dict[str, float] = {}
        pace = Pace.until(timeout)
        while waiting:
            stop_if_cancelled()
            found = False
            for batch in _batches(list(waiting.values()), _BATCH):
                for job, outcome in await self._look(batch, missing_since):
                    found = True
                    del waiting[job.id]
                    yield job, outcome
            if waiting:
                if pace.over:
                    return
                if found:
                    pace.pause = FIRST_PAUSE_SECONDS
                await asyncio.sleep(pace.next_pause())

    async def _look(
        self, jobs: Sequence[QueuedJob[ResultT]], missing_since: dict[str, float]
    ) -> list[tuple[QueuedJob[ResultT], ResultT | JobFailed]]:
        # Both keys of a job in one MGET: a job that is neither waiting nor answered has been lost.
        keys = [kind + job.id for job in jobs for kind in (RESULT_KEY, JOB_KEY)]
        try:
            values = await self._commands.send("MGET", *keys)
        except (RedisError, OSError) as error:
            if not self._commands.passes(error):
                raise
            return []  # tried again, until the time is up
        now = asyncio.get_running_loop().time()
        found: list[tuple[QueuedJob[ResultT], ResultT | JobFailed]] = []
        for job, result, body in zip(jobs, values[::2], values[1::2], strict=True):
            if result is not None:
                try:
                    found.append((job, decode_result(result)))
                except JobFailed as failure:
                    found.append((job, failure))
            elif body is not None:
                missing_since.pop(job.id, None)
            elif now - missing_since.setdefault(job.id, now) >= _LOST_AFTER_SECONDS:
                found.append((job, JobFailed("JobNotFound", _NOT_FOUND)))
        return found

    # Events

    def events(
        self,
        after: str = "$",
        *,
        types: Collection[str] | None = None,
        block: float | None = None,
        count: int = 1000,
    ) -> AsyncIterator[Event]:
        """Yield events in order, without a group: every reader sees all of them.

        `after`: `$` begins with what is published after the iteration has begun, `0` with the oldest event kept, a
        stream id after that entry. `types`: only these. `block`: seconds to wait for the next event before the
        iteration ends, None for ever. The iteration waits for a Redis that is away, full, or not the master, and while
        a password is being changed; nothing is left out or repeated. Other errors of redis-py are raised: missing
        rights, a login that is refused from the start.
        """
        return stream.read_events(self._commands, self._stream, after, types=types, block=block, count=count)

    def group_events(
        self,
        group: str,
        consumer: str,
        *,
        start: str = "$",
        claim_idle: float | None = 60.0,
        types: Collection[str] | None = None,
        block: float | None = None,
        count: int = 500,
    ) -> AsyncIterator[Event]:
        """Yield events as one consumer of a group: each event goes to one consumer, until it is acknowledged.

        First come the events that this consumer had not acknowledged when it last ran. Events that nobody has
        acknowledged for `claim_idle` seconds are handed out again, so `count` events must not take longer; None: never.
        `start`: where a new group begins, `$` or `0`; a group whose stream was deleted begins again at `0`. Events of
        other `types` are acknowledged unseen. `block` and outages as in events().
        """
        reader = stream.Group(self._commands, self._stream, group, consumer, start)
        return stream.read_group_events(reader, claim_idle=claim_idle, types=types, block=block, count=count)

    async def acknowledge(self, events: Iterable[Event]) -> None:
        """Mark events of group_events() as done; waits for a Redis that is away."""
        await client_events.acknowledge(events)

    async def last_event_id(self) -> str:
        """Return the stream id of the newest event, for events(after=…): `0-0` where there is none."""
        return await stream.last_stream_id(self._commands, self._stream)

    # Latest view

    async def latest(self, chat_id: str) -> dict[str, Feature]:
        """Return the last position of each handle that shares in this chat now."""
        fields: dict[bytes, bytes] = await self._commands.send("HGETALL", f"{self.key_prefix}:latest:{chat_id.lower()}")
        return {handle.decode(): msgspec.json.decode(value) for handle, value in fields.items()}

    async def nearby(self, longitude: float, latitude: float, radius: float) -> list[tuple[str, float]]:
        """Return who shares a position within `radius` metres: handles with their distance in metres, nearest first.

        Raises ValueError for a point that is not on the map (Redis: latitudes up to 85.05112878°).
        """
        if not (LONGITUDE.accepts(longitude) and LATITUDE.accepts(latitude) and abs(latitude) <= _MAX_GEO_LATITUDE):
            raise ValueError(
                "not a point of the geo set: expected -180 to 180 degrees of longitude and -85.05112878 to "
                "85.05112878 of latitude, longitude first"
            )
        if not (is_number(radius) and radius >= 0):
            raise ValueError(f"radius {radius}: expected metres, 0 or more")
        area = ("FROMLONLAT", longitude, latitude, "BYRADIUS", radius, "m", "ASC", "WITHDIST")
        found = await self._commands.send("GEOSEARCH", f"{self.key_prefix}:geo", *area)
        return [(handle.decode(), float(metres)) for handle, metres in found]


def _connect(url: str) -> Redis:
    try:
        return connect(parse_address(url))
    except ValueError as error:
        raise ValueError(f"{show_url(url)!r}: {error}; accepted: {ACCEPTED}") from None


# Redis' geo sets reach as far as Web Mercator.
_MAX_GEO_LATITUDE = 85.05112878

_NOT_FOUND = (
    "neither the job nor its result is in Redis: it ran over an hour ago, waited a day without a worker, "
    "or Redis lost it"
)


def _batches(items: Iterable[ResultT], size: int) -> Iterable[list[ResultT]]:
    batch: list[ResultT] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
