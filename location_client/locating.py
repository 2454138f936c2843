"""One position, now: queue a request, wait for what it brings, and give that or raise what happened instead."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Unpack

from location_client.arguments import Request
from location_client.data import Feature

if TYPE_CHECKING:
    from location_client.client import LocationClient


class NotLocatedError(Exception):
    """There is no position to be had; `reason` says why, as `location.tracking.ended` or `rejected` name it.

    `last` is the newest position that was too old, None where there was none.
    """

    def __init__(self, reason: str, last: Feature | None = None) -> None:
        """`reason` and `last` are kept."""
        super().__init__(f"no position: {reason}")
        self.reason = reason
        self.last = last


async def locate(client: "LocationClient", *, timeout: float, **arguments: Unpack[Request]) -> Feature:
    """Return one position; see `LocationClient.locate`."""
    after = await client.last_event_id()
    max_age = arguments.get("max_age")
    arguments["follow"] = False
    arguments.setdefault("accept_within", timeout)
    async with asyncio.timeout(timeout):
        job = await client.request_location(**arguments)
        result = await job.result(timeout=None)
        if result["status"] == "rejected":
            raise NotLocatedError(result["reason"])
        share_id = result["share_id"]
        is_own = result["status"] != "already_tracked"
        if not is_own:
            # The chat was tracked before: a position that is known already may be fresh enough.
            for feature in (await client.latest(result["chat_id"])).values():
                if is_fresh(feature, max_age):
                    return feature
        last: Feature | None = None
        async for event in client.events(after):
            if event.share_id != share_id:
                continue
            if event.type == "location.updated":
                last = event.data
                if not is_own and is_fresh(last, max_age):
                    return last
            elif event.type == "location.tracking.ended":
                if event.data["reason"] == "first_position" and last is not None:
                    return last
                raise NotLocatedError(event.data["reason"], last)
    raise TimeoutError


def is_fresh(feature: Feature, max_age: float | None) -> bool:
    """Return whether a position is at most `max_age` seconds old now, by its `updated_at` or else `received_at`."""
    if max_age is None:
        return True
    known = feature["properties"]
    moment = datetime.fromisoformat(known["updated_at"] or known["received_at"])
    return (datetime.now(UTC) - moment).total_seconds() <= max_age
