"""GET /latest: the latest positions as GeoJSON, and beside them when the chats are read next."""

import asyncio
from typing import TypedDict

import msgspec
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from worker.domain.share import PROMPT_IN_RESULTS, Phase, Share
from worker.domain.timestamp import NANOSECONDS, format_time
from worker.store.event_stream import format_stream_id
from worker.store.store import Store
from worker.views.parameters import read_box, read_chat_id, read_limit, read_query

PARAMETERS = ("chat_id", "bbox", "limit")
DEFAULT_LIMIT = 1_000
MAX_LIMIT = 10_000
MAX_AT_ONCE = 2
"""Thousands of positions take time in this process, which also answers webhooks."""
_ANSWER_SECONDS = 20.0


class TrackedShare(TypedDict):
    """A share: how far it is, and when its chat is read next and by which rule of the policy.

    `prompt`: how far the request is, null where nobody is asked.
    """

    reference: str | None
    phase: Phase
    prompt: str | None
    next_read_at: str
    rule: str


_encode = msgspec.json.Encoder().encode


class LatestPositions:
    """The route."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)

    async def show(self, request: Request) -> Response:
        """GET /latest."""
        query = read_query(request, PARAMETERS)
        chat_id, box = read_chat_id(query), read_box(query)
        limit = read_limit(query, default=DEFAULT_LIMIT, most=MAX_LIMIT)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS), self._turns:
                # Before the positions, so that reading the events after it misses none.
                last = (await self._store.events.bounds()).last
                found = await self._store.latest.find(chat_id=chat_id, box=box, limit=limit)
                shares = b"" if box else b',"shares":%b' % _encode(await self._shares(chat_id, limit))
        except (RedisError, OSError):
            return JSONResponse({"error": "Redis does not answer"}, 503)
        truncated = b',"truncated":true' if found.truncated else b""
        return Response(
            b'{"type":"FeatureCollection","last_event_id":"%b"%b,"features":[%b]%b}'
            % (format_stream_id(last).encode(), truncated, b",".join(found.features), shares),
            media_type="application/geo+json",
        )

    async def _shares(self, chat_id: str | None, limit: int) -> dict[str, TrackedShare]:
        """Describe the share of one chat, or up to `limit` shares by chat, those that are read next first."""
        described: dict[str, TrackedShare] = {}
        if chat_id is not None:
            loaded = await self._store.shares.load(chat_id)
            if loaded.live is not None and loaded.due is not None:
                described[chat_id] = _describe(loaded.live, loaded.due)
            return described
        async for page in self._store.shares.tracked():
            for chat, share, due in page[: limit - len(described)]:
                described[chat] = _describe(share, due)
            if len(described) >= limit:
                break
        return described


def _describe(share: Share, due: float) -> TrackedShare:
    return {
        "reference": share.reference or None,
        "phase": share.phase,
        "prompt": PROMPT_IN_RESULTS[share.prompt],
        "next_read_at": format_time(int(due * 1000) * (NANOSECONDS // 1000)),
        "rule": share.rule,
    }
