"""A typed client for the location worker: queue jobs, read events, look up the latest positions."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from location_client.arguments import Chat, Pin, Request
    from location_client.client import LocationClient, QueuedJob
    from location_client.data import (
        EndReason,
        Feature,
        PinFailedData,
        PinLocation,
        PinQueuedData,
        Place,
        PlaceData,
        Point,
        PositionProperties,
        RejectionReason,
        RequestedData,
        RequestExpiredData,
        RequestRejectedData,
        SharingStaleData,
        SharingStartedData,
        SharingStoppedData,
        SharingUnreadableData,
        StopReason,
        TrackingEndedData,
    )
    from location_client.events import AnyEvent, Event, TypedEvent
    from location_client.jobs import Job, JobExists, JobFailed
    from location_client.locating import NotLocatedError
    from location_client.results import (
        ForgetResult,
        PinFailedResult,
        PinQueuedResult,
        PinResult,
        PlacesResult,
        RejectedResult,
        RequestedResult,
        RequestResult,
        StopResult,
        TrackedResult,
        TrackResult,
        UntrackResult,
    )
else:
    # Loaded on first use: code that only needs an address or a bound does not wait for the rest.
    def __getattr__(name):  # noqa: ANN001, ANN202  # for run time only: type checkers read the imports above
        if name in __all__:
            for module in ("arguments", "data", "results", "events", "jobs", "locating", "client"):
                found = vars(import_module(f"{__name__}.{module}")).get(name)
                if found is not None:
                    return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "AnyEvent",
    "Chat",
    "EndReason",
    "Event",
    "Feature",
    "ForgetResult",
    "Job",
    "JobExists",
    "JobFailed",
    "LocationClient",
    "NotLocatedError",
    "Pin",
    "PinFailedData",
    "PinFailedResult",
    "PinLocation",
    "PinQueuedData",
    "PinQueuedResult",
    "PinResult",
    "Place",
    "PlaceData",
    "PlacesResult",
    "Point",
    "PositionProperties",
    "QueuedJob",
    "RejectedResult",
    "RejectionReason",
    "Request",
    "RequestExpiredData",
    "RequestRejectedData",
    "RequestResult",
    "RequestedData",
    "RequestedResult",
    "SharingStaleData",
    "SharingStartedData",
    "SharingStoppedData",
    "SharingUnreadableData",
    "StopReason",
    "StopResult",
    "TrackResult",
    "TrackedResult",
    "TrackingEndedData",
    "TypedEvent",
    "UntrackResult",
]
