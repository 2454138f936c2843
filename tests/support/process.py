"""Real worker processes, started and ended by the tests: `python -m worker worker`, as an operator runs it."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from simulator.harness import SimulatorServer
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
QUICK = {
    "MIN_POLL_SECONDS": "0.3",
    "MAX_POLL_SECONDS": "1",
    "LEASE_SECONDS": "3",
    "REQUEST_COOLDOWN_SECONDS": "3",
    "LINQ_REQUESTS_PER_SECOND": "1000",
    "LOG_LEVEL": "DEBUG",
    "LOG_FORMAT": "json",
}
START_WITHIN = 30.0
STOP_WITHIN = 30.0
COMMAND_WITHIN = 60.0
_MIN_DECIMALS = 5  # with fewer, a part of a time could be taken for a coordinate


class WorkerProcess:
    """One process with its log, controlled by signals to its pid.

    `command`: a module and its arguments.
    """

    def __init__(
        self, environment: dict[str, str], log: Path, *, command: Sequence[str] = ("worker", "worker")
    ) -> None:
        self.log_path = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=environment,
                cwd=log.parent,  # so that no .env of the repository is read
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """End it without a chance to clean up, and wait until it is gone."""
        self._process.kill()
        self._process.wait(STOP_WITHIN)

    def tell(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; return its exit status."""
        self.tell(number)
        return await self.status()

    async def status(self) -> int:
        """Wait for its end; return its exit status."""
        return await asyncio.to_thread(self._process.wait, STOP_WITHIN)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return the log's lines of one event."""
        found = [json.loads(line) for line in self.log().splitlines() if f'"{event}"' in line]
        return [line for line in found if line["event"] == event]

    def superseded_reads(self) -> set[str]:
        """Return the trace ids of replies whose decisions were dropped, because its claim of the chat had gone."""
        newest: dict[str, str] = {}
        found: set[str] = set()
        for line in self.log().splitlines():
            if '"poll"' in line or '"superseded"' in line:
                entry = json.loads(line)
                if entry["event"] == "poll":
                    newest[entry["chat_id"]] = entry["trace_id"] or ""
                elif entry["event"] == "superseded":
                    found |= {newest[chat_id] for chat_id in entry["chat_ids"]}
        return found

    async def logged(self, event: str, *, times: int = 1, deadline: float = START_WITHIN) -> None:
        """Wait for a line; raise RuntimeError with the end of the log if the process has ended without it."""

        def written() -> bool:
            ended = not self.runs
            found = len(self.lines(event)) >= times
            if ended and not found:
                raise RuntimeError(f"ended without {event!r}: {self.log()[-2000:]}")
            return found

        await wait_until(written, f"log line {event!r}", deadline=deadline)

    def close(self) -> None:
        """End it if it still runs (stopped by a signal or not)."""
        if self.runs:
            self.kill()


class Workers:
    """The worker processes of one test, all on the same Redis, prefix and simulator."""

    def __init__(self, *, redis_url: str, prefix: str, simulator: SimulatorServer, directory: Path) -> None:
        self.started: list[WorkerProcess] = []
        self.settings = {
            **QUICK,
            "REDIS_URL": redis_url,
            "KEY_PREFIX": prefix,
            "LINQ_API_V3_API_KEY": simulator.api_key,
            "LINQ_API_V3_BASE_URL": simulator.base_url,
        }
        self._directory = directory

    def launch(self, **settings: str) -> WorkerProcess:
        """Start a worker without waiting for it; `settings` by the names of their variables."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **self.settings, **settings}
        worker = WorkerProcess(environment, self._directory / f"worker-{len(self.started)}.log")
        self.started.append(worker)
        return worker

    async def start(self, **settings: str) -> WorkerProcess:
        """Start a worker and wait until it runs."""
        worker = self.launch(**settings)
        await worker.logged("arq starts")
        return worker

    async def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line to its end, as at a terminal without colours."""
        return await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "worker", *words],
            env={**os.environ, "PYTHONPATH": str(ROOT), **self.settings},
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_WITHIN,
        )

    async def stop(self) -> None:
        """End all that run, and check that each ended well, so that every decision is committed."""
        running = [worker for worker in self.started if worker.runs]
        statuses = await asyncio.gather(*(worker.stop() for worker in running))
        assert statuses == [0] * len(running)

    def close(self) -> None:
        for worker in self.started:
            worker.close()


def private_texts(simulator: SimulatorServer) -> Iterator[str]:
    """Yield what no log may contain: handles, coordinates, addresses and the key, as the simulator saw them."""
    yield simulator.api_key
    for handle in simulator.world.people:
        yield handle
        yield handle.removeprefix("+")
    shown = [feature for answer in simulator.answers(endpoint="read") for feature in answer.features or ()]
    for feature in shown:
        if not isinstance(feature, dict):
            continue
        for name in ("address", "locality"):
            text = (feature.get("properties") or {}).get(name)
            if isinstance(text, str) and text:
                yield text
        for number in (feature.get("geometry") or {}).get("coordinates") or ():
            if re.search(rf"\.\d{{{_MIN_DECIMALS},}}$", repr(number)):
                yield repr(abs(number))


def leaks(log: str, private: Iterator[str]) -> set[str]:
    """Return the private texts that a log contains.

    The seconds in a time such as `18:47:13.40931` are no longitude, although people walk at 13.4 degrees east.
    """
    return {text for text in set(private) if text in log and re.search(rf"(?<!\d)(?<!\d:){re.escape(text)}", log)}
