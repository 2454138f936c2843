"""What both clients of the poll path have in common: what they ask, how many at a time, how they report failures."""

import asyncio

import pytest

from tests.support.polling import CHAT, EMPTY, Kind, fetch, polling
from tests.support.rawserver import Exchange, answering, http_answer, raw_server
from worker.http import Reply


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
        ("soon", b'{"success": false, "error": {"retry_after": 7}}', 7.0),
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


@pytest.mark.parametrize(
    ("headers", "trace_id"),
    [
        ((("X-Trace-ID", "7d1f"), ("X-Request-ID", "0a9c")), "7d1f"),
        ((("X-Request-ID", "0a9c"),), "0a9c"),
        ((("x-trace-id", ""), ("x-request-id", "0a9c")), "0a9c"),
        ((), None),
    ],
)
async def test_a_reply_has_the_id_under_which_linq_knows_it(
    kind: Kind, headers: tuple[tuple[str, str], ...], trace_id: str | None
) -> None:
    reply, _ = await fetch(kind, answering(http_answer(EMPTY, headers=headers)))
    assert reply == Reply(200, EMPTY, None, trace_id, None)


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


async def test_a_chat_id_or_url_that_makes_no_url_is_a_failure_too(kind: Kind) -> None:
    async with polling(kind, "http://127.0.0.1:1") as poller:
        assert (await poller.fetch("\ud800")).failure == "broken"
    async with polling(kind, "nonsense") as poller:
        assert (await poller.fetch(CHAT)).failure == "broken"


async def test_a_read_that_is_cancelled_frees_its_place(kind: Kind) -> None:
    asked = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if asked.is_set():
            await exchange.send(http_answer(EMPTY))
        else:
            asked.set()
            await asyncio.sleep(60)

    async with raw_server(script) as server, polling(kind, server.url, window=1) as poller:
        task = poller.fetch(CHAT)
        await asyncio.wait_for(asked.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await poller.fetch(CHAT)).status == 200


async def test_a_closed_poller_answers_with_a_failure(kind: Kind) -> None:
    async with polling(kind, "http://127.0.0.1:1") as poller:
        await poller.close()
        assert (await poller.fetch(CHAT)).failure == "broken"
