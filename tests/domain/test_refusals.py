"""Refusals of many chats at once are due to the account, refusals of a few to the chats."""

import heapq
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tracking import BEGINNING, TrackedChat, listing, position
from worker.domain.decision import Limits
from worker.domain.observation import LineLost, ReadObservation, Refused
from worker.domain.refusals import MIN_CHATS, WINDOW_SECONDS, Evidence, Owner, Reads, View, owner

GONE = Refused("chat_not_found", 404, 2001)
COUNT_SECONDS = 5.0  # as in worker/store/lua/note_answers.lua


def evidence(
    *,
    recent: tuple[int, int] = (0, 0),
    since: tuple[int, int] | None = None,
    waiting: bool = False,
    line: View | None = None,
    tracked: int = 100,
    age: float = 30.0,
) -> Evidence:
    return Evidence(view(recent, since, waiting=waiting), line, tracked, age)


def view(recent: tuple[int, int], since: tuple[int, int] | None, *, waiting: bool = False) -> View:
    return View(Reads(*recent), None if since is None else Reads(*since), waiting)


@pytest.mark.parametrize(
    ("known", "whose"),
    [
        (evidence(recent=(5, 9), since=(5, 9)), "key"),
        (evidence(recent=(5, 10), since=(5, 10)), "chat"),
        (evidence(recent=(4, 4), since=(4, 4), age=120), "chat"),
        (evidence(recent=(1, 400), since=(1, 100)), "chat"),
        (evidence(recent=(1, 400), waiting=True), "key"),
        # Most of the recent answers came before the line was lost.
        (evidence(recent=(100, 400), since=(100, 100)), "unclear"),
        (evidence(recent=(100, 400), since=(100, 199)), "unclear"),
        (evidence(recent=(100, 400), since=(100, 200)), "chat"),
        # Too few were read to tell; in the last case that has lasted too long.
        (evidence(recent=(2, 30), since=(2, 2)), "unclear"),
        (evidence(recent=(2, 30), since=None, age=3), "unclear"),
        (evidence(recent=(2, 3), since=(2, 3), age=120), "chat"),
        # With so few chats tracked, nothing more can be learnt.
        (evidence(recent=(4, 4), since=(4, 4), tracked=4), "chat"),
        # A line is judged by itself, where it is known.
        (evidence(recent=(5, 400), since=(5, 100), line=view((5, 9), (5, 9))), "line"),
        (evidence(recent=(3, 400), since=(3, 100), line=view((3, 9), (3, 5))), "unclear"),
        (evidence(recent=(3, 400), since=(3, 100), line=view((3, 9), (3, 6))), "chat"),
        (evidence(recent=(3, 400), since=(3, 100), line=view((3, 3), (3, 3))), "chat"),
        (evidence(recent=(1, 400), since=(1, 100), line=view((1, 1), (1, 1), waiting=True)), "line"),
        (evidence(recent=(300, 400), since=(100, 100), line=view((1, 1), (1, 1))), "key"),
    ],
)
def test_a_refusal_has_its_owner(known: Evidence, whose: Owner) -> None:
    assert owner(known, confirm=30.0) == whose


counts = st.integers(0, 1000).flatmap(lambda answered: st.tuples(st.integers(0, answered), st.just(answered)))


@given(counts, counts, st.integers(5, 1000), st.floats(0, 300))
def test_one_more_refused_chat_never_makes_it_the_chats_own(
    recent: tuple[int, int], since: tuple[int, int], tracked: int, age: float
) -> None:
    order = ("chat", "unclear", "key")
    fewer = evidence(recent=recent, since=since, tracked=tracked, age=age)
    more = evidence(recent=(recent[0] + 1, recent[1] + 1), since=(since[0] + 1, since[1] + 1), tracked=tracked, age=age)
    assert order.index(owner(more, confirm=30.0)) >= order.index(owner(fewer, confirm=30.0))


@dataclass
class Fleet:
    """Chats that are read as they are due; the counts of their answers are exact."""

    intervals: list[float]
    limits: Limits
    lines: list[int] | None = None  # of each chat, where they are known
    lost: set[int] = field(default_factory=set)
    now: float = 0.0
    answered: dict[int, float] = field(default_factory=dict)
    refused: dict[int, float] = field(default_factory=dict)
    waiting: set[int | None] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.chats = [
            TrackedChat(asked=False, limits=self.limits, lower=interval, upper=interval) for interval in self.intervals
        ]
        self._due = [(0.0, number) for number in range(len(self.chats))]

    def live(self, seconds: float) -> None:
        """Read every chat that is due, for this long."""
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            self.now, number = heapq.heappop(self._due)
            chat = self.chats[number]
            if chat.share.ended is not None:
                continue
            chat.wait(self.now - chat.now).read(self._read(number, chat))
            if chat.due is not None:
                heapq.heappush(self._due, (self.now + max(0.01, chat.due_in), number))
        self.now = end

    def _read(self, number: int, chat: TrackedChat) -> ReadObservation:
        self.answered[number] = self.now
        if number not in self.lost:
            self.refused.pop(number, None)
            return listing(position(at=self.now))
        self.refused[number] = self.now
        since = chat.share.pending_refusal_since
        known = self._evidence(number, None if since is None else since - BEGINNING)
        whose = owner(known, confirm=self.limits.confirm)
        if whose in ("line", "key"):
            self.waiting.add(self.lines[number] if self.lines is not None and whose == "line" else None)
            return LineLost(404, 2001)
        return Refused("chat_not_found", 404, 2001, final=whose == "chat")

    def _evidence(self, number: int, since: float | None) -> Evidence:
        line = None
        if self.lines is not None:
            of_line = {other for other, name in enumerate(self.lines) if name == self.lines[number]}
            line = self._view(since, of_line, waiting=self.lines[number] in self.waiting)
        return Evidence(
            self._view(since, set(range(len(self.chats))), waiting=None in self.waiting),
            line,
            sum(chat.share.ended is None for chat in self.chats),
            0.0 if since is None else self.now - since,
        )

    def _view(self, since: float | None, chats: set[int], *, waiting: bool) -> View:
        later = None
        if since is not None:
            first = -(-max(since, self.now - WINDOW_SECONDS) // COUNT_SECONDS) * COUNT_SECONDS
            later = self._count(first, chats) if first <= self.now else None
        return View(self._count(self.now - WINDOW_SECONDS, chats), later, waiting)

    def _count(self, first: float, chats: set[int]) -> Reads:
        return Reads(
            sum(at >= first for number, at in self.refused.items() if number in chats),
            sum(at >= first for number, at in self.answered.items() if number in chats),
        )

    def ended(self) -> set[int]:
        return {number for number, chat in enumerate(self.chats) if chat.share.ended is not None}


# Every chat is read at least once a minute, so that two minutes show all.
usual_fleets = st.builds(Fleet, st.lists(st.floats(5, 60), min_size=MIN_CHATS, max_size=16), st.just(Limits()))
fleets = st.one_of(
    usual_fleets,
    st.builds(
        Fleet, st.lists(st.floats(2, 5), min_size=MIN_CHATS, max_size=16), st.just(Limits(min_poll=1.0, max_poll=5.0))
    ),
)


@given(fleets, st.floats(0, 300))
def test_no_share_ends_where_the_key_loses_its_line(fleet: Fleet, before: float) -> None:
    fleet.live(before)
    fleet.lost = set(range(len(fleet.chats)))
    fleet.live(600)
    assert fleet.ended() == set()
    assert all(chat.share.parked for chat in fleet.chats)


@given(usual_fleets, usual_fleets, st.floats(0, 300))
def test_no_share_ends_where_one_line_of_two_is_lost_and_the_other_goes_on(
    lost: Fleet, kept: Fleet, before: float
) -> None:
    count = len(lost.chats)
    fleet = Fleet(lost.intervals + kept.intervals, Limits(), lines=[0] * count + [1] * len(kept.chats))
    fleet.live(before)
    fleet.lost = set(range(count))
    fleet.live(600)
    assert fleet.ended() == set()
    assert [chat.share.parked for chat in fleet.chats] == [True] * count + [False] * len(kept.chats)


@given(fleets, st.data())
def test_a_few_chats_that_have_gone_end_and_no_others(fleet: Fleet, data: st.DataObject) -> None:
    few = max(MIN_CHATS - 1, len(fleet.chats) // 2)
    gone = data.draw(st.sets(st.integers(0, len(fleet.chats) - 1), max_size=few))
    if len(gone) * 2 > len(fleet.chats) and len(gone) >= MIN_CHATS:
        return
    fleet.live(data.draw(st.floats(60, 150)))
    fleet.lost = gone
    fleet.live(60 + WINDOW_SECONDS + 60)
    assert fleet.ended() == gone
    assert not any(chat.share.parked for chat in fleet.chats)


def test_a_single_chat_of_many_ends_by_two_refusals() -> None:
    fleet = Fleet([10.0] * 12, Limits())
    fleet.live(60)
    fleet.lost = {3}
    fleet.live(10 + 30 + 10)
    assert fleet.ended() == {3}


def test_three_of_five_chats_that_have_gone_are_too_few_to_be_the_accounts() -> None:
    fleet = Fleet([10.0] * 5, Limits())
    fleet.live(60)
    fleet.lost = {0, 1, 2}
    fleet.live(10 + WINDOW_SECONDS + 30)
    assert fleet.ended() == {0, 1, 2}


def test_chats_that_wait_go_on_when_their_line_is_back() -> None:
    chat = TrackedChat(asked=False)
    chat.read(listing(position(at=0)))
    assert chat.wait(60).read(LineLost(403, 2005)) == []
    assert chat.share.rule == "paused"
    assert chat.due_in > 3600
    assert chat.wait(7200).read(listing(position(at=7200))) == ["updated"]
    assert not chat.share.parked


def test_a_refusal_before_the_wait_does_not_count_after_it() -> None:
    chat = TrackedChat(asked=False)
    chat.read(GONE)
    chat.wait(30).read(LineLost(404, 2001))
    assert chat.wait(60).read(GONE) == []
    assert chat.wait(30).read(GONE) == ["tracking.ended"]


def test_who_waits_for_a_line_is_not_asked_and_still_expires() -> None:
    chat = TrackedChat(accept_within=600)
    chat.read(LineLost(403, 2005))
    assert chat.next_action() == "read"
    assert chat.due_in == 600 + 300
    assert chat.wait(900).read(LineLost(403, 2005)) == ["request.expired", "tracking.ended"]
