"""The shape of `data` for each type of event, as in the worker's JSON Schemas.

All of it is plain JSON. A newer worker may add fields, reasons and event types: readers ignore what they do not know.
Times are RFC 3339, UTC.
"""

from typing import Literal, Required, TypedDict

RejectionReason = Literal[
    "group_chat",
    "not_imessage",
    "chat_unavailable",
    "chat_not_found",
    "opted_out",
    "blocked",
    "line_not_eligible",
    "recipient_not_allowed",
    "forbidden",
    "invalid_request",
]
StopReason = Literal["stopped", "expired", "disappeared"]
EndReason = Literal[
    "first_position",
    "arrived",
    "sharing_stopped",
    "request_rejected",
    "request_expired",
    "untracked",
    "time_limit",
    "chat_not_found",
    "chat_unavailable",
    "forbidden",
    "forgotten",
]


class _OfShare(TypedDict):
    chat_id: str
    share_id: str


class RequestedData(_OfShare):
    """`location.requested`: the contact is about to be asked."""

    expires_at: str


class RequestRejectedData(_OfShare):
    """`location.request.rejected`: `status` is HTTP's, `code` Linq's."""

    status: int
    code: int | None
    reason: RejectionReason
    detail: str


class RequestExpiredData(_OfShare):
    """`location.request.expired`: nobody shared in time."""

    waited_seconds: float


class SharingStartedData(_OfShare):
    """`location.sharing.started`: times are None where Linq gave none."""

    handle: str
    began_at: str | None
    ends_at: str | None
    detected_by: Literal["poll", "webhook"]


class Point(TypedDict):
    """Longitude, latitude and, where known, altitude in metres."""

    type: Literal["Point"]
    coordinates: list[float]


class PositionProperties(_OfShare):
    """`received_at - updated_at` is the age of the position when it was read."""

    handle: str
    latitude: float
    longitude: float
    altitude: float | None
    address: str | None
    locality: str | None
    updated_at: str | None
    received_at: str


class Feature(TypedDict):
    """`location.updated`: a GeoJSON Feature (RFC 7946)."""

    type: Literal["Feature"]
    geometry: Point
    properties: PositionProperties


class Place(TypedDict):
    """A circle; `radius` in metres."""

    name: str
    latitude: float
    longitude: float
    radius: float


class PlaceData(_OfShare):
    """`location.place.entered` and `location.place.left`.

    `distance` in metres from the centre; `initial`: the first position of this sharing was inside.
    """

    handle: str
    place: Place
    distance: float
    updated_at: str | None
    received_at: str
    initial: bool


class SharingStaleData(_OfShare):
    """`location.sharing.stale`: still shared, but no newer position for a while."""

    handle: str
    last_updated_at: str | None


class SharingUnreadableData(_OfShare):
    """`location.sharing.unreadable`: the contact shares under another handle; `remedy` is a text for people."""

    shared_by: str
    remedy: str


class SharingStoppedData(_OfShare):
    """`location.sharing.stopped`: a contact's share is over."""

    handle: str
    ended_at: str
    reason: StopReason


class TrackingEndedData(_OfShare):
    """`location.tracking.ended`: the last event of a share."""

    reason: EndReason


class PinLocation(TypedDict, total=False):
    """The pin as Chert returned it."""

    latitude: Required[float]
    longitude: Required[float]
    label: str
    address: str
    mode: str
    fallback_mode_requested: str
    expires_at: str


class PinQueuedData(TypedDict):
    """`location.pin.queued`: Chert accepted the pin."""

    message_id: str
    phone_line_id: str | None
    external_id: str | None
    location: PinLocation


class PinFailedData(TypedDict):
    """`location.pin.failed`: `code` is Chert's."""

    code: int | None
    detail: str
    external_id: str | None
