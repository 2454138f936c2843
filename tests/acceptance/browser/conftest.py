"""What the tests of the map share: a browser, a web process, and people who are somewhere."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser
from redis.asyncio import Redis

from tests.acceptance.views.conftest import Stream
from tests.support.browser import CHROMIUM, NO_CHROMIUM, Window, open_window, running_browser
from tests.support.stored import begin, new_chat, observe, open_store, somewhere
from tests.support.web import WebProcess, WebProcesses
from worker.store.store import Store

TOKEN = "a-token-of-the-tests-of-the-map"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the tests of this folder out where there is no browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM))


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as browser:
        yield browser


@pytest.fixture
async def window(browser: Browser) -> AsyncIterator[Window]:
    """Open a desktop-sized window; check at the end that no script failed and no request left this machine."""
    window = await open_window(browser)
    yield window
    window.check()


@pytest.fixture
async def webs(redis_url: str, prefix: str, tmp_path: Path) -> AsyncIterator[WebProcesses]:
    processes = WebProcesses(tmp_path, REDIS_URL=redis_url, KEY_PREFIX=prefix, VIEW_TOKEN=TOKEN)
    yield processes
    await processes.close()


@pytest.fixture
async def web(webs: WebProcesses) -> WebProcess:
    return await webs.start()


@pytest.fixture
async def store(redis: Redis, redis_url: str, prefix: str) -> Store:
    return open_store(redis, redis_url, prefix)


def address_of(web: WebProcess) -> str:
    """Return the address of the map, with the token, as it is given to a user."""
    return f"{web.url}/map?token={TOKEN}"


class Walker:
    """Somebody whose positions the worker publishes."""

    def __init__(self, store: Store, handle: str) -> None:
        self.handle = handle
        self.chat_id = new_chat()
        self._store = store

    async def begin(self) -> None:
        """Begin to track this contact with a request."""
        await begin(self._store, self.chat_id, asked=True)

    async def be_at(self, longitude: float, latitude: float, *, seconds_ago: float = 0) -> None:
        """Publish a position that is `seconds_ago` old."""
        seconds, microseconds = await self._store.redis.time()
        updated_at = int((seconds - seconds_ago) * 1e9) + microseconds * 1000
        await observe(
            self._store,
            self.chat_id,
            somewhere(self.handle, updated_at=updated_at, longitude=longitude, latitude=latitude),
        )


@pytest.fixture
async def walker(store: Store) -> Walker:
    return Walker(store, "+12025550100")


@pytest.fixture
def stream(redis: Redis, prefix: str) -> Stream:
    """Return a writer of events in the form that the store's scripts write."""
    return Stream(redis, prefix)
