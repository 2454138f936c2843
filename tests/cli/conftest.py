"""What the tests of the command line share: commands run inside the test, and as real processes."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from click.testing import CliRunner, Result

from worker.cli import cli

Run = Callable[..., Result]
Start = Callable[..., "subprocess.Popen[str]"]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command inside the test, with the settings of this test."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("KEY_PREFIX", prefix)

    def invoke(*words: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(cli, list(words), input=stdin)

    return invoke


@pytest.fixture
def server(redis_url: str) -> Iterator[Any]:
    """Yield a client without asyncio, because commands bring a loop of their own."""
    client = redis_client.Redis.from_url(redis_url, decode_responses=True)
    yield client
    client.close()


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
