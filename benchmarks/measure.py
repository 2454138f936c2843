"""Run one contender as a process of its own and measure what its polls cost once it is warm."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.process import cpu_seconds, resident_bytes
from benchmarks.redis_server import RedisServer
from benchmarks.stub import Stub

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Contender:
    """A program that polls without end: its name in tables, its command, its own environment, and what it needs.

    `needs` names a file; where it does not exist, the contender is skipped and `remedy` is the reason shown.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    chats: int = 500
    concurrency: int = 10
    events_key: str = "events"
    publishes: bool = True
    needs: Path = ROOT
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: polls and seconds measured; what each poll cost (milliseconds of CPU; reads, commands at Redis)."""

    contender: str
    mode: str
    polls: int
    seconds: float
    cpu: float
    redis_cpu: float
    redis_reads: float
    redis_commands: float
    events: float
    stub_cpu: float
    resident_mebibytes: float


class ContenderFailedError(RuntimeError):
    """A contender ended or did not poll; the message holds the end of what it wrote."""


def run(
    contender: Contender,
    mode: str,
    stub: Stub,
    redis: RedisServer,
    *,
    seconds: float,
    meanwhile: Callable[[], object] = bool,
) -> Sample:
    """Start a contender on an empty Redis, let it warm up, measure for `seconds`, end it.

    `meanwhile` is called once it is warm, before measuring.

    Only differences between two readings count, so that start-up does not. Polls are counted by the stub.
    Raises `ContenderFailedError`.
    """
    redis.client.flushall()
    redis.client.config_resetstat()
    environment = {
        **os.environ,
        "STUB_URL": stub.base_url(mode),
        "REDIS_URL": redis.url,
        "CHATS": str(contender.chats),
        "CONCURRENCY": str(contender.concurrency),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
        "NODE_ENV": "production",
        **contender.environment,
    }
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            contender.command,
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            # Half of the chats twice: first polls differ from later ones (a share begins, connections open).
            _await_polls(stub, process, contender.chats * 3 // 2)
            meanwhile()
            return _measure(contender, mode, stub, redis, process, seconds)
        except (ProcessLookupError, TimeoutError, ContenderFailedError) as error:
            output.seek(max(0, output.seek(0, os.SEEK_END) - 2000))
            message = f"{contender.name}: {error}\n{output.read().decode(errors='replace')}"
            raise ContenderFailedError(message) from error
        finally:
            process.kill()
            process.wait()


def _await_polls(stub: Stub, process: subprocess.Popen[bytes], count: int, *, within: float = 60) -> None:
    before = stub.requests()
    deadline = time.monotonic() + within
    asked = 1
    while stub.requests() - before - asked < count:
        asked += 1
        if process.poll() is not None:
            message = f"ended with status {process.returncode} before it was in full swing"
            raise ContenderFailedError(message)
        if time.monotonic() > deadline:
            message = f"did not make {count} polls within {within:.0f} s"
            raise TimeoutError(message)
        time.sleep(0.05)


def _measure(  # noqa: PLR0917 (what `run` has at hand, split off for length only)
    contender: Contender,
    mode: str,
    stub: Stub,
    redis: RedisServer,
    process: subprocess.Popen[bytes],
    seconds: float,
) -> Sample:
    def reading() -> tuple[float, float, float, int, int, Any]:
        # Redis is read first, so that the cost of reading it does not fall into the differences that matter.
        work, events = redis.work(), redis.events(contender.events_key)
        return time.monotonic(), stub.cpu(), cpu_seconds(process.pid), stub.requests(), events, work

    began, stub_cpu, cpu, polls, events, work = reading()
    time.sleep(seconds)
    ended, stub_cpu_after, cpu_after, polls_after, events_after, work_after = reading()
    polled = polls_after - polls - 1  # reading the count a second time is itself a request
    if polled < 10:
        message = f"polled only {polled} times in {seconds:.0f} s"
        raise ContenderFailedError(message)
    at_redis = work_after.since(work)
    new = (events_after - events) / polled
    expected = {"every": 1.0, "fifth": 0.2, "none": 0.0}[mode]
    if contender.publishes and abs(new - expected) > 0.05 + 0.1 * expected:
        message = f"published {new:.2f} events a poll where {expected} were new: it does not do the work"
        raise ContenderFailedError(message)
    resident = 0.0
    with contextlib.suppress(FileNotFoundError):
        resident = resident_bytes(process.pid) / 2**20
    return Sample(
        contender=contender.name,
        mode=mode,
        polls=polled,
        seconds=ended - began,
        cpu=(cpu_after - cpu) / polled * 1e3,
        redis_cpu=at_redis.cpu / polled * 1e3,
        # Without the benchmark's own three calls to Redis that lie between the two readings.
        redis_reads=max(0, at_redis.reads - 3) / polled,
        redis_commands=max(0, at_redis.commands - 2) / polled,
        events=new,
        stub_cpu=(stub_cpu_after - stub_cpu) / polled * 1e3,
        resident_mebibytes=resident,
    )


def python_of(environment: str) -> Path:
    """Return the interpreter of a virtual environment in the project's folder (`benchmarks/.venv`)."""
    return ROOT / environment / "bin" / "python"


def own_python() -> str:
    """Return the interpreter that runs the benchmarks, with the project installed."""
    return sys.executable
