"""How many requests people cost, and how fresh their positions are: the polling policy on a simulated clock.

The intervals come from worker/domain/policy.py, as in the worker. How phones publish is an assumption: every 20 to 90
seconds on the move, every 5 to 15 minutes while still, with half an hour of movement at a time.
"""

import heapq
from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

from worker.domain import policy
from worker.domain.policy import Fleet, Pace

MOVING_GAP_SECONDS = (20.0, 90.0)
STILL_GAP_SECONDS = (300.0, 900.0)
TRIP_SECONDS = 1800.0  # mean; the times between trips follow from the fraction of people on the move

SAMPLE = 100  # people; more of them behave the same with a budget in proportion
# Fewer people are tracked for longer; if requests are scarce, everybody is tracked for at least this many reads.
WARM_UP_SECONDS, WARM_UP_READS = 3600.0, 3  # until every pace is learnt
MEASURED_SECONDS, MEASURED_READS = 4 * 3600.0, 10
_EPOCH = 1_700_000_000.0  # of the simulated clock: the policy takes 0 for unknown
_DAY = 86_400.0


class Crowd(NamedTuple):
    """Who is tracked: how many people, and the fraction of them on the move at any time (0 to 1)."""

    people: int
    moving: float


class Terms(NamedTuple):
    """How often to read: the bounds of a share's interval in seconds, and the requests per second for all shares."""

    min_interval: float
    max_interval: float
    rate: float


class Estimate(NamedTuple):
    """The cost and the result. Delays are in seconds, from when a position could be read to the read that shows it.

    `seen`: the fraction of positions that some read showed before a newer one replaced them. `budget`: the fraction of
    the rate that is used.
    """

    requests_per_day: float
    mean_delay: float
    p95_delay: float
    seen: float
    budget: float


def estimate(crowd: Crowd, terms: Terms, *, seed: int = 0) -> Estimate:
    """Track a crowd for some hours, under these terms; the same seed gives the same figures."""
    random = Random(seed)
    sample = min(crowd.people, SAMPLE)
    rate = terms.rate * sample / crowd.people
    warm_up = max(WARM_UP_SECONDS, WARM_UP_READS * sample / rate)
    measured = max(MEASURED_SECONDS * SAMPLE / sample, MEASURED_READS * sample / rate)
    horizon = warm_up + measured
    phones = [_Phone(list(publish(random, crowd.moving, horizon))) for _ in range(sample)]
    weights, tracked = 0.0, 0
    requests = positions_seen = 0
    delays: list[float] = []
    due = [(random.uniform(0.0, terms.min_interval), number) for number in range(sample)]
    heapq.heapify(due)
    free = 0.0
    while (now := max(due[0][0], free)) < horizon:
        _, number = heapq.heappop(due)
        free = now + 1.0 / rate
        phone = phones[number]
        shown = phone.read(now)
        if now >= warm_up:
            requests += 1
            positions_seen += bool(shown)
            delays += [now - at for at, _ in shown if at >= warm_up]
        before = phone.pace.weight
        interval, _ = policy.tracking_interval(
            phone.pace,
            Fleet(weights, tracked, waiting=0.0, rate=rate, ceiling=rate),
            now=_EPOCH + now,
            updated_at=_EPOCH + shown[-1][0] if shown else None,
            moved=any(moved for _, moved in shown),
            lower=terms.min_interval,
            upper=terms.max_interval,
            spread=random.uniform(0.98, 1.02),
        )
        weights += phone.pace.weight - before
        tracked += not before
        heapq.heappush(due, (now + interval, number))
    delays += [horizon - at for phone in phones for at, _ in phone.read(horizon) if at >= warm_up]
    delays.sort()
    per_second = requests / measured * crowd.people / sample
    return Estimate(
        requests_per_day=per_second * _DAY,
        mean_delay=sum(delays) / len(delays),
        p95_delay=delays[int(0.95 * (len(delays) - 1))],
        seen=min(1.0, positions_seen / len(delays)),
        budget=per_second / terms.rate,
    )


class _Phone:
    """One phone: what it publishes, (time, whether it moved), how much of that was read, and its pace."""

    def __init__(self, published: Sequence[tuple[float, bool]]) -> None:
        self.pace = Pace()
        self._published = published
        self._read_count = 0

    def read(self, now: float) -> Sequence[tuple[float, bool]]:
        """Return what was published since the last read."""
        first = self._read_count
        while self._read_count < len(self._published) and self._published[self._read_count][0] <= now:
            self._read_count += 1
        return self._published[first : self._read_count]


def publish(random: Random, moving: float, until: float) -> Iterator[tuple[float, bool]]:
    """Yield when a phone publishes, and whether it is on the move then."""
    now = 0.0
    moves = random.random() < moving
    while now < until:
        if moving in (0.0, 1.0):
            spell = until
        else:
            spell = random.expovariate(1.0 / (TRIP_SECONDS if moves else TRIP_SECONDS * (1.0 - moving) / moving))
        end = min(until, now + spell)
        while (now := now + random.uniform(*(MOVING_GAP_SECONDS if moves else STILL_GAP_SECONDS))) < end:
            yield now, moves
        now, moves = end, not moves
