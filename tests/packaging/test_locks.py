"""The locks install with every pip, and hosts with Procfiles install the same.

pip before 23.3 does not carry the pin of `redis` over to `redis[hiredis]`. It takes the newest release for the latter,
and refuses the lock as soon as there is a newer one than the lock's.
"""

import re
import sysconfig
import tomllib
from collections.abc import Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

_ROOT = Path(__file__).resolve().parents[2]
_LOCKS = ("runtime", "development", "benchmarks")


def _pin_lines(lock: str) -> list[str]:
    lines = (_ROOT / f"requirements/{lock}.txt").read_text().splitlines()
    return [line.removesuffix("\\") for line in lines if line[:1] not in " #"]


def _pins(lock: str) -> dict[str, Requirement]:
    """Return the requirements of a lock that apply to this machine, by normalized name and without hashes."""
    pins = map(Requirement, _pin_lines(lock))
    return {canonicalize_name(pin.name): pin for pin in pins if not pin.marker or pin.marker.evaluate()}


def _installed(lock: str) -> dict[str, Distribution]:
    """Return what is installed in the lock's environment, by normalized name."""
    environment = {"base": str(_ROOT / "benchmarks/.venv"), "platbase": str(_ROOT / "benchmarks/.venv")}
    folder = sysconfig.get_path("purelib", vars=environment if lock == "benchmarks" else None)
    return {canonicalize_name(distribution.name): distribution for distribution in distributions(path=[folder])}


def _unpinned(pins: Mapping[str, Requirement], installed: Mapping[str, Distribution]) -> list[str]:
    """Return requirements with extras of a lock's installed packages that the lock does not pin with the same extras.

    The whole set counts: for such an old pip redis[hiredis,ocsp] and redis[hiredis] are two requirements.
    """
    asked_for = [
        requirement
        for name, pin in pins.items()
        for requirement in map(Requirement, installed[name].requires or ())
        if not requirement.marker or any(requirement.marker.evaluate({"extra": extra}) for extra in {"", *pin.extras})
    ]
    return [str(each) for each in asked_for if each.extras and each.extras != pins[canonicalize_name(each.name)].extras]


@pytest.mark.parametrize("lock", _LOCKS)
def test_every_extra_that_a_locked_package_asks_for_is_pinned_with_it(lock: str) -> None:
    installed, pins = _installed(lock), _pins(lock)
    if lock == "benchmarks" and not pins.keys() <= installed.keys():
        pytest.skip("the benchmarks' queues are not installed: make bench-install")
    assert _unpinned(pins, installed) == []


def test_an_extra_without_a_pin_is_named() -> None:
    installed, pins = _installed("runtime"), _pins("runtime")
    pins["redis"] = Requirement(f"redis{pins['redis'].specifier}")
    assert [Requirement(each).extras for each in _unpinned(pins, installed)] == [{"hiredis"}]


@pytest.mark.parametrize("lock", _LOCKS)
def test_a_lock_holds_exact_versions_and_hashes_and_nothing_else(lock: str) -> None:
    pin = re.compile(r"[a-z0-9-]+(\[[a-z0-9, -]+\])?==[^ ]+( ; [^\\]+)? \\")
    other = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?| *#.*|")
    lines = (_ROOT / f"requirements/{lock}.txt").read_text().splitlines()
    assert [line for line in lines if not pin.fullmatch(line) and not other.fullmatch(line)] == []


def test_development_adds_to_what_runs_and_changes_nothing_of_it() -> None:
    assert _pins("runtime").items() <= _pins("development").items()


def test_hosts_install_every_distribution_of_the_repository_with_the_versions_that_run_here() -> None:
    lines = (_ROOT / "requirements.txt").read_text().splitlines()
    folders = [f"./{path.parent.name}" for path in _ROOT.glob("*/pyproject.toml")]
    assert sorted(line for line in lines if line[0] != "#") == sorted(
        ["-c requirements/constraints.txt", ".[map]", *folders]
    )

    constraints = map(Requirement, (_ROOT / "requirements/constraints.txt").read_text().splitlines())
    pins = {(canonicalize_name(each.name), str(each.specifier), str(each.marker)) for each in constraints}
    lock = map(Requirement, _pin_lines("runtime"))
    assert pins == {(canonicalize_name(each.name), str(each.specifier), str(each.marker)) for each in lock}


def test_hosts_take_a_python_that_the_project_supports() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    assert (_ROOT / ".python-version").read_text().strip() in SpecifierSet(project["requires-python"])
