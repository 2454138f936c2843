"""What can go wrong. Each action breaks something when it is entered and repairs it when it is left."""

import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

if TYPE_CHECKING:
    from chaos.run import Run

Break = Callable[["Run"], AbstractAsyncContextManager[None]]

CLOCK_STEP_SECONDS = 600.0
MIN_TRACKED = 8  # with fewer than five chats being read, a lost line cannot be told from chats that are gone
STOP_TAKES_SECONDS = 30.0  # of the story


@dataclass(frozen=True)
class Action:
    """`rollback`: Redis may lose data because of it. `weight`: how often it is chosen, relative to the others."""

    name: str
    start: Break
    weight: float = 1.0
    rollback: bool = False
    disturbs: bool = True  # False: nothing that was read may be lost because of it


@contextlib.asynccontextmanager
async def _kill_worker(run: "Run") -> AsyncIterator[None]:
    number = run.random.randrange(len(run.workers))
    run.workers[number].kill()
    yield
    await run.start_worker(number)


@contextlib.asynccontextmanager
async def _pause_worker(run: "Run") -> AsyncIterator[None]:
    worker = run.random.choice(run.workers)
    worker.tell(signal.SIGSTOP)
    yield
    worker.tell(signal.SIGCONT)


@contextlib.asynccontextmanager
async def _restart_worker(run: "Run") -> AsyncIterator[None]:
    number = run.random.randrange(len(run.workers))
    # A worker that has not logged a line may still be importing, and has nothing to end.
    statuses = (0,) if run.workers[number].log() else (0, -signal.SIGTERM)
    status = await run.workers[number].stop()
    run.expect(status in statuses, f"a worker ended with status {status} on SIGTERM")
    yield
    await run.start_worker(number)


@contextlib.asynccontextmanager
async def _kill_web(run: "Run") -> AsyncIterator[None]:
    run.web.kill()
    yield
    await run.start_web()


@contextlib.asynccontextmanager
async def _step_clock(run: "Run") -> AsyncIterator[None]:
    file = run.clocks[run.random.randrange(len(run.clocks))]
    file.write_text(str(run.random.choice([-CLOCK_STEP_SECONDS, CLOCK_STEP_SECONDS])))
    yield
    file.write_text("0")


@contextlib.asynccontextmanager
async def _kill_master(run: "Run") -> AsyncIterator[None]:
    (await run.master()).kill()
    yield


@contextlib.asynccontextmanager
async def _pause_master(run: "Run") -> AsyncIterator[None]:
    (await run.master()).server.pause()
    yield


@contextlib.asynccontextmanager
async def _isolate_master(run: "Run") -> AsyncIterator[None]:
    (await run.master()).proxy.stall()
    yield


@contextlib.asynccontextmanager
async def _fail_over(run: "Run") -> AsyncIterator[None]:
    await run.cluster.fail_over()
    yield


@contextlib.asynccontextmanager
async def _cut_redis(run: "Run") -> AsyncIterator[None]:
    for node in run.cluster.nodes:
        node.proxy.cut()
    yield


@contextlib.asynccontextmanager
async def _cut_redis_midway(run: "Run") -> AsyncIterator[None]:
    (await run.master()).proxy.cut_next()
    yield


@contextlib.asynccontextmanager
async def _slow_redis(run: "Run") -> AsyncIterator[None]:
    master = await run.master()
    master.proxy.slow(run.random.choice([0.005, 0.05]))
    yield
    master.proxy.heal()


@contextlib.asynccontextmanager
async def _kill_connections(run: "Run") -> AsyncIterator[None]:
    await _tell_master(run, "CLIENT", "KILL", "TYPE", "normal")
    yield


@contextlib.asynccontextmanager
async def _flush_scripts(run: "Run") -> AsyncIterator[None]:
    await _tell_master(run, "SCRIPT", "FLUSH")
    yield


@contextlib.asynccontextmanager
async def _fill_redis(run: "Run") -> AsyncIterator[None]:
    await _tell_master(run, "CONFIG", "SET", "maxmemory", "1")
    yield
    await _tell_all(run, "CONFIG", "SET", "maxmemory", "0")


@contextlib.asynccontextmanager
async def _refuse_writes(run: "Run") -> AsyncIterator[None]:
    await _tell_master(run, "CONFIG", "SET", "min-replicas-to-write", "5")
    yield
    await _tell_all(run, "CONFIG", "SET", "min-replicas-to-write", "0")


def _linq(kind: Any, **arguments: Any) -> Break:
    @contextlib.asynccontextmanager
    async def storm(run: "Run") -> AsyncIterator[None]:
        run.simulator.fault(kind, replies=None, **{"endpoint": "linq", "probability": 0.6, **arguments})
        yield
        run.simulator.clear_faults()

    return storm


def _webhooks(kind: Any, seconds: float = 0.0) -> Break:
    @contextlib.asynccontextmanager
    async def disturb(run: "Run") -> AsyncIterator[None]:
        run.simulator.disturb(kind, events=None, seconds=seconds)
        yield
        run.simulator.settle_deliveries()

    return disturb


@contextlib.asynccontextmanager
async def _stop_contact(run: "Run") -> AsyncIterator[None]:
    sharing = run.sharing_handles()
    if sharing:
        run.simulator.stop_sharing(run.random.choice(sharing), announce=run.random.random() < 0.5)
    yield


@contextlib.asynccontextmanager
async def _lose_line(run: "Run") -> AsyncIterator[None]:
    if len(run.tracked()) >= MIN_TRACKED:
        run.simulator.lose_line(code=run.random.choice([2005, 2001]))
    yield
    run.simulator.lose_line(code=None)


@contextlib.asynccontextmanager
async def _stop_slowly(run: "Run") -> AsyncIterator[None]:
    run.simulator.change_habits(stop_takes=STOP_TAKES_SECONDS)
    await run.order_stop()
    yield
    run.simulator.change_habits(stop_takes=0.0)


async def _tell_master(run: "Run", *words: str) -> None:
    with contextlib.suppress(RedisError, OSError):
        await (await run.master()).command(*words)


async def _tell_all(run: "Run", *words: str) -> None:
    for node in run.cluster.nodes:
        with contextlib.suppress(RedisError, OSError):
            await node.command(*words)


ACTIONS = (
    Action("a worker is killed", _kill_worker, weight=3),
    Action("a worker is stopped for a while", _pause_worker, weight=2),
    Action("a worker is restarted", _restart_worker),
    Action("the webhook receiver is killed", _kill_web, disturbs=False),
    Action("a worker's clock steps by 10 minutes", _step_clock, disturbs=False),
    Action("the Redis master is killed", _kill_master, rollback=True),
    Action("the Redis master hangs", _pause_master, rollback=True),
    Action("the Redis master is cut off", _isolate_master, rollback=True),
    Action("Redis fails over, and the old master lives on", _fail_over, weight=2, rollback=True),
    Action("all connections to Redis are reset", _cut_redis),
    Action("a connection to Redis breaks in the middle of a reply", _cut_redis_midway),
    Action("Redis is slow", _slow_redis),
    Action("Redis ends every connection", _kill_connections),
    Action("Redis forgets its scripts", _flush_scripts),
    Action("Redis is full", _fill_redis),
    Action("Redis refuses writes for lack of replicas", _refuse_writes),
    Action("Linq answers 500", _linq("error", status=500, code=3006), disturbs=False),
    Action("Linq answers 429", _linq("error", status=429, code=1007, retry_after=1), disturbs=False),
    Action("Linq refuses the key", _linq("error", status=401, code=2004), disturbs=False),
    Action("a proxy answers for Linq", _linq("html", status=404), disturbs=False),
    Action("Linq resets connections", _linq("reset"), disturbs=False),
    Action("prompts get no answer", _linq("reset", endpoint="request", after_work=True), disturbs=False),
    Action("replies of Linq end early", _linq("cut"), disturbs=False),
    Action("replies of Linq are malformed", _linq("malformed", shape="features_null"), disturbs=False),
    Action("some reads find nobody", _linq("empty", endpoint="read", probability=0.3), weight=0.5, disturbs=False),
    Action("webhooks are lost", _webhooks("lose"), disturbs=False),
    Action("webhooks come twice", _webhooks("duplicate", 0.5), disturbs=False),
    Action("webhooks come late", _webhooks("delay", 2.0), disturbs=False),
    Action("a contact stops sharing", _stop_contact, disturbs=False),
    Action("the line is moved away from the key", _lose_line, disturbs=False),
    Action("an order to stop takes its time", _stop_slowly, disturbs=False),
)
