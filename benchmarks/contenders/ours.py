"""The contender of this project: the real worker process, nothing switched off, on chats that are always due.

Begins `CHATS` shares that may be read every half second, which is more than can be polled, and then becomes
`location-worker worker`.
"""

import asyncio
import os
import sys

from benchmarks.preload import preload
from config.redis import connect
from config.settings import load_settings
from worker.store.store import Store

os.environ.update(
    LINQ_API_V3_BASE_URL=os.environ["STUB_URL"],
    LINQ_API_V3_API_KEY="benchmark",
    # A budget that never runs out: the worker's own speed is what is measured.
    LINQ_REQUESTS_PER_SECOND="1000000",
    LOG_FORMAT="json",
)


async def main() -> None:
    settings = load_settings("worker")
    redis = connect(settings)
    await preload(Store(redis, settings), int(os.environ["CHATS"]), interval=0.5)
    await redis.aclose()


asyncio.run(main())
os.execv(sys.executable, [sys.executable, "-m", "worker", "worker"])  # noqa: S606 (a shell is not wanted)
