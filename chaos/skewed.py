"""Run a command of the worker with a wrong clock and short minutes: `python -m chaos.skewed worker`.

The file that CHAOS_CLOCK names holds the seconds by which `time.time` is off; it is read again a few times a second,
so that a clock can step while the process runs. Whether the account or a line works again is tried every few seconds
instead of once a minute: in a run of a minute nobody would see it.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

LOOK_EVERY_SECONDS = 0.2
PROBE_SECONDS = 3.0


def skewed_clock(file: Path, true_time: Callable[[], float], monotonic: Callable[[], float]) -> Callable[[], float]:
    """Return a clock that is off by what the file says; an unreadable file means by nothing."""
    offset = 0.0
    looked_at = -LOOK_EVERY_SECONDS

    def now() -> float:
        nonlocal offset, looked_at
        if monotonic() - looked_at >= LOOK_EVERY_SECONDS:
            looked_at = monotonic()
            try:
                offset = float(file.read_text())
            except (OSError, ValueError):
                offset = 0.0
        return true_time() + offset

    return now


def main() -> None:
    """Replace the clock, then hand over to the command line."""
    time.time = skewed_clock(Path(os.environ["CHAOS_CLOCK"]), time.time, time.monotonic)
    # Only now: modules that keep one of these under a name of their own have to find what replaces it.
    from worker.store import pause  # noqa: PLC0415

    pause.PROBE_SECONDS = PROBE_SECONDS
    from worker.cli import main as run  # noqa: PLC0415

    sys.argv[0] = "location-worker"
    run()


if __name__ == "__main__":
    main()
