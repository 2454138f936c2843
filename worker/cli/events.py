"""Commands about events: tail, schema."""

import os
import socket
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import click

from worker.cli.arguments import EVENT_TYPE, STARTING_POINT
from worker.cli.connection import with_client
from worker.cli.output import as_json, print_json, print_table
from worker.text import describe_event

if TYPE_CHECKING:
    from location_client import Event, LocationClient

_COLOURS = {
    "location.updated": "green",
    "location.requested": "cyan",
    "location.sharing.started": "bright_green",
    "location.sharing.stopped": "yellow",
    "location.sharing.stale": "yellow",
    "location.pin.queued": "cyan",
    "location.tracking.ended": "bright_black",
}
# Types not listed above are refusals and failures.
_OTHER_COLOUR = "red"


@click.command()
@click.option("--type", "types", multiple=True, type=EVENT_TYPE, help="Show only this type; may be repeated.")
@click.option(
    "--from", "start", type=STARTING_POINT, default="end", show_default=True,
    help="`beginning`, `end`, or the id of the entry to read after.",
)  # fmt: skip
@click.option(
    "--group", metavar="NAME", help="Read as a member of this consumer group, and acknowledge what is printed."
)
@click.option("--consumer", metavar="NAME", help="The member's name; this machine's by default.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after this many events.")
@as_json
def tail(
    *,
    types: tuple[str, ...],
    start: str,
    group: str | None,
    consumer: str | None,
    count: int | None,
    as_json: bool,
) -> None:
    """Show events as they come.

    Ctrl-C ends it. With --json: one CloudEvent a line.
    """
    if consumer is not None and group is None:
        raise click.UsageError("--consumer names a member: name its consumer group with --group")
    if group is not None and start not in {"0", "$"}:
        raise click.UsageError("a consumer group begins at `beginning` or `end`: its members go on from there")
    show = _show_json if as_json else _shower()

    async def follow(client: "LocationClient") -> None:
        shown = 0
        async for event in _events(client, types, start, group, consumer):
            show(event)
            if group is not None:
                await event.acknowledge()
            shown += 1
            if shown == count:
                return

    with_client(follow)


def _events(
    client: "LocationClient", types: tuple[str, ...], start: str, group: str | None, consumer: str | None
) -> "AsyncIterator[Event]":
    if group is None:
        return client.events(start, types=types or None)
    name = consumer or f"tail-{socket.gethostname()}"
    return client.group_events(group, name, start=start, types=types or None, count=100)


def _show_json(event: "Event") -> None:
    print_json(event.as_dict())


def _shower() -> "Callable[[Event], None]":
    def show(event: "Event") -> None:
        line = describe_event(event)
        styled = "NO_COLOR" not in os.environ
        click.echo(click.style(line, fg=_COLOURS.get(event.type, _OTHER_COLOUR)) if styled else line)

    return show


@click.command()
@click.argument("event_type", required=False, type=EVENT_TYPE, metavar="[TYPE]")
@as_json
def schema(*, event_type: str | None, as_json: bool) -> None:
    """Print the JSON Schema of an event type.

    Without TYPE: list the types.
    """
    import json  # noqa: PLC0415

    from worker.domain import events  # noqa: PLC0415  # models take a while to build

    if event_type is not None:
        click.echo(json.dumps(events.schema(event_type), indent=2, ensure_ascii=False))
    elif as_json:
        print_json({name: events.schema(name) for name in events.EVENT_TYPES})
    else:
        rows = [(name, events.dataschema(name)) for name in events.EVENT_TYPES]
        print_table("types of events", ("type", "dataschema"), rows)
