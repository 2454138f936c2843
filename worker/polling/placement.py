"""Keeps the threads of a worker on one CPU, where the system lets it.

A worker's event loop and its HTTP client's thread pass Python's lock to and fro thousands of times a second, so that
together they keep one CPU busy, never two. On two CPUs every pass wakes the other one and finds its cache cold: a poll
cost 95 µs of CPU there and 60 µs on one (benchmarks/README.md). A client without a thread neither gains nor loses. The
place is left when others crowd it.
"""

import asyncio
import os
from pathlib import Path
from typing import NamedTuple

LOOK_SECONDS = 5.0
CROWDED = 0.2  # of the time between two looks, spent waiting for others on the same CPU

_TASKS = Path("/proc/self/task")


class Times(NamedTuple):
    """Seconds that the main thread has run and waited for its CPU, and that all other threads of ours have run."""

    ran: float
    waited: float
    others_ran: float


def is_crowded(before: Times, now: Times, seconds: float) -> bool:
    """Return whether somebody else holds up the main thread; what it waits for our own threads does not count."""
    waited = (now.waited - before.waited) - (now.others_ran - before.others_ran)
    return waited > CROWDED * seconds


def read_times() -> Times:
    """Read how long our threads have run and waited (/proc/self/task/*/schedstat: nanoseconds, nanoseconds, count)."""
    main = str(os.getpid())
    ran = waited = others_ran = 0.0
    for task in _TASKS.iterdir():
        try:
            running, waiting, _ = (task / "schedstat").read_text().split()
        except OSError:
            continue  # it has ended meanwhile
        if task.name == main:
            ran, waited = int(running) / 1e9, int(waiting) / 1e9
        else:
            others_ran += int(running) / 1e9
    return Times(ran, waited, others_ran)


def move_to(cpu: int) -> None:
    """Put all our threads on one CPU; those that they start follow. Raises OSError where the system refuses."""
    for task in _TASKS.iterdir():
        try:
            os.sched_setaffinity(int(task.name), {cpu})
        except ProcessLookupError:
            continue


async def stay_on_one_cpu() -> None:
    """Keep our threads together, on another CPU whenever theirs is crowded, until cancelled. Linux only."""
    try:
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            return
        # Workers started together have ids in a row: each begins on a CPU of its own.
        place = os.getpid()
        move_to(cpus[place % len(cpus)])
        before = read_times()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = read_times()
            if is_crowded(before, now, LOOK_SECONDS):
                place += 1
                move_to(cpus[place % len(cpus)])
            before = now
    except (AttributeError, OSError):
        return  # macOS has no such call, and a container may forbid it: then the threads stay where they are put
