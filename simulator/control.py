"""The control API: the director's methods over HTTP, without authentication, only for this machine.

`POST /_simulator/METHOD` takes the method's arguments as a JSON object and answers `{"result": …}`, or 400 with
`{"error": …}`. `GET /_simulator` returns the state.
"""

from __future__ import annotations

import inspect
import json
from dataclasses import asdict, is_dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from simulator.director import Director

METHODS = frozenset(name for name, method in vars(Director).items() if callable(method) and not name.startswith("_"))


def routes(director: Director) -> list[Route]:
    """Return the routes below `/_simulator`."""

    async def state(_request: Request) -> Response:
        return JSONResponse(_wire(director.state()))

    async def command(request: Request) -> Response:
        method = request.path_params["method"]
        if method not in METHODS:
            return _refuse(f"no method {method!r}; there are {', '.join(sorted(METHODS))}", 404)
        try:
            arguments = json.loads(await request.body() or b"{}")
            function = getattr(director, method)
            parameters = inspect.signature(function).parameters.values()
            names = [one.name for one in parameters if one.kind is one.POSITIONAL_ONLY and one.name in arguments]
            result = function(*[arguments.pop(name) for name in names], **arguments)
        except KeyError as unknown:
            return _refuse(f"not known: {unknown}", 400)
        except (TypeError, ValueError) as wrong:
            return _refuse(str(wrong), 400)
        return JSONResponse({"result": _wire(result)})

    return [
        Route("/_simulator", state, methods=["GET"]),
        Route("/_simulator/{method}", command, methods=["POST"]),
    ]


def _refuse(error: str, status: int) -> Response:
    return JSONResponse({"error": error}, status)


def _wire(result: Any) -> Any:
    if is_dataclass(result) and not isinstance(result, type):
        return asdict(result)
    if isinstance(result, list):
        return [_wire(item) for item in result]
    return result
