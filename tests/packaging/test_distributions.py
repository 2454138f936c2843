"""Both distributions hold what they need and nothing else, and say who made them and under which licence."""

import email
import fnmatch
import sys
import tarfile
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from tests.support.distributions import Distributions, one_file, run
from tests.support.process import ROOT

SCHEMAS = {f"worker/schemas/{path.name}" for path in (ROOT / "docs/schemas").glob("*.json")}


def names(archive: Path) -> set[str]:
    """Return the names of the files in a wheel or sdist; an sdist's top folder is left out."""
    if archive.suffix == ".whl":
        return set(zipfile.ZipFile(archive).namelist())
    with tarfile.open(archive) as content:
        return {name.partition("/")[2] for name in content.getnames()}


def tops(archive: Path) -> set[str]:
    return {name.partition("/")[0] for name in names(archive)}


def read(wheel: Path, name: str) -> bytes:
    content = zipfile.ZipFile(wheel)
    (path,) = (path for path in content.namelist() if path.endswith(name))
    return content.read(path)


def metadata(wheel: Path) -> Message:
    return email.message_from_bytes(read(wheel, ".dist-info/METADATA"))


def files(folder: str) -> set[str]:
    """Return the files of a folder of the repository."""
    paths = (ROOT / folder).rglob("*")
    return {str(path.relative_to(ROOT)) for path in paths if path.is_file() and "__pycache__" not in path.parts}


def test_the_workers_wheel_has_its_packages_and_all_their_files(distributions: Distributions) -> None:
    inside = {name for name in names(distributions.worker_wheel) if ".dist-info/" not in name}
    assert inside == {*files("worker"), *files("config"), *files("simulator"), *SCHEMAS}


@pytest.mark.parametrize(
    "kind",
    [
        "worker/store/lua/*.lua",
        "worker/views/static/*",
        "worker/schemas/*.json",
        "simulator/traces/*.csv",
        "*/py.typed",
    ],
)
def test_what_is_no_module_is_in_the_workers_wheel_too(distributions: Distributions, kind: str) -> None:
    assert fnmatch.filter(names(distributions.worker_wheel), kind)


def test_the_clients_wheel_has_its_package_only(distributions: Distributions) -> None:
    inside = {name for name in names(distributions.client_wheel) if ".dist-info/" not in name}
    assert inside == {name for name in files("location_client") if name.endswith((".py", "/py.typed"))}
    assert "location_client/py.typed" in inside


def test_an_sdist_has_neither_tests_nor_benchmarks(distributions: Distributions) -> None:
    of_metadata = {".gitignore", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
    of_worker = {"CHANGELOG.md", "LICENSES", "config", "docs", "simulator", "worker"}
    assert tops(distributions.worker_sdist) - of_metadata - {""} == of_worker
    assert all(name.endswith(".py") for name in names(distributions.client_sdist) - of_metadata - {"", "py.typed"})


def test_a_wheel_made_from_the_sdist_is_the_same(distributions: Distributions, tmp_path: Path) -> None:
    for sdist, wheel in (
        (distributions.client_sdist, distributions.client_wheel),
        (distributions.worker_sdist, distributions.worker_wheel),
    ):
        with tarfile.open(sdist) as content:
            # Python before 3.11.4 has no extraction filters.
            content.extraction_filter = getattr(tarfile, "data_filter", None)
            content.extractall(tmp_path)  # noqa: S202 (we made it)
        folder = tmp_path / sdist.name.removesuffix(".tar.gz")
        run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")], folder)
        again = one_file(folder / "dist", "*.whl")
        assert names(again) == names(wheel)


def test_metadata_is_complete(distributions: Distributions) -> None:
    for wheel, licences in (
        (distributions.client_wheel, ["LICENSE"]),
        (distributions.worker_wheel, ["LICENSE", "LICENSES/Apache-2.0.txt"]),
    ):
        about = metadata(wheel)
        for field in ("Summary", "Author", "License-Expression", "Keywords", "Requires-Python"):
            assert about[field], f"{wheel.name}: {field}"
        assert about.get_all("Project-URL")
        assert "Typing :: Typed" in about.get_all("Classifier", [])
        assert about.get_all("License-File") == licences
        for licence in licences:
            assert read(wheel, f"/licenses/{licence}") == (ROOT / licence).read_bytes()


def test_the_licence_of_the_recordings_is_the_apache_license(distributions: Distributions) -> None:
    text = read(distributions.worker_wheel, "/licenses/LICENSES/Apache-2.0.txt").decode()
    assert text.split()[:5] == ["Apache", "License", "Version", "2.0,", "January"]
    assert "END OF TERMS AND CONDITIONS" in text
    recordings = read(distributions.worker_wheel, "simulator/traces/README.md").decode()
    assert "Apache-2.0, Tomo Krajina" in recordings


def test_the_worker_needs_the_client_of_its_own_version(distributions: Distributions) -> None:
    worker, client = metadata(distributions.worker_wheel), metadata(distributions.client_wheel)
    assert worker["Version"] == client["Version"]
    assert f"location-client=={client['Version']}" in worker.get_all("Requires-Dist", [])
    assert sorted(client.get_all("Requires-Dist", [])) == ["msgspec>=0.20", "redis<9,>=5.0.2"]


def test_the_clients_copy_of_the_licence_is_the_projects(distributions: Distributions) -> None:
    assert (ROOT / "location_client/LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_readme_of_the_client_is_what_an_index_shows(distributions: Distributions) -> None:
    assert metadata(distributions.client_wheel).get_payload() == (ROOT / "location_client/README.md").read_text()
