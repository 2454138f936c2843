"""The repository's distributions, built, and fresh virtual environments to install them into."""

import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple
from venv import EnvBuilder

from packaging.requirements import Requirement

from tests.support.process import ROOT


class Distributions(NamedTuple):
    """Files ready for an index."""

    client_wheel: Path
    client_sdist: Path
    worker_wheel: Path
    worker_sdist: Path


def build(into: Path) -> Distributions:
    """Build wheel and sdist of both distributions without an index: hatchling is installed."""
    for folder in (ROOT / "location_client", ROOT):
        run([sys.executable, "-m", "hatchling", "build", "-d", str(into)], folder)
    names = ("location_client-*.whl", "location_client-*.tar.gz", "location_worker-*.whl", "location_worker-*.tar.gz")
    return Distributions(*(one_file(into, name) for name in names))


def one_file(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def run(command: list[str], folder: Path, **environment: str) -> str:
    """Run a program to its end and return what it printed; a status other than 0 is a failure that shows it."""
    done = subprocess.run(
        command, cwd=folder, env=environment or None, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


class Environment:
    """A virtual environment without anything in it, not even pip."""

    def __init__(self, folder: Path) -> None:
        EnvBuilder(symlinks=True).create(folder)
        self.programs = folder / "bin"
        self.python = str(self.programs / "python")
        (self.packages,) = folder.glob("lib/python*/site-packages")

    def install(self, *wheels: Path, options: Iterable[str] = ("--no-index", "--no-deps")) -> None:
        """Install wheels with this environment's pip."""
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", self.python]
        run([*pip, "install", *options, *map(str, wheels)], ROOT)

    def share_everything(self) -> None:
        """Let it import everything that is installed here, except editable installs (this project)."""
        (self.packages / "shared.pth").write_text(f"{_site_packages()}\n")

    def share(self, *names: str) -> None:
        """Let it import these packages and what they need, and nothing else."""
        for name in _with_dependencies(names):
            for top in {path.parts[0] for path in distribution(name).files or () if path.parts[0] != ".."}:
                link = self.packages / top
                if not link.exists() and top != "__pycache__":
                    link.symlink_to(_site_packages() / top)


def _site_packages() -> Path:
    return Path(str(distribution("redis").locate_file("")))


def _with_dependencies(names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            needed = map(Requirement, distribution(name).requires or ())
            waiting += [each.name for each in needed if not each.marker or each.marker.evaluate({"extra": ""})]
    return found
