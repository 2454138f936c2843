"""Tracked chats in bulk, written by the store itself as `track_location` would, but without a job for each."""

import random
from collections.abc import Iterator
from uuid import UUID

from worker.domain import prompts
from worker.domain.decision import Decision
from worker.domain.share import NOTHING, Share
from worker.store.shares import Item
from worker.store.store import Store

_AT_ONCE = 256  # as many as the engine commits at once


def chat_ids(count: int) -> Iterator[str]:
    """Return the ids of `count` chats, the same every time."""
    return (str(UUID(int=number)) for number in range(1, count + 1))


async def preload(store: Store, count: int, *, interval: float | None = None, spread: float = 0.0) -> None:
    """Begin `count` shares, due within the next `spread` seconds.

    `interval` (seconds) is the largest between two reads of a chat; None leaves it to the settings.
    """
    loaded = await store.shares.load(str(UUID(int=0)))
    batch: list[Item] = []
    for chat_id in chat_ids(count):
        share = Share(
            share_id=chat_id,
            reference="",
            begun_at=loaded.now,
            asked=False,
            follow=True,
            follow_for=7 * 86_400,
            lower=None if interval is None else min(interval, 1.0),
            upper=interval,
        )
        decision = Decision(share, chat_id, now=loaded.now, context=loaded.context, random_unit=0.5)
        prompts.begin(decision, accept_within=86_400, previous=None)
        decision.due = loaded.now + (spread * random.random())
        batch.append(store.shares.item(decision, None, NOTHING))
        if len(batch) == _AT_ONCE:
            await store.shares.commit(batch)
            batch = []
    if batch:
        await store.shares.commit(batch)
