"""Webhook events on their way from the receiver to a worker: stored as jobs, each once."""

import hashlib
import time
import uuid
from typing import Any, Literal

import msgspec
from redis.asyncio import Redis

from worker.store.keys import Keys
from worker.store.scripts import Scripts

JOB = "hear_webhook"
MARK_TTL_SECONDS = 3600  # as long as Linq has ever been said to send an event again, and more (linq-api.md 12.4)
JOB_TTL_MILLISECONDS = 86_400_000  # contract.md section 6


class Inbox:
    """The inbox under one KEY_PREFIX; what is put there is a job of `queue_name`."""

    def __init__(self, redis: Redis, keys: Keys, *, queue_name: str) -> None:
        self._keys = keys
        self._queue_name = queue_name
        self._scripts = Scripts(redis)

    async def put(self, event_id: str, kind: Literal["started", "stopped"], event: dict[str, Any]) -> bool:
        """Store an event; False: it was stored before."""
        # The id is whatever the sender wrote: a key takes only a digest of it.
        digest = hashlib.sha256(event_id.encode()).hexdigest()[:32]
        job: dict[str, Any] = {
            "t": None,
            "f": JOB,
            "a": [],
            "k": {"kind": kind, "event": event},
            "et": int(time.time() * 1000),
        }
        job_id = str(uuid.uuid4())
        answer: int = await self._scripts.store_webhook(
            keys=[self._keys.heard(digest), f"arq:job:{job_id}", self._queue_name],
            args=[MARK_TTL_SECONDS, msgspec.json.encode(job), JOB_TTL_MILLISECONDS, job_id],
        )
        return answer == 1
