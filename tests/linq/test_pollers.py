"""What all clients of the poll path must do alike, against a server that misbehaves to order."""

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest
import trustme

from tests.support.rawserver import Exchange, RawServer, Script, answering, http_answer, raw_server, secured
from worker.http import Reply
from worker.linq.poller import Poller, make_poller

Kind = Literal["socket", "httpx"]
CHAT = "3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13"
EMPTY = b'{"success":true,"data":{"type":"FeatureCollection","features":[]}}'
MEBIBYTE = 1024 * 1024


@pytest.fixture(params=["socket", "httpx"])
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


@asynccontextmanager
async def polling(kind: Kind, url: str, *, timeout: float = 10, window: int = 8) -> AsyncIterator[Poller]:
    poller = make_poller(kind, base_url=url, api_key="lk_example", timeout=timeout, window=window)
    try:
        yield poller
    finally:
        await poller.close()


async def fetch(kind: Kind, script: Script, *, timeout: float = 10) -> tuple[Reply, RawServer]:
    async with raw_server(script) as server, polling(kind, server.url, timeout=timeout) as poller:
        return await poller.fetch(CHAT), server


async def test_one_get_goes_out_with_the_key_and_what_is_accepted(kind: Kind) -> None:
    async with (
        raw_server(answering(http_answer(EMPTY, headers=(("X-Trace-ID", "7d1f"),)))) as server,
        polling(kind, f"{server.url}/api/partner/") as poller,
    ):
        assert await poller.fetch(CHAT) == Reply(200, EMPTY, None, "7d1f", None)
    (head,) = server.requests
    line, *headers = head.decode().lower().rstrip().split("\r\n")
    assert line == f"get /api/partner/v3/chats/{CHAT}/location http/1.1"
    assert "authorization: bearer lk_example" in headers
    assert "accept: application/geo+json, application/json" in headers
    assert "accept-encoding: identity" in headers


async def test_connections_are_used_again(kind: Kind) -> None:
    async with (
        raw_server(answering(http_answer(EMPTY))) as server,
        polling(kind, server.url, window=1) as poller,
    ):
        for _ in range(5):
            assert (await poller.fetch(CHAT)).status == 200
    assert len(server.requests) == 5
    assert server.connections == 1


async def test_a_whole_window_is_under_way_at_once(kind: Kind) -> None:
    arrived = 0
    everybody = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        nonlocal arrived
        arrived += 1
        if arrived == 10:
            everybody.set()
        await everybody.wait()
        await exchange.send(http_answer(EMPTY))

    async with raw_server(script) as server, polling(kind, server.url, window=10) as poller:
        replies = await asyncio.gather(*(poller.fetch(CHAT) for _ in range(10)))
    assert [reply.status for reply in replies] == [200] * 10


async def test_more_reads_than_the_window_wait_their_turn(kind: Kind) -> None:
    async with (
        raw_server(answering(http_answer(EMPTY))) as server,
        polling(kind, server.url, window=1) as poller,
    ):
        replies = await asyncio.gather(*(poller.fetch(CHAT) for _ in range(12)))
    assert [reply.status for reply in replies] == [200] * 12


@pytest.mark.parametrize(
    ("header", "body", "seconds"),
    [
        ("38", b"", 38.0),
        ("1.5", b"", 1.5),
        ("-3", b"", None),
        ("nan", b"", None),
        ("soon", b'{"error": {"retry_after": 7}}', 7.0),
        (None, b'{"success": false, "error": {"retry_after": 12.5}}', 12.5),
        (None, b"<html>slow down</html>", None),
    ],
)
async def test_the_wait_of_a_refusal_is_read(
    kind: Kind, header: str | None, body: bytes, seconds: float | None
) -> None:
    headers = (("Retry-After", header),) if header else ()
    answer = http_answer(body, status="429 Too Many Requests", headers=headers)
    reply, _ = await fetch(kind, answering(answer))
    assert reply == Reply(429, body, seconds, None, None)


async def test_html_in_place_of_an_answer_is_handed_on(kind: Kind) -> None:
    page = b"<html><body>Bad gateway</body></html>"
    answer = http_answer(page, status="502 Bad Gateway", headers=(("Content-Type", "text/html"),))
    reply, _ = await fetch(kind, answering(answer))
    assert reply == Reply(502, page, None, None, None)


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "300 Choices"])
async def test_redirects_are_refused(kind: Kind, status: str) -> None:
    answer = http_answer(b"elsewhere", status=status, headers=(("Location", "/elsewhere"),))
    reply, server = await fetch(kind, answering(answer))
    assert (reply.status, reply.failure, reply.body) == (int(status[:3]), "redirect", b"")
    assert len(server.requests) == 1


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


async def test_silence_is_a_timeout(kind: Kind) -> None:
    async def script(_: Exchange) -> None:
        await asyncio.sleep(60)

    reply, _ = await fetch(kind, script, timeout=0.3)
    assert reply == Reply(0, b"", None, None, "timeout")


async def test_a_reply_that_drips_is_a_timeout_in_all(kind: Kind) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            await exchange.send(b" ")
            await asyncio.sleep(0.05)

    reply, _ = await fetch(kind, script, timeout=0.4)
    assert reply == Reply(0, b"", None, None, "timeout")


async def reset_at_once(exchange: Exchange) -> None:
    exchange.reset()


async def close_without_answer(exchange: Exchange) -> None:
    exchange.writer.close()


async def cut_short(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + EMPTY[:20])
    exchange.writer.close()


async def cut_in_a_chunk(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n" + EMPTY[:20])
    exchange.writer.close()


async def cut_between_chunks(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    exchange.writer.close()


async def not_http(exchange: Exchange) -> None:
    await exchange.send(b"SSH-2.0-example\r\n\r\n")
    exchange.writer.close()


async def headers_without_end(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\n" + b"X-Padding: 0123456789\r\n" * 100_000)
    exchange.writer.close()


@pytest.mark.parametrize(
    "script",
    [
        reset_at_once,
        close_without_answer,
        cut_short,
        cut_in_a_chunk,
        cut_between_chunks,
        not_http,
        headers_without_end,
    ],
)
async def test_a_connection_that_breaks_is_broken(kind: Kind, script: Script) -> None:
    reply, _ = await fetch(kind, script)
    assert reply == Reply(0, b"", None, None, "broken")


async def test_a_server_is_found_on_ipv6(kind: Kind) -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("no IPv6 here")
    async with (
        raw_server(answering(http_answer(EMPTY)), host="::1") as server,
        polling(kind, server.url) as poller,
    ):
        assert (await poller.fetch(CHAT)).status == 200
    assert f"\r\nhost: {server.url.removeprefix('http://')}\r\n".encode() in server.requests[0].lower()


async def test_nobody_listening_is_told_apart_from_a_break(kind: Kind) -> None:
    async with raw_server(reset_at_once) as server:
        url = server.url
    async with polling(kind, url) as poller:
        assert await poller.fetch(CHAT) == Reply(0, b"", None, None, "connect")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_connections_with_tls_are_used_again(
    kind: Kind, host: str, version: ssl.TLSVersion, authority: trustme.CA
) -> None:
    # The largest fills many records; TLS 1.3 sends its session tickets when nobody reads.
    answers = iter([EMPTY, b"a" * MEBIBYTE, EMPTY, b"b" * 100_000, EMPTY])

    async def script(exchange: Exchange) -> None:
        await exchange.send(http_answer(next(answers)))

    tls = secured(authority.issue_cert("127.0.0.1", "localhost"), version)
    async with (
        raw_server(script, tls=tls) as server,
        polling(kind, server.url.replace("127.0.0.1", host), window=1) as poller,
    ):
        lengths = [len((await poller.fetch(CHAT)).body) for _ in range(5)]
    assert lengths == [len(EMPTY), MEBIBYTE, len(EMPTY), 100_000, len(EMPTY)]
    assert server.connections == 1


async def test_a_body_without_a_length_ends_with_tls(kind: Kind, authority: trustme.CA) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\n\r\n" + EMPTY)
        exchange.writer.close()

    async with (
        raw_server(script, tls=secured(authority.issue_cert("127.0.0.1"))) as server,
        polling(kind, server.url) as poller,
    ):
        assert await poller.fetch(CHAT) == Reply(200, EMPTY, None, None, None)


async def test_a_chat_id_or_url_that_makes_no_url_is_a_failure_too(kind: Kind) -> None:
    async with polling(kind, "http://127.0.0.1:1") as poller:
        assert (await poller.fetch("\ud800")).failure == "broken"
    async with polling(kind, "nonsense") as poller:
        assert (await poller.fetch(CHAT)).failure == "broken"


async def test_a_header_that_is_no_text_does_no_harm(kind: Kind) -> None:
    answer = http_answer(EMPTY).replace(b"Content-Type: application/json", b"X-Trace-ID: \xff\xfe")
    reply, _ = await fetch(kind, answering(answer))
    assert (reply.status, reply.body, reply.failure) == (200, EMPTY, None)


async def test_reads_go_on_after_failures(kind: Kind) -> None:
    turns = iter([reset_at_once, cut_short, close_without_answer])

    async def script(exchange: Exchange) -> None:
        turn = next(turns, answering(http_answer(EMPTY)))
        await turn(exchange)

    async with raw_server(script) as server, polling(kind, server.url, window=1) as poller:
        failures = [(await poller.fetch(CHAT)).failure for _ in range(5)]
    assert failures == ["broken", "broken", "broken", None, None]


async def test_a_read_that_is_cancelled_frees_its_place(kind: Kind) -> None:
    asked = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if asked.is_set():
            await exchange.send(http_answer(EMPTY))
        else:
            asked.set()
            await asyncio.sleep(60)

    async with raw_server(script) as server, polling(kind, server.url, window=1) as poller:
        task = asyncio.create_task(poller.fetch(CHAT))
        await asyncio.wait_for(asked.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await poller.fetch(CHAT)).status == 200


async def test_a_closed_poller_answers_with_a_failure(kind: Kind) -> None:
    async with polling(kind, "http://127.0.0.1:1") as poller:
        await poller.close()
        assert (await poller.fetch(CHAT)).failure == "broken"


async def test_proxies_of_the_environment_are_used(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with raw_server(answering(http_answer(EMPTY))) as server:
        monkeypatch.setenv("HTTP_PROXY", server.url)
        monkeypatch.setenv("http_proxy", server.url)
        async with polling(kind, "http://linq.example") as poller:
            assert (await poller.fetch(CHAT)).status == 200
    (head,) = server.requests
    assert head.startswith(f"GET http://linq.example/v3/chats/{CHAT}/location HTTP/1.1".encode())
