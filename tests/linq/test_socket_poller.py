"""What only our own client on sockets promises, or what it handles differently from the other client."""

import asyncio
import os
import random
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme
import uvloop

from tests.support.polling import BROKEN, CHAT, EMPTY, READ
from tests.support.rawserver import Exchange, RawServer, Script, answering, http_answer, raw_server, secured
from tests.support.waiting import wait_until
from worker.http import IDLE_SECONDS, Reply
from worker.linq import socket_poller
from worker.linq.socket_poller import SocketPoller

MEBIBYTE = 1024 * 1024


@asynccontextmanager
async def polling(url: str, *, timeout: float = 10) -> AsyncIterator[SocketPoller]:
    poller = SocketPoller(base_url=url, api_key="lk_example", timeout=timeout)
    try:
        yield poller
    finally:
        await poller.close()


async def fetch(script: Script) -> tuple[Reply, RawServer]:
    async with raw_server(script) as server, polling(server.url) as poller:
        return await poller.fetch(CHAT), server


def ringing() -> list[Any]:
    # Timers of asyncio's own loop that stand for our deadlines.
    scheduled = getattr(asyncio.get_running_loop(), "_scheduled", ())
    return [timer for timer in scheduled if not timer.cancelled() and "_look_at_time" in repr(timer)]


async def test_a_reply_whose_framing_outweighs_it_is_broken() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * MEBIBYTE
    reply, _ = await fetch(answering(answer))
    assert reply == BROKEN


@pytest.mark.parametrize(
    "rest",
    [http_answer(b"for nobody"), b"garbage", b"HTTP/1.1 100 Continue\r\n\r\n"],
)
async def test_what_nobody_asked_for_is_no_answer_to_the_next_question(rest: bytes) -> None:
    together = iter([http_answer(EMPTY) + rest])

    async def script(exchange: Exchange) -> None:
        await exchange.send(next(together, http_answer(EMPTY)))

    async with raw_server(script) as server, polling(server.url) as poller:
        assert [await poller.fetch(CHAT) for _ in range(3)] == [READ] * 3
    assert server.connections == 2


def spoiling(spoil: asyncio.Event, rest: bytes | None) -> Script:
    """Return a script that answers requests; connections made before `spoil` then get `rest`, or are closed (None)."""

    async def script(exchange: Exchange) -> None:
        spared = spoil.is_set()
        await exchange.send(http_answer(EMPTY))
        if spared:
            return
        await spoil.wait()
        if rest is None:
            exchange.writer.close()
        else:
            await exchange.send(rest)

    return script


@pytest.mark.parametrize("rest", [http_answer(b"for nobody"), b"garbage", b"H", None])
async def test_a_connection_that_is_spoilt_or_closed_while_idle_is_not_asked_again(rest: bytes | None) -> None:
    idle = asyncio.Event()
    async with raw_server(spoiling(idle, rest)) as server, polling(server.url) as poller:
        assert await poller.fetch(CHAT) == READ
        idle.set()
        await wait_until(lambda: not poller._idle[0].usable, "the end of the idle connection")
        assert [await poller.fetch(CHAT) for _ in range(2)] == [READ] * 2
    assert server.connections == 2


@pytest.mark.parametrize("rest", [http_answer(b"for nobody"), None])
async def test_a_connection_that_has_waited_is_looked_at_before_it_is_used(rest: bytes | None) -> None:
    unwatched = asyncio.Event()
    async with raw_server(spoiling(unwatched, rest)) as server, polling(server.url) as poller:
        assert await poller.fetch(CHAT) == READ
        [connection] = poller._idle
        # The loop does not report what arrives, as when it is busy.
        asyncio.get_running_loop().remove_reader(connection._socket)
        unwatched.set()
        connection._socket.setblocking(True)
        await asyncio.to_thread(connection._socket.recv, 1, socket.MSG_PEEK)
        connection._socket.setblocking(False)
        connection.used_at -= socket_poller.LOOK_SECONDS + 1
        assert await poller.fetch(CHAT) == READ
    assert server.connections == 2


async def test_a_server_that_hangs_up_when_asked_again_breaks_that_read_only() -> None:
    turns = iter([True, False])

    async def script(exchange: Exchange) -> None:
        if next(turns, True):
            await exchange.send(http_answer(EMPTY))
        else:
            exchange.writer.close()

    async with raw_server(script) as server, polling(server.url) as poller:
        # The client does not retry by itself, because every request counts against Linq's rate.
        assert [(await poller.fetch(CHAT)).failure for _ in range(3)] == [None, "broken", None]
    assert len(server.requests) == 3


def test_a_reply_that_came_while_the_process_was_held_up_counts_although_its_time_is_over() -> None:
    """Reading again would show a later position, and this one would be lost."""
    asked, allowed = threading.Event(), threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            asked.set()
            allowed.wait()
            connection.sendall(http_answer(EMPTY))
            connection.recv(1)  # until the other side closes

    def be_held_up(by: socket.socket) -> None:
        by.recv(1)
        allowed.set()
        time.sleep(0.5)

    async def read(port: int) -> Reply:
        async with polling(f"http://127.0.0.1:{port}", timeout=0.3) as poller:
            reply = poller.fetch(CHAT)
            await asyncio.to_thread(asked.wait)
            ours, theirs = socket.socketpair()
            with ours, theirs:
                asyncio.get_running_loop().add_reader(ours, be_held_up, ours)
                theirs.send(b"!")
                try:
                    return await reply
                finally:
                    asyncio.get_running_loop().remove_reader(ours)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve, args=[listener])
        serving.start()
        # uvloop runs due timers after the callbacks of one look at its sockets, and before the next look.
        reply = uvloop.run(read(listener.getsockname()[1]))
        serving.join()
    assert reply == READ


async def test_a_body_after_204_spoils_the_connection() -> None:
    turns = iter([b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"])

    async def script(exchange: Exchange) -> None:
        await exchange.send(next(turns, http_answer(EMPTY)))

    async with raw_server(script) as server, polling(server.url) as poller:
        assert await poller.fetch(CHAT) == Reply(204, b"", None, None, None)
        assert await poller.fetch(CHAT) == READ
    assert server.connections == 2


async def test_connections_too_many_are_closed_when_they_have_grown_old() -> None:
    everybody = asyncio.Barrier(5)

    async def script(exchange: Exchange) -> None:
        if len(server.requests) <= 5:
            await everybody.wait()
        await exchange.send(http_answer(EMPTY))

    async with raw_server(script) as server, polling(server.url) as poller:
        await asyncio.gather(*(poller.fetch(CHAT) for _ in range(5)))
        assert len(poller._open) == 5
        for connection in [*poller._idle][:3]:
            connection.used_at -= IDLE_SECONDS + 1
        assert await poller.fetch(CHAT) == READ
        await wait_until(lambda: len(poller._open) == len(poller._idle) == 2, "the end of those too many")
    assert server.connections == 5


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("timeout=5", 4.0),
        ('max=100, Timeout = "20"', 19.0),
        ("timeout=1", 0.0),
        ("timeout=0", -1.0),
        # A minute is the longest that everything between us and a server can be trusted to keep a connection.
        ("timeout=600", 50.0),
        ("timeout=99999999999999999999", 50.0),
        ("max=100", IDLE_SECONDS),
        ("timeout=soon", IDLE_SECONDS),
    ],
)
async def test_a_connection_is_idle_no_longer_than_its_server_says(header: str, seconds: float) -> None:
    answer = http_answer(EMPTY, headers=(("Keep-Alive", header),))
    async with raw_server(answering(answer)) as server, polling(server.url) as poller:
        assert await poller.fetch(CHAT) == READ
        assert [connection.idle_seconds for connection in poller._open] == [seconds]
        assert await poller.fetch(CHAT) == READ
    assert server.connections == (1 if seconds > 0 else 2)


async def test_what_was_read_is_not_kept_with_the_connection() -> None:
    cut = http_answer(b"a" * 100_000)[:-1]
    answers = iter([http_answer(b"a" * 100_000), cut])

    async def script(exchange: Exchange) -> None:
        await exchange.send(next(answers))
        if len(server.requests) == 2:
            exchange.writer.close()

    async with raw_server(script) as server, polling(server.url) as poller:
        assert (await poller.fetch(CHAT)).status == 200
        [connection] = poller._idle
        assert not connection._chunks
        assert not connection._headers
        assert (await poller.fetch(CHAT)).failure == "broken"
        assert not connection._chunks


@pytest.mark.parametrize(
    ("chat_id", "path"),
    [
        ("a/../b", b"a%2F..%2Fb"),
        ("a b?c#d", b"a%20b%3Fc%23d"),
        ("a HTTP/1.1\r\nX-Evil: 1\r\n\r\n", b"a%20HTTP%2F1.1%0D%0AX-Evil%3A%201%0D%0A%0D%0A"),
        ("Zoë\0", b"Zo%C3%AB%00"),
    ],
)
async def test_a_chat_id_stays_one_part_of_the_path(chat_id: str, path: bytes) -> None:
    async with (
        raw_server(answering(http_answer(EMPTY))) as server,
        polling(f"{server.url}/api/partner") as poller,
    ):
        assert await poller.fetch(chat_id) == READ
    [head] = server.requests
    assert head.startswith(b"GET /api/partner/v3/chats/" + path + b"/location HTTP/1.1\r\n")
    assert b"evil:" not in head.lower()


Addresses = list[tuple[Any, ...]]


def resolve(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    """Let every host name resolve to these addresses and ports."""

    async def getaddrinfo(*_: object, **__: object) -> Addresses:
        await asyncio.sleep(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


async def test_the_next_address_is_tried_where_the_first_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        refusing = closed.getsockname()
    async with raw_server(answering(http_answer(EMPTY))) as server:
        port = int(server.url.rpartition(":")[2])
        resolve(monkeypatch, refusing, ("127.0.0.1", port))
        async with polling("http://linq.example") as poller:
            assert await poller.fetch(CHAT) == READ
        resolve(monkeypatch, refusing, refusing)
        async with polling("http://linq.example") as poller:
            assert (await poller.fetch(CHAT)).failure == "connect"
    assert b"\r\nHost: linq.example\r\n" in server.requests[0]


@pytest.mark.parametrize("addresses", [1, 2])
@pytest.mark.parametrize(
    "error",
    [RuntimeError("in use by a transport"), ValueError("no such host"), OSError("no")],
)
async def test_whatever_a_loop_says_about_connecting_is_a_failure_to_connect(
    error: Exception, addresses: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def sock_connect(*_: object) -> None:
        raise error

    resolve(monkeypatch, *[("127.0.0.1", 1)] * addresses)
    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", sock_connect)
    async with polling("http://linq.example") as poller:
        assert await poller.fetch(CHAT) == Reply(0, b"", None, None, "connect")


async def test_one_lookup_serves_all_who_connect_and_may_fail_when_nobody_waits_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lookups = 0
    go_on = asyncio.Event()
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, complaint: complaints.append(complaint))

    async def getaddrinfo(*_: object, **__: object) -> Addresses:
        nonlocal lookups
        lookups += 1
        await go_on.wait()
        raise socket.gaierror("no such host")

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    async with polling("http://linq.example", timeout=0.2) as poller:
        replies = await asyncio.gather(*(poller.fetch(CHAT) for _ in range(10)))
        assert [reply.failure for reply in replies] == ["connect"] * 10
        assert lookups == 1
        lookup = poller._lookup
        assert lookup is not None
        go_on.set()
        await wait_until(lookup.done, "the end of the lookup")
        assert (await poller.fetch(CHAT)).failure == "connect"
        assert lookups == 2
    assert not complaints


async def test_closing_ends_the_reads_under_way() -> None:
    arrived = asyncio.Event()

    async def script(_: Exchange) -> None:
        if len(server.requests) == 20:
            arrived.set()
        await asyncio.sleep(60)

    async with raw_server(script) as server, polling(server.url) as poller:
        reads = [poller.fetch(CHAT) for _ in range(20)]
        await asyncio.wait_for(arrived.wait(), 10)
        await poller.close()
        assert [reply.failure for reply in await asyncio.gather(*reads)] == ["broken"] * 20
        assert (await poller.fetch(CHAT)).failure == "broken"
        assert not poller._open
        assert not poller._idle
        assert not ringing()


@pytest.mark.parametrize("step", ["getaddrinfo", "sock_connect"])
async def test_closing_while_connecting_leaves_nothing_open(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    real = getattr(loop, step)

    async def slow(*positional: Any, **named: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await real(*positional, **named)

    async with raw_server(answering(http_answer(EMPTY))) as server, polling(server.url) as poller:
        monkeypatch.setattr(loop, step, slow)
        read = poller.fetch(CHAT)
        await asyncio.wait_for(begun.wait(), 10)
        await poller.close()
        go_on.set()
        assert (await read).failure == "broken"
        assert not poller._open
        assert poller._lookup is None
        assert not ringing()
    assert not server.requests


async def test_tls_that_ends_without_saying_so_ends_no_body(authority: trustme.CA) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\n\r\n" + EMPTY)
        exchange.writer.transport.abort()  # no close_notify

    tls = secured(authority.issue_cert("127.0.0.1"))
    async with raw_server(script, tls=tls) as server, polling(server.url) as poller:
        assert await poller.fetch(CHAT) == BROKEN


async def storm(count: int, tls: ssl.SSLContext | None, random_: random.Random) -> None:
    async def script(exchange: Exchange) -> None:
        chat_id = exchange.head.split(b"/")[3]
        turn = random.Random(chat_id).random()
        if turn < 0.1:
            exchange.reset()
            return
        if turn < 0.6:
            await asyncio.sleep(turn / 20)
        headers = (("Connection", "close"),) if turn > 0.9 else ()
        answer = http_answer(chat_id, headers=headers)
        cut = random.Random(turn).randrange(len(answer))
        await exchange.send(answer[:cut])
        await asyncio.sleep(0)
        await exchange.send(answer[cut:])
        if turn > 0.95:
            exchange.writer.close()

    async def read(poller: SocketPoller, number: int) -> None:
        for turn in range(4):
            reply = await poller.fetch(f"chat {number}.{turn}")
            assert (reply.status, reply.body) in {(200, b"chat%%20%d.%d" % (number, turn)), (0, b"")}
            assert reply.failure in {None, "broken"}
            read_well.append(reply.failure is None)

    async def cancel(task: asyncio.Task[None]) -> None:
        await asyncio.sleep(random_.random() / 5)
        task.cancel()

    read_well: list[bool] = []
    async with raw_server(script, tls=tls) as server, polling(server.url) as poller:
        reads = [asyncio.create_task(read(poller, number)) for number in range(count)]
        await asyncio.gather(*(cancel(task) for task in random_.sample(reads, count * 2 // 5)))
        results = await asyncio.gather(*reads, return_exceptions=True)
        assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}
        assert read_well.count(True) > count
        # Replies that nobody waits for any more still arrive.
        await wait_until(lambda: poller._open == set(poller._idle), "the end of all reads")
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not ringing()


@pytest.mark.parametrize("with_tls", [False, True])
@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_in_a_storm_of_reads_and_cancellations_each_gets_its_own_reply_and_nothing_stays_open(
    make_loop: Callable[[], asyncio.AbstractEventLoop], with_tls: bool, authority: trustme.CA
) -> None:
    complaints: list[dict[str, Any]] = []

    async def watched() -> None:
        # Only the server uses transports; its complaints about aborted handshakes do not count.
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: complaints.append(context) if "transport" not in context else None
        )
        # Fewer with TLS, as handshakes are slow.
        await storm(80 if tls else 500, tls, random.Random(1))

    tls = secured(authority.issue_cert("127.0.0.1")) if with_tls else None
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(asyncio.sleep(0))  # the first loop opens descriptors that stay open for all later ones
    before = descriptors()
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(watched())
    assert not complaints
    assert descriptors() == before


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - the directory changes while a Path walks it
