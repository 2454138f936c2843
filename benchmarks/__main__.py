"""`python -m benchmarks`: runs one part or all and prints what it found, with date and machine."""

import importlib
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.process import machine

PARTS = ("speed", "ideas", "growth", "jobs", "streaming", "freshness", "places")


@click.command()
@click.argument(
    "part",
    type=click.Choice([*PARTS, "durability", "instructions", "lateness", "pace", "profile", "soak", "views", "all"]),
    default="all",
)
@click.option("--quick", is_flag=True, help="Fewer rounds and smaller numbers: a look, no result.")
@click.option("--thorough", is_flag=True, help="Speed: every contender with every mode, and more rounds.")
@click.option("--only", default="", help="Speed: contenders whose name contains this.")
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures to FILE.")
def main(*, part: str, quick: bool, thorough: bool, only: str, target: Path | None) -> None:
    """Measure one part or all of them (under 20 minutes on two cores)."""
    # SIGTERM, too, ends the processes that were started.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    console = Console(width=None if sys.stdout.isatty() else 140)
    head = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "python": sys.version.split()[0],
    }
    console.print(f"{head['date']}, {head['machine']}, Python {head['python']}", highlight=False)
    found: dict[str, Any] = dict(head)
    for name in PARTS if part == "all" else (part,):
        console.rule(name)
        if name == "speed":
            from benchmarks import speed  # noqa: PLC0415 (parts are imported when they run)

            found[name] = speed.compare(
                console,
                rounds=1 if quick else 5 if thorough else 3,
                seconds=2.0 if quick else 4.0,
                every_mode=thorough,
                only=only,
            )
        else:
            found[name] = importlib.import_module(f"benchmarks.{name}").compare(console, quick=quick)
    if target is not None:
        target.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
