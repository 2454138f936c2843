"""Positions out of the reply of GET /v3/chats/{chatId}/location (reference: linq-api.md, section 5.2)."""

import json
from typing import Any

import msgspec

from worker.domain.handle import normalize_handle
from worker.domain.observation import Fault, Features, Position
from worker.domain.timestamp import parse_time

# A phone's clock may be a little ahead; contract.md, section 4, draws the line here.
_FUTURE_NANOSECONDS = 600 * 1_000_000_000


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


_NULL = msgspec.Raw(b"null")


class _RawReply(msgspec.Struct):
    success: msgspec.Raw = _NULL
    data: msgspec.Raw = _NULL
    features: msgspec.Raw = _NULL


class _RawCollection(msgspec.Struct):
    features: list[msgspec.Raw]


class _RawFeature(msgspec.Struct):
    geometry: _Geometry
    properties: dict[str, msgspec.Raw]


_decode_wrapped = msgspec.json.Decoder(_Wrapped).decode
_decode_raw_reply = msgspec.json.Decoder(_RawReply).decode
_decode_raw_collection = msgspec.json.Decoder(_RawCollection).decode
_decode_raw_features = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_feature = msgspec.json.Decoder(_Feature).decode
_decode_raw_feature = msgspec.json.Decoder(_RawFeature).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_any = msgspec.json.Decoder(Any).decode

# RecursionError: nesting deeper than the decoder follows. UnicodeDecodeError (a ValueError): text that is
# not UTF-8.
_UNDECODABLE = (msgspec.DecodeError, ValueError, RecursionError)


def read_features(body: bytes, *, now: float) -> Features | Fault:
    """Sort the features of a reply into positions and reasons; `now` is in seconds since 1970 (UTC).

    The wrapped form (`{"success", "data": FeatureCollection}`) and a bare FeatureCollection are read. A
    feature that is not a valid position costs only itself. A reply whose list of features cannot be found
    is a Fault, because it says nothing about who shares. Reasons and details hold no data. Positions are in
    ascending order of `updated_at`, those without it first.
    """
    positions: list[Position] = []
    invalid: list[str] = []
    latest = int(now * 1_000_000_000) + _FUTURE_NANOSECONDS
    try:
        reply = _decode_wrapped(body)
    except _UNDECODABLE:
        # Only the usual, wholly correct reply is read in one go; whatever is odd is taken apart piece by
        # piece.
        features = _raw_features(body)
        if isinstance(features, Fault):
            return features
        for raw in features:
            feature = _lenient_feature(raw)
            outcome = feature if isinstance(feature, str) else _position(feature, latest)
            _sort_in(outcome, positions, invalid)
    else:
        if not reply.success:
            return Fault("malformed", "the reply says success: false")
        for parsed in reply.data.features:
            _sort_in(_position(parsed, latest), positions, invalid)
    if len(positions) > 1:
        positions.sort(key=_updated_at)
    return Features(positions, invalid)


def _sort_in(outcome: Position | str, positions: list[Position], invalid: list[str]) -> None:
    if isinstance(outcome, str):
        invalid.append(outcome)
    else:
        positions.append(outcome)


def _updated_at(position: Position) -> int:
    return -1 if position.updated_at is None else position.updated_at


def _position(feature: _Feature, latest: int) -> Position | str:
    """Return the position, or the reason why it is none."""
    geometry = feature.geometry
    if geometry.type != "Point":
        return "the geometry is not a Point"
    coordinates = geometry.coordinates
    if len(coordinates) < 2:
        return "there are fewer than two coordinates"
    longitude = coordinates[0]
    latitude = coordinates[1]
    # The decoder lets through finite numbers only.
    if longitude is None or not -180.0 <= longitude <= 180.0:
        return "the longitude is not a number from -180 to 180"
    if latitude is None or not -90.0 <= latitude <= 90.0:
        return "the latitude is not a number from -90 to 90"
    altitude = coordinates[2] if len(coordinates) > 2 else None
    properties = feature.properties
    try:
        handle = normalize_handle(properties.handle, lenient=True)
    except ValueError:
        return "the handle is neither a phone number nor an e-mail address"
    updated_at = None
    if properties.updated_at:
        try:
            updated_at = parse_time(properties.updated_at)
        except ValueError:
            return "updated_at is not an RFC 3339 time"
        if updated_at > latest:
            return "updated_at lies more than 10 minutes in the future"
    return Position(
        handle,
        longitude,
        latitude,
        altitude,
        properties.address or None,
        properties.locality or None,
        updated_at,
    )


def _raw_features(body: bytes) -> list[msgspec.Raw] | Fault:
    try:
        reply = _decode_raw_reply(body)
    except _UNDECODABLE:
        try:
            reply = _decode_raw_reply(_without_nan(body))
        except _UNDECODABLE:
            return Fault("malformed", "the reply is not a JSON object")
    if bytes(reply.success) not in {b"true", b"null"}:
        return Fault("malformed", "the reply does not say success: true")
    try:
        if bytes(reply.data) != b"null":
            return _decode_raw_collection(reply.data).features
        return _decode_raw_features(reply.features)
    except _UNDECODABLE:
        return Fault("malformed", "the reply has no list of features")


def _without_nan(body: bytes) -> bytes:
    """Return the reply with null for NaN and Infinity: some encoders write them, which is no reason to lose the rest.

    Raises ValueError and RecursionError.
    """
    return json.dumps(json.loads(body, parse_constant=lambda _: None)).encode()


def _lenient_feature(raw: msgspec.Raw) -> _Feature | str:
    """One feature, without an address or locality of a wrong type, or the reason why it is none."""
    try:
        return _decode_feature(raw)
    except _UNDECODABLE:
        pass
    try:
        feature = _decode_raw_feature(raw)
        texts: dict[str, Any] = {
            name: _decode_any(feature.properties.get(name, _NULL)) for name in ("handle", "updated_at")
        }
        for name in ("address", "locality"):
            texts[name] = _text_or_none(feature.properties.get(name, _NULL))
        return _Feature(feature.geometry, msgspec.convert(texts, _Properties))
    except msgspec.ValidationError as error:
        # The decoder's message names types and fields, never values.
        return f"the feature has another shape: {error}"
    except _UNDECODABLE:
        return "the feature cannot be decoded"


def _text_or_none(raw: msgspec.Raw) -> str | None:
    try:
        return _decode_text(raw)
    except _UNDECODABLE:
        return None
