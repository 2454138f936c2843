"""Commands to Linq, each sent once: nothing here retries, and callers decide what a failure means."""

import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec
import structlog

from worker.decoding import decode_object
from worker.domain.handle import normalize_handle
from worker.http import build_client, exchange, parse_error
from worker.linq.reply import Reply

_Part = TypeVar("_Part")

_log = structlog.get_logger(__name__)

_TIMEOUT_SECONDS = 10.0
_CONNECTIONS = 20
_PAGE = 100
# Nobody has ten thousand chats: a list that goes on beyond has no end.
_MAX_PAGES = 100


class LinqError(Exception):
    """A call failed.

    `status` is 0 if no answer came; `code` is Linq's or None; `message` is Linq's (it may name people: not for logs);
    `retry_after` is in seconds; `transient`: the same call may succeed later. `by_proxy`: a 4xx other than 401 without
    Linq's error envelope, so something in between refused; it is transient, too.
    """

    def __init__(self, reply: Reply, *, problem: str | None = None) -> None:
        envelope = parse_error(reply.body)
        self.status = reply.status
        self.code = envelope.code if envelope else None
        self.message = envelope.message if envelope else None
        self.retry_after = reply.retry_after
        self.trace_id = reply.trace_id
        # A success that cannot be read is no success, and may be a hiccup.
        passing = reply.status < 400 or reply.status >= 500 or reply.status in {408, 425, 429}
        self.by_proxy = envelope is None and not passing and reply.status != 401
        self.transient = passing or self.by_proxy
        what = problem or reply.failure or (f"code {self.code}" if self.code is not None else "no error code")
        super().__init__(f"Linq: HTTP {self.status}, {what}, trace id {self.trace_id or 'unknown'}")


class Chat(msgspec.Struct, frozen=True):
    """A chat; None where Linq did not say. `contacts`: handles in normal form of all who have not left, except our own
    line, `line`. If Linq does not mark the line, it is None here and among the contacts.
    """

    id: str
    is_group: bool | None
    service: str | None
    line: str | None
    contacts: list[str]


class Subscription(msgspec.Struct, frozen=True):
    """A webhook subscription; `signing_secret` only in the reply that created it."""

    id: str
    target_url: str
    subscribed_events: list[str]
    phone_numbers: list[str]
    is_active: bool | None
    signing_secret: str | None


class PhoneLine(msgspec.Struct, frozen=True):
    """A line of the account: its number, `iMessage` or `RCS`, and `HEALTHY`, `AT_RISK` or `CRITICAL`."""

    phone_number: str
    line_type: str | None
    reputation: str | None


class LinqClient:
    """Linq's API, except reading positions. Every call is bounded: 10 s (5 s to connect), 1 MiB, no redirect."""

    def __init__(self, *, base_url: str, api_key: str) -> None:
        """`base_url` as in `LINQ_API_V3_BASE_URL`."""
        self._base = f"{base_url.rstrip('/')}/v3"
        self._client = build_client(
            base_url=base_url, api_key=api_key, connections=_CONNECTIONS, timeout=_TIMEOUT_SECONDS
        )
        self._client.event_hooks = {"response": [self._note_clock]}
        self.clock_ahead: float | None = None
        """By how many seconds (about, whole ones) Linq's clock was ahead of this machine's in the latest answer."""

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def request_location(self, chat_id: str) -> Reply:
        """Prompt the contact of a chat; worker/linq/classification.py says what the reply means."""
        return await self._call("POST", "/chats/{}/location/request", chat_id)

    async def stop_sharing(self, chat_id: str, handle: str) -> bool:
        """Ask Linq to end the contact's share; return whether there was one. Raises LinqError."""
        reply = await self._call("DELETE", "/chats/{}/location", chat_id, json={"handle": handle})
        try:
            _succeeded(reply)
        except LinqError as error:
            if error.status != 404 or error.by_proxy:
                raise
            return False
        return True

    async def get_chat(self, chat_id: str) -> Chat:
        """Return one chat. Raises LinqError."""
        reply = await self._call("GET", "/chats/{}", chat_id)
        return _expect(reply, _chat(_object(reply)))

    async def find_chats(
        self,
        *,
        to: str | None = None,
        from_: str | None = None,
        before_next: Callable[[], Awaitable[object]] | None = None,
    ) -> list[Chat]:
        """Return all chats with a participant (`to`) and of a line (`from_`), including groups. Raises LinqError.

        `before_next` is awaited before each page but the first, which is a request of its own.
        """
        chats: list[Chat] = []
        query: dict[str, str | int] = {"limit": _PAGE}
        if to is not None:
            query["to"] = to
        if from_ is not None:
            query["from"] = from_
        cursors: set[str] = set()
        while True:
            reply = await self._call("GET", "/chats", params=query)
            page = _object(reply)
            chats += [chat for item in _expect(reply, _list(page, "chats")) if (chat := _chat(item)) is not None]
            cursor = page.get("next_cursor")
            if cursor is None or cursor == "":
                return chats
            cursor = str(cursor)
            if cursor in cursors or len(cursors) >= _MAX_PAGES:
                raise LinqError(reply, problem="the list of chats has no end")
            cursors.add(cursor)
            query["cursor"] = cursor
            if before_next is not None:
                await before_next()

    async def create_chat(self, *, from_: str, to: str, text: str, idempotency_key: str) -> Chat:
        """Create the 1:1 chat of a line and a contact, over iMessage only, with the message `text`. Raises LinqError.

        The same key never sends twice.
        """
        message = {
            "parts": [{"type": "text", "value": text}],
            "preferred_service": "iMessage",
            "idempotency_key": idempotency_key,
        }
        reply = await self._call("POST", "/chats", json={"from": from_, "to": [to], "message": message})
        return _expect(reply, _chat(_object(reply).get("chat")))

    async def list_subscriptions(self) -> list[Subscription]:
        """Return every webhook subscription of the account. Raises LinqError."""
        reply = await self._call("GET", "/webhook-subscriptions")
        items = _expect(reply, _list(_object(reply), "subscriptions"))
        return [subscription for item in items if (subscription := _subscription(item)) is not None]

    async def create_subscription(
        self, *, target_url: str, events: list[str], phone_numbers: list[str] | None = None
    ) -> Subscription:
        """Subscribe a URL (HTTPS, unique per account) to events, of all lines or some. Raises LinqError."""
        body: dict[str, object] = {"target_url": target_url, "subscribed_events": events}
        if phone_numbers:
            body["phone_numbers"] = phone_numbers
        reply = await self._call("POST", "/webhook-subscriptions", json=body)
        return _expect(reply, _subscription(_object(reply)))

    async def delete_subscription(self, subscription_id: str) -> None:
        """End a subscription. Raises LinqError (404: there is none of this id)."""
        _succeeded(await self._call("DELETE", "/webhook-subscriptions/{}", subscription_id))

    async def phone_numbers(self) -> list[PhoneLine]:
        """Return the account's lines: the cheapest call that shows whether the key is accepted. Raises LinqError."""
        reply = await self._call("GET", "/phone_numbers")
        items = _expect(reply, _list(_object(reply), "phone_numbers"))
        return [line for item in items if (line := _phone_line(item)) is not None]

    async def _call(
        self,
        method: str,
        route: str,
        identifier: str = "",
        *,
        json: object = None,
        params: dict[str, str | int] | None = None,
    ) -> Reply:
        url = self._base + route.format(quote(identifier, safe=""))
        request = self._client.build_request(method, url, json=json, params=params)
        reply = await exchange(self._client, request, timeout=_TIMEOUT_SECONDS)
        _log.debug(
            "linq call",
            method=method,
            route=f"/v3{route}",
            id=identifier or None,
            status=reply.status,
            failure=reply.failure,
            trace_id=reply.trace_id,
        )
        return reply

    async def _note_clock(self, response: httpx.Response) -> None:
        try:
            date = parsedate_to_datetime(response.headers["date"])
        except (KeyError, ValueError, TypeError, IndexError):
            return
        self.clock_ahead = date.timestamp() - time.time()


def _succeeded(reply: Reply) -> None:
    if not 200 <= reply.status < 300 or reply.failure is not None:
        raise LinqError(reply)


def _object(reply: Reply) -> dict[str, Any]:
    """Return the JSON object of a successful reply, empty if it is none. Raises LinqError for an unsuccessful one."""
    _succeeded(reply)
    return decode_object(reply.body) or {}


def _expect(reply: Reply, part: _Part | None) -> _Part:
    if part is None:
        raise LinqError(reply, problem="the reply has another shape than documented")
    return part


def _list(page: dict[str, Any], name: str) -> list[Any] | None:
    return items if isinstance(items := page.get(name), list) else None


def _text(item: dict[str, Any], name: str) -> str | None:
    return text if isinstance(text := item.get(name), str) else None


def _flag(item: dict[str, Any], name: str) -> bool | None:
    return flag if isinstance(flag := item.get(name), bool) else None


def _texts(item: dict[str, Any], name: str) -> list[str]:
    return [text for text in _list(item, name) or [] if isinstance(text, str)]


def _chat(item: Any) -> Chat | None:
    if not isinstance(item, dict) or not (chat_id := _text(item, "id")):
        return None
    line = None
    contacts = []
    for entry in _list(item, "handles") or []:
        if not isinstance(entry, dict) or entry.get("left_at") or entry.get("status") in {"left", "removed"}:
            continue
        try:
            handle = normalize_handle(_text(entry, "handle") or "", lenient=True)
        except ValueError:
            continue
        if entry.get("is_me") is True:
            line = handle
        else:
            contacts.append(handle)
    return Chat(chat_id.lower(), _flag(item, "is_group"), _text(item, "service"), line, contacts)


def _subscription(item: Any) -> Subscription | None:
    if not isinstance(item, dict) or not (subscription_id := _text(item, "id")):
        return None
    return Subscription(
        subscription_id,
        _text(item, "target_url") or "",
        _texts(item, "subscribed_events"),
        _texts(item, "phone_numbers"),
        _flag(item, "is_active"),
        _text(item, "signing_secret"),
    )


def _phone_line(item: Any) -> PhoneLine | None:
    if not isinstance(item, dict) or not (phone_number := _text(item, "phone_number")):
        return None
    reputation = item.get("reputation")
    return PhoneLine(
        phone_number,
        _text(item, "line_type"),
        _text(reputation, "status") if isinstance(reputation, dict) else None,
    )
