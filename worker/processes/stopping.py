"""SIGTERM and SIGINT: stop cleanly, and end a process that takes too long."""

import asyncio
import signal
from collections.abc import Callable
from types import FrameType

import structlog

OVERDUE_SECONDS = 5.0  # beyond the grace

log = structlog.get_logger("main")


def handle_signals(stop: Callable[[], None], grace: float) -> None:
    """Have the running loop call `stop` at the first SIGTERM or SIGINT.

    A process that still runs `grace` seconds later logs what it waits for, and the kernel ends it (SIGALRM) after
    OVERDUE_SECONDS more: chats that it did not give back are read again after their leases.
    """
    loop = asyncio.get_running_loop()
    stopping = False

    def begin() -> None:
        stop()
        loop.call_later(grace, _tell_what_hangs)

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            signal.setitimer(signal.ITIMER_REAL, grace + OVERDUE_SECONDS)
            loop.call_soon_threadsafe(begin)

    for number in (signal.SIGTERM, signal.SIGINT):
        # Not through the loop, which may hang: for example on a log that nobody reads.
        signal.signal(number, handle)


def _tell_what_hangs() -> None:
    names = {getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()}
    log.error("stopping_takes_too_long", tasks=sorted(names))
