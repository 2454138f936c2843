"""Faults on demand: what goes wrong, where, and how often."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any, Literal, get_args

Endpoint = Literal[
    "request", "read", "stop",
    "chats", "chat", "create_chat", "message", "phone_numbers", "subscriptions", "webhook_events",
    "pin", "chert_phone_numbers",
]  # fmt: skip
Area = Literal["linq", "chert"]
"""All endpoints of one API."""
CHERT_ENDPOINTS: tuple[Endpoint, ...] = ("pin", "chert_phone_numbers")
Kind = Literal["error", "reset", "hang", "cut", "slow", "drip", "html", "redirect", "empty", "malformed", "damaged"]
Shape = Literal[
    "features_null", "features_absent", "features_text", "coordinates_text", "nan", "no_fix", "huge",
    "data_null", "list", "not_json", "not_utf8", "nothing",
]  # fmt: skip
Damage = Literal["surrogate", "latin1", "line_break", "bom", "nan", "infinite", "digits"]
DAMAGED_TEXTS = (b"message", b"address", b"locality", b"display_name", b"label")
"""Fields with people's texts, in which a damaged character may appear."""
BAD_CHARACTERS: dict[Damage, bytes] = {"surrogate": rb"\ud83d", "latin1": b"\xe9", "line_break": b"\n"}
BAD_NUMBERS: dict[Damage, bytes] = {"nan": b"NaN", "infinite": b"1e999", "digits": b"9" * 5000}


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong.

    `endpoint` (or a whole API), `chat_id`: where; None is everywhere.
    `replies`: how many replies it spoils, None until cleared. `probability`: of each reply that it could spoil.
    `delay`: seconds between the work and the reply, for every kind.
    `after_work`: whether the work (a prompt, a pin) was done all the same; what spoils a finished reply (`cut`, `slow`,
    `drip`, `html`, `empty`, `malformed`) always comes after it unless this is set to False.

    `error`: `status`, `code`, `message`, `retry_after` (seconds, or text such as an HTTP date) as the API writes them.
    `reset`: the connection is reset. `hang`: no reply until the client goes away. `cut`: fewer bytes than announced.
    `slow`: late by `delay`. `drip`: the body comes in small pieces, spread over `delay`.
    `html`: a proxy's page with `status` (default 502). `redirect`: 302 (or `status`) to `location`.
    `empty`: a read that lists nobody. `malformed`: the reply in the wrong `shape`.
    `damaged`: nothing but `damage`, which may come with every kind: a character, number or mark that JSON does not
    know, in the texts of the reply and in a field that nobody reads.
    """

    kind: Kind
    endpoint: Endpoint | Area | None = None
    chat_id: str | None = None
    replies: int | None = 1
    probability: float = 1.0
    status: int | None = None
    code: int | None = None
    message: str | None = None
    retry_after: float | str | None = None
    retryable: bool | None = None
    delay: float = 0.0
    after_work: bool | None = None
    shape: Shape = "features_null"
    location: str = "http://127.0.0.1:9/"
    damage: Damage | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a fault that could never happen, so that a misspelt one is noticed."""
        for name, given, known in (
            ("kind", self.kind, get_args(Kind)),
            ("endpoint", self.endpoint, (None, *get_args(Area), *get_args(Endpoint))),
            ("shape", self.shape, get_args(Shape)),
            ("damage", self.damage, (None, *get_args(Damage))),
        ):
            if given not in known:
                raise ValueError(f"{name} {given!r} is none of {', '.join(map(str, known))}")
        if self.kind == "error" and self.status is None and self.code is None:
            raise ValueError("a fault of kind 'error' needs a status or a code")
        if self.kind == "damaged" and self.damage is None:
            raise ValueError("a fault of kind 'damaged' needs a damage")

    @property
    def works(self) -> bool:
        """Return whether the request takes effect although its reply is spoilt."""
        if self.after_work is not None:
            return self.after_work
        return self.kind in ("cut", "slow", "drip", "html", "empty", "malformed", "damaged")

    def hits(self, endpoint: Endpoint, chat_id: str | None) -> bool:
        """Return whether this fault applies to such a request."""
        area: Area = "chert" if endpoint in CHERT_ENDPOINTS else "linq"
        return self.endpoint in (None, area, endpoint) and self.chat_id in (None, chat_id)


class FaultBoard:
    """The faults that are set, oldest first. Of those that match a request, the oldest applies."""

    def __init__(self, seed: int | None = None) -> None:
        self.faults: list[Fault] = []
        self._chance = random.Random(seed)

    def add(self, fault: Fault) -> Fault:
        """Set a fault."""
        self.faults.append(fault)
        return fault

    def clear(self, endpoint: Endpoint | Area | None = None, chat_id: str | None = None) -> None:
        """Remove the faults of that endpoint and chat, without arguments all."""
        self.faults = [
            fault
            for fault in self.faults
            if endpoint not in (None, fault.endpoint) or chat_id not in (None, fault.chat_id)
        ]

    def take(self, endpoint: Endpoint, chat_id: str | None) -> Fault | None:
        """Return the fault for this request, and count it down."""
        for fault in self.faults:
            if fault.hits(endpoint, chat_id) and (fault.probability >= 1 or self._chance.random() < fault.probability):
                if fault.replies is not None:
                    fault.replies -= 1
                    if fault.replies <= 0:
                        self.faults.remove(fault)
                return fault
        return None


def damaged(damage: Damage, body: bytes) -> bytes:
    """Return the JSON of a reply with damage that makes a strict reader refuse all of it."""
    if damage == "bom":
        return b"\xef\xbb\xbf" + body
    if damage in BAD_CHARACTERS:
        unread = b'"' + BAD_CHARACTERS[damage] + b'"'
        for name in DAMAGED_TEXTS:
            begin = b'"' + name + b'":"'
            body = body.replace(begin, begin + BAD_CHARACTERS[damage])
    else:
        unread = BAD_NUMBERS[damage]
    return body.replace(b"{", b'{"unread":' + unread + b",", 1)


def malformed(shape: Shape, content: Any) -> bytes:
    """Put a reply's content into the wrong shape."""
    features: Any = content.get("data", {}).get("features", []) if isinstance(content, dict) else []
    first = features[0] if features else {"type": "Feature", "geometry": None, "properties": {}}
    point: dict[str, Any]
    collection: dict[str, Any] = {"type": "FeatureCollection"}
    match shape:
        case "features_null":
            collection["features"] = None
        case "features_text":
            collection["features"] = "none"
        case "coordinates_text":
            coordinates = (first["geometry"] or {}).get("coordinates", [0, 0])
            point = {"type": "Point", "coordinates": [str(number) for number in coordinates]}
            collection["features"] = [{**first, "geometry": point}]
        case "nan":
            point = {"type": "Point", "coordinates": [float("nan"), float("nan")]}
            collection["features"] = [{**first, "geometry": point}]
        case "no_fix":
            collection["features"] = [{**first, "geometry": None}, *features[1:]]
        case "huge":
            collection["features"] = features
            collection["padding"] = "x" * (1_100_000)
        case "features_absent":
            pass
        case "data_null":
            return json.dumps({"success": True, "data": None}).encode()
        case "list":
            return b"[1,2,3]"
        case "not_json":
            return b'{"success": true, "data": {'
        case "not_utf8":
            return b'{"success": true, "data": "\xff\xfe"}'
        case "nothing":
            return b""
    return json.dumps({"success": True, "data": collection}).encode()
