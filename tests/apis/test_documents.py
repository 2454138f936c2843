"""The documents of the interfaces: as committed, valid by the tools of others, and true of the program."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from openapi_spec_validator import validate
from redis.asyncio import Redis
from starlette.routing import Route

from config.settings import Settings
from tests.support.documents import DESCRIPTIONS, FOLDER
from tests.support.node import requires_node, run_node
from worker.apis import asyncapi, openapi, schemas
from worker.domain.events import EVENT_TYPES
from worker.jobs.arguments import InvalidJobError, read_arguments
from worker.jobs.handlers import JOBS
from worker.processes.web import make_app
from worker.store.store import Store

CHAT = "3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13"
ANNA = "+12025550147"
DEPOT = {"name": "depot", "latitude": 52.5, "longitude": 13.4, "radius": 200}
GOOD: dict[str, list[dict[str, Any]]] = {
    "request_location": [
        {"chat_id": CHAT},
        {"to": ANNA, "from": "+14155550100", "message": "Hello", "follow": False, "accept_within": 60},
        {"chat_id": CHAT, "reference": "order 7", "follow_for": 3600.5, "min_interval": 5, "max_interval": 60},
    ],
    "track_location": [{"chat_id": CHAT}, {"chat_id": CHAT, "places": [DEPOT], "until": "depot"}],
    "set_places": [{"chat_id": CHAT, "places": []}, {"chat_id": CHAT, "places": [DEPOT], "until": "depot"}],
    "untrack_location": [{"chat_id": CHAT}],
    "stop_sharing": [{"chat_id": CHAT, "handle": ANNA}],
    "send_pin": [
        {"phone": ANNA, "latitude": 52.5, "longitude": 13.4},
        {"chat_id": "c", "latitude": 52, "longitude": 13, "label": "Here", "fallback_mode": "geo_url"},
    ],
    "forget_handle": [{"handle": ANNA}],
}
BAD: dict[str, list[dict[str, Any]]] = {
    "request_location": [
        {"chat_id": 7},
        {"chat_id": CHAT, "follow": "yes"},
        {"chat_id": CHAT, "min_interval": "5"},
        {"chat_id": CHAT, "every": 5},
    ],
    "track_location": [{"chat_id": CHAT, "accept_within": 60}, {"chat_id": CHAT, "places": DEPOT}],
    "set_places": [{"chat_id": CHAT}, {"chat_id": CHAT, "places": [{"name": "depot"}]}],
    "untrack_location": [{}],
    "stop_sharing": [{"chat_id": CHAT}],
    "send_pin": [
        {"phone": ANNA, "latitude": 91, "longitude": 13.4},
        {"phone": ANNA, "longitude": 13.4},
        {"phone": ANNA, "latitude": 52.5, "longitude": 13.4, "fallback_mode": "vcard"},
    ],
    "forget_handle": [{"handle": None}],
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_the_committed_document_is_that_of_the_models(name: str) -> None:
    written = yaml.safe_load((FOLDER / name).read_text())
    assert written == DESCRIPTIONS[name](), "run `make documents`, and mind who relies on it"


@requires_node
def test_asyncapi_is_valid_by_its_own_parser(tmp_path: Path) -> None:
    done = run_node("asyncapi.mjs", FOLDER / "asyncapi.yaml")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    broken = (FOLDER / "asyncapi.yaml").read_text().replace("action: send", "action: shout")
    (tmp_path / "broken.yaml").write_text(broken)
    assert run_node("asyncapi.mjs", tmp_path / "broken.yaml").returncode == 1, "the parser looks closely"


def test_openapi_is_valid() -> None:
    validate(openapi.describe())


def test_every_job_is_described_with_the_arguments_that_the_worker_reads() -> None:
    assert set(schemas.JOBS) | {"hear_webhook", "end_sharing"} == set(JOBS), (
        "worker/apis/schemas.py lists what others may queue"
    )
    assert set(GOOD) == set(BAD) == set(schemas.JOBS)
    described = asyncapi.describe()["components"]["schemas"]
    for function, (model, _) in schemas.JOBS.items():
        name = f"{schemas.schema_name(function)}Arguments"
        validator = Draft7Validator({**described[name], "components": {"schemas": described}})
        for arguments in GOOD[function]:
            read_arguments(function, model, arguments)
            validator.validate(arguments)
        for arguments in BAD[function]:
            assert not validator.is_valid(arguments), arguments
            with pytest.raises(InvalidJobError):
                read_arguments(function, model, arguments)


def test_every_type_of_event_is_described() -> None:
    messages = asyncapi.describe()["channels"]["events"]["messages"]
    assert set(messages) == {f"{schemas.schema_name(event_type)}Entry" for event_type in EVENT_TYPES}


async def test_openapi_has_the_routes_of_web(redis: Redis) -> None:
    settings = Settings(view_tokens=("a-token-of-the-tests",))
    routes = {
        (route.path.rstrip("/"), method.lower())  # some routes also exist with a trailing slash
        for route in make_app(settings, Store(redis, settings)).routes
        if isinstance(route, Route) and not route.path.startswith("/map/")  # the files of the map's page
        for method in route.methods or ()
        if method != "HEAD"
    }
    described = {(path, method) for path, methods in openapi.describe()["paths"].items() for method in methods}
    assert described == routes
