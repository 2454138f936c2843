"""Programs for Node, with the packages of tests/node (`make node-packages`)."""

import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "node"
MODULES = FOLDER / "node_modules"
NODE = shutil.which("node") or ""

requires_node = pytest.mark.skipif(
    not NODE or not (MODULES / ".installed").exists(),
    reason="Node is not installed" if not NODE else "its packages could not be installed: make node-packages",
)


def run_node(*words: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program of tests/node to its end, with `text` as its standard input."""
    return subprocess.run(
        [NODE, *words], cwd=FOLDER, input=text, capture_output=True, text=True, timeout=60, check=False
    )
