"""What the tests of the views share: a web process with a token, and events on its stream."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest
from redis.asyncio import Redis

from tests.support.stored import new_chat
from tests.support.web import WebProcess, WebProcesses

TOKEN = "a-token-of-the-tests-of-the-views"


@pytest.fixture
async def webs(redis_url: str, prefix: str, tmp_path: Path) -> AsyncIterator[WebProcesses]:
    processes = WebProcesses(tmp_path, REDIS_URL=redis_url, KEY_PREFIX=prefix, VIEW_TOKEN=TOKEN)
    yield processes
    await processes.close()


@pytest.fixture
async def web(webs: WebProcesses) -> WebProcess:
    """Start a web process with the views switched on."""
    return await webs.start()


@pytest.fixture
async def viewer(web: WebProcess) -> AsyncIterator[httpx.AsyncClient]:
    """Make a client that has the token."""
    async with viewer_of(web) as client:
        yield client


def viewer_of(web: WebProcess) -> httpx.AsyncClient:
    """Make a client of a web process that has the token."""
    return httpx.AsyncClient(
        base_url=web.url, timeout=30, trust_env=False, headers={"authorization": f"Bearer {TOKEN}"}
    )


@pytest.fixture
def chat_id() -> str:
    return new_chat()


class Stream:
    """Writes events in the form that the store's scripts write."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self.key = f"{prefix}:events"
        self._redis = redis
        self._sequence = 0

    async def add(
        self,
        kind: str = "location.tracking.ended",
        *,
        chat_id: str = "3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13",
        reference: str = "",
        subject: str = "",
        **data: object,
    ) -> str:
        """Append an event; return its stream id."""
        return (await self.add_many(1, kind, chat_id=chat_id, reference=reference, subject=subject, **data))[0]

    async def add_many(
        self,
        count: int,
        kind: str = "location.tracking.ended",
        *,
        chat_id: str = "3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13",
        reference: str = "",
        subject: str = "",
        **data: object,
    ) -> list[str]:
        """Append `count` events; return their stream ids."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for _ in range(count):
                self._sequence += 1
                fields = {
                    "specversion": "1.0",
                    "id": f"{chat_id}:{self._sequence:016x}",
                    "source": f"/linq/chats/{chat_id}",
                    "type": kind,
                    **({"subject": subject} if subject else {}),
                    "time": "2026-10-12T09:31:18.000Z",
                    "datacontenttype": "application/json",
                    "dataschema": f"urn:location-worker:{kind}:1",
                    "sequence": str(self._sequence),
                    **({"reference": reference} if reference else {}),
                    "data": msgspec.json.encode({"chat_id": chat_id, "number": self._sequence, **data}).decode(),
                }
                pipeline.xadd(self.key, fields)  # type: ignore[arg-type]  # redis-py's stubs want any key and value
            return [stream_id.decode() for stream_id in await pipeline.execute()]


@pytest.fixture
def stream(redis: Redis, prefix: str) -> Stream:
    return Stream(redis, prefix)
