"""The obvious way with the official SDK: one arq job per poll, `linq-python`, state in separate commands."""

from datetime import datetime
from typing import Any

import uvloop
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker
from linq import AsyncLinqAPIV3

from benchmarks.contenders.poll import CHATS, CONCURRENCY, REDIS_URL, STUB_URL, publish_when_new


async def poll_chat(context: dict[str, Any], chat_id: str) -> None:
    reply = await context["linq"].chats.location.retrieve(chat_id)
    for feature in reply.data.features:
        longitude, latitude, *_ = feature.geometry.coordinates
        properties = feature.properties
        updated_at = properties.updated_at
        if not isinstance(updated_at, datetime):
            message = f"updated_at is {type(updated_at).__name__}, a datetime was expected"
            raise TypeError(message)
        await publish_when_new(
            context["redis"],
            chat_id,
            handle=properties.handle,
            updated_at=updated_at,
            latitude=latitude,
            longitude=longitude,
        )
    await context["redis"].enqueue_job("poll_chat", chat_id, _defer_by=0)


async def main() -> None:
    # arq's type for functions is a protocol that takes any arguments; ours do not match it.
    functions: list[Any] = [poll_chat]
    pool = await create_pool(RedisSettings.from_dsn(REDIS_URL))
    for chat_id in CHATS:
        await pool.enqueue_job("poll_chat", chat_id)
    async with AsyncLinqAPIV3(api_key="benchmark", base_url=STUB_URL) as linq:
        worker = Worker(
            functions,
            redis_pool=pool,
            ctx={"linq": linq},
            max_jobs=CONCURRENCY,
            poll_delay=0.01,
            keep_result=0,
            handle_signals=False,
        )
        await worker.async_run()


uvloop.run(main())
