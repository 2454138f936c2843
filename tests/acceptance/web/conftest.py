"""What the tests of the web process share: real processes, on the shared Redis or on one of their own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from simulator.embedded_redis import EmbeddedRedis
from tests.support.web import WebProcess, WebProcesses


@pytest.fixture
async def webs(redis_url: str, prefix: str, tmp_path: Path) -> AsyncIterator[WebProcesses]:
    """Yield web processes on the Redis that the tests of this process share."""
    processes = WebProcesses(tmp_path, REDIS_URL=redis_url, KEY_PREFIX=prefix)
    yield processes
    await processes.close()


@pytest.fixture
async def web(webs: WebProcesses) -> WebProcess:
    return await webs.start()


@pytest.fixture
def own_redis() -> Iterator[EmbeddedRedis]:
    """Return a Redis that the test may stop, hang and start again."""
    with EmbeddedRedis(persistence=True) as server:
        yield server


@pytest.fixture
async def own_webs(own_redis: EmbeddedRedis, prefix: str, tmp_path: Path) -> AsyncIterator[WebProcesses]:
    """Yield web processes on the test's own Redis."""
    processes = WebProcesses(tmp_path, REDIS_URL=own_redis.url, KEY_PREFIX=prefix)
    yield processes
    await processes.close()
