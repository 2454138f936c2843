"""GET /map: the live map, a page that is a client of the other two views.

Leaflet comes from its own package (extra `map`); nothing of it is copied here. This process serves everything, so that
browsers send requests to no other host, except for tiles if MAP_TILES is set.
"""

import html
import importlib.util
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from config.settings import Settings
from worker.domain.events import EVENT_TYPES
from worker.text import RULES
from worker.views.access import Access, protect, refuse

_STATIC = Path(__file__).parent / "static"
_LEAFLET_FILES = ("leaflet.js", "leaflet.css")
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_NO_LEAFLET = (
    "The map needs Leaflet, which comes with the extra `map`: pip install 'location-worker[map]', then start "
    "this process again. /events and /latest work without it.\n"
)


class Map:
    """The page and its files."""

    def __init__(self, settings: Settings, access: Access) -> None:
        self._access = access
        self._policy = content_security_policy(settings.map_tiles)
        self._page = _fill(settings)
        leaflet = find_leaflet()
        self._has_leaflet = leaflet is not None
        files = {path.name: path for path in sorted(_STATIC.iterdir()) if path.suffix in _TYPES}
        if leaflet is not None:
            files |= {name: leaflet / name for name in _LEAFLET_FILES}
        self.routes = [
            Route("/map", self.show, methods=["GET"]),
            *(access.route(f"/map/{name}", _file_endpoint(path)) for name, path in files.items()),
        ]

    async def show(self, request: Request) -> Response:
        """GET /map; with `?token=` it sets the cookie and redirects to itself without the token."""
        offered = request.query_params.get("token")
        if offered is not None:
            token = self._access.find(offered)
            if token is None:
                return protect(refuse(request))
            response: Response = RedirectResponse("/map", 303)
            self._access.set_cookie(response, token, secure=_is_secure(request))
            return protect(response)
        if not self._access.admits(request):
            return protect(_refuse_or_look_again(request))
        if not self._has_leaflet:
            return protect(Response(_NO_LEAFLET, 503, media_type="text/plain"))
        return protect(HTMLResponse(self._page, headers={"content-security-policy": self._policy}))


def content_security_policy(tiles: str | None) -> str:
    """Return the page's content security policy: files and data from here, and images from the host of the tiles."""
    pictures = "'self'"
    if tiles is not None:
        address = urlsplit(tiles)
        # Leaflet replaces a tile that is no longer needed by an empty image.
        pictures = f"'self' data: {address.scheme}://{address.netloc}"
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        f"img-src {pictures}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _fill(settings: Settings) -> str:
    page = (_STATIC / "map.html").read_text(encoding="utf-8")
    values = {
        "tiles": settings.map_tiles or "",
        "attribution": settings.map_attribution or "",
        "types": ",".join(EVENT_TYPES),
        "rules": msgspec.json.encode(RULES).decode(),
    }
    for name, value in values.items():
        page = page.replace(f"{{{{ {name} }}}}", html.escape(value))
    return page


def find_leaflet() -> Path | None:
    """Return the folder of Leaflet's files, or None where the extra `map` is not installed."""
    try:
        found = importlib.util.find_spec("xstatic.pkg.leaflet")
    except ModuleNotFoundError:
        return None
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "data"


def _file_endpoint(path: Path) -> Callable[[Request], Awaitable[Response]]:
    async def serve(_: Request) -> Response:
        return FileResponse(path, media_type=_TYPES[path.suffix])

    return serve


def _is_secure(request: Request) -> bool:
    forwarded = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    return "https" in (request.url.scheme, forwarded)


def _refuse_or_look_again(request: Request) -> Response:
    """Refuse, but let a browser that comes from another site load the page again.

    On such a visit (SameSite=Strict), and after its redirect from `?token=`, it sends no cookie. The second request
    comes from our own page, so it does.
    """
    if request.headers.get("sec-fetch-site") == "cross-site" and request.headers.get("sec-fetch-mode") == "navigate":
        return HTMLResponse('<!doctype html><meta http-equiv="refresh" content="0"><title>Map</title>', 401)
    return refuse(request)
