"""A real Chromium, driven by playwright; none of its requests leaves this machine."""

import contextlib
import shutil
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, Page, async_playwright

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
NO_CHROMIUM = "Chromium is not installed (Debian and Ubuntu: apt-get install chromium)"
_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    # Requests that the browser makes on its own reach no host.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
# Hosts that are this machine.
_LOCAL = {"127.0.0.1", "localhost"}


@contextlib.asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """Start Chromium with a fresh profile, and end it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        try:
            yield browser
        finally:
            await browser.close()


class Window:
    """A page, with what went wrong in it and where its requests went."""

    def __init__(self, context: BrowserContext, page: Page) -> None:
        self.context = context
        self.page = page
        self.faults: list[str] = []
        self.hosts: set[str] = set()
        context.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)

    def check(self) -> None:
        """Assert that no script failed and that no request left this machine."""
        assert self.faults == []
        assert {host.rpartition(":")[0] or host for host in self.hosts} <= _LOCAL | {""}


async def open_window(
    browser: Browser, *, width: int = 1280, height: int = 800, dark: bool = False, sharp: float = 1
) -> Window:
    """Open an empty page of this size, in pixels."""
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        device_scale_factor=sharp,
        has_touch=width < 500,
    )
    return Window(context, await context.new_page())
