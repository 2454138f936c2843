"""`location-worker request --wait` beside a real worker: it waits until each prompt was sent or refused."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.support.process import ROOT
from tests.support.stage import Stage
from tests.support.waiting import wait_until

FEW = {"LINQ_REQUESTS_PER_SECOND": "5"}  # prompts a second: most of the jobs end before their prompt may be sent
STRANGERS = [str(UUID(int=number)) for number in range(20)]  # chats that do not exist


class Command:
    """`location-worker WORDS`, run as a process of its own."""

    def __init__(self, stage: Stage, folder: Path, *words: str, stderr: int = subprocess.PIPE) -> None:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **stage.workers.settings, **FEW}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "worker", *words],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )

    async def finish(self) -> tuple[int, str, str]:
        output, errors = await asyncio.to_thread(self.process.communicate, timeout=60)
        return self.process.returncode, output, errors


@pytest.fixture
def commands() -> Iterator[list[Command]]:
    started: list[Command] = []
    yield started
    for command in started:
        command.process.kill()
        command.process.communicate()


def results(output: str) -> list[dict[str, Any]]:
    return [json.loads(line)["result"] for line in output.splitlines()]


async def test_every_refusal_is_told_also_of_prompts_that_had_to_wait_for_the_budget(
    stage: Stage, tmp_path: Path, commands: list[Command]
) -> None:
    known = stage.people(2)
    (tmp_path / "chats.csv").write_text("\n".join([*STRANGERS, *known]))
    await stage.workers.start(**FEW)

    commands.append(Command(stage, tmp_path, "request", "--file", "chats.csv", "--wait", "--json"))
    status, output, errors = await commands[0].finish()

    told = results(output)
    assert [result["status"] for result in told] == ["rejected"] * len(STRANGERS) + ["requested"] * len(known)
    assert {result["reason"] for result in told[: len(STRANGERS)]} == {"chat_not_found"}
    assert {result["prompt"] for result in told[len(STRANGERS) :]} == {"sent"}
    assert (status, errors) == (1, "20 of 22 did not succeed\n")
    await stage.workers.stop()


async def test_a_prompt_that_cannot_leave_in_time_is_not_waited_for_and_counted_on_its_own(
    stage: Stage, tmp_path: Path, commands: list[Command]
) -> None:
    [chat] = stage.people(1, accepts_after=None)
    await stage.workers.start(REQUEST_COOLDOWN_SECONDS="600")
    await stage.request(chat)
    await (await stage.client.untrack_location(chat)).result(timeout=30)

    commands.append(Command(stage, tmp_path, "request", chat, "--wait", "--json"))
    status, output, errors = await commands[0].finish()

    [told] = results(output)
    assert (told["status"], told["prompt"]) == ("requested", "waiting")
    assert (status, errors.split(";")[0]) == (0, "1 prompt still waiting to be sent")
    await stage.workers.stop()


async def test_ctrl_c_keeps_what_is_queued_and_says_so(stage: Stage, tmp_path: Path, commands: list[Command]) -> None:
    chats = stage.people(3)
    master, slave = pty.openpty()  # a terminal for standard error, so that there is a bar
    with os.fdopen(master, "rb", buffering=0) as terminal:
        commands.append(Command(stage, tmp_path, "request", *chats, "--wait", stderr=slave))
        os.close(slave)
        shown = b""

        async def bar() -> bool:
            nonlocal shown
            shown += await asyncio.to_thread(terminal.read, 1000)
            return b"0/3" in shown

        await wait_until(bar, "a progress bar", deadline=30)
        commands[0].process.send_signal(signal.SIGINT)

        async def said() -> bool:
            nonlocal shown
            shown += await asyncio.to_thread(terminal.read, 1000)
            return b"interrupted: 3 of 3 jobs queued" in shown

        await wait_until(said, "a word on what was queued", deadline=30)
    status, _, _ = await commands[0].finish()
    assert status == 130

    await stage.workers.start()
    for chat in chats:
        await stage.published(chat, "location.updated")
    await stage.workers.stop()
