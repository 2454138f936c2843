"""Requests that wait to be accepted, on a simulated clock: how late a first position is seen, at what cost.

Time 0 is the request. Each is one share, asked, prompted and read as `worker.domain` decides; a webhook says that
sharing began, when it comes.
"""

import math
from random import Random
from typing import NamedTuple

import msgspec

from benchmarks.followers import CHAT, EPOCH, HANDLE, nanoseconds
from benchmarks.simulated import SCENARIOS, quantile
from worker.domain import policy, prompts, reads, webhooks
from worker.domain.decision import Context, Decision, Limits
from worker.domain.observation import Features, Sent
from worker.domain.share import Share

RATE = 20.0  # plenty: a single request's schedule is under test


class Request(msgspec.Struct, frozen=True):
    """One request: seconds after it at which it was accepted, could first be read, and was announced."""

    id: str
    accepted_at: float | None
    first_position_at: float | None
    webhooks_at: list[float]


class Bounds(msgspec.Struct, frozen=True):
    """The most that waiting may cost, and the latest it may end."""

    mean_max: float
    p95_max: float
    polls_per_chat_max: float
    detected_min: int


class Scenario(msgspec.Struct, frozen=True):
    """Many requests, and the fraction of their acceptances that webhooks announce."""

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
        spent, delay = _await(request, scenario, random)
        polls += spent
        if delay is not None:
            delays.append(delay)
    delays.sort()
    return Result(
        mean=sum(delays) / len(delays),
        p95=quantile(delays, 0.95),
        polls_per_chat=polls / len(scenario.chats),
        detected=len(delays),
    )


def _await(request: Request, scenario: Scenario, random: Random) -> tuple[int, float | None]:
    """Return how often the chat is read until its first position is seen, and how late that is; None: never."""
    share = Share("share", "", begun_at=EPOCH, asked=True, follow=True, follow_for=scenario.give_up_s)
    context = Context(
        policy.Fleet(weights=0.0, tracked=0, waiting=0.0, rate=RATE, ceiling=RATE), Limits(), scenario.webhook_share
    )

    def decide_at(now: float) -> Decision:
        return Decision(share, CHAT, now=EPOCH + now, context=context, random_unit=random.random())

    decision = decide_at(0.0)
    prompts.begin(decision, accept_within=scenario.give_up_s, previous=None)
    prompts.mark_sending(decision)
    prompts.apply_outcome(decision, Sent())
    announced = sorted(request.webhooks_at, reverse=True)
    first = math.inf if request.first_position_at is None else request.first_position_at
    polls = 0
    while decision.due is not None:
        due = decision.due - EPOCH
        if announced and announced[-1] <= due:
            hearing = decide_at(announced.pop())
            began_at = nanoseconds(request.accepted_at or 0.0)
            if webhooks.apply_started(hearing, HANDLE, began_at=began_at, ends_at=None, created_at=began_at):
                decision = hearing
            continue
        if due > scenario.give_up_s + 1e-6:  # allows for rounding
            break
        polls += 1
        if first <= due:
            return polls, due - first
        decision = decide_at(due)
        reads.observe(decision, Features([], []))
    return polls, None
