"""The dead-letter stream: what could not be used is kept here, readable and without secrets."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from arq.constants import job_key_prefix
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from worker.store.keys import MUTE_TTL_SECONDS, Keys

MAX_ENTRIES = 10_000
MAX_PAYLOAD_BYTES = 65_536
MASK = "•••"

Kind = Literal["job", "api_reply", "webhook"]


class DeadLetters:
    """The dead letters under one KEY_PREFIX; `secrets` are masked wherever they appear."""

    def __init__(self, redis: Redis, keys: Keys, *, secrets: Sequence[str] = ()) -> None:
        self._redis = redis
        self._keys = keys
        self._secrets = sorted((secret for secret in secrets if secret), key=len, reverse=True)

    async def add(
        self,
        kind: Kind,
        reason: str,
        *,
        payload: bytes | str,
        detail: Any = None,
        reference: str = "",
        chat_id: str = "",
    ) -> bool:
        """Keep what could not be used; return whether it was kept.

        With `chat_id`, at most one letter per chat and minute is kept.
        """
        if chat_id:
            fresh = await self._redis.set(self._keys.muted(chat_id), b"", nx=True, ex=MUTE_TTL_SECONDS)
            if not fresh:
                return False
        # A secret may be cut in two by the limit: mask first.
        text = payload if isinstance(payload, str) else payload.decode("utf-8", "replace")
        kept = self._clean(text).encode()[:MAX_PAYLOAD_BYTES].decode("utf-8", "ignore")
        fields: dict[Any, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "kind": kind,
            "reason": self._clean(reason),
            "detail": self._clean(msgspec.json.encode(detail).decode()),
            "payload": kept,
            "reference": self._clean(reference),
        }
        await self._redis.xadd(self._keys.dead_letters, fields, maxlen=MAX_ENTRIES, approximate=True)
        return True

    async def add_job(self, job_id: bytes, reason: str, detail: dict[str, Any], *, reference: str = "") -> None:
        """Keep a job as it was queued; where it has no data (any more), its id, which is what the queue holds of it."""
        try:
            data: bytes | None = await self._redis.get(job_key_prefix.encode() + job_id)
        except ResponseError:  # the key is not of the type that arq's has
            data = None
        await self.add(
            "job",
            reason,
            payload=data or job_id,
            detail={"job_id": job_id.decode("utf-8", "replace"), **detail},
            reference=reference,
        )

    def _clean(self, text: str) -> str:
        """Mask the secrets, and replace what UTF-8 cannot encode (half a surrogate pair, from JSON)."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text.encode("utf-8", "replace").decode()
