"""The worker process: build the parts, keep arq running whatever happens to Redis, and stop cleanly."""

import asyncio
import contextlib
import gc
import random
import time
from collections.abc import Awaitable, Callable

import structlog
import uvloop
from arq.worker import Worker
from prometheus_client import start_http_server
from redis.asyncio import Redis
from redis.exceptions import RedisError

from config.logging import configure_logging
from config.redis import connect, redis_address
from config.settings import Settings
from worker import metrics
from worker.chert.client import ChertClient
from worker.doctor.redis_server import VERSION, look_at_server
from worker.http import CertificatesError
from worker.jobs import arq_worker
from worker.jobs.services import Services
from worker.linq.client import LinqClient
from worker.linq.poller import make_poller
from worker.polling.engine import MAX_READS, Engine, end_tasks
from worker.polling.poll_log import PollLog
from worker.processes.redis_start import RedisUnusableError, reach_redis
from worker.processes.stopping import handle_signals
from worker.store.store import Store

MAX_READ_SECONDS = 10.0  # docs/reference/settings.md, LEASE_SECONDS
READ_SHARE_OF_LEASE = 0.8
POLL_SECONDS = 20.0  # one round of polling, at most
TICK_SECONDS = 1.0  # until the next round when nothing is due; the engine is woken when something becomes due
FIRST_RETRY_SECONDS = 0.2
MAX_RETRY_SECONDS = 5.0
TRIM_SECONDS = 10.0  # EVENTS_RETENTION_SECONDS: within half a minute
LOOK_SECONDS = 5.0  # between two looks for new fields of Linq, at one reply each
LAST_WORD_SECONDS = 1.0  # for interrupted jobs to go back to the queue, and for connections to close
CLOSING_SECONDS = 4.0  # of the time for stopping, at most: four last words, where Redis hangs
STEADY_SECONDS = 30.0  # after this long without trouble, retries start from the shortest pause again

log = structlog.get_logger("main")


def run_worker(settings: Settings) -> int:
    """Run a worker until SIGTERM or SIGINT; return the exit status: 1, with a message, on a final error."""
    configure_logging(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(settings))


async def _run(settings: Settings) -> int:
    stop = asyncio.Event()
    handle_signals(stop.set, settings.shutdown_grace_seconds)
    redis = connect(settings)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(_close, redis)
        try:
            if settings.metrics_port:
                start_http_server(settings.metrics_port, addr="127.0.0.1", registry=metrics.WORKER)
            services = await _build(settings, redis, stack)
        except OSError as error:
            # Of what is built here only these two can fail: METRICS_PORT and POLL_LOG.
            if error.filename:
                named, remedy = f"POLL_LOG {settings.poll_log}", "name a file that can be written"
            else:
                named, remedy = f"METRICS_PORT {settings.metrics_port}", metrics.PORT_REMEDY
            log.error("cannot_start", setting=named, error=error.strerror, remedy=remedy)  # noqa: TRY400 (the text says it all)
            return 1
        except CertificatesError as error:
            log.error("cannot_start", setting="SSL_CERT_FILE", error=str(error))  # noqa: TRY400 (the same)
            return 1
        # What exists now stays. Polls create and drop so many objects that collecting at the usual pace costs 5 %.
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        stopping = asyncio.create_task(stop.wait())
        stack.push_async_callback(end_tasks, [stopping])
        try:
            if not await _reach(settings, services.store, stopping):
                return 0
        except RedisUnusableError as error:
            log.error("redis_unusable", cause=error.cause, remedy=error.remedy)  # noqa: TRY400 (the text says it all)
            return 1
        log.info("worker_started", queue=settings.queue_name, key_prefix=settings.key_prefix)
        # Not a job of the queue: to start one arq has to write, and a full Redis accepts nothing but trimming.
        trimming = _repeat(services.store.trim, TRIM_SECONDS, "trimming_failed", services.store, stop)
        stack.push_async_callback(end_tasks, [asyncio.create_task(trimming)])
        if services.engine is not None:
            looking = _repeat(services.engine.fields.report, LOOK_SECONDS, "looking_failed", services.store, stop)
            stack.push_async_callback(end_tasks, [asyncio.create_task(looking)])
            polling = asyncio.create_task(_poll_always(services.engine, services.store, stop))
            stack.push_async_callback(_end_polling, polling)
        await _supervise(settings, services, stop, stopping)
        log.info("worker_stopped")
    return 0


async def _reach(settings: Settings, store: Store, stopping: asyncio.Task[bool]) -> bool:
    """Wait for a usable Redis; return False if told to stop meanwhile. Raises RedisUnusableError."""
    reaching = asyncio.create_task(_look_at_redis(settings, store))
    await asyncio.wait({reaching, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not reaching.done():
        # A Redis that hangs must not prevent stopping.
        await end_tasks([reaching])
        return False
    reaching.result()
    return True


async def _look_at_redis(settings: Settings, store: Store) -> None:
    address = redis_address(settings)
    while True:
        await reach_redis(store, address)
        try:
            found = await look_at_server(store.redis, sentinel=bool(address.sentinels))
            break
        except (RedisError, OSError) as error:
            store.outage.meet(error)
    for finding in found:
        if finding.check == VERSION and not finding.ok:
            raise RedisUnusableError(f"{VERSION}: {finding.found}", finding.remedy)
        if finding.level in ("warning", "wrong"):
            log.warning("redis", warning=f"{finding.check}: {finding.found}", remedy=finding.remedy)


async def _build(settings: Settings, redis: Redis, stack: contextlib.AsyncExitStack) -> Services:
    store = Store(redis, settings)
    chert = None
    if settings.chert_signing_secret is not None:
        chert = await stack.enter_async_context(
            ChertClient(
                base_url=settings.chert_base_url,
                signing_secret=settings.chert_signing_secret.get_secret_value(),
                tenant=settings.chert_tenant,
            )
        )
    if settings.linq_api_key is None:
        return Services(settings, store, chert=chert)
    key = settings.linq_api_key.get_secret_value()
    poller = make_poller(
        settings.poll_client,
        base_url=settings.linq_base_url,
        api_key=key,
        timeout=min(MAX_READ_SECONDS, READ_SHARE_OF_LEASE * settings.lease_seconds),
        window=MAX_READS,
    )
    stack.push_async_callback(poller.close)
    linq = await stack.enter_async_context(LinqClient(base_url=settings.linq_base_url, api_key=key))
    poll_log = None if settings.poll_log is None else PollLog(settings.poll_log)
    engine = await stack.enter_async_context(Engine(store, poller, linq, poll_log=poll_log))
    return Services(settings, store, engine, linq, chert)


async def _poll_always(engine: Engine, store: Store, stop: asyncio.Event) -> None:
    """Poll what is due until `stop` is set.

    Not a job of the queue: a long or broken queue would hold it up.
    """
    while not stop.is_set():
        began = time.monotonic()
        try:
            await store.lost_lines.probe()
            await engine.poll_due(POLL_SECONDS)
        except Exception as error:
            if not store.outage.explains(error):
                log.exception("polling_failed")
        if time.monotonic() - began < POLL_SECONDS:  # otherwise there is more to poll, and a pause would make it late
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), TICK_SECONDS)


async def _repeat(
    work: Callable[[], Awaitable[None]], seconds: float, failure: str, store: Store, stop: asyncio.Event
) -> None:
    """Do some work at most every `seconds` until `stop` is set; a failure is logged, and the work tried again."""
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds * random.uniform(0.5, 1.0))
        try:
            await work()
        except Exception as error:
            if not store.outage.explains(error):
                log.exception(failure)


async def _end_polling(polling: asyncio.Task[None]) -> None:
    # Not cancelled at once: an interrupted claim would leave leases behind.
    await asyncio.wait({polling}, timeout=LAST_WORD_SECONDS)
    await end_tasks([polling])


async def _supervise(settings: Settings, services: Services, stop: asyncio.Event, stopping: asyncio.Task[bool]) -> None:
    """Run arq's worker until `stop` is set; build a new one whenever it fails."""
    retry = FIRST_RETRY_SECONDS
    while not stop.is_set():
        began = time.monotonic()
        pool = arq_worker.open_pool(settings)
        try:
            await _run_until(stopping, arq_worker.make_worker(settings, services, pool), services, settings)
        except Exception as error:
            if not services.store.outage.explains(error):
                log.exception("queue_failed")
        finally:
            await _close(pool)
        if time.monotonic() - began > STEADY_SECONDS:
            retry = FIRST_RETRY_SECONDS
        if not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), retry * random.uniform(0.5, 1.0))
            retry = min(MAX_RETRY_SECONDS, 2 * retry)
    if services.engine is not None:
        await services.engine.stop(_working_seconds(settings))  # where nothing ran that would have seen to it


def _working_seconds(settings: Settings) -> float:
    """Return how long work may go on once it is to stop; what remains of the grace is for the end."""
    return settings.shutdown_grace_seconds - min(CLOSING_SECONDS, settings.shutdown_grace_seconds / 2)


async def _close(redis: Redis) -> None:
    """Close connections, without waiting for a Redis that hangs."""
    with contextlib.suppress(RedisError, OSError):
        async with asyncio.timeout(LAST_WORD_SECONDS):
            await redis.aclose()


async def _run_until(stopping: asyncio.Task[bool], worker: Worker, services: Services, settings: Settings) -> None:
    """Run a worker until it fails or `stopping` is done; then let its jobs finish."""
    main = asyncio.create_task(worker.main())
    await asyncio.wait({main, stopping}, return_when=asyncio.FIRST_COMPLETED)
    grace = _working_seconds(settings) if stopping.done() else FIRST_RETRY_SECONDS
    worker.allow_pick_jobs = False
    await end_tasks([main])
    deadline = time.monotonic() + grace
    if stopping.done() and services.engine is not None:
        await services.engine.stop(grace)
    tasks = arq_worker.running(worker)
    if tasks:
        await asyncio.wait(tasks, timeout=max(0.0, deadline - time.monotonic()))
    # Interrupted jobs go back to the queue.
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=LAST_WORD_SECONDS)
    if not main.cancelled():
        main.result()
