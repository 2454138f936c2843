"""What examples run against: a Redis with a port, the simulator, a worker and `web`, started as in the first steps."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from simulator.embedded_redis import EmbeddedRedis
from simulator.harness import SimulatorServer
from simulator.movement import Cadence
from simulator.world import Habits
from tests.support.process import ROOT
from tests.support.stage import Stage, open_stage
from tests.support.waiting import wait_until
from tests.support.web import WebProcess, WebProcesses

TOKEN = "a-token-of-the-tests"
EXAMPLES = ROOT / "examples"


class Program:
    """An example as a process of its own, with what it has printed so far."""

    def __init__(self, words: Sequence[str | Path], folder: Path, environment: dict[str, str], output: Path) -> None:
        self._output = output
        self._errors = output.with_suffix(".errors")
        with output.open("wb") as printed, self._errors.open("wb") as told:
            self.process = subprocess.Popen(
                words,
                cwd=folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=told,
                start_new_session=True,  # a shell script has children, which are ended with it
            )

    def lines(self) -> list[str]:
        """Return the complete lines printed so far."""
        return self._output.read_text().split("\n")[:-1]

    def errors(self) -> str:
        return self._errors.read_text()

    async def finish(self) -> int:
        """Wait for its end; return its exit status."""
        return await asyncio.to_thread(self.process.wait, 30)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)


Start = Callable[..., Program]


@pytest.fixture
async def stage(prefix: str, tmp_path: Path) -> AsyncIterator[Stage]:
    habits = Habits(speed=60.0, cadence=Cadence(moving=(20.0, 60.0), still=(20.0, 60.0)))
    with EmbeddedRedis(tcp=True) as redis, SimulatorServer(habits=habits) as simulator:
        async with open_stage(simulator, redis.url, prefix, tmp_path) as opened:
            await opened.workers.start(MAX_POLL_SECONDS="0.4")  # a request is first read after 6 times this
            yield opened
            await opened.workers.stop()


@pytest.fixture
def start(stage: Stage, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts an example in a folder."""
    started: list[Program] = []

    def begin(*words: str | Path, folder: Path, **environment: str) -> Program:
        settings = {"REDIS_URL": stage.workers.settings["REDIS_URL"], "KEY_PREFIX": stage.prefix, **environment}
        program = Program(words, folder, settings, tmp_path / f"example-{len(started)}.output")
        started.append(program)
        return program

    yield begin
    for program in started:
        program.close()


@pytest.fixture
async def web(stage: Stage, tmp_path: Path) -> AsyncIterator[WebProcess]:
    settings = {name: stage.workers.settings[name] for name in ("REDIS_URL", "KEY_PREFIX")}
    processes = WebProcesses(tmp_path, VIEW_TOKEN=TOKEN, **settings)
    yield await processes.start()
    await processes.close()


async def printed(program: Program, text: str, *, times: int = 1) -> None:
    """Wait until an example has printed `times` lines that contain `text`."""

    def enough() -> bool:
        assert program.process.poll() is None, program.errors()
        return sum(text in line for line in program.lines()) >= times

    await wait_until(enough, f"{times} x {text!r}", deadline=40)
