"""What the tests of the command line share: commands run inside the test."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis as redis_client
from click.testing import CliRunner, Result

from worker.cli import cli

Run = Callable[..., Result]


@pytest.fixture
def run(redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a command inside the test, with this test's settings."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("KEY_PREFIX", prefix)

    def invoke(*words: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(cli, list(words), input=stdin)

    return invoke


@pytest.fixture
def server(redis_url: str) -> Iterator[Any]:
    """Yield a client without asyncio, because commands run a loop of their own."""
    client = redis_client.Redis.from_url(redis_url, decode_responses=True)
    yield client
    client.close()
