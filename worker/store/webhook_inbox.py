"""Webhook events on their way from the receiver to a worker: stored as jobs, each once."""

import hashlib
import time
from typing import Any, Literal

from redis.asyncio import Redis

from location_client.jobs import JOB_KEY, LIFE_MILLISECONDS, Job
from worker.store.keys import WEBHOOK_TTL_SECONDS, Keys
from worker.store.scripts import Scripts

JOB = "hear_webhook"


class Inbox:
    """The inbox under one KEY_PREFIX; what is put there becomes a job in `queue_name`."""

    def __init__(self, redis: Redis, keys: Keys, *, queue_name: str) -> None:
        self._keys = keys
        self._queue_name = queue_name
        self._scripts = Scripts(redis)

    async def put(self, event_id: str, kind: Literal["started", "stopped"], event: dict[str, Any]) -> bool:
        """Store an event; return False if it was stored before."""
        # The sender chooses the id: a key contains only a digest of it.
        digest = hashlib.sha256(event_id.encode()).hexdigest()[:32]
        job: Job[dict[str, str]] = Job(JOB, {"kind": kind, "event": event})
        answer: int = await self._scripts.store_webhook(
            keys=[self._keys.webhook(digest), JOB_KEY + job.id, self._queue_name],
            args=[WEBHOOK_TTL_SECONDS, job.encode(int(time.time() * 1000)), LIFE_MILLISECONDS, job.id],
        )
        return answer == 1
