"""What commands print: results on standard output, for people or as JSON; everything else on standard
error.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from worker.text import clean

# A bar is worth its flicker only where the work lasts.
_LONG = 2000

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def print_json(value: Any) -> None:
    """Print one line of JSON."""
    click.echo(json.dumps(value, ensure_ascii=False))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; cells are shown in full also where there is no terminal."""
    from rich import box  # noqa: PLC0415  # rich takes longer to import than most commands to run
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for column in columns:
        # Folded, not cut: ids are there to be copied.
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else clean(cell)) for cell in row))
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console.width = 100_000
        console.width = console.measure(table).maximum
    console.print(table)


def note(text: str) -> None:
    """Say something beside the result."""
    click.echo(text, err=True)


@contextlib.contextmanager
def progress(total: int, label: str) -> Iterator[Callable[[int], object]]:
    """Show a bar on standard error where the work is long; yield the function that is told of each step."""
    if total < _LONG or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415  # see print_table
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda step: bar.advance(task, step)
