"""make on other people's machines: whatever is set there, .venv is created here and works."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.process import ROOT

# Variables that people set for other programs. HOME is not set.
FOREIGN = {
    "MAKEFLAGS": "-j4",
    "PIP_REQUIRE_HASHES": "1",
    "PIP_REQUIRE_VIRTUALENV": "1",
    "PIP_TARGET": "/nowhere",
    "PIP_USER": "1",
    "PYTHONHOME": "/nowhere",
    "PYTHONPATH": "/nowhere",
    "VIRTUAL_ENV": "/nowhere",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a space in its name, whose lock installs nothing."""
    made = tmp_path / "the worker"
    (made / "requirements").mkdir(parents=True)
    (made / "requirements/runtime.txt").touch()
    shutil.copy(ROOT / "Makefile", made)
    return made


def make(folder: Path, target: str = ".venv/.runtime", **environment: str) -> str:
    done = subprocess.run(
        ["make", f"PYTHON={sys.executable}", target],
        cwd=folder,
        env=FOREIGN | {"PATH": "/usr/bin:/bin"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def prefix_of(environment: Path) -> Path:
    """Check that an environment's pip runs; return where it installs to."""
    done = subprocess.run([environment / "bin/pip", "--version"], capture_output=True, text=True, check=True)
    return Path(done.stdout.partition(" from ")[2].partition("/lib/")[0])


def test_whatever_is_set_for_other_programs_the_environment_is_made_once(folder: Path) -> None:
    assert "Making .venv" in make(folder)
    assert prefix_of(folder / ".venv") == folder / ".venv"
    assert "Making .venv" not in make(folder)


@pytest.mark.parametrize(
    ("python", "made_in"),
    [
        pytest.param(sys.executable, "/elsewhere", id="moved here"),
        pytest.param("/nowhere/python", "", id="its Python is gone"),
    ],
)
def test_an_environment_that_does_not_work_is_made_anew(folder: Path, python: str, made_in: str) -> None:
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/python").symlink_to(python)
    (folder / ".venv/.created").write_text(f"{made_in or folder}/.venv\n")
    (folder / ".venv/.runtime").touch()
    assert "Making .venv" in make(folder)
    assert prefix_of(folder / ".venv") == folder / ".venv"


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm was not found")
def test_npm_needs_no_home_that_can_be_written(folder: Path) -> None:
    packages = folder / "tests/node"
    (packages / "ours").mkdir(parents=True)
    (packages / "ours/package.json").write_text('{"name": "ours", "version": "1.0.0"}')
    (packages / "package.json").write_text('{"dependencies": {"ours": "file:./ours"}}')
    # In /proc, npm would try forever to create its folder.
    make(folder, "tests/node/node_modules/.installed", HOME="/proc/nowhere", PATH=os.environ["PATH"])
    assert (packages / "node_modules/ours/package.json").exists()
