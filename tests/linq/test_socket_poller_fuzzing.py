"""Whatever a server sends, in whatever pieces, our own client on sockets turns it into a `Reply`.

Two hundred replies by default, each cut up in three ways; with PROFILE=thorough a million cases, a hundred to a reply.
"""

import asyncio
import random
import socket
from collections.abc import Iterator
from contextlib import closing

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.http import REPLY_LIMIT, Reply
from worker.linq.connection import Connection

THOROUGH = hypothesis.settings().max_examples > 100
EXAMPLES, WAYS = (10_000, 100) if THOROUGH else (200, 3)

STATUS_LINES = st.sampled_from(
    [
        *[b"HTTP/1.1 200 OK\r\n"] * 6,
        b"HTTP/1.1 429 Too Many Requests\r\n",
        b"HTTP/1.1 103 Early Hints\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n",
        b"HTTP/1.1 204 No Content\r\n",
        b"HTTP/1.1 302 Found\r\n",
        b"HTTP/1.1 304 Not Modified\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 200 OK\n",
        b"HTTP/1.1 200\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 099 Odd\r\n",
        b"HTTP/1.1 1000 Odd\r\n",
        b"HTTP/2 200\r\n",
        b"SSH-2.0-example\r\n",
    ]
)
HEADERS = st.sampled_from(
    [
        *[b"Content-Length: 2\r\n"] * 6,
        *[b"Content-Length: 2, 2\r\n"] * 3,
        b"content-length:2\n",
        b"Content-Length: 0\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Content-Length: -1\r\n",
        *[b"Transfer-Encoding: chunked\r\n"] * 6,
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked, gzip\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b"Connection: upgrade\r\nUpgrade: h2c\r\n",
        b"Keep-Alive: timeout=3\r\n",
        b"Retry-After: 3\r\n",
        b"Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n",
        b"X-Trace-ID: 7d1f\r\n",
        b"X-Trace-ID: \xff\xfe\r\n",
        b"X-Note: a\r\n folded\r\n",
        b"X-Note: a\0b\r\n",
        b"X-Note: a\rb\r\n",
        b"X-Note\r\n",
        b"X-Note : a\r\n",
        b": a\r\n",
        b" folded\r\n",
        b"X-Padding: " + b"a" * 2000 + b"\r\n",
    ]
)
ENDS_OF_HEADS = st.sampled_from([*[b"\r\n"] * 6, b"\n", b"", b"\r\n\r\n"])
BODIES = st.sampled_from(
    [
        b"{}",
        b"2\r\n{}\r\n",
        b"2  \r\n{}\r\n",
        b"2;a=b\r\n{}\r\n",
        b"2\n{}\n",
        b"ffffffffffffffffff\r\n",
        b"-2\r\n{}\r\n",
        b"0\r\n\r\n",
        b"0\r\nContent-Length: 2\r\n\r\n",
        b"0\r\nX-Trace-ID: late\r\n\r\n",
        b"\x1f\x8b\x08\x00damaged",
    ]
)
PARTS = st.builds(
    lambda status, headers, end, bodies: [status, *headers, end, *bodies],
    STATUS_LINES,
    st.lists(HEADERS, max_size=5),
    ENDS_OF_HEADS,
    st.lists(st.one_of(BODIES, BODIES, st.binary(max_size=8)), max_size=4),
)
SENT = st.lists(PARTS, min_size=1, max_size=3).map(
    lambda replies: b"".join(part for parts in replies for part in parts)
)
# (position, how many bytes are removed, what replaces them)
DAMAGE = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 4), st.one_of(st.just(b""), st.binary(max_size=3))), max_size=2
)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with closing(asyncio.new_event_loop()) as made:
        yield made


def read(loop: asyncio.AbstractEventLoop, pieces: list[bytes], *, ends: bool) -> Reply | None:
    """Read a reply that arrives in pieces; `ends`: the connection then ends. Return None if incomplete."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    connection = Connection(loop, ours, lambda _: None)
    awaited: asyncio.Future[Reply] = loop.create_future()
    connection.send(b"GET / HTTP/1.1\r\n\r\n", awaited, loop.time() + 60)
    with theirs:
        try:
            for piece in pieces:
                theirs.send(piece)
                connection.read()
        except OSError:
            assert awaited.done()  # earlier bytes already made the client close the connection
    if ends:
        connection.read()
    reply = awaited.result() if awaited.done() else None
    connection.close()
    assert awaited.result().failure in {None, "broken", "redirect"}
    return reply


def cut(sent: bytes, random_: random.Random) -> list[bytes]:
    places = sorted(random_.randrange(len(sent) + 1) for _ in range(random_.choice([0, 1, 1, 2, 5, 20])))
    pieces = [sent[start:end] for start, end in zip([0, *places], [*places, len(sent)], strict=True)]
    return [piece for piece in pieces if piece]


@pytest.mark.timeout(0 if THOROUGH else 120)
@hypothesis.settings(max_examples=EXAMPLES)
@given(sent=SENT, damage=DAMAGE, ends=st.booleans(), seed=st.integers(0, 2**32))
def test_whatever_comes_is_a_reply_and_the_same_however_it_is_cut_up(
    loop: asyncio.AbstractEventLoop, sent: bytes, damage: list[tuple[int, int, bytes]], ends: bool, seed: int
) -> None:
    for place, length, instead in damage:
        sent = sent[:place] + instead + sent[place + length :]
    random_ = random.Random(seed)
    whole = read(loop, [sent] if sent else [], ends=ends)
    assert whole is None or (type(whole) is Reply and len(whole.body) <= REPLY_LIMIT)
    assert whole is not None or not ends
    for _ in range(WAYS):
        pieces = cut(sent, random_)
        assert read(loop, pieces, ends=ends) == whole, pieces
