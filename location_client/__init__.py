"""A typed client for the location worker: queue jobs, read events, look up the latest positions."""

from location_client.client import (
    LocationClient,
    QueuedJob,
)
from location_client.events import (
    Event,
    Feature,
    Point,
    PositionProperties,
)
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
