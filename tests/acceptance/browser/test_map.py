"""The live map in a real browser: what somebody sees who opens the address."""

import asyncio
import http.server
import math
import re
import threading
import time
from collections.abc import Awaitable, Iterator
from typing import Any, ClassVar, cast

import msgspec
import pytest
from playwright.async_api import Browser, Page, expect

from config.redis import connect
from config.settings import Settings
from simulator.embedded_redis import EmbeddedRedis
from tests.acceptance.browser.conftest import TOKEN, Walker, address_of
from tests.acceptance.views.conftest import Stream
from tests.support.browser import Window, open_window
from tests.support.node import MODULES
from tests.support.stored import begin, end, new_chat, observe, open_store, somewhere
from tests.support.waiting import wait_until
from tests.support.web import WebProcess, WebProcesses
from worker.domain.handle import handle_digest
from worker.domain.share import Share
from worker.domain.timestamp import NANOSECONDS, format_time
from worker.store.store import Store
from worker.text import RULES

PATIENCE = 20_000  # milliseconds that a loaded machine may take

Asked = tuple[str, dict[str, str]]  # path and headers

# The map's own modules are asked what they have drawn: a canvas has no elements.
DRAWN = """import("/map/map.js").then(({ layer }) => layer.drawn.map(({ person, x, y, look, alpha }) =>
  ({ handle: person.handle, x, y, look, alpha, trail: person.trail.length })))"""
COLOUR = """([x, y]) => import("/map/map.js").then(({ layer }) =>
  [...layer.context.getImageData(x * devicePixelRatio, y * devicePixelRatio, 1, 1).data])"""


async def drawn(page: Page) -> list[dict[str, Any]]:
    """Return the people drawn last: where each is, and with which symbol."""
    found: list[dict[str, Any]] = await page.evaluate(DRAWN)
    return found


async def one_drawn(page: Page, **wanted: object) -> dict[str, Any]:
    """Wait until exactly one person is drawn, with these properties; return all properties."""

    async def seen() -> dict[str, Any]:
        found = await drawn(page)
        fits = len(found) == 1 and all(found[0][name] == value for name, value in wanted.items())
        return found[0] if fits else {}

    found: dict[str, Any] = await wait_until(seen, f"one person drawn with {wanted}", deadline=20)
    return found


async def opened(window: Window, address: str) -> Page:
    """Open the map and wait until it is live."""
    await window.page.goto(address)
    await expect(window.page.locator("#status")).to_have_text("Live", timeout=PATIENCE)
    return window.page


async def test_somebody_is_asked_appears_moves_fades_and_goes(
    web: WebProcess, window: Window, walker: Walker, store: Store, stream: Stream
) -> None:
    page = await opened(window, address_of(web))
    assert page.url == f"{web.url}/map"
    await expect(page.locator("#empty")).to_be_visible()
    people, events = page.locator("#people li"), page.locator("#events")
    await walker.begin()
    await expect(people).to_have_text(re.compile("order 7.*askednext read"), timeout=PATIENCE)
    assert await drawn(page) == []

    await walker.be_at(13.4, 52.5)
    before = await one_drawn(page, handle=walker.handle, look="fresh", trail=1)
    await expect(people).to_have_text(re.compile(r"order 7\d+ ssharing"))
    await expect(page.locator("#empty")).to_be_hidden()
    red, green, blue, _ = await page.evaluate(COLOUR, [before["x"], before["y"]])
    assert blue > green > red  # the blue of a fresh position, whatever its shade

    await walker.be_at(13.403, 52.501)
    await one_drawn(page, look="fresh", trail=2)
    await expect(people).to_have_count(1)

    await stream.add("location.sharing.stale", chat_id=walker.chat_id, reference="order 7", handle=walker.handle)
    faded = await one_drawn(page, look="stale")
    assert faded["alpha"] < 1
    await expect(people).to_have_text(re.compile("stale"))

    assert await end(store, walker.chat_id)
    await wait_until(lambda: _nobody_drawn(page), "nobody is on the map any more")
    await expect(people).to_have_text(re.compile("ended: untracked"))
    for phrase in ("was asked", "shares", "nothing new", "is tracked no more: untracked"):
        await expect(events).to_contain_text(phrase)


async def _nobody_drawn(page: Page) -> bool:
    await page.evaluate("import('/map/map.js').then(({ layer }) => layer.redraw())")
    return await drawn(page) == []


async def test_places_are_circles_in_which_somebody_is_or_not(
    web: WebProcess, window: Window, walker: Walker, stream: Stream
) -> None:
    page = await opened(window, address_of(web))
    await walker.begin()
    await walker.be_at(13.4, 52.5)
    place = {"name": "Depot <1>", "latitude": 52.5, "longitude": 13.4, "radius": 250}
    about = {"chat_id": walker.chat_id, "reference": "order 7", "subject": walker.handle, "handle": walker.handle}
    await stream.add("location.place.entered", **about, place=place)
    [circle] = await circles(page, inside=1)
    point = await one_drawn(page)
    assert (circle["name"], circle["x"], circle["y"]) == (place["name"], point["x"], point["y"])
    # 250 m as a part of the circle of latitude, which is shorter the farther it is from the equator.
    world = 256 * 2 ** await page.evaluate("import('/map/map.js').then(({ map }) => map.getZoom())")
    assert circle["pixels"] == pytest.approx(250 / (40_075_017 * math.cos(math.radians(52.5))) * world)
    _, _, _, alpha = await page.evaluate(COLOUR, [circle["x"] + circle["pixels"] / 2, circle["y"]])
    assert alpha > 0
    await expect(page.locator("#events")).to_contain_text("order 7 entered Depot <1>")

    await stream.add("location.place.left", **about, place=place)
    await circles(page, inside=0)
    await expect(page.locator("#events")).to_contain_text("order 7 left Depot <1>")
    await stream.add("location.tracking.ended", **about, reason="untracked")
    await wait_until(lambda: page.evaluate("import('/map/map.js').then(({ places }) => !places.all.size)"), "no circle")


async def circles(page: Page, *, inside: int) -> list[dict[str, Any]]:
    """Wait until one circle is drawn with `inside` people in it; return it."""

    async def seen() -> list[dict[str, Any]]:
        found = await page.evaluate("import('/map/map.js').then(({ places }) => places.drawn)")
        return found if [circle["inside"] for circle in found] == [inside] else []

    found: list[dict[str, Any]] = await wait_until(seen, f"a circle with {inside} inside", deadline=20)
    return found


async def test_who_comes_later_sees_the_way_that_somebody_came(web: WebProcess, window: Window, walker: Walker) -> None:
    await walker.begin()
    for number in range(4):
        await walker.be_at(13.4 + number / 1000, 52.5, seconds_ago=40 - 10 * number)
    page = await opened(window, address_of(web))
    await one_drawn(page, handle=walker.handle, look="fresh", trail=4)
    await expect(page.locator("#people li")).to_have_text(re.compile("order 7"))


async def test_it_tells_when_and_why_somebody_is_read_next_and_knows_names_after_a_reload(
    web: WebProcess, window: Window, store: Store, walker: Walker
) -> None:
    await walker.begin()
    await walker.be_at(13.4, 52.5)
    waiting = new_chat()
    await begin(store, waiting, asked=True)
    await store.redis.xtrim(store.keys.events, maxlen=0, approximate=False)  # as later, when no event names people
    page = await opened(window, address_of(web))
    rows = page.locator("#people li")
    await expect(rows).to_have_count(2)
    await expect(rows.filter(has_text="asked")).to_have_text("order 7askednext read now")
    rule = (await share_of(store, walker.chat_id)).rule
    sharing = rows.filter(has_text="sharing")
    await expect(sharing).to_have_text(re.compile(rf"^order 7.*sharingnext read in \d+ (s|min), {rule}$"))
    await sharing.locator("button").click()
    await expect(page.locator("#card-facts")).to_contain_text(f"{RULES[rule]} ({rule})")

    seconds, _ = await store.redis.time()
    await store.redis.zadd(store.keys.due, {walker.chat_id: seconds + 5000})
    await expect(sharing).to_contain_text(f"next read in 1 h, {rule}", timeout=PATIENCE)
    assert await end(store, walker.chat_id)
    await expect(rows.filter(has_text="ended")).to_have_text("order 7ended: untracked")


async def test_who_is_forgotten_leaves_the_map_at_once(
    web: WebProcess, window: Window, walker: Walker, stream: Stream, store: Store
) -> None:
    page = await opened(window, address_of(web))
    await walker.begin()
    other = somewhere("+12025550199", updated_at=time.time_ns())
    await observe(store, walker.chat_id, somewhere(walker.handle, updated_at=time.time_ns()), other)
    await expect(page.locator("#people li")).to_have_count(2, timeout=PATIENCE)
    # In a group chat no event says who was forgotten. redis-py's stubs mix its two clients.
    await cast("Awaitable[int]", store.redis.hdel(store.keys.latest + walker.chat_id, other.handle))
    await one_drawn(page, handle=walker.handle)
    await expect(page.locator("#events")).to_contain_text("order 7")
    await stream.add("location.tracking.ended", chat_id=walker.chat_id, reference="order 7", reason="forgotten")
    await expect(page.locator("#people li")).to_have_count(0, timeout=PATIENCE)
    await expect(page.locator("#events")).not_to_contain_text("order 7")
    assert await drawn(page) == []


async def share_of(store: Store, chat_id: str) -> Share:
    share = (await store.shares.load(chat_id)).share
    assert share is not None
    return share


async def test_it_goes_on_after_web_and_redis_were_away(browser: Browser, webs: WebProcesses, prefix: str) -> None:
    window = await open_window(browser)
    status = window.page.locator("#status")
    with EmbeddedRedis(persistence=True) as server:
        web = await webs.start(REDIS_URL=server.url)
        async with connect(Settings(redis_url=server.url)) as redis:
            walker = Walker(open_store(redis, server.url, prefix), "+12025550100")
            await walker.begin()
            await walker.be_at(13.4, 52.5)
            page = await opened(window, address_of(web))
            await one_drawn(page, trail=1)
            await web.stop()
            await expect(status).to_have_attribute("data-state", "away", timeout=PATIENCE)
            await walker.be_at(13.401, 52.5)
            await webs.start(REDIS_URL=server.url, PORT=str(web.port))
            await expect(status).to_have_text("Live", timeout=PATIENCE)
            await one_drawn(page, trail=2)
            server.halt()
            server.restart()
            await redis.connection_pool.disconnect()
            await walker.be_at(13.402, 52.5)
            await one_drawn(page, trail=3)
            await expect(status).to_have_text("Live")
            await page.evaluate("import('/map/map.js').then(({ connect }) => connect())")  # as after a gap
            await walker.be_at(13.403, 52.5)
            await one_drawn(page, trail=4)
            await expect(page.locator("#events li").filter(has_text="was asked")).to_have_count(1)
    window.hosts.clear()  # the failures and requests so far were expected
    window.faults.clear()
    window.check()


async def test_a_list_of_people_is_worked_with_the_keyboard(
    web: WebProcess, window: Window, store: Store, stream: Stream
) -> None:
    await crowd(store, 3)
    for number, name in enumerate(("Zoë", "Adam", "Böse <b>Eve</b>")):
        await stream.add("location.requested", chat_id=_chat(number), reference=name)
    page = await opened(window, address_of(web))
    names = page.locator("#people .name")
    # People who were only asked come after those who share, whose handles are shown.
    await expect(names).to_have_count(3)
    await page.keyboard.press("/")
    await expect(page.locator("#search")).to_be_focused()
    await page.keyboard.type("adam")
    await expect(names).to_have_text(["Adam"])
    await page.keyboard.press("Escape")
    await page.locator("#search").fill("")
    await expect(names).to_have_text(["Adam", "Böse <b>Eve</b>", "Zoë"])
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(page.locator("#card-name")).to_have_text("Böse <b>Eve</b>")
    await expect(page.locator("#people button[aria-pressed=true] .name")).to_have_text("Böse <b>Eve</b>")
    await page.keyboard.press("Escape")
    await expect(page.locator("#card")).to_be_hidden()


async def test_whoever_is_clicked_is_followed_until_the_map_is_dragged(
    web: WebProcess, window: Window, walker: Walker
) -> None:
    await walker.begin()
    await walker.be_at(13.4, 52.5)
    page = await opened(window, address_of(web))
    point = await one_drawn(page)
    area = await page.locator("#map").bounding_box()
    assert area is not None
    await page.mouse.click(area["x"] + point["x"], area["y"] + point["y"])
    await expect(page.locator("#card-name")).to_have_text("order 7")
    follow = page.locator("#card-follow")
    await expect(follow).to_have_attribute("aria-pressed", "true")
    await walker.be_at(13.5, 52.6)

    async def is_centred() -> bool:
        [shown] = await drawn(page) or [{"x": 0, "y": 0}]
        return bool(abs(shown["x"] - area["width"] / 2) < 3 and abs(shown["y"] - area["height"] / 2) < 3)

    await wait_until(is_centred, "who is followed is in the middle")
    await page.mouse.move(area["x"] + 300, area["y"] + 300)
    await page.mouse.down()
    await page.mouse.move(area["x"] + 420, area["y"] + 360, steps=4)
    await page.mouse.up()
    await expect(follow).to_have_attribute("aria-pressed", "false")


def _chat(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


async def crowd(store: Store, count: int) -> None:
    """Write the latest positions of `count` people, each in a chat of their own."""
    now, _ = await store.redis.time()
    received = format_time(now * NANOSECONDS)
    async with store.redis.pipeline(transaction=False) as pipeline:
        for number in range(count):
            handle, place = f"+1202{5550000 + number}", [13 + number % 71 / 50, 52 + number // 71 / 80]
            properties = {"chat_id": _chat(number), "share_id": new_chat(), "handle": handle, "locality": None}
            properties |= {"address": None, "updated_at": received, "received_at": received}
            feature = {"type": "Feature", "geometry": {"type": "Point", "coordinates": place}, "properties": properties}
            key = store.keys.latest + _chat(number)
            pipeline.hset(key, handle, msgspec.json.encode(feature).decode())
            pipeline.expire(key, 300)
            pipeline.hset(store.keys.handles, handle_digest(handle), _chat(number))
        pipeline.expire(store.keys.handles, 300)
        await pipeline.execute()


async def test_five_thousand_people_at_once_stay_usable(
    web: WebProcess, window: Window, store: Store, stream: Stream
) -> None:
    count = 5000
    await crowd(store, count)
    page = await opened(window, address_of(web))
    await expect(page.locator("#summary")).to_contain_text(f"{count} sharing", timeout=PATIENCE)
    await wait_until(lambda: _counted(page, count), "all are drawn")
    await expect(page.locator("#more")).to_contain_text("4,800 more")
    # Measure frames while the map is dragged and 300 events arrive; a test machine draws without a graphics card.
    longest = asyncio.create_task(
        page.evaluate(
            """() => new Promise((resolve) => import("/map/map.js").then(({ map }) => {
              const frames = [];
              let last = performance.now();
              const step = () => {
                const now = performance.now();
                frames.push(now - last);
                last = now;
                map.panBy([frames.length % 2 ? 40 : -40, 0], { animate: false });
                if (frames.length < 60) requestAnimationFrame(step);
                else resolve(frames.sort((one, other) => one - other)[54]);
              };
              requestAnimationFrame(step);
            }))"""
        )
    )
    for number in range(3):
        await stream.add_many(100, "location.sharing.stale", chat_id=_chat(number), handle=f"+1202{5550000 + number}")
    assert await longest < 500, "nine frames in ten take less than half a second even on a busy machine"
    await page.locator("#search").fill("+12025554999")
    await expect(page.locator("#people li")).to_have_count(1)
    await page.locator("#people button").click()
    await expect(page.locator("#card-name")).to_have_text("+12025554999")


async def _counted(page: Page, count: int) -> bool:
    return bool(await page.evaluate("import('/map/map.js').then(({ layer }) => layer.drawn.length)") == count)


class _Tiles(http.server.BaseHTTPRequestHandler):
    """Answers every request for a tile with the same image, and records the requests."""

    asked: ClassVar[list[Asked]]

    def do_GET(self) -> None:
        self.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        self.send_response(200)
        self.send_header("content-type", "image/svg+xml")
        self.end_headers()
        self.wfile.write(b'<svg xmlns="http://www.w3.org/2000/svg" width="256" height="256"/>')

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def tiles() -> Iterator[tuple[int, list[Asked]]]:
    """Serve tiles; return the port and what was asked for."""
    _Tiles.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Tiles) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1], _Tiles.asked
        server.shutdown()
        thread.join()


async def test_tiles_come_from_their_host_alone_and_learn_nothing_of_us(
    webs: WebProcesses, window: Window, walker: Walker, tiles: tuple[int, list[Asked]]
) -> None:
    port, asked = tiles
    web = await webs.start(
        MAP_TILES=f"http://localhost:{port}/{{z}}/{{x}}/{{y}}.svg?key=k",
        MAP_ATTRIBUTION="© <i>Mappers</i> https://tiles.example/credit",
    )
    await walker.begin()
    await walker.be_at(13.4, 52.5)
    page = await opened(window, address_of(web))
    await one_drawn(page)
    await wait_until(lambda: asked, "tiles are asked for")
    credit = page.locator(".leaflet-control-attribution")
    await expect(credit).to_have_text("© <i>Mappers</i> tiles.example/credit")
    await expect(credit.locator("a")).to_have_attribute("rel", "noopener noreferrer")
    assert all(re.fullmatch(r"/\d+/\d+/\d+\.svg\?key=k", path) for path, _ in asked)
    assert all({"referer", "cookie", "authorization"}.isdisjoint(headers) for _, headers in asked)
    assert window.hosts == {f"127.0.0.1:{web.port}", f"localhost:{port}"}


async def test_without_tiles_the_browser_asks_nobody_else(web: WebProcess, window: Window, walker: Walker) -> None:
    await walker.begin()
    await walker.be_at(13.4, 52.5)
    page = await opened(window, address_of(web))
    await one_drawn(page)
    assert window.hosts == {f"127.0.0.1:{web.port}"}
    await expect(page.locator(".leaflet-control-scale-line").first).to_be_visible()


async def test_a_link_on_another_site_leads_to_the_map(web: WebProcess, window: Window) -> None:
    await window.page.route(
        "http://localhost:9/",
        lambda route: route.fulfill(content_type="text/html", body=f'<a href="{address_of(web)}">the map</a>'),
    )
    await window.page.goto("http://localhost:9/")
    await window.page.click("a")
    await expect(window.page.locator("#status")).to_have_text("Live", timeout=PATIENCE)
    assert TOKEN not in window.page.url
    window.faults.clear()  # the first of the two requests is refused


async def test_whoever_is_not_allowed_any_more_is_told(browser: Browser, webs: WebProcesses) -> None:
    window = await open_window(browser)
    web = await webs.start()
    page = await opened(window, address_of(web))
    await web.stop()
    await webs.start(VIEW_TOKEN="another-token-of-the-tests", PORT=str(web.port))
    await expect(page.locator("#status")).to_contain_text("open the address with the token again", timeout=PATIENCE)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_a_phones_screen_holds_it_and_axe_finds_nothing_serious(
    web: WebProcess, browser: Browser, walker: Walker, *, dark: bool
) -> None:
    axe = MODULES / "axe-core" / "axe.min.js"
    await walker.begin()
    await walker.be_at(13.4, 52.5)
    for width, height in ((390, 844), (1280, 800)):
        window = await open_window(browser, width=width, height=height, dark=dark)
        page = await opened(window, address_of(web))
        await one_drawn(page)
        await page.locator("#people button").click()
        assert await page.evaluate("document.documentElement.scrollWidth") == width
        for control in ("#search", "#fit", "#card-follow", "#people button"):
            await page.locator(control).scroll_into_view_if_needed()
            await expect(page.locator(control)).to_be_in_viewport()
        window.check()
        if not axe.exists():
            continue
        await page.evaluate(axe.read_text())
        found = await page.evaluate("axe.run()")
        grave = [fault for fault in found["violations"] if fault["impact"] in ("serious", "critical")]
        told = [f"{fault['id']}: {[node['html'] for node in fault['nodes']]}" for fault in grave]
        assert told == []
    if not axe.exists():
        pytest.skip("axe-core is not installed: make node-packages")
