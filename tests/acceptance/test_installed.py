"""The built packages work away from the repository: the worker's demo, and the client in somebody's service."""

import asyncio
import json
import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.distributions import Distributions, Environment, build, run
from tests.support.process import ROOT
from tests.support.stage import OFTEN, Stage

# A service with packages of the same names as the worker's own.
SERVICE = """
import asyncio, json, sys
import config, redis, worker
from location_client import LocationClient

async def main(url, prefix, chat_id):
    async with LocationClient(url, key_prefix=prefix) as client:
        job = await client.request_location(chat_id=chat_id, reference="order-7", **{often})
        result = await job.result(timeout=60)
        async for event in client.group_events("service", "one", start="0", block=60):
            await event.acknowledge()
            if event.type == "location.updated":
                break
        latest = await client.latest(chat_id)
    names = [config.NAME, worker.NAME, redis.__version__]
    print(json.dumps([*names, result, event.as_dict(), event.share_id, list(latest)]))

asyncio.run(main(*sys.argv[1:]))
"""


PROJECT = tomllib.loads((ROOT / "location_client/pyproject.toml").read_text())["project"]
(ALLOWED,) = [Requirement(each) for each in PROJECT["dependencies"] if each.startswith("redis")]
(OLDEST,) = [f"redis=={bound.version}" for bound in ALLOWED.specifier if bound.operator == ">="]
NEWEST = str(ALLOWED)


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    return build(tmp_path_factory.mktemp("dist"))


def client_with(redis: str, distributions: Distributions, folder: Path) -> Environment:
    """Install the client alone, with the locked redis or the newest release of a series from the index."""
    environment = Environment(folder)
    environment.install(distributions.client_wheel)
    if redis == "locked":
        environment.share("redis", "msgspec")
        return environment
    environment.share("msgspec")
    try:
        environment.install(options=["--retries", "0", "--timeout", "10", redis])
    except AssertionError as error:
        if "No matching distribution" in str(error) or "NewConnectionError" in str(error):
            pytest.skip(f"{redis} is not installed here and the package index does not answer")
        raise
    return environment


@pytest.mark.parametrize("redis", ["locked", OLDEST, NEWEST])
async def test_the_client_serves_a_service_that_has_packages_named_config_and_worker(
    stage: Stage, redis_url: str, distributions: Distributions, tmp_path: Path, redis: str
) -> None:
    service = tmp_path / "service"
    for package in ("config", "worker"):
        (service / package).mkdir(parents=True)
        (service / package / "__init__.py").write_text(f"NAME = 'the own {package}'\n")
    (service / "main.py").write_text(SERVICE.replace("{often}", repr(OFTEN)))
    environment = await asyncio.to_thread(client_with, redis, distributions, tmp_path / "environment")
    (chat,) = stage.people(1)
    await stage.workers.start()
    command = [environment.python, "-W", "error", "main.py", redis_url, stage.prefix, chat]
    printed = await asyncio.to_thread(run, command, service)
    config, worker, version, result, event, share_id, latest = json.loads(printed)
    assert (config, worker) == ("the own config", "the own worker")
    assert redis == "locked" or version in Requirement(redis).specifier
    assert (result["status"], result["chat_id"], result["share_id"]) == ("requested", chat, share_id)
    assert event["reference"] == "order-7"
    assert latest == [event["data"]["properties"]["handle"]] == [event["subject"]]


def test_mypy_understands_the_client_where_it_is_installed(distributions: Distributions, tmp_path: Path) -> None:
    environment = client_with("locked", distributions, tmp_path / "environment")
    application = Path(shutil.copy(ROOT / "tests/support/typed_application.py", tmp_path))
    mypy = [sys.executable, "-m", "mypy", "--strict", "--python-executable", environment.python]
    run([*mypy, "--cache-dir", str(tmp_path / "cache"), application.name], tmp_path)
    application.write_text(application.read_text().replace('event.data["reason"]', 'event.data["no such field"]'))
    with pytest.raises(AssertionError, match='TypedDict "TrackingEndedData" has no key "no such field"'):
        run([*mypy, "--cache-dir", str(tmp_path / "cache"), application.name], tmp_path)


@pytest.mark.timeout(180)
def test_the_demo_runs_from_an_empty_folder(distributions: Distributions, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "environment")
    environment.install(distributions.client_wheel, distributions.worker_wheel)
    environment.share_everything()
    empty = tmp_path / "empty"
    empty.mkdir()
    where = "import location_client, worker; print(location_client.__file__, worker.__file__)"
    found = run([environment.python, "-I", "-c", where], empty).split()
    assert all(path.startswith(str(environment.packages)) for path in found)
    command = [str(environment.programs / "location-worker"), "demo", "--seconds", "15"]
    printed = run(command, empty, HOME=str(tmp_path), TMPDIR=str(tmp_path))
    assert re.search(r"\n\d+ positions from \d+ polls", printed)
    assert list(empty.iterdir()) == []
