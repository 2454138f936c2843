"""Batch calls to Redis: what is asked while a call is under way goes into the next call."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from redis.exceptions import ResponseError

from location_client.outages import passes_by_itself

MAX_BATCH = 128  # with more, a script would hold Redis for over 5 ms

Given = TypeVar("Given")
Answer = TypeVar("Answer")


class Batcher(Generic[Given, Answer]):
    """Passes single questions on to a function that answers many. Nothing is delayed: the first is asked at once."""

    def __init__(self, answer_all: Callable[[Sequence[Given]], Awaitable[Sequence[Answer]]]) -> None:
        self._answer_all = answer_all
        self._waiting: list[tuple[Given, asyncio.Future[Answer]]] = []
        self._calling: asyncio.Task[None] | None = None

    async def ask(self, given: Given) -> Answer:
        """Return the answer. Raises what the call raised."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((given, future))
        if self._calling is None or self._calling.done():
            self._calling = asyncio.create_task(self._call())
        return await future

    async def _call(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            try:
                await self._answer(batch)
            except ResponseError as error:
                if passes_by_itself(error):
                    _fail(batch, error)  # a full Redis, say, serves none of them
                    continue
                # One question cannot be answered (another program's key, say), which must not affect the others.
                for one in batch:
                    await self._answer_alone(one)
            except asyncio.CancelledError:
                for _, future in (*batch, *self._waiting):
                    future.cancel()
                self._waiting = []
                raise
            except Exception as error:  # noqa: BLE001 (each caller raises it)
                _fail(batch, error)

    async def _answer(self, batch: list[tuple[Given, asyncio.Future[Answer]]]) -> None:
        answers = await self._answer_all([given for given, _ in batch])
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)

    async def _answer_alone(self, one: tuple[Given, asyncio.Future[Answer]]) -> None:
        try:
            await self._answer([one])
        except Exception as error:  # noqa: BLE001 (as above)
            _fail([one], error)


def _fail(batch: list[tuple[Given, asyncio.Future[Answer]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
