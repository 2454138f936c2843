"""The AsyncAPI document: the streams, the queue with its results, and the webhooks."""

from typing import Any, Final

from worker.apis.schemas import EVENTS, JOBS, draft_07, schema_name, schemas_of

VERSION: Final = "1"
"""The version of the interface; additions do not change it, as with the number at the end of `dataschema`."""

Document = dict[str, Any]

_PREFIX = {"keyPrefix": {"default": "location", "description": "KEY_PREFIX."}}
_JOB_ID = {"jobId": {"description": "Printable ASCII without spaces, never used before in this Redis: a UUID."}}


def describe() -> Document:
    """Return the document as plain data."""
    messages = _messages()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "location-worker",
            "version": VERSION,
            "description": (
                "Asks contacts for their location over iMessage and publishes every new position once. "
                "Events are CloudEvents 1.0 on a Redis stream, jobs are JSON on a queue in the format of arq."
            ),
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "redis": {
                "host": "localhost:6379",
                "protocol": "redis",
                "description": "REDIS_URL. One Redis or Valkey, 6.2 or newer, or Sentinel.",
            },
            "web": {
                "host": "localhost:8080",
                "protocol": "http",
                "description": "`location-worker web`, behind a proxy with TLS.",
            },
        },
        "channels": _channels(),
        "operations": _operations(),
        "components": {"messages": messages, "schemas": draft_07(schemas_of(messages))},
    }


def _channels() -> Document:
    return {
        "events": _channel(
            "{keyPrefix}:events",
            [f"{schema_name(event_type)}Entry" for event_type in EVENTS],
            "The event stream. XREADGROUP as a member of a consumer group, or XREAD; drop repeats by `id`.",
            parameters=_PREFIX,
        ),
        "deadLetters": _channel(
            "{keyPrefix}:dead-letters",
            ["DeadLetter"],
            "A stream of what could not be used: jobs, replies of the API, webhooks.",
            parameters=_PREFIX,
        ),
        "jobs": _channel(
            "arq:job:{jobId}",
            [f"{schema_name(function)}Job" for function in JOBS],
            "Queue a job in one MULTI/EXEC: `SET arq:job:{jobId} JSON PX 86400000` and "
            "`ZADD {KEY_PREFIX}:jobs NOW {jobId}`, NOW in milliseconds since 1970.",
            parameters=_JOB_ID,
        ),
        "results": _channel(
            "arq:result:{jobId}",
            [*(f"{schema_name(function)}Answer" for function in JOBS), "Failure"],
            "The result of a job, for one hour: GET it until it is there.",
            parameters=_JOB_ID,
        ),
        "webhooks": _channel(
            "/webhooks/linq", ["Webhook"], "Linq's deliveries, signed according to Standard Webhooks.", server="web"
        ),
    }


def _channel(
    address: str, messages: list[str], description: str, *, parameters: Document | None = None, server: str = "redis"
) -> Document:
    return {
        "address": address,
        "description": description,
        "servers": [{"$ref": f"#/servers/{server}"}],
        **({"parameters": parameters} if parameters else {}),
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }


def _operations() -> Document:
    return {
        "publishEvents": {
            "action": "send",
            "channel": {"$ref": "#/channels/events"},
            "summary": "Publish what happens to a share or a pin.",
        },
        "keepDeadLetters": {
            "action": "send",
            "channel": {"$ref": "#/channels/deadLetters"},
            "summary": "Keep what could not be used.",
        },
        "runJobs": {
            "action": "receive",
            "channel": {"$ref": "#/channels/jobs"},
            "summary": "Run a job and store its result.",
            "reply": {"channel": {"$ref": "#/channels/results"}},
        },
        "receiveWebhooks": {
            "action": "receive",
            "channel": {"$ref": "#/channels/webhooks"},
            "summary": "Learn that somebody has begun or stopped sharing.",
            "bindings": {"http": {"method": "POST"}},
        },
    }


def _messages() -> Document:
    entries = {f"{schema_name(event_type)}Entry": {"name": event_type, "title": event_type} for event_type in EVENTS}
    jobs = {f"{schema_name(function)}Job": {"name": function, "title": function} for function in JOBS}
    answers = {
        f"{schema_name(function)}Answer": {"name": f"{function}.result", "title": f"{function}: result"}
        for function in JOBS
    }
    others = {
        "Failure": {"name": "failure", "title": "Result of a job that failed"},
        "DeadLetter": {"name": "dead-letter", "title": "dead letter"},
        "Webhook": {"name": "webhook", "title": "delivery of Linq"},
    }
    return {
        name: {**message, "payload": {"$ref": f"#/components/schemas/{name}"}}
        for name, message in {**entries, **jobs, **answers, **others}.items()
    }
