"""The queue of jobs: long, broken, or filled by others."""

import uuid

from tests.support.stage import Stage
from tests.support.waiting import wait_until
from worker.client import Job

BACKLOG = 4000  # jobs: about ten seconds of work


async def test_a_long_queue_of_jobs_does_not_hold_up_the_polling(stage: Stage) -> None:
    chats = stage.people(5)
    first = await stage.workers.start()
    await stage.request_all(chats)
    await stage.more_positions(chats)
    assert await first.stop() == 0
    await stage.client.queue_many(Job.untrack_location(str(uuid.uuid4())) for _ in range(BACKLOG))
    await stage.workers.start()
    seen = len(stage.requests("read"))
    await wait_until(lambda: len(stage.requests("read")) > seen + 10, "reads", deadline=60)
    assert await stage.redis.zcard(f"{stage.prefix}:jobs") > BACKLOG / 10
    await stage.finish()
