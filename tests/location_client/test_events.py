"""Events are read in order and whole, with and without a consumer group, also while Redis restarts."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from location_client import Event, LocationClient
from tests.location_client.samples import CHAT, SHARE, Publish


async def ids(events: AsyncIterator[Event]) -> list[str]:
    return [event.stream_id async for event in events]


async def take(events: AsyncIterator[Event], number: int) -> list[Event]:
    taken: list[Event] = []
    async with asyncio.timeout(30):
        while len(taken) < number:
            taken.append(await anext(events))
    return taken


async def test_an_event_shows_every_field_of_the_contract(client: LocationClient, publish: Publish) -> None:
    stream_id = await publish("location.updated")
    (event,) = await take(client.events(after="0"), 1)
    assert event.stream_id == stream_id
    assert event.specversion == "1.0"
    assert event.id == f"{SHARE}:1"
    assert event.source == f"/linq/chats/{CHAT}"
    assert event.type == "location.updated"
    assert event.subject == "+12025550147"
    assert event.time == "2026-10-12T09:31:18.000Z"
    assert event.datacontenttype == "application/json"
    assert event.dataschema == "urn:location-worker:location.updated:1"
    assert event.sequence == 1
    assert event.reference == "order-20881"
    assert (event.chat_id, event.share_id) == (CHAT, SHARE)
    assert event.data == {"chat_id": CHAT, "share_id": SHARE, "number": 1}
    assert json.loads(json.dumps(event.as_dict())) == event.as_dict()
    assert event.as_dict()["data"]["number"] == 1


async def test_what_an_entry_leaves_out_is_none(client: LocationClient, redis: Redis, prefix: str) -> None:
    fields: dict[Any, Any] = {
        "id": "pin-7",
        "source": "/chert",
        "type": "location.pin.queued",
        "data": '{"message_id": "msg_1"}',
    }
    await redis.xadd(f"{prefix}:events", fields)
    (event,) = await take(client.events(after="0"), 1)
    assert (event.subject, event.reference, event.chat_id, event.share_id) == (None, None, None, None)
    assert set(event.as_dict()) == {"stream_id", *fields}


async def test_the_share_of_a_position_is_in_its_properties(client: LocationClient, publish: Publish) -> None:
    await publish(data=json.dumps(position("+12025550147")))
    (event,) = await take(client.events(after="0"), 1)
    assert event.type == "location.updated"
    assert event.data["properties"]["handle"] == "+12025550147"
    assert event.share_id == SHARE


async def test_types_and_fields_of_a_newer_worker_are_read(client: LocationClient, publish: Publish) -> None:
    data = {"chat_id": CHAT, "share_id": SHARE, "mood": {"colour": "blue"}}
    await publish("location.mood", data=json.dumps(data), colour="blue")
    await publish("location.tracking.ended", data=json.dumps({**data, "reason": "bored"}))
    newer, known = await take(client.group_events("group", "one", start="0"), 2)
    assert newer.as_dict()["type"] == "location.mood"
    assert newer.as_dict()["colour"] == "blue"
    assert newer.as_dict()["data"] == data
    assert newer.share_id == SHARE
    assert known.type == "location.tracking.ended"
    assert known.as_dict()["data"]["reason"] == "bored"


async def test_an_event_that_is_none_of_ours_can_still_be_looked_at(
    client: LocationClient, redis: Redis, prefix: str
) -> None:
    await redis.xadd(f"{prefix}:events", {b"type": b"\xff", b"data": b"{", b"sequence": b"x"})
    (event,) = await take(client.events(after="0"), 1)
    assert event.as_dict()["type"] == "\ufffd"
    assert event.chat_id is None
    assert event.subject is None
    assert event.as_dict()["data"] == "{"
    with pytest.raises(ValueError, match="is not JSON: Input data was truncated"):
        _ = event.data
    await redis.xadd(f"{prefix}:events", {b"type": b"deep", b"data": b"[" * 100_000})
    (deep,) = await take(client.events(after=event.stream_id), 1)
    with pytest.raises(ValueError, match="is not JSON"):
        _ = deep.share_id


async def test_reading_begins_where_it_is_told(client: LocationClient, publish: Publish) -> None:
    first, second, third = [await publish() for _ in range(3)]
    assert await ids(client.events(after="0", block=0)) == [first, second, third]
    assert await ids(client.events(after=second, block=0)) == [third]
    assert await ids(client.events(after="$", block=0)) == []
    assert await client.last_event_id() == third


async def test_reading_in_small_portions_leaves_nothing_out(client: LocationClient, publish: Publish) -> None:
    published = [await publish() for _ in range(7)]
    assert await ids(client.events(after="0", block=0, count=2)) == published


async def test_reading_from_now_on_also_begins_before_the_stream_exists(
    client: LocationClient, publish: Publish
) -> None:
    events = client.events()
    assert await client.last_event_id() == "0-0"
    waiting = asyncio.create_task(take(events, 1))
    await asyncio.sleep(0.05)
    stream_id = await publish()
    assert [event.stream_id for event in await waiting] == [stream_id]


async def test_only_the_types_asked_for_are_yielded(client: LocationClient, publish: Publish) -> None:
    await publish("location.requested")
    wanted = await publish("location.sharing.started")
    assert await ids(client.events(after="0", types=["location.sharing.started"], block=0)) == [wanted]


async def test_a_client_that_decodes_replies_reads_the_same(redis_url: str, prefix: str, publish: Publish) -> None:
    published = [await publish(reference="Straße") for _ in range(2)]
    for protocol in (2, 3):
        redis = Redis.from_url(redis_url, decode_responses=True, protocol=protocol)
        client = LocationClient(redis, key_prefix=prefix)
        events = await take(client.events(after="0"), 2)
        assert [event.stream_id for event in events] == published
        assert events[0].reference == "Straße"
        group = client.group_events(f"group-{protocol}", "one", start="0", block=0)
        assert await ids(group) == published
        await redis.aclose()


async def test_a_short_socket_timeout_does_not_break_the_waiting(
    redis_url: str, prefix: str, publish: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    redis = Redis.from_url(redis_url, socket_timeout=1)
    client = LocationClient(redis, key_prefix=prefix)
    with caplog.at_level(logging.WARNING):
        assert await ids(client.events(block=1.2)) == []
    assert not caplog.records
    await redis.aclose()


async def test_an_event_without_a_group_cannot_be_acknowledged(client: LocationClient, publish: Publish) -> None:
    await publish()
    (event,) = await take(client.events(after="0"), 1)
    with pytest.raises(RuntimeError, match="only events of group_events"):
        await event.acknowledge()


async def test_two_consumers_of_a_group_share_the_events(client: LocationClient, publish: Publish) -> None:
    published = [await publish() for _ in range(4)]
    one = await take(client.group_events("group", "one", start="0", count=2), 2)
    two = await take(client.group_events("group", "two", start="0", count=2), 2)
    assert [event.stream_id for event in one + two] == published


async def test_a_new_group_begins_now_unless_told_otherwise(client: LocationClient, publish: Publish) -> None:
    await publish()
    assert await ids(client.group_events("group", "one", block=0)) == []
    later = await publish()
    assert await ids(client.group_events("group", "one", block=0)) == [later]


async def test_what_was_not_acknowledged_comes_first_after_a_restart(client: LocationClient, publish: Publish) -> None:
    first, second, third = [await publish() for _ in range(3)]
    events = await take(client.group_events("group", "one", start="0"), 3)
    await events[1].acknowledge()
    fourth = await publish()
    again = [event async for event in client.group_events("group", "one", block=0)]
    assert [event.stream_id for event in again] == [first, third, fourth]
    await client.acknowledge(again)
    assert await ids(client.group_events("group", "one", block=0)) == []
    assert second not in {event.stream_id for event in again}


async def test_what_a_dead_consumer_left_behind_is_taken_over(client: LocationClient, publish: Publish) -> None:
    published = [await publish() for _ in range(5)]
    await take(client.group_events("group", "dead", start="0"), 5)
    assert await ids(client.group_events("group", "heir", claim_idle=None, block=0.2)) == []
    heir = client.group_events("group", "heir", claim_idle=0.1, count=2)
    taken = await take(heir, 5)
    assert [event.stream_id for event in taken] == published


async def test_entries_erased_while_they_waited_are_passed_over(
    client: LocationClient, publish: Publish, redis: Redis, prefix: str
) -> None:
    first, second = [await publish() for _ in range(2)]
    await take(client.group_events("group", "one", start="0"), 2)
    await redis.xdel(f"{prefix}:events", first)
    (own,) = await take(client.group_events("group", "one"), 1)
    assert own.stream_id == second
    assert [waiting["message_id"] for waiting in await redis.xpending_range(
        f"{prefix}:events", "group", "-", "+", 10
    )] == [second.encode()]  # fmt: skip
    await redis.xdel(f"{prefix}:events", second)
    third = await publish()
    (other,) = await take(client.group_events("group", "two", claim_idle=0.01), 1)
    assert other.stream_id == third


async def test_events_of_other_types_do_not_wait_in_the_group(
    client: LocationClient, publish: Publish, redis: Redis, prefix: str
) -> None:
    await publish("location.requested")
    wanted = await publish("location.updated")
    events = client.group_events("group", "one", start="0", types=["location.updated"], block=0)
    assert await ids(events) == [wanted]
    pending = await redis.xpending(f"{prefix}:events", "group")
    assert pending["pending"] == 1


async def test_a_stream_that_was_deleted_is_read_from_its_new_beginning(
    client: LocationClient, publish: Publish, redis: Redis, prefix: str
) -> None:
    await publish()
    events = client.group_events("group", "one", start="0")
    (old,) = await take(events, 1)
    await old.acknowledge()
    waiting = asyncio.create_task(take(events, 1))
    await asyncio.sleep(0.05)
    await redis.delete(f"{prefix}:events")
    new = await publish()
    (event,) = await waiting
    assert event.stream_id == new


def position(handle: str) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [13.4, 52.5]},
        "properties": {"chat_id": CHAT, "share_id": SHARE, "handle": handle, "locality": "Köln"},
    }


async def test_the_latest_positions_of_a_chat_are_found_in_any_spelling_of_its_id(
    client: LocationClient, redis: Redis, prefix: str, lasting: set[str]
) -> None:
    lasting.add(f"{prefix}:latest:{CHAT}")
    feature = position("+12025550147")
    await redis.hset(f"{prefix}:latest:{CHAT}", "+12025550147", json.dumps(feature))  # type: ignore[misc]  # redis-py types both clients at once
    assert await client.latest(CHAT.upper()) == {"+12025550147": feature}
    assert await client.latest(SHARE) == {}


async def test_who_is_near_is_told_with_the_distance_nearest_first(
    client: LocationClient, redis: Redis, prefix: str
) -> None:
    await redis.geoadd(f"{prefix}:geo", [13.41, 52.5, "far@example.org", 13.4, 52.5, "+12025550147"])
    (near, distance), (far, further) = await client.nearby(13.4, 52.5, 1000)
    assert (near, far) == ("+12025550147", "far@example.org")
    assert distance < 1
    assert 600 < further < 700
    assert await client.nearby(-13.4, 52.5, 1000) == []


@pytest.mark.parametrize("point", [(181, 0), (0, 86), (float("nan"), 0)])
async def test_a_point_that_is_not_on_the_map_is_refused(client: LocationClient, point: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="longitude first"):
        await client.nearby(*point, 1000)


async def test_a_radius_that_is_no_distance_is_refused(client: LocationClient) -> None:
    with pytest.raises(ValueError, match="expected metres, 0 or more"):
        await client.nearby(13.4, 52.5, -1)
