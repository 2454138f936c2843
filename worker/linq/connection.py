"""One HTTP/1.1 connection on a non-blocking socket, with or without TLS; httptools (llhttp) parses the replies."""

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import Callable
from typing import Any

import aiohappyeyeballs
import httptools

from worker.http import IDLE_SECONDS, REPLY_LIMIT, build_reply
from worker.linq.head_mender import HeadMender
from worker.linq.reply import Failure, Reply, no_reply

EYEBALLS_SECONDS = 0.25  # until the next address is tried beside the first (RFC 8305, section 5)
READ_SIZE = 64 * 1024
HEAD_LIMIT = 100 * 1024  # bytes of status line and headers, as httpcore; beyond REPLY_LIMIT the same for the framing
MAX_IDLE_SECONDS = 50.0  # something in between may silently forget an idle connection after a minute
BEFORE_SERVER_SECONDS = 1.0  # we close a connection this long before the server would

# The headers that matter here, in lower case.
_HEADERS = frozenset(
    {b"content-length", b"keep-alive", b"retry-after", b"transfer-encoding", b"x-request-id", b"x-trace-id"}
)
_KEEP_ALIVE = re.compile(rb"timeout *= *\"?(\d{1,9})", re.IGNORECASE)


async def connect(
    addresses: list[Any], context: ssl.SSLContext | None, host: str, release: Callable[["Connection"], None]
) -> "Connection":
    """Connect to the first of the addresses (as `getaddrinfo` gives them) that answers; with a context, over TLS.

    Raises OSError, also for certificates that are not accepted, ValueError for a host that no certificate can name,
    and what the loop raises (uvloop: RuntimeError).
    """
    connected = await aiohappyeyeballs.start_connection(
        addresses, happy_eyeballs_delay=EYEBALLS_SECONDS, interleave=1, socket_factory=_make_socket
    )
    loop = asyncio.get_running_loop()
    if context is not None:
        connected = await _secure(loop, connected, context, host)
    try:
        return Connection(loop, connected, release)
    except BaseException:
        connected.close()
        raise


def _make_socket(address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(*address[:3])
    # Not once it is connected: the peer may have gone by then, which some systems report here.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


async def _secure(
    loop: asyncio.AbstractEventLoop, connected: socket.socket, context: ssl.SSLContext, host: str
) -> ssl.SSLSocket:
    """Shake hands. The socket is closed where that fails. Raises OSError."""
    with contextlib.ExitStack() as undo:
        undo.callback(connected.close)  # does nothing once TLS has wrapped the socket
        secured = context.wrap_socket(
            connected, server_hostname=host, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )
        undo.callback(secured.close)
        while True:
            try:
                secured.do_handshake()
            except ssl.SSLWantReadError:
                await _await_ready(secured, loop.add_reader, loop.remove_reader)
            except ssl.SSLWantWriteError:
                await _await_ready(secured, loop.add_writer, loop.remove_writer)
            else:
                undo.pop_all()
                return secured


async def _await_ready(
    waiting: socket.socket, watch: Callable[..., None], unwatch: Callable[[socket.socket], bool]
) -> None:
    ready = asyncio.Event()
    watch(waiting, ready.set)
    try:
        await ready.wait()
    finally:
        unwatch(waiting)


class Connection:
    """One connection, one request at a time. httptools calls what is named on_…."""

    __slots__ = (
        "_awaited",
        "_begun",
        "_chunks",
        "_deadline",
        "_feed",
        "_headers",
        "_in_body",
        "_loop",
        "_mends",
        "_open",
        "_parser",
        "_received",
        "_release",
        "_socket",
        "_timer",
        "idle_seconds",
        "used_at",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connected: socket.socket, release: Callable[["Connection"], None]
    ) -> None:
        """Call `release` whenever a request has its reply, or will get none because the connection is closed."""
        self._loop = loop
        self._socket = connected
        self._release = release
        self._parser = _make_parser(self)
        self._feed: Callable[[bytes], None] = self._parser.feed_data
        self._mends = False  # the reply under way is read through a HeadMender
        self._awaited: asyncio.Future[Reply] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._headers: dict[bytes, bytes] = {}
        self._begun: list[bytes] = []  # what came of a reply until its head was complete
        self._chunks: list[bytes] = []
        self._received = 0
        self._in_body = False
        self._open = True
        self.used_at = loop.time()
        self.idle_seconds = IDLE_SECONDS  # how long it may stay unused
        loop.add_reader(connected, self.read)

    @property
    def usable(self) -> bool:
        """Return whether a request can be sent: the connection is open, and none waits for a reply."""
        return self._open and self._awaited is None

    def send(self, request: bytes, awaited: asyncio.Future[Reply], deadline: float) -> None:
        """Send a request. The reply, or a failure at `deadline` (the loop's time), becomes the future's result."""
        self._awaited = awaited
        self._deadline = deadline
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._look_at_time)
        try:
            # A request is smaller than any send buffer, and this one is empty.
            if self._socket.send(request) != len(request):
                self.close()
        except OSError:
            self.close()

    def close(self, failure: Failure = "broken") -> None:
        """Close the connection; a request that waits for its reply gets the failure."""
        self._hang_up()
        # It and its parser refer to each other: the reply would stay in memory until the garbage is collected.
        self._chunks = []
        self._begun = []
        self._answer(no_reply(failure))

    def _hang_up(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket)
            self._socket.close()
        if self._timer is not None:
            self._timer.cancel()

    def _answer(self, reply: Reply) -> None:
        awaited, self._awaited = self._awaited, None
        if awaited is not None:
            if not awaited.done():  # otherwise the caller has gone away
                awaited.set_result(reply)
            self._release(self)

    def _look_at_time(self) -> None:
        # Reset only when it fires, not with each request: nearly all get their reply long before.
        self._timer = None
        if self._awaited is None:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._look_at_time)
            return
        self.read()  # a process that was held up may have the reply, and has not looked yet
        if self._awaited is not None:
            self.close("timeout")

    def read(self) -> None:
        """Receive what has come, without waiting: part of a reply, or its end."""
        try:
            while True:
                data = self._socket.recv(READ_SIZE)
                if not data:
                    self._end_of_stream()
                    return
                try:
                    self._feed(data)
                except httptools.HttpParserError:
                    self._begin_anew(data)
                if self._awaited is None:
                    self.used_at = self._loop.time()
                    return
                if not self._in_body:
                    self._begun.append(data)
                self._received += len(data)
                if self._received > (HEAD_LIMIT + REPLY_LIMIT if self._in_body else HEAD_LIMIT):
                    self._give_up()
                    return
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except (OSError, httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()

    def _begin_anew(self, data: bytes) -> None:
        """Read a head that llhttp refuses as others read it. Raises HttpParserError where that is of no use."""
        if self._awaited is None or self._in_body or self._mends:
            raise httptools.HttpParserError
        self._mends = True
        self._headers = {}
        self._feed = HeadMender(self._go_on).feed_data
        self._feed(b"".join([*self._begun, data]))

    def _go_on(self, data: bytes) -> None:
        self._parser = _make_parser(self)
        self._feed = self._parser.feed_data
        self._feed(data)

    def _end_of_stream(self) -> None:
        # Without a length, and not in chunks, a body ends with the connection.
        self._hang_up()
        if self._in_body and not self._headers.keys() & {b"content-length", b"transfer-encoding"}:
            self._finish()
        else:
            self.close()

    def _give_up(self) -> None:
        self._hang_up()
        if sum(map(len, self._chunks)) > REPLY_LIMIT:
            self._finish()
        else:
            self.close()

    def _finish(self) -> None:
        status = self._parser.get_status_code()
        headers, self._headers = self._headers, {}
        chunks, self._chunks = self._chunks, []
        if self._begun:
            self._begun = []
        self._mends = False
        self._received = 0
        self._in_body = False
        if b"keep-alive" in headers:
            self.idle_seconds = _announced_seconds(headers[b"keep-alive"])
        self._answer(
            build_reply(
                status,
                chunks[0] if len(chunks) == 1 else b"".join(chunks),
                _text(headers.get(b"retry-after")) if status >= 400 else None,
                _text(headers.get(b"x-trace-id") or headers.get(b"x-request-id")),
            )
        )

    def on_message_begin(self) -> None:
        if self._awaited is None:
            # No request waits: what comes next could not be told from the reply to a later one.
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in _HEADERS and not self._in_body:  # trailers are not used
            earlier = self._headers.get(name)
            self._headers[name] = value if earlier is None else b"%b, %b" % (earlier, value)

    def on_headers_complete(self) -> None:
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            # An interim reply; the real one follows.
            self._in_body = False
            self._headers = {}
            if status < 100:
                self.close()
            return
        if not self._parser.should_keep_alive():
            self._hang_up()
        self._finish()


def _make_parser(connection: Connection) -> httptools.HttpResponseParser:
    parser = httptools.HttpResponseParser(connection)
    # What other clients accept. As there is only one server, two readings of a reply can deceive nobody.
    parser.set_dangerous_leniencies(
        lenient_chunked_length=True,
        lenient_keep_alive=True,  # otherwise nothing could follow an interim reply with `Connection: close`
        lenient_optional_cr_before_lf=True,
        lenient_spaces_after_chunk_size=True,
    )
    return parser


def _announced_seconds(keep_alive: bytes) -> float:
    """Return how long a connection may be idle according to the server's header `Keep-Alive: timeout=…`."""
    found = _KEEP_ALIVE.search(keep_alive)
    if found is None:
        return IDLE_SECONDS
    return min(MAX_IDLE_SECONDS, int(found[1]) - BEFORE_SERVER_SECONDS)


def _text(value: bytes | None) -> str | None:
    if value is None or not value.isascii():
        return None
    text = value.decode()
    return text if text.isprintable() else None
