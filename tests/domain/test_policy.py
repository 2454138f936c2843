"""When a chat is read next: what the policy promises, and the figures it was designed for."""

import math

import msgspec
import pytest

from worker.domain import policy
from worker.domain.policy import Fleet, Pace

NOW = 1_760_000_000.0
PLENTY = Fleet(weights=0.5, tracked=10, waiting=0.0, rate=20.0, ceiling=20.0)


def chat(updates: float, **fields: float) -> Pace:
    """Return a chat whose next empty answer, 60 s later, leaves it with a rate of `updates` per second."""
    return Pace(
        polled_at=NOW,
        count=(updates * (policy.PRIOR_SECONDS + 60.0 + 0.8 * 1000.0) - 1.0) / 0.8,
        observed=1000.0,
        weight=math.sqrt(updates),
        **fields,
    )


def empty(pace: Pace, fleet: Fleet = PLENTY, *, lower: float = 15.0, upper: float = 600.0) -> tuple[float, str]:
    """Read once more after a minute and find nothing new."""
    return policy.tracking_interval(
        pace, fleet, now=NOW + 60.0, updated_at=None, moved=False, lower=lower, upper=upper, spread=1.0
    )


def found(pace: Pace, now: float, updated_at: float, *, moved: bool = False) -> tuple[float, str]:
    return policy.tracking_interval(
        pace, PLENTY, now=now, updated_at=updated_at, moved=moved, lower=15.0, upper=600.0, spread=1.0
    )


@pytest.mark.parametrize(("period", "interval"), [(60.0, 38.7), (300.0, 86.6), (900.0, 150.0)])
def test_where_requests_are_plentiful_the_interval_follows_the_pace_of_the_contact(
    period: float, interval: float
) -> None:
    seconds, rule = empty(chat(1.0 / period))

    assert seconds == pytest.approx(interval, abs=0.1)
    assert rule == "square-root"


def test_a_first_answer_is_followed_as_one_update_in_five_minutes() -> None:
    pace = Pace()

    interval, rule = found(pace, NOW, NOW - 3.0)

    assert interval == pytest.approx(86.6, abs=0.1)
    assert rule == "square-root"
    assert pace == Pace(polled_at=NOW, updated_at=NOW - 3.0, weight=math.sqrt(1 / 300))


def test_four_times_the_updates_are_read_twice_as_often() -> None:
    tight = Fleet(weights=1e3, tracked=10_000, waiting=0.0, rate=100.0, ceiling=100.0)

    slow, _ = empty(chat(1 / 400), tight, upper=1e4)
    quick, _ = empty(chat(1 / 100), tight, upper=1e4)

    assert slow == pytest.approx(2.0 * quick)


def test_half_the_rate_doubles_every_interval() -> None:
    demand = 500.0
    full = Fleet(weights=demand, tracked=10_000, waiting=0.0, rate=100.0, ceiling=100.0)
    half = msgspec.structs.replace(full, rate=50.0)

    for updates in (1 / 60, 1 / 300, 1 / 900):
        assert empty(chat(updates), half, upper=1e4)[0] == pytest.approx(2.0 * empty(chat(updates), full, upper=1e4)[0])


def test_a_read_that_would_fall_into_the_quiet_time_waits_until_after_it() -> None:
    fresh = Pace(updated_at=NOW + 40.0, quiet=100.0)
    without = Pace(updated_at=NOW + 40.0)

    interval, rule = empty(fresh)

    assert rule == "quiet-time"
    assert interval == pytest.approx(math.sqrt(80.0**2 + (25.0 - 0.001 * 80.0**2) * 300.0))
    assert empty(without)[0] == pytest.approx(86.6, abs=0.1)


def test_a_long_quiet_time_is_not_trusted_to_its_end() -> None:
    interval, rule = empty(Pace(updated_at=NOW + 60.0, quiet=3000.0))

    assert rule == "quiet-time"
    assert interval == pytest.approx(86.6 / math.sqrt(0.3), abs=0.1)


def test_a_freak_gap_shortens_the_quiet_time_for_a_while_only() -> None:
    pace = Pace(polled_at=NOW, updated_at=NOW, quiet=100.0)

    found(pace, NOW + 10.0, NOW + 9.0)
    assert pace.quiet == 9.0
    for step in range(1, 20):
        found(pace, NOW + 10.0 + 100.0 * step, NOW + 9.0 + 100.0 * step)

    assert 50.0 < pace.quiet <= 100.0


def test_somebody_who_moves_is_judged_by_fewer_polls() -> None:
    still, moving = (Pace(polled_at=NOW, updated_at=NOW, count=5.0, observed=5000.0) for _ in range(2))

    found(still, NOW + 60.0, NOW + 50.0)
    found(moving, NOW + 60.0, NOW + 50.0, moved=True)

    assert (still.count, still.observed) == (5.0, 4010.0)
    assert (moving.count, moving.observed) == (4.0, 3010.0)


def test_nobody_waits_longer_than_two_and_a_half_mean_intervals() -> None:
    crowd = Fleet(weights=1000 * 0.1, tracked=1000, waiting=0.0, rate=10.0, ceiling=10.0)

    interval, rule = empty(chat(1 / 7200), crowd)

    assert rule == "fleet-cap"
    assert interval == pytest.approx(2.5 * 1000 / (0.9 * 10.0))


def test_the_bounds_of_the_chat_go_before_everything_else() -> None:
    assert empty(chat(1 / 60), lower=100.0, upper=200.0) == (100.0, "minimum")
    assert empty(chat(1 / 900), lower=10.0, upper=100.0) == (100.0, "maximum")


def test_without_any_rate_the_longest_interval_is_left() -> None:
    assert empty(chat(1 / 60), Fleet(0.0, 0, 0.0, 0.0, 0.0)) == (600.0, "maximum")


def test_pending_reads_leave_less_for_the_chats_that_share() -> None:
    busy = Fleet(weights=500.0, tracked=10_000, waiting=0.0, rate=100.0, ceiling=100.0)
    some, many = (msgspec.structs.replace(busy, waiting=waiting) for waiting in (10.0, 1e6))
    alone, _ = empty(chat(1 / 100), busy, upper=1e4)

    assert empty(chat(1 / 100), some, upper=1e4)[0] == pytest.approx(alone * 0.9 / 0.8)
    assert empty(chat(1 / 100), many, upper=1e4)[0] == pytest.approx(alone * 0.9 / 0.65)


def test_a_position_from_the_future_counts_as_new_once_and_as_of_now() -> None:
    pace = Pace(polled_at=NOW - 60.0, updated_at=NOW - 100.0, quiet=50.0)

    interval, _ = found(pace, NOW, NOW + 300.0)
    again, _ = policy.tracking_interval(
        pace,
        PLENTY,
        now=NOW + 60.0,
        updated_at=NOW + 300.0,
        moved=False,
        lower=15.0,
        upper=600.0,
        spread=1.0,
    )

    assert pace.count == pytest.approx(0.8)
    assert pace.observed == 60.0
    assert interval < 120.0
    assert again < 120.0


def test_a_clock_that_goes_back_teaches_nothing() -> None:
    pace = Pace(polled_at=NOW, updated_at=NOW - 10.0, count=1.0, observed=100.0, outside=50.0)

    policy.tracking_interval(
        pace,
        PLENTY,
        now=NOW - 3600.0,
        updated_at=None,
        moved=False,
        lower=15.0,
        upper=600.0,
        spread=1.0,
    )

    assert (pace.count, pace.observed, pace.outside) == (0.8, 80.0, 40.0)
    assert pace.polled_at == NOW - 3600.0


def test_what_is_stored_of_a_chat_is_seven_numbers() -> None:
    assert msgspec.json.encode(Pace(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)) == b"[1.0,2.0,3.0,4.0,5.0,6.0,7.0]"


def pending(age: float, *, announced: float = 0.0, fleet: Fleet = PLENTY) -> float:
    return policy.pending_interval(age, fleet, lower=15.0, upper=600.0, announced=announced, spread=1.0)[0]


def test_a_request_is_looked_at_often_at_first_and_seldom_in_the_end() -> None:
    reads = [0.0]
    while reads[-1] < 86_400.0:
        reads.append(reads[-1] + pending(reads[-1]))

    assert [round(at) for at in reads[1:6]] == [13, 30, 51, 78, 111]
    assert len(reads) - 1 == pytest.approx(64, abs=1)
    assert pending(600.0) == pytest.approx(120.0, rel=0.1)
    assert pending(3600.0) == pytest.approx(480.0, rel=0.05)
    assert pending(21_600.0) == pytest.approx(1800.0, rel=0.02)


def test_webhooks_that_announce_accepts_save_reads_up_to_a_limit() -> None:
    assert pending(600.0, announced=0.75) == pytest.approx(2.0 * pending(600.0))
    assert pending(600.0, announced=1.0) == pending(600.0, announced=0.9)
    assert pending(600.0, announced=-1.0) == pending(600.0)


def test_a_lowered_rate_stretches_pending_reads_like_all_others() -> None:
    halved = msgspec.structs.replace(PLENTY, rate=10.0)

    assert pending(600.0, fleet=halved) == pytest.approx(2.0 * pending(600.0))
    assert policy.pending_interval(0.0, halved, lower=15.0, upper=600.0, announced=0.0, spread=1.0)[1] == (
        "pending-stretched"
    )


def test_pending_reads_stay_within_their_bounds_under_any_pressure() -> None:
    none = msgspec.structs.replace(PLENTY, rate=0.0)
    crowd = msgspec.structs.replace(PLENTY, waiting=1e9)

    assert pending(0.0, fleet=none) == pending(0.0, fleet=crowd) == 3600.0
    assert policy.pending_interval(0.0, PLENTY, lower=1.0, upper=1.0, announced=0.0, spread=1.0)[0] == 6.0


def test_faults_back_off_to_two_minutes_with_full_jitter() -> None:
    longest = [policy.backoff(n, lower=1.0, upper=600.0, random_unit=1.0) for n in range(1, 10)]

    assert longest == [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 120.0, 120.0, 120.0]
    # A quarter of the way from the least interval (1 s) to the bound (32 s).
    assert policy.backoff(5, lower=1.0, upper=600.0, random_unit=0.25) == 1.0 + 0.25 * 31.0
    assert policy.backoff(5, lower=15.0, upper=600.0, random_unit=0.0) == 15.0
    assert policy.backoff(9, lower=300.0, upper=600.0, random_unit=0.5) == 120.0


def test_each_overload_cuts_the_rate_once_and_never_to_nothing() -> None:
    assert policy.throttled_rate(20.0, ceiling=20.0, since_cut=math.inf) == 16.0
    assert policy.throttled_rate(16.0, ceiling=20.0, since_cut=4.9) == 16.0
    assert policy.throttled_rate(16.0, ceiling=20.0, since_cut=5.0) == 12.8
    assert policy.throttled_rate(1.1, ceiling=20.0, since_cut=60.0) == 1.0


def test_the_rate_recovers_slowly_after_a_calm_minute() -> None:
    assert policy.recovered_rate(10.0, ceiling=20.0, calm=60.0) == 10.0
    assert policy.recovered_rate(10.0, ceiling=20.0, calm=60.0 + 900.0) == 15.0
    assert policy.recovered_rate(10.0, ceiling=20.0, calm=math.inf) == 20.0
    assert policy.recovered_rate(10.0, ceiling=5.0, calm=0.0) == 5.0
