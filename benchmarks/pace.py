"""What the least interval between two reads of a chat costs and gains: MIN_POLL_SECONDS 60 beside smaller ones.

`python -m benchmarks pace`: the fleets of the freshness benchmark with the settings' defaults and plenty of
requests, on a simulated clock, ten seconds.
"""

from random import Random
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import followers, simulated
from worker.domain.decision import Limits

FLEETS = {"mixed": "mixed fleet", "traces": "recorded people", "periodic": "near-regular phones"}
MIN_POLL_SECONDS = (60.0, 30.0, 15.0, 5.0)  # the default first
RATE = 20.0  # requests per second, the settings' default: more than these fleets can use
SEEDS = 3


class Figure(msgspec.Struct, frozen=True):
    """Delays in seconds of one fleet at one pace; `missed` is the share of positions that no read showed."""

    fleet: str
    min_poll: float
    mean: float
    p95: float
    missed: float
    reads_per_chat_and_hour: float


def measure() -> list[Figure]:
    """Follow every fleet at every pace."""
    figures = []
    for name in FLEETS:
        scenario = simulated.load(name)
        chat_hours = scenario.mean_alive * scenario.horizon_s / 3600.0
        for minimum in MIN_POLL_SECONDS:
            result = simulated.average([_run(scenario, minimum, seed) for seed in range(SEEDS)])
            figures.append(Figure(name, minimum, result.mean, result.p95, result.missed, result.requests / chat_hours))
    return figures


def _run(scenario: simulated.Scenario, minimum: float, seed: int) -> simulated.Result:
    worker = followers.Worker(RATE, Random(seed), limits=Limits(min_poll=minimum))
    return simulated.follow(simulated.Fleet(scenario), worker, RATE)


def compare(console: Console, *, quick: bool = False) -> dict[str, Any]:
    """Measure and print. Returns plain data for JSON; nothing is left out when `quick`: it takes ten seconds."""
    del quick  # unused: on a simulated clock nothing is gained by fewer rounds
    figures = measure()
    table = Table(title="Delay of positions by MIN_POLL_SECONDS, requests in plenty")
    for column in ("fleet", "MIN_POLL_SECONDS", "mean / p95, s", "never seen", "reads per chat and hour"):
        table.add_column(column, justify="left" if column == "fleet" else "right")
    for figure in figures:
        table.add_row(
            FLEETS[figure.fleet],
            f"{figure.min_poll:g}",
            f"{figure.mean:.1f} / {figure.p95:.1f}",
            f"{figure.missed:.0%}",
            f"{figure.reads_per_chat_and_hour:.1f}",
        )
    console.print(table)
    return {"pace": msgspec.to_builtins(figures)}
