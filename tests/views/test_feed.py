"""What `web` keeps of the event stream in its memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from tests.support.waiting import wait_until
from worker.store.event_stream import EventStream, parse_stream_id
from worker.store.keys import Keys
from worker.views import feed as module
from worker.views.feed import BehindError, Feed
from worker.views.messages import Wanted


@pytest.fixture
async def feed(redis: Redis, prefix: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Feed]:
    """Run a feed that keeps events for a fifth of a second, and checks ten times in that time."""
    monkeypatch.setattr(module, "MAX_KEPT_SECONDS", 0.2)
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)
    feed = Feed(EventStream(redis, Keys(prefix)))
    running = asyncio.create_task(feed.run())
    await wait_until(lambda: feed.end is not None, "the feed has found its place")
    yield feed
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_an_event_is_kept_for_readers_and_soon_gone(feed: Feed, redis: Redis, prefix: str) -> None:
    start = feed.end
    assert start is not None
    added = parse_stream_id((await redis.xadd(f"{prefix}:events", {"data": "{}"})).decode())
    await wait_until(lambda: feed.end == added, "it is taken in")
    assert feed.take(start, feed.generation, Wanted())[0] == added

    def is_gone() -> bool:
        try:
            feed.take(start, feed.generation, Wanted())
        except BehindError:
            return True
        return False

    await wait_until(is_gone, "it is gone")
    # A reader that already had the event can continue.
    assert feed.take(added, feed.generation, Wanted()) == (added, b"")
