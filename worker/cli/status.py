"""The command `status`: what is tracked."""

from typing import TYPE_CHECKING, Any

import click

from worker.cli.arguments import CHAT_ID
from worker.cli.connection import with_client
from worker.cli.output import as_json, print_json, print_table, progress
from worker.text import clean, counted, describe_share, in_words

if TYPE_CHECKING:
    from location_client import LocationClient
    from worker.domain.share import Share
    from worker.store.shares import Overview
    from worker.store.store import Store

DEFAULT_LIMIT = 20
MAX_SHOWN = 1000  # in one table; more are for `--all`

_COLUMNS = ("chat", "phase", "next", "rule", "position", "people", "reference")
_LINE = "{:<36}  {:<12}  {:>6}  {:<16}  {:>8}  {:>6}  {}"


@click.command()
@click.argument("chat_id", required=False, type=CHAT_ID)
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_SHOWN),
    default=DEFAULT_LIMIT,
    show_default=True,
    help="Show at most this many chats, most overdue first.",
)
@click.option("--all", "everything", is_flag=True, help="Show every tracked chat; JSON is then one line for each.")
@as_json
def status(*, chat_id: str | None, limit: int, everything: bool, as_json: bool) -> int:
    """Show what is tracked, or one chat.

    How many chats are in each phase, and for those to be read next: phase, next read and why, age of the last position.
    """
    from config.settings import load_settings  # noqa: PLC0415  # see worker.cli

    settings = load_settings("client")

    async def work(client: "LocationClient") -> int:
        from worker.store.store import Store  # noqa: PLC0415

        store = Store(client.redis, settings)
        if chat_id is not None:
            return await _show_one(store, chat_id, as_json=as_json)
        if everything:
            return await _show_all(store, as_json=as_json)
        return await _show_next(store, limit, as_json=as_json)

    return with_client(work, settings)


async def _show_one(store: "Store", chat_id: str, *, as_json: bool) -> int:
    loaded = await store.shares.load(chat_id)
    if loaded.share is None:
        raise click.ClickException(
            f"chat {chat_id} is not tracked, and was not within the last day; "
            "`location-worker request` or `track` starts it"
        )
    described = describe_share(chat_id, loaded.share, loaded.due, loaded.now)
    if as_json:
        print_json(described)
    else:
        people = described.pop("people")
        print_table("share", ("", ""), list(described.items()))
        if people:
            print_table("people", tuple(people[0]), [tuple(person.values()) for person in people])
    return 0


async def _show_next(store: "Store", limit: int, *, as_json: bool) -> int:
    overview = await store.shares.overview()
    chats: list[tuple[str, Share, float]] = []
    async for page in store.shares.tracked(page=limit):
        chats = page
        break
    more = max(0, overview.tracked - len(chats))
    described = [describe_share(chat_id, share, due, overview.now) for chat_id, share, due in chats]
    if as_json:
        about = {"watched": overview.tracked, "phases": overview.phases, "late_seconds": round(overview.lag, 1)}
        print_json({**about, "chats": described, "more": more})
        return 0
    print_table(_title(overview), _COLUMNS, [_row(chat) for chat in described])
    if more:
        click.echo(f"{more:,} more: `--limit`, `--all`, or `location-worker status CHAT_ID`")
    return 0


async def _show_all(store: "Store", *, as_json: bool) -> int:
    overview = await store.shares.overview()
    if not as_json:
        click.echo(_title(overview))
        click.echo(_LINE.format(*_COLUMNS))
    with progress(overview.tracked, "chats") as advance:
        # Workers go on meanwhile, so a chat may appear twice, the second time with a later due time.
        shown: set[str] = set()
        async for page in store.shares.tracked():
            for chat_id, share, due in page:
                if chat_id in shown:
                    continue
                shown.add(chat_id)
                described = describe_share(chat_id, share, due, overview.now)
                if as_json:
                    print_json(described)
                else:
                    click.echo(_LINE.format(*(clean(cell) for cell in _row(described))).rstrip())
            advance(len(page))
    return 0


def _title(overview: "Overview") -> str:
    phases = ", ".join(f"{count:,} {phase}" for phase, count in overview.phases.items() if count)
    late = f"; the most overdue one is {in_words(overview.lag)} late" if overview.lag >= 1 else ""
    return f"{counted(overview.tracked, 'chat')} tracked" + (f": {phases}" if phases else "") + late


def _row(described: dict[str, Any]) -> tuple[object, ...]:
    return (
        described["chat_id"],
        described["phase"],
        in_words(described["next_read_in"]),
        described["rule"],
        in_words(described["position_age"]),
        sum(1 for person in described["people"] if person["sharing"]),
        described["reference"],
    )
