"""All views together: none without VIEW_TOKEN."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.routing import Route

from config.settings import Settings
from worker.store.store import Store
from worker.views.access import Access
from worker.views.events import Events
from worker.views.feed import Feed
from worker.views.latest import LatestPositions
from worker.views.map import Map


class Views:
    """The routes of the views, and the feed behind them."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._feed = Feed(store.events)
        self.routes: list[Route] = []
        if not settings.view_tokens:
            return
        access = Access(settings.view_tokens, settings.view_origins)
        self.routes = [
            access.route("/events", Events(store.events, self._feed).show, shared=True),
            access.route("/latest", LatestPositions(store).show, shared=True),
            *Map(settings, access).routes,
        ]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the feed while the context lasts."""
        if not self.routes:
            yield
            return
        task = asyncio.create_task(self._feed.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def close(self) -> None:
        """End the long-lived connections."""
        self._feed.close()
