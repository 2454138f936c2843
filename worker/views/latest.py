"""GET /latest: the latest positions as GeoJSON."""

import asyncio

from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from worker.store.event_stream import EventStream, format_stream_id
from worker.store.latest import Latest
from worker.views.parameters import read_box, read_chat_id, read_limit, read_query

PARAMETERS = ("chat_id", "bbox", "limit")
DEFAULT_LIMIT = 1_000
MAX_LIMIT = 10_000
MAX_AT_ONCE = 2
"""Thousands of positions are work for this process, which also answers webhooks."""
_ANSWER_SECONDS = 20.0


class LatestPositions:
    """The route."""

    def __init__(self, latest: Latest, stream: EventStream) -> None:
        self._latest = latest
        self._stream = stream
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)

    async def show(self, request: Request) -> Response:
        """GET /latest."""
        query = read_query(request, PARAMETERS)
        chat_id, box = read_chat_id(query), read_box(query)
        limit = read_limit(query, default=DEFAULT_LIMIT, most=MAX_LIMIT)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS), self._turns:
                # Before the positions: who goes on with the events after it misses none.
                last = (await self._stream.bounds()).last
                found = await self._latest.find(chat_id=chat_id, box=box, limit=limit)
        except (RedisError, OSError):
            return JSONResponse({"error": "Redis does not answer"}, 503)
        truncated = b',"truncated":true' if found.truncated else b""
        return Response(
            b'{"type":"FeatureCollection","last_event_id":"%b"%b,"features":[%b]}'
            % (format_stream_id(last).encode(), truncated, b",".join(found.features)),
            media_type="application/geo+json",
        )
