"""The command `estimate`: how many requests people cost, and how fresh their positions are."""

from typing import Any

import click

from worker.cli.arguments import RATE, SECONDS, SHARE
from worker.cli.output import as_json, print_json, print_table, progress

_INTERVALS = (15.0, 30.0, 60.0, 120.0, 300.0, 600.0)  # seconds, beside MIN_POLL_SECONDS
_BAR_WIDTH = 12
_MAX_SECONDS_A_READ = 86_400.0
_SCARCE = 0.8  # of the budget: polling plans with nine tenths of it, so from here on the budget is the limit


@click.command()
@click.option("--people", type=click.IntRange(1, 1_000_000), default=200, show_default=True, help="How many share.")
@click.option(
    "--moving",
    type=SHARE,
    default=0.3,
    show_default=True,
    help="The fraction of them on the move, 0 to 1.",
)
@click.option(
    "--interval",
    "intervals",
    type=SECONDS,
    multiple=True,
    help="Least time between two reads of one person, instead of several typical ones; may be repeated.",
)
@click.option("--rate", type=RATE, help="Requests per second; LINQ_REQUESTS_PER_SECOND by default.")
@as_json
def estimate(*, people: int, moving: float, intervals: tuple[float, ...], rate: float | None, as_json: bool) -> None:
    """Estimate what people cost in requests.

    How many requests a day, and how fresh positions are then.

    \b
    location-worker estimate --people 200 --moving 0.3
    location-worker estimate --people 5000 --interval 300 --rate 50

    The polling policy runs on a simulated clock. Phones are assumed to publish every 20 to 90 seconds on the move,
    half an hour at a time, and every 5 to 15 minutes while still.
    """  # noqa: D301  # \b keeps click from rewrapping the examples
    from config.settings import load_settings  # noqa: PLC0415  # see worker.cli
    from worker.estimation import Crowd, Terms  # noqa: PLC0415
    from worker.estimation import estimate as estimate_crowd  # noqa: PLC0415

    settings = load_settings("demo")
    rate = settings.linq_requests_per_second if rate is None else rate
    own = settings.min_poll_seconds
    if people / rate > _MAX_SECONDS_A_READ:
        raise click.UsageError(
            f"{people:,} people at {rate:g} requests a second are read less than once a day: give a larger --rate"
        )
    rows = []
    with progress(len(intervals) or len(_INTERVALS), "simulating", least=2) as tell:
        for least in sorted(set(intervals or (*_INTERVALS, own))):
            terms = Terms(least, max(settings.max_poll_seconds, least), rate)
            rows.append((least, estimate_crowd(Crowd(people, moving), terms)))
            tell(1)
    if as_json:
        told = [{"min_interval": least, **found._asdict()} for least, found in rows]
        print_json({"people": people, "moving": moving, "rate": rate, "estimates": told})
        return
    most = max(found.requests_per_day for _, found in rows)
    print_table(
        f"{people:,} people, {moving:.0%} of them on the move, at most {rate:g} requests a second",
        ("every", "requests a day", "", "per hour", "delay", "95 %", "seen", "budget"),
        [
            (
                f"{least:g} s{' *' if least == own else ''}",
                f"{found.requests_per_day:,.0f}",
                "█" * max(1, round(_BAR_WIDTH * found.requests_per_day / most)),
                f"{found.requests_per_day / people / 24:.1f}",
                f"{found.mean_delay:,.0f} s",
                f"{found.p95_delay:,.0f} s",
                f"{found.seen:.0%}",
                f"{found.budget:.0%}",
            )
            for least, found in rows
        ],
    )
    click.echo(_explain(rows, own))


def _explain(rows: list[tuple[float, Any]], own: float) -> str:
    marked = " (*: MIN_POLL_SECONDS)" if any(least == own for least, _ in rows) else ""
    lines = [
        f"every: the least time between two reads of a person{marked}; per hour: reads of a person",
        "delay, 95 %: from when a position can be read until a read shows it or a newer one",
        "seen: the fraction of positions that some read shows; budget: the fraction of the rate that is used",
    ]
    if any(found.budget > _SCARCE for _, found in rows):
        lines.append("Where the budget is nearly used up, it is the limit: try a larger --rate.")
    lines.append("A request that nobody answers costs about 64 more reads in its first day.")
    return "\n".join(lines)
