"""What is remembered of chats that Linq was asked about; only digests of handles are kept."""

from typing import cast

import msgspec
from redis.asyncio import Redis

from worker.domain.handle import handle_digest
from worker.store.keys import CHAT_TTL_SECONDS, CREATION_TTL_SECONDS, STOP_TTL_SECONDS, Keys

_RESERVED = b"?"  # begins what stands in place of a chat's id while a job creates the chat


class KnownChat(msgspec.Struct, frozen=True):
    """A chat: whether it is a group (None: unknown), and digests of our line and of the contacts."""

    is_group: bool | None
    line: str | None
    contacts: list[str]


class Chats:
    """The memory of chats under one KEY_PREFIX."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def get(self, chat_id: str) -> KnownChat | None:
        """Return what is remembered of a chat."""
        kept = cast("bytes | None", await self._redis.get(self._keys.chat(chat_id)))
        return None if kept is None else msgspec.json.decode(kept, type=KnownChat)

    async def put(self, chat_id: str, *, is_group: bool | None, line: str | None, contacts: list[str]) -> KnownChat:
        """Remember a chat; handles in normal form."""
        known = KnownChat(is_group, line and handle_digest(line), [handle_digest(contact) for contact in contacts])
        await self._redis.set(self._keys.chat(chat_id), msgspec.json.encode(known), ex=CHAT_TTL_SECONDS)
        return known

    async def between(self, contact: str, line: str) -> str | None:
        """Return the 1:1 chat of a contact and a line, if it is remembered."""
        kept = await self._redis.get(self._keys.pair(handle_digest(contact), handle_digest(line)))
        return None if kept is None or kept.startswith(_RESERVED) else kept.decode()

    async def reserve_between(self, contact: str, line: str, job_id: str) -> bool:
        """Let one job at a time create the chat of a contact and a line; return whether it is this one.

        It is free again after `put_between` or `forget_between`, or when the job has not come back for some minutes.
        """
        key = self._keys.pair(handle_digest(contact), handle_digest(line))
        reserved = _RESERVED + job_id.encode()
        if await self._redis.set(key, reserved, nx=True, ex=CREATION_TTL_SECONDS):
            return True
        if await self._redis.get(key) != reserved:
            return False
        await self._redis.expire(key, CREATION_TTL_SECONDS)
        return True

    async def forget_between(self, contact: str, line: str) -> None:
        """Forget the 1:1 chat of a contact and a line, so that Linq is asked for it again."""
        await self._redis.delete(self._keys.pair(handle_digest(contact), handle_digest(line)))

    async def put_between(self, contact: str, line: str, chat_id: str) -> None:
        """Remember the 1:1 chat of a contact and a line."""
        key = self._keys.pair(handle_digest(contact), handle_digest(line))
        await self._redis.set(key, chat_id, ex=CHAT_TTL_SECONDS)

    async def end_of(self, contact: str, line: str) -> int | None:
        """Return when a contact was last heard to stop sharing with a line: ns since 1970 (UTC)."""
        kept = await self._redis.get(self._keys.stopped(handle_digest(contact), handle_digest(line)))
        return None if kept is None else int(kept)

    async def put_end(self, contact: str, line: str, ended_at: int) -> None:
        """Remember when a contact stopped sharing with a line, for as long as Linq may send earlier events late."""
        known = await self.end_of(contact, line)
        if known is None or known < ended_at:
            key = self._keys.stopped(handle_digest(contact), handle_digest(line))
            await self._redis.set(key, ended_at, ex=STOP_TTL_SECONDS)
