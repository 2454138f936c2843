"""What the tests of single jobs share: the parts of a worker against the simulator, and jobs run without a queue."""

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from config.settings import Settings
from simulator.harness import SimulatorServer
from tests.support.jobs import RunJob, run_in
from worker.chert.client import ChertClient
from worker.jobs.services import Services
from worker.linq.client import LinqClient
from worker.linq.poller import make_poller
from worker.polling.engine import Engine
from worker.store.store import Store


@pytest.fixture
def simulator() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def settings(redis_url: str, prefix: str, simulator: SimulatorServer) -> Settings:
    return Settings(
        redis_url=redis_url,
        key_prefix=prefix,
        linq_api_key=simulator.api_key,
        linq_base_url=simulator.base_url,
        chert_signing_secret=simulator.chert_secret,
        chert_base_url=simulator.chert_base_url,
        linq_requests_per_second=1000,
    )


@pytest.fixture
async def services(redis: Redis, settings: Settings, simulator: SimulatorServer) -> AsyncIterator[Services]:
    store = Store(redis, settings)
    poller = make_poller("httpx", base_url=simulator.base_url, api_key=simulator.api_key, timeout=5, window=4)
    async with (
        ChertClient(base_url=simulator.chert_base_url, signing_secret=simulator.chert_secret) as chert,
        LinqClient(base_url=simulator.base_url, api_key=simulator.api_key) as linq,
        Engine(store, poller, linq) as engine,
    ):
        yield Services(settings, store, engine, linq, chert)
    await poller.close()


@pytest.fixture
def job_id() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def run_job(services: Services, job_id: str) -> RunJob:
    """Return a function that runs a job as arq would, with all retries, and returns its result and waits (seconds)."""
    return run_in(services, job_id)
