"""Which worker holds which chat: claims, leases, and what happens to decisions that come too late."""

import asyncio
from collections import Counter

import pytest
from redis.asyncio import Redis

from tests.support.stored import (
    begin,
    claim_one,
    decision_of,
    end,
    entries,
    latest,
    new_chat,
    observe,
    open_store,
    somewhere,
)
from tests.support.waiting import wait_until
from worker.domain import reads
from worker.domain.observation import Features
from worker.domain.share import Prompt
from worker.store.store import Store


@pytest.fixture
def store(redis: Redis, redis_url: str, prefix: str) -> Store:
    return open_store(redis, redis_url, prefix)


async def test_many_claimers_never_hold_one_chat_twice(store: Store) -> None:
    chats = {new_chat() for _ in range(60)}
    for chat in chats:
        await begin(store, chat)

    async def claim_all() -> list[str]:
        held: list[str] = []
        for _ in range(8):
            claim = await store.shares.claim(5)
            held += [claimed.chat_id for claimed in claim.chats]
        return held

    counted = Counter(chat for held in await asyncio.gather(*(claim_all() for _ in range(12))) for chat in held)
    assert set(counted) == chats
    assert set(counted.values()) == {1}


async def test_the_most_overdue_chats_are_claimed_first(store: Store) -> None:
    chats = [new_chat() for _ in range(5)]
    for chat in chats:
        await begin(store, chat)
    await store.redis.zadd(store.keys.due, {chat: 100 - index for index, chat in enumerate(chats)})
    claim = await store.shares.claim(3)
    assert [claimed.chat_id for claimed in claim.chats] == [chats[4], chats[3], chats[2]]


async def test_a_claim_brings_the_state_the_fleet_and_the_next_due_time(store: Store) -> None:
    first, second = new_chat(), new_chat()
    share_id = await begin(store, first)
    await begin(store, second)
    await store.redis.zadd(store.keys.due, {second: 4_000_000_000.5})
    claim = await store.shares.claim(10)
    assert [(claimed.chat_id, claimed.share.share_id) for claimed in claim.chats] == [(first, share_id)]
    assert claim.next_due == 4_000_000_000.5
    assert claim.chats[0].lease == pytest.approx(claim.now + store.shares.lease)
    assert claim.context.fleet.ceiling == 10_000
    assert not claim.paused


async def test_one_chat_alone_can_be_claimed_when_it_is_due(store: Store) -> None:
    chat, other = new_chat(), new_chat()
    await begin(store, chat)
    await begin(store, other)
    claim = await store.shares.claim(1, only=chat)
    assert [claimed.chat_id for claimed in claim.chats] == [chat]
    assert (await store.shares.claim(1, only=chat)).chats == []
    assert (await store.shares.claim(1, only=new_chat())).chats == []


async def test_a_chat_whose_holder_died_is_claimed_again_after_its_lease(
    redis: Redis, redis_url: str, prefix: str
) -> None:
    store = open_store(redis, redis_url, prefix, lease_seconds=0.2)
    chat = new_chat()
    await begin(store, chat)
    [lost] = (await store.shares.claim(1)).chats
    assert (await store.shares.claim(1)).chats == []

    async def again() -> object:
        return (await store.shares.claim(1)).chats

    await wait_until(again, "the chat is claimed again")
    decision = decision_of(await store.shares.claim(1), lost)
    assert await store.shares.commit([store.shares.item(decision, lost.lease, lost.before)]) == [False]


async def test_the_decision_of_a_superseded_claim_is_dropped_whole(store: Store) -> None:
    chat = new_chat()
    await begin(store, chat)
    claim, stale = await claim_one(store, chat)
    newer_claim, newer = await claim_one(store, chat)
    late, kept = decision_of(claim, stale), decision_of(newer_claim, newer)
    reads.observe(late, Features([somewhere("+12025550147", updated_at=5)], []))
    reads.observe(kept, Features([somewhere("+12025550199", updated_at=9)], []))
    shares = store.shares
    items = [shares.item(late, stale.lease, stale.before), shares.item(kept, newer.lease, newer.before)]
    assert await shares.commit(items) == [False, True]
    assert {entry["subject"] for entry in await entries(store)} == {"+12025550199"}
    assert set(await latest(store, chat)) == {"+12025550199"}
    assert [person.handle for person in (await shares.load(chat)).live.people] == ["+12025550199"]  # type: ignore[union-attr]  # it is tracked
    assert await store.redis.hget(store.keys.fleet, "tracking") == b"1"  # type: ignore[misc]  # redis-py mixes its clients
    assert await shares.commit(items) == [False, False]
    assert len(await entries(store)) == 2


async def test_what_was_decided_on_another_state_is_dropped_even_at_the_same_due_time(store: Store) -> None:
    chat = new_chat()
    await begin(store, chat)
    loaded = await store.shares.load(chat)
    assert loaded.live is not None
    loaded.live.prompt = Prompt.SENT
    decision = decision_of(await store.shares.claim(0), (await claim_one(store, chat))[1])
    await store.redis.zadd(store.keys.due, {chat: loaded.due or 0.0})
    decision.share.prompt = Prompt.UNCERTAIN
    assert await store.shares.commit([store.shares.item(decision, loaded.due, loaded.before)]) == [True]
    await store.redis.zadd(store.keys.due, {chat: loaded.due or 0.0})
    assert not await store.shares.change(loaded, decision)


async def test_of_many_that_begin_one_chat_one_wins(store: Store) -> None:
    chat = new_chat()
    results = await asyncio.gather(*(begin(store, chat, asked=True) for _ in range(10)), return_exceptions=True)
    won = [result for result in results if isinstance(result, str)]
    assert len(won) == 1
    assert [entry["type"] for entry in await entries(store)] == ["location.requested"]
    share = (await store.shares.load(chat)).live
    assert share is not None
    assert share.share_id == won[0]


async def test_a_claim_that_is_given_back_is_due_at_once(store: Store) -> None:
    chat = new_chat()
    await begin(store, chat)
    first = await store.shares.claim(1)
    await store.shares.release(first.chats)
    second = await store.shares.claim(1)
    assert [claimed.chat_id for claimed in second.chats] == [chat]
    await store.shares.release(first.chats)
    assert (await store.shares.claim(1)).chats == []


async def test_scripts_that_redis_has_lost_are_loaded_again(redis: Redis, redis_url: str, prefix: str) -> None:
    store = open_store(redis, redis_url, prefix)
    chat = new_chat()
    await begin(store, chat)
    for round_number in range(3):
        await redis.script_flush()
        claim = await store.shares.claim(1)
        assert len(claim.chats) == 1
        await redis.script_flush()
        decision = decision_of(claim, claim.chats[0])
        reads.observe(decision, Features([somewhere("+12025550147", updated_at=round_number + 1)], []))
        decision.due = 1.0
        item = store.shares.item(decision, claim.chats[0].lease, claim.chats[0].before)
        assert await store.shares.commit([item]) == [True]
        await redis.script_flush()
        assert await store.budget.take() is None
    assert len(await entries(store)) == 4


@pytest.mark.parametrize("broken", [b"", b"\x00", b"not a share", b"\xdc\x00\x1f\xd9\x24" + b"a" * 20 + b"\x90" * 40])
async def test_a_state_that_cannot_be_read_harms_no_other_chat_and_is_let_go(store: Store, broken: bytes) -> None:
    chat, healthy = new_chat(), new_chat()
    await begin(store, chat)
    await begin(store, healthy)
    await observe(store, chat, somewhere("+12025550147"))
    await store.redis.set(store.keys.share + chat, broken)
    await store.redis.zadd(store.keys.due, {chat: 1, healthy: 2})
    claim = await store.shares.claim(10)
    assert [claimed.chat_id for claimed in claim.chats] == [healthy]
    assert claim.unreadable == [(chat, broken)]
    await store.shares.release(claim.chats)
    assert [chat_id async for page in store.shares.tracked() for chat_id, _, _ in page] == [healthy]
    assert (await store.shares.load(chat)).live is None
    await store.shares.drop(chat)
    assert await latest(store, chat) == {}
    assert await store.redis.zscore(store.keys.due, chat) is None
    assert await store.redis.zcard(store.keys.geo) == 0
    await begin(store, chat)
    assert (await store.shares.load(chat)).live is not None


async def test_a_state_that_is_lost_is_let_go_by_its_claim(store: Store) -> None:
    chat = new_chat()
    await begin(store, chat)
    await store.redis.delete(store.keys.share + chat)
    claim = await store.shares.claim(1)
    assert claim.unreadable == [(chat, b"")]
    assert await store.redis.zcard(store.keys.due) == 0


async def test_all_tracked_chats_are_listed_page_by_page(store: Store) -> None:
    chats = {new_chat() for _ in range(25)}
    for chat in chats:
        await begin(store, chat)
    pages = [page async for page in store.shares.tracked(page=10)]
    assert [len(page) for page in pages] == [10, 10, 5]
    assert {chat for page in pages for chat, _, _ in page} == chats


async def test_the_state_of_an_ended_share_expires_after_a_day(store: Store) -> None:
    chat = new_chat()
    await begin(store, chat)
    assert await store.redis.ttl(store.keys.share + chat) == -1
    assert await end(store, chat)
    assert 86_390 < await store.redis.ttl(store.keys.share + chat) <= 86_401
    loaded = await store.shares.load(chat)
    assert loaded.live is None
    assert loaded.share is not None
    assert loaded.share.ended == "untracked"
    await begin(store, chat)
    assert await store.redis.ttl(store.keys.share + chat) == -1


async def test_the_state_is_kept_for_as_long_as_the_cool_down(redis: Redis, redis_url: str, prefix: str) -> None:
    store = open_store(redis, redis_url, prefix, request_cooldown_seconds=200_000.0)
    chat = new_chat()
    await begin(store, chat)
    await end(store, chat)
    assert await redis.ttl(store.keys.share + chat) > 199_000
