"""How late positions are seen for the requests spent: the worker's policy beside what others do.

`python -m benchmarks.freshness [--json] [--svg PATH]`; about a minute on one core, on a simulated clock. Every
policy gets the same budget of requests and the same contacts; beside each figure stands the one that was
published for these scenarios.
"""

from pathlib import Path
from random import Random
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import followers, plot, simulated, waiting

SCENARIOS = ("mixed", "traces", "periodic", "poisson", "onoff", "mixed-small", "churn", "throttled")
PLOTTED = {"mixed": "mixed fleet", "traces": "recorded people", "periodic": "near-regular phones"}
PENDING = ("pending-nohook", "pending-heavy", "pending-hook")
SEEDS = 3
PER_HOUR = (6.0, 10.0, 20.0, 36.0, 60.0, 90.0)  # reads per chat, for the plot

POLICIES: dict[str, tuple[followers.Policy, str, int]] = {
    "fixed interval": (followers.fixed, "fixed", 1),
    "backoff x2, tuned": (followers.doubling, "backoff_x2_tuned", 1),
    "backoff, overbooked": (followers.overbooked, "", 1),
    "square root alone": (followers.square_root, "sqrt_only", SEEDS),
    "this worker": (followers.recommended, "recommended", SEEDS),
    "MIN_POLL_SECONDS=60": (followers.default_pace, "", SEEDS),
    "clairvoyant": (followers.clairvoyant, "clairvoyant_rate_limited", 1),
}


class Figure(msgspec.Struct, frozen=True):
    """One policy's delays in one scenario, in seconds; `interval` is the fleet's mean time between two reads."""

    scenario: str
    budget: str
    interval: float
    policy: str
    mean: float
    p95: float
    requests: float
    reference_mean: float | None
    reference_p95: float | None


def tracking() -> list[Figure]:
    """Follow every fleet with every policy and budget."""
    figures = []
    for name in SCENARIOS:
        scenario = simulated.load(name)
        for budget, rate in scenario.rates.items():
            for policy, (_, published, _) in POLICIES.items():
                result = _run(policy, scenario, rate)
                reference = scenario.reference[budget].get(published, {})
                figures.append(
                    Figure(
                        scenario=name,
                        budget=budget,
                        interval=scenario.mean_alive / rate,
                        policy=policy,
                        mean=result.mean,
                        p95=result.p95,
                        requests=result.requests,
                        reference_mean=reference.get("mean"),
                        reference_p95=reference.get("p95"),
                    )
                )
    return figures


def pending() -> list[Figure]:
    """Wait for every request's first position; `requests` are the reads of one chat here."""
    figures = []
    for name in PENDING:
        scenario = waiting.load(name)
        results = [waiting.await_all(scenario, Random(seed)) for seed in range(SEEDS)]
        mean, p95, polls, _ = (sum(values) / SEEDS for values in zip(*results, strict=True))
        figures += [
            Figure(name, "", 0.0, "this worker", mean, p95, polls, known["mean"], known["p95"])
            for known in [scenario.reference["recommended"]]
        ]
        figures += [
            Figure(name, "", 0.0, policy, known["mean"], known["p95"], known["polls_per_chat"], None, None)
            for policy, known in scenario.reference.items()
            if policy != "recommended"
        ]
    return figures


def draw() -> str:
    """Follow the fleets of the plot over a range of budgets."""
    panels = []
    for name, title in PLOTTED.items():
        scenario = simulated.load(name)
        rates = [per_hour * scenario.mean_alive / 3600.0 for per_hour in PER_HOUR]
        panels.append(
            plot.Panel(
                title=title,
                results={policy: [_run(policy, scenario, rate) for rate in rates] for policy in plot.STYLES},
            )
        )
    return plot.render(panels, PER_HOUR, ours="this worker", against="fixed interval")


def _run(policy: str, scenario: simulated.Scenario, rate: float) -> simulated.Result:
    run, _, seeds = POLICIES[policy]
    return simulated.average([run(scenario, rate, Random(seed)) for seed in range(seeds)])


def _print(console: Console, tracked: list[Figure], waited: list[Figure]) -> None:
    table = Table(title="Delay of positions while tracking: mean / p95 in seconds (published figures below)")
    for column in ("fleet", "one read in", *POLICIES):
        table.add_column(column, justify="left" if column == "fleet" else "right", no_wrap=True)
    for row in range(0, len(tracked), len(POLICIES)):
        figures = tracked[row : row + len(POLICIES)]
        table.add_row(
            figures[0].scenario,
            f"{figures[0].interval:.0f} s",
            *(_cell(figure) for figure in figures),
        )
    console.print(table)
    table = Table(title="Delay of a first position, requests to share: the worker's schedule beside published ones")
    for column in ("requests", "policy", "mean / p95, s", "reads per chat"):
        table.add_column(column, justify="left" if column in {"requests", "policy"} else "right")
    for figure in waited:
        table.add_row(figure.scenario, figure.policy.replace("_", " "), _cell(figure), f"{figure.requests:.1f}")
    console.print(table)


def _cell(figure: Figure) -> str:
    text = f"{figure.mean:.1f} / {figure.p95:.1f}"
    if figure.policy == "this worker":
        text = f"[bold]{text}[/bold]"
    if figure.reference_mean is None:
        return text
    return f"{text}\n[dim]{figure.reference_mean:.1f} / {figure.reference_p95:.1f}[/dim]"


def compare(console: Console, *, quick: bool = False) -> dict[str, Any]:
    """Measure and print. Returns plain data for JSON; nothing is left out when `quick`: it takes a minute."""
    del quick  # unused: on a simulated clock nothing is gained by fewer rounds
    tracked, waited = tracking(), pending()
    _print(console, tracked, waited)
    return {"tracking": msgspec.to_builtins(tracked), "pending": msgspec.to_builtins(waited)}


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option("--svg", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Write a plot, too.")
def main(*, as_json: bool, svg: Path | None) -> None:
    """Measure, print, and draw."""
    tracked, waited = tracking(), pending()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode({"tracking": tracked, "pending": waited})))
    else:
        console = Console()
        _print(console if console.is_terminal else Console(width=140), tracked, waited)
    if svg:
        svg.write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
