"""The web process as an operator runs it, and deliveries as Linq sends them."""

import asyncio
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from standardwebhooks import Webhook

from tests.support.ports import free_port
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER_SECRET = "whsec_" + base64.b64encode(bytes(range(32, 64))).decode()
STARTED = "location.sharing.started"
STOPPED = "location.sharing.stopped"
CONTACT = "+12025550147"
LINE = "+14155550100"
_START_WITHIN = 30.0
_STOP_WITHIN = 30.0


def event(event_type: str = STARTED, **data: Any) -> bytes:
    """Return the body of a delivery, with `data` beside the two handles."""
    content = {
        "api_version": "v3",
        "webhook_version": "2026-02-03",
        "event_type": event_type,
        "event_id": str(uuid.uuid4()),
        "created_at": "2026-10-12T09:30:04.512904118Z",
        "trace_id": uuid.uuid4().hex,
        "partner_id": "a-partner",
        "data": {"shared_by": CONTACT, "shared_with": LINE} | data,
    }
    return json.dumps(content).encode()


def signed(
    body: bytes, *, event_id: str | None = None, at: float | None = None, secret: str = SECRET
) -> dict[str, str]:
    """Return the headers with which the library of the official SDK signs; `at` in seconds since 1970 UTC."""
    moment = int(time.time() if at is None else at)
    name = event_id or str(uuid.uuid4())
    return {
        "content-type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": str(moment),
        "webhook-signature": Webhook(secret).sign(name, datetime.fromtimestamp(moment, UTC), body.decode()),
    }


class WebProcess:
    """One process that serves on a free port, or at PORT, with its log."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.port = int(environment.get("PORT") or free_port())
        self.url = f"http://127.0.0.1:{self.port}"
        self.hook = f"{self.url}/webhooks/linq"
        self.log_path = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker", "web"],
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment, "PORT": str(self.port)},
                cwd=log.parent,  # so that no .env of the repository is read
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.client = httpx.AsyncClient(base_url=self.url, timeout=20, trust_env=False)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def serves(self) -> None:
        """Wait until it answers."""

        async def answers() -> bool:
            if self._process.poll() is not None:
                raise RuntimeError(f"the web process has ended: {self.log()[-2000:]}")
            try:
                return (await self.client.get("/healthz")).status_code == 200
            except httpx.TransportError:
                return False

        await wait_until(answers, "the web process answers", deadline=_START_WITHIN)

    async def deliver(self, body: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
        """Post a delivery, correctly signed unless `headers` are given."""
        return await self.client.post(
            "/webhooks/linq", content=body, headers=signed(body) if headers is None else headers
        )

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; return its exit status."""
        self._process.send_signal(number)
        return await self.status()

    async def status(self) -> int:
        """Wait for its end; return its exit status."""
        return await asyncio.to_thread(self._process.wait, _STOP_WITHIN)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    async def close(self) -> None:
        await self.client.aclose()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(_STOP_WITHIN)


class WebProcesses:
    """The web processes of one test."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.started: list[WebProcess] = []
        self.environment = {"LINQ_WEBHOOK_SECRET": SECRET, "LOG_FORMAT": "json", "LOG_LEVEL": "DEBUG"} | environment
        self._directory = directory

    def launch(self, **environment: str) -> WebProcess:
        """Start one without waiting for it; an empty text unsets a variable."""
        settings = self.environment | environment
        log = self._directory / f"web-{len(self.started)}.log"
        web = WebProcess({name: text for name, text in settings.items() if text}, log)
        self.started.append(web)
        return web

    async def start(self, **environment: str) -> WebProcess:
        """Start one and wait until it answers."""
        web = self.launch(**environment)
        await web.serves()
        return web

    async def close(self) -> None:
        for web in self.started:
            await web.close()


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    """Return a bare connection to a loopback port."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        yield connection
