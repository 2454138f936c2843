"""The page of the examples in a real browser."""

import pytest

from tests.examples.conftest import EXAMPLES, TOKEN
from tests.support.browser import CHROMIUM, NO_CHROMIUM, open_window, running_browser
from tests.support.stage import Stage
from tests.support.web import WebProcess

DEADLINE = 30_000.0  # milliseconds

pytestmark = [pytest.mark.acceptance, pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)]


async def test_the_page_shows_who_is_where_and_lets_them_go(stage: Stage, web: WebProcess) -> None:
    sharing, coming = stage.people(2)
    await stage.request(sharing)
    await stage.published(sharing, "location.updated")
    async with running_browser() as browser:
        window = await open_window(browser)
        page = window.page
        # The page is served from the same host as the views, as behind a proxy.
        await page.route(f"{web.url}/people", lambda route: route.fulfill(path=EXAMPLES / "browser" / "index.html"))
        await page.goto(f"{web.url}/map?token={TOKEN}")
        await page.goto(f"{web.url}/people")

        people = page.locator("#people li")
        await people.filter(has_text=stage.simulator.handle_of(sharing)).wait_for(timeout=DEADLINE)
        await page.locator("#state").filter(has_text="live").wait_for(timeout=DEADLINE)
        shown = await people.first.text_content()
        await stage.request(coming)
        await people.filter(has_text=stage.simulator.handle_of(coming)).wait_for(timeout=DEADLINE)
        await stage.more_positions([sharing], more=2)
        await page.wait_for_function(
            "before => document.querySelector('#people li').textContent !== before", arg=shown, timeout=DEADLINE
        )
        await stage.client.untrack_location(sharing)
        await people.filter(has_text=stage.simulator.handle_of(sharing)).wait_for(state="detached", timeout=DEADLINE)
        assert await people.count() == 1
        window.check()
