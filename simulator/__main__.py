"""`python -m simulator`: the simulator as a process of its own, on loopback, until it is interrupted."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading

from simulator.cast import add_cast
from simulator.harness import SimulatorServer
from simulator.world import Habits


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM. The first line on stdout is JSON with the addresses and the chats."""
    parser = argparse.ArgumentParser(prog="python -m simulator", description="Stands in for Linq and Chert.")
    parser.add_argument("--port", type=int, default=0, help="loopback port; 0: a free one")
    parser.add_argument("--speed", type=float, default=1.0, help="seconds of the story per real second")
    parser.add_argument("--people", type=int, default=0, help="contacts at the start, who move along recorded journeys")
    options = parser.parse_args(arguments)
    if not options.speed > 0 or options.people < 0:
        parser.error("--speed is above 0, --people not below 0")
    simulator = SimulatorServer(habits=Habits(speed=options.speed), port=options.port)
    chats = add_cast(simulator, options.people)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with simulator:
        hello = {"base_url": simulator.base_url, "api_key": simulator.api_key, "chats": chats}
        sys.stdout.write(json.dumps({**hello, "chert_secret": simulator.chert_secret}) + "\n")
        sys.stdout.flush()
        stopped.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
