"""arq's worker with jobs that do nothing, set up as this project sets up its own: JSON, results kept, 100 at once."""

import json
import os
from typing import Any

import uvloop
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker

from worker.jobs.arq_worker import MAX_JOBS, POLL_DELAY, QUEUE_READ_LIMIT, RESULT_SECONDS


async def noop(_context: dict[str, Any], *, chat_id: str) -> dict[str, str]:
    return {"status": "tracking", "chat_id": chat_id}


def write(job: dict[str, Any]) -> bytes:
    return json.dumps(job).encode()


async def main() -> None:
    pool = await create_pool(
        RedisSettings.from_dsn(os.environ["REDIS_URL"]), job_serializer=write, job_deserializer=json.loads
    )
    # arq's type for functions is a protocol that takes any arguments; ours do not match it.
    functions: list[Any] = [noop]
    worker = Worker(
        functions,
        queue_name=os.environ["QUEUE_NAME"],
        redis_pool=pool,
        handle_signals=False,
        max_jobs=MAX_JOBS,
        queue_read_limit=QUEUE_READ_LIMIT,
        keep_result=RESULT_SECONDS,
        poll_delay=POLL_DELAY,
        job_serializer=write,
        job_deserializer=json.loads,
        log_results=False,
    )
    await worker.async_run()


uvloop.run(main())
