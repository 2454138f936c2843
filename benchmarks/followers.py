"""The polling policies that are compared: the worker's own, and what others do with the same requests."""

import heapq
import math
from bisect import bisect_right
from collections.abc import Callable
from random import Random

import msgspec

from benchmarks.simulated import RETRY_AFTER, Answer, Fleet, Follower, Result, Scenario, follow
from worker.domain import policy, prompts, reads, webhooks
from worker.domain.decision import Context, Decision, Limits
from worker.domain.observation import Features, Position, Throttled
from worker.domain.share import NOTHING, Share, Tally, tally

CONFIRM_AFTER = 30.0  # seconds after which an empty answer is believed
BEFORE_END = 2.0  # seconds before an announced end at which a share is read once more
EPOCH = 1_700_000_000.0  # start of the simulated clock (seconds since 1970); not 0, which the domain takes for unknown
FOREVER = 1e9
CHAT, HANDLE = "00000000-0000-4000-8000-000000000000", "+12025550100"
FURTHER = 0.01  # degrees of longitude, over 100 m
# The scenarios' rates are for polling alone, and their bounds are for these parameters.
SCENARIO_LIMITS = Limits(min_poll=10.0, max_poll=math.inf, price_floor=0.0, head_room=0.97)
DEFAULT_LIMITS = msgspec.structs.replace(SCENARIO_LIMITS, min_poll=Limits().min_poll)
MAX_BACKOFF_FACTOR = 16.0  # times the base interval
BACKOFF_SPENDS = 0.99  # of the budget: all that can be spent without queueing for tokens
BACKOFF_BASES = tuple(0.05 * 1.3**step for step in range(13))  # to try, in mean intervals: 0.05 to 1.16


class Scheduled:
    """Reads every chat when it is due, the most overdue first; subclasses choose the interval."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int]] = []
        self._ends: dict[int, float] = {}
        self._empty: set[int] = set()

    def interval(self, chat: int, now: float, answer: Answer, rate: float) -> float:
        """Return the seconds until the next read, with `rate` requests per second allowed now."""
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
        interval = self._base if changed else min(2.0 * last, MAX_BACKOFF_FACTOR * self._base)
        self._intervals[chat] = interval
        return interval


class Worker:
    """What the worker does, by the worker's own code: a share as it is stored, and a `Decision` for each read.

    `quiet_time=False` leaves the square-root rule alone.
    """

    def __init__(
        self, rate: float, random: Random, *, quiet_time: bool = True, limits: Limits = SCENARIO_LIMITS
    ) -> None:
        self._ceiling = rate
        self._random = random
        self._quiet_time = quiet_time
        self._limits = limits
        self._due: list[tuple[float, int]] = []
        self.shares: dict[int, Share] = {}
        self._shown: dict[int, Position] = {}
        self._sums = NOTHING

    def known(self, chat: int, now: float, ends_at: float | None) -> None:
        """Begin to track; an announced end is taken in as from a webhook."""
        self.shares[chat] = Share(
            f"share-{chat}", "", begun_at=EPOCH + now, asked=False, follow=True, follow_for=FOREVER
        )
        # Somebody who shares is listed, though it may take a while until there is something new.
        self._shown[chat] = Position(HANDLE, 0.0, 50.0, None, None, None, None)
        decision = self._decision(chat, now, self._ceiling)
        prompts.begin(decision, accept_within=FOREVER, previous=None)
        if ends_at is not None:
            webhooks.apply_started(
                decision, HANDLE, began_at=nanoseconds(now), ends_at=nanoseconds(ends_at), created_at=nanoseconds(now)
            )
        self._keep(chat, decision, NOTHING)

    def due(self, now: float) -> float:  # noqa: ARG002 - part of the protocol
        return self._due[0][0] if self._due else math.inf

    def take(self, now: float) -> int:  # noqa: ARG002 - part of the protocol
        return heapq.heappop(self._due)[1]

    def told(self, chat: int, now: float, answer: Answer, rate: float) -> None:
        if answer.updated_at is not None:
            self._shown[chat] = self.shown(chat, answer.updated_at, moved=answer.moved)
        before = tally(self.shares[chat])
        decision = self._decision(chat, now, rate)
        reads.observe(decision, Features([self._shown[chat]] if answer.listed else [], []))
        pace = decision.share.pace
        if pace is not None and not self._quiet_time:
            pace.updated_at = 0.0  # without the last update there is no gap to learn from
        self._keep(chat, decision, before)

    def shown(self, chat: int, updated_at: float, *, moved: bool) -> Position:
        """Return a made-up position, since scenarios have none: a little further on if the contact has moved."""
        longitude = self._shown[chat].longitude + (FURTHER if moved else 0.0)
        return Position(HANDLE, longitude, 50.0, None, None, None, nanoseconds(updated_at))

    def throttled(self, chat: int, retry_at: float) -> None:
        before = tally(self.shares[chat])
        decision = self._decision(chat, retry_at - RETRY_AFTER, self._ceiling)
        reads.observe(decision, Throttled(RETRY_AFTER))
        self._keep(chat, decision, before)

    def _decision(self, chat: int, now: float, rate: float) -> Decision:
        sums = self._sums
        fleet = policy.Fleet(sums.weights / 1e6, sums.tracking, sums.wanted / 1e6, rate, self._ceiling)
        return Decision(
            self.shares[chat],
            CHAT,
            now=EPOCH + now,
            context=Context(fleet, self._limits),
            random_unit=self._random.random(),
        )

    def _keep(self, chat: int, decision: Decision, before: Tally) -> None:
        after = tally(decision.share)
        self._sums = Tally(*(was + new - old for was, new, old in zip(self._sums, after, before, strict=True)))
        if decision.due is None:
            del self.shares[chat], self._shown[chat]
        else:
            heapq.heappush(self._due, (decision.due - EPOCH, chat))


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
        """Queue the chat again: its position is still unread."""


def nanoseconds(seconds: float) -> int:
    """Return a time on the simulated clock as the domain stores times of positions: in nanoseconds since 1970."""
    return round((EPOCH + seconds) * 1e9)


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
    return _run(scenario, Worker(rate, random, quiet_time=False), rate)


def recommended(scenario: Scenario, rate: float, random: Random) -> Result:
    """Run what the worker does."""
    return _run(scenario, Worker(rate, random), rate)


def default_pace(scenario: Scenario, rate: float, random: Random) -> Result:
    """Run what the worker does with the least interval that is the setting's default."""
    return _run(scenario, Worker(rate, random, limits=DEFAULT_LIMITS), rate)


def clairvoyant(scenario: Scenario, rate: float, random: Random) -> Result:  # noqa: ARG001 - nothing varies
    """Run what nobody can do without being told of each position."""
    fleet = Fleet(scenario)
    return follow(fleet, Clairvoyant(fleet), rate)


def _run(scenario: Scenario, follower: Follower, rate: float) -> Result:
    return follow(Fleet(scenario), follower, rate)
