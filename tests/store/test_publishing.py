"""What a commit writes: events, the latest view, the geo set, the index of handles, and the fleet's sums."""

import json
import random
import re
import uuid

import pytest
from redis.asyncio import Redis

from tests.support.oracle import FIELDS
from tests.support.stored import (
    begin,
    claim_one,
    decision_of,
    end,
    entries,
    latest,
    new_chat,
    observe,
    on_map,
    open_store,
    somewhere,
)
from worker.domain import prompts, reads, webhooks
from worker.domain.decision import Decision
from worker.domain.observation import (
    Fault,
    Features,
    PromptOutcome,
    ReadObservation,
    Refused,
    Rejected,
    Sent,
    Throttled,
    Uncertain,
)
from worker.domain.share import tally
from worker.store.packing import unpack
from worker.store.shares import Item
from worker.store.store import Store

ANNA, BERT = "+12025550147", "bert@example.org"


@pytest.fixture
def store(redis: Redis, redis_url: str, prefix: str) -> Store:
    return open_store(redis, redis_url, prefix)


async def test_an_entry_of_the_stream_has_exactly_the_contracts_fields_in_their_order(store: Store) -> None:
    chat = new_chat()
    share_id = await begin(store, chat, asked=True)
    await observe(store, chat, somewhere(ANNA, updated_at=1_790_000_000_123_456_789))
    requested, started, updated = await entries(store)
    assert tuple(updated) == FIELDS
    assert list(started) == list(updated)
    assert list(requested) == [name for name in updated if name != "subject"]
    data = updated.pop("data")
    share, _, digest = updated.pop("id").partition(":")
    assert share == share_id
    assert re.fullmatch("[0-9a-f]{16}", digest)
    assert updated == {
        "specversion": "1.0",
        "source": f"/linq/chats/{chat}",
        "type": "location.updated",
        "subject": ANNA,
        "time": "2026-09-21T14:13:20.123Z",
        "datacontenttype": "application/geo+json",
        "dataschema": "urn:location-worker:location.updated:1",
        "sequence": "3",
        "reference": "order 7",
    }
    assert json.loads(data)["geometry"] == {"type": "Point", "coordinates": [13.4, 52.5]}
    assert requested["datacontenttype"] == "application/json"
    assert [entry["sequence"] for entry in (requested, started)] == ["1", "2"]


async def test_what_a_redis_has_lost_is_published_again_under_the_ids_that_it_had(store: Store) -> None:
    chat = new_chat()
    await begin(store, chat)
    await observe(store, chat, somewhere(ANNA, updated_at=1))
    state, due = await store.redis.get(store.keys.share + chat), await store.redis.zscore(store.keys.due, chat)
    await observe(store, chat, somewhere(ANNA, updated_at=2))
    before = await entries(store)
    assert state is not None
    assert due is not None
    await store.redis.set(store.keys.share + chat, state)
    await store.redis.zadd(store.keys.due, {chat: due})

    await observe(store, chat, somewhere(ANNA, updated_at=2))
    await observe(store, chat, somewhere(ANNA, updated_at=3))
    again, new = (await entries(store))[len(before) :]
    assert (again["id"], again["sequence"]) == (before[-1]["id"], before[-1]["sequence"])
    assert new["id"] not in {entry["id"] for entry in before}


async def test_the_latest_view_is_the_data_of_the_last_update(store: Store) -> None:
    chat = new_chat()
    await begin(store, chat)
    await observe(store, chat, somewhere(ANNA, updated_at=1), somewhere(BERT, updated_at=1))
    await observe(store, chat, somewhere(ANNA, updated_at=2, longitude=13.5), somewhere(BERT, updated_at=1))
    told = {entry["subject"]: entry["data"] for entry in await entries(store) if entry["type"] == "location.updated"}
    assert await latest(store, chat) == told
    assert await on_map(store) == {ANNA, BERT}
    [found] = await store.redis.geopos(store.keys.geo, ANNA)
    assert found == pytest.approx((13.5, 52.5), abs=1e-4)
    assert await store.shares.shown_in(ANNA) == [chat]


async def test_who_stops_is_shown_no_longer_while_others_are(store: Store) -> None:
    chat = new_chat()
    await begin(store, chat)
    await observe(store, chat, somewhere(ANNA, updated_at=1), somewhere(BERT, updated_at=1))
    loaded = await store.shares.load(chat)
    assert loaded.live is not None
    decision = Decision(loaded.live, chat, now=loaded.now, context=loaded.context, random_unit=0.5)
    assert webhooks.apply_stopped(decision, ANNA, began_at=None, ended_at=None, created_at=int(loaded.now * 1e9))
    assert await store.shares.change(loaded, decision)
    await observe(store, chat, somewhere(BERT, updated_at=1))
    assert set(await latest(store, chat)) == {BERT}
    assert await on_map(store) == {BERT}
    assert await store.shares.shown_in(ANNA) == []


@pytest.mark.parametrize("reason", ["untracked", "forgotten", "time_limit"])
async def test_whatever_ends_a_share_nobody_is_shown_any_more(store: Store, reason: str) -> None:
    chat = new_chat()
    await begin(store, chat)
    await observe(store, chat, somewhere(ANNA, updated_at=1), somewhere(BERT, updated_at=1))
    claim, claimed = await claim_one(store, chat)
    decision = decision_of(claim, claimed)
    if reason == "forgotten":
        decision.forget(ANNA, ends_share=True)
    elif reason == "time_limit":
        decision.end("time_limit")
    else:
        decision.end("untracked")
    assert await store.shares.commit([store.shares.item(decision, claimed.lease, claimed.before)]) == [True]
    assert await latest(store, chat) == {}
    assert await on_map(store) == set()
    assert await store.shares.shown_in(ANNA) == []
    assert not await store.redis.exists(store.keys.latest + chat, store.keys.handles)


async def test_a_handle_stays_on_the_map_while_another_tracked_chat_shows_it(store: Store) -> None:
    one, two = new_chat(), new_chat()
    for chat in (one, two):
        await begin(store, chat)
        await observe(store, chat, somewhere(ANNA, updated_at=1))
    assert await store.shares.shown_in(ANNA) == sorted([one, two])
    await end(store, one)
    assert await on_map(store) == {ANNA}
    assert await store.shares.shown_in(ANNA) == [two]
    await end(store, two)
    assert await on_map(store) == set()


async def test_positions_near_the_poles_are_shown_but_not_on_the_map(store: Store) -> None:
    chat = new_chat()
    await begin(store, chat)
    for number, (latitude, mapped) in enumerate(
        [(85.05112878, True), (85.06, False), (-90.0, False), (-85.05112878, True), (90.0, False)], start=1
    ):
        await observe(store, chat, somewhere(ANNA, updated_at=number, latitude=latitude, longitude=-180.0))
        assert (ANNA in await on_map(store)) is mapped
        assert json.loads((await latest(store, chat))[ANNA])["properties"]["latitude"] == latitude


async def test_the_stream_is_capped_by_its_length(redis: Redis, redis_url: str, prefix: str) -> None:
    capped = open_store(redis, redis_url, prefix, events_maxlen=100)
    chat = new_chat()
    await begin(capped, chat)
    for base in range(0, 1000, 100):
        positions = [somewhere(ANNA, updated_at=base + number + 1) for number in range(100)]
        await observe(capped, chat, *positions)
    assert 100 <= await redis.xlen(capped.keys.events) <= 300


async def test_events_and_dead_letters_over_their_age_are_trimmed(redis: Redis, redis_url: str, prefix: str) -> None:
    store = open_store(redis, redis_url, prefix, events_retention_seconds=60.0)
    seconds, _ = await redis.time()
    for stream in (store.keys.events, store.keys.dead_letters):
        for age in (3600, 61, 30, 0):
            await redis.xadd(stream, {"age": age}, id=f"{(seconds - age) * 1000}-0")
    await store.trim()
    for stream in (store.keys.events, store.keys.dead_letters):
        assert [fields[b"age"] for _, fields in await redis.xrange(stream)] == [b"30", b"0"]


async def test_without_a_retention_nothing_is_trimmed_by_age(redis: Redis, redis_url: str, prefix: str) -> None:
    store = open_store(redis, redis_url, prefix, events_retention_seconds=0)
    await redis.xadd(store.keys.events, {"old": 1}, id="1-0")
    await store.trim()
    assert await redis.xlen(store.keys.events) == 1


@pytest.mark.parametrize("seed", range(4))
async def test_the_fleets_sums_are_those_of_the_stored_shares_whatever_happened(store: Store, seed: int) -> None:
    chance = random.Random(seed)
    chats = [str(uuid.UUID(int=chance.getrandbits(128))) for _ in range(12)]
    observations: list[ReadObservation] = [
        Features([], []),
        Fault("timeout", ""),
        Throttled(None),
        Refused("forbidden", 403, None),
    ]
    outcomes: list[PromptOutcome] = [
        Sent(),
        Uncertain(possibly_sent=True, detail=""),
        Rejected("blocked", 403, 2026, "no"),
    ]
    held: list[Item] = []
    for step in range(1, 250):
        chat = chance.choice(chats)
        loaded = await store.shares.load(chat)
        if loaded.live is None:
            if chance.random() < 0.5:
                await begin(store, chat, asked=chance.random() < 0.5)
            continue
        if chance.random() < 0.1:
            await end(store, chat)
            continue
        claim, claimed = await claim_one(store, chat)
        decision = decision_of(claim, claimed)
        decision.now += step * 40.0
        action = prompts.next_action(decision)
        if action == "prompt":
            prompts.mark_sending(decision)
            prompts.apply_outcome(decision, chance.choice(outcomes))
        elif chance.random() < 0.5:
            reads.observe(decision, Features([somewhere(chance.choice([ANNA, BERT]), updated_at=step)], []))
        else:
            reads.observe(decision, chance.choice(observations))
        held.append(store.shares.item(decision, claimed.lease, claimed.before))
        if chance.random() < 0.5:
            # Some are superseded meanwhile, some sent twice: neither may count.
            await store.shares.commit(held)
            await store.shares.commit(held[-1:])
            held = []
    expected = [0] * 5
    for chat in chats:
        stored = await store.redis.get(store.keys.share + chat)
        if stored is not None:
            expected = [total + part for total, part in zip(expected, tally(unpack(stored)), strict=True)]
    sums = await store.redis.hmget(store.keys.fleet, ["weights", "wanted", "tracking", "pending", "requested"])  # type: ignore[misc]  # redis-py mixes its clients
    assert [int(value or 0) for value in sums] == expected
    assert any(expected)
