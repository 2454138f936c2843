"""Names of fields in a reply to GET …/location that `read_features` does not know: Linq has added them since."""

import re
from collections.abc import Iterator
from typing import Any

from worker.decoding import decode_object
from worker.linq.positions import KNOWN_FIELDS

OTHER = "(other)"
"""Replaces a name that may be data, such as a handle."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")


def unknown_fields(body: bytes) -> list[str]:
    """Return the names that the features of a reply hold and `read_features` ignores, in ascending order.

    Each as a path within the feature: `properties.accuracy`, `geometry.precision`, `id`. Never a value.
    """
    reply = decode_object(body) or {}
    data = reply.get("data")
    features = (data if isinstance(data, dict) else reply).get("features")
    return sorted({name for feature in (features if isinstance(features, list) else []) for name in _unknown(feature)})


def _unknown(feature: Any) -> Iterator[str]:
    for part, known in KNOWN_FIELDS.items():
        fields = feature.get(part) if part and isinstance(feature, dict) else feature
        for name in fields if isinstance(fields, dict) else ():
            if name not in known:
                shown = name if _NAME.fullmatch(name) else OTHER
                yield f"{part}.{shown}" if part else shown
