"""Shares in a real Redis, begun and changed the way the worker does it."""

import uuid
from collections.abc import Awaitable
from typing import Any, cast

from redis.asyncio import Redis

from config.settings import Settings
from worker.domain import prompts, reads
from worker.domain.decision import Decision
from worker.domain.observation import Features, Position
from worker.domain.share import Share
from worker.store.shares import Claim, Claimed
from worker.store.store import Store


def open_store(redis: Redis, url: str, prefix: str, **settings: Any) -> Store:
    """Return a store of its own under `prefix`, with these settings beside the defaults."""
    settings = {"linq_requests_per_second": 10_000.0} | settings
    return Store(redis, Settings(redis_url=url, key_prefix=prefix, **settings))


def new_chat() -> str:
    """Return the id of a chat that nobody has seen."""
    return str(uuid.uuid4())


async def begin(store: Store, chat_id: str, *, asked: bool = False, line: str = "") -> str:
    """Begin to track a chat, due at once; return the share's id."""
    loaded = await store.shares.load(chat_id)
    share = Share(
        share_id=str(uuid.uuid4()),
        reference="order 7",
        begun_at=loaded.now,
        asked=asked,
        follow=True,
        follow_for=604_800.0,
        line=line,
    )
    decision = Decision(share, chat_id, now=loaded.now, context=loaded.context, random_unit=0.5)
    prompts.begin(decision, accept_within=3600.0, previous=loaded.share)
    assert await store.shares.change(loaded, decision)
    return share.share_id


async def claim_one(store: Store, chat_id: str) -> tuple[Claim, Claimed]:
    """Make a chat due and claim it."""
    await store.redis.zadd(store.keys.due, {chat_id: 1}, xx=True)
    claim = await store.shares.claim(1, only=chat_id)
    [claimed] = claim.chats
    return claim, claimed


def decision_of(claim: Claim, claimed: Claimed) -> Decision:
    """Return a decision about a claimed chat, at the time of the claim."""
    return Decision(claimed.share, claimed.chat_id, now=claim.now, context=claim.context, random_unit=0.5)


async def end(store: Store, chat_id: str) -> bool:
    """Stop tracking a chat, as `untrack_location` does."""
    loaded = await store.shares.load(chat_id)
    assert loaded.live is not None
    decision = Decision(loaded.live, chat_id, now=loaded.now, context=loaded.context, random_unit=0.5)
    decision.end("untracked")
    return await store.shares.change(loaded, decision)


async def observe(store: Store, chat_id: str, *positions: Position) -> Decision:
    """Claim a chat, take in a reply that lists these positions, and commit."""
    claim, claimed = await claim_one(store, chat_id)
    decision = decision_of(claim, claimed)
    reads.observe(decision, Features(list(positions), []))
    assert await store.shares.commit([store.shares.item(decision, claimed.lease, claimed.before)]) == [True]
    return decision


def somewhere(
    handle: str, *, updated_at: int | None = None, longitude: float = 13.4, latitude: float = 52.5
) -> Position:
    """Return a position of a handle."""
    return Position(handle, longitude, latitude, None, None, None, updated_at)


async def entries(store: Store) -> list[dict[str, str]]:
    """Return the event stream, oldest first."""
    found = await store.redis.xrange(store.keys.events)
    return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in found]


async def latest(store: Store, chat_id: str) -> dict[str, str]:
    """Return the latest view of a chat."""
    # redis-py's stubs mix its two clients.
    kept = await cast("Awaitable[dict[bytes, bytes]]", store.redis.hgetall(store.keys.latest + chat_id))
    return {handle.decode(): data.decode() for handle, data in kept.items()}


async def on_map(store: Store) -> set[str]:
    """Return the members of the geo set."""
    return {member.decode() for member in await store.redis.zrange(store.keys.geo, 0, -1)}
