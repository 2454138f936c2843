"""Break an installation at random for a while and judge the outcome: `python -m chaos --seconds 60`."""

import asyncio
import json
import logging
import shutil
import tempfile
import time
from pathlib import Path

import click

from chaos.run import Run, new_seed, tell


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(min=1), default=60.0, show_default=True, help="How long to break things."
)
@click.option("--seed", type=int, help="Repeat the choices of an earlier run; random by default.")
@click.option("--people", type=click.IntRange(1, 500), default=24, show_default=True, help="How many share.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON, without progress.")
def main(*, seconds: float, seed: int | None, people: int, as_json: bool) -> None:
    """Run workers, a receiver and a consumer on real Redis with Sentinel against the simulator, and break them all.

    Exit status 0 if every promise was kept, 1 if one was broken; then the logs are kept.
    """
    seed = new_seed() if seed is None else seed
    began = time.monotonic()

    def say(text: str) -> None:
        if not as_json:
            click.echo(f"{time.monotonic() - began:6.1f}  {text}")

    logging.getLogger("location_client").setLevel(logging.ERROR)  # the report names what is broken
    folder = Path(tempfile.mkdtemp(prefix="chaos-logs-"))
    say(f"seed {seed}, {people} people, {seconds:g} s")
    verdict = asyncio.run(Run(seed, people, folder, say).go(seconds))
    if as_json:
        click.echo(json.dumps({"seed": seed, "figures": verdict.figures, "faults": verdict.faults}))
    else:
        click.echo("\n".join(tell(verdict)))
        click.echo(
            f"seed {seed}: " + (f"{len(verdict.faults)} BROKEN, logs in {folder}" if verdict.faults else "all kept")
        )
    if not verdict.faults:
        shutil.rmtree(folder)
    raise SystemExit(bool(verdict.faults))


if __name__ == "__main__":
    main()
