"""The OpenAPI document: what `web` serves over HTTP."""

from typing import Any, Final, get_args

from location_client.limits import MAX_REFERENCE
from worker.apis.asyncapi import VERSION
from worker.apis.schemas import EVENTS, reference, schema_name, schemas_of
from worker.metrics import WebhookOutcome
from worker.processes.receiver import MAX_BODY_BYTES
from worker.views.access import COOKIE
from worker.views.latest import DEFAULT_LIMIT, MAX_LIMIT

Document = dict[str, Any]

_DELIVERY: Final = "Why it was refused: " + ", ".join(f"`{outcome}`" for outcome in get_args(WebhookOutcome)) + "."
_VIEWS: Final[list[dict[str, list[str]]]] = [{"token": []}, {"cookie": []}]
_CHAT_ID: Final = {
    "name": "chat_id",
    "in": "query",
    "description": "Only of this chat.",
    "schema": {"type": "string", "format": "uuid"},
}


def describe() -> Document:
    """Return the document as plain data."""
    paths = _paths()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "location-worker web",
            "version": VERSION,
            "description": "Receives Linq's webhooks and, with VIEW_TOKEN set, shows events and latest positions.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "http://localhost:8080"}],
        "paths": paths,
        "components": {
            "schemas": schemas_of(paths),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "One of VIEW_TOKEN."},
                "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "Set by /map?token=…"},
            },
        },
    }


def _paths() -> Document:
    return {
        "/webhooks/linq": {"post": _webhooks()},
        "/healthz": {
            "get": {"summary": "Report that the process runs.", "responses": {"200": _json("Runs.", "Health")}}
        },
        "/readyz": {
            "get": {
                "summary": "Report whether Redis answers and accepts writes, and polling is not paused.",
                "responses": {"200": _json("Ready.", "Readiness"), "503": _json("Not ready.", "Readiness")},
            }
        },
        "/metrics": {
            "get": {
                "summary": "Show the metrics; with METRICS_PORT only at that port.",
                "responses": {
                    "200": {"description": "Prometheus text.", "content": {"text/plain": {"schema": _STRING}}}
                },
            }
        },
        "/events": {"get": _events()},
        "/latest": {"get": _latest()},
        "/map": {"get": _map()},
    }


_STRING: Final = {"type": "string"}


def _json(description: str, schema: str, media_type: str = "application/json") -> Document:
    return {"description": description, "content": {media_type: {"schema": reference(schema)}}}


def _refusals(*statuses: str) -> Document:
    told = {
        "400": "A parameter is wrong; the text says what is accepted.",
        "401": "The token is missing or wrong.",
        "404": "VIEW_TOKEN is not set.",
        "503": "Redis does not answer.",
    }
    return {
        status: {"description": told[status]} if status == "404" else _json(told[status], "Refusal")
        for status in statuses
    }


def _webhooks() -> Document:
    return {
        "summary": "Receive a delivery from Linq.",
        "parameters": [
            {"name": name, "in": "header", "required": True, "schema": _STRING}
            for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
        ],
        "requestBody": {
            "required": True,
            "description": f"At most {MAX_BODY_BYTES} bytes.",
            "content": {"application/json": {"schema": reference("Webhook")}},
        },
        "responses": {
            "204": {"description": "Accepted, a repeat, or of a type that the worker does not use."},
            "400": _json(f"No event. {_DELIVERY}", "Delivery"),
            "401": _json("The signature is bad, missing or stale.", "Delivery"),
            "413": _json("Too large.", "Delivery"),
            "503": _json("Not stored, or no secret is set: send it again.", "Delivery"),
        },
    }


def _events() -> Document:
    place = {"type": "string", "pattern": "^[0-9]+(-[0-9]+)?$", "examples": ["1763900000000-0", "0"]}
    return {
        "summary": "Read the event stream as server-sent events.",
        "description": (
            "`id` is the id of the stream entry, `event` the type, `data` a CloudEvent in JSON. "
            '`event: gap` with `{"first": ID}` says that entries are missing; ID is the first one left. '
            "A comment comes at least every 15 s."
        ),
        "security": _VIEWS,
        "parameters": [
            {
                "name": "after",
                "in": "query",
                "description": "Begin after this entry; 0: with the oldest. Without it: from now on.",
                "schema": place,
            },
            {
                "name": "Last-Event-ID",
                "in": "header",
                "description": "As `after`; takes precedence over it.",
                "schema": place,
            },
            {
                "name": "types",
                "in": "query",
                "description": "Only these types.",
                "style": "form",
                "explode": False,
                "schema": {"type": "array", "items": {"enum": list(EVENTS)}},
            },
            _CHAT_ID,
            {
                "name": "reference",
                "in": "query",
                "description": "Only with this reference.",
                "schema": {"type": "string", "minLength": 1, "maxLength": MAX_REFERENCE},
            },
        ],
        "responses": {
            "200": {
                "description": "Events until either side ends the connection.",
                "content": {
                    "text/event-stream": {
                        "schema": {
                            "type": "string",
                            "contentMediaType": "text/event-stream",
                            "contentSchema": {"anyOf": [reference(f"{schema_name(name)}Event") for name in EVENTS]},
                        }
                    }
                },
            },
            **_refusals("400", "401", "404"),
        },
    }


def _latest() -> Document:
    return {
        "summary": "Return the latest positions as GeoJSON.",
        "security": _VIEWS,
        "parameters": [
            _CHAT_ID,
            {
                "name": "bbox",
                "in": "query",
                "description": "west,south,east,north in degrees; west above east crosses the antimeridian.",
                "style": "form",
                "explode": False,
                "schema": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
            },
            {
                "name": "limit",
                "in": "query",
                "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
            },
        ],
        "responses": {
            "200": _json("The positions.", "Latest", "application/geo+json"),
            **_refusals("400", "401", "404", "503"),
        },
    }


def _map() -> Document:
    return {
        "summary": "Show the live map.",
        "security": _VIEWS,
        "parameters": [
            {
                "name": "token",
                "in": "query",
                "description": "Sets the cookie and redirects to the page without it.",
                "schema": _STRING,
            }
        ],
        "responses": {
            "200": {"description": "The page.", "content": {"text/html": {"schema": _STRING}}},
            "303": {"description": "The cookie is set."},
            **_refusals("401", "404"),
            "503": {
                "description": "The extra `map` is not installed.",
                "content": {"text/plain": {"schema": _STRING}},
            },
        },
    }
