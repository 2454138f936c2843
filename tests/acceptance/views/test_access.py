"""Who may see the views, and what every answer says to a browser."""

import re
import sys

import httpx
import pytest
from redis.asyncio import Redis

from config.settings import Settings
from tests.acceptance.views.conftest import TOKEN, Stream
from tests.support.server_sent import event_source
from tests.support.web import WebProcess, WebProcesses
from worker.processes.web import make_app
from worker.store.store import Store
from worker.views.access import COOKIE, cookie_of

ROUTES = ["/events", "/latest", "/map", "/map/map.js", "/map/leaflet.js"]
OTHER_TOKEN = "another-token, of as many letters".replace(", ", "-").replace(" ", "-")


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def statuses(web: WebProcess, headers: dict[str, str], query: str = "") -> set[int]:
    """Return the statuses of all routes; by HEAD, since the body of /events never ends."""
    return {(await web.client.head(f"{route}{query}", headers=headers)).status_code for route in ROUTES}


async def test_without_a_token_in_the_settings_there_are_no_views(webs: WebProcesses) -> None:
    web = await webs.start(VIEW_TOKEN="")
    assert await statuses(web, bearer(TOKEN)) == {404}
    assert (await web.client.get(f"/map?token={TOKEN}")).status_code == 404


async def test_whoever_has_no_valid_token_gets_401_and_no_hint(web: WebProcess) -> None:
    answers = set()
    for headers in (
        {},
        bearer(TOKEN[:-1]),
        bearer(TOKEN + "x"),
        bearer(TOKEN.upper()),
        {"authorization": "Bearer"},
        {"authorization": TOKEN},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Bearer \u00e4\u00f6\u00fc" * 10},
        {"cookie": f"{COOKIE}={TOKEN}"},
        {"cookie": f"{COOKIE}=; {COOKIE}={'0' * 64}"},
        # A valid cookie does not make up for a wrong header.
        bearer(OTHER_TOKEN) | {"cookie": f"{COOKIE}={cookie_of(TOKEN.encode()).decode()}"},
    ):
        raw = [(name.encode(), text.encode()) for name, text in headers.items()]
        for route in ROUTES:
            reply = await web.client.request("GET", route, headers=raw)
            answers.add((reply.status_code, reply.content))
    assert answers == {(401, b'{"error":"unauthorized"}')}


async def test_a_token_in_the_query_is_read_on_no_route_but_the_map(web: WebProcess) -> None:
    for route in set(ROUTES) - {"/map"}:
        assert (await web.client.get(f"{route}?token={TOKEN}")).status_code == 401
    assert await statuses(web, bearer(TOKEN), "?token=whatever") == {200, 401}
    assert (await web.client.get("/latest?token=whatever", headers=bearer(TOKEN))).status_code == 200


async def test_several_tokens_are_valid_while_one_is_rotated(webs: WebProcesses) -> None:
    web = await webs.start(VIEW_TOKEN=f"{TOKEN}, {OTHER_TOKEN}")
    assert await statuses(web, bearer(TOKEN)) == {200}
    assert await statuses(web, {"authorization": f"bearer {OTHER_TOKEN}"}) == {200}
    cookies = set()
    for token in (TOKEN, OTHER_TOKEN):
        cookies.add((await web.client.get(f"/map?token={token}")).cookies[COOKIE])
    for cookie in cookies:
        assert await statuses(web, {"cookie": f"{COOKIE}={cookie}"}) == {200}
    after = await webs.start(VIEW_TOKEN=OTHER_TOKEN)
    found = [await statuses(after, {"cookie": f"{COOKIE}={cookie}"}) for cookie in sorted(cookies)]
    assert sorted(map(sorted, found)) == [[200], [401]]


async def test_the_map_sets_a_cookie_and_leads_to_itself_without_the_token(web: WebProcess) -> None:
    reply = await web.client.get(f"/map?token={TOKEN}")
    assert (reply.status_code, reply.headers["location"]) == (303, "/map")
    [cookie] = reply.headers.get_list("set-cookie")
    value, *attributes = cookie.split("; ")
    assert {name.lower() for name in attributes} == {"httponly", "samesite=strict", "path=/"}
    assert TOKEN not in str(reply.headers) + reply.text
    assert await statuses(web, {"cookie": value}) == {200}
    assert (await web.client.get(f"/map?token={OTHER_TOKEN}", headers={"cookie": value})).status_code == 401


@pytest.mark.parametrize("proto", ["https", "HTTPS", "https, http"])
async def test_behind_tls_the_cookie_is_for_tls_only(web: WebProcess, proto: str) -> None:
    reply = await web.client.get(f"/map?token={TOKEN}", headers={"x-forwarded-proto": proto})
    assert "; secure" in reply.headers["set-cookie"].lower()


async def test_a_browser_that_was_led_here_by_another_site_looks_again(web: WebProcess) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    reply = await web.client.get("/map", headers=headers)
    assert reply.status_code == 401
    assert 'http-equiv="refresh"' in reply.text
    assert (
        'http-equiv="refresh"' not in (await web.client.get("/map", headers=headers | {"sec-fetch-site": "none"})).text
    )


async def test_every_answer_has_the_headers_that_keep_it_private(webs: WebProcesses) -> None:
    web = await webs.start(
        MAP_TILES="https://tiles.example:8443/{z}/{x}/{y}.png?key=1", VIEW_ORIGINS="https://app.example"
    )
    for headers in ({}, bearer(TOKEN)):
        for route in [*ROUTES, "/latest?limit=0", "/map?token=wrong", f"/map?token={TOKEN}"]:
            reply = await web.client.head(route, headers=headers)
            assert reply.headers["cache-control"] == "no-store"
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["referrer-policy"] == "no-referrer"
            assert reply.headers["content-security-policy"].startswith("default-src 'none'; ")
    policy = (await web.client.get("/map", headers=bearer(TOKEN))).headers["content-security-policy"]
    sources = {part.partition(" ")[0]: part.partition(" ")[2] for part in policy.split("; ")}
    assert sources.pop("img-src") == "'self' data: https://tiles.example:8443"
    assert set(sources.values()) == {"'none'", "'self'"}


async def test_pages_of_other_origins_are_answered_only_where_they_are_named(
    webs: WebProcesses, stream: Stream
) -> None:
    closed, opened = await webs.start(), await webs.start(VIEW_ORIGINS="https://app.example,https://b.example")
    origin = {"origin": "https://app.example"}
    asked = origin | {"access-control-request-method": "GET", "access-control-request-headers": "authorization"}
    for route in ("/events", "/latest"):
        reply = await opened.client.head(route, headers=bearer(TOKEN) | origin)
        assert reply.headers["access-control-allow-origin"] == "https://app.example"
        assert "access-control-allow-credentials" not in reply.headers
        before = await opened.client.options(route, headers=asked)
        assert (before.status_code, before.headers["access-control-allow-methods"]) == (200, "GET")
        assert "authorization" in before.headers["access-control-allow-headers"].lower()
        for stranger in (
            {"origin": "https://c.example"},
            {"origin": "null"},
            {"origin": "https://app.example.c.example"},
        ):
            for reply in (
                await opened.client.head(route, headers=bearer(TOKEN) | stranger),
                await opened.client.options(route, headers=asked | stranger),
                await closed.client.head(route, headers=bearer(TOKEN) | origin),
                await closed.client.options(route, headers=asked),
            ):
                assert "access-control-allow-origin" not in reply.headers
    assert (
        "access-control-allow-origin" not in (await opened.client.get("/map", headers=bearer(TOKEN) | origin)).headers
    )
    async with event_source(opened.client, "/events", **bearer(TOKEN), **origin) as source:
        await stream.add()
        assert (await source.next()).type == "location.tracking.ended"


async def test_no_token_gets_into_the_log(webs: WebProcesses) -> None:
    web = await webs.start(LOG_LEVEL="DEBUG")
    cookie = (await web.client.get(f"/map?token={TOKEN}")).cookies[COOKIE]
    await web.client.get(f"/map?token={TOKEN}x")
    await web.client.get(f"/latest?token={TOKEN}&limit=7", headers=bearer(TOKEN))
    await web.client.get(f"/nowhere?token={TOKEN}", headers=bearer(TOKEN))
    await web.client.post(f"/map?token={TOKEN}", headers={"cookie": f"{COOKIE}={cookie}"})
    shown = (await web.client.get("/metrics")).text
    assert await web.stop() == 0
    shown += web.log()
    assert not re.search(f"{TOKEN}|{cookie}", shown)


async def test_the_map_says_what_is_missing_where_leaflet_is_not_installed(
    redis: Redis, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xstatic.pkg", None)
    settings = Settings(view_tokens=(TOKEN,), key_prefix=prefix)
    transport = httpx.ASGITransport(app=make_app(settings, Store(redis, settings)))
    async with httpx.AsyncClient(transport=transport, base_url="http://web", headers=bearer(TOKEN)) as client:
        reply = await client.get("/map")
        assert (reply.status_code, "location-worker[map]" in reply.text) == (503, True)
        assert (await client.get("/latest")).status_code == 200


async def test_the_files_of_the_map_are_served_with_their_types(viewer: httpx.AsyncClient) -> None:
    page = await viewer.get("/map")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for name in re.findall(r'(?:src|href)="(map/[^"]+)"', page.text):
        reply = await viewer.get(f"/{name}")
        assert (reply.status_code, reply.headers["content-type"].partition(";")[0]) == (
            200,
            {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}[name.rpartition(".")[2]],
        )
