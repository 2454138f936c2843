"""The Procfile under honcho, as hosts with Procfiles run it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.ports import free_port
from tests.support.process import ROOT, leaks, private_texts
from tests.support.stage import Stage
from tests.support.waiting import wait_until
from tests.support.web import SECRET

# On Linux all of 127/8 is this machine: a process that is reached at this address listens on more than 127.0.0.1.
ELSEWHERE = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
END_WITHIN = 30.0


@pytest.fixture
def base_url(stage: Stage, tmp_path: Path) -> Iterator[str]:
    """Run the Procfile, yield the address of `web`, and check that SIGTERM ends all processes with status 0."""
    shutil.copy(ROOT / "Procfile", tmp_path)  # copied, so that no .env of the repository is read
    port = free_port()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with (tmp_path / "honcho.log").open("wb") as log:
        honcho = subprocess.Popen(
            [sys.executable, "-m", "honcho", "--no-colour", "start"],
            env={
                **os.environ,
                **stage.workers.settings,
                "LINQ_WEBHOOK_SECRET": SECRET,
                "PATH": path,
                "PORT": str(port),
            },
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield f"http://{ELSEWHERE}:{port}"
    finally:
        honcho.send_signal(signal.SIGTERM)
        honcho.wait(END_WITHIN)
    output = (tmp_path / "honcho.log").read_text()
    assert "web.1 stopped (rc=0)" in output, output
    assert "worker.1 stopped (rc=0)" in output, output
    assert not leaks(output, private_texts(stage.simulator))


async def test_both_processes_come_up_take_a_signed_webhook_and_end_with_0(stage: Stage, base_url: str) -> None:
    [chat] = stage.people(1)
    async with httpx.AsyncClient(base_url=base_url, trust_env=False) as client:

        async def answers() -> bool:
            try:
                return (await client.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        async def webhook_taken() -> bool:
            return 'location_webhooks_total{outcome="accepted"} 1.0' in (await client.get("/metrics")).text

        await wait_until(answers, "web answers at $PORT", deadline=30)
        stage.simulator.subscribe(f"{base_url}/webhooks/linq", secret=SECRET)
        assert (await stage.request(chat))["status"] == "requested"
        await wait_until(webhook_taken, "the contact's acceptance came as a webhook", deadline=30)
    await stage.published(chat, "location.updated")
