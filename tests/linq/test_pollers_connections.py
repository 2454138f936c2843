"""Connections of both clients of the poll path: opened, reused, broken, spoilt and closed."""

import asyncio
import socket
import ssl
from datetime import UTC, datetime
from typing import Any

import pytest
import trustme

from tests.support.polling import BROKEN, CHAT, EMPTY, NO_CONNECTION, READ, Kind, fetch, polling
from tests.support.rawserver import Exchange, Script, answering, http_answer, raw_server, secured
from tests.support.waiting import wait_until
from worker import http
from worker.http import Reply
from worker.linq import connection, httpx_poller, socket_poller

MEBIBYTE = 1024 * 1024


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
    assert reply == BROKEN


@pytest.fixture
def ipv6() -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("no IPv6 here")


async def test_a_server_is_found_on_ipv6(kind: Kind, ipv6: None) -> None:
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
        assert await poller.fetch(CHAT) == NO_CONNECTION


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_connections_with_tls_are_used_again(
    kind: Kind, host: str, version: ssl.TLSVersion, authority: trustme.CA
) -> None:
    # The largest reply spans many TLS records. TLS 1.3 sends its session tickets while the client is not reading.
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
        assert await poller.fetch(CHAT) == READ


async def test_reads_go_on_after_failures(kind: Kind) -> None:
    turns = iter([reset_at_once, cut_short, close_without_answer])

    async def script(exchange: Exchange) -> None:
        turn = next(turns, answering(http_answer(EMPTY)))
        await turn(exchange)

    async with raw_server(script) as server, polling(kind, server.url, window=1) as poller:
        failures = [(await poller.fetch(CHAT)).failure for _ in range(5)]
    assert failures == ["broken", "broken", "broken", None, None]


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


FRAMED = [
    pytest.param(http_answer(EMPTY), id="length"),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(EMPTY), EMPTY), id="chunks"
    ),
]


async def let_the_client_read() -> None:
    # The client runs in the same loop.
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.parametrize("answer", FRAMED)
async def test_a_reset_anywhere_in_a_reply_is_broken_and_the_next_read_goes_on(kind: Kind, answer: bytes) -> None:
    lengths = iter(range(len(answer)))

    async def script(exchange: Exchange) -> None:
        length = next(lengths, None)
        await exchange.send(answer[:length])
        await let_the_client_read()
        if length is not None:
            exchange.reset()

    async with raw_server(script) as server, polling(kind, server.url) as poller:
        assert [await poller.fetch(CHAT) for _ in answer] == [BROKEN] * len(answer)
        assert await poller.fetch(CHAT) == READ


async def test_a_reset_after_a_reply_does_the_next_read_no_harm(kind: Kind) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(http_answer(EMPTY))
        await let_the_client_read()
        exchange.reset()
        gone.set()

    gone = asyncio.Event()
    async with raw_server(script) as server, polling(kind, server.url) as poller:
        for _ in range(5):
            gone.clear()
            assert await poller.fetch(CHAT) == READ
            await asyncio.wait_for(gone.wait(), 10)
            await let_the_client_read()
    assert server.connections == 5


@pytest.mark.parametrize("answer", FRAMED)
@pytest.mark.parametrize("cut", ["the head", "the body", "nothing"])
async def test_tls_that_ends_without_saying_so_breaks_only_what_is_cut(
    kind: Kind, answer: bytes, cut: str, authority: trustme.CA
) -> None:
    length = {"the head": 30, "the body": len(answer) - 10, "nothing": len(answer)}[cut]

    async def script(exchange: Exchange) -> None:
        await exchange.send(answer[:length])
        await let_the_client_read()
        exchange.writer.transport.abort()  # no close_notify
        gone.set()

    gone = asyncio.Event()
    tls = secured(authority.issue_cert("127.0.0.1"))
    async with raw_server(script, tls=tls) as server, polling(kind, server.url) as poller:
        for _ in range(3):
            gone.clear()
            assert await poller.fetch(CHAT) == (READ if cut == "nothing" else BROKEN)
            await asyncio.wait_for(gone.wait(), 10)
            await let_the_client_read()
    assert server.connections == 3


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", "a reset", "nothing"])
async def test_a_server_that_does_not_shake_hands_is_no_connection(
    kind: Kind, says: bytes | str, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    if says == "nothing":
        for module in (http, socket_poller):
            monkeypatch.setattr(module, "CONNECT_SECONDS", 0.3)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if isinstance(says, bytes):
            writer.write(says)
        elif says == "a reset":
            Exchange(b"", b"", reader, writer).reset()
        else:
            await asyncio.wait_for(over.wait(), 10)
        writer.close()

    over = asyncio.Event()
    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener, polling(kind, url) as poller:
        reply = await poller.fetch(CHAT)
        over.set()
    assert reply == NO_CONNECTION


async def test_a_certificate_is_looked_at_anew_for_each_connection(kind: Kind, authority: trustme.CA) -> None:
    def certificate(signer: trustme.CA, host: str = "127.0.0.1", year: int = 3000) -> trustme.LeafCert:
        begin, end = datetime(2019, 1, 1, tzinfo=UTC), datetime(year, 1, 1, tzinfo=UTC)
        return signer.issue_cert(host, not_before=begin, not_after=end)

    async def read(made: trustme.LeafCert) -> Reply:
        async with raw_server(answering(http_answer(EMPTY)), tls=secured(made), port=port):
            return await poller.fetch(CHAT)

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with polling(kind, f"https://127.0.0.1:{port}") as poller:
        assert await read(certificate(authority)) == READ
        assert await read(certificate(authority)) == READ
        assert await read(certificate(trustme.CA())) == NO_CONNECTION
        assert await read(certificate(authority, host="linq.example")) == NO_CONNECTION
        assert await read(certificate(authority, year=2020)) == NO_CONNECTION
        assert await read(certificate(authority)) == READ


Address = tuple[socket.AddressFamily, str]
IPV4: Address = (socket.AF_INET, "127.0.0.1")
IPV6: Address = (socket.AF_INET6, "::1")


def resolve(monkeypatch: pytest.MonkeyPatch, *addresses: Address) -> None:
    """Let every host name resolve to these addresses, or to none."""

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        await asyncio.sleep(0)
        if not addresses:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)) for family, address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


async def test_names_are_looked_up_anew_for_each_connection(
    kind: Kind, ipv6: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = http_answer(EMPTY, headers=(("Connection", "close"),))
    async with raw_server(answering(answer)) as first:
        port = int(first.url.rpartition(":")[2])
        async with (
            raw_server(answering(answer), host="::1", port=port) as second,
            polling(kind, f"http://linq.example:{port}") as poller,
        ):
            served = []
            for addresses in [(IPV4,), (), (IPV6,), (IPV6, IPV4), (IPV4,)]:
                resolve(monkeypatch, *addresses)
                reply = await poller.fetch(CHAT)
                served.append((reply, len(first.requests), len(second.requests)))
    assert served == [(READ, 1, 0), (NO_CONNECTION, 1, 0), (READ, 1, 1), (READ, 1, 2), (READ, 2, 2)]
    assert f"\r\nhost: linq.example:{port}\r\n".encode() in first.requests[0].lower()


async def test_what_comes_when_nobody_has_asked_is_no_reply_to_the_next_read(kind: Kind) -> None:
    late = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.send(http_answer(EMPTY))
        if len(server.requests) == 1:
            await late.wait()
            await exchange.send(http_answer(b"for nobody"))

    async with raw_server(script) as server, polling(kind, server.url) as poller:
        assert await poller.fetch(CHAT) == READ
        late.set()
        await let_the_client_read()
        assert [await poller.fetch(CHAT) for _ in range(3)] == [READ] * 3
    assert server.connections == 2


@pytest.fixture
def soon_idle(monkeypatch: pytest.MonkeyPatch) -> float:
    """Let connections be idle for only a tenth of a second, and check for idle ones as often."""
    for module in (http, connection):
        monkeypatch.setattr(module, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(httpx_poller, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(httpx_poller, "_SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(socket_poller, "SWEEP_SECONDS", 0.05)
    return 0.1


async def test_idle_connections_are_closed_without_another_read(kind: Kind, soon_idle: float) -> None:
    everybody = asyncio.Barrier(10)
    left = 0

    async def script(exchange: Exchange) -> None:
        nonlocal left
        await everybody.wait()
        await exchange.send(http_answer(EMPTY))
        while not exchange.reader.at_eof():
            await exchange.reader.read(1)
        left += 1

    async with raw_server(script) as server, polling(kind, server.url, window=10) as poller:
        assert await asyncio.gather(*(poller.fetch(CHAT) for _ in range(10))) == [READ] * 10
        await wait_until(lambda: left == 10, "the end of all connections")
    assert len(server.requests) == server.connections == 10


async def test_a_connection_that_is_half_open_is_not_asked(kind: Kind, soon_idle: float) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(http_answer(EMPTY))
        await asyncio.sleep(60)  # as if a router had forgotten this connection, and silently dropped its packets

    async with raw_server(script) as server, polling(kind, server.url, timeout=5) as poller:
        for _ in range(3):
            assert await poller.fetch(CHAT) == READ
            await asyncio.sleep(2 * soon_idle)
    assert server.connections == 3
