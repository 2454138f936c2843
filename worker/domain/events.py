"""The events of the stream: CloudEvents 1.0, their data as models, and the JSON Schemas made from these models.

docs/reference/events.md explains every name here. `data` is encoded once, when the event is made, and is text from
then on.
"""

from hashlib import blake2b
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from location_client.data import EndReason, RejectionReason, StopReason

ID_DIGEST_BYTES = 8  # among a million events of one share, two have the same id with a probability of 3 in 100 million

Text = Annotated[str, msgspec.Meta(min_length=1)]
Identifier = Annotated[str, msgspec.Meta(extra_json_schema={"format": "uuid"})]
Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
Longitude = Annotated[float, msgspec.Meta(ge=-180, le=180)]
Latitude = Annotated[float, msgspec.Meta(ge=-90, le=90)]
Coordinates = Annotated[
    tuple[float, ...],
    msgspec.Meta(
        min_length=2,
        max_length=3,
        extra_json_schema={
            "prefixItems": [
                {"type": "number", "minimum": -180, "maximum": 180},
                {"type": "number", "minimum": -90, "maximum": 90},
            ]
        },
    ),
]

DetectedBy = Literal["poll", "webhook"]


class OfShare(msgspec.Struct, frozen=True):
    """The fields with which the data of every event about a share begins."""

    chat_id: Identifier
    share_id: Identifier


class Requested(OfShare, frozen=True):
    """The contact is about to be asked; `expires_at`: until when an answer counts."""

    expires_at: Time


class RequestRejected(OfShare, frozen=True):
    """Linq refused the request for good: `status` is HTTP's, `code` Linq's."""

    status: int
    code: int | None
    reason: RejectionReason
    detail: str


class RequestExpired(OfShare, frozen=True):
    """Nobody shared in time."""

    waited_seconds: float


class SharingStarted(OfShare, frozen=True):
    """A contact began to share; times are null where Linq gave none."""

    handle: Text
    began_at: Time | None
    ends_at: Time | None
    detected_by: DetectedBy


class SharingStale(OfShare, frozen=True):
    """Still shared, but no newer position for STALE_AFTER_SECONDS."""

    handle: Text
    last_updated_at: Time | None


class SharingUnreadable(OfShare, frozen=True):
    """The contact shares under a handle (`shared_by`) that this chat does not have; `remedy` is a text for people."""

    shared_by: Text
    remedy: Text


class SharingStopped(OfShare, frozen=True):
    """A contact's share is over."""

    handle: Text
    ended_at: Time
    reason: StopReason


class TrackingEnded(OfShare, frozen=True):
    """The last event of a share."""

    reason: EndReason


class Point(msgspec.Struct, frozen=True, tag="Point", tag_field="type"):
    """GeoJSON Point (RFC 7946): longitude, latitude and, where known, altitude in metres."""

    coordinates: Coordinates


class PositionProperties(OfShare, frozen=True):
    """`updated_at` is Linq's time of the position, `received_at` when it was read: their difference is its age."""

    handle: Text
    latitude: Latitude
    longitude: Longitude
    altitude: float | None
    address: str | None
    locality: str | None
    updated_at: Time | None
    received_at: Time


class Updated(msgspec.Struct, frozen=True, tag="Feature", tag_field="type"):
    """One new position: a GeoJSON Feature (RFC 7946)."""

    geometry: Point
    properties: PositionProperties


class Circle(msgspec.Struct, frozen=True):
    """A place as the job named it; `radius` in metres."""

    name: Text
    latitude: Latitude
    longitude: Longitude
    radius: Annotated[float, msgspec.Meta(gt=0)]


class PlaceCrossed(OfShare, frozen=True):
    """What a position shows about a place: `distance` is in metres from its centre."""

    handle: Text
    place: Circle
    distance: Annotated[float, msgspec.Meta(ge=0)]
    updated_at: Time | None
    received_at: Time
    initial: bool


class PlaceEntered(PlaceCrossed, frozen=True):
    """A contact came into a place; `initial`: the first position of the sharing was inside."""


class PlaceLeft(PlaceCrossed, frozen=True):
    """A contact left a place."""


class PinLocation(msgspec.Struct, frozen=True, omit_defaults=True):
    """The pin as Chert returned it; everything but the coordinates may be missing."""

    latitude: Latitude
    longitude: Longitude
    label: str | None = None
    address: str | None = None
    mode: str | None = None
    fallback_mode_requested: str | None = None
    expires_at: str | None = None


class PinQueued(msgspec.Struct, frozen=True):
    """Chert accepted the pin; what becomes of it later is never known."""

    message_id: Text
    phone_line_id: str | None
    external_id: str | None
    location: PinLocation


class PinFailed(msgspec.Struct, frozen=True):
    """Chert refused the pin for good; `code` is Chert's."""

    code: int | None
    detail: str
    external_id: str | None


DATA_OF_TYPE: dict[str, type[msgspec.Struct]] = {
    "location.requested": Requested,
    "location.request.rejected": RequestRejected,
    "location.request.expired": RequestExpired,
    "location.sharing.started": SharingStarted,
    "location.updated": Updated,
    "location.place.entered": PlaceEntered,
    "location.place.left": PlaceLeft,
    "location.sharing.stale": SharingStale,
    "location.sharing.unreadable": SharingUnreadable,
    "location.sharing.stopped": SharingStopped,
    "location.tracking.ended": TrackingEnded,
    "location.pin.queued": PinQueued,
    "location.pin.failed": PinFailed,
}
EVENT_TYPES = tuple(DATA_OF_TYPE)
_TYPE_OF_DATA = {data: name for name, data in DATA_OF_TYPE.items()}

encode_data = msgspec.json.Encoder().encode


class Event(NamedTuple):
    """The fields of one stream entry that vary, in the order in which the store takes them."""

    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    sequence: int
    reference: str
    data: str


def make_event(
    data: msgspec.Struct,
    *,
    scope: str,
    source: str,
    subject: str,
    moment: str = "",
    time: str,
    sequence: int,
    reference: str,
) -> Event:
    """Make the event with `data`; `scope` is what `sequence` counts within: a share id or an idempotency key.

    An idempotency key is also the id. Otherwise the id is made of type, handle (`subject`) and `moment`, which
    distinguishes this fact from others of the same type and handle in the share, and has to be the same whenever the
    fact is found again.
    """
    kind = _TYPE_OF_DATA[type(data)]
    content_type = "application/geo+json" if kind == "location.updated" else "application/json"
    identifier = scope
    if source != PIN_SOURCE:
        fact = f"{kind}\n{subject}\n{moment}".encode()
        identifier = f"{scope}:{blake2b(fact, digest_size=ID_DIGEST_BYTES).hexdigest()}"
    return Event(identifier, source, kind, subject, time, content_type, sequence, reference, encode_data(data).decode())


PIN_SOURCE = "/chert"


def id_digest(event: Event) -> int:
    """Return the digest in the id of an event of a share as a number."""
    return int(event.id[-2 * ID_DIGEST_BYTES :], 16)


def dataschema(event_type: str) -> str:
    """Name the schema of a type's data, as the field `dataschema` does."""
    return f"urn:location-worker:{event_type}:1"


def schema(event_type: str) -> dict[str, Any]:
    """Make the JSON Schema (2020-12) of a type's data.

    Raises KeyError for a type that is not in EVENT_TYPES.
    """
    data = DATA_OF_TYPE[event_type]
    made = msgspec.json.schema(data)
    definitions = made["$defs"]
    own = definitions.pop(data.__name__)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": dataschema(event_type),
        "title": event_type,
    }
    rest = {"$defs": definitions} if definitions else {}
    return head | {key: value for key, value in own.items() if key != "title"} | rest
