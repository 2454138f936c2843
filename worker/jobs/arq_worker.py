"""arq, behind one small module: the worker that runs our jobs, and the repair of a queue that others have broken.

How arq 0.28 is used: JSON both on the pool and on the worker, no job over 30 s, no hooks, a pool of our own. What would
take arq down is kept away from it, or a new worker is built.
"""

import asyncio
import time
from typing import Any

import structlog
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix, result_key_prefix
from arq.cron import cron
from arq.worker import Worker, func
from redis.exceptions import RedisError

from config.redis import arq_pool
from config.settings import Settings
from worker.jobs import handlers
from worker.jobs.serialization import REFUSE, make_reader, write_job
from worker.jobs.services import Services
from worker.store.outage import Outage, is_waited_out
from worker.store.scripts import Scripts

MAX_JOBS = 100  # run at once
QUEUE_READ_LIMIT = 1_000  # above 2 x workers x MAX_JOBS: running jobs are read first
POLL_DELAY = 0.1  # arq refills free slots only this often
JOB_SECONDS = 30.0  # after a crash a job waits this long and 10 s more
RESULT_SECONDS = 3600.0  # docs/reference/jobs.md, Results
MAX_TRIES = 100  # outages of Redis and stopped workers use up a try each
# These run again and again: while Chert refuses the account, or slice by slice.
TRIES_OF_THE_PATIENT = 10_000
PATIENT = frozenset({"send_pin", "forget_handle"})
HEALTH_SECONDS = 30.0
BURY_SECONDS = 10
CLOCK_SECONDS = 10.0  # between two looks at Redis' clock; clocks drift by a millisecond in this time

log = structlog.get_logger("queue")


def _tick(settings: Settings, name: str) -> str:
    """Return the name of a cron job, from which arq makes job ids: two installations on one Redis need different ones.

    A job id is ASCII; a key prefix need not be.
    """
    return f"cron:{settings.key_prefix.encode('ascii', 'backslashreplace').decode()}:{name}"


def open_pool(settings: Settings) -> ArqRedis:
    """Open arq's own connections, with JSON on both sides."""
    known = {*handlers.JOBS, *(_tick(settings, name) for name in ("bury_timeless", "reconcile"))}
    return arq_pool(settings, job_serializer=write_job, job_deserializer=make_reader(known))


def make_worker(settings: Settings, services: Services, pool: ArqRedis) -> Worker:
    """Build arq's worker for all our jobs. It handles no signals, and is used up when its `main` ends."""
    functions = [
        # arq's protocol requires __qualname__
        func(run, name=name, max_tries=TRIES_OF_THE_PATIENT if name in PATIENT else None)  # type: ignore[arg-type]
        for name, run in handlers.JOBS.items()
    ]
    functions.append(func(handlers.refuse, name=REFUSE))  # type: ignore[arg-type]  # the same
    ticks = [
        # arq's protocol requires a __qualname__, which the type of a function does not promise.
        cron(bury_timeless, name=_tick(settings, "bury_timeless"), second=set(range(5, 60, BURY_SECONDS)), max_tries=1),  # type: ignore[arg-type]
        cron(handlers.reconcile, name=_tick(settings, "reconcile"), second=30, max_tries=1),  # type: ignore[arg-type]
    ]
    return _Worker(
        functions,
        queue_name=settings.queue_name,
        cron_jobs=ticks,
        redis_pool=pool,
        handle_signals=False,
        max_jobs=MAX_JOBS,
        queue_read_limit=QUEUE_READ_LIMIT,
        job_timeout=JOB_SECONDS,
        keep_result=RESULT_SECONDS,
        poll_delay=POLL_DELAY,
        max_tries=MAX_TRIES,
        health_check_interval=HEALTH_SECONDS,
        ctx={"services": services},
        job_serializer=write_job,
        job_deserializer=pool.job_deserializer,
        log_results=False,
    )


class _Worker(Worker):
    """arq's worker, except that no entry of the queue takes it down, and that it starts many jobs at a time."""

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        self._scripts = Scripts(self.pool)
        self._room = asyncio.Event()
        self._outage: Outage = self.ctx["services"].store.outage
        self._redis_ahead = 0.0  # seconds, of time.monotonic
        self._next_look = 0.0  # at Redis' clock, of time.monotonic
        self.starting: asyncio.Task[None] | None = None

    async def _poll_iteration(self) -> None:
        """Start what is due and forget what has ended. Wait out an outage; running jobs go on meanwhile."""
        try:
            now = await self._now()
            if self.allow_pick_jobs and self.job_counter < self.max_jobs:
                due = await self.pool.zrangebyscore(self.queue_name, "-inf", now, start=0, num=self.queue_read_limit)
                await self.start_jobs(due)
            for job_id, task in list(self.tasks.items()):
                if task.done():
                    del self.tasks[job_id]
                    task.result()
            await self.heart_beat()
        except (RedisError, OSError) as error:
            self._outage.meet(error)
            await self._outage.end()

    async def _now(self) -> int:
        """Return Redis' time in milliseconds since 1970; this machine's may be wrong."""
        before = time.monotonic()
        if before >= self._next_look:
            seconds, microseconds = await self.pool.time()
            self._redis_ahead = seconds + microseconds / 1e6 - (before + time.monotonic()) / 2
            self._next_look = before + CLOCK_SECONDS
        return int((time.monotonic() + self._redis_ahead) * 1000)

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        services: Services = self.ctx["services"]
        if job_ids:
            # They come in the order of their times: if any is before 1970, the first one is.
            score = await self.pool.zscore(self.queue_name, job_ids[0])
            if score is not None and score <= 0:
                await _mend_times(self.pool, self.queue_name)
        usable = [job_id for job_id in job_ids if _is_usable(job_id)]
        for job_id in set(job_ids).difference(usable):
            await _drop(services, self.pool, self.queue_name, job_id, "the id is not printable ASCII without spaces")
        # arq takes four round trips to start a job, one job after the other, and then lets slots stand empty until its
        # next tick.
        ids = [job_id.decode() for job_id in usable]
        while ids and self.allow_pick_jobs:
            free = self.max_jobs - self.job_counter
            if free < 1:
                self._room.clear()
                try:
                    await asyncio.wait_for(self._room.wait(), POLL_DELAY)
                except TimeoutError:
                    return
                continue
            batch, ids = ids[:free], ids[free:]
            self.starting = asyncio.create_task(self._start(batch))
            self.starting.add_done_callback(_look_at)
            # Not cancelled: jobs that are marked but not started would wait until the marks expire.
            await asyncio.shield(self.starting)

    async def _start(self, job_ids: list[str]) -> None:
        """Mark jobs as running and run them; skip those that run elsewhere or are done by now."""
        marks = int(self.in_progress_timeout_s * 1000)
        scores = await self._scripts.start_jobs(keys=[self.queue_name], args=[in_progress_key_prefix, marks, *job_ids])
        started = [(job_id, int(float(score))) for job_id, score in zip(job_ids, scores, strict=True) if score]
        if not self.allow_pick_jobs:
            if started:
                await self.pool.delete(*(in_progress_key_prefix + job_id for job_id, _ in started))
            return
        # arq defers jobs by this machine's clock, which is this much behind that of Redis.
        behind = int((time.monotonic() + self._redis_ahead - time.time()) * 1000)
        for job_id, score in started:
            self.job_counter += 1
            self.tasks[job_id] = task = asyncio.create_task(self.run_job(job_id, score - behind))
            task.add_done_callback(self._make_room)

    def _make_room(self, _: asyncio.Task[None]) -> None:
        self.job_counter -= 1
        if self.job_counter <= self.max_jobs // 2:
            self._room.set()

    async def run_job(self, job_id: str, score: int) -> None:
        try:
            await super().run_job(job_id, score)
        except Exception as error:
            if is_waited_out(error):
                raise
            log.exception("job_unreadable", job_id=job_id)
            services: Services = self.ctx["services"]
            reason = f"{type(error).__name__}: {error}"
            await _drop(services, self.pool, self.queue_name, job_id.encode(), reason)

    async def finish_job(self, *positional: Any, **named: Any) -> None:
        """Write the result as soon as Redis accepts it: a job that has run must not run again."""
        await self._outage.wait_out(lambda: super(_Worker, self).finish_job(*positional, **named))

    async def finish_failed_job(self, job_id: str, result_data: bytes | None) -> None:
        """Write the failure of a job that arq gives up, likewise, and keep the job as a dead letter."""
        await self._outage.wait_out(lambda: self._keep_given_up(job_id))
        await self._outage.wait_out(lambda: super(_Worker, self).finish_failed_job(job_id, result_data))

    async def _keep_given_up(self, job_id: str) -> None:
        services: Services = self.ctx["services"]
        # Nothing is lost with a failed tick: the next one does its work.
        if not job_id.startswith(_tick(services.settings, "")) and await self.pool.exists(job_key_prefix + job_id):
            await services.keep_job(job_id.encode(), "given_up", {"fault": "it was tried too often"})


def _is_usable(job_id: bytes) -> bool:
    """Return whether arq can handle a job id: printable ASCII without spaces. Anything but UTF-8 would take it down."""
    return job_id.isascii() and job_id.decode("ascii").isprintable() and b" " not in job_id


async def _mend_times(pool: ArqRedis, queue_name: str) -> None:
    """Make jobs due now whose time is zero (arq skips them for ever) or below (minus infinity takes arq down)."""
    seconds, _ = await pool.time()
    early = await pool.zrangebyscore(queue_name, "-inf", 0)
    if early:
        await pool.zadd(queue_name, dict.fromkeys(early, seconds * 1000), xx=True)


async def bury_timeless(context: dict[str, Any]) -> None:
    """Tick: remove jobs whose time never comes from the queue."""
    pool: ArqRedis = context["redis"]
    services: Services = context["services"]
    queue_name = services.settings.queue_name
    for job_id in await pool.zrangebyscore(queue_name, "+inf", "+inf"):
        await _drop(services, pool, queue_name, job_id, "its time is infinite")


async def _drop(services: Services, pool: ArqRedis, queue_name: str, job_id: bytes, reason: str) -> None:
    """Remove from the queue what arq cannot run; keep a dead letter, and write a failed result if the id allows it."""
    await services.keep_job(job_id, "unusable_entry", {"fault": reason})
    if _is_usable(job_id):
        now = int(time.time() * 1000)
        # In arq's format.
        result: dict[str, Any] = {
            "t": 1,
            "f": None,
            "a": [],
            "k": {},
            "et": now,
            "s": False,
            "r": handlers.RefusedJobError(reason),
        }
        result |= {"st": now, "ft": now, "q": queue_name, "id": job_id.decode("ascii")}
        key = result_key_prefix.encode() + job_id
        await pool.set(key, write_job(result), px=int(RESULT_SECONDS * 1000))
    await pool.zrem(queue_name, job_id)
    await pool.delete(job_key_prefix.encode() + job_id)


def _look_at(task: asyncio.Task[None]) -> None:
    """Look at how a task ended, so that asyncio does not warn about an exception that nobody retrieved."""
    if not task.cancelled():
        task.exception()


def running(worker: Worker) -> list[Any]:
    """Return the tasks of the jobs that are running or being started."""
    tasks = [*worker.tasks.values()]
    if isinstance(worker, _Worker) and worker.starting is not None:
        tasks.append(worker.starting)
    return [task for task in tasks if not task.done()]
