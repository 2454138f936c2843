"""What the tests of the client share: the client itself, events as the worker writes them, a worker's
answers.
"""

import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from location_client import LocationClient
from tests.location_client.samples import CHAT, SHARE, Answer, Publish


@pytest.fixture
async def client(redis_url: str, prefix: str) -> AsyncIterator[LocationClient]:
    async with LocationClient(redis_url, key_prefix=prefix) as client:
        yield client


@pytest.fixture
def publish(redis: Redis, prefix: str) -> Publish:
    """Return a function that appends one event as in docs/reference/events.md and returns its stream id."""
    sequence = itertools.count(1)

    async def append(kind: str = "location.updated", *, stream: str | None = None, **fields: Any) -> str:
        number = next(sequence)
        event: dict[Any, Any] = {
            "specversion": "1.0",
            "id": f"{SHARE}:{number}",
            "source": f"/linq/chats/{CHAT}",
            "type": kind,
            "subject": "+12025550147",
            "time": "2026-10-12T09:31:18.000Z",
            "datacontenttype": "application/json",
            "dataschema": f"urn:location-worker:{kind}:1",
            "sequence": number,
            "reference": "order-20881",
            "data": json.dumps({"chat_id": CHAT, "share_id": SHARE, "number": number}),
        }
        stream_id = await redis.xadd(stream or f"{prefix}:events", event | fields)
        return stream_id.decode() if isinstance(stream_id, bytes) else str(stream_id)

    return append


@pytest.fixture
def answer(redis: Redis) -> Answer:
    """Return a function that answers a job as a worker does when the job has run."""

    async def write(job_id: str, result: Any, *, success: bool = True) -> None:
        body = {"t": 1, "f": "", "a": [], "k": {}, "et": 0, "s": success, "r": result, "st": 0, "ft": 0, "q": ""}
        async with redis.pipeline(transaction=True) as pipeline:
            pipeline.set(f"arq:result:{job_id}", json.dumps(body | {"id": job_id}), px=3_600_000)
            pipeline.delete(f"arq:job:{job_id}")
            await pipeline.execute()

    return write
