"""Replay a recorded POLL_LOG through other parameters of the polling policy.

`python -m benchmarks.replay FILE`: requests and delays as recorded, and as they would have been. Only positions
that were read are in a log: those that came and went between two reads are missing from both columns, so what
shorter intervals gain is understated.
"""

import math
from random import Random
from typing import Any, BinaryIO

import click
import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import recording
from benchmarks.followers import Worker
from benchmarks.simulated import Fleet, average, follow
from worker.domain.decision import Limits
from worker.domain.policy import PRICE_FLOOR

SEEDS = 3
MIN_PAUSE_SECONDS = 3600.0  # seconds without a read that count as a pause in recording
ROWS = {
    "requests": "requests",
    "mean": "mean delay, s",
    "p95": "95th percentile of delay, s",
    "worst_decile": "mean delay, 90th percentile of shares, s",
    "missed": "recorded positions never seen",
}


def _positive(_context: click.Context, parameter: click.Parameter, value: float) -> float:
    if not math.isfinite(value) or value <= 0.0:
        raise click.BadParameter(f"{value:g} is no finite number above 0", param=parameter)
    return value


@click.command(help=__doc__)
@click.argument("file", type=click.File("rb"))
@click.option(
    "--price-floor", default=PRICE_FLOOR, show_default=True, callback=_positive, help="Square root of seconds."
)
@click.option("--min-poll", default=60.0, show_default=True, callback=_positive, help="Seconds.")
@click.option("--max-poll", default=600.0, show_default=True, callback=_positive, help="Seconds.")
@click.option("--rate", default=20.0, show_default=True, callback=_positive, help="Requests per second.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(*, file: BinaryIO, price_floor: float, min_poll: float, max_poll: float, rate: float, as_json: bool) -> None:
    """Read the log, replay it, and print both."""
    if min_poll > max_poll:
        raise click.BadParameter(f"{min_poll:g} is above --max-poll {max_poll:g}", param_hint="--min-poll")
    log = recording.load(file)
    parts = recording.stretches(log, pause=max(MIN_PAUSE_SECONDS, 4.0 * max_poll))
    report: dict[str, Any] = {
        "lines": log.lines,
        "bad_lines": log.bad,
        "problems": log.problems,
        "shares": len({part.share for part in parts}),
        "rules": dict(log.rules.most_common()),
        "positions": sum(len(part.positions) for part in parts),
        "parameters": {
            "price_floor": price_floor,
            "min_poll": min_poll,
            "max_poll": max_poll,
            "rate": rate,
        },
        "recorded": None,
        "replayed": None,
    }
    if parts:
        scenario = recording.scenario(parts, burst=max(1.0, rate))
        limits = Limits(min_poll=min_poll, max_poll=max_poll, price_floor=price_floor)
        results = []
        for seed in range(SEEDS):
            follower = Worker(rate, Random(seed), limits=limits)
            results.append(follow(Fleet(scenario), follower, rate))
        report["recorded"] = recording.as_recorded(Fleet(scenario), parts)._asdict()
        report["replayed"] = average(results)._asdict()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report)))
    else:
        _print(report)
    if not parts:
        click.echo("No read of this log shows a position: there is nothing to replay.", err=True)
        raise SystemExit(1)


def _print(report: dict[str, Any]) -> None:
    console = Console()
    console.print(
        f"{report['lines']} lines, {report['bad_lines']} of them unusable;"
        f" {report['shares']} shares, {report['positions']} positions",
        highlight=False,
    )
    for problem in report["problems"]:
        console.print(f"  {problem}", markup=False, highlight=False)
    if report["recorded"] is None:
        return
    table = Table()
    for column in ("", "recorded", "replayed"):
        table.add_column(column, justify="left" if not column else "right")
    for key, label in ROWS.items():
        table.add_row(label, *(_cell(key, report[side][key]) for side in ("recorded", "replayed")))
    console.print(table)


def _cell(key: str, value: float) -> str:
    if math.isnan(value):
        return "none"
    return f"{value:.1%}" if key == "missed" else f"{value:.0f}" if key == "requests" else f"{value:.1f}"


if __name__ == "__main__":
    main()
