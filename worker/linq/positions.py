"""Positions from the reply to GET /v3/chats/{chatId}/location (docs/reference/linq.md)."""

from typing import Any

import msgspec

from worker.decoding import UNDECODABLE, decode_object
from worker.domain.handle import normalize_handle
from worker.domain.observation import Fault, Features, InvalidFeature, Position
from worker.domain.timestamp import NANOSECONDS, parse_time

# A phone's clock may be a little ahead (docs/reference/events.md, Guarantees).
_FUTURE_NANOSECONDS = 600 * NANOSECONDS


class _Geometry(msgspec.Struct, gc=False):
    type: str
    coordinates: list[float | None]


class _Properties(msgspec.Struct, gc=False):
    handle: str
    address: str | None = None
    locality: str | None = None
    updated_at: str | None = None


class _Feature(msgspec.Struct, gc=False):
    geometry: _Geometry
    properties: _Properties


class _Collection(msgspec.Struct, gc=False):
    features: list[_Feature]


class _Wrapped(msgspec.Struct, gc=False):
    data: _Collection
    success: bool = True


KNOWN_FIELDS = {
    "": ("type", *_Feature.__struct_fields__),
    "geometry": _Geometry.__struct_fields__,
    "properties": _Properties.__struct_fields__,
}
"""The fields of a feature and of its parts."""

_decode_wrapped = msgspec.json.Decoder(_Wrapped).decode


def read_features(body: bytes, *, now: float) -> Features | Fault:
    """Sort the features of a reply into positions and unusable ones; `now` is in seconds since 1970 (UTC).

    Both the wrapped form (`{"success", "data": FeatureCollection}`) and a bare FeatureCollection are accepted. An
    invalid feature does not affect the others. A reply without a list of features is a Fault, because it says nothing
    about who shares. Reasons and details hold no data. Positions are in ascending order of `updated_at`, those without
    it first.
    """
    latest = int(now * NANOSECONDS) + _FUTURE_NANOSECONDS
    features: list[Any]
    try:
        reply = _decode_wrapped(body)
    except UNDECODABLE:
        # A correct reply, the usual case, is decoded in one go; any other is taken apart piece by piece.
        found = _find_features(body)
        if isinstance(found, Fault):
            return found
        features, read = found, _read_odd_feature
    else:
        if not reply.success:
            return Fault("malformed", "the reply says success: false")
        features, read = reply.data.features, _read_feature
    positions: list[Position] = []
    invalid: list[InvalidFeature] = []
    for feature in features:
        outcome = read(feature, latest)
        if isinstance(outcome, Position):
            positions.append(outcome)
        else:
            invalid.append(outcome)
    if len(positions) > 1:
        positions.sort(key=_updated_at)
    return Features(positions, invalid)


def _updated_at(position: Position) -> int:
    return -1 if position.updated_at is None else position.updated_at


def _read_feature(feature: _Feature, latest: int) -> Position | InvalidFeature:
    properties = feature.properties
    try:
        handle = normalize_handle(properties.handle, lenient=True)
    except ValueError:
        return InvalidFeature(None, "the handle is neither a phone number nor an e-mail address")
    geometry = feature.geometry
    if geometry.type != "Point":
        return InvalidFeature(handle, "the geometry is not a Point")
    coordinates = geometry.coordinates
    if len(coordinates) < 2:
        return InvalidFeature(handle, "there are fewer than two coordinates")
    longitude = coordinates[0]
    latitude = coordinates[1]
    # The decoders only let finite numbers through.
    if longitude is None or not -180.0 <= longitude <= 180.0:
        return InvalidFeature(handle, "the longitude is not a number from -180 to 180")
    if latitude is None or not -90.0 <= latitude <= 90.0:
        return InvalidFeature(handle, "the latitude is not a number from -90 to 90")
    altitude = coordinates[2] if len(coordinates) > 2 else None
    updated_at = None
    if properties.updated_at:
        try:
            updated_at = parse_time(properties.updated_at)
        except ValueError:
            return InvalidFeature(handle, "updated_at is not an RFC 3339 time")
        if updated_at > latest:
            return InvalidFeature(handle, "updated_at lies more than 10 minutes in the future")
    return Position(
        handle,
        longitude,
        latitude,
        altitude,
        properties.address or None,
        properties.locality or None,
        updated_at,
    )


def _find_features(body: bytes) -> list[Any] | Fault:
    reply = decode_object(body)
    if reply is None:
        return Fault("malformed", "the reply is not a JSON object")
    success = reply.get("success")
    if success is not True and success is not None:
        return Fault("malformed", "the reply does not say success: true")
    data = reply.get("data")
    collection = reply if data is None else data
    features = collection.get("features") if isinstance(collection, dict) else None
    if not isinstance(features, list):
        return Fault("malformed", "the reply has no list of features")
    return features


def _read_odd_feature(feature: Any, latest: int) -> Position | InvalidFeature:
    """Read one feature without an address or locality of a wrong type."""
    given = feature.get("properties") if isinstance(feature, dict) else None
    if not isinstance(given, dict):
        return InvalidFeature(None, "the feature has no properties")
    texts = {name: text for name in ("address", "locality") if isinstance(text := given.get(name), str)}
    try:
        properties = {**texts, "handle": given.get("handle"), "updated_at": given.get("updated_at")}
        usual = msgspec.convert({"geometry": feature.get("geometry"), "properties": properties}, _Feature)
    except (msgspec.ValidationError, OverflowError) as error:
        # The message names types and fields, never values.
        return InvalidFeature(_owner(given), f"the feature has another shape: {error}")
    return _read_feature(usual, latest)


def _owner(properties: dict[str, Any]) -> str | None:
    handle = properties.get("handle")
    try:
        return normalize_handle(handle, lenient=True) if isinstance(handle, str) else None
    except ValueError:
        return None
