"""Whole processes: workers, receivers and commands, a real Redis and the simulator, over real sockets."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from simulator.embedded_redis import EmbeddedRedis
from simulator.harness import SimulatorServer
from simulator.movement import Cadence
from simulator.world import Habits
from tests.support.process import ROOT
from tests.support.stage import Stage, open_stage

Start = Callable[..., "subprocess.Popen[str]"]

# A phone shows a new position every third of a second to every second; a contact accepts as soon as asked.
HABITS = Habits(speed=60.0, cadence=Cadence(moving=(20.0, 60.0), still=(20.0, 60.0)))


# Where a script runs the tests in the background, every process that they start ignores SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder, so that `-m "not acceptance"` leaves them out."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("acceptance")


@pytest.fixture
def simulator() -> Iterator[SimulatorServer]:
    with SimulatorServer(habits=replace(HABITS)) as server:
        yield server


@pytest.fixture
async def stage(
    simulator: SimulatorServer, redis_url: str, redis: Redis, prefix: str, tmp_path: Path
) -> AsyncIterator[Stage]:
    """Return a stage on the Redis that the tests of this process share."""
    async with open_stage(simulator, redis_url, prefix, tmp_path) as opened:
        yield opened


@pytest.fixture
def own_redis() -> Iterator[EmbeddedRedis]:
    """Return a Redis that the test may kill, freeze and start again; it keeps its data."""
    with EmbeddedRedis(persistence=True) as server:
        yield server


@pytest.fixture
async def own_stage(
    simulator: SimulatorServer, own_redis: EmbeddedRedis, prefix: str, tmp_path: Path
) -> AsyncIterator[Stage]:
    """Return a stage on a Redis of its own."""
    async with open_stage(simulator, own_redis.url, prefix, tmp_path) as opened:
        yield opened


@pytest.fixture
def start(redis_url: str, prefix: str, tmp_path: Path) -> Iterator[Start]:
    """Start a command as a process of its own, in an empty directory; ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*words: str, stdin: str | None = None, **settings: str) -> "subprocess.Popen[str]":
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
        environment |= {"REDIS_URL": redis_url, "KEY_PREFIX": prefix} | settings
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", *words],
            cwd=tmp_path,
            env={name: value for name, value in environment.items() if value},
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        if stdin is not None and process.stdin is not None:
            process.stdin.write(stdin)
            process.stdin.close()
            process.stdin = None
        return process

    yield begin
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate()
