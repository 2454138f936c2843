"""GET /events as docs/reference/http.md describes it: a real process, real connections."""

import asyncio
import contextlib
import time

import httpx
import pytest
from redis.asyncio import Redis

from location_client.events import TypedEvent
from tests.acceptance.views.conftest import TOKEN, Stream, viewer_of
from tests.support.server_sent import EventSource, Received, event_source
from tests.support.web import WebProcess, event

OTHER_CHAT = "00000000-0000-4000-8000-000000000001"
LATENESS = 5.0  # seconds by which a loaded machine may be late


def ids(received: list[Received]) -> list[str]:
    return [one.last_event_id for one in received]


async def test_an_event_comes_as_a_cloud_event_in_json(viewer: httpx.AsyncClient, stream: Stream, redis: Redis) -> None:
    async with event_source(viewer, "/events") as source:
        assert source.response.headers["content-type"] == "text/event-stream"
        stream_id = await stream.add("location.sharing.started", reference="order 7", handle="+12025550147")
        received = await source.next()
    [(_, fields)] = await redis.xrange(stream.key)
    entry: TypedEvent[str, object] = TypedEvent(stream_id.encode(), fields)
    assert received == Received("location.sharing.started", received.data, stream_id)
    assert received.data == {
        "specversion": "1.0",
        "id": entry.id,
        "source": entry.source,
        "type": entry.type,
        "time": entry.time,
        "datacontenttype": "application/json",
        "dataschema": entry.dataschema,
        "sequence": "1",
        "reference": "order 7",
        "data": entry.data,
    }


async def test_attributes_without_a_value_are_left_out(viewer: httpx.AsyncClient, stream: Stream, redis: Redis) -> None:
    async with event_source(viewer, "/events") as source:
        await redis.xadd(stream.key, {"type": "location.requested", "subject": "", "reference": "", "data": "{}"})
        assert (await source.next()).data == {"type": "location.requested", "data": {}}


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ('{"a":\n1,\r\n"b": 0.10}', {"a": 1, "b": 0.1}),
        ("no JSON\nat all", "no JSON\nat all"),
        ('"\\ud83d"', '"\\ud83d"'),
        ("", ""),
    ],
)
async def test_data_that_nobody_of_ours_wrote_does_not_break_the_stream(
    viewer: httpx.AsyncClient, stream: Stream, redis: Redis, data: str, shown: object
) -> None:
    async with event_source(viewer, "/events") as source:
        await redis.xadd(stream.key, {"type": "odd\nid: 7", "data": data})
        received = await source.next()
        assert (received.type, received.data["data"]) == ("oddid: 7", shown)
        assert received.last_event_id == await stream_end(redis, stream)


async def stream_end(redis: Redis, stream: Stream) -> str:
    [(stream_id, _)] = await redis.xrevrange(stream.key, count=1)
    return str(stream_id.decode())


async def test_without_an_id_it_begins_now_and_with_one_after_it(viewer: httpx.AsyncClient, stream: Stream) -> None:
    before = await stream.add_many(3)
    async with (
        event_source(viewer, "/events") as now,
        event_source(viewer, f"/events?after={before[0]}") as later,
        event_source(viewer, "/events?after=0") as all_of_it,
        event_source(viewer, "/events?after=0", **{"last-event-id": before[1]}) as again,
    ):
        after = await stream.add()
        assert ids(await now.take(1)) == [after]
        assert ids(await later.take(3)) == [*before[1:], after]
        assert ids(await all_of_it.take(4)) == [*before, after]
        assert ids(await again.take(2)) == [before[2], after]


async def test_history_and_what_comes_meanwhile_are_joined_without_gap_or_repeat(
    web: WebProcess, stream: Stream
) -> None:
    before = await stream.add_many(1500)
    after: list[str] = []

    async def publish() -> None:
        for _ in range(30):
            after.extend(await stream.add_many(50))
            await asyncio.sleep(0.005)

    async def read(position: str, count: int) -> list[str]:
        async with viewer_of(web) as client, event_source(client, f"/events?after={position}") as source:
            return ids(await source.take(count, within=40))

    publishing = asyncio.create_task(publish())
    total = len(before) + 1500
    read_from = {0: "0", 200: before[199], 777: before[776], 1499: before[1498]}
    found = await asyncio.gather(*(read(after_id, total - skipped) for skipped, after_id in read_from.items()))
    await publishing
    assert found == [(before + after)[skipped:] for skipped in read_from]


async def test_filters_choose_by_type_chat_and_reference(viewer: httpx.AsyncClient, stream: Stream) -> None:
    kinds = "location.updated,location.sharing.stopped"
    urls = {
        "types": f"/events?after=0&types={kinds}",
        "chat": f"/events?after=0&chat_id={OTHER_CHAT.upper()}",
        "reference": "/events?after=0&reference=order%20%E2%84%96%207",
        "all": f"/events?after=0&types={kinds}&chat_id={OTHER_CHAT}&reference=order%20%E2%84%96%207",
    }

    async def publish() -> None:
        await stream.add("location.updated")
        await stream.add("location.updated", chat_id=OTHER_CHAT)
        await stream.add("location.requested", chat_id=OTHER_CHAT, reference="order № 7")
        await stream.add("location.sharing.stopped", chat_id=OTHER_CHAT, reference="order № 7")

    await publish()
    seen: dict[str, list[int]] = {}
    for name, url in urls.items():
        async with event_source(viewer, url) as source:
            count = {"types": 3, "chat": 3, "reference": 2, "all": 1}[name]
            seen[name] = [one.data["data"]["number"] for one in await source.take(count)]
            if name == "all":
                await publish()
                seen["live"] = [one.data["data"]["number"] for one in await source.take(1)]
    assert seen == {"types": [1, 2, 4], "chat": [2, 3, 4], "reference": [3, 4], "all": [4], "live": [8]}


async def test_what_was_trimmed_is_said_with_the_first_that_is_left(
    viewer: httpx.AsyncClient, stream: Stream, redis: Redis
) -> None:
    before = await stream.add_many(10)
    await redis.xtrim(stream.key, maxlen=3, approximate=False)
    async with event_source(viewer, f"/events?after={before[2]}") as source:
        gap = await source.next()
        assert (gap.type, gap.data, source.last_event_id) == ("gap", {"first": before[7]}, "")
        assert ids(await source.take(3)) == before[7:]
    for position in ("0", before[7]):
        async with event_source(viewer, f"/events?after={position}") as source:
            assert (await source.next()).type != "gap"
    await redis.xtrim(stream.key, maxlen=0, approximate=False)
    async with event_source(viewer, f"/events?after={before[8]}") as source:
        milliseconds, number = before[9].split("-")
        assert (await source.next()).data == {"first": f"{milliseconds}-{int(number) + 1}"}
    async with event_source(viewer, f"/events?after={before[9]}") as source:
        after = await stream.add()
        assert ids(await source.take(1)) == [after]


async def test_nothing_is_missing_where_nothing_was_removed(viewer: httpx.AsyncClient, stream: Stream) -> None:
    async with event_source(viewer, "/events?after=1") as early:
        first = await stream.add()
        assert ids(await early.take(1)) == [first]
    async with event_source(viewer, "/events?after=1-7") as source:
        assert ids(await source.take(1)) == [first]


async def test_an_id_that_redis_has_lost_is_told_as_a_gap_and_what_comes_is_delivered(
    viewer: httpx.AsyncClient, stream: Stream
) -> None:
    await stream.add()
    async with event_source(viewer, "/events?after=99999999999999-0") as source:
        assert (await source.next()).type == "gap"
        after = await stream.add()
        assert ids(await source.take(1)) == [after]


async def test_a_comment_comes_at_least_every_15_seconds(viewer: httpx.AsyncClient, stream: Stream) -> None:
    opened = asyncio.get_running_loop().time()
    async with event_source(viewer, "/events?types=location.requested") as source:
        unwanted = await stream.add("location.updated")
        with pytest.raises(TimeoutError):
            await source.next(within=15)
        assert source.comments
        assert source.comments[0] - opened < 15
        # A browser that reconnects with this id skips the events that it did not want.
        assert source.last_event_id == unwanted


async def test_a_slow_reader_is_cut_off_with_a_gap_and_comes_back_by_its_id(
    viewer: httpx.AsyncClient, stream: Stream
) -> None:
    padding = "x" * 4000
    async with event_source(viewer, "/events") as source:
        sent = await stream.add_many(1, text=padding)
        assert ids(await source.take(1)) == sent
        for _ in range(40):
            sent += await stream.add_many(250, text=padding)
        seen = await read_to_the_end(source)
    assert seen[-1].type == "gap"
    delivered = ids(seen[:-1])
    assert delivered == sent[1 : len(delivered) + 1]
    assert len(delivered) + 1 < len(sent)
    assert seen[-1].data["first"] in sent[len(delivered) + 1 :]
    async with event_source(viewer, "/events", **{"last-event-id": delivered[-1]}) as source:
        rest = sent[len(delivered) + 1 :]
        assert ids(await source.take(len(rest), within=40)) == rest


async def read_to_the_end(source: EventSource) -> list[Received]:
    seen: list[Received] = []
    try:
        while True:
            seen.append(await source.next())
    except StopAsyncIteration:
        return seen


WRONG = [
    ("after=soon", "after: given 'soon'; accepted: the id of a stream entry"),
    ("after=-1", "after: given '-1'"),
    ("after=", "after: given ''"),
    ("after=1-2-3", "after: given '1-2-3'"),
    ("after=18446744073709551616", "after: given"),
    ("types=location.moved", "types: 'location.moved' is not an event type; accepted: location.requested, "),
    ("types=", "types: '' is not an event type"),
    ("types=location.updated,", "types: '' is not an event type"),
    ("chat_id=", "chat_id: given ''; accepted: the UUID of a chat"),
    ("chat_id=7", "chat_id: given '7'; accepted: the UUID of a chat"),
    ("chat_id=3f1c9a527d0e4b8a9a416c2b5e0d7f13", "chat_id: given"),
    ("reference=", "reference: accepted: 1 to 128 printable characters"),
    (f"reference={'x' * 129}", "reference: accepted: 1 to 128 printable characters"),
    ("reference=a%0Ab", "reference: accepted: 1 to 128 printable characters"),
    ("type=location.updated", "'type' is not a parameter of this route; accepted: after, types, chat_id, reference"),
    ("after=0&after=1", "after is given more than once"),
]


async def test_a_wrong_parameter_is_400_with_a_sentence(viewer: httpx.AsyncClient) -> None:
    for query, told in WRONG:
        reply = await viewer.get(f"/events?{query}")
        assert (reply.status_code, reply.json()["error"][: len(told)]) == (400, told)


async def test_a_wrong_last_event_id_is_400(viewer: httpx.AsyncClient) -> None:
    reply = await viewer.get("/events", headers={"last-event-id": "yesterday"})
    assert (reply.status_code, reply.json()["error"][:14]) == (400, "Last-Event-ID:")


async def test_a_head_request_ends(viewer: httpx.AsyncClient) -> None:
    reply = await viewer.head("/events")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/event-stream")


async def test_open_connections_do_not_keep_the_process_from_ending(web: WebProcess, stream: Stream) -> None:
    async with viewer_of(web) as client, event_source(client, "/events") as source:
        await stream.add()
        await source.next()
        assert await asyncio.wait_for(web.stop(), 5) == 0
        with pytest.raises(StopAsyncIteration):
            await source.next()


async def test_many_connections_cost_redis_one_reader_and_hold_no_delivery_up(
    web: WebProcess, stream: Stream, redis: Redis
) -> None:
    count = 150
    limits = httpx.Limits(max_connections=count)
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with (
        httpx.AsyncClient(base_url=web.url, timeout=30, trust_env=False, headers=headers, limits=limits) as client,
        contextlib.AsyncExitStack() as stack,
    ):
        sources = [await stack.enter_async_context(event_source(client, "/events")) for _ in range(count)]
        sent = await stream.add_many(40)
        taking = [asyncio.create_task(source.take(40, within=40)) for source in sources]
        for _ in range(10):
            began = time.monotonic()
            assert (await web.deliver(event())).status_code == 204
            assert time.monotonic() - began < LATENESS
        for taken in await asyncio.gather(*taking):
            assert ids(taken) == sent
        readers = [reader for reader in await redis.client_list() if reader["cmd"] == "xread"]
        assert len(readers) == 1
