"""The Dockerfile and the compose file. No container engine is used: their commands are run without one."""

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.settings import Settings, names_of
from tests.support.ports import free_port
from tests.support.web import WebProcess, WebProcesses
from worker.cli import cli

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]


def context(folder: Path) -> None:
    """Copy the files that the build can see: those tracked by git that .dockerignore lets through."""
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    let_through = [line.removeprefix("!") for line in lines if line.startswith("!")]
    known = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in known.splitlines():
        if any(name == entry or name.startswith(f"{entry}/") for entry in let_through):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


@pytest.mark.acceptance
def test_the_image_has_a_program_that_runs(tmp_path: Path) -> None:
    source, installed = tmp_path / "src", tmp_path / "location-worker"
    source.mkdir()
    context(source)
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", str(tmp_path))}
    for line in re.findall(r"^RUN (.+)$", DOCKERFILE, re.MULTILINE):
        words = shlex.split(line.replace("/opt/location-worker", str(installed)).replace("--no-cache-dir", ""))
        words[0] = sys.executable if words[0] == "python" else words[0]
        if "--require-hashes" in words:
            # This environment was installed from the same lock and more; installing it again would take a minute.
            assert (source / words[-1]).exists()
            [packages] = installed.glob("lib/python*/site-packages")
            (packages / "installed.pth").write_text(sysconfig.get_path("purelib"))
            continue
        if words[-1] == ".":
            words.insert(-1, "--no-build-isolation")  # hatchling is installed here, too
        done = subprocess.run(words, cwd=source, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    [entry] = re.findall(r"^ENTRYPOINT \[\"(.+)\"\]$", DOCKERFILE, re.MULTILINE)
    [command] = re.findall(r"^CMD \[\"(.+)\"\]$", DOCKERFILE, re.MULTILINE)
    empty = tmp_path / "empty"
    empty.mkdir()
    done = subprocess.run(
        [installed / "bin" / entry, command], cwd=empty, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "REDIS_URL: not set" in done.stderr


def test_the_build_sees_no_secret() -> None:
    entries = (DEPLOY / "Dockerfile.dockerignore").read_text().split("\n")
    assert "*" in entries, "everything is kept out but what is named"
    assert not any(
        fnmatch.fnmatch(name, entry[1:]) for name in (".env", ".git") for entry in entries if entry[:1] == "!"
    )


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_no_more_than_it_has_to(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("user", re.search(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)) not in (None, "root")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_services_run_commands_and_settings_that_exist() -> None:
    ours = {name: service for name, service in SERVICES.items() if service.get("image") == "location-worker"}
    assert {tuple(service["command"]) for service in ours.values()} == {("worker",), ("web",)}
    assert set(ours) <= set(cli.commands)
    settings = {name for field in Settings.model_fields for name in names_of(field)}
    assert all(set(service["environment"]) <= settings for service in ours.values())
    grace = Settings.model_fields["shutdown_grace_seconds"].default
    assert all(float(service["stop_grace_period"].removesuffix("s")) > grace for service in ours.values())


@pytest.fixture
async def web(redis_url: str, prefix: str, tmp_path: Path) -> AsyncIterator[tuple[WebProcess, int]]:
    processes = WebProcesses(tmp_path, REDIS_URL=redis_url, KEY_PREFIX=prefix)
    port = free_port()
    yield await processes.start(METRICS_PORT=str(port)), port
    await processes.close()


@pytest.mark.acceptance
async def test_health_checks_tell_a_process_that_serves_from_one_that_does_not(web: tuple[WebProcess, int]) -> None:
    process, metrics_port = web
    ports = {"worker": ("9100", metrics_port), "web": ("8080", process.port)}

    def healthy(name: str) -> bool:
        kind, python, *words = SERVICES[name]["healthcheck"]["test"]
        assert (kind, python) == ("CMD", "python")
        inside, outside = ports[name]
        words = [word.replace(f":{inside}/", f":{outside}/") for word in words]
        return subprocess.run([sys.executable, *words], capture_output=True, check=False).returncode == 0

    assert healthy("worker")
    assert healthy("web")
    await process.stop()
    assert not healthy("worker")
    assert not healthy("web")
