"""A service that asks couriers for their location and knows where each order is.

pip install fastapi uvicorn location-client
uvicorn app:app --port 8000
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, HTTPException

from location_client import Feature, JobFailed, LocationClient, NotLocatedError, Place

positions: dict[str, Feature] = {}
"""The last position of each order. Keep it in your database, with the ids of the events that you have handled."""
arrivals: dict[str, str] = {}
"""When each order arrived: the time of the position that showed it (RFC 3339, UTC)."""


async def follow(client: LocationClient) -> None:
    """Handle events as one member of a group: each goes to one process of this service."""
    seen: set[str] = set()
    async for event in client.group_events("orders", os.environ.get("HOSTNAME", "orders-1")):
        if event.id not in seen:
            seen.add(event.id)
            order = event.reference or ""
            if event.type == "location.updated":
                positions[order] = event.data
            elif event.type == "location.place.entered":
                arrivals[order] = event.time
            elif event.type == "location.tracking.ended":
                positions.pop(order, None)
        await event.acknowledge()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Read the events while the service runs."""
    url = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
    async with LocationClient(url, key_prefix=os.environ.get("KEY_PREFIX", "location")) as client:
        app.state.client = client
        task = asyncio.create_task(follow(client))
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


app = FastAPI(lifespan=lifespan)


@app.post("/orders/{order}/courier/{chat_id}", status_code=202)
async def ask(order: str, chat_id: str) -> dict[str, Any]:
    """Ask the courier of an order to share the location."""
    client: LocationClient = app.state.client
    try:
        job = await client.request_location(chat_id=chat_id, reference=order, follow_for=4 * 3600)
        result = await job.result(timeout=10)
    except ValueError as error:
        raise HTTPException(422, str(error)) from None
    except (JobFailed, TimeoutError) as error:
        raise HTTPException(503, str(error)) from None
    if result["status"] == "rejected":
        raise HTTPException(409, result["reason"])
    return {"status": result["status"], "prompt": result["prompt"]}


@app.post("/orders/{order}/delivery/{chat_id}", status_code=202)
async def deliver(order: str, chat_id: str, latitude: float, longitude: float) -> dict[str, str]:
    """Track the courier of an order to the door; with the arrival the share ends, on the courier's phone, too."""
    client: LocationClient = app.state.client
    door: Place = {"name": "door", "latitude": latitude, "longitude": longitude, "radius": 100}
    try:
        await client.request_location(
            chat_id=chat_id, reference=order, places=[door], until="door", stop_when_done=True
        )
    except ValueError as error:
        raise HTTPException(422, str(error)) from None
    return {"status": "queued"}


@app.get("/orders/{order}/arrival")
async def arrival(order: str) -> dict[str, str]:
    """Return when an order arrived."""
    if order not in arrivals:
        raise HTTPException(404, "not yet")
    return {"arrived_at": arrivals[order]}


@app.get("/orders/{order}/position")
async def show(order: str) -> dict[str, Any]:
    """Return where an order is, as GeoJSON."""
    if order not in positions:
        raise HTTPException(404, "no position yet")
    return {**positions[order]}


@app.get("/couriers/{chat_id}/now")
async def locate(chat_id: str) -> dict[str, Any]:
    """Return where a courier is now, at most two minutes old, and end the share: to choose who takes an order."""
    client: LocationClient = app.state.client
    try:
        return {**await client.locate(chat_id, max_age=120, stop_when_done=True, timeout=60)}
    except ValueError as error:
        raise HTTPException(422, str(error)) from None
    except NotLocatedError as error:
        raise HTTPException(409, str(error)) from None
    except (JobFailed, TimeoutError) as error:
        raise HTTPException(503, str(error)) from None
