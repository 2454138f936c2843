"""Whatever happens to a share, in whatever order, a separate model finds the guarantees of events.md kept.

The model never looks at a share's fields. It sees what went in and what was published, and knows the guarantees.
"""

import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import Any

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tracking import ALONE, ANNA, BEGINNING, BERT, CHAT, NANO, TrackedChat, listing, ns
from worker.domain import prompts, reads, webhooks
from worker.domain.decision import Context, Decision, Limits
from worker.domain.events import EVENT_TYPES, Event, schema
from worker.domain.observation import (
    AlreadySharing,
    Fault,
    Features,
    Later,
    LineLost,
    Position,
    PromptOutcome,
    ReadObservation,
    Refused,
    Rejected,
    Sent,
    Suspended,
    Throttled,
    Uncertain,
)
from worker.domain.share import NOTHING, tally
from worker.store.packing import pack, unpack

HANDLES = (ANNA, BERT, "+442079460000")
VALIDATORS = {
    name: jsonschema.Draft202012Validator(schema(name), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    for name in EVENT_TYPES
}
MAX_SECONDS = 86_400.0  # a Retry-After is obeyed up to here
LAST_READ_GRACE = 300.0
PLACES = ((13.4, 52.5), (13.401, 52.5), (0.0, 0.0), (-180.0, -90.0), (179.99, 89.9))

offsets = st.one_of(
    st.sampled_from([-7200.0, -600.0, -60.0, -1.0, 0.0]),
    st.floats(-2000, 600).map(lambda seconds: round(seconds, 1)),
)


@dataclass(frozen=True)
class Seen:
    """A feature as a step plans it: `age` seconds before the read, or at a fixed moment, or without a time."""

    handle: str
    age: float | None
    fixed: float | None
    place: tuple[float, float]
    address: str | None

    def at(self, now: float) -> Position:
        moment = self.fixed if self.fixed is not None else None if self.age is None else now - self.age
        return Position(
            self.handle, *self.place, None, self.address, None, None if moment is None else ns(max(-1000.0, moment))
        )


seen = st.builds(
    Seen,
    st.sampled_from(HANDLES),
    st.one_of(st.none(), st.floats(-500, 3000)),
    st.one_of(st.none(), st.sampled_from([0.0, 50.0, 51.0, 4000.0])),
    st.sampled_from(PLACES),
    st.sampled_from([None, "Riverside Building"]),
)
unusable: st.SearchStrategy[list[str | None]] = st.one_of(
    st.just([]), st.just([]), st.lists(st.sampled_from([*HANDLES, None]), max_size=2)
)
features = st.tuples(st.lists(seen, max_size=4), unusable)
empty: st.SearchStrategy[tuple[list[Seen], list[str | None]]] = st.just(([], []))
faults = st.sampled_from(
    [
        Fault("server_error", ""),
        Fault("timeout", ""),
        Fault("malformed", ""),
        Throttled(None),
        Throttled(0.0),
        Throttled(1e9),
        Suspended(401, 2004),
        Suspended(403, 2011),
        LineLost(403, 2005),
    ]
)
refusals = st.sampled_from(
    [Refused("chat_not_found", 404, 2001), Refused("chat_unavailable", 409, 2013), Refused("forbidden", 403, 2005)]
)
answers = st.one_of(features, features, empty, empty, faults, refusals)
outcomes: st.SearchStrategy[PromptOutcome | None] = st.sampled_from(
    [
        None,  # the worker was killed, or the answer comes late
        None,
        Sent(),
        AlreadySharing(),
        Later("throttled", None),
        Later("throttled", 1e9),
        Later("chat_being_created", 2.0),
        Later("refused_by_proxy", None),
        Later("refused_by_proxy", 2.0),
        Uncertain(possibly_sent=True, detail=""),
        Uncertain(possibly_sent=True, detail=""),
        Uncertain(possibly_sent=False, detail=""),
        Rejected("blocked", 403, 2026, "no"),
        Suspended(401, 2004),
    ]
)
maybe = st.one_of(st.none(), offsets)
steps = st.one_of(
    st.tuples(st.just("serve"), answers, outcomes),
    st.tuples(st.just("serve"), answers, outcomes),
    st.tuples(st.just("serve"), answers, outcomes),
    st.tuples(st.just("early"), answers, outcomes),
    st.tuples(st.just("lost"), answers),
    st.tuples(st.just("wait"), st.one_of(st.floats(0, 40), st.floats(0, 4000), st.floats(0, 200_000))),
    st.tuples(st.just("settle"), outcomes),
    st.tuples(
        st.just("started"), st.sampled_from(HANDLES), maybe, st.one_of(st.none(), st.floats(-200, 4000)), offsets
    ),
    st.tuples(st.just("stopped"), st.sampled_from(HANDLES), maybe, maybe, offsets),
    st.tuples(st.just("forget"), st.sampled_from(HANDLES)),
)
bounds = st.sampled_from([(None, None), (None, None), (40.0, None), (None, 60.0), (30.0, 90.0), (1.0, 4.0)])
limits = st.sampled_from(
    [
        Limits(),
        Limits(),
        Limits(cooldown=0.0),
        Limits(min_poll=1.0, max_poll=10.0, stale_after=20.0),
        Limits(stale_after=0.0),
    ]
)


@dataclass
class Model:
    """What events.md allows, given what went in."""

    chat: TrackedChat
    told: int = 0
    ids: set[str] = field(default_factory=set)
    over: bool = False
    sharing: set[str] = field(default_factory=set)
    ever: set[str] = field(default_factory=set)
    ended_at: dict[str, int] = field(default_factory=dict)  # ns, in whole ms as in the event
    newest: dict[str, int] = field(default_factory=dict)
    last: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    absent_since: dict[str, float] = field(default_factory=dict)
    absent_reads: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    unlisted: set[str] = field(default_factory=set)  # not listed since the stop
    stops: set[str] = field(default_factory=set)
    ends: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    forgotten: set[str] = field(default_factory=set)
    pending_refusal: tuple[str, float] | None = None
    read_at: float | None = None
    stale: set[str] = field(default_factory=set)
    prompts: list[tuple[float, str]] = field(default_factory=list)  # when, what became of it

    @property
    def confirm(self) -> float:
        return min(30.0, self.chat.limits.max_poll)

    def take(
        self, decision: Decision, *, observed: ReadObservation | None = None, webhook: tuple[str, int] | None = None
    ) -> None:
        """Check a decision that was stored."""
        chat = self.chat
        if isinstance(observed, Features):
            self.count(observed)
        for event in decision.events:
            self.check(event, observed, webhook)
        if isinstance(observed, Features):
            self.read_at = chat.now
            self.pending_refusal = None
        elif isinstance(observed, Refused) and (
            self.pending_refusal is None or self.pending_refusal[0] != observed.reason
        ):
            self.pending_refusal = (observed.reason, chat.now)
        self.check_due(decision, observed)
        share = unpack(chat.stored)
        assert pack(share) == chat.stored
        counted = tally(share)
        assert min(counted) >= 0
        assert (counted == NOTHING) is self.over
        assert sum(counted[2:]) == (0 if self.over else 1)

    def count(self, observed: Features) -> None:
        listed = {position.handle for position in observed.positions}
        unusable = {feature.handle for feature in observed.invalid}
        for handle in HANDLES:
            if handle in listed or not unusable.isdisjoint((handle, None)):
                self.absent_since.pop(handle, None)
                self.absent_reads[handle] = 0
            else:
                self.absent_since.setdefault(handle, self.chat.now)
                self.absent_reads[handle] += 1
                if handle not in self.sharing:
                    self.unlisted.add(handle)

    def check(self, event: Event, observed: ReadObservation | None, webhook: tuple[str, int] | None) -> None:
        assert not self.over, "an event after tracking.ended"
        self.told += 1
        share_id = self.chat.share_id
        assert event.sequence == self.told
        assert re.fullmatch(rf"{share_id}:[0-9a-f]{{16}}", event.id)
        assert event.id not in self.ids, "two facts with one id"
        self.ids.add(event.id)
        assert (event.source, event.reference) == (f"/linq/chats/{CHAT}", self.chat.reference)
        data = json.loads(event.data)
        VALIDATORS[event.type].validate(data)
        handle = event.subject
        assert handle not in self.forgotten
        match event.type.removeprefix("location."):
            case "requested":
                assert self.told == 1
                assert self.chat.asked
            case "sharing.started":
                self.check_started(handle, data, observed, webhook)
            case "updated":
                assert isinstance(observed, Features)
                self.check_updated(handle, data)
            case "sharing.stale":
                assert handle in self.sharing - self.stale
                assert isinstance(observed, Features)
                self.stale.add(handle)
            case "sharing.stopped":
                self.check_stopped(handle, data, observed)
            case "request.expired":
                assert self.chat.asked
                assert not self.sharing
                late = self.chat.now - self.chat.accept_within
                assert late >= (0 if isinstance(observed, Features) else LAST_READ_GRACE)
            case "request.rejected":
                assert not self.sharing
            case "tracking.ended":
                self.check_ended(data["reason"], observed)

    def check_started(
        self, handle: str, data: dict[str, Any], observed: ReadObservation | None, webhook: tuple[str, int] | None
    ) -> None:
        assert handle not in self.sharing
        end = self.ended_at.get(handle)
        if data["detected_by"] == "webhook":
            assert webhook is not None
            assert webhook[0] == handle
            assert end is None or webhook[1] > end
        else:
            assert isinstance(observed, Features)
            times = [position.updated_at or 0 for position in observed.positions if position.handle == handle]
            assert times
            assert end is None or handle in self.unlisted or max(times) > end
        self.sharing.add(handle)
        self.ever.add(handle)
        self.unlisted.discard(handle)
        self.stops.discard(handle)
        self.stale.discard(handle)
        self.absent_reads[handle] = 0
        self.absent_since.pop(handle, None)

    def check_updated(self, handle: str, data: dict[str, Any]) -> None:
        assert handle in self.sharing
        said = data["properties"]
        content = (*data["geometry"]["coordinates"], said["address"], said["locality"])
        at = None if said["updated_at"] is None else parse(said["updated_at"])
        if at is None:
            assert content != self.last.get(handle), "published twice"
            assert content[:2] != (0.0, 0.0) or self.last.get(handle, content)[:2] == (0.0, 0.0)
        else:
            newest = self.newest.get(handle, 0)
            located = at == newest and self.last[handle][-2] is None and said["address"] is not None
            assert at > newest or located, "an older or repeated position"
            self.newest[handle] = at
        self.last[handle] = content
        self.stale.discard(handle)

    def check_stopped(self, handle: str, data: dict[str, Any], observed: ReadObservation | None) -> None:
        assert handle in self.sharing
        match data["reason"]:
            case "stopped":
                assert handle in self.stops
                self.stops.discard(handle)
            case "expired":
                assert isinstance(observed, Features)
                assert any(self.chat.now >= at / NANO - BEGINNING for at in self.ends[handle])
            case "disappeared":
                assert isinstance(observed, Features)
                assert self.absent_reads[handle] >= 2
                assert self.chat.now - self.absent_since[handle] >= self.confirm - 1e-6
        self.sharing.discard(handle)
        if self.absent_reads[handle]:
            self.unlisted.add(handle)
        else:
            self.unlisted.discard(handle)
        self.ended_at[handle] = parse(data["ended_at"])

    def check_ended(self, reason: str, observed: ReadObservation | None) -> None:
        match reason:
            case "sharing_stopped":
                assert self.ever
                assert not self.sharing
            case "first_position":
                assert not self.chat.follow
                assert self.last
            case "chat_not_found" | "chat_unavailable" | "forbidden":
                assert isinstance(observed, Refused)
                assert observed.reason == reason
                assert self.pending_refusal is not None
                assert self.pending_refusal[0] == reason
                assert self.chat.now - self.pending_refusal[1] >= self.confirm - 1e-6
            case "request_rejected":
                assert not self.sharing
            case "request_expired":
                assert not self.sharing
            case "time_limit":
                assert self.chat.now >= self.chat.follow_for - 1e-6
            case _:
                raise AssertionError(reason)
        self.over = True

    def check_due(self, decision: Decision, observed: ReadObservation | None) -> None:
        chat = self.chat
        if self.over:
            assert decision.due is None
            return
        assert decision.due is not None
        assert isfinite(decision.due)
        ahead = decision.due - BEGINNING - chat.now
        upper = chat.upper or max(chat.limits.max_poll, chat.lower or 0.0)
        assert -1e-6 <= ahead <= max(MAX_SECONDS, 6 * upper) + 1e-6
        if not isinstance(observed, Features):
            return
        assert ahead <= 6 * upper + 1e-6
        if self.last and self.sharing:
            assert ahead <= upper + 1e-6
        if chat.lower is not None and ahead < chat.lower - 1e-6:
            later = Decision(
                unpack(chat.stored),
                CHAT,
                now=decision.due,
                context=Context(ALONE, chat.limits),
                random_unit=0.5,
            )
            assert prompts.next_action(later) in ("prompt", "end")

    def called(self) -> None:
        """Check a prompt that is sent."""
        now = self.chat.now
        assert self.chat.asked
        assert not self.sharing
        assert now < self.chat.accept_within
        counted = [(at, fate) for at, fate in self.prompts if fate != "withdrawn"]
        assert all(fate != "sent" for _, fate in counted), "prompted again after one was sent"
        assert sum(fate == "uncertain" for _, fate in counted) < 2
        for at, _fate in counted:
            assert now - at >= self.chat.limits.cooldown - 1e-6
            assert self.read_at is not None
            assert self.read_at > at
            assert self.read_at - at >= self.chat.limits.cooldown - 1e-6
        self.prompts.append((now, "uncertain"))

    def settled(self, outcome: PromptOutcome) -> None:
        at, _ = self.prompts[-1]
        fate = "withdrawn"
        if isinstance(outcome, Sent | AlreadySharing):
            fate = "sent"
        elif isinstance(outcome, Uncertain):
            fate = "uncertain" if outcome.possibly_sent else "unconnected"
        elif isinstance(outcome, Later) and outcome.reason == "refused_by_proxy":
            fate = "unconnected"
        self.prompts[-1] = (at, fate)


def parse(text: str) -> int:
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return seconds * NANO + int((fraction or "0").ljust(9, "0"))


def observation(answer: object, now: float) -> ReadObservation:
    if isinstance(answer, tuple):
        planned, unusable = answer
        return listing(*(feature.at(now) for feature in planned), unusable=unusable)
    assert isinstance(answer, Fault | Throttled | Suspended | Refused | LineLost)
    return answer


def live(chat: TrackedChat, story: list[tuple[Any, ...]]) -> Model:
    """Play a sequence of steps, and check every decision."""
    model = Model(chat)
    for event in chat.events:
        model.check(event, None, None)
    outstanding = False

    def settle(outcome: PromptOutcome) -> None:
        decision = chat.decision()
        prompts.apply_outcome(decision, outcome)
        chat.keep(decision)
        model.settled(outcome)
        model.take(decision)

    for step in story:
        if model.over:
            break
        match step:
            case ("wait", seconds):
                chat.wait(seconds)
            case ("lost", answer):
                decision = chat.decision()
                if prompts.next_action(decision) == "read":
                    reads.observe(decision, observation(answer, chat.now))
            case ("serve" | "early" as kind, answer, outcome):
                chat.wait(0.001)  # no two reads are made at one moment
                if kind == "serve":
                    chat.wait_until_due()
                decision = chat.decision()
                action = prompts.next_action(decision)
                if action == "end":
                    decision.end("time_limit")
                    chat.keep(decision)
                    model.take(decision)
                elif action == "read":
                    seen_now = observation(answer, chat.now)
                    reads.observe(decision, seen_now)
                    chat.keep(decision)
                    model.take(decision, observed=seen_now)
                else:
                    model.called()
                    prompts.mark_sending(decision)
                    decision.due = decision.now + 30.0
                    chat.keep(decision)
                    outstanding = outcome is None
                    if outcome is not None:
                        settle(outcome)
            case ("settle", outcome):
                if outstanding and outcome is not None:
                    outstanding = False
                    settle(outcome)
            case ("started", handle, began, ends, created):
                decision = chat.decision()
                began_at = None if began is None else ns(chat.now + began)
                ends_at = None if ends is None else ns(chat.now + ends)
                created_at = ns(chat.now + created)
                if webhooks.apply_started(decision, handle, began_at=began_at, ends_at=ends_at, created_at=created_at):
                    if ends_at is not None:
                        model.ends[handle].add(ends_at)
                    chat.keep(decision)
                    model.take(decision, webhook=(handle, created_at if began_at is None else began_at))
                else:
                    assert not decision.events
            case ("stopped", handle, began, ended, created):
                decision = chat.decision()
                began_at = None if began is None else ns(chat.now + began)
                ended_at = None if ended is None else ns(chat.now + ended)
                created_at = ns(chat.now + created)
                if webhooks.apply_stopped(
                    decision, handle, began_at=began_at, ended_at=ended_at, created_at=created_at
                ):
                    chat.keep(decision)
                    model.take(decision, webhook=(handle, began_at or 0))
                    model.stops.add(handle)
                else:
                    assert not decision.events
            case ("forget", handle):
                decision = chat.decision()
                if not chat.asked:
                    decision.forget(handle, ends_share=False)
                    chat.keep(decision)
                    model.sharing.discard(handle)
                    model.take(decision)
                    model.forgotten.add(handle)
    return model


@given(
    asked=st.booleans(),
    follow=st.sampled_from([True, True, False]),
    own=bounds,
    settings=limits,
    follow_for=st.sampled_from([604_800.0, 5_000.0]),
    accept_within=st.sampled_from([86_400.0, 2_000.0, 50.0]),
    random_unit=st.floats(0, 0.999),
    story=st.lists(steps, max_size=40),
)
def test_the_contract_holds_for_every_story(
    *,
    asked: bool,
    follow: bool,
    own: tuple[float | None, float | None],
    settings: Limits,
    follow_for: float,
    accept_within: float,
    random_unit: float,
    story: list[tuple[Any, ...]],
) -> None:
    chat = TrackedChat(
        asked=asked,
        follow=follow,
        lower=own[0],
        upper=own[1],
        limits=settings,
        follow_for=follow_for,
        accept_within=accept_within,
        random_unit=random_unit,
    )
    live(chat, story)


@given(
    settings=limits,
    story=st.lists(
        st.one_of(
            st.tuples(st.just("serve"), st.one_of(empty, empty, empty, faults), outcomes),
            st.tuples(st.just("serve"), empty, outcomes),
            st.tuples(st.just("serve"), st.just(([Seen(ANNA, 5.0, None, PLACES[0], None)], [])), outcomes),
            st.tuples(st.just("wait"), st.sampled_from([1.0, 300.0, 700.0])),
            st.tuples(st.just("settle"), outcomes),
        ),
        min_size=10,
        max_size=40,
    ),
)
def test_nobody_is_asked_too_often(settings: Limits, story: list[tuple[Any, ...]]) -> None:
    live(TrackedChat(limits=settings), story)


@given(story=st.lists(st.tuples(st.just("serve"), st.one_of(features, faults), st.just(Sent())), max_size=30))
def test_what_is_decided_again_after_a_lost_commit_is_the_same(story: list[tuple[Any, ...]]) -> None:
    chat = TrackedChat()
    for _, answer, outcome in story:
        if chat.share.ended is not None:
            return
        chat.wait_until_due()
        if chat.next_action() == "prompt":
            chat.prompt(outcome)
            continue
        told = []
        for _ in range(2):
            decision = chat.decision()
            prompts.next_action(decision)
            reads.observe(decision, observation(answer, chat.now))
            told.append((decision.events, decision.views, decision.due, pack(decision.share)))
        assert told[0] == told[1]
        chat.keep(decision)


@given(
    st.lists(
        st.tuples(st.sampled_from(HANDLES), st.one_of(st.none(), st.integers(0, 30)), st.sampled_from(PLACES[:2])),
        max_size=30,
    )
)
def test_exactly_the_distinct_positions_are_published(shown: list[tuple[str, int | None, tuple[float, float]]]) -> None:
    """Everybody is listed in every reply; what is published is what docs/reference/events.md calls distinct."""
    chat = TrackedChat(asked=False, limits=Limits(stale_after=0))
    current = {handle: (handle, 0, PLACES[0]) for handle in HANDLES}
    expected: list[tuple[str, int | None, tuple[float, float]]] = []
    newest: dict[str, int] = {}
    last: dict[str, tuple[float, float]] = {}
    for handle, at, place in [*current.values(), *shown]:
        current[handle] = (handle, at or 0, place)
        chat.wait(10).read(
            listing(Position(handle, *place, None, None, None, None if at is None else ns(at)), unusable=[None])
        )
        if (at is None and last.get(handle) != place) or (at is not None and ns(at) > newest.get(handle, 0)):
            expected.append((handle, at, place))
            last[handle] = place
            if at is not None:
                newest[handle] = ns(at)
    published = [
        (
            data["properties"]["handle"],
            None
            if data["properties"]["updated_at"] is None
            else round(parse(data["properties"]["updated_at"]) / NANO - BEGINNING),
            tuple(data["geometry"]["coordinates"]),
        )
        for data in chat.data("updated")
    ]
    assert published == expected
