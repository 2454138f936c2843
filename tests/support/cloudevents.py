"""CloudEvents, read by both official SDKs, and the GeoJSON in them by a library for it."""

import json
from collections.abc import Sequence
from typing import Any

from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.formats.json import JSONFormat
from geojson_pydantic import Feature

from tests.support.node import MODULES, NODE, run_node


def read_events(lines: Sequence[str]) -> list[dict[str, Any]]:
    """Check that both SDKs can read these CloudEvents in JSON, and return them as plain data."""
    events = [json.loads(line) for line in lines]
    for line, event in zip(lines, events, strict=True):
        read: BaseCloudEvent = JSONFormat().read(None, line)
        assert read.get_data() == event["data"]
        if event["datacontenttype"] == "application/geo+json":
            Feature.model_validate(event["data"])
    if NODE and (MODULES / ".installed").exists():
        done = run_node("cloudevents.mjs", text="".join(f"{line}\n" for line in lines))
        assert (done.returncode, done.stdout, done.stderr.strip()) == (0, "", str(len(lines)))
    return events
