"""The fresh positions that jobs with `max_age` ask for: read from the stream until each share has ended."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from location_client import LocationClient


async def await_positions(
    client: "LocationClient",
    after: str,
    outcomes: dict[str, dict[str, Any]],
    *,
    timeout: float,
    tell: Callable[[int], object],
) -> None:
    """Bring the results of jobs, by job id, up to date with the position (a GeoJSON Feature) that ended each share.

    Reads from the stream id `after` on. A share that ends without one has the status `ended` and its reason; one that
    goes on after `timeout` seconds without any end keeps its result.
    """
    waiting = {
        outcome["share_id"]: job_id
        for job_id, outcome in outcomes.items()
        if "share_id" in outcome and outcome["status"] not in {"rejected", "ended"}
    }
    last: dict[str, Any] = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout) as deadline:
            async for event in client.events(after):
                share_id = event.share_id
                if share_id is None or share_id not in waiting:
                    continue
                if event.type == "location.updated":
                    last[share_id] = event.data
                elif event.type == "location.tracking.ended":
                    job_id = waiting.pop(share_id)
                    reason = event.data["reason"]
                    if reason == "first_position":
                        outcomes[job_id] = {**outcomes[job_id], "status": "located", "position": last.get(share_id)}
                    else:
                        outcomes[job_id] = {**outcomes[job_id], "status": "ended", "reason": reason}
                    tell(1)
                    deadline.reschedule(asyncio.get_running_loop().time() + timeout)
                if not waiting:
                    return
