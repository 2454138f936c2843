"""A fleet of shares on a simulated clock: what a polling policy costs, and how late it sees each position.

A position can be read a lag after its `updated_at`, until another one is newer. Reads obey a token bucket;
a throttling server answers 429 with Retry-After 30 s; a read after the end lists nobody. The delay of a
position runs from when it could be read to the first read after that, or to the end of its share. Times are
seconds from the scenario's start.
"""

import math
from bisect import bisect_right
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from worker.domain import policy

FAR = 100.0  # metres between two positions that count as having moved
RETRY_AFTER = 30.0
SERVER_BURST = 5.0
SCENARIOS = Path(__file__).parent.parent / "tests" / "policy" / "scenarios"


class Chat(msgspec.Struct, frozen=True):
    """One share: known from `start`, over at `end`; updates are (updated_at, lag, metres moved)."""

    id: str
    start: float
    end: float | None
    end_known: bool
    updates: list[tuple[float, float, float]]


class Bounds(msgspec.Struct, frozen=True):
    """The most a run may cost, and the latest its positions may be seen."""

    mean_max: float
    p95_max: float
    worst_decile_max: float
    requests_max: float
    mean_vs_fixed_max: float
    throttled_max: float


class Scenario(msgspec.Struct, frozen=True):
    """A fleet and its budgets: `rates` in requests per second, `throttle` as (from, to, factor)."""

    name: str
    horizon_s: float
    warmup_s: float
    burst: float
    mean_alive: float
    rates: dict[str, float]
    throttle: list[tuple[float, float, float]]
    chats: list[Chat]
    reference: dict[str, dict[str, dict[str, float]]]
    bounds: dict[str, Bounds]


class Answer(NamedTuple):
    """What a read gave: the newest position's time if it is a newer one; whether the contact was listed."""

    updated_at: float | None
    moved: bool
    listed: bool


class Follower(Protocol):
    """A policy under test: says what to read next, and is told the outcome. Chats are named by their index."""

    def known(self, chat: int, now: float, ends_at: float | None) -> None:
        """Take in that a share begins; `ends_at` where it is announced."""

    def due(self, now: float) -> float:
        """Return when the next read is wanted; infinity means none."""

    def take(self, now: float) -> int:
        """Return the chat to read now; called once the time of `due` has come and a request may be sent."""

    def told(self, chat: int, now: float, answer: Answer, rate: float) -> None:
        """Take the answer of the read; `rate` requests per second are allowed now."""

    def throttled(self, chat: int, retry_at: float) -> None:
        """Take a 429: nothing is sent before `retry_at`."""


class Result(NamedTuple):
    """How late positions were seen (seconds) and what that took; `missed` is the share never seen at all."""

    mean: float
    p95: float
    worst_decile: float
    missed: float
    requests: float
    throttled: float


class Fleet:
    """The contacts' side: what can be read when, and what has been."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.available: list[list[float]] = []
        for chat in scenario.chats:
            readable = 0.0
            times = []
            for updated_at, lag, _ in chat.updates:
                readable = max(readable, updated_at + lag)
                times.append(readable)
            self.available.append(times)
        self.ends = [math.inf if chat.end is None else chat.end for chat in scenario.chats]
        self.read_until = [0] * len(scenario.chats)
        self.delays: list[list[float]] = [[] for _ in scenario.chats]
        self._seen = self._counted = 0

    def read(self, chat: int, now: float) -> Answer:
        """Read one chat, and note the delay of everything that this read shows or supersedes."""
        if now >= self.ends[chat]:
            return Answer(None, moved=False, listed=False)
        first = self.read_until[chat]
        last = bisect_right(self.available[chat], now, first)
        if first == last:
            return Answer(None, moved=False, listed=True)
        updates = self.scenario.chats[chat].updates
        self._note(chat, first, last, now)
        if self._counts(chat, last - 1):
            self._seen += 1
        self.read_until[chat] = last
        return Answer(
            updates[last - 1][0],
            moved=max(moved for _, _, moved in updates[first:last]) > FAR,
            listed=True,
        )

    def result(self, requests: int, throttled: int) -> Result:
        """Sum up after the last read; figures are NaN where no position counts."""
        for chat, end in enumerate(self.ends):
            until = min(end, self.scenario.horizon_s)
            self._note(chat, self.read_until[chat], bisect_right(self.available[chat], until), until)
        if not self._counted:
            return Result(math.nan, math.nan, math.nan, math.nan, requests, throttled)
        delays = sorted(delay for chat in self.delays for delay in chat)
        per_chat = sorted(sum(chat) / len(chat) for chat in self.delays if chat)
        return Result(
            mean=sum(delays) / len(delays),
            p95=quantile(delays, 0.95),
            worst_decile=quantile(per_chat, 0.9),
            missed=1.0 - self._seen / self._counted,
            requests=requests,
            throttled=throttled,
        )

    def _counts(self, chat: int, update: int) -> bool:
        at = self.available[chat][update]
        return (
            self.scenario.warmup_s <= at < self.scenario.horizon_s
            and self.scenario.chats[chat].start + 1.0 <= at <= self.ends[chat] - 1.0
        )

    def _note(self, chat: int, first: int, last: int, now: float) -> None:
        for update in range(first, last):
            if self._counts(chat, update):
                self._counted += 1
                self.delays[chat].append(now - self.available[chat][update])


class _Bucket:
    """A token bucket of fixed depth, whose rate may change between two calls."""

    def __init__(self, depth: float) -> None:
        self._depth = self._tokens = depth
        self._at = 0.0

    def fill(self, now: float, rate: float) -> None:
        self._tokens = min(self._depth, self._tokens + (now - self._at) * rate)
        self._at = now

    def ready(self, rate: float) -> float:
        return self._at if self._tokens >= 1.0 else self._at + (1.0 - self._tokens) / rate

    def take(self) -> bool:
        # A token that is short of 1 by rounding alone counts as full.
        if self._tokens < 1.0 - 1e-9:
            return False
        self._tokens -= 1.0
        return True


class _Client:
    """The shared rate at which the token bucket fills: lowered by each 429, and slowly recovering."""

    def __init__(self, rate: float, burst: float) -> None:
        self.ceiling = self._rate = rate
        self._bucket = _Bucket(burst)
        self._throttled_at = self._cut_at = self._blocked_until = -math.inf

    def rate(self, now: float) -> float:
        return policy.recovered_rate(self._rate, ceiling=self.ceiling, calm=now - self._throttled_at)

    def ready(self, now: float) -> float:
        rate = self.rate(now)
        self._bucket.fill(now, rate)
        return max(self._bucket.ready(rate), self._blocked_until)

    def send(self, now: float) -> None:
        self._bucket.fill(now, self.rate(now))
        self._bucket.take()

    def throttled(self, now: float) -> float:
        rate = self.rate(now)
        self._rate = policy.throttled_rate(rate, ceiling=self.ceiling, since_cut=now - self._cut_at)
        if self._rate != rate:
            self._cut_at = now
        self._throttled_at = now
        self._blocked_until = now + RETRY_AFTER
        return self._blocked_until


class _Server:
    """The other side's own limit, while a window of throttling lasts."""

    def __init__(self, scenario: Scenario, rate: float) -> None:
        self._windows = [(start, end, factor * rate, _Bucket(SERVER_BURST)) for start, end, factor in scenario.throttle]

    def admits(self, now: float) -> bool:
        for start, end, rate, bucket in self._windows:
            if start <= now < end:
                bucket.fill(now, rate)
                return bucket.take()
        return True


def follow(fleet: Fleet, follower: Follower, rate: float) -> Result:
    """Let a policy follow a fleet with `rate` requests per second, from its start to its horizon."""
    scenario = fleet.scenario
    client = _Client(rate, scenario.burst)
    server = _Server(scenario, rate)
    starts = sorted(range(len(scenario.chats)), key=lambda index: -scenario.chats[index].start)
    now = 0.0
    requests = throttled = 0
    while True:
        at = max(now, follower.due(now), client.ready(now))
        if starts and scenario.chats[starts[-1]].start <= at:
            index = starts.pop()
            chat = scenario.chats[index]
            now = max(now, chat.start)
            follower.known(index, now, chat.end if chat.end_known else None)
            continue
        if at >= scenario.horizon_s:
            return fleet.result(requests, throttled)
        now = at
        index = follower.take(now)
        client.send(now)
        if server.admits(now):
            requests += 1
            follower.told(index, now, fleet.read(index, now), client.rate(now))
        else:
            throttled += 1
            follower.throttled(index, client.throttled(now))


def load(name: str) -> Scenario:
    """Read one of the TRACKING scenarios."""
    return msgspec.json.decode((SCENARIOS / f"{name}.json").read_bytes(), type=Scenario)


def average(results: list[Result]) -> Result:
    """Average runs that differ only in their jitter."""
    return Result(*(sum(values) / len(results) for values in zip(*results, strict=True)))


def quantile(ordered: list[float], share: float) -> float:
    """Interpolate between the two nearest of the values, which are sorted and not empty."""
    position = share * (len(ordered) - 1)
    lower = int(position)
    upper = min(lower + 1, len(ordered) - 1)
    return ordered[lower] + (position - lower) * (ordered[upper] - ordered[lower])
