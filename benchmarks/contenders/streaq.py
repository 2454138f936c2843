"""One streaq task per poll, httpx, state in separate commands."""

# The package lives in benchmarks/.venv only.
# mypy: disable-error-code="import-not-found,untyped-decorator"

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from redis.asyncio import Redis
from streaq import Worker

from benchmarks.contenders.poll import CHATS, CONCURRENCY, REDIS_URL, http_client, poll


@dataclass
class Context:
    http: httpx.AsyncClient
    state: Any


@asynccontextmanager
async def lifespan() -> AsyncGenerator[Context]:
    async with http_client() as http:
        for chat_id in CHATS:
            await poll_chat.enqueue(chat_id)
        yield Context(http, Redis.from_url(REDIS_URL))


worker = Worker(redis_url=REDIS_URL, concurrency=CONCURRENCY, lifespan=lifespan, anyio_kwargs={"use_uvloop": True})


@worker.task(ttl=0, silent=True)
async def poll_chat(chat_id: str) -> None:
    await poll(worker.context.http, worker.context.state, chat_id)
    await poll_chat.enqueue(chat_id)


worker.run_sync()
