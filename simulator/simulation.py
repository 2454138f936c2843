"""All parts of one simulated account, and the progress of its time."""

from __future__ import annotations

import asyncio
import time

from simulator.answers import AnswerLog
from simulator.deliveries import Deliveries
from simulator.faults import FaultBoard
from simulator.pins import Pins
from simulator.subscriptions import Subscriptions
from simulator.world import World


class Simulation:
    """One account at Linq and one tenant at Chert over one world. Lives on one event loop.

    `chert_tenant`: when set, requests to Chert must name it.
    """

    def __init__(
        self,
        world: World | None = None,
        *,
        api_key: str = "simulated-linq-key",
        chert_secret: str = "00112233445566778899aabbccddeeff",  # noqa: S107 - made up, and the reference's example
        chert_tenant: str | None = None,
    ) -> None:
        self.world = world or World()
        self.api_key = api_key
        self.chert_secret = chert_secret
        self.chert_tenant = chert_tenant
        self.faults = FaultBoard()
        self.answers = AnswerLog()
        self.subscriptions = Subscriptions()
        self.deliveries = Deliveries(self.subscriptions, self.world.habits.speed)
        self.pins = Pins(self.world.lines)
        self.closing = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """Return the seconds since 1970 UTC, after everything that is due has happened."""
        now = time.time()
        self.world.advance(now)
        return now

    def settle(self) -> None:
        """Announce what has happened, and set the timer for what happens next. Needs a running loop."""
        self.now()
        while self.world.outbox:
            self.deliveries.announce(self.world.outbox.popleft())
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        due = self.world.next_due()
        if due is not None and not self.closing.is_set():
            # At most an hour, because a distant time may not fit the loop's clock.
            delay = min(max(due - time.time(), 0.0), 3600.0)
            self._alarm = asyncio.get_running_loop().call_later(delay, self.settle)

    async def close(self) -> None:
        """End hanging replies, deliveries and the alarm."""
        self.closing.set()
        if self._alarm is not None:
            self._alarm.cancel()
        await self.deliveries.close()
