"""Which positions on the stream count as the fresh ones that a command waits for."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from location_client import LocationClient
from worker.cli.positions import await_positions

CHAT, SHARE, JOB = "3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13", "5b1e8a0c-6a36-4d06-8a5b-0c8f6f6f2a11", "job"
NOW = datetime.now(UTC)  # when the tests were collected, which may be minutes ago


@pytest.fixture
async def client(redis_url: str, prefix: str) -> AsyncIterator[LocationClient]:
    async with LocationClient(redis_url, key_prefix=prefix) as client:
        yield client


def seen(longitude: float, *, age: float | None, now: datetime = NOW) -> dict[str, Any]:
    """Return a position that was `age` seconds old when it was read, at `now`; with None it has no time."""
    updated_at = None if age is None else (now - timedelta(seconds=age)).isoformat()
    return {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [longitude, 52.5]},
        "properties": {"share_id": SHARE, "updated_at": updated_at, "received_at": now.isoformat()},
    }


async def located(client: LocationClient, status: str, *told: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the outcome of a job whose result had this status, once the events `told` are on the stream."""
    for kind, data in told:
        fields: dict[Any, Any] = {"id": f"{SHARE}:1", "type": f"location.{kind}", "data": json.dumps(data)}
        await client.redis.xadd(f"{client.key_prefix}:events", fields)
    outcomes = {JOB: {"status": status, "chat_id": CHAT, "share_id": SHARE}}
    await await_positions(client, "0", outcomes, max_age=120, timeout=0.5, tell=lambda _: None)
    return outcomes[JOB]


END = ("tracking.ended", {"share_id": SHARE, "reason": "first_position"})


async def test_the_fresh_one_of_several_contacts_is_taken(client: LocationClient) -> None:
    told = [("updated", seen(longitude, age=age)) for longitude, age in ((1, 3600), (2, 60), (3, 3600))]
    assert (await located(client, "tracking", *told, END))["position"] == seen(2, age=60)


async def test_one_without_a_time_is_as_old_as_its_reading(client: LocationClient) -> None:
    told = ("updated", seen(1, age=None))
    assert (await located(client, "requested", told, END))["position"] == seen(1, age=None)


async def test_in_a_chat_that_was_tracked_already_any_fresh_position_will_do(client: LocationClient) -> None:
    told = [("updated", seen(longitude, age=age)) for longitude, age in ((1, 3600), (2, 60))]
    assert (await located(client, "already_tracked", *told))["position"] == seen(2, age=60)
    assert (await located(client, "requested"))["status"] == "requested", "its own share has not ended"


async def test_what_was_last_known_of_such_a_chat_counts_while_it_is_fresh(
    client: LocationClient, redis: Redis
) -> None:
    view = f"{client.key_prefix}:latest:{CHAT}"
    for age, expected in ((3600, "already_tracked"), (60, "located")):
        await redis.hset(view, "+12025550147", json.dumps(seen(1, age=age, now=datetime.now(UTC))))  # type: ignore[misc]
        await redis.expire(view, 60)
        assert (await located(client, "already_tracked"))["status"] == expected
