"""Server-sent events: entries of the event stream as CloudEvents in JSON, gaps, and comments."""

from typing import NamedTuple

import msgspec

from worker.store.event_stream import Fields, StreamId, format_stream_id

_encode = msgspec.json.Encoder().encode
_LINE_BREAKS = str.maketrans("", "", "\r\n\0")


class Message(NamedTuple):
    """An entry of the stream, ready to be sent, with the fields that readers filter by."""

    position: StreamId
    type: str
    source: str
    reference: str
    data: bytes


class Wanted(NamedTuple):
    """What a reader wants to see; None: everything."""

    types: frozenset[str] | None = None
    source: str | None = None
    reference: str | None = None

    def __call__(self, kind: str, source: str, reference: str) -> bool:
        """Return whether an event with this type, source and reference is wanted."""
        return (
            (self.types is None or kind in self.types)
            and (self.source is None or source == self.source)
            and (self.reference is None or reference == self.reference)
        )

    def wants(self, fields: Fields) -> bool:
        """Return whether an entry of the stream is wanted."""
        return self(*(fields.get(name, b"").decode(errors="replace") for name in (b"type", b"source", b"reference")))


def make_message(position: StreamId, fields: Fields) -> Message:
    """Return the message of an entry: `id` the stream id, `event` the type, `data` the CloudEvent (structured mode).

    Attributes without a value are left out. Data that is not JSON, which only another program can have written, is sent
    as text.
    """
    event: dict[str, object] = {
        name.decode(errors="replace"): value.decode(errors="replace")
        for name, value in fields.items()
        if value and name != b"data"
    }
    if b"data" in fields:
        event["data"] = _json(fields[b"data"])
    kind = str(event.get("type", "")).translate(_LINE_BREAKS)
    name = b"event: %b\n" % kind.encode() if kind else b""
    data = b"id: %b\n%bdata: %b\n\n" % (format_stream_id(position).encode(), name, _encode(event))
    return Message(position, kind, str(event.get("source", "")), str(event.get("reference", "")), data)


def make_gap(first: StreamId) -> bytes:
    """Return the message that entries are missing; `first` is the first one left.

    It has no id, so that a reader that reconnects asks for what follows the last entry it saw.
    """
    return b'event: gap\ndata: {"first":"%b"}\n\n' % format_stream_id(first).encode()


def make_comment(position: StreamId | None) -> bytes:
    """Return a message that is no event. With a position, it sets the id with which a browser reconnects."""
    return b": alive\n" + (b"id: %b\n" % format_stream_id(position).encode() if position else b"") + b"\n"


def _json(data: bytes) -> object:
    try:
        # Validates, and removes line breaks; numbers stay as they are written.
        return msgspec.Raw(msgspec.json.format(data, indent=-1))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return data.decode(errors="replace")
