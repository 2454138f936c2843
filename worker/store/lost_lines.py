"""Lines that the key has lost: which chats were refused and answered lately, and which chats wait.

A line is named by the digest of its number. `ALL_LINES` stands for all of them, if most chats are refused or lines are
not known.
"""

import time
from collections.abc import Awaitable, Sequence
from typing import NamedTuple, cast

from redis.asyncio import Redis

from worker.domain.refusals import WINDOW_SECONDS, Evidence, Reads, View
from worker.store.keys import ALL_LINES, LOST_LINE_TTL_SECONDS, Keys
from worker.store.pause import PROBE_SECONDS, Pause, PauseState
from worker.store.scripts import Scripts

WAKE_COUNT = 1000  # chats woken in one script: some milliseconds
COUNT_EVERY_SECONDS = 1.0  # in one worker, when many chats are refused for the first time


class LostLine(NamedTuple):
    """A line whose chats wait: its digest or `ALL_LINES`, the pause, and how many chats wait."""

    line: str
    pause: PauseState
    chats: int


class LostLines:
    """The lost lines under one KEY_PREFIX; `lease`: seconds that a claimed or prompted chat may be held."""

    def __init__(self, redis: Redis, keys: Keys, *, lease: float) -> None:
        self._redis = redis
        self._keys = keys
        self._scripts = Scripts(redis)
        self._lease = lease
        self._counted_at = 0.0  # monotonic

    async def count(self, chat_id: str, line: str, *, since: float | None, now: float) -> Evidence:
        """Record that a chat was refused, first at `since` (None: now), and return what is known of the others.

        `line` is empty if unknown.
        """
        keys = self._keys
        counts = since is not None or time.monotonic() >= self._counted_at + COUNT_EVERY_SECONDS
        if counts:
            self._counted_at = time.monotonic()
        names = [ALL_LINES, line] if line else [ALL_LINES]
        tracked, *numbers = await self._scripts.count_refusal(
            keys=[keys.due, *(key for name in names for key in (keys.lost_line(name), keys.refused(name)))],
            args=[
                chat_id,
                repr(WINDOW_SECONDS),
                "" if since is None else repr(since),
                int(counts),
                *(f"{keys.answered}{name}:" for name in names),
            ],
        )
        return Evidence(
            _view(numbers[:5]),
            _view(numbers[5:]) if line else None,
            tracked,
            0.0 if since is None else now - since,
        )

    async def forgive(self, chat_id: str, line: str) -> None:
        """Record that a chat that was refused has been read."""
        for name in {line or ALL_LINES, ALL_LINES}:
            await self._redis.zrem(self._keys.refused(name), chat_id)

    async def park(self, chat_id: str, line: str, reason: str) -> bool:
        """Let a chat wait for its line, or for `ALL_LINES`; return whether it is the first."""
        keys = self._keys
        begun: int = await self._scripts.park_chat(
            keys=[keys.lost_line(line), keys.parked(line), keys.lost_lines],
            args=[chat_id, line, reason, repr(PROBE_SECONDS), LOST_LINE_TTL_SECONDS],
        )
        return begun == 1

    async def release(self, chat_id: str, line: str) -> int | None:
        """Make all chats due that wait with this one, which can be read again; return None if it did not wait.

        Otherwise return how many there are, including this one.
        """
        for name in {line or ALL_LINES, ALL_LINES}:
            if await cast("Awaitable[int]", self._redis.srem(self._keys.parked(name), chat_id)):
                released = 1
                while woken := await self._wake(name, WAKE_COUNT):
                    released += woken
                return released
        return None

    async def probe(self) -> None:
        """Make one chat of each lost line due, once a minute; drop a line that no tracked chat waits for."""
        for member in await cast("Awaitable[set[bytes]]", self._redis.smembers(self._keys.lost_lines)):
            line = member.decode()
            if await self._pause(line).permit() == "probe":
                for key in (self._keys.parked(line), self._keys.lost_lines, self._keys.lost_line(line)):
                    await self._redis.expire(key, LOST_LINE_TTL_SECONDS)
                await self._wake(line, 0)

    async def states(self) -> list[LostLine]:
        """Return the lost lines."""
        found = []
        for member in sorted(await cast("Awaitable[set[bytes]]", self._redis.smembers(self._keys.lost_lines))):
            line = member.decode()
            state = await self._pause(line).state()
            if state is not None:
                chats = await cast("Awaitable[int]", self._redis.scard(self._keys.parked(line)))
                found.append(LostLine(line, state, chats))
        return found

    def _pause(self, line: str) -> Pause:
        return Pause(self._redis, self._keys.lost_line(line))

    async def _wake(self, line: str, count: int) -> int:
        woken: int = await self._scripts.wake_chats(
            keys=[self._keys.parked(line), self._keys.due, self._keys.lost_line(line), self._keys.lost_lines],
            args=[count, repr(self._lease), line],
        )
        return woken


def _view(numbers: Sequence[int]) -> View:
    waiting, refused, answered, refused_since, answered_since = numbers
    since = None if answered_since < 0 else Reads(refused_since, answered_since)
    return View(Reads(refused, answered), since, waiting == 1)
