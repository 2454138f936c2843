"""SIGTERM and SIGINT: work under way is finished or given back, and the exit status is 0."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simulator.answers import Answer
from simulator.embedded_redis import EmbeddedRedis
from simulator.harness import SimulatorServer
from simulator.sentinels import RedisWithSentinels
from tests.support.process import ROOT
from tests.support.stage import Stage, open_stage
from tests.support.waiting import wait_until
from worker.processes.stopping import OVERDUE_SECONDS

LEASE = 60.0  # seconds: a worker that waited for it to expire would miss every deadline here
GRACE = 2.0
SLACK = 10.0  # a loaded machine takes time to end a process; far below the lease and every time-out that could delay it


async def hanging(stage: Stage, endpoint: str, chat_id: str) -> Answer:
    """Wait for a request that gets no reply."""

    def found() -> list[Answer]:
        return [answer for answer in stage.requests(endpoint, chat_id) if answer.outcome == "hung"]

    return (await wait_until(found, f"a {endpoint} under way", deadline=20))[-1]


async def tracked(stage: Stage) -> list[str]:
    """Return five new chats that the running worker tracks, each with a position on the stream."""
    chats = stage.people(5)
    async for _, result in stage.client.results(await stage.request_all(chats)):
        assert isinstance(result, dict)
    await stage.more_positions(chats)
    return chats


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_worker_ends_with_status_0(stage: Stage, number: signal.Signals) -> None:
    worker = await stage.workers.start()
    assert await worker.stop(number) == 0
    assert worker.lines("worker_stopped")


async def test_a_read_under_way_is_given_back_when_the_grace_is_over(stage: Stage) -> None:
    [chat] = stage.people(1)
    leaving = await stage.workers.start(LEASE_SECONDS=str(LEASE), SHUTDOWN_GRACE_SECONDS=str(GRACE))
    await stage.request(chat)
    await stage.published(chat, "location.updated")
    stage.simulator.fault("hang", endpoint="read", chat_id=chat)
    read = await hanging(stage, "read", chat)
    staying = await stage.workers.start(LEASE_SECONDS=str(LEASE))
    began = time.time()
    assert await leaving.stop() == 0
    stage.disturbed(began)
    assert time.time() - began < GRACE + SLACK
    await stage.more_positions([chat], more=2, deadline=20)
    following = stage.requests("read", chat)[-1].received_at
    assert following - read.received_at < LEASE
    assert staying.runs
    await stage.finish()


async def test_a_prompt_under_way_is_settled_by_another_worker_at_once(stage: Stage) -> None:
    [chat] = stage.people(1)
    leaving = await stage.workers.start(LEASE_SECONDS=str(LEASE), SHUTDOWN_GRACE_SECONDS=str(GRACE))
    stage.simulator.fault("hang", endpoint="request", chat_id=chat, after_work=True)
    [job] = await stage.request_all([chat])
    await hanging(stage, "request", chat)
    await stage.workers.start(LEASE_SECONDS=str(LEASE))
    began = time.time()
    assert await leaving.stop() == 0
    stage.disturbed(began)
    # Neither the lease nor the job's time-out has to expire: chat and job were given back.
    await stage.published(chat, "location.updated", deadline=20)
    assert (await job.result(timeout=20))["status"] == "requested"
    assert stage.simulator.prompts(chat) == 1
    await stage.finish()


async def test_what_can_be_finished_within_the_grace_is_committed(stage: Stage) -> None:
    """The worker waits for slow replies, so that no chat has to be read again."""
    leaving = await stage.workers.start(LEASE_SECONDS=str(LEASE))
    await tracked(stage)
    stage.simulator.fault("slow", endpoint="read", replies=None, delay=1.0)
    answered = len(stage.requests("read"))
    await wait_until(lambda: len(stage.requests("read")) > answered, "a slow reply", deadline=20)
    assert await leaving.stop() == 0
    # No disturbance is noted for the oracle: every position in a reply has to be on the stream.
    await stage.finish()


async def test_a_redis_that_hangs_does_not_keep_a_worker_from_stopping(
    own_stage: Stage, own_redis: EmbeddedRedis
) -> None:
    [chat] = own_stage.people(1)
    worker = await own_stage.workers.start(SHUTDOWN_GRACE_SECONDS=str(GRACE))
    await own_stage.request(chat)
    await own_stage.published(chat, "location.updated")
    own_redis.pause()
    began = time.monotonic()
    status = await worker.stop()
    took = time.monotonic() - began
    own_redis.resume()
    assert status == 0
    assert took < GRACE + SLACK


async def test_a_linq_that_hangs_does_not_keep_a_worker_from_stopping(stage: Stage) -> None:
    worker = await stage.workers.start(SHUTDOWN_GRACE_SECONDS=str(GRACE))
    chats = await tracked(stage)
    stage.simulator.fault("hang", endpoint="linq", replies=None)
    stopping = await stage.client.stop_sharing(chats[0], stage.simulator.handle_of(chats[0]))
    for endpoint in ("read", "stop"):
        await hanging(stage, endpoint, chats[0])
    began = time.monotonic()
    assert await worker.stop() == 0
    assert time.monotonic() - began < GRACE + SLACK
    assert not worker.lines("stopping_takes_too_long")
    # The job went back to the queue.
    stage.simulator.clear_faults()
    await stage.workers.start()
    assert (await stopping.result())["status"] == "stopping"


@pytest.mark.parametrize("trouble", ["failover", "sentinels away", "all away"])
async def test_a_worker_stops_while_sentinels_are_away_or_replace_the_master(
    simulator: SimulatorServer, prefix: str, tmp_path: Path, trouble: str
) -> None:
    with RedisWithSentinels() as servers:
        async with open_stage(simulator, servers.url, prefix, tmp_path) as stage:
            worker = await stage.workers.start(SHUTDOWN_GRACE_SECONDS=str(GRACE))
            await tracked(stage)
            if trouble == "failover":
                servers.fail_over()
            if trouble in ("sentinels away", "all away"):
                for sentinel in servers.sentinels:
                    sentinel.pause()
            if trouble == "all away":
                servers.servers[0].pause()
            began = time.monotonic()
            assert await worker.stop() == 0
            assert time.monotonic() - began < GRACE + SLACK
            assert not worker.lines("stopping_takes_too_long")
            for server in (*servers.sentinels, servers.servers[0]):
                server.resume()


def launch_logging_to(pipe: Path, stage: Stage, **settings: str) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **stage.workers.settings, **settings}
    with pipe.open("wb") as log:
        return subprocess.Popen([sys.executable, "-m", "worker", "worker"], env=environment, stderr=log)


async def test_a_log_that_nobody_reads_does_not_keep_a_worker_from_ending(stage: Stage, tmp_path: Path) -> None:
    """Writing the log blocks the whole worker: the kernel ends it once the time for stopping is over."""
    pipe = tmp_path / "log"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    process = launch_logging_to(pipe, stage, SHUTDOWN_GRACE_SECONDS="1")
    writing = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    try:
        await stage.request_all(stage.people(20))
        await wait_until(lambda: stage.requests("read"), "it polls", deadline=60)
        for size in (4096, 1):
            with contextlib.suppress(BlockingIOError):
                while os.write(writing, bytes(size)):
                    pass

        async def silent() -> bool:
            before = len(stage.requests("read"))
            await asyncio.sleep(1)
            return len(stage.requests("read")) == before

        await wait_until(silent, "it hangs in its log", deadline=20)
        process.terminate()
        status = await asyncio.to_thread(process.wait, 1 + OVERDUE_SECONDS + SLACK)
    finally:
        process.kill()
        os.close(reading)
        os.close(writing)
    assert status == -signal.SIGALRM


async def test_a_worker_that_still_waits_for_redis_stops_at_once(own_stage: Stage, own_redis: EmbeddedRedis) -> None:
    own_redis.halt()
    worker = own_stage.workers.launch()
    await worker.logged("redis_away")
    assert await worker.stop() == 0
    own_redis.restart()


async def test_a_metrics_port_that_is_taken_is_named_and_ends_the_start(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        worker = stage.workers.launch(METRICS_PORT=str(port))
        assert await worker.status() == 1
    [line] = worker.lines("cannot_start")
    assert line["setting"] == f"METRICS_PORT {port}"
    assert "Traceback" not in worker.log()


async def test_a_poll_log_that_cannot_be_opened_is_named_and_ends_the_start(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        worker = stage.workers.launch(POLL_LOG=str(path))
        assert await worker.status() == 1
    [line] = worker.lines("cannot_start")
    assert line["setting"] == f"POLL_LOG {path}"


async def test_certificates_that_cannot_be_read_are_named_and_end_the_start(stage: Stage, tmp_path: Path) -> None:
    worker = stage.workers.launch(SSL_CERT_FILE=str(tmp_path / "none.pem"))
    assert await worker.status() == 1
    [line] = worker.lines("cannot_start")
    assert line["setting"] == "SSL_CERT_FILE"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
async def test_a_full_disk_ends_the_poll_log_and_not_the_polling(stage: Stage) -> None:
    [chat] = stage.people(1)
    worker = await stage.workers.start(POLL_LOG="/dev/full")
    await stage.request(chat)
    await stage.published(chat, "location.updated", times=3)
    assert len(worker.lines("poll_log_ends")) == 1
    await stage.finish()
