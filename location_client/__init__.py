"""A typed client for the location worker: queue jobs, read events, look up the latest positions."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from location_client.client import LocationClient, QueuedJob
    from location_client.events import Event, Feature, Point, PositionProperties
    from location_client.jobs import (
        Chat,
        ForgetResult,
        Job,
        JobExists,
        JobFailed,
        Pin,
        PinResult,
        Request,
        RequestResult,
        StopResult,
        TrackResult,
        UntrackResult,
    )
else:
    # Loaded when first asked for: whoever needs the bounds of limits.py only does not wait for redis-py.
    def __getattr__(name):  # noqa: ANN001, ANN202  # for run time only: type checkers read the imports above
        for module in ("client", "events", "jobs"):
            found = getattr(import_module(f"{__name__}.{module}"), name, None)
            if name in __all__ and found is not None:
                return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Chat",
    "Event",
    "Feature",
    "ForgetResult",
    "Job",
    "JobExists",
    "JobFailed",
    "LocationClient",
    "Pin",
    "PinResult",
    "Point",
    "PositionProperties",
    "QueuedJob",
    "Request",
    "RequestResult",
    "StopResult",
    "TrackResult",
    "UntrackResult",
]
