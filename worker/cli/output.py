"""How commands print: results on standard output, for people or as JSON; everything else on standard error."""

import contextlib
import json
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from worker.text import clean

_LONG = 2000  # steps; less work is done before a bar could be read
_SENTENCE = 40  # characters; a longer cell is a sentence and may be wrapped. A UUID has 36
_PIPED_WIDTH = 100  # columns where there is no terminal; more if a cell that must not be wrapped is wider

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def print_json(value: Any) -> None:
    """Print one line of JSON."""
    click.echo(json.dumps(value, ensure_ascii=False))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table that wraps only sentences, never what people copy.

    On a terminal too narrow for that, each row becomes a paragraph; without a terminal, lines are as long as needed.
    """
    from rich import box  # noqa: PLC0415  # rich takes longer to import than most commands to run
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    cells = [["" if cell is None else clean(cell) for cell in row] for row in rows]
    console = Console(file=sys.stdout)
    # Two characters after each cell, and one before the first.
    widths = _widths([columns, *cells], (console.width if console.is_terminal else _PIPED_WIDTH) - 2 * len(columns) - 1)
    width = sum(widths) + 2 * len(columns) + 1
    if width > console.width and console.is_terminal:
        click.echo(f"{title}\n")
        for row in cells:
            click.echo(_paragraph(columns, row, console.width))
        return
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    for name, column_width in zip(columns, widths, strict=True):
        table.add_column(name, width=column_width)
    for row in cells:
        table.add_row(*map(Text, row))
    if not console.is_terminal:
        console.width = width
    console.print(table)


def _widths(rows: Sequence[Sequence[str]], most: int) -> list[int]:
    """Return the width of each column: together `most`, or more where words and cells would be broken otherwise."""
    from rich.cells import cell_len  # noqa: PLC0415  # see print_table

    columns = list(zip(*rows, strict=True))
    natural = [max(map(cell_len, column)) for column in columns]
    least = [
        max(cell_len(word) for cell in column for word in [*cell.split(), ""])
        if any(map(_is_sentence, column))
        else width
        for column, width in zip(columns, natural, strict=True)
    ]
    widths = list(least)
    while sum(widths) < most and widths != natural:
        narrowest = min((width, number) for number, width in enumerate(widths) if width < natural[number])
        widths[narrowest[1]] += 1
    return widths


def _is_sentence(cell: str) -> bool:
    return len(cell) > _SENTENCE and " " in cell


def _paragraph(columns: Sequence[str], row: Sequence[str], width: int) -> str:
    """Return a row as lines: the first cell (two if the first column has no name), below it the others with names."""
    heads = 1 if columns[0] else 2
    lines = ["  ".join(row[:heads])]
    short: list[str] = []
    for name, cell in zip(columns[heads:], row[heads:], strict=True):
        named = f"{name} {cell}"
        if _is_sentence(cell):
            lines += textwrap.wrap(
                named,
                width,
                initial_indent="  ",
                subsequent_indent="    ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        elif cell and short and len(short[-1]) + 2 + len(named) <= width:
            short[-1] += f"  {named}"
        elif cell:
            short.append(f"  {named}")
    return "\n".join([lines[0], *short, *lines[1:]])


def note(text: str) -> None:
    """Print a message to standard error."""
    click.echo(text, err=True)


@contextlib.contextmanager
def progress(total: int, label: str, *, least: int = _LONG) -> Iterator[Callable[[int], object]]:
    """Show a progress bar, on a terminal and from `least` steps; yield the function to call after each step."""
    if total < least or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415  # see print_table
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda step: bar.advance(task, step)
