"""A worker's threads stay on one CPU."""

import os
import sys
from pathlib import Path

import pytest

from tests.support.stage import Stage
from tests.support.waiting import wait_until
from worker.polling.placement import Times, is_crowded

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="needs Linux and two CPUs"
)


def test_waiting_for_others_is_crowded_waiting_for_our_own_threads_is_not() -> None:
    start = Times(ran=10.0, waited=1.0, others_ran=4.0)
    assert is_crowded(start, Times(ran=12.0, waited=3.0, others_ran=4.1), 5.0)
    assert not is_crowded(start, Times(ran=12.0, waited=3.0, others_ran=6.0), 5.0)
    assert not is_crowded(start, Times(ran=10.1, waited=1.0, others_ran=4.0), 5.0)


async def test_all_threads_of_a_worker_run_on_one_cpu(stage: Stage) -> None:
    worker = await stage.workers.start()

    def places() -> set[frozenset[int]]:
        return {frozenset(os.sched_getaffinity(int(task.name))) for task in Path(f"/proc/{worker.pid}/task").iterdir()}

    await wait_until(lambda: len(places()) == 1 and len(next(iter(places()))) == 1, "all threads on one CPU")
