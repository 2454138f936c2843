"""CPU per poll of this project, of what people would use instead, and of bare GETs, interleaved in one run."""

import shutil
import statistics
from collections import defaultdict
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks.measure import ROOT, Contender, ContenderFailedError, Sample, own_python, python_of, run
from benchmarks.redis_server import running_redis
from benchmarks.stub import MODES, measure_ceiling, running_stub

_BENCH_PYTHON = python_of("benchmarks/.venv")
_BULLMQ = ROOT / "benchmarks/contenders/bullmq"
_NEEDS_PACKAGES = "not installed in benchmarks/.venv (`make bench-install`)"
_NEEDS_NODE = "Node or its packages are missing (`make bench-install`)"

# The targets are set against the fastest library; the worker's own client is faster, and has a floor of its own.
FLOOR, OWN_FLOOR = "floor: bare GETs, pyreqwest", "floor: bare GETs, socket"
FLOORS = (FLOOR, OWN_FLOOR)
DEFAULT = "this project"
OURS = (DEFAULT, "this project, httpx")
OBVIOUS = "arq job per poll, httpx"
QUEUES = ("saq", "streaq", "taskiq stream", "taskiq list", "BullMQ fetch", "BullMQ undici")


def contenders() -> list[Contender]:
    """Return all contenders, installed or not."""

    def other(name: str, module: str, *, publishes: bool = True, **environment: str) -> Contender:
        package = _BENCH_PYTHON.parent.parent / "lib"
        return Contender(
            name,
            (str(_BENCH_PYTHON), "-m", f"benchmarks.contenders.{module}"),
            environment=environment,
            publishes=publishes,
            needs=next(package.glob(f"python*/site-packages/{module}"), package / module),
            remedy=_NEEDS_PACKAGES,
        )

    def bullmq(client: str) -> Contender:
        return Contender(
            f"BullMQ {client}",
            (shutil.which("node") or "node", str(_BULLMQ / "worker.mjs")),
            environment={"HTTP_CLIENT": client},
            needs=_BULLMQ / "node_modules/bullmq",
            remedy=_NEEDS_NODE,
        )

    def own(name: str, module: str, **more: Any) -> Contender:
        return Contender(name, (own_python(), "-m", f"benchmarks.contenders.{module}"), **more)

    def ours(name: str, *, chats: int, **environment: str) -> Contender:
        return own(name, "ours", environment=environment, chats=chats, events_key="location:events")

    return [
        other(FLOOR, "pyreqwest", publishes=False),
        own(OWN_FLOOR, "floor", publishes=False),
        # More chats than can be polled in the half second after which each is due again.
        ours(OURS[0], chats=20_000),
        ours(OURS[1], chats=2_000, POLL_CLIENT="httpx"),
        own(OBVIOUS, "arq_httpx"),
        own("arq job per poll, linq-python", "arq_sdk"),
        other("saq", "saq"),
        other("streaq", "streaq"),
        other("taskiq stream", "taskiq"),
        other("taskiq list", "taskiq", BROKER="list"),
        bullmq("fetch"),
        bullmq("undici"),
    ]


def compare(
    console: Console, *, rounds: int, seconds: float, every_mode: bool = False, only: str = ""
) -> dict[str, Any]:
    """Run all contenders `rounds` times, one after the other in each round, and print medians and spread.

    This project is measured with every poll new, one in five new, none new; the others with one in five
    (`every_mode`: with all three). Returns plain data for JSON.
    """
    skipped: dict[str, str] = {}
    samples: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    with running_stub() as stub, running_redis() as redis:
        ceiling = measure_ceiling(stub)
        console.print(
            f"stub: {stub.kind}, {ceiling.requests_per_second:,.0f} requests/s pipelined, "
            f"{ceiling.cpu_microseconds:.1f} µs of CPU each; {redis.version}"
        )
        plan = [
            (contender, mode)
            for contender in contenders()
            if only in contender.name
            for mode in (MODES if contender.name in OURS or (every_mode and contender.publishes) else ("fifth",))
        ]
        columns = (TextColumn("{task.description:<42}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            bar = progress.add_task("", total=rounds * len(plan))
            for turn in range(rounds):
                # A different one begins each round, so that none always runs during the same disturbance.
                shift = turn * len(plan) // rounds
                for contender, mode in plan[shift:] + plan[:shift]:
                    progress.update(bar, description=f"{contender.name} ({mode})", advance=1)
                    if contender.name in skipped:
                        continue
                    if not contender.needs.exists():
                        skipped[contender.name] = contender.remedy
                        continue
                    try:
                        sample = run(contender, mode, stub, redis, seconds=seconds)
                    except (ContenderFailedError, OSError) as error:
                        skipped[contender.name] = str(error)
                    else:
                        samples[contender.name, mode].append(sample)
    _print(console, samples, skipped)
    return {
        "stub": {"kind": stub.kind, **asdict(ceiling)},
        "redis": redis.version,
        "rounds": rounds,
        "seconds": seconds,
        "samples": [asdict(sample) for runs in samples.values() for sample in runs],
        "skipped": skipped,
        "ratios": ratios(samples),
    }


def ratios(samples: dict[tuple[str, str], list[Sample]]) -> dict[str, float]:
    """Return this project's median CPU per poll relative to the floors, the obvious way and the best queue."""
    cost = {key: statistics.median(sample.cpu for sample in runs) for key, runs in samples.items()}
    found: dict[str, float] = {}
    for floor in FLOORS:
        for mode in MODES:
            if (DEFAULT, mode) in cost and (floor, "fifth") in cost:
                found[f"{DEFAULT} ({mode}) over {floor}"] = cost[DEFAULT, mode] / cost[floor, "fifth"]
    ours = cost.get((DEFAULT, "fifth"))
    obvious = cost.get((OBVIOUS, "fifth"))
    queues = [cost[name, "fifth"] for name in QUEUES if (name, "fifth") in cost]
    if ours and obvious:
        found[f"obvious way over {DEFAULT}"] = obvious / ours
    if ours and queues:
        found[f"best queue over {DEFAULT}"] = min(queues) / ours
    return found


def _print(console: Console, samples: dict[tuple[str, str], list[Sample]], skipped: dict[str, str]) -> None:
    table = Table(title="per poll: medians of rounds (lowest to highest)", title_justify="left")
    table.add_column("contender")
    table.add_column("new")
    for heading in (
        "CPU s / 1,000 polls",
        "x floor",
        "polls/s",
        "Redis CPU s / 1,000",
        "round trips",
        "commands",
        "RSS MiB",
    ):
        table.add_column(heading, justify="right")
    floor = statistics.median(sample.cpu for sample in samples[FLOOR, "fifth"]) if (FLOOR, "fifth") in samples else 0
    for (name, mode), runs in samples.items():
        costs = sorted(sample.cpu for sample in runs)
        middle = statistics.median(costs)
        table.add_row(
            name,
            "" if name in FLOORS else mode,
            f"{middle:.3f} ({costs[0]:.3f} to {costs[-1]:.3f})",
            f"{middle / floor:.1f}" if floor else "",
            f"{statistics.median(sample.polls / sample.seconds for sample in runs):,.0f}",
            f"{statistics.median(sample.redis_cpu for sample in runs):.3f}",
            f"{statistics.median(sample.redis_reads for sample in runs):.3f}",
            f"{statistics.median(sample.redis_commands for sample in runs):.2f}",
            f"{statistics.median(sample.resident_mebibytes for sample in runs):.0f}",
        )
    console.print(table)
    for name, ratio in ratios(samples).items():
        console.print(f"{name}: {ratio:.2f} x")
    for name, reason in skipped.items():
        console.print(f"skipped {name}: {reason}", markup=False)
