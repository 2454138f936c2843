"""Commands to Linq: what goes out, and what comes back as a result or an error."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import pytest
import structlog

from tests.support.rawserver import Exchange, RawServer, Script, answering, http_answer, raw_server
from worker.linq.client import Chat, LinqClient, LinqError, PhoneLine, Subscription

CHAT = "3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13"
CHAT_BODY = {
    "id": CHAT.upper(),
    "display_name": None,
    "is_group": False,
    "service": "iMessage",
    "handles": [
        {"handle": "+14155550100", "is_me": True, "left_at": None},
        {"handle": "+1 202 555 0147", "is_me": False, "status": "active"},
        {"handle": "Ann@iCloud.com", "is_me": None},
        {"handle": "+12025550148", "status": "removed"},
        {"handle": "+12025550149", "left_at": "2026-10-12T09:30:05Z"},
        {"handle": "nobody"},
        {"handle": 5},
        "odd",
    ],
}
SUBSCRIPTION_BODY = {
    "id": "9c2c2e0b",
    "target_url": "https://hooks.example.org/webhooks/linq?version=2026-02-03",
    "subscribed_events": ["location.sharing.started"],
    "phone_numbers": None,
    "is_active": True,
    "signing_secret": "whsec_AAEC",
}


def answer(body: object, status: str = "200 OK") -> bytes:
    return http_answer(json.dumps(body).encode(), status=status, headers=(("X-Trace-ID", "7d1f"),))


@asynccontextmanager
async def linq(script: Script) -> AsyncIterator[tuple[LinqClient, RawServer]]:
    async with (
        raw_server(script) as server,
        LinqClient(base_url=f"{server.url}/api/partner/", api_key="lk_example") as client,
    ):
        yield client, server


def first_line(server: RawServer) -> str:
    return server.requests[-1].split(b"\r\n")[0].decode()


async def test_a_prompt_has_no_body() -> None:
    async with linq(answering(answer({"success": True}, "202 Accepted"))) as (client, server):
        reply = await client.request_location(CHAT)
    assert (reply.status, reply.trace_id) == (202, "7d1f")
    assert first_line(server) == f"POST /api/partner/v3/chats/{CHAT}/location/request HTTP/1.1"
    assert b"authorization: bearer lk_example" in server.requests[0].lower()
    assert server.bodies == [b""]


async def test_the_stop_is_a_delete_with_a_body() -> None:
    async with linq(answering(answer({"success": True}, "202 Accepted"))) as (client, server):
        assert await client.stop_sharing(CHAT, "+12025550147") is True
    assert first_line(server) == f"DELETE /api/partner/v3/chats/{CHAT}/location HTTP/1.1"
    assert json.loads(server.bodies[0]) == {"handle": "+12025550147"}


def refusal(status: int, code: int) -> bytes:
    error = {"status": status, "code": code, "message": "No."}
    return answer({"success": False, "error": error}, f"{status} No")


async def test_a_404_of_linqs_says_that_nothing_is_shared() -> None:
    async with linq(answering(refusal(404, 2001))) as (client, _):
        assert await client.stop_sharing(CHAT, "+12025550147") is False


@pytest.mark.parametrize(
    ("raw", "by_proxy"),
    [(http_answer(b"<html></html>", status="404 Not Found"), True), (refusal(403, 2005), False)],
)
async def test_any_other_refusal_of_the_stop_is_an_error(raw: bytes, by_proxy: bool) -> None:
    async with linq(answering(raw)) as (client, _):
        with pytest.raises(LinqError) as caught:
            await client.stop_sharing(CHAT, "+12025550147")
    assert caught.value.by_proxy is caught.value.transient is by_proxy


async def test_a_command_is_sent_once_whatever_happens() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.reset()

    async with linq(script) as (client, server):
        assert (await client.request_location(CHAT)).failure == "broken"
    assert len(server.requests) == 1


async def test_a_chat_tells_its_line_and_who_is_still_in_it() -> None:
    async with linq(answering(answer(CHAT_BODY))) as (client, _):
        chat = await client.get_chat(CHAT)
    assert chat == Chat(CHAT, False, "iMessage", "+14155550100", ["+12025550147", "ann@icloud.com"])


async def test_a_chat_of_which_little_is_known_is_a_chat() -> None:
    body = {"id": CHAT, "is_group": "no", "service": None, "handles": None}
    async with linq(answering(answer(body))) as (client, _):
        assert await client.get_chat(CHAT) == Chat(CHAT, None, None, None, [])


async def test_chats_are_found_over_all_pages() -> None:
    queries = []

    async def script(exchange: Exchange) -> None:
        query = parse_qs(urlsplit(exchange.head.split()[1].decode()).query)
        queries.append(query)
        cursor = {None: "a b", "a b": 40, "40": None}[query.get("cursor", [None])[0]]
        await exchange.send(answer({"chats": [CHAT_BODY, {"odd": 1}, None], "next_cursor": cursor}))

    async with linq(script) as (client, _):
        chats = await client.find_chats(to="+12025550147", from_="+14155550100")
    assert [chat.id for chat in chats] == [CHAT] * 3
    assert queries[0] == {"limit": ["100"], "to": ["+12025550147"], "from": ["+14155550100"]}
    assert [query.get("cursor") for query in queries] == [None, ["a b"], ["40"]]


async def test_cursors_that_go_round_in_circles_are_an_error() -> None:
    async with linq(answering(answer({"chats": [], "next_cursor": "20"}))) as (client, server):
        with pytest.raises(LinqError, match="no end"):
            await client.find_chats(to="ann@icloud.com")
    assert len(server.requests) == 2


async def test_cursors_that_never_end_are_an_error() -> None:
    count = 0

    async def script(exchange: Exchange) -> None:
        nonlocal count
        count += 1
        await exchange.send(answer({"chats": [], "next_cursor": str(count)}))

    async with linq(script) as (client, server):
        with pytest.raises(LinqError, match="no end"):
            await client.find_chats()
    assert len(server.requests) == 101


async def test_a_chat_is_created_over_imessage_with_a_key() -> None:
    async with linq(answering(answer({"chat": CHAT_BODY}, "201 Created"))) as (client, server):
        chat = await client.create_chat(
            from_="+14155550100", to="+12025550147", text="Hello!", idempotency_key="welcome-1"
        )
    assert chat.id == CHAT
    assert first_line(server) == "POST /api/partner/v3/chats HTTP/1.1"
    assert json.loads(server.bodies[0]) == {
        "from": "+14155550100",
        "to": ["+12025550147"],
        "message": {
            "parts": [{"type": "text", "value": "Hello!"}],
            "preferred_service": "iMessage",
            "idempotency_key": "welcome-1",
        },
    }


async def test_subscriptions_are_listed_created_and_deleted() -> None:
    expected = Subscription(
        "9c2c2e0b",
        "https://hooks.example.org/webhooks/linq?version=2026-02-03",
        ["location.sharing.started"],
        [],
        True,
        "whsec_AAEC",
    )
    async with linq(answering(answer({"subscriptions": [SUBSCRIPTION_BODY, 7, {}]}))) as (client, _):
        assert await client.list_subscriptions() == [expected]
    async with linq(answering(answer(SUBSCRIPTION_BODY, "201 Created"))) as (client, server):
        created = await client.create_subscription(
            target_url=expected.target_url, events=expected.subscribed_events, phone_numbers=["+14155550100"]
        )
        await client.create_subscription(target_url="https://x.example", events=["location.sharing.stopped"])
    assert created == expected
    assert [sorted(json.loads(body)) for body in server.bodies] == [
        ["phone_numbers", "subscribed_events", "target_url"],
        ["subscribed_events", "target_url"],
    ]
    async with linq(answering(b"HTTP/1.1 204 No Content\r\n\r\n")) as (client, server):
        await client.delete_subscription("a/b")
    assert first_line(server) == "DELETE /api/partner/v3/webhook-subscriptions/a%2Fb HTTP/1.1"


async def test_lines_are_listed() -> None:
    body = {
        "phone_numbers": [
            {"phone_number": "+14155550100", "line_type": "iMessage", "reputation": {"status": "HEALTHY"}},
            {"phone_number": "+14155550101", "reputation": None},
            {"id": "x"},
            None,
        ]
    }
    async with linq(answering(answer(body))) as (client, _):
        lines = await client.phone_numbers()
    assert lines == [PhoneLine("+14155550100", "iMessage", "HEALTHY"), PhoneLine("+14155550101", None, None)]


CALLS: list[Callable[[LinqClient], Awaitable[object]]] = [
    lambda client: client.get_chat(CHAT),
    lambda client: client.find_chats(to="+12025550147"),
    lambda client: client.create_chat(from_="+14155550100", to="+12025550147", text="x", idempotency_key="k"),
    lambda client: client.list_subscriptions(),
    lambda client: client.create_subscription(target_url="https://x.example", events=["a"]),
    lambda client: client.phone_numbers(),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("body", [b"", b"<html></html>", b"[]", b"{}", b"null", b'{"chats": {}, "id": 7}'])
async def test_a_success_of_another_shape_is_a_transient_error(
    call: Callable[[LinqClient], Awaitable[object]], body: bytes
) -> None:
    async with linq(answering(http_answer(body))) as (client, _):
        with pytest.raises(LinqError, match="another shape") as caught:
            await call(client)
    assert caught.value.transient


@pytest.mark.parametrize("call", [*CALLS, lambda client: client.delete_subscription("x")])
async def test_a_refusal_is_an_error_that_says_all(call: Callable[[LinqClient], Awaitable[object]]) -> None:
    body = {"success": False, "error": {"status": 403, "code": 2024, "message": "+12025550147 opted out"}}
    async with linq(answering(answer(body, "403 Forbidden"))) as (client, _):
        with pytest.raises(LinqError) as caught:
            await call(client)
    error = caught.value
    assert (error.status, error.code, error.trace_id, error.transient) == (403, 2024, "7d1f", False)
    assert error.message == "+12025550147 opted out"
    assert str(error) == "Linq: HTTP 403, code 2024, trace id 7d1f"


@pytest.mark.parametrize(
    ("raw", "transient", "by_proxy"),
    [
        *((http_answer(b"busy", status=f"{status} X"), True, False) for status in (302, 408, 425, 429, 500)),
        (http_answer(b"busy", status="404 X"), True, True),
        (http_answer(b"busy", status="401 X"), False, False),
        (refusal(404, 2001), False, False),
        (refusal(500, 3006), True, False),
    ],
)
async def test_what_may_succeed_later_is_transient(raw: bytes, transient: bool, by_proxy: bool) -> None:
    async with linq(answering(raw)) as (client, _):
        with pytest.raises(LinqError) as caught:
            await client.phone_numbers()
    assert (caught.value.transient, caught.value.by_proxy) == (transient, by_proxy)


async def test_a_refusal_says_how_long_to_wait() -> None:
    raw = http_answer(b"busy", status="429 X", headers=(("Retry-After", "5"), ("Retry-After", "7")))
    async with linq(answering(raw)) as (client, _):
        with pytest.raises(LinqError) as caught:
            await client.phone_numbers()
    assert caught.value.retry_after == 7.0


@pytest.mark.parametrize("damage", [rb"\ud83d", b"\xe9", b"\xef\xbb\xbf"])
async def test_a_bad_character_costs_no_page_of_chats(damage: bytes) -> None:
    body = json.dumps({"chats": [CHAT_BODY | {"display_name": "HERE"}], "next_cursor": None}).encode()
    body = damage + body if damage == b"\xef\xbb\xbf" else body.replace(b"HERE", damage)
    async with linq(answering(http_answer(body))) as (client, _):
        (chat,) = await client.find_chats(to="+12025550147")
    assert chat.contacts == ["+12025550147", "ann@icloud.com"]


async def test_no_answer_is_a_transient_error() -> None:
    async with LinqClient(base_url="http://127.0.0.1:1", api_key="lk_example") as client:
        with pytest.raises(LinqError, match="connect") as caught:
            await client.get_chat(CHAT)
    assert (caught.value.status, caught.value.transient) == (0, True)


async def test_a_call_is_logged_at_debug_without_handles_or_keys() -> None:
    with structlog.testing.capture_logs() as lines:
        async with linq(answering(answer({"success": True}, "202 Accepted"))) as (client, _):
            await client.stop_sharing(CHAT, "+12025550147")
    (line,) = lines
    assert line["log_level"] == "debug"
    assert line["route"] == "/v3/chats/{}/location"
    assert (line["method"], line["status"], line["trace_id"], line["id"]) == ("DELETE", 202, "7d1f", CHAT)
    assert "12025550147" not in str(line)
    assert "lk_example" not in str(line)


@pytest.mark.parametrize(
    ("date", "known"), [("Mon, 12 Oct 2026 09:30:05 GMT", True), ("yesterday", False), (None, False)]
)
async def test_the_clock_of_linq_is_noted(date: str | None, known: bool) -> None:
    raw = http_answer(b"{}", headers=(("Date", date),) if date else ())
    async with linq(answering(raw)) as (client, _):
        assert client.clock_ahead is None
        await client.request_location(CHAT)
        assert (client.clock_ahead is not None) is known
