"""A server that answers with exactly the bytes, pauses and breaks that a test writes down."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import trustme

Script = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One request (head and body as they came) and the way to answer it."""

    head: bytes
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Break the connection so that the other side sees a reset, and loses what it has not read yet."""
        connected = self.writer.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class RawServer:
    """Its address and what it was asked."""

    url: str
    requests: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0


def http_answer(
    body: bytes = b"",
    *,
    status: str = "200 OK",
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),),
) -> bytes:
    """Return a whole HTTP/1.1 answer with its Content-Length."""
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Length: {len(body)}",
        *(f"{name}: {text}" for name, text in headers),
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def answering(answer: bytes) -> Script:
    """Return a script that sends the same bytes to every request and keeps the connection open."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(answer)

    return script


def secured(certificate: trustme.LeafCert, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """Return a server's TLS context; `version`: the only one it speaks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


@contextlib.asynccontextmanager
async def raw_server(
    script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[RawServer]:
    """Serve on a free loopback port until the block ends; `script` runs once per request.

    `tls`: the server's TLS context; None: plain HTTP. `host`: a loopback address, IPv4 or IPv6.
    `port`: 0 for a free one.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = 0
                for line in head.split(b"\r\n"):
                    name, _, text = line.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(text)
                body = await reader.readexactly(length)
                server.requests.append(head)
                server.bodies.append(body)
                await script(Exchange(head, body, reader, writer))
                if writer.is_closing():
                    return

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        finally:
            tasks.discard(task)
            writer.transport.abort()

    listener = await asyncio.start_server(accept, host, port, ssl=tls, backlog=1000)
    port = listener.sockets[0].getsockname()[1]
    name = f"[{host}]" if ":" in host else host
    server = RawServer(f"{'http' if tls is None else 'https'}://{name}:{port}")
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
