"""The command as people and programs start it: exit statuses, streams, signals, pipes."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.location_client.samples import CHAT

Start = Callable[..., "subprocess.Popen[str]"]
ROOT = Path(__file__).parents[2]


async def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    output, errors = await asyncio.to_thread(process.communicate, timeout=60)
    return process.returncode, output, errors


async def test_done_is_0(start: Start, redis: Redis, prefix: str) -> None:
    status, output, errors = await finish(start("request", CHAT, "--json"))
    assert (status, errors) == (0, "")
    assert await redis.zrange(f"{prefix}:jobs", 0, -1) == [json.loads(output)["job_id"].encode()]


async def test_a_failed_operation_is_1_with_its_message_on_standard_error(start: Start) -> None:
    status, output, errors = await finish(start("status", CHAT))
    assert (status, output) == (1, "")
    assert "is not tracked" in errors


async def test_a_redis_that_does_not_answer_is_1_and_named_without_a_traceback(start: Start) -> None:
    status, output, errors = await finish(start("untrack", CHAT, REDIS_URL="redis://:secret@127.0.0.1:1/0"))
    assert (status, output) == (1, "")
    assert "Redis refuses connections: is it running at the address in REDIS_URL?" in errors
    assert "Traceback" not in errors
    assert "secret" not in errors


async def test_wrong_usage_is_2(start: Start) -> None:
    status, output, errors = await finish(start("request", "abc"))
    assert (status, output) == (2, "")
    assert "'abc' is not a chat id" in errors


@pytest.mark.parametrize("command", [["tail"], ["request", CHAT], ["status"], ["worker"], ["web"]])
async def test_wrong_settings_are_2_with_a_line_for_each(start: Start, command: list[str]) -> None:
    process = start(*command, REDIS_URL="", MIN_POLL_SECONDS="soon")
    status, output, errors = await finish(process)
    assert (status, output) == (2, "")
    assert "REDIS_URL: not set" in errors
    assert "MIN_POLL_SECONDS: given 'soon'" in errors


@pytest.mark.parametrize("command", ["worker", "doctor"])
async def test_a_proxy_that_cannot_be_used_is_2_with_its_variable(start: Start, command: str) -> None:
    process = start(command, LINQ_API_V3_API_KEY="key", HTTPS_PROXY="http://me:secret@proxy:port", NO_PROXY="")
    status, output, errors = await finish(process)
    assert (status, output) == (2, "")
    assert errors.startswith("Error: HTTPS_PROXY: given '•••@proxy:port'; accepted: http://HOST:PORT")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("command", ["worker", "web"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_told_to_stop_while_it_starts_ends_with_0(command: str, number: signal.Signals) -> None:
    started = (
        "import os, sys, config.settings, worker.cli\n"
        f"config.settings.load_settings = lambda _: os.kill(os.getpid(), {int(number)})\n"
        "sys.exit(worker.cli.main())"
    )
    done = subprocess.run([sys.executable, "-c", started, command], cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("command", [["schema"], ["schema", "location.updated"], ["doctor", "--json"], ["--help"]])
def test_output_to_a_full_disk_is_1_and_named_without_a_traceback(command: list[str]) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "worker", *command],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "Error: the output cannot be written: No space left on device.\n")


async def test_help_is_0(start: Start) -> None:
    status, output, _ = await finish(start("--help", REDIS_URL=""))
    assert status == 0
    assert "request" in output


async def test_standard_input_is_read_through_a_pipe(start: Start, redis: Redis, prefix: str) -> None:
    status, _, errors = await finish(start("track", "-", stdin=f"{CHAT},Grüße\r\n"))
    assert (status, errors) == (0, "")
    assert await redis.zcard(f"{prefix}:jobs") == 1


async def test_what_the_terminal_cannot_show_is_escaped(start: Start, redis: Redis, prefix: str) -> None:
    await redis.xadd(f"{prefix}:events", {"type": "location.updated", "reference": "ŁŚ", "data": "{}"})
    process = start("tail", "--from", "beginning", "--count", "1", PYTHONIOENCODING="latin-1")
    status, output, errors = await finish(process)
    assert (status, errors) == (0, "")
    assert "[\\u0141\\u015a]" in output


async def read_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), 30)


async def test_ctrl_c_ends_tail_with_130_and_without_noise(start: Start, redis: Redis, prefix: str) -> None:
    await redis.xadd(f"{prefix}:events", {"type": "location.updated", "data": "{}"})
    process = start("tail", "--from", "beginning", "--json")
    assert json.loads(await read_line(process))["type"] == "location.updated"
    process.send_signal(signal.SIGINT)
    status, _, errors = await finish(process)
    assert (status, errors) == (130, "")


async def test_a_closed_pipe_ends_tail_without_noise(start: Start, redis: Redis, prefix: str) -> None:
    process = start("tail", "--from", "beginning", "--json")
    await redis.xadd(f"{prefix}:events", {"type": "location.updated", "data": "{}"})
    await read_line(process)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None

    # The command notices when it cannot write the first event.
    async with asyncio.timeout(30):
        while process.poll() is None:
            await redis.xadd(f"{prefix}:events", {"type": "location.updated", "data": "{}"})
            await asyncio.sleep(0.05)
    assert process.stderr is not None
    assert (process.returncode, process.stderr.read()) == (0, "")


async def test_tail_shows_events_as_they_come(start: Start, redis: Redis, prefix: str) -> None:
    process = start("tail", "--from", "beginning", "--json")
    for number in range(3):
        await redis.xadd(f"{prefix}:events", {"type": "location.updated", "id": str(number), "data": "{}"})
        assert json.loads(await read_line(process))["id"] == str(number)
