"""Commands that are processes of their own: demo, worker, web."""

import signal
import sys
from pathlib import Path
from types import FrameType

import click

from worker.cli.arguments import SECONDS


@click.command()
@click.option("--seconds", type=SECONDS, help="Stop after this long, with a summary; by default, Ctrl-C ends it.")
@click.option(
    "--people", type=click.IntRange(1, 200), default=12, show_default=True, help="How many simulated people there are."
)
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Write the last view as an SVG file.")
def demo(*, seconds: float | None, people: int, picture: Path | None) -> int:
    """Show everything at work on a simulation of both APIs.

    Simulated people with recorded journeys are asked, accept and move; a real worker tracks them.
    """
    from worker.demo.demo import run_demo  # noqa: PLC0415  # see worker.cli

    return run_demo(seconds, people, picture)


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _may_end_while_starting() -> None:
    """Let SIGTERM and SIGINT end a process with status 0 already while it starts, as they do later."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


@click.command()
def worker() -> int:
    """Run the worker: jobs, polling, events."""
    _may_end_while_starting()
    from config.settings import load_settings  # noqa: PLC0415  # see worker.cli

    settings = load_settings("worker")
    from worker.processes.worker import run_worker  # noqa: PLC0415

    return run_worker(settings)


@click.command()
def web() -> int:
    """Run the web server: webhooks, health, metrics and views."""
    _may_end_while_starting()
    from config.settings import load_settings  # noqa: PLC0415  # see worker.cli

    settings = load_settings("web")
    from worker.processes.web import run_web  # noqa: PLC0415

    return run_web(settings)
