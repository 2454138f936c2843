"""Calls from any thread into the one event loop that owns a simulation."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from simulator.simulation import Simulation


class Guest:
    """A simulation with the loop and thread that serve it; None while nothing is served."""

    def __init__(self, simulation: Simulation | None = None) -> None:
        self.simulation = simulation or Simulation()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread: int | None = None


Arguments = ParamSpec("Arguments")
Caller = TypeVar("Caller", bound=Guest)
Result = TypeVar("Result")


def on_loop(
    method: Callable[Concatenate[Caller, Arguments], Result],
) -> Callable[Concatenate[Caller, Arguments], Result]:
    """Run the method on the serving loop, whichever thread calls; directly while nothing is served.

    Events that the method causes are announced before the call returns.
    """

    def run(guest: Caller, /, *arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        def here() -> Result:
            result = method(guest, *arguments, **named)
            if guest.loop is not None:
                guest.simulation.settle()
            return result

        async def there() -> Result:
            return here()

        if guest.loop is None or threading.get_ident() == guest.thread:
            return here()
        return asyncio.run_coroutine_threadsafe(there(), guest.loop).result(30)

    functools.update_wrapper(run, method)
    return run
