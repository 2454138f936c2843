"""Chert's pins: what `POST /api/v1/locations` checks and remembers (docs/reference/chert.md)."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from simulator.failures import ApiError, JsonObject

PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
DELIVERY_CHAT = re.compile(r"[A-Za-z]+;[+-];\S+")
TEXTS = ("label", "address", "url", "phone_line_id", "external_id", "idempotency_key", "expires_at")


@dataclass(frozen=True, slots=True)
class Pin:
    """A pin that a line accepted. `number` counts the pins really sent, without repeats of a key."""

    number: int
    sent_at: float
    body: JsonObject
    reply: JsonObject


class Pins:
    """The tenant's pins."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        self.lines = {f"pl_{line.removeprefix('+')}": line for line in lines}
        self.sent: list[Pin] = []
        self._by_key: dict[str, tuple[JsonObject, JsonObject]] = {}

    def send(self, body: JsonObject, now: float) -> JsonObject:
        """Accept a pin; return the recorded reply for a known key with the same body. Raises ApiError.

        The same key with another body is refused with 1002: the reference leaves that case open, and a client that
        does it has a fault.
        """
        self._check(body)
        key = body.get("idempotency_key")
        if key is not None and key in self._by_key:
            recorded, reply = self._by_key[key]
            if recorded != body:
                raise ApiError(1002, message="idempotency_key was used with another body")
            return reply
        line = body.get("phone_line_id") or next(iter(self.lines))
        location: JsonObject = {
            "latitude": body["latitude"],
            "longitude": body["longitude"],
            "label": body.get("label"),
            "address": body.get("address"),
            "mode": "geo_url" if body.get("fallback_mode") == "geo_url" else "balloon",
            "fallback_mode_requested": body.get("fallback_mode", "auto"),
        }
        reply = {
            "message_id": f"msg_{secrets.token_hex(8)}",
            "status": "queued",
            "phone_line_id": line,
            "delivery": "queued",
            "location": location,
        }
        if "expires_at" in body:
            reply["expires_at"] = body["expires_at"]
        if key is not None:
            self._by_key[key] = (body, reply)
        self.sent.append(Pin(len(self.sent) + 1, now, body, reply))
        return reply

    def lines_wire(self) -> JsonObject:
        """Return the reply of `GET /api/v1/phone-numbers`."""
        return {
            "phone_numbers": [
                {
                    "id": line_id,
                    "phone_line_id": line_id,
                    "phone_number": line,
                    "service": "imessage",
                    "is_active": True,
                    "capabilities": ["imessage", "send", "receive"],
                }
                for line_id, line in self.lines.items()
            ]
        }

    def _check(self, body: JsonObject) -> None:
        phone, chat_id = body.get("phone"), body.get("chat_id")
        if phone is None and chat_id is None:
            raise ApiError(1001, message="phone or chat_id is required")
        if phone is not None and chat_id is not None:
            raise ApiError(1002, message="only one of phone and chat_id")
        for name, bound in (("latitude", 90), ("longitude", 180)):
            if body.get(name) is None:
                raise ApiError(1001, message=f"{name} is required")
            _check_coordinate(name, body[name], bound)
        if phone is not None and not (isinstance(phone, str) and PHONE.fullmatch(phone)):
            raise ApiError(1003)
        if chat_id is not None and not (isinstance(chat_id, str) and DELIVERY_CHAT.fullmatch(chat_id)):
            raise ApiError(2002)
        for name in TEXTS:
            if not isinstance(body.get(name, ""), str):
                raise ApiError(1002, message=f"{name} must be text")
        mode = body.get("fallback_mode", "auto")
        if mode == "vcard":
            raise ApiError(4099, message="vcard is not supported")
        if mode not in ("auto", "balloon", "geo_url"):
            raise ApiError(1002, message="fallback_mode is unknown")
        if "expires_at" in body:
            _check_time(body["expires_at"])
        if body.get("phone_line_id") and body["phone_line_id"] not in self.lines:
            raise ApiError(2006)


def _check_coordinate(name: str, value: Any, bound: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -bound <= value <= bound:
        raise ApiError(1002, message=f"{name} must be a number from {-bound} to {bound}")


def _check_time(value: str) -> None:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ApiError(1002, message="expires_at must be RFC 3339 with a zone")
