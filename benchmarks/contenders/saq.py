"""One saq job per poll, httpx, state in separate commands."""

# The package lives in benchmarks/.venv only.
# mypy: disable-error-code="import-not-found,untyped-decorator"

from typing import Any

import uvloop
from redis.asyncio import Redis
from saq import Worker
from saq.queue.redis import RedisQueue

from benchmarks.contenders.poll import CHATS, CONCURRENCY, REDIS_URL, http_client, poll


async def main() -> None:
    queue = RedisQueue(Redis.from_url(REDIS_URL))
    state: Redis = Redis.from_url(REDIS_URL)
    await queue.connect()
    async with http_client() as http:

        async def poll_chat(_context: Any, *, chat_id: str) -> None:
            await poll(http, state, chat_id)
            # ttl=-1: results are not kept.
            await queue.enqueue("poll_chat", chat_id=chat_id, ttl=-1)

        for chat_id in CHATS:
            await queue.enqueue("poll_chat", chat_id=chat_id, ttl=-1)
        await Worker(queue, functions=[("poll_chat", poll_chat)], concurrency=CONCURRENCY).start()


uvloop.run(main())
