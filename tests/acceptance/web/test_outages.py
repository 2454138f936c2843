"""The web process while Redis is away, hangs or comes back, and when it is told to end."""

import asyncio
import json
import signal
import time

import pytest
from redis.asyncio import Redis

from config.redis import connect
from config.settings import Settings
from simulator.embedded_redis import EmbeddedRedis
from tests.support.waiting import wait_until
from tests.support.web import WebProcess, WebProcesses, connected, event, signed


async def is_stored(web: WebProcess, body: bytes) -> None:
    """Deliver as Linq would: again until the delivery is accepted."""

    async def taken() -> bool:
        return (await web.deliver(body)).status_code == 204

    await wait_until(taken, "the delivery is taken on", deadline=20)


async def count_jobs(redis: Redis, prefix: str) -> int:
    return int(await redis.zcard(f"{prefix}:jobs"))


async def test_a_delivery_while_redis_is_away_is_503_and_taken_on_when_it_is_back(
    own_redis: EmbeddedRedis, own_webs: WebProcesses, prefix: str
) -> None:
    web = await own_webs.start()
    body = event()
    headers = signed(body)
    own_redis.halt()
    assert (await web.deliver(body, headers)).status_code == 503
    assert (await web.deliver(b"no event")).status_code == 503
    assert (await web.client.get("/readyz")).status_code == 503
    assert (await web.client.get("/healthz")).status_code == 200
    own_redis.restart()

    async def taken() -> bool:
        return (await web.deliver(body, headers)).status_code == 204

    await wait_until(taken, "the delivery is taken on", deadline=20)
    async with connect(Settings(redis_url=own_redis.url)) as redis:
        assert await count_jobs(redis, prefix) == 1
    assert (await web.client.get("/readyz")).status_code == 200
    assert await web.stop() == 0


async def test_a_redis_that_hangs_is_503_long_before_linq_gives_up(
    own_redis: EmbeddedRedis, own_webs: WebProcesses, prefix: str
) -> None:
    web = await own_webs.start()
    assert (await web.deliver(event())).status_code == 204
    body = event()
    headers = signed(body)
    own_redis.pause()
    try:
        # Linq waits 10 s; without a deadline of our own this would take forever.
        async with asyncio.timeout(8):
            deliveries = [web.deliver(body, headers) for _ in range(5)]
            assert {reply.status_code for reply in await asyncio.gather(*deliveries)} == {503}
            ready = await web.client.get("/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        assert "Redis" in ready.json()["reasons"][0]
        async with asyncio.timeout(8):
            assert "location_webhooks_total" in (await web.client.get("/metrics")).text
    finally:
        own_redis.resume()
    await is_stored(web, event())

    async def taken() -> bool:
        return (await web.deliver(body, headers)).status_code == 204

    await wait_until(taken, "the delivery is taken on", deadline=20)
    async with connect(Settings(redis_url=own_redis.url)) as redis:
        assert await count_jobs(redis, prefix) == 3  # whichever attempt succeeded, the delivery is queued once


async def test_it_starts_while_redis_is_away(own_redis: EmbeddedRedis, own_webs: WebProcesses) -> None:
    own_redis.halt()
    web = await own_webs.start()
    assert (await web.deliver(event())).status_code == 503
    own_redis.restart()
    await is_stored(web, event())


async def test_an_event_that_was_only_half_stored_is_not_lost(
    own_redis: EmbeddedRedis, own_webs: WebProcesses, prefix: str
) -> None:
    web = await own_webs.start()
    body = event()
    headers = signed(body)
    async with connect(Settings(redis_url=own_redis.url)) as redis:
        await redis.set(f"{prefix}:jobs", "somebody's mistake")
        assert (await web.deliver(body, headers)).status_code == 503
        await redis.delete(f"{prefix}:jobs")
        assert (await web.deliver(body, headers)).status_code == 204
        assert await count_jobs(redis, prefix) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_0(web: WebProcess, number: signal.Signals) -> None:
    assert (await web.deliver(event())).status_code == 204  # this connection stays open
    assert await web.stop(number) == 0


async def test_a_signal_ends_it_while_redis_is_away(own_redis: EmbeddedRedis, own_webs: WebProcesses) -> None:
    web = await own_webs.start()
    own_redis.pause()
    delivery = asyncio.create_task(web.deliver(event()))
    try:
        assert await web.stop() == 0
    finally:
        own_redis.resume()
    await asyncio.gather(delivery, return_exceptions=True)


async def test_a_sender_who_hangs_does_not_keep_it_beyond_the_grace(webs: WebProcesses) -> None:
    web = await webs.start(SHUTDOWN_GRACE_SECONDS="1")
    with connected(web.port) as connection:
        connection.sendall(b"POST /webhooks/linq HTTP/1.1\r\nhost: here\r\ncontent-length: 400\r\n\r\n{")
        began = time.monotonic()
        assert await web.stop() == 0
        assert time.monotonic() - began < 9  # less than the time that a sender has for its request


async def test_a_delivery_under_way_is_answered_before_it_ends(web: WebProcess, redis: Redis, prefix: str) -> None:
    body = event()
    head = "\r\n".join(f"{name}: {text}" for name, text in signed(body).items())
    with connected(web.port) as connection:
        connection.sendall(
            f"POST /webhooks/linq HTTP/1.1\r\nhost: here\r\ncontent-length: {len(body)}\r\n{head}\r\n\r\n".encode()
        )
        connection.sendall(body[:100])
        # This answer comes after the bytes above were read: one loop serves both connections.
        assert (await web.client.get("/healthz")).status_code == 200
        ending = asyncio.create_task(web.stop())
        await wait_until(lambda: "Shutting down" in web.log(), "it shuts down")
        connection.sendall(body[100:])
        answer = await asyncio.to_thread(connection.recv, 1000)
        assert answer.startswith(b"HTTP/1.1 204")
        assert await ending == 0
    assert await count_jobs(redis, prefix) == 1


async def test_an_address_that_cannot_be_listened_on_is_1_with_a_message(webs: WebProcesses) -> None:
    web = webs.launch(HOST="192.0.2.1")  # reserved for documentation (RFC 5737): no machine has it
    assert await web.status() == 1
    assert "192.0.2.1" in web.log()
    assert "Traceback" not in web.log()


async def test_a_redis_that_says_no_when_it_starts_is_1_with_one_line_of_cause_and_remedy(
    own_redis: EmbeddedRedis, own_webs: WebProcesses
) -> None:
    url = own_redis.url.replace("unix://", "unix://nobody:a-secret@")
    web = own_webs.launch(REDIS_URL=url, METRICS_PORT="9")  # never used: the process ends before
    assert await web.status() == 1
    [line] = [json.loads(line) for line in web.log().splitlines()]
    assert line["event"] == "redis_unusable"
    assert "WRONGPASS" in line["cause"]
    assert line["remedy"]
    assert "a-secret" not in web.log()
