"""Waiting for something to become true, with a deadline and a report of what was seen instead."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

Seen = TypeVar("Seen")

_FIRST_PAUSE = 0.005
_MAX_PAUSE_SECONDS = 0.1


@overload
async def wait_until(predicate: Callable[[], Awaitable[Seen]], description: str, *, deadline: float = 10) -> Seen: ...
@overload
async def wait_until(predicate: Callable[[], Seen], description: str, *, deadline: float = 10) -> Seen: ...
async def wait_until(predicate: Callable[[], Any], description: str, *, deadline: float = 10) -> Any:
    """Call `predicate` (a function, plain or async) until it returns something true, and return that.

    An AssertionError of the predicate counts as "not yet", so that it may make several assertions. After `deadline`
    seconds an AssertionError gives the description and what was seen last.
    """
    end = time.monotonic() + deadline
    pause = _FIRST_PAUSE
    while True:
        error: AssertionError | None = None
        seen: object = None
        try:
            answer = predicate()
            result = await answer if inspect.isawaitable(answer) else answer
        except AssertionError as not_yet:
            error, seen = not_yet, f"the failed assertion: {not_yet}"
        else:
            if result:
                return result
            seen = repr(result)
        if time.monotonic() >= end:
            raise AssertionError(f"not within {deadline:g} s: {description}; seen last: {seen}") from error
        await asyncio.sleep(pause)
        pause = min(2 * pause, _MAX_PAUSE_SECONDS)
