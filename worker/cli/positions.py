"""Wait for the fresh positions that jobs with `max_age` ask for: read the stream until each share has ended."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from location_client.locating import is_fresh

if TYPE_CHECKING:
    from location_client import LocationClient


async def await_positions(
    client: "LocationClient",
    after: str,
    outcomes: dict[str, dict[str, Any]],
    *,
    max_age: float,
    timeout: float,
    tell: Callable[[int], object],
) -> None:
    """Add to the results of jobs, by job id, a position (a GeoJSON Feature) that is fresh enough.

    Reads the stream after the id `after`. A share that ends without one gets the status `ended` and its reason; after
    `timeout` seconds in which none has ended, the others keep their results. For a chat that was tracked before, the
    latest position counts too.
    """
    waiting = {
        outcome["share_id"]: job_id
        for job_id, outcome in outcomes.items()
        if "share_id" in outcome and outcome["status"] not in {"rejected", "ended"}
    }
    shared = {share_id for share_id, job_id in waiting.items() if outcomes[job_id]["status"] == "already_tracked"}
    last: dict[str, Any] = {}

    def settle(share_id: str, **found: Any) -> None:
        job_id = waiting.pop(share_id)
        outcomes[job_id] = {**outcomes[job_id], **found}
        tell(1)

    for share_id in shared:
        known = (await client.latest(outcomes[waiting[share_id]]["chat_id"])).values()
        fresh = [feature for feature in known if is_fresh(feature, max_age, datetime.now(UTC))]
        if fresh:
            settle(share_id, status="located", position=fresh[-1])
    if not waiting:
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout) as deadline:
            async for event in client.events(after):
                share_id = event.share_id
                if share_id is None or share_id not in waiting:
                    continue
                if event.type == "location.updated" and is_fresh(event.data, max_age):
                    last[share_id] = event.data
                    if share_id in shared:
                        settle(share_id, status="located", position=event.data)
                elif event.type == "location.tracking.ended":
                    reason = event.data["reason"]
                    if reason == "first_position":
                        settle(share_id, status="located", position=last.get(share_id))
                    else:
                        settle(share_id, status="ended", reason=reason)
                    deadline.reschedule(asyncio.get_running_loop().time() + timeout)
                if not waiting:
                    return
