"""The obvious way: one arq job per poll, httpx, state in separate commands, each job queues the next one."""

from typing import Any

import uvloop
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker

from benchmarks.contenders.poll import CHATS, CONCURRENCY, REDIS_URL, http_client, poll


async def poll_chat(context: dict[str, Any], chat_id: str) -> None:
    await poll(context["http"], context["redis"], chat_id)
    await context["redis"].enqueue_job("poll_chat", chat_id, _defer_by=0)


async def main() -> None:
    # arq's type for functions is a protocol that takes any arguments; ours do not match it.
    functions: list[Any] = [poll_chat]
    pool = await create_pool(RedisSettings.from_dsn(REDIS_URL))
    for chat_id in CHATS:
        await pool.enqueue_job("poll_chat", chat_id)
    async with http_client() as http:
        worker = Worker(
            functions,
            redis_pool=pool,
            ctx={"http": http},
            max_jobs=CONCURRENCY,
            # The default of 0.5 s leaves the worker idle most of the time: slots are filled at these ticks only.
            poll_delay=0.01,
            keep_result=0,
            handle_signals=False,
        )
        await worker.async_run()


uvloop.run(main())
