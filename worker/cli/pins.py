"""The command that sends a pin."""

from typing import TYPE_CHECKING, Any

import click

from location_client import limits
from worker.cli.arguments import (
    CHAT_ID,
    HANDLE,
    IDEMPOTENCY_KEY,
    LATITUDE,
    LONGITUDE,
    MOMENT,
    PHONE,
    PIN_IDENTIFIER,
    PIN_TEXT,
    PIN_URL,
    REFERENCE,
)
from worker.cli.connection import with_client
from worker.cli.queueing import waiting
from worker.cli.reporting import queue_and_report

if TYPE_CHECKING:
    from location_client import LocationClient


@click.command()
@click.option("--phone", type=PHONE, help="The recipient.")
@click.option("--chat-id", type=PIN_IDENTIFIER, help="The recipient's chat at Chert, instead of --phone.")
@click.option("--latitude", type=LATITUDE)
@click.option("--longitude", type=LONGITUDE)
@click.option("--from-share", type=CHAT_ID, help="Use the latest position in this Linq chat.")
@click.option("--handle", type=HANDLE, help="Whose position, if several people share in that chat.")
@click.option("--label", type=PIN_TEXT, help="Name of the place.")
@click.option("--address", type=PIN_TEXT, help="Second line.")
@click.option("--url", type=PIN_URL, help="A link in place of the one to the map.")
@click.option("--fallback-mode", type=click.Choice(limits.FALLBACK_MODES), help="A card, a link, or whichever works.")
@click.option("--expires-at", type=MOMENT, help="For your own records: nothing expires on the phone.")
@click.option("--phone-line-id", type=PIN_IDENTIFIER, help="Which of your lines sends it.")
@click.option(
    "--idempotency-key", type=IDEMPOTENCY_KEY, help="The same key never sends a second pin; the job id by default."
)
@click.option("--external-id", type=PIN_IDENTIFIER, help="Your own id, stored by Chert.")
@click.option("--reference", type=REFERENCE, help="Your own id, carried by the pin's event.")
@waiting
def pin(
    *,
    latitude: float | None,
    longitude: float | None,
    from_share: str | None,
    handle: str | None,
    wait: bool,
    timeout: float,
    as_json: bool,
    **rest: Any,
) -> int:
    """Send a one-time pin on the map through Chert."""
    if (rest["phone"] is None) == (rest["chat_id"] is None):
        raise click.UsageError("a pin has one recipient: give either --phone or --chat-id (Chert's)")
    if handle is not None and from_share is None:
        raise click.UsageError(
            "--handle chooses a person in the chat of --from-share: name that chat, or leave --handle out"
        )
    if from_share is not None:
        if latitude is not None or longitude is not None:
            raise click.UsageError("--from-share brings the coordinates: leave --latitude and --longitude out")
        latitude, longitude = with_client(lambda client: _latest_position(client, from_share, handle))
    if latitude is None or longitude is None:
        raise click.UsageError("no place: give --latitude and --longitude, or --from-share CHAT_ID")
    arguments = {"latitude": latitude, "longitude": longitude, **rest}
    return queue_and_report("send_pin", [arguments], wait, timeout, as_json=as_json)


async def _latest_position(client: "LocationClient", chat_id: str, handle: str | None) -> tuple[float, float]:
    positions = await client.latest(chat_id)
    if handle is not None:
        positions = {known: feature for known, feature in positions.items() if known == handle}
    if not positions:
        raise click.ClickException(
            f"nobody shares a position in chat {chat_id} at the moment"
            + (" under this handle" if handle else "")
            + "; `location-worker status` shows who does"
        )
    if len(positions) > 1:
        raise click.ClickException(
            f"{len(positions)} people share in chat {chat_id}; choose one with --handle: {', '.join(positions)}"
        )
    ((_, feature),) = positions.items()
    longitude, latitude = feature["geometry"]["coordinates"][:2]
    return latitude, longitude
