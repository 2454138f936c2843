"""One position, now: queue a request, wait for its outcome, and return a position or raise what happened instead."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Unpack

from location_client.arguments import Request
from location_client.data import Feature
from location_client.limits import SECONDS

if TYPE_CHECKING:
    from location_client.client import LocationClient

LAST_READ_SECONDS = 2.0


class NotLocatedError(Exception):
    """No position can be had; `reason` is that of `location.tracking.ended` or `location.request.rejected`.

    `last` is the newest position that was too old, None if there was none.
    """

    def __init__(self, reason: str, last: Feature | None = None) -> None:
        """Keep `reason` and `last`."""
        super().__init__(f"no position: {reason}")
        self.reason = reason
        self.last = last


async def locate(client: "LocationClient", *, timeout: float, **arguments: Unpack[Request]) -> Feature:
    """Return one position; see `LocationClient.locate`."""
    if not SECONDS.accepts(timeout):
        raise ValueError(f"locate: timeout: given {timeout!r}; accepted: {SECONDS.accepted}")
    if arguments.setdefault("follow", False) is not False:
        raise ValueError("locate: follow: one position is waited for; leave it out")
    # The request expires a little before, so that its last read and what came of it are still seen.
    arguments.setdefault("accept_within", max(timeout / 2, timeout - LAST_READ_SECONDS))
    try:
        async with asyncio.timeout(timeout):
            return await _await_position(client, arguments)
    except TimeoutError:
        raise TimeoutError(f"no position within {timeout:g} s") from None


async def _await_position(client: "LocationClient", arguments: Request) -> Feature:
    after = await client.last_event_id()
    max_age = arguments.get("max_age")
    job = await client.request_location(**arguments)
    result = await job.result(timeout=None)
    if result["status"] == "rejected":
        raise NotLocatedError(result["reason"])
    share_id = result["share_id"]
    is_own = result["status"] != "already_tracked"
    if not is_own:
        # The chat was tracked before: a known position may be fresh enough.
        for feature in (await client.latest(result["chat_id"])).values():
            if is_fresh(feature, max_age, datetime.now(UTC)):
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
    raise AssertionError("the stream of events has no end")


def is_fresh(feature: Feature, max_age: float | None, at: datetime | None = None) -> bool:
    """Return whether a position was at most `max_age` seconds old `at` that time; None: when it was read.

    The age of one without `updated_at` counts from when it was read.
    """
    if max_age is None:
        return True
    known = feature["properties"]
    received_at = datetime.fromisoformat(known["received_at"])
    updated_at = received_at if known["updated_at"] is None else datetime.fromisoformat(known["updated_at"])
    return ((at or received_at) - updated_at).total_seconds() <= max_age
