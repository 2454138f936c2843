"""The polling policies that are compared: the worker's own, and what others do with the same requests."""

import heapq
import math
from bisect import bisect_right
from collections.abc import Callable
from random import Random

from benchmarks.simulated import Answer, Fleet, Follower, Result, Scenario, follow
from worker.domain import policy

CONFIRM_AFTER = 30.0  # seconds after which an empty answer is believed
BEFORE_END = 2.0  # seconds before an announced end at which a share is read once more
EPOCH = 1e9  # Pace takes times since 1970, where 0 means unknown
# The scenarios' rates are for polling alone, and their bounds are for these parameters.
MINIMUM = 10.0
MAXIMUM = math.inf
HEAD_ROOM = 0.97
PRICE_FLOOR = 0.0
BACKOFF_MOST = 16.0  # times the base interval
BACKOFF_SPENDS = 0.99  # of the budget: all that can be spent without queueing for tokens
BACKOFF_BASES = tuple(0.05 * 1.3**step for step in range(13))  # to try, in mean intervals: 0.05 to 1.16


class Scheduled:
    """Reads every chat when it is due, the most overdue first; subclasses say after how long again."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int]] = []
        self._ends: dict[int, float] = {}
        self._empty: set[int] = set()

    def interval(self, chat: int, now: float, answer: Answer, rate: float) -> float:
        """Seconds until the next read, `rate` requests per second being allowed now."""
        raise NotImplementedError

    def ended(self, chat: int) -> None:
        """Forget a chat."""

    def known(self, chat: int, now: float, ends_at: float | None) -> None:
        self._ends[chat] = math.inf if ends_at is None else ends_at
        heapq.heappush(self._due, (now, chat))

    def due(self, now: float) -> float:
        while self._due and max(now, self._due[0][0]) >= self._ends[self._due[0][1]]:
            self.ended(heapq.heappop(self._due)[1])
        return self._due[0][0] if self._due else math.inf

    def take(self, now: float) -> int:  # noqa: ARG002 - part of the protocol
        return heapq.heappop(self._due)[1]

    def told(self, chat: int, now: float, answer: Answer, rate: float) -> None:
        if answer.listed:
            self._empty.discard(chat)
            due = now + self.interval(chat, now, answer, rate)
            last = self._ends[chat] - BEFORE_END
            heapq.heappush(self._due, (last if now < last < due else due, chat))
        elif chat in self._empty:
            self.ended(chat)
        else:
            self._empty.add(chat)
            heapq.heappush(self._due, (now + CONFIRM_AFTER, chat))

    def throttled(self, chat: int, retry_at: float) -> None:
        heapq.heappush(self._due, (retry_at, chat))


class Fixed(Scheduled):
    """The same interval for every chat, long enough for all of them."""

    def __init__(self, scenario: Scenario, rate: float) -> None:
        super().__init__()
        self._interval = scenario.mean_alive / rate

    def interval(self, chat: int, now: float, answer: Answer, rate: float) -> float:  # noqa: ARG002
        return self._interval


class Doubling(Scheduled):
    """Exponential backoff: the base interval after a change, twice the last one after none."""

    def __init__(self, base: float) -> None:
        super().__init__()
        self._base = base
        self._intervals: dict[int, float] = {}

    def interval(self, chat: int, now: float, answer: Answer, rate: float) -> float:  # noqa: ARG002
        last = self._intervals.get(chat, self._base)
        changed = answer.updated_at is not None
        interval = self._base if changed else min(2.0 * last, BACKOFF_MOST * self._base)
        self._intervals[chat] = interval
        return interval


class Recommended(Scheduled):
    """The worker's policy, by the worker's code; `quiet_time=False` leaves its square-root rule alone."""

    def __init__(
        self,
        rate: float,
        random: Random,
        *,
        quiet_time: bool = True,
        lower: float = MINIMUM,
        upper: float = MAXIMUM,
        price_floor: float = PRICE_FLOOR,
        head_room: float = HEAD_ROOM,
    ) -> None:
        super().__init__()
        self._ceiling = rate
        self._random = random
        self._quiet_time = quiet_time
        self._lower, self._upper = lower, upper
        self._price_floor, self._head_room = price_floor, head_room
        self._paces: dict[int, policy.Pace] = {}
        self._weights = 0.0

    def interval(self, chat: int, now: float, answer: Answer, rate: float) -> float:
        before = self._paces.get(chat)
        tracked = len(self._paces)
        pace = self._paces[chat] = before or policy.Pace()
        weight = pace.weight
        interval, _ = policy.follow(
            pace,
            policy.Fleet(weights=self._weights, tracked=tracked, waiting=0.0, rate=rate, ceiling=self._ceiling),
            now=EPOCH + now,
            updated_at=None if answer.updated_at is None else EPOCH + answer.updated_at,
            moved=answer.moved,
            lower=self._lower,
            upper=self._upper,
            spread=self._random.uniform(0.98, 1.02),
            price_floor=self._price_floor,
            head_room=self._head_room,
        )
        self._weights += pace.weight - weight
        if not self._quiet_time:
            pace.updated_at = 0.0  # without the last update there is no gap to learn from
        return interval

    def ended(self, chat: int) -> None:
        pace = self._paces.pop(chat, None)
        if pace:
            self._weights -= pace.weight


class Clairvoyant:
    """Sees every position appear, and reads the chat with most unread ones; only the rate holds it back."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._known: set[int] = set()

    def known(self, chat: int, now: float, ends_at: float | None) -> None:  # noqa: ARG002
        self._known.add(chat)

    def due(self, now: float) -> float:
        fleet = self._fleet
        self._known -= {chat for chat in self._known if fleet.ends[chat] <= now}
        due = math.inf
        for chat in self._known:
            unread = fleet.read_until[chat]
            available = fleet.available[chat]
            if unread < len(available):
                due = min(due, available[unread])
        return max(now, due)

    def take(self, now: float) -> int:
        fleet = self._fleet

        def unread(chat: int) -> tuple[int, float, int]:
            available, first = fleet.available[chat], fleet.read_until[chat]
            last = bisect_right(available, now, first)
            return last - first, -available[first] if first < last else 0.0, chat

        return max(self._known, key=unread)

    def told(self, chat: int, now: float, answer: Answer, rate: float) -> None:
        """Learn nothing: there is nothing left to learn."""

    def throttled(self, chat: int, retry_at: float) -> None:
        """Come back: the position is still unread."""


Policy = Callable[[Scenario, float, Random], Result]


def fixed(scenario: Scenario, rate: float, random: Random) -> Result:  # noqa: ARG001 - nothing varies
    """Run the fixed interval."""
    return _run(scenario, Fixed(scenario, rate), rate)


def doubling(scenario: Scenario, rate: float, random: Random) -> Result:  # noqa: ARG001 - nothing varies
    """Run exponential backoff with the base interval that, in hindsight, just spends the budget."""
    shortest, longest = 0.0, 2.0 * scenario.mean_alive / rate
    for _ in range(9):
        middle = (shortest + longest) / 2.0
        if _run(scenario, Doubling(middle), rate).requests > BACKOFF_SPENDS * rate * scenario.horizon_s:
            shortest = middle
        else:
            longest = middle
    return _run(scenario, Doubling(longest), rate)


def overbooked(scenario: Scenario, rate: float, random: Random) -> Result:  # noqa: ARG001 - nothing varies
    """Run backoff with the base interval that, in hindsight, gives this fleet the least delay.

    It asks for more than the budget, so that everybody is overdue all the time and the order of being due
    decides.
    """
    mean = scenario.mean_alive / rate
    return min(_run(scenario, Doubling(mean * share), rate) for share in BACKOFF_BASES)


def square_root(scenario: Scenario, rate: float, random: Random) -> Result:
    """Run the square-root rule alone."""
    return _run(scenario, Recommended(rate, random, quiet_time=False), rate)


def recommended(scenario: Scenario, rate: float, random: Random) -> Result:
    """Run what the worker does."""
    return _run(scenario, Recommended(rate, random), rate)


def clairvoyant(scenario: Scenario, rate: float, random: Random) -> Result:  # noqa: ARG001 - nothing varies
    """Run what nobody can do without being told of each position."""
    fleet = Fleet(scenario)
    return follow(fleet, Clairvoyant(fleet), rate)


def _run(scenario: Scenario, follower: Follower, rate: float) -> Result:
    return follow(Fleet(scenario), follower, rate)
