"""The fleet's sums are corrected, whatever happened to them and whoever changes shares meanwhile."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.support.stored import begin, claim_one, decision_of, end, new_chat, observe, open_store, somewhere
from worker.domain import reads
from worker.domain.observation import Features
from worker.domain.share import Tally, tally
from worker.store import reconciliation
from worker.store.store import Store

WHOLE = 60.0  # seconds: longer than any reconciliation here takes


@pytest.fixture
def store(redis: Redis, redis_url: str, prefix: str) -> Store:
    return open_store(redis, redis_url, prefix)


async def sums(store: Store) -> dict[str, int]:
    """Return the fleet's sums as stored."""
    values: list[Any] = await store.redis.hmget(store.keys.fleet, list(Tally._fields))  # type: ignore[misc]  # redis-py's two clients
    return {name: int(value or 0) for name, value in zip(Tally._fields, values, strict=True)}


async def truth(store: Store) -> dict[str, int]:
    """Return the fleet's sums as they should be."""
    parts = [tally(share) async for page in store.shares.tracked() for _, share, _ in page]
    return {name: sum(getattr(part, name) for part in parts) for name in Tally._fields}


async def fleet_of(store: Store, count: int) -> list[str]:
    """Begin to track chats, every second one sharing; return them."""
    chats = [new_chat() for _ in range(count)]
    await asyncio.gather(*(begin(store, chat, asked=random.random() < 0.5) for chat in chats))
    for number, chat in enumerate(chats[::2]):
        await observe(store, chat, somewhere(f"+1202555{number:04d}", updated_at=1))
    return chats


async def again(store: Store) -> reconciliation.Repair:
    """Run a whole reconciliation, now."""
    await store.redis.delete(store.keys.reconciliation_rests)
    return await store.reconciliation.run(WHOLE)


async def test_sums_that_are_right_stay_as_they_are(store: Store) -> None:
    await fleet_of(store, 20)
    before = await sums(store)
    assert await again(store) == (0, {})
    assert await sums(store) == before == await truth(store)


@pytest.mark.parametrize(
    "corruption", [{"tracking": 1000, "weights": -5}, {"pending": -3, "requested": 7, "wanted": 1}]
)
async def test_wrong_sums_are_put_right_and_told(store: Store, corruption: dict[str, int]) -> None:
    await fleet_of(store, 20)
    right = await sums(store)
    for name, change in corruption.items():
        await store.redis.hincrby(store.keys.fleet, name, change)  # type: ignore[misc]  # redis-py's two clients
    repair = await again(store)
    assert repair.drift == {name: -change for name, change in corruption.items()}
    assert await sums(store) == right
    assert await again(store) == (0, {})


async def test_lost_sums_come_back(store: Store) -> None:
    await fleet_of(store, 20)
    right = await sums(store)
    await store.redis.delete(store.keys.fleet)
    await again(store)
    assert await sums(store) == right


async def test_a_share_that_fell_out_of_the_schedule_is_due_at_once(store: Store) -> None:
    chats = await fleet_of(store, 6)
    await end(store, chats[1])
    right = await sums(store)
    await store.redis.zrem(store.keys.due, chats[0], chats[2])
    assert (await again(store)).rescued == 2
    assert await sums(store) == right
    claim = await store.shares.claim(10)
    assert {chats[0], chats[2]} <= {claimed.chat_id for claimed in claim.chats}
    assert (await store.shares.load(chats[1])).live is None


async def test_a_lost_or_unreadable_state_counts_no_longer(store: Store) -> None:
    chats = await fleet_of(store, 6)
    await store.redis.delete(store.keys.share + chats[0])
    await store.redis.set(store.keys.share + chats[1], b"\x80")
    assert (await again(store)).drift
    assert await sums(store) == await truth(store)
    assert sum((await store.shares.overview()).phases.values()) == 4
    await store.shares.drop(chats[1])
    await store.shares.drop(chats[0])
    assert (await again(store)).drift == {}


async def test_a_reconciliation_goes_on_where_the_last_step_ended_and_rests_after_its_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "PAGE", 10)
    await fleet_of(store, 40)
    await store.redis.delete(store.keys.fleet)
    steps = 1
    while not (await store.reconciliation.run(0.0)).drift:
        steps += 1
    assert steps > 2
    assert await sums(store) == await truth(store)
    await store.redis.delete(store.keys.fleet)
    assert await store.reconciliation.run(WHOLE) == (0, {})
    assert await sums(store) == dict.fromkeys(Tally._fields, 0)


async def test_a_reconciliation_that_nobody_went_on_with_is_given_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "PAGE", 10)
    chats = await fleet_of(store, 40)
    await store.reconciliation.run(0.0)
    await store.redis.hset(store.keys.reconciliation, "weights", "777")  # type: ignore[misc]  # redis-py's two clients
    monkeypatch.setattr(reconciliation, "MAX_SECONDS", 0)
    assert await store.reconciliation.run(WHOLE) == (0, {})
    monkeypatch.undo()
    await end(store, chats[0])
    assert (await again(store)).drift == {}
    assert await sums(store) == await truth(store)


@pytest.fixture
async def busy(store: Store) -> AsyncIterator[list[str]]:
    """Let shares begin, be read, begin to share, end and begin again, all the time."""
    chats = await fleet_of(store, 60)
    chats += [new_chat() for _ in range(20)]
    stopping = asyncio.Event()

    async def live() -> None:
        while not stopping.is_set():
            chat = random.choice(chats)
            loaded = await store.shares.load(chat)
            if loaded.live is None:
                await _try(begin(store, chat, asked=random.random() < 0.5))
            elif random.random() < 0.3:
                await _try(end(store, chat))
            else:
                await _try(_read(store, chat))

    lives = [asyncio.create_task(live()) for _ in range(4)]
    yield chats
    stopping.set()
    await asyncio.gather(*lives)
    assert await sums(store) == await truth(store)


async def _read(store: Store, chat: str) -> None:
    claim, claimed = await claim_one(store, chat)
    decision = decision_of(claim, claimed)
    handle = f"+1202555{random.randrange(10_000):04d}"
    reads.observe(
        decision, Features([somewhere(handle, updated_at=int(claim.now * 1e9))] if random.random() < 0.7 else [], [])
    )
    await store.shares.commit([store.shares.item(decision, claimed.lease, claimed.before)])


async def _try(change: Any) -> None:
    """Make a change that may fail because a concurrent one came first."""
    with contextlib.suppress(AssertionError, ValueError):
        await change


@pytest.mark.usefixtures("busy")
async def test_counting_while_everything_changes_is_exact(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation, "PAGE", 10)
    monkeypatch.setattr(reconciliation, "CHANGE_TRIES", 1000)
    for _ in range(5):
        await store.redis.delete(store.keys.reconciliation_rests)
        while await store.redis.exists(store.keys.reconciliation_rests) == 0:
            repair = await store.reconciliation.run(0.0)
            assert repair == (0, {})
            await asyncio.sleep(0)


@pytest.mark.usefixtures("busy")
async def test_wrong_sums_are_put_right_exactly_while_everything_changes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "PAGE", 10)
    for change in (100, -100, 7):
        await store.redis.hincrby(store.keys.fleet, "tracking", change)  # type: ignore[misc]  # redis-py's two clients
        repair = reconciliation.Repair(0, {})
        await store.redis.delete(store.keys.reconciliation_rests)
        while await store.redis.exists(store.keys.reconciliation_rests) == 0:
            repair = await store.reconciliation.run(0.0)
        assert repair.drift == {"tracking": -change}


@pytest.mark.usefixtures("busy")
async def test_two_workers_that_count_at_once_count_nobody_twice(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation, "PAGE", 10)
    for _ in range(5):
        await store.redis.delete(store.keys.reconciliation_rests)
        repairs = await asyncio.gather(store.reconciliation.run(WHOLE), store.reconciliation.run(WHOLE))
        assert [repair.drift for repair in repairs] == [{}, {}]
