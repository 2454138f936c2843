"""Chats and their wire form (docs/reference/linq.md, Chats)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from simulator.clock import rfc3339

CHAT_NAMESPACE = uuid.UUID("7c1f0f0e-9f4e-4d0b-9a53-5d7f3e1a2b4c")


@dataclass(slots=True)
class Chat:
    """A conversation of one line with one or more contacts. Seconds since 1970 UTC.

    `refuses_with`: the code with which every location request here is refused (2008, 2024, 2026, 2027 …).
    `features`: if set, reads return exactly this list instead of what people share.
    `marks_line`: whether `is_me` marks which of the handles is the line; Linq need not send it.
    """

    id: str
    line: str
    handles: list[str]
    service: str | None = "iMessage"
    is_group: bool = False
    created_at: float = 0.0
    ready_at: float = 0.0
    available: bool = True
    deleted: bool = False
    refuses_with: int | None = None
    features: list[Any] | None = None
    marks_line: bool = True
    left: set[str] = field(default_factory=set)
    prompts: int = 0
    prompted_at: float | None = None

    def participants(self) -> list[str]:
        """Return the contacts who are still in the chat."""
        return [handle for handle in self.handles if handle not in self.left]

    def wire(self) -> dict[str, Any]:
        """Return the Chat object."""
        created = rfc3339(self.created_at)
        wire: dict[str, Any] = {
            "id": self.id,
            "created_at": created,
            "updated_at": created,
            "display_name": None if self.is_group else self.handles[0],
            "is_group": self.is_group,
            "is_archived": False,
            "group_chat_icon": None,
            "health_status": {
                "status": "OPTED_OUT" if self.refuses_with == 2024 else "HEALTHY",
                "doc_url": "https://docs.linqapp.com/channel/imessage/guides/chats/chat-health#healthy",
                "updated_at": created,
            },
            "handles": [self._handle(self.line, created, is_me=True)]
            + [self._handle(handle, created, is_me=False) for handle in self.handles],
        }
        if self.service is not None:
            wire["service"] = self.service
        return wire

    def _handle(self, handle: str, created: str, *, is_me: bool) -> dict[str, Any]:
        gone = handle in self.left
        wire: dict[str, Any] = {
            "id": str(uuid.uuid5(CHAT_NAMESPACE, handle)),
            "handle": handle,
            "service": self.service or "iMessage",
            "status": "left" if gone else "active",
            "joined_at": created,
            "left_at": created if gone else None,
        }
        if self.marks_line:
            wire["is_me"] = is_me
        if is_me:
            wire["line_type"] = "iMessage"
        return wire
