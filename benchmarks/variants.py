"""Ways to do the same small thing, measured in turn within one run, and what each costs beside the first."""

import contextlib
import os
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table


class Cost(NamedTuple):
    """What one thing cost: microseconds of CPU in this process (all threads) and in Redis; bytes it takes there."""

    client: float
    redis: float = 0.0
    size: float = 0.0


@dataclass(frozen=True, slots=True)
class Idea:
    """Ways to do one `unit` of something; the first is what the worker does, with which the others are compared."""

    name: str
    unit: str
    variants: dict[str, Callable[[], Cost]]


def measure(console: Console, ideas: list[Idea], *, rounds: int) -> dict[str, Any]:
    """Run all variants once in each round, print medians. Returns every figure as plain data for JSON."""
    costs: dict[tuple[str, str], list[Cost]] = defaultdict(list)
    total = rounds * sum(len(idea.variants) for idea in ideas)
    columns = (TextColumn("{task.description:<42}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # A bar that refreshes by itself would be a thread whose CPU is counted.
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as progress, _on_one_cpu():
        bar = progress.add_task("", total=total)
        for turn in range(rounds):
            for idea in ideas:
                variants = list(idea.variants.items())
                # A different one begins each round, so that none always follows the same one.
                shift = turn % len(variants)
                for name, variant in variants[shift:] + variants[:shift]:
                    progress.update(bar, description=idea.name, advance=1, refresh=True)
                    costs[idea.name, name].append(variant())
    _print(console, ideas, costs)
    return {
        idea.name: {
            "unit": idea.unit,
            "variants": {
                name: [cost._asdict() | {"ratio": ratio} for cost, ratio in zip(runs, ratios, strict=True)]
                for name, runs, ratios in _compared(idea, costs)
            },
        }
        for idea in ideas
    }


def _compared(idea: Idea, costs: dict[tuple[str, str], list[Cost]]) -> Iterator[tuple[str, list[Cost], list[float]]]:
    """Yield each variant with its costs and, round by round, their ratio to those of the first."""
    first = costs[idea.name, next(iter(idea.variants))]
    for name in idea.variants:
        runs = costs[idea.name, name]
        yield (
            name,
            runs,
            [(run.client + run.redis) / (base.client + base.redis) for run, base in zip(runs, first, strict=True)],
        )


def _print(console: Console, ideas: list[Idea], costs: dict[tuple[str, str], list[Cost]]) -> None:
    table = Table(
        title="medians of rounds; the first variant is what the worker does, ratios are of both CPUs",
        title_justify="left",
    )
    for heading in ("idea", "variant"):
        table.add_column(heading)
    for heading in ("CPU, µs", "Redis CPU, µs", "x the first (lowest to highest)", "bytes"):
        table.add_column(heading, justify="right")
    for idea in ideas:
        for number, (name, runs, ratios) in enumerate(_compared(idea, costs)):
            client, redis, size = (statistics.median(figures) for figures in zip(*runs, strict=True))
            table.add_row(
                "" if number else f"{idea.name}, per {idea.unit}",
                name,
                f"{client:.2f}",
                f"{redis:.2f}" if redis else "",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if number else "1",
                f"{size:.0f}" if size else "",
                end_section=number == len(idea.variants) - 1,
            )
    console.print(table)


@contextlib.contextmanager
def _on_one_cpu() -> Iterator[None]:
    """Keep this thread, and the programs it starts, on one CPU, where a variant with threads is at its cheapest."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
