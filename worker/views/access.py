"""Who may see the views: tokens, the cookie that stands for one, and the headers of every answer.

A token shows where everybody is. So without VIEW_TOKEN there are no views, a token is read only from one header and
from the query of one route, and no answer says what was wrong with it.
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker.views.parameters import ParameterError

COOKIE = "location_view"
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

Endpoint = Callable[[Request], Awaitable[Response]]


class Access:
    """The valid tokens, and the origins whose pages may make requests."""

    def __init__(self, tokens: Sequence[str], origins: Sequence[str]) -> None:
        self._tokens = [token.encode() for token in tokens]
        self._origins = tuple(origins)

    def find(self, offered: str) -> bytes | None:
        """Return the token that was offered if it is valid, else None; the comparison takes constant time."""
        matches = [token for token in self._tokens if hmac.compare_digest(token, offered.encode("utf-8", "replace"))]
        return matches[0] if matches else None

    def admits(self, request: Request) -> bool:
        """Return whether a request has a valid token or cookie; the header takes precedence over the cookie."""
        header = request.headers.get("authorization")
        if header is not None:
            scheme, _, offered = header.partition(" ")
            return scheme.lower() == "bearer" and self.find(offered.strip()) is not None
        offered = request.cookies.get(COOKIE, "")
        return any([hmac.compare_digest(cookie_of(token), offered.encode()) for token in self._tokens])  # noqa: C419 (all are compared)

    def set_cookie(self, response: Response, token: bytes, *, secure: bool) -> None:
        """Set the cookie that stands for a token, until the browser is closed."""
        response.set_cookie(
            COOKIE, cookie_of(token).decode(), path="/", secure=secure, httponly=True, samesite="strict"
        )

    def route(self, path: str, endpoint: Endpoint, *, shared: bool = False) -> Route:
        """Return a route to an endpoint that needs a token; `shared`: also for pages of VIEW_ORIGINS."""

        async def guarded(request: Request) -> Response:
            if self.admits(request):
                response = await _answer(endpoint, request)
            else:
                response = refuse(request)
            return protect(response)

        if not shared or not self._origins:
            return Route(path, guarded, methods=["GET"])
        cross_origin = Middleware(
            CORSMiddleware,
            allow_origins=self._origins,
            allow_methods=["GET"],
            allow_headers=["authorization", "last-event-id"],
        )
        return Route(path, guarded, methods=["GET", "OPTIONS"], middleware=[cross_origin])


def cookie_of(token: bytes) -> bytes:
    """Return the value of the cookie, from which the token cannot be derived."""
    return hmac.new(token, b"location_view", hashlib.sha256).hexdigest().encode()


def refuse(_: Request) -> Response:
    """Return the answer to a request without a valid token."""
    return JSONResponse({"error": "unauthorized"}, 401, {"www-authenticate": "Bearer"})


def protect(response: Response) -> Response:
    """Add the headers of every answer, unless the endpoint has set its own."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


async def _answer(endpoint: Endpoint, request: Request) -> Response:
    try:
        return await endpoint(request)
    except ParameterError as error:
        return JSONResponse({"error": str(error)}, 400)
