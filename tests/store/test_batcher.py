"""All who ask at the same time share one call; a caller that fails or gives up does not affect the others."""

import asyncio
from collections.abc import Sequence

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ResponseError

from tests.support.stored import begin, end, new_chat, open_store
from worker.store.batcher import MAX_BATCH, Batcher


class Doubling:
    """Answers numbers with their doubles once `gate` is open, and records its calls."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.gate = asyncio.Event()

    async def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.calls.append(list(numbers))
        await self.gate.wait()
        if 13 in numbers:
            raise ResponseError("13 is refused")
        if 99 in numbers:
            raise RedisConnectionError("away")
        return [2 * number for number in numbers]


async def test_what_is_asked_during_a_call_goes_into_the_next_one() -> None:
    doubling = Doubling()
    doubles = Batcher(doubling)
    first = asyncio.create_task(doubles.ask(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.create_task(doubles.ask(number)) for number in range(2, 5)]
    await asyncio.sleep(0)
    doubling.gate.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6, 8]
    assert doubling.calls == [[1], [2, 3, 4]]


async def test_no_call_is_for_more_than_redis_does_in_a_moment() -> None:
    doubling = Doubling()
    doubling.gate.set()
    doubles = Batcher(doubling)
    numbers = list(range(100, 100 + 3 * MAX_BATCH))
    assert await asyncio.gather(*(doubles.ask(number) for number in numbers)) == [2 * number for number in numbers]
    assert [len(call) for call in doubling.calls] == [MAX_BATCH] * 3


async def test_one_that_redis_refuses_fails_alone() -> None:
    doubling = Doubling()
    doubling.gate.set()
    doubles = Batcher(doubling)
    answers = await asyncio.gather(*(doubles.ask(number) for number in (12, 13, 14)), return_exceptions=True)
    assert (answers[0], type(answers[1]), answers[2]) == (24, ResponseError, 28)


async def test_what_a_full_redis_refuses_is_not_tried_one_by_one() -> None:
    async def refuse(numbers: Sequence[int]) -> list[int]:
        calls.append(len(numbers))
        raise OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")

    calls: list[int] = []
    doubles: Batcher[int, int] = Batcher(refuse)
    failed = await asyncio.gather(*(doubles.ask(number) for number in (1, 2, 3)), return_exceptions=True)
    assert [type(error) for error in failed] == [OutOfMemoryError] * 3
    assert calls == [3]


async def test_a_connection_that_breaks_is_told_to_all_and_the_next_call_is_made() -> None:
    doubling = Doubling()
    doubling.gate.set()
    doubles = Batcher(doubling)
    failed = await asyncio.gather(*(doubles.ask(number) for number in (98, 99)), return_exceptions=True)
    assert [type(error) for error in failed] == [RedisConnectionError] * 2
    assert await doubles.ask(1) == 2


async def test_one_who_gives_up_waiting_takes_nobody_along() -> None:
    doubling = Doubling()
    doubles = Batcher(doubling)
    tasks = [asyncio.create_task(doubles.ask(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    doubling.gate.set()
    assert await tasks[1] == 4
    assert tasks[0].cancelled()


async def test_many_chats_are_begun_and_ended_at_once_each_as_if_alone(
    redis: Redis, redis_url: str, prefix: str
) -> None:
    store = open_store(redis, redis_url, prefix)
    chats = [new_chat() for _ in range(300)]
    spoilt = new_chat()
    await redis.hset(store.keys.share + spoilt, "of", "another program")  # type: ignore[misc]  # redis-py's stubs
    answers = await asyncio.gather(*(begin(store, chat) for chat in [*chats, spoilt]), return_exceptions=True)
    assert isinstance(answers.pop(), ResponseError)
    assert not [answer for answer in answers if isinstance(answer, BaseException)]
    assert (await store.shares.overview()).phases["pending"] == 300
    assert all(await asyncio.gather(*(end(store, chat) for chat in chats)))
    assert sum((await store.shares.overview()).phases.values()) == 0
    await redis.delete(store.keys.share + spoilt)


@pytest.mark.parametrize("due", [None, 12.5])
async def test_a_chat_is_read_with_its_due_time(redis: Redis, redis_url: str, prefix: str, due: float | None) -> None:
    store = open_store(redis, redis_url, prefix)
    chat = new_chat()
    await begin(store, chat)
    if due is None:
        await end(store, chat)
    else:
        await redis.zadd(store.keys.due, {chat: due})
    loaded = await store.shares.load(chat)
    assert (loaded.due, loaded.live is None) == (due, due is None)
    assert (await store.shares.load(new_chat())).stored == b""
