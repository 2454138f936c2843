"""A TCP proxy in front of one loopback port, whose connections can be cut, stalled, slowed or refused."""

import asyncio
import contextlib
import random
from types import TracebackType
from typing import Self

CHUNK = 65_536


class Proxy:
    """Forward connections to `target`, a loopback port, until told otherwise. `port` is where it listens."""

    def __init__(self, target: int = 0, *, seed: int = 0) -> None:
        self.target = target
        self.port = 0
        self._random = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._cut_next = False
        self._delay = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.heal()
        if self._server is not None:
            self._server.close()
        self.cut()
        # Not cancelled: each ends by itself, as its connections are gone.
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset every open connection."""
        for writer in self._writers:
            writer.transport.abort()

    def cut_next(self) -> None:
        """Let half of the next bytes through, then reset that connection."""
        self._cut_next = True

    def stall(self) -> None:
        """Let nothing through; connections stay open, new ones are accepted."""
        self._flowing.clear()

    def slow(self, seconds: float) -> None:
        """Delay each piece by some seconds."""
        self._delay = seconds

    def refuse(self) -> None:
        """Reset every connection, including new ones."""
        self._refusing = True
        self.cut()

    def heal(self) -> None:
        """Forward again."""
        self._refusing = self._cut_next = False
        self._delay = 0.0
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served = asyncio.current_task()
        if self._refusing or served is None:
            writer.transport.abort()
            return
        self._tasks.add(served)
        served.add_done_callback(self._tasks.discard)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        pumps = [asyncio.create_task(self._pump(reader, back)), asyncio.create_task(self._pump(there, writer))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in (writer, back):
                self._writers.discard(one)
                one.transport.abort()
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._flowing.wait()
                if self._delay:
                    await asyncio.sleep(self._delay)
                if self._cut_next:
                    self._cut_next = False
                    writer.write(data[: self._random.randrange(len(data))])
                    await writer.drain()
                    return
                writer.write(data)
                await writer.drain()
