"""Instructions that Redis executes for a poll, by number of tracked chats: growth without the effect of caches.

Time depends on caches, and a thousand chats fit into them; instructions do not. valgrind counts them.
"""

import asyncio
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.growth import BATCH, POLLED, poll_without_http
from benchmarks.installation import always_due, opened_store
from benchmarks.preload import preload
from benchmarks.redis_server import running_redis

_COUNTS = (1_000, 10_000, 100_000)
_QUICK_COUNTS = (1_000, 5_000)


def compare(console: Console, *, quick: bool = False) -> dict[str, Any]:
    """Count at each size and print. Returns plain data for JSON."""
    if shutil.which("valgrind") is None:
        console.print("skipped: valgrind is not installed")
        return {"skipped": "valgrind is not installed"}
    found: dict[int, float] = {}
    for count in _QUICK_COUNTS if quick else _COUNTS:
        with console.status(f"{count:,} tracked chats"):
            found[count] = asyncio.run(_count(count))
    first = next(iter(found.values()))
    table = Table(title="Redis' instructions a poll (claim and commit, each new)", title_justify="left")
    for heading in ("chats", "instructions", "x the first"):
        table.add_column(heading, justify="right")
    for count, instructions in found.items():
        table.add_row(f"{count:,}", f"{instructions:,.0f}", f"{instructions / first:.3f}")
    console.print(table)
    return {"instructions": found}


async def _count(count: int) -> float:
    with (
        tempfile.TemporaryDirectory(prefix="location-callgrind-") as folder,
        running_redis("valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={folder}/counted") as redis,
    ):
        async with opened_store(always_due(redis.url)) as store:
            await preload(store, count)
            # First polls differ from later ones: contacts begin to share, and keys are created.
            await poll_without_http(store, count)
            _control("--zero", redis.pid)
            _, commits = await poll_without_http(store, POLLED)
            _control("--dump", redis.pid)
        return _total(Path(folder)) / (len(commits) * BATCH)


def _total(folder: Path) -> int:
    """Return all instructions since the counters were reset, from the only dump."""
    (dump,) = folder.glob("counted.*")
    found = re.search(r"^(?:summary|totals): (\d+)", dump.read_text(), re.MULTILINE)
    if found is None:
        message = "callgrind wrote no total"
        raise RuntimeError(message)
    return int(found[1])


def _control(order: str, pid: int) -> None:
    subprocess.run(["callgrind_control", order, str(pid)], check=True, capture_output=True)
