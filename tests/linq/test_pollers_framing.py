"""Which bytes form a reply: both clients of the poll path agree, on a server that misbehaves as scripted."""

import asyncio
import gzip

import pytest

from tests.support.polling import BROKEN, CHAT, EMPTY, READ, Kind, fetch, polling
from tests.support.rawserver import Exchange, answering, http_answer, raw_server
from worker.http import Reply

MEBIBYTE = 1024 * 1024


async def test_not_modified_is_no_failure(kind: Kind) -> None:
    reply, _ = await fetch(kind, answering(b"HTTP/1.1 304 Not Modified\r\n\r\n"))
    assert reply == Reply(304, b"", None, None, None)


async def test_no_content_is_an_empty_body(kind: Kind) -> None:
    reply, _ = await fetch(kind, answering(b"HTTP/1.1 204 No Content\r\n\r\n"))
    assert reply == Reply(204, b"", None, None, None)


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        http_answer(b"elsewhere", status="302 Found", headers=(("Location", "/elsewhere"),)),
        http_answer(b"{}", status="429 Too Many Requests"),
        http_answer(EMPTY, headers=(("Upgrade", "h2"), ("Connection", "Upgrade"))),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\n{ }\r\n0\r\n\r\n",
    ],
)
async def test_a_connection_is_used_again_after_any_whole_answer(kind: Kind, first: bytes) -> None:
    answers = iter([first, http_answer(EMPTY)])

    async def script(exchange: Exchange) -> None:
        await exchange.send(next(answers))

    async with raw_server(script) as server, polling(kind, server.url, window=1) as poller:
        assert (await poller.fetch(CHAT)).failure in {None, "redirect"}
        assert await poller.fetch(CHAT) == Reply(200, EMPTY, None, None, None)
    assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        http_answer(EMPTY, headers=(("CONNECTION", "Close"),)),
        b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(EMPTY), EMPTY),
    ],
)
async def test_a_connection_that_shall_be_closed_is_not_used_again(kind: Kind, answer: bytes) -> None:
    async with raw_server(answering(answer)) as server, polling(kind, server.url, window=1) as poller:
        for _ in range(3):
            assert await poller.fetch(CHAT) == Reply(200, EMPTY, None, None, None)
    assert server.connections == 3


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_body_without_a_length_ends_with_the_connection(kind: Kind, version: bytes) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/%b 200 OK\r\n\r\n%b" % (version, EMPTY))
        exchange.writer.close()

    reply, _ = await fetch(kind, script)
    assert reply == Reply(200, EMPTY, None, None, None)


async def test_interim_answers_are_passed_over(kind: Kind) -> None:
    interim = (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nX-Trace-ID: early\r\nRetry-After: 9\r\nContent-Length: 3\r\n\r\n"
    )
    answer = interim + http_answer(b"no", status="503 Service Unavailable")
    reply, _ = await fetch(kind, answering(answer))
    assert reply == Reply(503, b"no", None, None, None)


async def test_trailers_are_for_nobody(kind: Kind) -> None:
    answer = (
        b"HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nno\r\n0\r\nX-Trace-ID: late\r\nRetry-After: 9\r\n\r\n"
    )
    reply, _ = await fetch(kind, answering(answer))
    assert reply == Reply(503, b"no", None, None, None)


async def test_an_answer_that_comes_byte_by_byte_is_read(kind: Kind) -> None:
    answer = b"HTTP/1.1 200 OK\r\nX-Trace-ID: 7d1f\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
        len(EMPTY),
        EMPTY,
    )

    async def script(exchange: Exchange) -> None:
        for byte in answer:
            await exchange.send(bytes([byte]))
            await asyncio.sleep(0)

    reply, _ = await fetch(kind, script)
    assert reply == Reply(200, EMPTY, None, "7d1f", None)


@pytest.mark.parametrize("status", [999, 600])
async def test_a_status_without_a_meaning_is_handed_on(kind: Kind, status: int) -> None:
    reply, _ = await fetch(kind, answering(http_answer(b"{}", status=f"{status} Odd")))
    assert reply == Reply(status, b"{}", None, None, None)


@pytest.mark.parametrize(
    "answer",
    [
        http_answer(EMPTY, status="099 Odd"),
        http_answer(EMPTY, status="000 Odd"),
        http_answer(EMPTY, status="20 Odd"),
        http_answer(EMPTY, status="1000 Odd"),
        http_answer(EMPTY, headers=(("Content-Length", "3"),)),
        http_answer(EMPTY, headers=(("X-Padding", "a\0b"),)),
        http_answer(EMPTY, headers=(("X-Padding", "a\rb"),)),
        http_answer(EMPTY, headers=(("X-Padding", "a" * 3_000_000),)),
        b"HTTP/1.1 200 " + b"a" * 3_000_000,
        *(
            b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n%b" % (length, EMPTY)
            for length in (b"-2", b"+2", b"0x2", b"2, 3", b"", b"9" * 30)
        ),
        *(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
            for chunks in (
                b"-2\r\n{}\r\n0\r\n\r\n",
                b"2\r\n{}xx0\r\n\r\n",
                b"2;" + b"a" * 3_000_000,
                b"2\r\n{}\r\n0\r\nX-Padding: " + b"a" * 3_000_000,
                b"2\r\n{}\r\n0\r\n" + b"X-Padding: 0123456789\r\n" * 200_000,
            )
        ),
    ],
    ids=range(20),
)
async def test_what_is_not_http_is_broken_long_before_the_time_is_up(kind: Kind, answer: bytes) -> None:
    reply, _ = await fetch(kind, answering(answer))
    assert reply == Reply(0, b"", None, None, "broken")


async def test_a_reply_of_exactly_the_limit_is_read(kind: Kind) -> None:
    reply, _ = await fetch(kind, answering(http_answer(b"a" * MEBIBYTE)))
    assert (reply.status, len(reply.body), reply.failure) == (200, MEBIBYTE, None)


async def test_a_byte_more_is_too_large(kind: Kind) -> None:
    reply, _ = await fetch(kind, answering(http_answer(b"a" * (MEBIBYTE + 1))))
    assert (reply.status, reply.body, reply.failure) == (200, b"", "too_large")


async def test_an_endless_reply_is_given_up_while_it_comes(kind: Kind) -> None:
    sent = 0

    async def script(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while sent < 200 * MEBIBYTE:
            await exchange.send(b"10000\r\n" + b"a" * 65536 + b"\r\n")
            sent += 65536

    reply, _ = await fetch(kind, script)
    assert (reply.status, reply.body, reply.failure) == (200, b"", "too_large")
    assert sent < 100 * MEBIBYTE


async def test_packed_replies_are_understood_though_none_are_asked_for(kind: Kind) -> None:
    answer = http_answer(gzip.compress(EMPTY), headers=(("Content-Encoding", "gzip"),))
    reply, _ = await fetch(kind, answering(answer))
    assert reply == Reply(200, EMPTY, None, None, None)


async def test_a_packed_reply_that_unpacks_to_too_much_is_too_large(kind: Kind) -> None:
    answer = http_answer(gzip.compress(b"0" * 50 * MEBIBYTE), headers=(("Content-Encoding", "gzip"),))
    assert len(answer) < MEBIBYTE
    reply, _ = await fetch(kind, answering(answer))
    assert (reply.status, reply.body, reply.failure) == (200, b"", "too_large")


async def test_a_header_that_is_no_text_does_no_harm(kind: Kind) -> None:
    answer = http_answer(EMPTY).replace(b"Content-Type: application/json", b"X-Trace-ID: \xff\xfe")
    reply, _ = await fetch(kind, answering(answer))
    assert (reply.status, reply.body, reply.failure) == (200, EMPTY, None)


def chunked(*chunks: bytes, size: bytes = b"%x", trailer: bytes = b"") -> bytes:
    """Return the body in chunks; `size` makes the line before each."""
    parts = [(size % len(chunk)) + b"\r\n" + chunk + b"\r\n" for chunk in (*chunks, b"")]
    return b"".join(parts).removesuffix(b"\r\n") + trailer + b"\r\n"


LENGTH = b"%d" % len(EMPTY)
IN_CHUNKS = b"Transfer-Encoding: chunked"

# Replies that real proxies and servers send and clients accept, although some break the rules (RFC 9112).
ODD = {
    "both framings": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + IN_CHUNKS + b"\r\n\r\n" + chunked(EMPTY),
    "both the other way": b"HTTP/1.1 200 OK\r\n" + IN_CHUNKS + b"\r\nContent-Length: 2\r\n\r\n" + chunked(EMPTY),
    "the length twice": b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\ncontent-length: %b\r\n\r\n" % (LENGTH, LENGTH)
    + EMPTY,
    "n, n": b"HTTP/1.1 200 OK\r\nContent-Length: %b , %b\r\n\r\n" % (LENGTH, LENGTH) + EMPTY,
    "n, n and n": b"HTTP/1.1 200 OK\r\nContent-Length: %b,%b\r\nContent-Length:%b\r\n\r\n" % ((LENGTH,) * 3) + EMPTY,
    "spaces after a size": b"HTTP/1.1 200 OK\r\n" + IN_CHUNKS + b"\r\n\r\n" + chunked(EMPTY, size=b"%x  "),
    "a length in a trailer": b"HTTP/1.1 200 OK\r\n"
    + IN_CHUNKS
    + b"\r\n\r\n"
    + chunked(EMPTY, trailer=b"Content-Length: %b\r\n" % LENGTH),
    "line feeds alone": b"HTTP/1.1 200 OK\nContent-Length: %b\n\n" % LENGTH + EMPTY,
    "line feeds alone and chunks": b"HTTP/1.1 200 OK\n" + IN_CHUNKS + b"\n\n" + chunked(EMPTY),
    "a folded header": b"HTTP/1.1 200 OK\r\nX-Note: a\r\n\tb\r\n  c\r\nContent-Length: %b\r\n\r\n" % LENGTH + EMPTY,
    "folded, and the length twice": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n %b\r\nContent-Length: %b\r\n\r\n"
    % (LENGTH, LENGTH)
    + EMPTY,
    "an interim reply that closes": b"HTTP/1.1 103 Early Hints\r\nConnection: close\r\n\r\n" + http_answer(EMPTY),
    "many interim replies": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nX-Trace-ID: early\r\n\r\n" * 20
    + http_answer(EMPTY),
    "interim, and the length twice": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\nContent-Length: %b\r\n\r\n" % (LENGTH, LENGTH) + EMPTY,
    "no reason": b"HTTP/1.1 200\r\nContent-Length: %b\r\n\r\n" % LENGTH + EMPTY,
    "64 KiB of headers": http_answer(EMPTY, headers=tuple((f"X-{number}", "a" * 1000) for number in range(64))),
}


@pytest.mark.parametrize("answer", ODD.values(), ids=ODD.keys())
async def test_what_others_read_is_read_and_the_connection_used_again(kind: Kind, answer: bytes) -> None:
    answers = iter([answer, answer, http_answer(b"{}"), answer])

    async def script(exchange: Exchange) -> None:
        await exchange.send(next(answers))

    async with raw_server(script) as server, polling(kind, server.url, window=1) as poller:
        replies = [await poller.fetch(CHAT) for _ in range(4)]
    assert replies == [READ, READ, Reply(200, b"{}", None, None, None), READ]
    assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        http_answer(EMPTY),
        ODD["a length in a trailer"],
        ODD["line feeds alone"],
        ODD["folded, and the length twice"],
        ODD["interim, and the length twice"],
    ],
)
async def test_a_reply_may_be_split_anywhere(kind: Kind, answer: bytes) -> None:
    offsets = range(1, len(answer))
    waiting = iter(offsets)

    async def script(exchange: Exchange) -> None:
        offset = next(waiting)
        await exchange.send(answer[:offset])
        # The client runs in the same loop: it gets the first part before the second is sent.
        for _ in range(3):
            await asyncio.sleep(0)
        await exchange.send(answer[offset:])

    async with raw_server(script) as server, polling(kind, server.url, window=1) as poller:
        for offset in offsets:
            assert await poller.fetch(CHAT) == READ, offset
    assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\n{} ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2,\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n".replace(b"2", "٢".encode()) + b"{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffffff\r\n{}",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n" + bytes(100),
        b"HTTP/1.1 102 Processing\r\n\r\n" * 5_000,  # longer than a head may be
        b"HTTP/2 200\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX-Note : a\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
async def test_what_can_be_misunderstood_is_broken(kind: Kind, answer: bytes) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(answer)
        exchange.writer.close()

    reply, _ = await fetch(kind, script)
    assert reply == BROKEN


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (("3", "38"), 38.0),
        (("38", "soon"), 38.0),
        (("Wed, 21 Oct 2015 07:28:00 GMT", "7"), 7.0),
        (("99999999",), 30 * 86400.0),
    ],
)
async def test_a_wait_that_is_said_twice_is_the_longer_one(
    kind: Kind, headers: tuple[str, ...], seconds: float
) -> None:
    repeated = tuple(("Retry-After", header) for header in headers)
    reply, _ = await fetch(kind, answering(http_answer(status="429 Too Many Requests", headers=repeated)))
    assert reply == Reply(429, b"", seconds, None, None)
