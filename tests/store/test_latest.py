"""The latest positions, looked up in a real Redis as `commit_decisions.lua` writes them."""

import random

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from tests.support.stored import begin, end, new_chat, observe, open_store, somewhere
from worker.domain.handle import handle_digest
from worker.store.latest import Box
from worker.store.store import Store

# Positions where longitudes wrap, where parallels are short, and where the geo set's range ends.
PLACES = [(13.4, 52.5), (179.999, -16.5), (-179.999, -16.5), (180.0, 71.0), (0.0, 0.0), (25.0, 84.9), (-70.0, -84.9)]
WORLD = Box(-180, -90, 180, 90)


async def show(store: Store, places: list[tuple[float, float]]) -> None:
    """Store positions as a commit does; each one's number is its handle."""
    async with store.redis.pipeline(transaction=False) as pipeline:
        for number, (longitude, latitude) in enumerate(places):
            chat, handle = new_chat(), f"+1202555{number:04}"
            feature = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [longitude, latitude]}}
            pipeline.hset(
                store.keys.latest + chat, handle, msgspec.json.encode(feature | {"properties": number}).decode()
            )
            pipeline.hset(store.keys.handles, handle_digest(handle), chat)
            pipeline.expire(store.keys.latest + chat, 300)
            if abs(latitude) <= 85.05112878:
                pipeline.geoadd(store.keys.geo, (longitude, latitude, handle))
        pipeline.expire(store.keys.handles, 300)
        await pipeline.execute()


async def numbers(store: Store, box: Box | None, limit: int = 10_000) -> list[int]:
    found = await store.latest.find(chat_id=None, box=box, limit=limit)
    return sorted(msgspec.json.decode(feature)["properties"] for feature in found.features)


def inside(places: list[tuple[float, float]], box: Box) -> list[int]:
    return [number for number, place in enumerate(places) if box.contains(*place)]


def test_a_box_contains_its_edges_and_may_cross_the_antimeridian() -> None:
    box = Box(10, 50, 20, 60)
    assert box.contains(10, 60)
    assert box.contains(20, 50)
    assert not box.contains(20.001, 55)
    assert not box.contains(15, 60.001)
    around = Box(170, -20, -170, 20)
    assert around.contains(180, 0)
    assert around.contains(-180, 0)
    assert not around.contains(169.9, 0)
    assert not around.contains(-169.9, 0)


degrees_around = st.builds(
    lambda place, east, north: (
        (place[0] + east + 180) % 360 - 180,
        max(-90.0, min(90.0, place[1] + north)),
    ),
    st.sampled_from(PLACES),
    st.floats(-25, 25),
    st.floats(-25, 25),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(corner=degrees_around, size=st.tuples(st.floats(0, 40), st.floats(0, 40)))
@example(corner=(179.0, -17.0), size=(2.0, 1.0))
@example(corner=(-180.0, -90.0), size=(360.0, 180.0))
@example(corner=(13.4, 52.5), size=(0.0, 0.0))
async def test_a_search_finds_exactly_what_is_in_the_box(
    redis: Redis, redis_url: str, prefix: str, corner: tuple[float, float], size: tuple[float, float]
) -> None:
    store = open_store(redis, redis_url, prefix)
    chance = random.Random(7)
    places = [
        ((longitude + chance.gauss(0, spread) + 180) % 360 - 180, max(-90, min(90, latitude + chance.gauss(0, spread))))
        for longitude, latitude in PLACES
        for spread in (0, 0.001, 0.5, 5, 15)
        for _ in range(6)
    ]
    if not await redis.exists(store.keys.handles):
        await show(store, places)
    west, south = corner
    east = west + size[0]
    box = Box(west, south, east if east <= 180 else east - 360, min(90.0, south + size[1]))
    assert await numbers(store, box) == inside(places, box)


async def test_more_than_the_limit_is_said_and_those_just_outside_do_not_count(
    redis: Redis, redis_url: str, prefix: str
) -> None:
    store = open_store(redis, redis_url, prefix)
    # Three lie in the box; all lie within the margin that a search adds to it, and are more than it first asks for.
    places = [(13.4 + 0.00001 * number, 52.5) for number in range(3)] + [(13.40004, 52.5)] * 300
    await show(store, places)
    box = Box(13.39999, 52.4999, 13.400021, 52.5001)
    for limit, count, truncated in ((1, 1, True), (2, 2, True), (3, 3, False), (1000, 3, False)):
        found = await store.latest.find(chat_id=None, box=box, limit=limit)
        assert (len(found.features), found.truncated) == (count, truncated)
    everybody = await store.latest.find(chat_id=None, box=None, limit=302)
    assert (len(everybody.features), everybody.truncated) == (302, True)
    assert await numbers(store, None) == list(range(303))


async def test_whoever_shares_in_two_chats_is_there_once_for_each(redis: Redis, redis_url: str, prefix: str) -> None:
    store = open_store(redis, redis_url, prefix)
    chats = [new_chat(), new_chat()]
    for number, chat in enumerate(chats):
        await begin(store, chat)
        await observe(store, chat, somewhere("+12025550100", updated_at=1000 + number, longitude=13.4, latitude=52.5))
    box = Box(13, 52, 14, 53)
    for wanted in (None, box):
        found = await store.latest.find(chat_id=None, box=wanted, limit=10)
        shown = {msgspec.json.decode(feature)["properties"]["chat_id"] for feature in found.features}
        assert (len(found.features), shown) == (2, set(chats))
    await end(store, chats[0])
    [left] = (await store.latest.find(chat_id=None, box=box, limit=10)).features
    assert msgspec.json.decode(left)["properties"]["chat_id"] == chats[1]
    assert (await store.latest.find(chat_id=chats[0], box=None, limit=10)).features == []
    assert (await store.latest.find(chat_id=chats[1], box=Box(0, 0, 1, 1), limit=10)).features == []
    await end(store, chats[1])
    assert (await store.latest.find(chat_id=None, box=box, limit=10)).features == []


async def test_a_position_at_the_pole_is_found_although_no_geo_set_has_it(
    redis: Redis, redis_url: str, prefix: str
) -> None:
    store = open_store(redis, redis_url, prefix)
    await show(store, [(10.0, 89.0), (10.0, 80.0)])
    assert await numbers(store, Box(9, 88, 11, 90)) == [0]
    assert await numbers(store, Box(9, 79, 11, 90)) == [0, 1]
    assert await numbers(store, WORLD) == [0, 1]


@pytest.mark.parametrize("junk", ["", "{", "[]", '{"geometry": null}', '{"geometry": {"coordinates": [1]}}', "\udcff"])
async def test_what_is_no_position_is_left_out(redis: Redis, redis_url: str, prefix: str, junk: str) -> None:
    store = open_store(redis, redis_url, prefix)
    await show(store, [(10.0, 50.0)])
    chat = new_chat()
    await redis.hset(store.keys.latest + chat, "+12025550999", junk.encode("utf-8", "surrogateescape"))  # type: ignore[misc, arg-type]
    await redis.hset(store.keys.handles, handle_digest("+12025550999"), chat)  # type: ignore[misc]
    await redis.expire(store.keys.latest + chat, 60)
    assert await numbers(store, None) == [0]
