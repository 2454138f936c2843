"""What every test may ask for: a real Redis, a key prefix of its own, a clean environment."""

import logging
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import structlog
from redis.asyncio import Redis

from config import settings as settings_module
from config.logging import _Handler
from config.redis import connect
from config.settings import Settings
from simulator.embedded_redis import EmbeddedRedis
from tests.support.keys import leaked_keys

pytest_plugins = ["tests.support.servers"]

# No deadline, so that no test fails because the machine is loaded. For a longer search: make test PROFILE=thorough
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=2000)
hypothesis.settings.load_profile("default")

_VARIABLES = {name for field in Settings.model_fields for name in settings_module.names_of(field)}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the settings of the person who runs the tests, both in the environment and in .env."""
    for name in os.environ:
        if name in _VARIABLES or name.startswith(("LINQ_", "CHERT_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(settings_module, "_FILE", Path(os.devnull))


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Undo the logging set-up of commands, which run in the process of the tests."""
    root = logging.getLogger()
    level, configuration = root.level, structlog.get_config()
    yield
    for handler in [handler for handler in root.handlers if isinstance(handler, _Handler)]:
        root.removeHandler(handler)
    root.setLevel(level)
    for name in ("asyncio", "httpcore", "redis", "httpx", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    # A uvicorn without an access log, such as the simulator's, stops these lines for the whole process.
    logging.getLogger("uvicorn.access").propagate = True
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    structlog.configure(**configuration)


@pytest.fixture(autouse=True)
def loggers_remember_nothing(logging_as_it_was: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep loggers from caching a test's set-up: those of modules would be silent, or loud, in later tests."""
    configure = structlog.configure

    def forgetful(**options: Any) -> None:
        configure(**options | {"cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", forgetful)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Yield the URL of a real server shared by all tests of this process: use your `prefix`, never stop or flush it."""
    with EmbeddedRedis() as server:
        yield server.url


@pytest.fixture
def prefix() -> str:
    """Return a KEY_PREFIX that no other test has."""
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def lasting() -> set[str]:
    """Return a set to which a test adds the names of keys that it leaves in Redis on purpose."""
    return set()


@pytest.fixture
async def redis(redis_url: str, prefix: str, lasting: set[str]) -> AsyncIterator[Redis]:
    """Yield a client of the shared server. At the end each key under `prefix` must be permanent, in use or expiring."""
    client = connect(Settings(redis_url=redis_url))
    yield client
    leaked = [key for key in await leaked_keys(client, prefix) if key not in lasting]
    async for key in client.scan_iter(match=f"{prefix}:*", count=1000):
        await client.unlink(key)
    await client.aclose()
    assert not leaked, f"keys without an expiry (tests/support/keys.py says which may): {leaked}"
