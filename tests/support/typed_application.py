"""Somebody's application that uses the installed client, for mypy and pyright to check (never run)."""

from typing import Literal, assert_type

from location_client import (
    AnyEvent,
    Event,
    Feature,
    Job,
    JobFailed,
    LocationClient,
    Place,
    PlaceData,
    QueuedJob,
    RequestResult,
    TrackingEndedData,
)

HOME: Place = {"name": "home", "latitude": 51.5, "longitude": -0.1, "radius": 100}


async def ask(client: LocationClient) -> str:
    """Tell results apart by their status."""
    job = await client.request_location(to="+12025550147", from_="+14155550100", places=[HOME], until="home")
    assert_type(job, QueuedJob[RequestResult])
    try:
        result = await job.result(timeout=60)
    except JobFailed as failure:
        return failure.error
    if result["status"] == "rejected":
        assert_type(result["code"], int | None)
        return result["reason"]
    assert_type(result["prompt"], Literal["sent", "uncertain", "waiting"])
    return result["share_id"]


async def pin(client: LocationClient) -> str | None:
    """Tell a pin that was sent from one that was not."""
    result = await (await client.send_pin(phone="+12025550147", latitude=51.5, longitude=-0.1)).result()
    return result["phone_line_id"] if result["status"] == "queued" else result["detail"]


async def track(client: LocationClient, chats: list[str]) -> list[str]:
    """Keep the type of many results."""
    queued = await client.queue_many([Job.track_location(chat_id=chat) for chat in chats])
    shares = []
    async for _, outcome in client.results(queued):
        if not isinstance(outcome, JobFailed) and outcome["status"] != "rejected":
            shares.append(outcome["share_id"])
    return shares


def tell(event: Event) -> str:
    """Tell events apart by their type."""
    assert_type(event.share_id, str | None)
    if event.type == "location.updated":
        assert_type(event.data, Feature)
        return event.data["properties"]["handle"]
    match event.type:
        case "location.place.entered" | "location.place.left":
            assert_type(event.data, PlaceData)
            return event.data["place"]["name"]
        case "location.tracking.ended":
            assert_type(event.data, TrackingEndedData)
            return event.data["reason"]
        case _:
            return describe(event)


def describe(event: AnyEvent) -> str:
    """Take events of types that this version of the client does not know, too."""
    return f"{event.type} {event.chat_id}"


async def read(client: LocationClient) -> list[str]:
    """Read events and the latest positions."""
    lines = []
    async for event in client.group_events("billing", "billing-1", types=["location.updated"], block=0):
        lines.append(tell(event))
        await event.acknowledge()
    for handle, feature in (await client.latest("3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13")).items():
        assert_type(feature, Feature)
        lines.append(f"{handle} {feature['geometry']['coordinates']}")
    return lines
