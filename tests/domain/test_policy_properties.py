"""Properties that hold for every chat and every fleet, however odd its numbers."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain import policy
from worker.domain.policy import Fleet, Pace

MIN_WEIGHT, MAX_WEIGHT = math.sqrt(policy.MIN_UPDATES), math.sqrt(policy.MAX_UPDATES)

times = st.one_of(st.just(0.0), st.floats(-1e10, 1e10), st.floats(1.7e9, 1.8e9))
amounts = st.floats(0.0, 1e9)
rates = st.one_of(st.floats(0.0, 1e6), st.floats(0.0, 1e-300))
weights = st.one_of(st.just(0.0), st.floats(MIN_WEIGHT, MAX_WEIGHT))
paces = st.builds(
    Pace,
    polled_at=times,
    updated_at=times,
    count=amounts,
    observed=amounts,
    outside=amounts,
    quiet=amounts,
    weight=weights,
)
fleets = st.builds(
    Fleet,
    weights=st.floats(-1.0, 1e6),  # a sum kept by adding and taking away may end a little below zero
    tracked=st.integers(0, 10_000_000),
    waiting=amounts,
    rate=rates,
    ceiling=rates,
)
bounds = st.tuples(st.floats(0.001, 1e6), st.floats(0.001, 1e6)).map(sorted)
spreads = st.floats(0.98, 1.02)
chances = st.floats(0.0, 1.0)


def copy(pace: Pace, **changes: float) -> Pace:
    return msgspec.structs.replace(pace, **changes)


@given(
    pace=paces,
    fleet=fleets,
    now=times,
    updated_at=st.none() | times,
    moved=st.booleans(),
    bounds=bounds,
    spread=spreads,
    reach=st.none() | st.floats(0.0, 1e9),
    price_floor=st.floats(0.0, 100.0),
)
def test_an_interval_is_always_finite_and_within_the_bounds(
    *,
    pace: Pace,
    fleet: Fleet,
    now: float,
    updated_at: float | None,
    moved: bool,
    bounds: list[float],
    spread: float,
    reach: float | None,
    price_floor: float,
) -> None:
    lower, upper = bounds

    interval, rule = policy.tracking_interval(
        pace,
        fleet,
        now=now,
        updated_at=updated_at,
        moved=moved,
        lower=lower,
        upper=upper,
        spread=spread,
        reach=reach,
        price_floor=price_floor,
    )

    assert lower <= interval <= upper
    assert rule in {"square-root", "quiet-time", "approach", "fleet-cap", "minimum", "maximum"}
    assert all(math.isfinite(value) for value in msgspec.structs.astuple(pace))
    assert MIN_WEIGHT <= pace.weight <= MAX_WEIGHT * (1.0 if reach is None else math.sqrt(policy.MAX_WORTH))
    assert min(pace.count, pace.observed, pace.outside) >= 0.0


@given(
    pace=paces,
    fleet=fleets,
    bounds=bounds,
    elapsed=st.floats(0.0, 1e6),
    more=st.floats(1.0, 10.0),
    less=st.floats(0.0, 1.0),
)
def test_more_updates_in_less_time_never_lead_to_a_longer_interval(
    *,
    pace: Pace,
    fleet: Fleet,
    bounds: list[float],
    elapsed: float,
    more: float,
    less: float,
) -> None:
    # It holds only for two chats without a known quiet time and with equal weight before the answer. Where a quiet
    # time is known, a quicker chat may be read later, because reads within the quiet time are wasted.
    lower, upper = bounds
    slow = copy(pace, polled_at=1e9, updated_at=0.0, quiet=0.0)
    quick = copy(slow, count=more * slow.count, observed=less * slow.observed)

    intervals = [
        policy.tracking_interval(
            each,
            fleet,
            now=1e9 + elapsed,
            updated_at=None,
            moved=False,
            lower=lower,
            upper=upper,
            spread=1.0,
        )[0]
        for each in (quick, slow)
    ]

    assert quick.weight >= slow.weight
    assert intervals[0] <= intervals[1] * (1.0 + 1e-9)


@given(paces, fleets, st.floats(0.0, 1.0))
def test_a_tighter_budget_never_shortens_an_interval(pace: Pace, fleet: Fleet, share: float) -> None:
    tighter = msgspec.structs.replace(fleet, rate=share * fleet.rate)
    intervals = [
        policy.tracking_interval(
            copy(pace, polled_at=1e9, updated_at=0.0, quiet=0.0),
            each,
            now=1e9 + 60.0,
            updated_at=None,
            moved=False,
            lower=15.0,
            upper=600.0,
            spread=1.0,
        )[0]
        for each in (fleet, tighter)
    ]

    assert intervals[0] <= intervals[1] * (1.0 + 1e-9)


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(1.0, 3600.0), st.booleans()), max_size=40))
def test_the_sum_of_all_weights_stays_what_its_parts_add_up_to(
    reads: list[tuple[int, float, bool]],
) -> None:
    paces = [Pace() for _ in range(5)]
    kept, now = 0.0, 1e9
    for chat, later, new in reads:
        now += later
        pace = paces[chat]
        before = pace.weight
        tracked = sum(each.weight > 0.0 for each in paces)
        policy.tracking_interval(
            pace,
            Fleet(weights=kept, tracked=tracked, waiting=0.0, rate=1.0, ceiling=1.0),
            now=now,
            updated_at=now - 1.0 if new else None,
            moved=new,
            lower=15.0,
            upper=600.0,
            spread=1.0,
        )
        kept += pace.weight - before

    assert kept == pytest.approx(sum(pace.weight for pace in paces))


@given(paces, fleets, weights, st.floats(0.5, 1e4))
def test_only_the_others_weights_and_the_new_one_set_the_price(
    pace: Pace, fleet: Fleet, weight: float, others: float
) -> None:
    # A chat that is already in the sum, and the same chat in the sum with a different old weight.
    counted = copy(pace, weight=max(pace.weight, MIN_WEIGHT))
    other = copy(pace, weight=max(weight, MIN_WEIGHT))

    intervals = [
        policy.tracking_interval(
            each,
            msgspec.structs.replace(fleet, weights=others + each.weight),
            now=1.75e9,
            updated_at=None,
            moved=False,
            lower=0.01,
            upper=1e9,
            spread=1.0,
        )[0]
        for each in (counted, other)
    ]

    assert intervals[0] == pytest.approx(intervals[1], rel=1e-6)


@given(times, fleets, bounds, st.floats(-1.0, 2.0), spreads)
def test_a_pending_interval_is_always_within_its_bounds(
    age: float, fleet: Fleet, bounds: list[float], announced: float, spread: float
) -> None:
    lower, upper = bounds

    interval, rule = policy.pending_interval(age, fleet, lower=lower, upper=upper, announced=announced, spread=spread)
    rate = policy.wanted_rate(age, announced=announced, lower=lower, upper=upper)

    assert min(5.0, lower) <= interval <= 6.0 * upper
    assert rule in {"pending", "pending-stretched"}
    assert 1.0 / (6.0 * upper) <= rate * (1.0 + 1e-9)
    assert rate <= (1.0 + 1e-9) / min(5.0, lower)


@given(st.lists(st.floats(0.0, 86_400.0), min_size=1, max_size=50), st.floats(0.01, 100.0), st.floats(0.05, 1.0))
def test_pending_reads_together_take_at_most_a_quarter_of_the_rate(
    ages: list[float], ceiling: float, lowered: float
) -> None:
    longest = 1e9  # no upper bound: where one shortens intervals, only the token bucket keeps to the budget
    waiting = sum(policy.wanted_rate(age, announced=0.0, lower=15.0, upper=longest) for age in ages)
    fleet = Fleet(weights=0.0, tracked=0, waiting=waiting, rate=lowered * ceiling, ceiling=ceiling)

    taken = sum(
        1.0 / policy.pending_interval(age, fleet, lower=15.0, upper=longest, announced=0.0, spread=1.0)[0]
        for age in ages
    )

    assert taken <= waiting * lowered * (1.0 + 1e-9)
    assert taken <= fleet.rate / 4.0 * (1.0 + 1e-9)


@given(st.integers(-1, 10**9), bounds, chances)
def test_backing_off_never_takes_longer_than_the_largest_interval_or_two_minutes(
    failures: int, bounds: list[float], random_unit: float
) -> None:
    lower, upper = bounds
    longest = min(upper, 120.0)

    assert min(lower, longest) <= policy.backoff(failures, lower=lower, upper=upper, random_unit=random_unit) <= longest


@given(st.lists(st.floats(0.0, 7200.0), max_size=60), st.floats(0.001, 1e6))
def test_the_rate_stays_between_its_floor_and_its_ceiling(gaps: list[float], ceiling: float) -> None:
    rate, since_cut = ceiling, math.inf
    for gap in gaps:
        recovered = policy.recovered_rate(rate, ceiling=ceiling, calm=gap)
        since_cut += gap
        lowered = policy.throttled_rate(recovered, ceiling=ceiling, since_cut=since_cut)
        if lowered != recovered:
            since_cut = 0.0

        assert 0.05 * ceiling <= lowered <= recovered <= ceiling
        rate = lowered


@given(pace=paces, fleet=fleets, now=times, reach=st.floats(0.0, 1e9), nearer=st.floats(0.0, 1.0))
def test_the_sooner_an_edge_may_be_crossed_the_more_a_read_is_worth(
    *, pace: Pace, fleet: Fleet, now: float, reach: float, nearer: float
) -> None:
    weights = []
    for seconds in (None, reach, nearer * reach):
        chat = copy(pace)
        policy.tracking_interval(
            chat, fleet, now=now, updated_at=None, moved=False, lower=1.0, upper=600.0, spread=1.0, reach=seconds
        )
        weights.append(chat.weight)

    assert weights == sorted(weights)


fleets_with_places = st.lists(
    st.tuples(st.floats(0.0, 50.0), st.floats(0.0, 1e5), st.none() | st.floats(0.0, 300.0)), min_size=1, max_size=30
)


def intervals_of(chats: list[tuple[float, float, float | None]], budget: float, lower: float) -> list[float]:
    """Return the interval of each chat of a fleet, given its updates, time observed and `reach`."""

    def read(chat: tuple[float, float, float | None], pace: Pace, weights: float) -> float:
        fleet = Fleet(weights=weights, tracked=len(chats), waiting=0.0, rate=budget, ceiling=budget)
        return policy.tracking_interval(
            pace,
            fleet,
            now=1e9,
            updated_at=None,
            moved=False,
            lower=lower,
            upper=1e9,
            spread=1.0,
            reach=chat[2],
            price_floor=0.0,
            head_room=1.0,
        )[0]

    def begun(chat: tuple[float, float, float | None], weight: float) -> Pace:
        return Pace(polled_at=1e9, count=chat[0], observed=chat[1], weight=weight)

    learned = [begun(chat, 0.0) for chat in chats]
    for chat, pace in zip(chats, learned, strict=True):
        read(chat, pace, 0.0)  # its weight does not depend on the other chats
    weights = sum(pace.weight for pace in learned)
    return [read(chat, begun(chat, pace.weight), weights) for chat, pace in zip(chats, learned, strict=True)]


@given(fleets_with_places, st.floats(0.001, 100.0))
def test_nobody_starves_and_no_more_than_the_budget_is_planned_however_many_come_near(
    chats: list[tuple[float, float, float | None]], budget: float
) -> None:
    intervals = intervals_of(chats, budget, lower=1e-9)
    mean = len(chats) / budget

    assert max(intervals) <= policy.UNFAIRNESS * mean * (1 + 1e-9)
    # Only the reads that keep the quietest chats from waiting longer than that go beyond the budget.
    assert sum(1.0 / interval for interval in intervals) <= budget * (1 + 1 / policy.UNFAIRNESS) * (1 + 1e-9)


@given(fleets_with_places, st.floats(0.001, 100.0))
def test_those_who_come_near_cost_the_others_at_most_what_the_price_rises_by(
    chats: list[tuple[float, float, float | None]], budget: float
) -> None:
    without = intervals_of([(count, observed, None) for count, observed, _ in chats], budget, lower=1e-9)
    rises = math.sqrt(policy.MAX_WORTH)

    for chat, interval, before in zip(chats, intervals_of(chats, budget, lower=1e-9), without, strict=True):
        if chat[2] is None:
            assert before * (1 - 1e-9) <= interval <= before * rises * (1 + 1e-9)


@given(fleets_with_places, st.floats(0.001, 100.0), st.floats(1.0, 600.0))
def test_the_minimum_interval_holds_for_who_comes_near(
    chats: list[tuple[float, float, float | None]], budget: float, lower: float
) -> None:
    assert min(intervals_of(chats, budget, lower)) >= lower
