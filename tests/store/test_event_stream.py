"""Where the event stream begins and ends, and whether entries are missing after a given id."""

import pytest
from redis.asyncio import Redis

from tests.support.stored import open_store
from worker.store.event_stream import Bounds, StreamId, format_stream_id, parse_stream_id


@pytest.mark.parametrize(
    ("bounds", "position", "gap"),
    [
        (Bounds((5, 0), (9, 0), removed=True), (3, 0), (5, 0)),
        (Bounds((5, 0), (9, 0), removed=True), (5, 0), None),
        (Bounds((5, 0), (9, 0), removed=True), (9, 0), None),
        (Bounds((5, 0), (9, 0), removed=True), (0, 0), None),
        # Nothing was ever removed: there was nothing before the first.
        (Bounds((5, 0), (9, 0), removed=False), (3, 0), None),
        # All was removed: the next entry has at least the id after the last.
        (Bounds(None, (9, 2), removed=True), (3, 0), (9, 3)),
        (Bounds(None, (9, 2), removed=True), (9, 2), None),
        # The stream never reached this id: Redis has lost its last moments.
        (Bounds((5, 0), (9, 2), removed=True), (9, 3), (9, 3)),
        (Bounds((5, 0), (9, 2), removed=False), (12, 0), (9, 3)),
        # A stream that never had an entry may be a new one.
        (Bounds(None, (0, 0), removed=False), (3, 0), None),
    ],
)
def test_a_gap_is_where_entries_are_missing(bounds: Bounds, position: StreamId, gap: StreamId | None) -> None:
    assert bounds.gap_after(position) == gap


@pytest.mark.parametrize("text", ["", "-", "1-", "-1", "1-2-3", "a", "1 ", "+", "18446744073709551616", "٣"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no id"):
        parse_stream_id(text)


def test_an_id_is_read_as_redis_writes_it() -> None:
    assert format_stream_id(parse_stream_id("1763900000000-7")) == "1763900000000-7"
    assert parse_stream_id("1763900000000") == (1_763_900_000_000, 0)


async def test_the_stream_is_read_from_a_position_on(redis: Redis, redis_url: str, prefix: str) -> None:
    stream = open_store(redis, redis_url, prefix).events
    assert await stream.bounds() == Bounds(None, (0, 0), removed=False)
    ids = [parse_stream_id((await redis.xadd(f"{prefix}:events", {"n": n})).decode()) for n in range(5)]
    assert await stream.bounds() == Bounds(ids[0], ids[4], removed=False)
    assert [position for position, _ in await stream.after(ids[1], 2)] == ids[2:4]
    assert [position for position, _ in await stream.wait_after(ids[3], 9)] == ids[4:]
    await redis.xtrim(f"{prefix}:events", maxlen=2, approximate=False)
    assert await stream.bounds() == Bounds(ids[3], ids[4], removed=True)
    await redis.xtrim(f"{prefix}:events", maxlen=0, approximate=False)
    assert await stream.bounds() == Bounds(None, ids[4], removed=True)
