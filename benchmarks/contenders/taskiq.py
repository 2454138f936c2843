"""One taskiq task per poll on a Redis stream with acknowledgements, httpx, state in separate commands."""

# The package lives in benchmarks/.venv only.
# mypy: disable-error-code="import-not-found,untyped-decorator"

import os

import uvloop
from redis.asyncio import Redis
from taskiq.api import run_receiver_task
from taskiq_redis import ListQueueBroker, RedisStreamBroker

from benchmarks.contenders.poll import CHATS, CONCURRENCY, REDIS_URL, http_client, poll


async def main() -> None:
    broker: ListQueueBroker | RedisStreamBroker
    if os.environ.get("BROKER") == "list":
        # Cheaper, but if a worker dies, the polls that it has taken are lost.
        broker = ListQueueBroker(REDIS_URL)
    else:
        # Acknowledged entries stay in the stream; without a cap it would only grow.
        broker = RedisStreamBroker(REDIS_URL, maxlen=10 * len(CHATS))
    state: Redis = Redis.from_url(REDIS_URL)
    async with http_client() as http:

        @broker.task("poll_chat")
        async def poll_chat(chat_id: str) -> None:
            await poll(http, state, chat_id)
            await poll_chat.kiq(chat_id)

        await broker.startup()
        for chat_id in CHATS:
            await poll_chat.kiq(chat_id)
        await run_receiver_task(broker, max_async_tasks=CONCURRENCY)


uvloop.run(main())
