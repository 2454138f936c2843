"""The project as its benchmarks run it: its settings, its store in this process, its worker as a process."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx

from benchmarks.measure import ROOT
from benchmarks.process import free_port
from config.redis import connect
from config.settings import Settings, load_settings
from worker.store.store import Store

WEB_START_SECONDS = 20.0


def environment(redis_url: str, base_url: str, **more: str) -> dict[str, str]:
    """Return environment variables of a worker whose budget never runs out; `more` are further variables."""
    return {
        **os.environ,
        "REDIS_URL": redis_url,
        "LINQ_API_V3_BASE_URL": base_url,
        "LINQ_API_V3_API_KEY": "benchmark",
        "LINQ_REQUESTS_PER_SECOND": "1000000",
        "LOG_FORMAT": "json",
        **more,
    }


def always_due(redis_url: str, base_url: str = "http://127.0.0.1:9") -> dict[str, str]:
    """Return `environment` with each chat due again at once. Nothing listens at the default `base_url`."""
    return environment(redis_url, base_url, MIN_POLL_SECONDS="0.001", MAX_POLL_SECONDS="0.001")


def settings_of(variables: dict[str, str]) -> Settings:
    """Return the settings that a worker with this environment would have."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        return load_settings("worker")
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.asynccontextmanager
async def opened_store(variables: dict[str, str]) -> AsyncIterator[Store]:
    """Yield the worker's own store, in this process."""
    settings = settings_of(variables)
    redis = connect(settings)
    try:
        yield Store(redis, settings)
    finally:
        await redis.aclose()


@contextlib.contextmanager
def running_worker(variables: dict[str, str], *, log: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run `location-worker worker` as a process, killed on leaving. Its log goes to the file `log` or nowhere."""
    with _running("worker", variables, log) as process:
        yield process


@contextlib.contextmanager
def running_web(variables: dict[str, str], *, log: Path | None = None) -> Iterator[str]:
    """Run `location-worker web` as a process, killed on leaving; yield its base URL once it answers.

    Raises TimeoutError if it does not answer within 20 s.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with _running("web", {**variables, "PORT": str(port)}, log):
        deadline = time.monotonic() + WEB_START_SECONDS
        while not _answers(url):
            if time.monotonic() > deadline:
                message = f"the web process does not answer within {WEB_START_SECONDS:.0f} s"
                raise TimeoutError(message)
            time.sleep(0.05)
        yield url


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@contextlib.contextmanager
def _running(command: str, variables: dict[str, str], log: Path | None) -> Iterator[subprocess.Popen[bytes]]:
    with (log or Path(os.devnull)).open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", command], cwd=ROOT, env=variables, stdout=output, stderr=output
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
