"""The account's limits: the request budget of all workers together, its throttling, and the pause."""

import asyncio
import time
from math import inf

import pytest
from redis.asyncio import Redis

from tests.support.stored import begin, new_chat, open_store
from tests.support.waiting import wait_until
from worker.domain.policy import recovered_rate, throttled_rate
from worker.store.store import Store


async def limited(store: Store, **fields: float) -> None:
    await store.redis.hset(store.keys.budget, mapping={name: repr(value) for name, value in fields.items()})  # type: ignore[misc]  # redis-py mixes its clients


async def kept(store: Store, name: str) -> float:
    value = await store.redis.hget(store.keys.budget, name)  # type: ignore[misc]  # as above
    return float(value or 0)


async def now(redis: Redis) -> float:
    seconds, microseconds = await redis.time()
    return float(seconds) + float(microseconds) / 1e6


@pytest.mark.parametrize("rate", [1.0, 7.0, 40.0])
async def test_in_any_stretch_of_time_no_more_is_claimed_than_the_rate_allows(
    redis: Redis, redis_url: str, prefix: str, rate: float
) -> None:
    store = open_store(redis, redis_url, prefix, linq_requests_per_second=rate)
    for _ in range(150):
        await begin(store, new_chat())
    spent: list[tuple[float, float]] = []  # for each token, Redis' clock just before and after it was taken
    deadline = time.monotonic() + 1.2  # enough for a second token at 1 a second

    async def worker(number: int) -> None:
        while time.monotonic() < deadline:
            if number % 2:
                claim = await store.shares.claim(20)
                spent.extend([(claim.now, claim.now)] * len(claim.chats))
            else:
                before = await now(redis)
                if await store.budget.take() is None:
                    spent.append((before, await now(redis)))
            await asyncio.sleep(0.003)

    await asyncio.gather(*(worker(number) for number in range(6)))
    assert spent
    for start, _ in spent:
        for _, stop in spent:
            within = sum(start <= earliest and latest <= stop for earliest, latest in spent)
            assert within <= max(1.0, rate * (stop - start + 1)) or stop < start


async def test_a_claim_takes_no_more_chats_than_there_are_tokens(redis: Redis, redis_url: str, prefix: str) -> None:
    store = open_store(redis, redis_url, prefix, linq_requests_per_second=20.0)
    for _ in range(30):
        await begin(store, new_chat())
    claim = await store.shares.claim(30)
    assert len(claim.chats) == 5  # a quarter of a second's worth
    assert 0 <= claim.tokens < 1


async def test_a_command_that_finds_no_token_is_told_how_long_to_wait(
    redis: Redis, redis_url: str, prefix: str
) -> None:
    store = open_store(redis, redis_url, prefix, linq_requests_per_second=0.5)
    assert await store.budget.take() is None
    seconds = await store.budget.take()
    assert seconds is not None
    assert 1.5 < seconds <= 2.0


async def test_nothing_is_sent_until_the_retry_after_of_a_429_has_passed(
    redis: Redis, redis_url: str, prefix: str
) -> None:
    store = open_store(redis, redis_url, prefix, linq_requests_per_second=20.0)
    await begin(store, new_chat())
    await store.budget.throttle(0.3)
    claim = await store.shares.claim(5)
    assert claim.chats == []
    assert claim.tokens == 0
    seconds = await store.budget.take()
    assert seconds is not None
    assert 0 < seconds <= 0.3

    async def claimed() -> object:
        return (await store.shares.claim(5)).chats

    await wait_until(claimed, "the chat is claimed when the wait is over")


async def test_one_reply_never_silences_everybody_for_over_a_minute(redis: Redis, redis_url: str, prefix: str) -> None:
    store = open_store(redis, redis_url, prefix)
    await store.budget.throttle(86_400.0)
    seconds = await store.budget.take()
    assert seconds is not None
    assert 50 < seconds <= 60
    await store.budget.throttle(None)
    assert (await store.budget.take() or 0) > 50


@pytest.mark.parametrize("rate", [20.0, 10.0, 1.1, 1.0])
@pytest.mark.parametrize("since_cut", [0.0, 3.0, 8.0, 1000.0])
async def test_the_cut_of_the_rate_is_the_policys(
    redis: Redis, redis_url: str, prefix: str, rate: float, since_cut: float
) -> None:
    store = open_store(redis, redis_url, prefix, linq_requests_per_second=20.0)
    moment = await now(redis)
    await limited(store, rate=rate, limited_at=moment, cut_at=moment - since_cut)
    await store.budget.throttle(None)
    assert await kept(store, "rate") == throttled_rate(rate, ceiling=20.0, since_cut=since_cut)


@pytest.mark.parametrize("rate", [20.0, 10.0, 1.0])
@pytest.mark.parametrize("calm", [0.0, 30.0, 90.0, 1000.0, 100_000.0])
async def test_the_recovery_of_the_rate_is_the_policys(
    redis: Redis, redis_url: str, prefix: str, rate: float, calm: float
) -> None:
    store = open_store(redis, redis_url, prefix, linq_requests_per_second=20.0)
    await limited(store, rate=rate, limited_at=await now(redis) - calm)
    expected = pytest.approx(recovered_rate(rate, ceiling=20.0, calm=calm), abs=0.05)
    assert (await store.shares.claim(1)).context.fleet.rate == expected
    assert (await store.shares.load(new_chat())).context.fleet.rate == expected
    assert await store.budget.rate() == expected


async def test_while_paused_nothing_is_claimed_but_one_probe_a_minute(
    redis: Redis, redis_url: str, prefix: str
) -> None:
    store = open_store(redis, redis_url, prefix)
    chats = [new_chat(), new_chat()]
    for chat in chats:
        await begin(store, chat)
    assert await store.account_pause.begin("Linq answered 401")
    assert not await store.account_pause.begin("Linq answered 401")
    paused = await store.account_pause.state()
    assert paused is not None
    assert paused.reason == "Linq answered 401"
    assert paused.probe_at - paused.since == pytest.approx(60)
    claim = await store.shares.claim(10)
    assert (claim.paused, claim.probe, claim.chats) == (True, False, [])
    assert await store.budget.take() == inf
    # A minute later: everybody asks at once, one is the probe.
    await redis.hset(store.keys.pause, "probe_at", "1")  # type: ignore[misc]  # redis-py mixes its clients
    claims = await asyncio.gather(*(store.shares.claim(10) for _ in range(8)))
    probes = [claim for claim in claims if claim.probe]
    assert len(probes) == 1
    assert [len(claim.chats) for claim in probes] == [1]
    assert sum(len(claim.chats) for claim in claims) == 1
    assert await store.account_pause.end()
    assert not await store.account_pause.end()
    assert await store.account_pause.state() is None
    assert len((await store.shares.claim(10)).chats) == 1


async def test_a_probe_is_made_although_no_chat_is_due(redis: Redis, redis_url: str, prefix: str) -> None:
    store = open_store(redis, redis_url, prefix)
    chat = new_chat()
    await begin(store, chat)
    await redis.zadd(store.keys.due, {chat: 4_000_000_000})
    await store.account_pause.begin("Linq answered 401")
    await redis.hset(store.keys.pause, "probe_at", "1")  # type: ignore[misc]  # redis-py mixes its clients
    claim = await store.shares.claim(10)
    assert claim.probe
    assert [claimed.chat_id for claimed in claim.chats] == [chat]
    await store.account_pause.end()
