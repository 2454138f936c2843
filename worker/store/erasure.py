"""Erasing what is kept about a handle: every key and both streams, in pages too small to block Redis.

Each page stores a job's progress in the same step, so that a job that goes on after a crash counts nothing twice and
leaves nothing out. What is stored about the job names the handle only by its digest.
"""

import re
from collections.abc import Awaitable, Sequence
from typing import Any, Literal, NamedTuple, cast

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from worker.domain.handle import handle_digest
from worker.domain.mentions import Mentions
from worker.store.keys import FORGETTING_TTL_SECONDS, Keys

PAGE = 500
LETTERS_PAGE = 25  # of 64 KiB and more each: searching them blocks the worker's other jobs
ERASED = "erased"

_CHAT_ID_LENGTH = 36

Stage = Literal["chats", "keys", "events", "letters", "done"]


class Progress(NamedTuple):
    """A job's progress: the stage, the cursor, the last entry of the stream to search, and the counts."""

    stage: Stage
    cursor: str
    until: str
    shares: int
    events: int
    letters: int


class Page(NamedTuple):
    """One page of keys: the chats whose share or memory names the handle, and what to remove after them.

    `members`: the chats in which the handle takes part, according to Linq.
    """

    cursor: str
    chats: list[str]
    members: set[str]
    latest: list[str]
    forget: list[str]
    pins: list[tuple[str, str]]


class Erasure:
    """Erasing under one KEY_PREFIX."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._pattern = re.sub(r"([*?\[\]\\])", r"\\\1", keys.prefix) + ":*"

    # Progress

    async def open(self, job_id: str, handle: str) -> Progress:
        """Return a job's progress; a new job is at the beginning."""
        key, digest = self._keys.forgetting(job_id), handle_digest(handle)
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hmget(key, ["handle", "stage", "cursor", "until", "events", "letters"])
            pipeline.scard(self._keys.forgotten_shares(job_id))
            (whose, stage, cursor, until, events, letters), shares = await pipeline.execute()
            if whose is not None and whose.decode() == digest:
                return Progress(stage.decode(), cursor.decode(), until.decode(), shares, int(events), int(letters))
            fresh = Progress("chats", "", "", 0, 0, 0)
            pipeline.delete(key, self._keys.forgotten_shares(job_id))
            pipeline.hset(key, mapping={"handle": digest, "stage": fresh.stage, "cursor": "", "until": ""})
            pipeline.hset(key, mapping={"events": 0, "letters": 0})
            pipeline.expire(key, FORGETTING_TTL_SECONDS)
            await pipeline.execute()
        return fresh

    async def touch(self, job_id: str, share_id: str) -> None:
        """Count a tracked share, once; call it before the share is changed."""
        key = self._keys.forgotten_shares(job_id)
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.sadd(key, share_id)
            pipeline.expire(key, FORGETTING_TTL_SECONDS)
            await pipeline.execute()

    async def untouch(self, job_id: str, share_id: str) -> None:
        """Stop counting a share that turned out not to be tracked any more."""
        await cast("Awaitable[int]", self._redis.srem(self._keys.forgotten_shares(job_id), share_id))

    async def enter(self, job_id: str, stage: Stage) -> None:
        """Begin the next stage; a stream is searched up to its present last entry."""
        stream = {"events": self._keys.events, "letters": self._keys.dead_letters}.get(stage)
        until = ""
        if stream is not None:
            last: list[tuple[bytes, Any]] = await self._redis.xrevrange(stream, count=1)
            until = last[0][0].decode() if last else "0-0"
        async with self._redis.pipeline(transaction=True) as pipeline:
            self._note(pipeline, job_id, {"stage": stage, "cursor": "", "until": until})
            await pipeline.execute()

    def _note(self, pipeline: Pipeline, job_id: str, fields: dict[Any, Any]) -> None:
        key = self._keys.forgetting(job_id)
        pipeline.hset(key, mapping=fields)
        pipeline.expire(key, FORGETTING_TTL_SECONDS)

    # Keys

    async def scan(self, cursor: str, mentions: Mentions) -> Page:
        """Search one page of keys; `cursor` is "" at the beginning and "0" after the last page."""
        following, found = await self._redis.scan(int(cursor or 0), match=self._pattern, count=PAGE)
        names: dict[str, list[str]] = {}
        for key in found:
            kind, _, rest = key.decode(errors="replace")[len(self._keys.prefix) + 1 :].partition(":")
            names.setdefault(kind, []).append(rest)
        shares = [name for name in names.get("share", []) if len(name) == _CHAT_ID_LENGTH]
        known = [name for name in names.get("chat", []) if len(name) == _CHAT_ID_LENGTH]
        digest = handle_digest(mentions.handle)
        named = await self._holding([self._keys.share + chat for chat in shares], shares, mentions.handle)
        remembered = await self._holding([self._keys.chat(chat) for chat in known], known, digest)
        pairs = [
            f"{self._keys.prefix}:{kind}:{rest}"
            for kind in ("pair", "stopped")
            for rest in names.get(kind, [])
            if rest.startswith(digest)
        ]
        return Page(
            str(following),
            sorted({*named, *remembered}),
            set(remembered),
            [self._keys.latest + rest for rest in names.get("latest", []) if len(rest) == _CHAT_ID_LENGTH],
            pairs + [self._keys.chat(chat) for chat in {*named, *remembered}],
            await self._pins_naming(names.get("pin", []), mentions),
        )

    async def _holding(self, keys: list[str], names: list[str], text: str) -> list[str]:
        if not keys:
            return []
        # A packed share contains its texts unchanged, so a search of the bytes saves unpacking all the others.
        wanted = text.encode()
        values: list[bytes | None] = await self._redis.mget(keys)
        return [name for name, value in zip(names, values, strict=True) if value is not None and wanted in value]

    async def _pins_naming(self, jobs: list[str], mentions: Mentions) -> list[tuple[str, str]]:
        if not jobs:
            return []
        keys = [self._keys.pin + job for job in jobs]
        async with self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.hget(key, "result")
            results: list[bytes | None] = await pipeline.execute()
        return [
            (key, msgspec.json.encode(msgspec.json.decode(result) | {"detail": ERASED}).decode())
            for key, result in zip(keys, results, strict=True)
            if result is not None and mentions.loosely(result.decode())
        ]

    async def sweep(self, job_id: str, page: Page, handle: str) -> None:
        """Remove what a page contains besides shares, and store that it is done."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            for key in page.latest:
                pipeline.hdel(key, handle)
            if page.forget:
                pipeline.unlink(*page.forget)
            for key, result in page.pins:
                pipeline.hset(key, "result", result)
            self._note(pipeline, job_id, {"cursor": page.cursor})
            await pipeline.execute()

    async def unindex(self, handle: str) -> None:
        """Remove a handle from the geo set and the index of who is shown where."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.zrem(self._keys.geo, handle)
            pipeline.hdel(self._keys.handles, handle_digest(handle))
            await pipeline.execute()

    # Streams

    async def erase_events(self, job_id: str, progress: Progress, mentions: Mentions) -> Progress:
        """Search one page of the event stream; return the progress after it, whose cursor is "0" at the end."""
        rows = await self._read(self._keys.events, progress, PAGE)
        ids = [entry for entry, fields in rows if _event_names(fields, mentions)]
        return await self._erase(self._keys.events, job_id, progress, rows, ids)

    async def erase_letters(self, job_id: str, progress: Progress, mentions: Mentions) -> Progress:
        """Search one page of the dead letters, like `erase_events`."""
        rows = await self._read(self._keys.dead_letters, progress, LETTERS_PAGE)
        ids = [entry for entry, fields in rows if any(mentions.loosely(_text(value)) for value in fields.values())]
        return await self._erase(self._keys.dead_letters, job_id, progress, rows, ids)

    async def _read(self, stream: str, progress: Progress, count: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        start = f"({progress.cursor}" if progress.cursor else "-"
        rows: list[tuple[bytes, dict[bytes, bytes]]] = await self._redis.xrange(
            stream, min=start, max=progress.until, count=count
        )
        return rows

    async def _erase(
        self, stream: str, job_id: str, progress: Progress, rows: Sequence[tuple[bytes, Any]], ids: list[bytes]
    ) -> Progress:
        cursor = rows[-1][0].decode() if rows else "0"
        counted = "events" if stream == self._keys.events else "letters"
        async with self._redis.pipeline(transaction=True) as pipeline:
            if ids:
                pipeline.xdel(stream, *ids)
                pipeline.hincrby(self._keys.forgetting(job_id), counted, len(ids))
            self._note(pipeline, job_id, {"cursor": cursor})
            await pipeline.execute()
        more = len(ids)
        if counted == "events":
            return progress._replace(cursor=cursor, events=progress.events + more)
        return progress._replace(cursor=cursor, letters=progress.letters + more)


def _event_names(fields: dict[bytes, bytes], mentions: Mentions) -> bool:
    """Return whether an event names the handle: in normal form, or in any form in a vendor's text."""
    if mentions.exactly(_text(b"\n".join(fields.values()))):
        return True
    data = fields.get(b"data", b"")
    if b'"detail"' not in data:
        return False
    try:
        detail = msgspec.json.decode(data, type=_Detailed).detail
    except msgspec.MsgspecError:
        return False
    return detail is not None and mentions.loosely(detail)


class _Detailed(msgspec.Struct):
    detail: str | None = None


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
