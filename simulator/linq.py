"""Linq's endpoints."""

from __future__ import annotations

import uuid
from typing import Any

from starlette.routing import Route

from simulator.clock import rfc3339
from simulator.exchange import Call, Reply, Work, exchange
from simulator.failures import ApiError, JsonObject
from simulator.faults import Endpoint
from simulator.people import HANDLE
from simulator.simulation import Simulation
from simulator.subscriptions import EVENT_TYPES

SERVICES = ("iMessage", "SMS", "RCS")


class Messages:
    """Messages sent, by idempotency key."""

    def __init__(self) -> None:
        self.by_key: dict[str, tuple[str, JsonObject]] = {}

    def send(self, message: Any, now: float) -> tuple[JsonObject, str | None]:
        """Return the message object, and the chat in which its key was used before. Raises ApiError."""
        if not isinstance(message, dict):
            raise ApiError(1001, message="message is required")
        parts = message.get("parts")
        if not isinstance(parts, list) or not parts:
            raise ApiError(1001, message="message.parts is required")
        if any(not isinstance(part, dict) or "type" not in part for part in parts):
            raise ApiError(1003)
        if message.get("preferred_service") not in (None, *SERVICES):
            raise ApiError(1005)
        key = message.get("idempotency_key")
        if key is not None and (not isinstance(key, str) or len(key) > 255):
            raise ApiError(1005, message="idempotency_key is text of up to 255 characters")
        if key in self.by_key:
            chat_id, sent = self.by_key[key]
            return sent, chat_id
        wire_parts = [{**part, "reactions": None} for part in parts]
        sent = {
            "id": str(uuid.uuid4()),
            "created_at": rfc3339(now),
            "sent_at": None,
            "delivery_status": "queued",
            "is_read": False,
            "parts": wire_parts,
            "service": message.get("preferred_service") or "iMessage",
        }
        return sent, None


def request_location(call: Call) -> Reply:
    call.simulation.world.request(call.chat_id, call.now)
    status = call.simulation.world.habits.prompt_status
    return Reply({"success": True, "message": "Location request sent"}, status, prompted=True)


def read_location(call: Call) -> Reply:
    features = call.simulation.world.read(call.chat_id, call.now)
    return Reply({"success": True, "data": {"type": "FeatureCollection", "features": list(features)}})


def stop_location(call: Call) -> Reply:
    handle = call.json().get("handle")
    if not isinstance(handle, str) or not handle:
        raise ApiError(1001, message="handle is required")
    call.simulation.world.stop(call.chat_id, handle, call.now)
    return Reply({"success": True, "message": "Location sharing stop requested"}, 202)


def list_chats(call: Call) -> Reply:
    query = call.request.query_params
    try:
        limit, start = int(query.get("limit", "20")), int(query.get("cursor", "0"))
    except ValueError:
        raise ApiError(1005) from None
    if not 1 <= limit <= 100 or start < 0:
        raise ApiError(1005)
    chats = call.simulation.world.find_chats(query.get("from"), query.get("to"))
    rest = start + limit < len(chats)
    page = [chat.wire() for chat in chats[start : start + limit]]
    return Reply({"chats": page, "next_cursor": str(start + limit) if rest else None})


def read_chat(call: Call) -> Reply:
    return Reply(call.simulation.world.chat(call.chat_id).wire())


def create_chat(messages: Messages, call: Call) -> Reply:
    body = call.json()
    line, handles = body.get("from"), body.get("to")
    if not line or not handles or not body.get("message"):
        raise ApiError(1001)
    if not isinstance(line, str) or not isinstance(handles, list) or len(handles) > 31:
        raise ApiError(1005)
    if not all(isinstance(handle, str) and HANDLE.fullmatch(handle) for handle in handles):
        raise ApiError(1002, message="to holds what is neither an E.164 number nor an e-mail address")
    sent, known_in = messages.send(body["message"], call.now)
    if any("http://" in str(part) or "https://" in str(part) for part in body["message"]["parts"]):
        raise ApiError(1005, message="The first message must not contain a link")
    world = call.simulation.world
    if known_in is None:
        if line in world.refused_lines:
            raise ApiError(world.refused_lines[line])
        chat, _ = world.create_chat(line, handles, body["message"].get("preferred_service"), call.now)
        if chat.refuses_with is not None and not body.get("override_optout"):
            raise ApiError(chat.refuses_with)
        _remember(messages, body["message"], chat.id, sent)
    else:
        chat = world.chat(known_in)
    wire = chat.wire()
    kept = ("id", "display_name", "service", "is_group", "handles", "health_status")
    return Reply({"chat": {**{name: wire[name] for name in kept if name in wire}, "message": sent}}, 201)


def send_message(messages: Messages, call: Call) -> Reply:
    chat = call.simulation.world.chat(call.chat_id)
    body = call.json()
    sent, known_in = messages.send(body.get("message"), call.now)
    if not chat.available:
        raise ApiError(2013)
    if chat.refuses_with is not None and not body.get("override_optout"):
        raise ApiError(chat.refuses_with)
    if known_in is None:
        _remember(messages, body["message"], chat.id, sent)
    return Reply({"chat_id": known_in or chat.id, "message": sent}, 202)


def _remember(messages: Messages, message: JsonObject, chat_id: str, sent: JsonObject) -> None:
    if message.get("idempotency_key") is not None:
        messages.by_key[message["idempotency_key"]] = (chat_id, sent)


def list_lines(call: Call) -> Reply:
    guide = "https://docs.linqapp.com/channel/imessage/guides/phone-numbers/phone-reputation#healthy"
    lines = [
        {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, line)),
            "phone_number": line,
            "reputation": {"status": "HEALTHY", "doc_url": guide},
            "forwarding_number": None,
            "line_type": "iMessage",
        }
        for line in call.simulation.world.lines
        if line not in call.simulation.world.lost_lines
    ]
    return Reply({"phone_numbers": lines})


def list_subscriptions(call: Call) -> Reply:
    subscriptions = call.simulation.subscriptions.all.values()
    return Reply({"subscriptions": [subscription.wire() for subscription in subscriptions]})


def create_subscription(call: Call) -> Reply:
    subscription = call.simulation.subscriptions.create(call.json(), call.now)
    return Reply(subscription.wire(with_secret=True), 201)


def read_subscription(call: Call) -> Reply:
    return Reply(call.simulation.subscriptions.get(call.request.path_params["subscription_id"]).wire())


def update_subscription(call: Call) -> Reply:
    subscription_id = call.request.path_params["subscription_id"]
    return Reply(call.simulation.subscriptions.update(subscription_id, call.json(), call.now).wire())


def delete_subscription(call: Call) -> Reply:
    call.simulation.subscriptions.delete(call.request.path_params["subscription_id"])
    return Reply(None, 204)


def list_events(_call: Call) -> Reply:
    return Reply({"events": list(EVENT_TYPES), "doc_url": "https://docs.linqapp.com/webhooks/events/"})


def routes(simulation: Simulation) -> list[Route]:
    """Return the routes below `/v3`."""
    messages = Messages()
    location = "/v3/chats/{chat_id}/location"
    subscription = "/v3/webhook-subscriptions/{subscription_id}"
    table: list[tuple[str, str, Endpoint, Work]] = [
        ("POST", f"{location}/request", "request", request_location),
        ("GET", location, "read", read_location),
        ("DELETE", location, "stop", stop_location),
        ("GET", "/v3/chats", "chats", list_chats),
        ("POST", "/v3/chats", "create_chat", lambda call: create_chat(messages, call)),
        ("GET", "/v3/chats/{chat_id}", "chat", read_chat),
        ("POST", "/v3/chats/{chat_id}/messages", "message", lambda call: send_message(messages, call)),
        ("GET", "/v3/phone_numbers", "phone_numbers", list_lines),
        ("GET", "/v3/webhook-subscriptions", "subscriptions", list_subscriptions),
        ("POST", "/v3/webhook-subscriptions", "subscriptions", create_subscription),
        ("GET", subscription, "subscriptions", read_subscription),
        ("PUT", subscription, "subscriptions", update_subscription),
        ("DELETE", subscription, "subscriptions", delete_subscription),
        ("GET", "/v3/webhook-events", "webhook_events", list_events),
    ]
    return [
        Route(path, exchange(simulation, endpoint, work), methods=[method]) for method, path, endpoint, work in table
    ]
