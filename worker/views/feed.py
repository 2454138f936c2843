"""The one reader of the event stream that feeds every connection of this process.

Messages are made once and kept for a while; a connection is a position among them. So a thousand connections cost Redis
one reader, and slow ones cost no memory: one whose position is no longer kept is cut off.
"""

import asyncio
from collections import deque

import structlog
from redis.exceptions import RedisError

from config.redis_errors import explain
from worker.store.event_stream import EventStream, StreamId, format_stream_id
from worker.views.messages import Message, Wanted, make_message

MAX_KEPT_BYTES = 8 * 1024 * 1024
MAX_KEPT_SECONDS = 60.0
"""Who reads nothing for so long is cut off anyway. What is erased in Redis is soon gone here, too."""
READ_COUNT = 200
BEAT_SECONDS = 4.0
"""How often every connection is woken, even if there is nothing new."""
_MAX_PAUSE_SECONDS = 2.0
# Connections served in one turn of the event loop; webhooks are answered between turns.
_WOKEN_AT_ONCE = 16
_CHUNK_BYTES = 256 * 1024

log = structlog.get_logger("web")


class BehindError(Exception):
    """What follows a position is not kept; `first` is the first entry that is."""

    def __init__(self, first: StreamId) -> None:
        super().__init__(format_stream_id(first))
        self.first = first


class Feed:
    """The newest messages of the event stream, for any number of connections."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self._kept: deque[Message] = deque()
        self._kept_bytes = 0
        # The end at each of the last beats, oldest first.
        self._ends: deque[StreamId] = deque(maxlen=round(MAX_KEPT_SECONDS / BEAT_SECONDS))
        # What is kept begins after this position.
        self._start: StreamId = (0, 0)
        self._end: StreamId = (0, 0)
        self._waiting: list[asyncio.Future[None]] = []
        self.generation = 0
        """Changes when the stream does not continue where it was: positions of another generation mean nothing. 0 until
        Redis has answered for the first time.
        """
        self.closed = False

    @property
    def end(self) -> StreamId | None:
        """Return up to where the stream was read, None until Redis has answered for the first time."""
        return self._end if self.generation else None

    async def run(self) -> None:
        """Read the stream for ever; wait while Redis is away."""
        while True:
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._beat())
                    tasks.create_task(self._read())
            except* Exception:
                # A fault of this program, which must not leave connections hanging for ever.
                log.exception("views_interrupted", consequence="reading of the event stream resumes in a moment")
                await asyncio.sleep(_MAX_PAUSE_SECONDS)

    def close(self) -> None:
        """Let every connection end."""
        self.closed = True
        for waiter in self._waiting:
            _wake(waiter)

    def take(self, position: StreamId, generation: int, wanted: Wanted) -> tuple[StreamId, bytes]:
        """Return the wanted messages after a position, joined, and the position after them.

        Raises BehindError if something after the position is no longer kept, or the stream did not continue there.
        """
        if generation != self.generation or position < self._start:
            raise BehindError(self._kept[0].position if self._kept else self._end)
        following: list[Message] = []
        for message in reversed(self._kept):
            if message.position <= position:
                break
            following.append(message)
        chunk: list[bytes] = []
        size = 0
        while following and size < _CHUNK_BYTES:
            message = following.pop()
            position = message.position
            if wanted(message.type, message.source, message.reference):
                chunk.append(message.data)
                size += len(message.data)
        return position, b"".join(chunk)

    async def wait(self) -> None:
        """Wait until there may be something new, for a beat at most."""
        if not self.closed:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            if len(self._ends) == self._ends.maxlen:
                self._drop_through(self._ends[0])
            self._ends.append(self._end)
            await self._wake_all()

    async def _read(self) -> None:
        failures = 0
        while True:
            try:
                if not self.generation or failures:
                    await self._find_place()
                await self._take_in()
            except (RedisError, OSError) as error:
                failures += 1
                if failures == 1:
                    log.warning("views_wait_for_redis", cause=f"Redis {explain(error).cause}")
                await asyncio.sleep(min(_MAX_PAUSE_SECONDS, 0.1 * 2 ** min(failures, 5)))
            else:
                if failures:
                    failures = 0
                    await self._wake_all()

    async def _find_place(self) -> None:
        """Begin at the end of the stream, or check that it continues where it was."""
        bounds = await self._stream.bounds()
        if self.generation and bounds.gap_after(self._end) is None:
            return
        self._kept.clear()
        self._kept_bytes = 0
        self._ends.clear()
        self._start = self._end = bounds.last
        self.generation += 1
        await self._wake_all()

    async def _take_in(self) -> None:
        entries = await self._stream.wait_after(self._end, READ_COUNT)
        for position, fields in entries:
            message = make_message(position, fields)
            self._kept.append(message)
            self._kept_bytes += len(message.data)
            self._end = position
        while self._kept_bytes > MAX_KEPT_BYTES:
            self._drop()
        if entries:
            await self._wake_all()

    def _drop_through(self, position: StreamId) -> None:
        while self._kept and self._kept[0].position <= position:
            self._drop()

    def _drop(self) -> None:
        dropped = self._kept.popleft()
        self._kept_bytes -= len(dropped.data)
        self._start = dropped.position

    async def _wake_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for number, waiter in enumerate(waiting, start=1):
            _wake(waiter)
            if number % _WOKEN_AT_ONCE == 0:
                await asyncio.sleep(0)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
