"""Requests that wait to be accepted, on a simulated clock: how late a first position is seen, at what cost.

Time 0 is the request. A webhook brings a read 2 s later, and where that finds nothing, more 3, 5 and 10 s
after each other, before the schedule of the policy goes on; at most one series of reads in 10 s.
"""

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

import msgspec

from benchmarks.simulated import SCENARIOS, quantile
from worker.domain import policy

AFTER_WEBHOOK = (2.0, 5.0, 10.0, 20.0)
WEBHOOKS_APART = 10.0
MINIMUM, MAXIMUM = 15.0, 600.0
RATE = 20.0  # plenty: what is under test is one request's schedule


class Request(msgspec.Struct, frozen=True):
    """One request: seconds after it at which it was accepted, could first be read, and was announced."""

    id: str
    accepted_at: float | None
    first_position_at: float | None
    webhooks_at: list[float]


class Bounds(msgspec.Struct, frozen=True):
    """What the waiting may cost at most, and how late it may end."""

    mean_max: float
    p95_max: float
    polls_per_chat_max: float
    detected_min: int


class Scenario(msgspec.Struct, frozen=True):
    """Many requests, and the share of their accepts that webhooks announce."""

    name: str
    give_up_s: float
    webhook_share: float
    chats: list[Request]
    reference: dict[str, dict[str, float]]
    bounds: Bounds


class Result(NamedTuple):
    """Delays in seconds, of the requests whose first position was seen."""

    mean: float
    p95: float
    polls_per_chat: float
    detected: float


def load(name: str) -> Scenario:
    """Read one of the PENDING scenarios."""
    return msgspec.json.decode((SCENARIOS / f"{name}.json").read_bytes(), type=Scenario)


def await_all(scenario: Scenario, random: Random) -> Result:
    """Wait for every request's first position as the worker does, knowing how often webhooks announce one."""
    polls = 0
    delays = []
    for request in scenario.chats:
        for at in _reads(request, scenario, random):
            polls += 1
            if request.first_position_at is not None and request.first_position_at <= at:
                delays.append(at - request.first_position_at)
                break
    delays.sort()
    return Result(
        mean=sum(delays) / len(delays),
        p95=quantile(delays, 0.95),
        polls_per_chat=polls / len(scenario.chats),
        detected=len(delays),
    )


def _reads(request: Request, scenario: Scenario, random: Random) -> Iterator[float]:
    fleet = policy.Fleet(weights=0.0, tracked=0, waiting=0.0, rate=RATE, ceiling=RATE)
    brought_forward: list[float] = []
    last = -WEBHOOKS_APART
    for at in request.webhooks_at:
        if at >= last + WEBHOOKS_APART:
            last = at
            brought_forward += [at + after for after in AFTER_WEBHOOK]
    brought_forward.sort(reverse=True)
    now = 0.0
    while now < scenario.give_up_s:
        interval, _ = policy.wait(
            now,
            fleet,
            lower=MINIMUM,
            upper=MAXIMUM,
            announced=scenario.webhook_share,
            spread=random.uniform(0.98, 1.02),
        )
        due = min(now + interval, scenario.give_up_s)
        now = brought_forward.pop() if brought_forward and brought_forward[-1] < due else due
        yield now
