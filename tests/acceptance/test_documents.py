"""What a run publishes and answers is as AsyncAPI and OpenAPI describe it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from geojson_pydantic import FeatureCollection
from jsonschema import Draft7Validator, Draft202012Validator

from location_client import Place, QueuedJob
from tests.support.cloudevents import read_events
from tests.support.server_sent import event_source
from tests.support.stage import Stage
from tests.support.web import WebProcess, WebProcesses
from worker.apis import asyncapi, openapi
from worker.apis.schemas import JOBS, schema_name

HOME: Place = {"name": "home", "latitude": 52.5, "longitude": 13.4, "radius": 100.0}
TOKEN = "a-token-of-the-tests"
AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}
ASYNCAPI, OPENAPI = asyncapi.describe(), openapi.describe()
FORMATS = Draft202012Validator.FORMAT_CHECKER


def validate_message(name: str, value: Any) -> None:
    """Validate a value against an AsyncAPI schema, and JSON texts within it against schemas of their own."""
    document = {"components": ASYNCAPI["components"], "allOf": [{"$ref": f"#/components/schemas/{name}"}]}
    Draft7Validator(document, format_checker=FORMATS).validate(value)


def validate_answer(schema: dict[str, Any], value: Any) -> None:
    """Validate a value against an OpenAPI schema."""
    document = {**schema, "components": OPENAPI["components"]}
    Draft202012Validator(document, format_checker=FORMATS).validate(value)


def described(path: str, status: int, *, method: str = "get") -> dict[str, Any]:
    """Return the schema of an answer."""
    [content] = OPENAPI["paths"][path][method]["responses"][str(status)]["content"].values()
    schema: dict[str, Any] = content["schema"]
    return schema


def validate_entry(fields: dict[bytes, bytes]) -> str:
    """Validate an entry of the event stream against the schemas of its type; return the type."""
    entry = {name.decode(): value.decode() for name, value in fields.items()}
    name = schema_name(entry["type"])
    validate_message(f"{name}Entry", entry)
    [_, narrowed] = ASYNCAPI["components"]["schemas"][f"{name}Entry"]["allOf"]
    validate_message(
        narrowed["properties"]["data"]["contentSchema"]["$ref"].rpartition("/")[2], json.loads(entry["data"])
    )
    return entry["type"]


@pytest.fixture
async def web(redis_url: str, prefix: str, tmp_path: Path) -> AsyncIterator[WebProcess]:
    processes = WebProcesses(tmp_path, REDIS_URL=redis_url, KEY_PREFIX=prefix, VIEW_TOKEN=TOKEN)
    yield await processes.start()
    await processes.close()


async def test_everything_that_crosses_the_border_is_as_described(stage: Stage, web: WebProcess) -> None:
    [accepting] = stage.people(1)
    sharing = stage.simulator.add_person(sharing=True, longitude=HOME["longitude"], latitude=HOME["latitude"])
    [green] = stage.people(1, service="SMS")
    [silent] = stage.people(1, accepts_after=None)
    client = stage.client
    jobs: dict[str, QueuedJob[Any]] = {
        "request_location": await client.request_location(
            chat_id=accepting, reference="order 7", min_interval=0.3, max_interval=0.6
        ),
        "track_location": await client.track_location(
            chat_id=sharing, places=[HOME], min_interval=0.3, max_interval=0.6
        ),
        "set_places": await client.set_places(green, [HOME]),
        "untrack_location": await client.untrack_location(green),
        "stop_sharing": await client.stop_sharing(silent, stage.simulator.handle_of(silent)),
        "send_pin": await client.send_pin(phone="+12025550147", latitude=52.5, longitude=13.4),
        "forget_handle": await client.forget_handle("+12025550199"),
    }
    assert set(jobs) == set(JOBS)
    for function, job in jobs.items():
        validate_message(f"{schema_name(function)}Job", json.loads(await stage.redis.get(f"arq:job:{job.id}")))
    await client.request_location(chat_id=green)
    await client.request_location(chat_id=silent, accept_within=1.0, min_interval=0.3, max_interval=0.6)
    async with stage.redis.pipeline() as pipeline:  # written by hand: the client refuses to queue it
        pipeline.set(
            f"arq:job:{stage.prefix}", json.dumps({"t": None, "f": "locate", "a": [], "k": {}, "et": 0}), ex=60
        )
        pipeline.zadd(f"{stage.prefix}:jobs", {stage.prefix: 0})
        await pipeline.execute()

    await stage.workers.start(
        CHERT_SIGNING_SECRET=stage.simulator.chert_secret, CHERT_BASE_URL=stage.simulator.chert_base_url
    )
    await stage.published(accepting, "location.updated", times=3)
    await stage.published(silent, "location.request.expired")
    await stage.published(green, "location.request.rejected")
    for function, job in jobs.items():
        await job.result(timeout=30)
        validate_message(f"{schema_name(function)}Answer", json.loads(await stage.redis.get(f"arq:result:{job.id}")))
    latest = await web.client.get("/latest", headers=AUTHORIZED)
    validate_answer(described("/latest", 200), latest.json())
    assert latest.json()["features"]

    await stage.published(sharing, "location.place.entered")
    entries = [fields for _, fields in await stage.redis.xrange(f"{stage.prefix}:events")]
    seen = {validate_entry(fields) for fields in entries}
    assert seen >= {
        "location.requested",
        "location.request.rejected",
        "location.request.expired",
        "location.sharing.started",
        "location.updated",
        "location.place.entered",
        "location.tracking.ended",
        "location.pin.queued",
    }
    validate_message("Failure", json.loads(await stage.redis.get(f"arq:result:{stage.prefix}")))
    letters = await stage.redis.xrange(f"{stage.prefix}:dead-letters")
    assert letters
    for _, fields in letters:
        validate_message("DeadLetter", {name.decode(): value.decode() for name, value in fields.items()})
    async with event_source(web.client, "/events?after=0", **AUTHORIZED) as events:
        sent = [event.data for event in await events.take(len(entries))]
    for event in sent:
        validate_answer(described("/events", 200)["contentSchema"], event)
    await stage.workers.stop()

    # A consumer's mapping of an entry equals what is sent over HTTP, and third-party libraries can read it.
    mapped = [
        {name.decode(): json.loads(value) if name == b"data" else value.decode() for name, value in fields.items()}
        for fields in entries
    ]
    assert read_events([json.dumps(event) for event in mapped]) == sent
    FeatureCollection.model_validate(latest.json())


async def test_health_and_refusals_are_as_described(web: WebProcess) -> None:
    for path, status, headers in (
        ("/healthz", 200, {}),
        ("/readyz", 200, {}),
        ("/latest", 401, {}),
        ("/events", 401, {}),
        ("/latest?limit=0", 400, AUTHORIZED),
        ("/events?types=none", 400, AUTHORIZED),
    ):
        answer = await web.client.get(path, headers=headers)
        assert answer.status_code == status
        validate_answer(described(path.partition("?")[0], status), answer.json())
    refused = await web.deliver(b"no event")
    validate_answer(described("/webhooks/linq", refused.status_code, method="post"), refused.json())
