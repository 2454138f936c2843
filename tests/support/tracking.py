"""One tracked chat without Redis or Linq: decisions are made on the packed state, as a worker would find it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.domain import prompts, reads, webhooks
from worker.domain.decision import Context, Decision, Limits, View
from worker.domain.events import Event
from worker.domain.observation import Features, InvalidFeature, Position, PromptOutcome, ReadObservation
from worker.domain.policy import Fleet
from worker.domain.prompts import Action
from worker.domain.share import Place, Share
from worker.store.packing import pack, unpack

BEGINNING = 1_790_000_000.0  # seconds since 1970 (UTC)
NANO = 1_000_000_000
CHAT = "3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13"
SHARE = "5b1e8a0c-6a36-4d06-8a5b-0c8f6f6f2a11"
ANNA = "+12025550147"
BERT = "bert@example.org"
ALONE = Fleet(weights=0.0, tracked=0, waiting=0.0, rate=20.0, ceiling=20.0)


def ns(seconds: float) -> int:
    """Return the moment `seconds` after the beginning, in nanoseconds since 1970."""
    return int((BEGINNING + seconds) * NANO)


def position(
    handle: str = ANNA,
    at: float | None = 0.0,
    *,
    longitude: float = 13.4,
    latitude: float = 52.5,
    address: str | None = None,
    locality: str | None = None,
) -> Position:
    """Return a position whose `updated_at` lies `at` seconds after the beginning; None: it has none."""
    return Position(handle, longitude, latitude, None, address, locality, None if at is None else ns(at))


def listing(*positions: Position, unusable: Sequence[str | None] = ()) -> Features:
    """Return a successful read that lists these; `unusable`: handles of unusable features, None where unknown."""
    return Features(list(positions), [InvalidFeature(handle, "the geometry is not a Point") for handle in unusable])


@dataclass
class TrackedChat:
    """A share, the clock, and everything that was decided so far. `now` is seconds after the beginning."""

    asked: bool = True
    follow: bool = True
    lower: float | None = None
    upper: float | None = None
    follow_for: float = 604_800.0
    accept_within: float = 86_400.0
    previous: Share | None = None
    places: tuple[Place, ...] = ()
    until: str | None = None
    max_age: float | None = None
    stop_when_done: bool = False
    limits: Limits = field(default_factory=Limits)
    fleet: Fleet = ALONE
    share_id: str = SHARE
    reference: str = "order 7"
    random_unit: float = 0.5
    now: float = 0.0
    stored: bytes = b""
    due: float | None = None
    events: list[Event] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        share = Share(
            share_id=self.share_id,
            reference=self.reference,
            begun_at=BEGINNING + self.now,
            asked=self.asked,
            follow=self.follow,
            follow_for=self.follow_for,
            lower=self.lower,
            upper=self.upper,
            places=list(self.places),
            until=self.until,
            max_age=self.max_age,
            stop_when_done=self.stop_when_done,
        )
        self.stored = pack(share)
        decision = self.decision()
        prompts.begin(decision, accept_within=self.accept_within, previous=self.previous)
        self.keep(decision)

    @property
    def share(self) -> Share:
        """Return a copy of the share as it is stored."""
        return unpack(self.stored)

    @property
    def due_in(self) -> float:
        """Return the seconds until the share is due."""
        assert self.due is not None
        return self.due - BEGINNING - self.now

    @property
    def types(self) -> list[str]:
        """Return the types of all events so far, without `location.`."""
        return [event.type.removeprefix("location.") for event in self.events]

    def data(self, event_type: str) -> list[dict[str, Any]]:
        """Return the data of all events of a type, named without `location.`."""
        return [json.loads(event.data) for event in self.events if event.type == f"location.{event_type}"]

    def decision(self) -> Decision:
        """Return a decision on the stored state, which is not stored yet."""
        context = Context(self.fleet, self.limits)
        return Decision(self.share, CHAT, now=BEGINNING + self.now, context=context, random_unit=self.random_unit)

    def keep(self, decision: Decision) -> None:
        """Store what was decided."""
        self.stored = pack(decision.share)
        self.due = decision.due
        self.events += decision.events
        self.views += decision.views
        self.stops += decision.stops

    def wait(self, seconds: float) -> "TrackedChat":
        """Let time pass."""
        self.now += seconds
        return self

    def wait_until_due(self) -> "TrackedChat":
        """Let time pass until the share is due."""
        return self.wait(max(0.0, self.due_in))

    def next_action(self) -> Action:
        """Return what would be done now."""
        return prompts.next_action(self.decision())

    def read(self, observation: ReadObservation) -> list[str]:
        """Read now; return the types of the resulting events."""
        decision = self.decision()
        prompts.next_action(decision)
        reads.observe(decision, observation)
        self.keep(decision)
        return [event.type.removeprefix("location.") for event in decision.events]

    def call(self) -> None:
        """Record that a prompt is being sent."""
        decision = self.decision()
        assert prompts.next_action(decision) == "prompt"
        prompts.mark_sending(decision)
        self.keep(decision)

    def settle(self, outcome: PromptOutcome, *, left_at: float | None = None) -> list[str]:
        """Take in the answer to the prompt; `left_at` in seconds after the beginning."""
        decision = self.decision()
        prompts.apply_outcome(decision, outcome, left_at=None if left_at is None else BEGINNING + left_at)
        self.keep(decision)
        return [event.type.removeprefix("location.") for event in decision.events]

    def prompt(self, outcome: PromptOutcome) -> list[str]:
        """Send a prompt and take in its answer."""
        self.call()
        return self.settle(outcome)

    def started(
        self, handle: str = ANNA, *, began: float | None = None, ends: float | None = None, created: float | None = None
    ) -> bool:
        """Take in a webhook that says that sharing began; times in seconds after the beginning."""
        decision = self.decision()
        changed = webhooks.apply_started(
            decision,
            handle,
            began_at=None if began is None else ns(began),
            ends_at=None if ends is None else ns(ends),
            created_at=ns(self.now if created is None else created),
        )
        if changed:
            self.keep(decision)
        return changed

    def stopped(
        self,
        handle: str = ANNA,
        *,
        began: float | None = None,
        ended: float | None = None,
        created: float | None = None,
    ) -> bool:
        """Take in a webhook that says that sharing stopped; times in seconds after the beginning."""
        decision = self.decision()
        changed = webhooks.apply_stopped(
            decision,
            handle,
            began_at=None if began is None else ns(began),
            ended_at=None if ended is None else ns(ended),
            created_at=ns(self.now if created is None else created),
        )
        if changed:
            self.keep(decision)
        return changed
