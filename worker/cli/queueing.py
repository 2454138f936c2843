"""Commands that queue jobs: request, track, set-places, untrack, stop-sharing, forget."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from worker.cli.arguments import CHAT_ID, HANDLE, MESSAGE, PLACE, PLACE_NAME, REFERENCE, SECONDS
from worker.cli.output import as_json
from worker.cli.reporting import queue_and_report
from worker.cli.targets import Target, read_targets

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def together(*options: Callable[[Any], Any]) -> Callable[[CommandT], CommandT]:
    """Return several options as one decorator, in the order of the help."""

    def decorate(command: CommandT) -> CommandT:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


waiting = together(
    click.option(
        "--wait",
        is_flag=True,
        help="Wait for the results, and until each prompt is sent or refused; exit status 1 if one fails.",
    ),
    click.option(
        "--timeout", type=SECONDS, default=60, show_default=True, help="How long --wait waits for the next result."
    ),
    as_json,
)
_chats = together(
    click.argument("chat_ids", nargs=-1, metavar="[CHAT_ID]..."),
    click.option(
        "--file",
        metavar="PATH",
        help="Read chats from a file, `-` for standard input: `chat_id` or `chat_id,reference` a line.",
    ),
)
_places = (
    click.option(
        "--place",
        "places",
        type=PLACE,
        multiple=True,
        help="Publish arrivals at and departures from a place, such as depot:51.5033,-0.1196,200; radius in metres.",
    ),
    click.option("--until", type=PLACE_NAME, help="Stop tracking once the contact enters this place."),
)
_tracking_options = together(
    click.option("--to", type=HANDLE, help="The contact, instead of a chat id; the 1:1 chat is looked up."),
    click.option("--from", "from_", type=HANDLE, help="Your own line; goes with --to."),
    click.option("--reference", type=REFERENCE, help="Your own id; every event of the share carries it."),
    click.option("--once", is_flag=True, help="Stop after the first position."),
    click.option("--follow-for", type=SECONDS, help="Stop tracking after this long."),
    click.option("--min-interval", type=SECONDS, help="Least time between two reads."),
    click.option("--max-interval", type=SECONDS, help="Longest time between two reads."),
    click.option("--max-age", type=SECONDS, help="With --once: the oldest position that counts as an answer."),
    click.option("--stop-when-done", is_flag=True, help="Ask Linq to end the contact's share afterwards."),
    *_places,
)


@click.command()
@_chats
@_tracking_options
@click.option("--message", type=MESSAGE, help="First message of the chat, where there is none yet; goes with --to.")
@click.option("--accept-within", type=SECONDS, help="How long to wait for the contact to accept.")
@waiting
def request(
    *,
    chat_ids: tuple[str, ...],
    file: str | None,
    message: str | None,
    accept_within: float | None,
    wait: bool,
    timeout: float,
    as_json: bool,
    **options: Any,
) -> int:
    """Ask contacts for their location and track it.

    \b
    location-worker request 3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13 --reference order-7 --wait
    location-worker request --to +12025550147 --from +14155550100 --once
    location-worker request --file chats.csv
    """  # noqa: D301  # \b keeps click from rewrapping the examples
    if message is not None and not options["to"]:
        raise click.UsageError("--message creates a chat with a contact: name both with --to and --from")
    extra = {"message": message, "accept_within": accept_within}
    return _queue_tracking(
        "request_location", chat_ids, file, options, extra, wait=wait, timeout=timeout, as_json=as_json
    )


@click.command()
@_chats
@_tracking_options
@waiting
def track(
    *, chat_ids: tuple[str, ...], file: str | None, wait: bool, timeout: float, as_json: bool, **options: Any
) -> int:
    """Track chats without asking.

    For groups, and for contacts who share already.
    """
    return _queue_tracking("track_location", chat_ids, file, options, {}, wait=wait, timeout=timeout, as_json=as_json)


@click.command()
@_chats
@waiting
def untrack(*, chat_ids: tuple[str, ...], file: str | None, wait: bool, timeout: float, as_json: bool) -> int:
    """Stop tracking chats; nothing changes for the contact."""
    targets = read_targets(chat_ids, file)
    if not targets:
        raise click.UsageError("no chat: name CHAT_ID, or --file with one chat id a line")
    return queue_and_report(
        "untrack_location", [{"chat_id": target.chat_id} for target in targets], wait, timeout, as_json=as_json
    )


@click.command("set-places")
@click.argument("chat_id", type=CHAT_ID)
@together(*_places)
@waiting
def set_places(
    *,
    chat_id: str,
    places: tuple[dict[str, Any], ...],
    until: str | None,
    wait: bool,
    timeout: float,
    as_json: bool,
) -> int:
    """Change the places of a tracked chat.

    Without --place it has none from then on.
    \b
    location-worker set-places 3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13 --place depot:51.5033,-0.1196,200 --until depot
    """  # noqa: D301  # \b keeps click from rewrapping the example
    arguments = {"chat_id": chat_id, "places": list(places), "until": until}
    return queue_and_report("set_places", [arguments], wait, timeout, as_json=as_json)


@click.command("stop-sharing")
@click.argument("chat_id", type=CHAT_ID)
@click.argument("handle", type=HANDLE)
@waiting
def stop_sharing(*, chat_id: str, handle: str, wait: bool, timeout: float, as_json: bool) -> int:
    """Ask Linq to end a contact's share.

    It ends in every chat with the contact.
    """
    return queue_and_report("stop_sharing", [{"chat_id": chat_id, "handle": handle}], wait, timeout, as_json=as_json)


@click.command()
@click.argument("handle", type=HANDLE)
@waiting
def forget(*, handle: str, wait: bool, timeout: float, as_json: bool) -> int:
    """Erase what is kept about a handle.

    State, latest position, events and dead letters.
    """
    return queue_and_report("forget_handle", [{"handle": handle}], wait, timeout, as_json=as_json)


def _queue_tracking(
    function: str,
    chat_ids: Sequence[str],
    file: str | None,
    options: Mapping[str, Any],
    extra: Mapping[str, Any],
    *,
    wait: bool,
    timeout: float,
    as_json: bool,
) -> int:
    shortest, longest = options["min_interval"], options["max_interval"]
    if shortest is not None and longest is not None and shortest > longest:
        raise click.UsageError(
            f"--min-interval {shortest:g} is above --max-interval {longest:g}: expected it at or below"
        )
    if options["max_age"] is not None and not options["once"]:
        raise click.UsageError("--max-age waits for one position: give --once, too")
    to, own = options["to"], options["from_"]
    if (to is None) != (own is None):
        raise click.UsageError("--to and --from go together: the contact and your own line")
    if to is not None and (chat_ids or file is not None):
        raise click.UsageError("a chat id and --to both name the chat: give one of them")
    targets = [Target("")] if to is not None else read_targets(chat_ids, file)
    if not targets:
        raise click.UsageError("no chat: name CHAT_ID, --file with one chat id a line, or --to and --from")
    shared = {
        "to": to,
        "from_": own,
        "follow": not options["once"],
        "follow_for": options["follow_for"],
        "min_interval": shortest,
        "max_interval": longest,
        "places": list(options["places"]) or None,
        "until": options["until"],
        "max_age": options["max_age"],
        "stop_when_done": options["stop_when_done"] or None,
        **extra,
    }
    jobs = [
        {**shared, "chat_id": target.chat_id or None, "reference": target.reference or options["reference"]}
        for target in targets
    ]
    return queue_and_report(function, jobs, wait, timeout, as_json=as_json)
