"""The JSON Schemas of all that other programs exchange with this one, made from its own models.

They are of version 2020-12, as OpenAPI 3.1 requires; `draft_07` converts them for AsyncAPI 3.
"""

import inspect
import json
import re
from collections.abc import Mapping
from typing import Any, Final, NotRequired, TypedDict, get_args

import msgspec
from pydantic import BaseModel

from location_client import results
from location_client.arguments import FORMS
from location_client.limits import MAX_REFERENCE
from worker.domain.events import DATA_OF_TYPE, PIN_SOURCE, Updated, dataschema
from worker.jobs.arguments import (
    ForgetHandle,
    RequestLocation,
    SetPlaces,
    StopSharing,
    TrackLocation,
    UntrackLocation,
)
from worker.jobs.pins import SendPin
from worker.linq.webhook import STARTED, STOPPED
from worker.metrics import WebhookOutcome
from worker.store.dead_letters import MAX_PAYLOAD_BYTES, Kind
from worker.views.latest import TrackedShare

Schema = dict[str, Any]

REFERENCES: Final = "#/components/schemas/{name}"

JOBS: Final[dict[str, tuple[type[BaseModel], Any]]] = {
    "request_location": (RequestLocation, results.RequestResult),
    "track_location": (TrackLocation, results.TrackResult),
    "set_places": (SetPlaces, results.PlacesResult),
    "untrack_location": (UntrackLocation, results.UntrackResult),
    "stop_sharing": (StopSharing, results.StopResult),
    "send_pin": (SendPin, results.PinResult),
    "forget_handle": (ForgetHandle, results.ForgetResult),
}
"""The jobs that other programs may queue: arguments and result. Only `web` queues `hear_webhook`."""

EVENTS: Final = tuple(DATA_OF_TYPE)


class Refusal(TypedDict):
    """Why an HTTP request was refused."""

    error: str


class Delivery(TypedDict):
    """Why a webhook was refused."""

    error: WebhookOutcome


class Health(TypedDict):
    """The process runs."""

    status: str


class Readiness(TypedDict):
    """Whether polling goes on; `reasons` tells why not."""

    ready: bool
    reasons: list[str]


class Latest(TypedDict):
    """A GeoJSON FeatureCollection; `truncated`: there are more than the limit.

    Who reads /events after `last_event_id` misses nothing. `shares` by chat, not where `bbox` was given.
    """

    type: str
    last_event_id: str
    features: list[Updated]
    truncated: NotRequired[bool]
    shares: NotRequired[dict[str, TrackedShare]]


def schema_name(name: str) -> str:
    """Return the name of a component: `SharingStarted` for `location.sharing.started`."""
    words = name.removeprefix("location.").replace(".", "_").split("_")
    return "".join(word.capitalize() for word in words)


def schemas_of(document: Any) -> dict[str, Schema]:
    """Return the schemas that a part of a document refers to, and those that they refer to."""
    known = _components()
    found: dict[str, Schema] = {}
    wanted = _names(document)
    while wanted:
        found |= {name: known[name] for name in wanted}
        wanted = _names(found) - set(found)
    return dict(sorted(found.items()))


def _names(document: Any) -> set[str]:
    return set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))


def _components() -> dict[str, Schema]:
    answers = [kind for _, result in JOBS.values() for kind in _kinds(result)]
    types = [*DATA_OF_TYPE.values(), *answers, Refusal, Delivery, Health, Readiness, Latest]
    _, made = msgspec.json.schema_components(types, ref_template=REFERENCES)
    for schema in made.values():
        if "description" in schema:
            # Docstrings, which Python before 3.13 leaves indented.
            schema["description"] = inspect.cleandoc(schema["description"])
    for function, (arguments, _) in JOBS.items():
        made |= _arguments(function, arguments)
        made |= {f"{schema_name(function)}Job": _job(function), f"{schema_name(function)}Answer": _answer(function)}
    for event_type in EVENTS:
        made |= {
            f"{schema_name(event_type)}Entry": _entry(event_type),
            f"{schema_name(event_type)}Event": _event(event_type),
        }
    made |= {**_BASES, "Failure": _FAILURE, "DeadLetter": _DEAD_LETTER, "Webhook": _WEBHOOK}
    return {name: _without_titles(schema) for name, schema in made.items()}


def reference(name: str) -> Schema:
    """Return a reference to a component."""
    return {"$ref": REFERENCES.format(name=name)}


def draft_07(schema: Any) -> Any:
    """Return a schema in JSON Schema draft 7, where `items` may be a list."""
    if isinstance(schema, list):
        return [draft_07(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: draft_07(part) for name, part in schema.items()}
    if "prefixItems" in made:
        made |= {"additionalItems": made["items"], "items": made.pop("prefixItems")}
    return made


def _arguments(function: str, model: type[BaseModel]) -> dict[str, Schema]:
    made = model.model_json_schema(ref_template=REFERENCES.replace("name", "model"))
    found: dict[str, Schema] = made.pop("$defs", {})
    for name, schema in made["properties"].items():
        # A default of null only says that it may be left out, as `required` does already.
        if schema.get("default", 0) is None:
            del schema["default"]
        schema["description"] = f"Accepted: {FORMS[function][name].accepted}."
    return {**found, f"{schema_name(function)}Arguments": made}


def _without_titles(schema: Schema) -> Schema:
    """Remove the titles that pydantic and msgspec make from names."""
    made = {name: part for name, part in schema.items() if name != "title"}
    if "properties" in made:
        made["properties"] = {name: _without_titles(part) for name, part in made["properties"].items()}
    return made


def _text(**more: Any) -> Schema:
    return {"type": "string", "minLength": 1, **more}


def _object(properties: Mapping[str, Schema], *, optional: tuple[str, ...] = (), **more: Any) -> Schema:
    return {
        "type": "object",
        **more,
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
    }


_TIME = {"type": "string", "format": "date-time"}


def _narrowed(name: str, properties: Mapping[str, Schema]) -> Schema:
    return {"allOf": [reference(name), {"properties": dict(properties)}]}


def _entry(event_type: str) -> Schema:
    data = {"contentMediaType": "application/json", "contentSchema": reference(DATA_OF_TYPE[event_type].__name__)}
    return _narrowed("Entry", _attributes(event_type) | {"data": data})


def _event(event_type: str) -> Schema:
    return _narrowed("Event", _attributes(event_type) | {"data": reference(DATA_OF_TYPE[event_type].__name__)})


def _attributes(event_type: str) -> dict[str, Schema]:
    is_pin = event_type.startswith("location.pin.")
    content_type = "application/geo+json" if event_type == "location.updated" else "application/json"
    return {
        "source": {"const": PIN_SOURCE} if is_pin else {"pattern": "^/linq/chats/[0-9a-f-]{36}$"},
        "type": {"const": event_type},
        "datacontenttype": {"const": content_type},
        "dataschema": {"const": dataschema(event_type)},
    }


def _job(function: str) -> Schema:
    return _narrowed("Job", {"f": {"const": function}, "k": reference(f"{schema_name(function)}Arguments")})


def _answer(function: str) -> Schema:
    _, result = JOBS[function]
    answers = [reference(kind.__name__) for kind in _kinds(result)]
    answer = {"anyOf": answers} if len(answers) > 1 else answers[0]
    return _narrowed("Result", {"f": {"const": function}, "s": {"const": True}, "r": answer})


def _kinds(result: Any) -> tuple[type, ...]:
    return get_args(result) or (result,)


def _envelope(description: str, data: Schema) -> Schema:
    return _object(
        {
            "specversion": {"const": "1.0"},
            "id": _text(description="The same fact always has the same id: drop repeats by it."),
            "source": _text(description=f"/linq/chats/CHAT_ID, or {PIN_SOURCE}."),
            "type": {"enum": list(DATA_OF_TYPE)},
            "subject": _text(description="The handle; left out if the event is about the chat."),
            "time": _TIME | {"description": "When it happened at Linq, if Linq says so, else when it was seen."},
            "datacontenttype": _text(),
            "dataschema": _text(),
            "sequence": {
                "type": "string",
                "pattern": "^[1-9][0-9]*$",
                "description": "1, 2, 3 … within one share. Compare it as a number.",
            },
            "reference": _text(maxLength=MAX_REFERENCE, description="The caller's own id."),
            "data": data,
        },
        optional=("subject", "reference"),
        description=description,
        additionalProperties=False,
    )


_BASES: Final[dict[str, Schema]] = {
    "Entry": _envelope(
        "An entry of the stream: its fields are a CloudEvent's attributes, all text, and `data`, which is JSON.",
        {"type": "string"},
    ),
    "Event": _envelope("A CloudEvent in its JSON format.", {}),
    "Job": _object(
        {
            "t": {"type": ["integer", "null"], "description": "How often it was tried; null."},
            "f": {"type": "string", "description": "The function."},
            "a": {"type": "array", "maxItems": 0},
            "k": {"type": "object", "description": "Its arguments."},
            "et": {"type": "integer", "minimum": 0, "description": "When it was queued: milliseconds since 1970, UTC."},
        },
        description="The JSON of a job.",
    ),
    "Result": _object(
        {
            "t": {"type": "integer", "description": "How often it was tried."},
            "f": {"type": ["string", "null"], "description": "The function; null where the job could not be read."},
            "a": {"type": "array"},
            "k": {"type": "object", "description": "Its arguments."},
            "et": {"type": "integer", "description": "Queued at: milliseconds since 1970, UTC, as are `st` and `ft`."},
            "s": {"type": "boolean", "description": "Whether the job ran to its end."},
            "r": {"description": "The answer, or what went wrong."},
            "st": {"type": "integer", "description": "Started at."},
            "ft": {"type": "integer", "description": "Finished at."},
            "q": {"type": "string", "description": "The queue."},
            "id": {"type": "string", "description": "The job."},
        },
        description="The result of a job.",
    ),
}
_FAILURE = _narrowed("Result", {"s": {"const": False}, "r": _object({"error": _text(), "detail": {}})})
_DEAD_LETTER = _object(
    {
        "time": _TIME,
        "kind": {"enum": list(get_args(Kind))},
        "reason": _text(),
        "detail": {"type": "string", "contentMediaType": "application/json"},
        "payload": {"type": "string", "description": f"What was received, at most {MAX_PAYLOAD_BYTES} bytes of it."},
        "reference": {"type": "string"},
    },
    description="What could not be used, without secrets.",
    additionalProperties=False,
)
_WEBHOOK = _object(
    {
        "event_type": _text(description=f"{STARTED} and {STOPPED} are used, all others are ignored."),
        "event_id": {"type": "string"},
        "created_at": _TIME,
        "data": _object(
            {
                "shared_by": _text(description="The contact's handle."),
                "shared_with": _text(description="The own line."),
                "chat_id": {"type": ["string", "null"]},
                "began_at": {"type": ["string", "null"], "format": "date-time"},
                "ends_at": {"type": ["string", "null"], "format": "date-time"},
                "ended_at": {"type": ["string", "null"], "format": "date-time"},
            },
            optional=("chat_id", "began_at", "ends_at", "ended_at"),
        ),
    },
    optional=("event_id", "created_at"),
    description="A delivery from Linq, of which these fields are read.",
)
