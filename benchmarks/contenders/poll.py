"""What every queue does with one chat: read it, check the reply, compare it with the last state, publish what is new.

The queues differ in how a poll gets to this function and in how the next one is queued; this part is the same
for all.
The environment says what to poll: `STUB_URL`, `REDIS_URL`, `CHATS` (how many), `CONCURRENCY` (polls at once).
"""

import os
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
from pydantic import BaseModel

STUB_URL = os.environ["STUB_URL"]
REDIS_URL = os.environ["REDIS_URL"]
CHATS = [str(UUID(int=number)) for number in range(1, int(os.environ["CHATS"]) + 1)]
CONCURRENCY = int(os.environ["CONCURRENCY"])


class _Geometry(BaseModel):
    type: str
    coordinates: list[float]


class _Properties(BaseModel):
    handle: str
    address: str | None = None
    locality: str | None = None
    updated_at: datetime


class _Feature(BaseModel):
    geometry: _Geometry
    properties: _Properties


class _Collection(BaseModel):
    features: list[_Feature]


class _Reply(BaseModel):
    success: bool
    data: _Collection


def http_client() -> httpx.AsyncClient:
    """Return one client for the whole worker, with enough connections for every poll under way."""
    return httpx.AsyncClient(
        limits=httpx.Limits(max_connections=CONCURRENCY, max_keepalive_connections=CONCURRENCY),
        headers={"Authorization": "Bearer benchmark"},
        timeout=10,
    )


async def poll(http: httpx.AsyncClient, redis: Any, chat_id: str) -> None:
    """Poll once with httpx and separate Redis commands, the obvious way. `redis` is an asyncio client of redis-py."""
    reply = await http.get(f"{STUB_URL}/v3/chats/{chat_id}/location")
    reply.raise_for_status()
    for feature in _Reply.model_validate_json(reply.content).data.features:
        longitude, latitude, *_ = feature.geometry.coordinates
        properties = feature.properties
        await publish_when_new(
            redis,
            chat_id,
            handle=properties.handle,
            updated_at=properties.updated_at,
            latitude=latitude,
            longitude=longitude,
        )


async def publish_when_new(
    redis: Any, chat_id: str, *, handle: str, updated_at: datetime, latitude: float, longitude: float
) -> None:
    """Compare with the last state; where this position is later, remember it and append an event."""
    last = await redis.get(f"state:{chat_id}")
    if last is not None and updated_at.timestamp() <= float(last):
        return
    await redis.set(f"state:{chat_id}", updated_at.timestamp())
    await redis.xadd(
        "events",
        {
            "type": "location.updated",
            "chat_id": chat_id,
            "handle": handle,
            "latitude": latitude,
            "longitude": longitude,
            "updated_at": updated_at.isoformat(),
        },
        maxlen=100_000,
    )
