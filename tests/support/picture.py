"""`python -m tests.support.picture FILE`: a picture of the demo's map, some seconds into a real run."""

import argparse
import asyncio
import subprocess
import sys
from pathlib import Path

from tests.support.browser import CHROMIUM, NO_CHROMIUM, open_window, running_browser

ROOT = Path(__file__).parents[2]


async def take(target: Path, seconds: float) -> None:
    """Run the demo, open its map, and write a screenshot to `target` after `seconds`."""
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", "demo"), cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert demo.stdout is not None
    try:
        address = (await demo.stdout.readline()).decode().split()[1]
        async with running_browser() as browser:
            window = await open_window(browser, width=1200, height=700)
            await window.page.goto(address)
            await asyncio.sleep(seconds)
            await window.page.screenshot(path=target)
            window.check()
    finally:
        demo.terminate()
        await demo.communicate()


def main() -> int:
    """Take the picture; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.picture", description="Picture the demo's map.")
    parser.add_argument("target", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long people have moved")
    options = parser.parse_args()
    if CHROMIUM is None:
        sys.stderr.write(f"{NO_CHROMIUM}\n")
        return 1
    asyncio.run(take(options.target, options.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
