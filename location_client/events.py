"""The events that other services read, each with the type of its data."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec

from location_client import data as event_data

logger = logging.getLogger("location_client")

TypeT_co = TypeVar("TypeT_co", bound=str, covariant=True)
DataT_co = TypeVar("DataT_co", covariant=True)


class Acknowledger(Protocol):
    """What an event is acknowledged to: a consumer of a group."""

    async def acknowledge(self, stream_ids: Iterable[str]) -> None:
        """Mark entries as done."""


class TypedEvent(Generic[TypeT_co, DataT_co]):
    """One entry of the stream. A field is decoded only when it is accessed."""

    __slots__ = ("_data", "_fields", "group", "stream_id")

    def __init__(self, stream_id: bytes, fields: Mapping[bytes, bytes], group: Acknowledger | None = None) -> None:
        """Keep `fields` as Redis has them, and the `group` if the entry waits for an acknowledgement."""
        self.stream_id = stream_id.decode()
        self.group = group
        self._fields = fields
        self._data: Any = msgspec.UNSET

    def _text(self, name: bytes) -> str:
        return self._fields.get(name, b"").decode(errors="replace")

    @property
    def specversion(self) -> str:
        """`1.0`."""
        return self._text(b"specversion")

    @property
    def id(self) -> str:
        """The same id means the same fact: drop repeats. Do not parse it."""
        return self._text(b"id")

    @property
    def source(self) -> str:
        """`/linq/chats/{chat_id}`, or `/chert`."""
        return self._text(b"source")

    @property
    def type(self) -> TypeT_co:
        """What happened, for example `location.updated`. A newer worker may send types that are unknown here."""
        return self._text(b"type")  # type: ignore[return-value]  # what Redis has is not known before

    @property
    def subject(self) -> str | None:
        """The handle in normal form; None where the event is about the chat."""
        return self._text(b"subject") or None

    @property
    def time(self) -> str:
        """RFC 3339, UTC, milliseconds."""
        return self._text(b"time")

    @property
    def datacontenttype(self) -> str:
        """`application/json`, or `application/geo+json` for positions."""
        return self._text(b"datacontenttype")

    @property
    def dataschema(self) -> str:
        """`urn:location-worker:{type}:1`."""
        return self._text(b"dataschema")

    @property
    def sequence(self) -> int:
        """1, 2, 3 … within one share. Raises ValueError if the field is not a number."""
        return int(self._text(b"sequence"))

    @property
    def reference(self) -> str | None:
        """The caller's own id; None if none was given."""
        return self._text(b"reference") or None

    @property
    def data(self) -> DataT_co:
        """The data, plain JSON in the shape of the event's type. Raises ValueError if it is not JSON.

        It is not validated, and includes fields that only a newer worker knows.
        """
        if self._data is msgspec.UNSET:
            try:
                self._data = msgspec.json.decode(self._fields.get(b"data", b""))
            except (msgspec.DecodeError, RecursionError) as error:
                raise ValueError(f"the data of event {self.stream_id} is not JSON: {error}") from None
        decoded: DataT_co = self._data
        return decoded

    @property
    def chat_id(self) -> str | None:
        """The chat of the event; None for pins."""
        prefix, _, chat_id = self.source.rpartition("/")
        return chat_id if prefix == "/linq/chats" else None

    @property
    def share_id(self) -> str | None:
        """The share of the event; None for pins. Raises ValueError if the data is not JSON."""
        data: Any = self.data
        for part in (data, data.get("properties") if isinstance(data, dict) else None):
            if isinstance(part, dict) and isinstance(part.get("share_id"), str):
                share_id: str = part["share_id"]
                return share_id
        return None

    def as_dict(self) -> dict[str, Any]:
        """Return all fields with `data` decoded (as text where it is not JSON), and `stream_id`."""
        known: dict[str, Any] = {"stream_id": self.stream_id}
        known |= {name.decode(errors="replace"): value.decode(errors="replace") for name, value in self._fields.items()}
        try:
            known["data"] = self.data
            known["sequence"] = self.sequence
        except ValueError:
            logger.debug("an entry of the event stream is not one of this project's events")
        return known

    async def acknowledge(self) -> None:
        """Tell the group that this event is done. Raises RuntimeError for an event read without a group."""
        await acknowledge([self])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.stream_id} {self.type} {self.id}>"


Event = (
    TypedEvent[Literal["location.requested"], event_data.RequestedData]
    | TypedEvent[Literal["location.request.rejected"], event_data.RequestRejectedData]
    | TypedEvent[Literal["location.request.expired"], event_data.RequestExpiredData]
    | TypedEvent[Literal["location.sharing.started"], event_data.SharingStartedData]
    | TypedEvent[Literal["location.updated"], event_data.Feature]
    | TypedEvent[Literal["location.place.entered", "location.place.left"], event_data.PlaceData]
    | TypedEvent[Literal["location.sharing.stale"], event_data.SharingStaleData]
    | TypedEvent[Literal["location.sharing.unreadable"], event_data.SharingUnreadableData]
    | TypedEvent[Literal["location.sharing.stopped"], event_data.SharingStoppedData]
    | TypedEvent[Literal["location.tracking.ended"], event_data.TrackingEndedData]
    | TypedEvent[Literal["location.pin.queued"], event_data.PinQueuedData]
    | TypedEvent[Literal["location.pin.failed"], event_data.PinFailedData]
)
"""An event of a known type: if `event.type == "location.updated"`, `event.data` is a Feature."""

AnyEvent = TypedEvent[str, Any]
"""An event of any type, including those that only a newer worker knows."""


async def acknowledge(events: Iterable[AnyEvent]) -> None:
    """Tell the groups that these events are done; waits for a Redis that is away."""
    of_group: dict[Acknowledger, list[str]] = {}
    for event in events:
        if event.group is None:
            raise RuntimeError("only events of group_events() can be acknowledged: this one was read by events()")
        of_group.setdefault(event.group, []).append(event.stream_id)
    for group, stream_ids in of_group.items():
        await group.acknowledge(stream_ids)
