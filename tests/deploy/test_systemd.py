"""The systemd units are valid, and leave little open."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from worker.cli import cli

UNITS = sorted((Path(__file__).parents[2] / "deploy" / "systemd").glob("*.service"))
MAX_EXPOSURE = 40  # systemd-analyze shows it as 4.0 of 10; a unit without any of these settings has 9.6

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """Copy the units, and let them start this environment's command: systemd-analyze complains about a missing file."""
    command = Path(sys.executable).with_name("location-worker")
    for unit in UNITS:
        text = unit.read_text()
        assert "ExecStart=/opt/location-worker/.venv/bin/location-worker " in text
        (tmp_path / unit.name).write_text(
            text.replace("/opt/location-worker/.venv/bin/location-worker", f'"{command}"')
        )
    return tmp_path


def analyze(*words: str, folder: Path) -> str:
    done = subprocess.run(
        ["systemd-analyze", "--no-pager", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("unit", [unit.name for unit in UNITS])
def test_a_unit_is_valid(unit: str, units: Path) -> None:
    assert unit not in analyze("verify", f"./{unit}", folder=units), "nothing is complained about"


@pytest.mark.parametrize("unit", [unit.name for unit in UNITS])
def test_a_unit_leaves_little_open(unit: str, units: Path) -> None:
    analyze("security", "--offline=yes", f"--threshold={MAX_EXPOSURE}", unit, folder=units)


def test_the_units_start_commands_that_exist() -> None:
    started = {unit.read_text().partition("bin/location-worker ")[2].split()[0] for unit in UNITS}
    assert started == {"worker", "web"} <= set(cli.commands)
