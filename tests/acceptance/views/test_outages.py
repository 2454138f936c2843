"""The event stream over HTTP while Redis is away, hangs, or has lost what it knew."""

import asyncio

from redis.asyncio import Redis

from config.redis import connect
from config.settings import Settings
from simulator.embedded_redis import EmbeddedRedis
from tests.acceptance.views.conftest import Stream, viewer_of
from tests.support.server_sent import event_source
from tests.support.web import WebProcesses

AWAY_SECONDS = 3.0  # longer than a blocking read, and longer than the wait for a connection to Redis


def stream_of(redis: Redis, prefix: str) -> Stream:
    return Stream(redis, prefix)


async def test_a_connection_outlives_outages_of_redis_and_goes_on_where_it_was(webs: WebProcesses, prefix: str) -> None:
    with EmbeddedRedis(persistence=True) as server:
        web = await webs.start(REDIS_URL=server.url)
        async with connect(Settings(redis_url=server.url)) as redis, viewer_of(web) as viewer:
            stream = stream_of(redis, prefix)
            sent = [await stream.add()]
            async with event_source(viewer, f"/events?after={sent[0]}") as source:
                sent += await stream.add_many(3)
                received = [event.last_event_id for event in await source.take(3)]
                server.halt()
                async with (
                    event_source(viewer, "/events") as opened_meanwhile,
                    event_source(viewer, f"/events?after={sent[1]}") as resumed_meanwhile,
                ):
                    await asyncio.sleep(AWAY_SECONDS)
                    server.restart()
                    sent += await stream.add_many(3)
                    received += [event.last_event_id for event in await source.take(3)]
                    resumed = [event.last_event_id for event in await resumed_meanwhile.take(5)]
                    opened = [event.last_event_id for event in await opened_meanwhile.take(3)]
                    server.pause()
                    await asyncio.sleep(AWAY_SECONDS)
                    server.resume()
                    sent += await stream.add_many(2)
                    received += [event.last_event_id for event in await source.take(2)]
                    opened += [event.last_event_id for event in await opened_meanwhile.take(2)]
        assert received == sent[1:]
        assert resumed == sent[2:7]
        assert opened == sent[4:]
        assert "Traceback" not in web.log()


async def test_who_saw_more_than_redis_remembers_is_told_and_comes_back(
    webs: WebProcesses, redis: Redis, prefix: str
) -> None:
    web = await webs.start()
    stream = stream_of(redis, prefix)
    async with viewer_of(web) as viewer, event_source(viewer, "/events") as source:
        await stream.add()
        before = (await source.next()).last_event_id
        # As after a failover to a replica that was behind: the connections break, and the stream ends earlier.
        await redis.delete(stream.key)
        old = await redis.xadd(stream.key, {"type": "location.requested", "data": "{}"}, id="5-0")
        await redis.client_kill_filter(_type="normal", skipme=True)
        gap = await source.next()
        assert (gap.type, gap.last_event_id) == ("gap", before)
        async with event_source(viewer, "/events", **{"last-event-id": before}) as again:
            assert (await again.next()).data == {"first": "5-1"}
            after = await stream.add()
            assert (await again.next()).last_event_id == after
        assert old == b"5-0"
