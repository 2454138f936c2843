"""Whole processes: real workers, a real Redis and the simulator, over real sockets."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from simulator.embedded_redis import EmbeddedRedis
from simulator.harness import SimulatorServer
from simulator.movement import Cadence
from simulator.world import Habits
from tests.support.stage import Stage, open_stage

# A phone shows a new position every third of a second to every second; a contact accepts as soon as asked.
HABITS = Habits(speed=60.0, cadence=Cadence(moving=(20.0, 60.0), still=(20.0, 60.0)))


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
